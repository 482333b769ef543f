//! The access log: one line a session, through writers that may be stuck without stalling anyone.

use std::time::Duration;

use super::{Outcome, Record};

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The backend is connected.
    Start,
    /// The session goes on.
    Interval,
    /// The session has ended.
    End,
}

/// The writers of all sinks that the configuration names.
#[derive(Debug, Default)]
pub struct AccessLogs {}

impl AccessLogs {
    /// Writes a line about `record` if its listener wants one of this kind. Never blocks.
    pub fn write(&self, _kind: Kind, _record: &Record, _outcome: Option<&Outcome>) {}

    /// How often a living session is to be logged, if it is.
    pub fn interval(&self, _record: &Record) -> Option<Duration> {
        None
    }
}
