//! Reaching a backend: lease, connect, next backend, within attempts and deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tower::ServiceExt;

use crate::backend::{Backend, BackendId};
use crate::backoff;
use crate::balance::{Draw, Facts, hash_key};
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
pub async fn dial(
    pool: &Pool,
    connector: &Connector,
    facts: Facts,
    mut heard: impl FnMut(Attempt),
) -> Result<Dialed, DialError> {
    let settings = pool.settings();
    let connect = &settings.connect;
    let key = settings.policy.hash.map_or(0, |spec| hash_key(&spec, &facts));
    let deadline = Instant::now() + connect.deadline;
    let mut tried: Vec<BackendId> = Vec::new();
    let mut last_errno = None;
    while tried.len() < connect.attempts as usize {
        if !tried.is_empty() {
            pool.cells.retries.inc();
        }
        let (lease, again) = lease(pool, key, &tried)?;
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
fn lease(pool: &Pool, key: u64, tried: &[BackendId]) -> Result<(Lease, u32), DialError> {
    let draw = |tried| Draw { key, entropy: fastrand::u64(..), now: Instant::now().into_std(), tried };
    let result = match pool.lease(&draw(tried)) {
        Err(NoLease::AllTried) => pool.lease(&draw(&[])),
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
        self.backend.observe(took, Instant::now().into_std());
        self.result = AttemptResult::Connected;
    }

    fn failed(&mut self, reason: ConnectFailure) {
        self.backend.cells.failures[reason as usize].inc();
        // What this machine lacks is not the backend's fault.
        if reason != ConnectFailure::Local {
            self.backend.observe_failure(Instant::now().into_std());
        }
        self.result = AttemptResult::Failed(reason);
    }
}

impl<H: FnMut(Attempt)> Drop for Watch<'_, H> {
    fn drop(&mut self) {
        let (backend, result) = (self.backend.clone(), self.result);
        (self.heard)(Attempt { backend, result, took: self.started.elapsed() });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use tower::util::BoxCloneSyncService;

    use super::*;
    use crate::backend::Registry;
    use crate::balance::CATALOGUE;
    use crate::discover::System;
    use crate::net::Peer;
    use crate::pool::Keeper;

    const FACTS: Facts = Facts { client: Peer::Unix, local: Peer::Unix };

    async fn pool(backends: &str, connect: &str) -> Pool {
        let yaml = format!(
            "{{ listeners: {{ l: {{ bind: 127.0.0.1:0, pool: p }} }},
                pools: {{ p: {{ backends: {backends}, connect: {connect} }} }} }}"
        );
        let plan = crate::config::parse("test.yaml", &yaml, &CATALOGUE, &|_| None).expect("valid");
        let pool = Arc::new(Pool::new(plan.pools[0].clone()));
        Keeper::new(pool.clone(), &Registry::new(1), Arc::new(System)).start().await;
        Arc::into_inner(pool).expect("only ours")
    }

    /// Refuses every attempt after `takes`, and writes down when each came and where to.
    fn refusing(takes: Duration, seen: Arc<Mutex<Vec<(tokio::time::Instant, Target)>>>) -> Connector {
        BoxCloneSyncService::new(tower::service_fn(move |dial: Dial| {
            seen.lock().expect("sound").push((tokio::time::Instant::now(), dial.target.clone()));
            async move {
                match tokio::time::timeout(dial.timeout, sleep(takes)).await {
                    Ok(()) => Err(ConnectError { reason: ConnectFailure::Refused, errno: Some(111) }),
                    Err(_) => Err(ConnectError { reason: ConnectFailure::Timeout, errno: None }),
                }
            }
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn every_attempt_goes_elsewhere_while_there_is_an_elsewhere() {
        let pool = pool("[ '127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3' ]", "{ attempts: 3 }").await;
        let seen = Arc::default();
        let mut heard = Vec::new();
        let result =
            dial(&pool, &refusing(Duration::ZERO, Arc::clone(&seen)), FACTS, |attempt| heard.push(attempt.result))
                .await;
        assert_eq!(result.err(), Some(DialError::Failed(Some(111))));
        assert_eq!(heard, [AttemptResult::Failed(ConnectFailure::Refused); 3]);
        let seen = seen.lock().expect("sound");
        assert_eq!(seen.iter().map(|(_, target)| target.to_string()).collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(seen[0].0, seen[2].0, "no pause before a backend that was not tried yet");
        assert_eq!(pool.cells.retries.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_backend_is_tried_again_only_after_a_pause() {
        let pool = pool("'127.0.0.1:1'", "{ attempts: 3, backoff: { base: 100ms, max: 1s } }").await;
        let seen = Arc::default();
        let result = dial(&pool, &refusing(Duration::ZERO, Arc::clone(&seen)), FACTS, |_| {}).await;
        assert_eq!(result.err(), Some(DialError::Failed(Some(111))));
        let seen = seen.lock().expect("sound");
        let pauses = [seen[1].0 - seen[0].0, seen[2].0 - seen[1].0].map(|pause| pause.as_millis());
        assert!((50..=101).contains(&pauses[0]) && (100..=201).contains(&pauses[1]), "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_bounds_attempts_and_pauses_together() {
        let pool = pool("[ '127.0.0.1:1', '127.0.0.1:2' ]", "{ attempts: 9, timeout: 2s, deadline: 5s }").await;
        let started = tokio::time::Instant::now();
        let result = dial(&pool, &refusing(Duration::from_secs(60), Arc::default()), FACTS, |_| {}).await;
        assert_eq!(result.err(), Some(DialError::Failed(None)));
        let took = started.elapsed().as_millis();
        assert!((5000..=5010).contains(&took), "{took} ms");
        assert_eq!(pool.cells.unavailable[Unavailable::Deadline as usize].get(), 1);
    }

    #[tokio::test]
    async fn a_pool_without_backends_says_which_kind_of_without() {
        for (backends, reason) in
            [("[]", Unavailable::Empty), ("{ address: '127.0.0.1:1', disabled: true }", Unavailable::Down)]
        {
            let pool = pool(backends, "{ attempts: 1 }").await;
            let result = dial(&pool, &refusing(Duration::ZERO, Arc::default()), FACTS, |_| {}).await;
            assert_eq!(result.err(), Some(DialError::Unavailable(reason)));
            assert_eq!(pool.cells.unavailable[reason as usize].get(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_attempt_is_told_and_not_blamed() {
        let pool = pool("'127.0.0.1:1'", "{ attempts: 1 }").await;
        let mut heard = Vec::new();
        let connector = refusing(Duration::from_secs(60), Arc::default());
        let _ =
            tokio::time::timeout(Duration::from_secs(1), dial(&pool, &connector, FACTS, |attempt| heard.push(attempt)))
                .await;
        assert_eq!(heard[0].result, AttemptResult::Abandoned);
        assert_eq!(heard[0].backend.active(), 0, "its place was given back");
        assert!(heard[0].backend.cells.failures.iter().all(|count| count.get() == 0));
    }
}
