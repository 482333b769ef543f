//! `peerway run`: a proxy in the foreground.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{BAD_CONFIG, environment};
use crate::admin::Origin;
use crate::app::{self, Configured, Ended};
use crate::balance::CATALOGUE;
use crate::config;

/// Runs the configuration at `paths` until a signal ends it.
pub(super) fn run(paths: &[PathBuf]) -> ExitCode {
    match config::load(paths, &CATALOGUE, &environment) {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            let origin = Origin { paths: paths.to_vec(), env: environment };
            serve(Configured { loaded, origin }, std::future::ready(()))
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(BAD_CONFIG)
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
