//! `peerway check`: `FILE: ok`, or every error.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{BAD_CONFIG, environment};
use crate::balance::CATALOGUE;
use crate::config;

/// Checks each path as a configuration of its own; needs no running process and touches none.
pub(super) fn check(paths: &[PathBuf]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for path in paths {
        match config::load(std::slice::from_ref(path), &CATALOGUE, &environment) {
            Ok(loaded) => {
                loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
                println!("{}: ok", path.display());
            }
            Err(errors) => {
                eprintln!("{errors}");
                code = ExitCode::from(BAD_CONFIG);
            }
        }
    }
    code
}
