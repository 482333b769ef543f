//! Both logs: what is written, in which form, and where to.

use std::path::PathBuf;
use std::time::Duration;

/// `log`: both logs.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// A tracing filter, already checked, for the program's own log on stderr.
    pub level: String,
    /// The form of both logs.
    pub format: LogFormat,
    /// The access log of listeners that say nothing else.
    pub access: AccessLog,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// `key=value`, strings quoted.
    Text,
}

/// `log.access`: what is written about each session, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// Where lines go.
    pub to: AccessSink,
    /// A line when the session's backend is established.
    pub at_start: bool,
    /// A line when the session ends.
    pub at_end: bool,
    /// A line every so often while it lives.
    pub interval: Option<Duration>,
    /// The share of sessions that are logged, 0.0 to 1.0, decided once a session.
    pub sample: f64,
    /// Leave out sessions that carried no byte.
    pub skip_empty: bool,
}

/// `log.access.to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessSink {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to, opened again on SIGUSR1.
    File(PathBuf),
}
