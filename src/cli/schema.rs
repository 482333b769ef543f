//! `peerway schema` and `peerway reference`: the configuration for editors and for readers.

use std::process::ExitCode;

use crate::balance::CATALOGUE;
use crate::config;

/// Prints the JSON Schema of the configuration.
pub(super) fn schema() -> ExitCode {
    print!("{}", config::schema(&CATALOGUE));
    ExitCode::SUCCESS
}

/// Prints every key with what it does.
pub(super) fn reference() -> ExitCode {
    print!("{}", config::reference(&CATALOGUE));
    ExitCode::SUCCESS
}
