//! How changes of the files take effect.

use std::time::Duration;

/// `reload`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reload {
    /// Reload when a file changes.
    pub watch: bool,
    /// Wait for so long without another change first.
    pub debounce: Duration,
    /// Look after each reload whether things got worse; `None` is not at all.
    pub guard: Option<Guard>,
}

/// `reload.guard`: how long a new configuration is watched, and what is worse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// How long.
    pub span: Duration,
    /// Failures may rise to so many times their share of before, at least 1.0.
    pub failures_over: f64,
    /// So may the 99th percentile of connect times, at least 1.0.
    pub p99_over: f64,
    /// Fewer attempts to reach a backend than these prove nothing.
    pub min_events: u64,
}

impl Default for Guard {
    /// As if nothing were said about it.
    fn default() -> Self {
        Self { span: Duration::from_secs(60), failures_over: 2.0, p99_over: 2.0, min_events: 50 }
    }
}
