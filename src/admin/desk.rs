//! Where changes of the configuration are asked for, and what became of those that were.
//!
//! The endpoint, signals and the watcher of files ask here; whoever reloads, one at a time, answers and keeps the
//! history.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::plan::ChangeView;
use crate::config::{ConfigError, Reach};
use crate::sink::rfc3339;

/// Attempts that are remembered.
const REMEMBERED: usize = 10;
/// Requests that wait while one is carried out or guarded. More would all read the same files.
const WAITING: usize = 16;

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The files and folders of the command line; none if there are no files.
    pub paths: Vec<PathBuf>,
    /// Variables for `${…}`.
    pub env: fn(&str) -> Option<OsString>,
    /// What of the file system this process can reach.
    pub reach: Reach,
}

/// Who wants a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Author {
    /// The process started with it.
    Start,
    /// A file changed.
    File,
    /// SIGHUP.
    Signal,
    /// The admin endpoint.
    Api,
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Signal => "signal",
            Self::Api => "api",
        })
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// In force.
    Ok,
    /// Nothing changed.
    Rejected,
    /// In force for a while, then taken back.
    RolledBack,
    /// In force; there was too little traffic to judge it by.
    Inconclusive,
}

/// How the guard of an attempt stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GuardView {
    /// `watching`, `passed`, `rolled_back` or `inconclusive`.
    pub state: &'static str,
    /// How long it watches.
    pub seconds: f64,
    /// What it saw, in words.
    pub detail: Option<String>,
}

/// One attempt to change the configuration, as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// Unique in this process, rising.
    pub id: u64,
    /// When it was carried out, RFC 3339.
    pub at: String,
    /// Who wanted it.
    pub by: Author,
    /// How it ended.
    pub result: Verdict,
    /// The configuration in force after it.
    pub generation: u64,
    /// Names the content of the files; null if they could not be read.
    pub hash: Option<String>,
    /// Why it was rejected or taken back, in words; null if it was not.
    pub detail: Option<String>,
    /// What is wrong with the files.
    pub errors: Vec<ConfigError>,
    /// What it would have taken a restart for.
    pub needs_restart: Vec<String>,
    /// How it is watched, if it is.
    pub guard: Option<GuardView>,
    /// What it changed.
    pub changes: Vec<ChangeView>,
    /// Changes beyond those.
    pub changes_left_out: usize,
}

impl Attempt {
    /// An attempt of now that succeeded and changed nothing, to be filled in.
    pub fn new(id: u64, by: Author, generation: u64) -> Self {
        Self {
            id,
            at: rfc3339(SystemTime::now()),
            by,
            result: Verdict::Ok,
            generation,
            hash: None,
            detail: None,
            errors: Vec::new(),
            needs_restart: Vec::new(),
            guard: None,
            changes: Vec::new(),
            changes_left_out: 0,
        }
    }
}

/// A wish to reload.
#[derive(Debug)]
pub struct Wish {
    /// The attempt's id.
    pub id: u64,
    /// Whose it is.
    pub by: Author,
    /// Watch it for so long, whatever the configuration says.
    pub guard: Option<Duration>,
    /// Who waits for the answer may be gone.
    pub answer: oneshot::Sender<Attempt>,
}

/// Nobody can be asked now: too many wait already, or the process is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// The desk.
#[derive(Debug)]
pub struct Desk {
    origin: Origin,
    wishes: mpsc::Sender<Wish>,
    next_id: AtomicU64,
    records: Mutex<Records>,
    drift: AtomicBool,
}

#[derive(Debug, Default)]
struct Records {
    attempts: VecDeque<Attempt>,
    in_force: InForce,
}

/// The configuration in force.
#[derive(Debug, Clone, Default, Serialize)]
pub struct InForce {
    /// Counted from 1 since start.
    pub generation: u64,
    /// Names the content of its files.
    pub hash: String,
    /// When it was loaded, RFC 3339.
    pub loaded_at: String,
}

impl Desk {
    /// A desk, and the wishes that come in.
    pub fn new(origin: Origin) -> (Self, mpsc::Receiver<Wish>) {
        let (wishes, come_in) = mpsc::channel(WAITING);
        let records = Mutex::default();
        (Self { origin, wishes, next_id: AtomicU64::new(1), records, drift: AtomicBool::new(false) }, come_in)
    }

    /// Where the configuration comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// An id for an attempt.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed)
    }

    /// Asks for a reload: its id, and the answer when it is there. An answer may say that a guard goes on watching.
    ///
    /// # Errors
    /// Too many wait already.
    pub fn ask(&self, by: Author, guard: Option<Duration>) -> Result<(u64, oneshot::Receiver<Attempt>), Busy> {
        let (answer, comes) = oneshot::channel();
        let id = self.next_id();
        self.wishes.try_send(Wish { id, by, guard, answer }).map_err(|_| Busy)?;
        Ok((id, comes))
    }

    /// Notes a finished attempt, or what became of it meanwhile: the one of the same id is replaced.
    pub fn note(&self, attempt: Attempt) {
        let mut records = self.lock();
        if let Some(earlier) = records.attempts.iter_mut().find(|earlier| earlier.id == attempt.id) {
            *earlier = attempt;
            return;
        }
        if records.attempts.len() == REMEMBERED {
            records.attempts.pop_front();
        }
        records.attempts.push_back(attempt);
    }

    /// Notes which configuration is in force.
    pub fn enforce(&self, in_force: InForce) {
        self.lock().in_force = in_force;
    }

    /// The configuration in force.
    pub fn in_force(&self) -> InForce {
        self.lock().in_force.clone()
    }

    /// The last attempts, the newest first.
    pub fn history(&self) -> Vec<Attempt> {
        self.lock().attempts.iter().rev().cloned().collect()
    }

    /// Says whether the files differ from what is in force.
    pub fn set_drift(&self, drift: bool) {
        self.drift.store(drift, Relaxed);
    }

    /// Whether the files differ from what is in force.
    pub fn drift(&self) -> bool {
        self.drift.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> (Desk, mpsc::Receiver<Wish>) {
        Desk::new(Origin { paths: Vec::new(), env: |_| None, reach: Reach::default() })
    }

    #[test]
    fn the_last_ten_are_remembered_and_one_may_be_told_again() {
        let (desk, _wishes) = desk();
        (0..15).for_each(|id| desk.note(Attempt::new(id, Author::File, id)));
        desk.note(Attempt { result: Verdict::RolledBack, ..Attempt::new(14, Author::File, 14) });
        let history = desk.history();
        assert_eq!(history.iter().map(|attempt| attempt.id).collect::<Vec<_>>(), (5..15).rev().collect::<Vec<_>>());
        assert_eq!((history[0].result, history[1].result), (Verdict::RolledBack, Verdict::Ok));
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let (desk, _wishes) = desk();
        let taken = (0..100).filter(|_| desk.ask(Author::Api, None).is_ok()).count();
        assert_eq!(taken, WAITING);
    }
}
