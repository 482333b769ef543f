//! `peerway run`: a proxy in the foreground.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use super::say::{complain, fail};
use super::{BAD_CONFIG, environment};
use crate::admin::Origin;
use crate::app::{self, Configured, Control, Ended, Program};
use crate::balance::CATALOGUE;
use crate::config::{self, Reach};

/// Runs the configuration at `paths` until a signal ends it.
pub(super) fn run(paths: &[PathBuf]) -> ExitCode {
    // Before all else: whoever rotates logs while a long file is read does not end the process.
    let control = match Control::new() {
        Ok(control) => control,
        Err(error) => return fail(error),
    };
    match config::load(paths, &CATALOGUE, &environment) {
        Ok(loaded) => {
            let origin = Origin { paths: paths.to_vec(), env: environment, reach: Reach::default() };
            serve(control, Configured { loaded, origin }, std::future::ready(()))
        }
        Err(errors) => {
            complain(errors);
            ExitCode::from(BAD_CONFIG)
        }
    }
}

/// Starts the program of this `line` whenever the process that has started this one asks for it.
pub(super) fn help(line: Vec<OsString>) -> ExitCode {
    match app::start_on_request(&Program::of_line(line)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

/// Runs a configuration, with `beside` running beside it on the control thread.
pub(super) fn serve(
    control: Control,
    configured: Configured,
    beside: impl Future<Output = ()> + Send + 'static,
) -> ExitCode {
    match control.run(configured, beside) {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::Forced) => ExitCode::FAILURE,
        Err(error) => fail(error),
    }
}
