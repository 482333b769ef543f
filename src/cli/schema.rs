//! `peerway schema` and `peerway reference`: the configuration for editors and for readers.

use super::client::CliError;
use super::say::print;
use crate::balance::CATALOGUE;
use crate::config;

/// Prints the JSON Schema of the configuration.
///
/// # Errors
/// It cannot be written.
pub(super) fn schema() -> Result<(), CliError> {
    print(config::schema(&CATALOGUE).as_bytes())
}

/// Prints every key with what it does.
///
/// # Errors
/// It cannot be written.
pub(super) fn reference() -> Result<(), CliError> {
    print(config::reference(&CATALOGUE).as_bytes())
}
