//! One attempt to reach one backend, counted and told however it ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Dialed, Event};
use crate::backend::Backend;
use crate::config::plan;
use crate::connect::{ConnectError, Connected, Connector, Dial};
use crate::health::was_held_up;
use crate::metrics::ConnectFailure;
use crate::net::{Peer, Target};
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

/// What the attempts of one session have in common.
pub(super) struct Course<'a, H: Fn(Event)> {
    pub(super) pool: &'a Arc<Pool>,
    pub(super) connector: &'a Connector,
    pub(super) settings: &'a plan::Pool,
    /// What each attempt says first.
    pub(super) preamble: Option<Arc<[u8]>>,
    /// The client from whose address each attempt comes, if that is wanted.
    pub(super) transparent: Option<Peer>,
    /// What its client asked for in the clear before its TLS.
    pub(super) starttls: Option<plan::Starttls>,
    /// Whether it has said something.
    pub(super) speaks: bool,
    pub(super) heard: &'a H,
}

impl<'a, H: Fn(Event)> Course<'a, H> {
    /// One attempt that begins at `now`, told however it ends.
    pub(super) fn attempt(
        &'a self,
        lease: Lease,
        target: Target,
        limit: Duration,
        now: Instant,
    ) -> impl Future<Output = Result<Dialed, ConnectError>> + use<'a, H> {
        let dial = self.dial(&lease, target, limit);
        // Not an `async fn`, which keeps twice for as long as it runs what it is called with.
        async move {
            let watch = Watch::new(self, &lease, limit, now);
            let result = self.connector.dial(&dial, now).await;
            match &result {
                Ok(_) => watch.connected(),
                Err(error) => watch.failed(error.reason),
            }
            result.map(|Connected { stream, local }| Dialed { stream, lease, local, target: dial.target })
        }
    }

    fn dial(&self, lease: &Lease, target: Target, timeout: Duration) -> Dial {
        Dial {
            target,
            source: self.settings.connect.source.clone(),
            transparent: self.transparent,
            preamble: self.preamble.clone(),
            starttls: self.starttls.or(self.settings.starttls),
            secure: lease.secure.clone(),
            speaks: self.speaks,
            tcp: self.settings.tcp,
            timeout,
        }
    }
}

/// An attempt under way; told however it ends, also when it is dropped.
struct Watch<'a, H: Fn(Event)> {
    course: &'a Course<'a, H>,
    backend: &'a Arc<Backend>,
    /// How long it may take.
    limit: Duration,
    started: Instant,
    told: bool,
}

impl<'a, H: Fn(Event)> Watch<'a, H> {
    fn new(course: &'a Course<'a, H>, lease: &'a Lease, limit: Duration, started: Instant) -> Self {
        Self { course, backend: lease.backend(), limit, started, told: false }
    }

    fn connected(mut self) {
        let now = Instant::now();
        let took = now - self.started;
        let cells = &self.backend.cells;
        cells.connections.inc();
        cells.connect_seconds.add(took);
        cells.connect_histogram.observe(took);
        self.course.pool.cells.connect.observe(took);
        self.backend.observe(took, now.into_std());
        self.backend.observe_success();
        self.tell(AttemptResult::Connected, took);
    }

    fn failed(mut self, reason: ConnectFailure) {
        let now = Instant::now();
        let took = now - self.started;
        self.backend.cells.failures[reason as usize].inc();
        // What this machine lacks is not the backend's fault, nor is time in which it was stopped.
        let ours =
            reason == ConnectFailure::Local || reason == ConnectFailure::Timeout && was_held_up(took, self.limit);
        if !ours {
            self.backend.observe_failure(now.into_std());
            self.course.pool.witness(self.backend, false);
        }
        self.tell(AttemptResult::Failed(reason), took);
    }

    fn tell(&mut self, result: AttemptResult, took: Duration) {
        self.told = true;
        (self.course.heard)(Event::Attempted(Attempt::new(self.backend.clone(), result, took)));
    }
}

impl<H: Fn(Event)> Drop for Watch<'_, H> {
    fn drop(&mut self) {
        if !self.told {
            self.tell(AttemptResult::Abandoned, self.started.elapsed());
        }
    }
}
