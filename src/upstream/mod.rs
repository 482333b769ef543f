//! Reaching a backend: lease, connect, next backend, within attempts and deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tower::ServiceExt;

use crate::backend::{Backend, BackendId};
use crate::backoff;
use crate::connect::{ConnectError, Connector, Dial};
use crate::metrics::{ConnectFailure, Unavailable};
use crate::net::{Stream, Target};
use crate::pool::{Lease, NoLease, Pool};

/// A connected backend, held.
#[derive(Debug)]
pub struct Dialed {
    /// The socket.
    pub stream: Stream,
    /// The place at the backend; dropping it gives it back.
    pub lease: Lease,
    /// Which of its addresses answered.
    pub target: Target,
}

/// One attempt, for log and listing.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Which backend.
    pub backend: Arc<Backend>,
    /// How it went.
    pub result: AttemptResult,
    /// How long it took.
    pub took: Duration,
}

/// How an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// Connected.
    Connected,
    /// Failed; counted against the backend.
    Failed(ConnectFailure),
    /// The session ended first; nobody's fault.
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

/// Why no backend was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialError {
    /// The pool had none to offer at the first attempt.
    Unavailable(Unavailable),
    /// Every attempt failed, or the deadline passed; the errno of the last one.
    Failed(Option<i32>),
}

/// Reaches one of the pool's backends, each attempt a different one while there is one.
///
/// `heard` is told of each attempt as it ends. Cancel safe: dropping the future abandons the attempt
/// under way and gives its place back.
///
/// # Errors
/// No backend within `connect.attempts` and `connect.deadline`.
pub async fn dial(pool: &Pool, connector: &Connector, mut heard: impl FnMut(Attempt)) -> Result<Dialed, DialError> {
    let settings = pool.settings();
    let connect = &settings.connect;
    let deadline = Instant::now() + connect.deadline;
    let mut tried: Vec<BackendId> = Vec::new();
    let mut last_errno = None;
    while tried.len() < connect.attempts as usize {
        if !tried.is_empty() {
            pool.cells.retries.inc();
        }
        let (lease, again) = lease(pool, &tried)?;
        // Only a host name has more than one address, and another address of it needs no pause.
        let target = lease.targets[again as usize % lease.targets.len()].clone();
        if again as usize >= lease.targets.len() {
            let pause = backoff::pause(connect.backoff.base, connect.backoff.max, again - 1, fastrand::u64(..));
            sleep(pause.min(left(deadline))).await;
        }
        let timeout = connect.timeout.min(left(deadline));
        if timeout.is_zero() {
            pool.cells.unavailable[Unavailable::Deadline as usize].inc();
            break;
        }
        tried.push(lease.backend().id);
        let mut watch = Watch::new(pool, &lease, &mut heard);
        match connector.clone().oneshot(Dial { target: target.clone(), tcp: settings.tcp, timeout }).await {
            Ok(stream) => {
                watch.connected();
                drop(watch);
                return Ok(Dialed { stream, lease, target });
            }
            Err(ConnectError { reason, errno }) => {
                watch.failed(reason);
                last_errno = errno;
            }
        }
    }
    Err(DialError::Failed(last_errno))
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// A lease on a backend not tried yet, or on one tried before, and how often it was.
fn lease(pool: &Pool, tried: &[BackendId]) -> Result<(Lease, u32), DialError> {
    let result = match pool.lease(tried, fastrand::u64(..)) {
        Err(NoLease::AllTried) => pool.lease(&[], fastrand::u64(..)),
        result => result,
    };
    match result {
        Ok(lease) => {
            let again = tried.iter().filter(|id| **id == lease.backend().id).count();
            Ok((lease, again as u32))
        }
        Err(NoLease::Unavailable(reason)) => {
            pool.cells.unavailable[reason as usize].inc();
            Err(DialError::Unavailable(reason))
        }
        Err(NoLease::AllTried) => Err(DialError::Unavailable(Unavailable::Down)),
    }
}

/// An attempt under way; told however it ends, also when it is dropped.
struct Watch<'a, H: FnMut(Attempt)> {
    pool: &'a Pool,
    backend: Arc<Backend>,
    started: Instant,
    heard: &'a mut H,
    result: AttemptResult,
}

impl<'a, H: FnMut(Attempt)> Watch<'a, H> {
    fn new(pool: &'a Pool, lease: &Lease, heard: &'a mut H) -> Self {
        let (backend, started) = (lease.backend().clone(), Instant::now());
        Self { pool, backend, started, heard, result: AttemptResult::Abandoned }
    }

    fn connected(&mut self) {
        let took = self.started.elapsed();
        let cells = &self.backend.cells;
        cells.connections.inc();
        cells.connect_seconds.add(took);
        cells.connect_histogram.observe(took);
        self.pool.cells.connect.observe(took);
        self.result = AttemptResult::Connected;
    }

    fn failed(&mut self, reason: ConnectFailure) {
        self.backend.cells.failures[reason as usize].inc();
        self.result = AttemptResult::Failed(reason);
    }
}

impl<H: FnMut(Attempt)> Drop for Watch<'_, H> {
    fn drop(&mut self) {
        let (backend, result) = (self.backend.clone(), self.result);
        (self.heard)(Attempt { backend, result, took: self.started.elapsed() });
    }
}
