//! `peerway check`: `FILE: ok`, or every error.

use std::path::PathBuf;
use std::process::ExitCode;

use super::say::{complain, fail, print};
use super::{BAD_CONFIG, environment};
use crate::balance::CATALOGUE;
use crate::config;

/// Checks each path as a configuration of its own; needs no running process and touches none.
pub(super) fn check(paths: &[PathBuf]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for path in paths {
        match config::load(std::slice::from_ref(path), &CATALOGUE, &environment) {
            Ok(loaded) => {
                loaded.warnings.iter().for_each(|warning| complain(format_args!("warning: {warning}")));
                if let Err(error) = print(format!("{}: ok\n", path.display()).as_bytes()) {
                    return fail(error);
                }
            }
            Err(errors) => {
                complain(errors);
                code = ExitCode::from(BAD_CONFIG);
            }
        }
    }
    code
}
