//! `peerway run`: a proxy in the foreground.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{BAD_CONFIG, environment};
use crate::admin::Origin;
use crate::app::{self, Configured, Ended, Program};
use crate::balance::CATALOGUE;
use crate::config::{self, Reach};

/// Runs the configuration at `paths` until a signal ends it.
pub(super) fn run(paths: &[PathBuf]) -> ExitCode {
    match config::load(paths, &CATALOGUE, &environment) {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            let origin = Origin { paths: paths.to_vec(), env: environment, reach: Reach::default() };
            serve(Configured { loaded, origin }, std::future::ready(()))
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(BAD_CONFIG)
        }
    }
}

/// Starts the program of this `line` whenever the process that has started this one asks for it.
pub(super) fn help(line: Vec<OsString>) -> ExitCode {
    match app::start_on_request(&Program::of_line(line)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a configuration, with `beside` running beside it on the control thread.
pub(super) fn serve(configured: Configured, beside: impl Future<Output = ()> + Send + 'static) -> ExitCode {
    match app::run(configured, beside) {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::Forced) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
