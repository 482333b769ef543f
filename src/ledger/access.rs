//! The access log: lines about sessions, through writers that may be stuck without stalling anyone.

use std::ffi::OsStr;
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
    /// In the order of their [spellings](spelling), which are compared once a line: paths are dear to compare. Two
    /// spellings of one path have one sink.
    open: Vec<(AccessSink, Arc<Sink>)>,
}

impl Default for Sinks {
    fn default() -> Self {
        Self { form: Form::Json, open: Vec::new() }
    }
}

impl Sinks {
    fn get(&self, to: &AccessSink) -> Option<&Arc<Sink>> {
        self.find(to).ok().map(|at| &self.open[at].1)
    }

    /// Where it is, or belongs.
    fn find(&self, to: &AccessSink) -> Result<usize, usize> {
        self.open.binary_search_by(|(other, _)| spelling(other).cmp(&spelling(to)))
    }

    /// One that is the same to the system, however it is spelled.
    fn same(&self, to: &AccessSink) -> Option<&Arc<Sink>> {
        self.open.iter().find_map(|(other, sink)| (other == to).then_some(sink))
    }

    fn each(&self) -> impl Iterator<Item = &Arc<Sink>> {
        self.open.iter().map(|(_, sink)| sink)
    }
}

/// As it is written in the configuration; standard output and error have no name, and come first.
fn spelling(to: &AccessSink) -> (u8, &OsStr) {
    match to {
        AccessSink::Off => (0, OsStr::new("")),
        AccessSink::Stdout => (1, OsStr::new("")),
        AccessSink::Stderr => (2, OsStr::new("")),
        AccessSink::File(path) => (3, path.as_os_str()),
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
        let mut sinks = Sinks { form: form(plan.log.format), open: Vec::new() };
        for access in plan.listeners.iter().map(|listener| &listener.access) {
            let (Some(target), Err(at)) = (target(&access.to), sinks.find(&access.to)) else { continue };
            let known = now.get(&access.to).or_else(|| sinks.same(&access.to)).or_else(|| now.same(&access.to));
            let sink = match known {
                Some(sink) => sink.clone(),
                None => Arc::new(self.open_one(target)?),
            };
            sinks.open.insert(at, (access.to.clone(), sink));
        }
        Ok(sinks)
    }

    /// Uses these sinks from now on.
    pub fn adopt(&self, sinks: Sinks) {
        self.sinks.store(Arc::new(sinks));
    }

    /// Writes a line about `record` if its listener wants one of this kind; its session has `lasted` so long. Never blocks.
    pub fn write(&self, kind: Kind, record: &Record, outcome: Option<&Outcome>, lasted: Duration) {
        let settings = record.listener.settings();
        if !wanted(kind, record, &settings.access) {
            return;
        }
        let sinks = self.sinks.load();
        if let Some(sink) = sinks.get(&settings.access.to) {
            sink.write(&line::compose(sinks.form, kind, record, outcome, lasted));
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
        self.sinks.load().each().for_each(|sink| sink.reopen());
    }

    /// Lines that were lost, because a sink was stuck or failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Waits until what was logged is written, at most `within` in all.
    pub fn flush(&self, within: Duration) {
        let end = std::time::Instant::now() + within;
        for sink in self.sinks.load().each() {
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
