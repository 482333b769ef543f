//! `peerway run`: a proxy in the foreground.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{BAD_CONFIG, environment};
use crate::app::{self, Ended};
use crate::balance::CATALOGUE;
use crate::config::{self, plan::Plan};

/// Runs the configuration at `paths` until a signal ends it.
pub(super) fn run(paths: &[PathBuf]) -> ExitCode {
    match config::load(paths, &CATALOGUE, &environment) {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            serve(loaded.plan, std::future::ready(()))
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(BAD_CONFIG)
        }
    }
}

/// Runs a plan, with `beside` running beside it on the control thread.
pub(super) fn serve(plan: Plan, beside: impl Future<Output = ()> + Send + 'static) -> ExitCode {
    match app::run(plan, beside) {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::Forced) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
