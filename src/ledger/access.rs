//! The access log: lines about sessions, through writers that may be stuck without stalling anyone.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{Outcome, Record, line};
use crate::config::plan::{AccessLog, AccessSink, LogFormat, Plan};
use crate::metrics::Direction;
use crate::sink::{Form, Sink, Target};

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

impl Kind {
    /// As the log spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Interval => "interval",
            Self::End => "end",
        }
    }
}

/// The writers of all sinks that the configuration names.
#[derive(Debug, Default)]
pub struct AccessLogs {
    sinks: ArcSwap<Sinks>,
    /// Of all sinks there are and were.
    dropped: Arc<AtomicU64>,
}

/// The sinks of one configuration, open.
#[derive(Debug)]
pub struct Sinks {
    form: Form,
    open: BTreeMap<AccessSink, Arc<Sink>>,
}

impl Default for Sinks {
    fn default() -> Self {
        Self { form: Form::Json, open: BTreeMap::new() }
    }
}

/// A sink that cannot be opened.
#[derive(Debug)]
pub struct OpenError {
    /// Which one.
    pub sink: String,
    /// Why.
    pub error: io::Error,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "access log {}: {}", self.sink, self.error)
    }
}

impl std::error::Error for OpenError {}

impl AccessLogs {
    /// The logs of a process that starts with `plan`, with every sink open.
    ///
    /// # Errors
    /// A sink cannot be opened.
    pub fn open(plan: &Plan) -> Result<Self, OpenError> {
        let logs = Self::default();
        logs.adopt(logs.prepare(plan)?);
        Ok(logs)
    }

    /// Opens what `plan` needs and is not open yet, without using it.
    ///
    /// # Errors
    /// A sink cannot be opened; nothing has changed then.
    pub fn prepare(&self, plan: &Plan) -> Result<Sinks, OpenError> {
        let now = self.sinks.load();
        let mut open = BTreeMap::new();
        for access in plan.listeners.iter().map(|listener| &listener.access) {
            let Some(target) = target(&access.to).filter(|_| !open.contains_key(&access.to)) else { continue };
            let sink = match now.open.get(&access.to) {
                Some(sink) => sink.clone(),
                None => Arc::new(self.open_one(target)?),
            };
            open.insert(access.to.clone(), sink);
        }
        Ok(Sinks { form: form(plan.log.format), open })
    }

    /// Uses these sinks from now on.
    pub fn adopt(&self, sinks: Sinks) {
        self.sinks.store(Arc::new(sinks));
    }

    /// Writes a line about `record` if its listener wants one of this kind. Never blocks.
    pub fn write(&self, kind: Kind, record: &Record, outcome: Option<&Outcome>) {
        let settings = record.listener.settings();
        if !wanted(kind, record, &settings.access) {
            return;
        }
        let sinks = self.sinks.load();
        if let Some(sink) = sinks.open.get(&settings.access.to) {
            sink.write(&line::compose(sinks.form, kind, record, outcome));
        }
    }

    /// How often a living session is to be logged, if it is.
    pub fn interval(&self, record: &Record) -> Option<Duration> {
        let settings = record.listener.settings();
        let access = &settings.access;
        access.interval.filter(|_| access.to != AccessSink::Off && sampled(record, access))
    }

    /// Opens files again by their names, after someone moved them.
    pub fn reopen(&self) {
        self.sinks.load().open.values().for_each(|sink| sink.reopen());
    }

    /// Lines that were lost, because a sink was stuck or failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Waits until what was logged is written, at most `within` in all.
    pub fn flush(&self, within: Duration) {
        let end = std::time::Instant::now() + within;
        for sink in self.sinks.load().open.values() {
            sink.flush(end.saturating_duration_since(std::time::Instant::now()));
        }
    }

    fn open_one(&self, target: Target) -> Result<Sink, OpenError> {
        let sink = match &target {
            Target::Stdout => "stdout".into(),
            Target::Stderr => "stderr".into(),
            Target::File(path) => path.display().to_string(),
        };
        Sink::open(target, self.dropped.clone()).map_err(|error| OpenError { sink, error })
    }
}

fn wanted(kind: Kind, record: &Record, access: &AccessLog) -> bool {
    let (of_kind, may_be_empty) = match kind {
        Kind::Start => (access.at_start, true),
        Kind::Interval => (access.interval.is_some(), !access.skip_empty),
        Kind::End => (access.at_end, !access.skip_empty),
    };
    of_kind && access.to != AccessSink::Off && sampled(record, access) && (may_be_empty || carried_bytes(record))
}

fn sampled(record: &Record, access: &AccessLog) -> bool {
    f64::from(record.sample) < access.sample
}

fn carried_bytes(record: &Record) -> bool {
    Direction::ALL.iter().any(|direction| record.tally.bytes(*direction) > 0)
}

fn target(to: &AccessSink) -> Option<Target> {
    match to {
        AccessSink::Off => None,
        AccessSink::Stdout => Some(Target::Stdout),
        AccessSink::Stderr => Some(Target::Stderr),
        AccessSink::File(path) => Some(Target::File(path.clone())),
    }
}

fn form(format: LogFormat) -> Form {
    match format {
        LogFormat::Json => Form::Json,
        LogFormat::Text => Form::Text,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests;
