//! One attempt to reach one backend, counted and told however it ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tower::ServiceExt;

use super::{Dialed, Event};
use crate::backend::Backend;
use crate::connect::{ConnectError, Connector, Dial};
use crate::health::was_held_up;
use crate::metrics::ConnectFailure;
use crate::pool::{Lease, Pool};

/// One attempt, for log and listing.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Which backend.
    pub backend: Arc<Backend>,
    /// How it went.
    pub result: AttemptResult,
    /// How long it took, nanoseconds: a session holds it for as long as it lives.
    nanos: u64,
}

impl Attempt {
    /// One that has ended after so long.
    pub fn new(backend: Arc<Backend>, result: AttemptResult, took: Duration) -> Self {
        Self { backend, result, nanos: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// How long it took.
    pub fn took(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

/// How an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// Connected.
    Connected,
    /// Failed; counted against the backend.
    Failed(ConnectFailure),
    /// The session ended first, or another attempt connected first; nobody's fault.
    Abandoned,
}

impl AttemptResult {
    /// As logs spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "ok",
            Self::Failed(reason) => reason.as_str(),
            Self::Abandoned => "abandoned",
        }
    }
}

/// One attempt, told however it ends.
pub(super) async fn attempt(
    pool: &Pool,
    connector: &Connector,
    dial: Dial,
    lease: Lease,
    heard: &impl Fn(Event),
) -> Result<Dialed, ConnectError> {
    let target = dial.target.clone();
    let mut watch = Watch::new(pool, &lease, dial.timeout, heard);
    let result = connector.clone().oneshot(dial).await;
    match &result {
        Ok(_) => watch.connected(),
        Err(error) => watch.failed(error.reason),
    }
    drop(watch);
    result.map(|stream| Dialed { stream, lease, target })
}

/// An attempt under way; told however it ends, also when it is dropped.
struct Watch<'a, H: Fn(Event)> {
    pool: &'a Pool,
    backend: Arc<Backend>,
    started: Instant,
    /// How long it may take.
    limit: Duration,
    heard: &'a H,
    result: AttemptResult,
}

impl<'a, H: Fn(Event)> Watch<'a, H> {
    fn new(pool: &'a Pool, lease: &Lease, limit: Duration, heard: &'a H) -> Self {
        let (backend, started) = (lease.backend().clone(), Instant::now());
        Self { pool, backend, started, limit, heard, result: AttemptResult::Abandoned }
    }

    fn connected(&mut self) {
        let took = self.started.elapsed();
        let cells = &self.backend.cells;
        cells.connections.inc();
        cells.connect_seconds.add(took);
        cells.connect_histogram.observe(took);
        self.pool.cells.connect.observe(took);
        self.backend.observe(took, Instant::now().into_std());
        self.backend.observe_success();
        self.result = AttemptResult::Connected;
    }

    fn failed(&mut self, reason: ConnectFailure) {
        self.backend.cells.failures[reason as usize].inc();
        // What this machine lacks is not the backend's fault, nor is time in which it was stopped.
        let ours = reason == ConnectFailure::Local
            || reason == ConnectFailure::Timeout && was_held_up(self.started.elapsed(), self.limit);
        if !ours {
            self.backend.observe_failure(Instant::now().into_std());
            self.pool.witness(&self.backend, false);
        }
        self.result = AttemptResult::Failed(reason);
    }
}

impl<H: Fn(Event)> Drop for Watch<'_, H> {
    fn drop(&mut self) {
        let (backend, result) = (self.backend.clone(), self.result);
        (self.heard)(Event::Attempted(Attempt::new(backend, result, self.started.elapsed())));
    }
}
