//! One attempt: reading the files, what can stand in the way, and how it is told.

use std::time::Duration;

use tokio::time::timeout;

use crate::admin::{Attempt, Origin, Verdict, told};
use crate::app::StartError;
use crate::balance::CATALOGUE;
use crate::config::diff::{diff, restarts};
use crate::config::plan::Plan;
use crate::config::{self, ConfigError, Errors, Loaded, fingerprint};

/// Files that are not read by then are on a file system that is stuck.
const PATIENCE: Duration = Duration::from_secs(30);
/// Errors that go into the log one by one.
const LOGGED: usize = 20;

/// Why nothing changed.
#[derive(Debug)]
pub(super) enum Why {
    /// The process was not started from files.
    NoFiles,
    /// Reading them took too long, or failed in a way that should not be.
    Stuck(String),
    /// What they say is wrong: with what names their content.
    Bad(Errors, String),
    /// Keys that a running process cannot follow.
    Restart(Vec<String>),
    /// Something is not to be had.
    Start(StartError),
    /// An upgrade is under way, or done.
    Upgrading,
    /// The process is ending.
    Leaving,
}

impl From<StartError> for Why {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

/// Reads what the process was started with.
pub(super) async fn load(origin: Origin) -> Result<Loaded, Why> {
    if origin.paths.is_empty() {
        return Err(Why::NoFiles);
    }
    let read = move || {
        config::load_within(&origin.reach, &origin.paths, &CATALOGUE, &origin.env)
            .map_err(|errors| Why::Bad(errors, fingerprint(&origin.paths, &origin.env)))
    };
    match timeout(PATIENCE, tokio::task::spawn_blocking(read)).await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(error)) => Err(Why::Stuck(error.to_string())),
        Err(_) => Err(Why::Stuck(format!("the files could not be read within {} seconds", PATIENCE.as_secs()))),
    }
}

impl Attempt {
    /// Notes what `loaded` would change.
    pub(super) fn describe(&mut self, before: &Plan, loaded: &Loaded) {
        let changes = diff(&before.settings, &loaded.plan.settings);
        (self.changes, self.changes_left_out) = told(&changes);
        self.needs_restart = restarts(&changes);
        self.hash = Some(loaded.hash.clone());
        warn_of(loaded);
    }
}

/// Says what is odd about a configuration that may well be meant so.
pub(in crate::app) fn warn_of(loaded: &Loaded) {
    loaded.warnings.iter().for_each(|warning| tracing::warn!(%warning, "configuration"));
}

/// What stands in its way before anything is tried.
pub(super) fn obstacle(attempt: &Attempt) -> Option<Why> {
    (!attempt.needs_restart.is_empty()).then(|| Why::Restart(attempt.needs_restart.clone()))
}

impl Why {
    /// The attempt, rejected for this.
    pub(super) fn reject(self, mut attempt: Attempt) -> Attempt {
        attempt.result = Verdict::Rejected;
        attempt.detail = Some(match self {
            Self::NoFiles => "this process was not started from files, so there is nothing to read again".into(),
            Self::Stuck(error) => error,
            Self::Bad(errors, hash) => {
                attempt.hash = Some(hash);
                attempt.errors = errors.iter().cloned().collect();
                attempt.needs_restart = errors.needs_restart().to_vec();
                errors.to_string()
            }
            Self::Restart(keys) => format!("needs restart: {}", keys.join(", ")),
            Self::Start(error) => error.to_string(),
            Self::Upgrading => "an upgrade is under way: the new process reads the files itself".into(),
            Self::Leaving => "the process is ending".into(),
        });
        attempt
    }
}

/// Says what came of an attempt.
pub(super) fn log(attempt: &Attempt) {
    let Attempt { by, generation, .. } = attempt;
    let detail = attempt.detail.as_deref().unwrap_or_default();
    let guard = attempt.guard.as_ref().map(|guard| guard.state).unwrap_or_default();
    let watched = attempt.guard.as_ref().and_then(|guard| guard.detail.as_deref()).unwrap_or_default();
    match attempt.result {
        Verdict::Rejected if attempt.errors.is_empty() => {
            tracing::error!(%by, generation, detail, "configuration rejected; the one in force stays");
        }
        Verdict::Rejected => {
            attempt.errors.iter().take(LOGGED).for_each(log_error);
            let errors = attempt.errors.len();
            tracing::error!(%by, generation, errors, "configuration rejected; the one in force stays");
        }
        Verdict::RolledBack => {
            tracing::error!(%by, generation, detail, "configuration taken back; the one of before is in force");
        }
        Verdict::Inconclusive => tracing::warn!(%by, generation, detail = watched, "guard ended without a judgement"),
        Verdict::Ok if guard == "passed" => tracing::info!(%by, generation, detail = watched, "guard passed"),
        Verdict::Ok => {
            let changes = attempt.changes.len() + attempt.changes_left_out;
            tracing::info!(%by, generation, changes, guard, "configuration reloaded");
        }
    }
}

fn log_error(error: &ConfigError) {
    tracing::error!(%error, "configuration");
}
