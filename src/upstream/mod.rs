//! Reaching a backend: wait for a place, lease, connect, next backend, within attempts, budget and deadline.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use crate::backend::{Backend, BackendId};
use crate::backoff;
use crate::balance::{Draw, Facts, hash_key};
use crate::config::plan;
use crate::connect::{Caller, ConnectError, Connector, Dial};
use crate::metrics::{ConnectFailure, Unavailable};
use crate::net::{Stream, Target};
use crate::pool::{Lease, NoLease, Pool, QueueError};

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

/// What happens on the way to a backend, for the record.
#[derive(Debug, Clone)]
pub enum Event {
    /// All usable backends are full; the session waits in the queue.
    Queued,
    /// Its turn came, after so long.
    Admitted(Duration),
    /// It left the queue unserved, after so long.
    GaveUp(Duration),
    /// An attempt has ended.
    Attempted(Attempt),
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

/// Why no backend was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialError {
    /// The pool had none to offer.
    Unavailable(Unavailable),
    /// All were full, and waiting did not help.
    Queue(QueueError),
    /// Every attempt failed, or the deadline passed; the errno of the last one.
    Failed(Option<i32>),
}

/// Reaches one of the pool's backends, each attempt a different one while there is one.
///
/// Each attempt tells its backend who the `caller` is, if the pool wants that. `heard` is told of each event as it
/// happens. Cancel safe: dropping the future leaves the queue,
/// abandons the attempts under way and gives their places back.
///
/// # Errors
/// No backend within `connect.attempts`, the retry budget and `connect.deadline`. Waiting in the queue
/// does not count against the deadline.
pub async fn dial(
    pool: &Arc<Pool>,
    connector: &Connector,
    caller: Caller<'_>,
    heard: impl Fn(Event),
) -> Result<Dialed, DialError> {
    let settings = pool.settings();
    let facts = Facts { client: caller.client, local: caller.local };
    let key = settings.policy.hash.map_or(0, |spec| hash_key(&spec, &facts));
    pool.earn(Instant::now().into_std());
    let lease = first_lease(pool, &settings, key, &heard).await?;
    let deadline = Instant::now() + settings.connect.deadline;
    let preamble = settings.connect.send_proxy.map(|send| caller.preamble(send));
    let chase =
        Chase { pool, connector, settings: &settings, key, preamble, deadline, heard: &heard, tried: Vec::new() };
    chase.run(lease).await
}

/// The first lease: at once, or after a wait in the queue behind all who wait already.
async fn first_lease(
    pool: &Arc<Pool>,
    settings: &plan::Pool,
    key: u64,
    heard: &impl Fn(Event),
) -> Result<Lease, DialError> {
    let queued = settings.queue.is_some();
    let lease = match queued && pool.has_queue() && pool.is_usable() {
        true => Err(NoLease::Unavailable(Unavailable::Full)),
        false => pool.lease(&draw(key, &[])),
    };
    match lease {
        Ok(lease) => Ok(lease),
        Err(NoLease::Unavailable(Unavailable::Full)) if queued => wait(pool, key, heard).await,
        Err(NoLease::Unavailable(reason)) => Err(unavailable(pool, reason)),
        Err(NoLease::AllTried) => Err(unavailable(pool, Unavailable::Full)),
    }
}

async fn wait(pool: &Arc<Pool>, key: u64, heard: &impl Fn(Event)) -> Result<Lease, DialError> {
    heard(Event::Queued);
    let mut watch = WaitWatch { pool, since: Instant::now(), heard, told: false };
    match pool.wait_for_lease(key).await {
        Ok(lease) => {
            watch.tell(Event::Admitted);
            Ok(lease)
        }
        Err(error) => {
            // Who found no room in the queue has not waited.
            watch.told = error == QueueError::Full;
            pool.cells.unavailable[Unavailable::Full as usize].inc();
            Err(DialError::Queue(error))
        }
    }
}

/// A wait under way; told however it ends, also when it is dropped.
struct WaitWatch<'a, H: Fn(Event)> {
    pool: &'a Pool,
    since: Instant,
    heard: &'a H,
    told: bool,
}

impl<H: Fn(Event)> WaitWatch<'_, H> {
    fn tell(&mut self, event: impl FnOnce(Duration) -> Event) {
        let waited = self.since.elapsed();
        self.pool.cells.queue_wait.observe(waited);
        (self.heard)(event(waited));
        self.told = true;
    }
}

impl<H: Fn(Event)> Drop for WaitWatch<'_, H> {
    fn drop(&mut self) {
        if !self.told {
            self.tell(Event::GaveUp);
        }
    }
}

fn unavailable(pool: &Pool, reason: Unavailable) -> DialError {
    pool.cells.unavailable[reason as usize].inc();
    DialError::Unavailable(reason)
}

fn draw(key: u64, tried: &[BackendId]) -> Draw<'_> {
    Draw { key, entropy: fastrand::u64(..), now: Instant::now().into_std(), tried }
}

/// One session's way through attempts.
struct Chase<'a, H: Fn(Event)> {
    pool: &'a Arc<Pool>,
    connector: &'a Connector,
    settings: &'a plan::Pool,
    key: u64,
    /// What each attempt says first.
    preamble: Option<Arc<[u8]>>,
    deadline: Instant,
    heard: &'a H,
    /// One entry an attempt.
    tried: Vec<BackendId>,
}

impl<'a, H: Fn(Event)> Chase<'a, H> {
    async fn run(mut self, first: Lease) -> Result<Dialed, DialError> {
        let mut lease = first;
        loop {
            let target = self.target_after_pause(&lease).await;
            let timeout = self.settings.connect.timeout.min(self.left());
            if timeout.is_zero() {
                self.pool.cells.unavailable[Unavailable::Deadline as usize].inc();
                return Err(DialError::Failed(None));
            }
            let errno = match self.attempt_hedged(lease, target, timeout).await {
                Ok(dialed) => return Ok(dialed),
                Err(error) => error.errno,
            };
            lease = self.next_lease().await.unwrap_or(Err(DialError::Failed(errno)))?;
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Where to dial this time. The same address is dialled again only after a pause; only a host name
    /// has other addresses, and they need none.
    async fn target_after_pause(&mut self, lease: &Lease) -> Target {
        let again = self.tried.iter().filter(|id| **id == lease.backend().id).count();
        self.tried.push(lease.backend().id);
        if again >= lease.targets.len() {
            let plan::Backoff { base, max } = self.settings.connect.backoff;
            let pause = backoff::pause(base, max, again as u32 - 1, fastrand::u64(..));
            sleep(pause.min(self.left())).await;
        }
        lease.targets[again % lease.targets.len()].clone()
    }

    /// The next backend to try, if attempts and the budget allow one. Where the sound ones are only full and
    /// there is a queue, it is waited for.
    async fn next_lease(&mut self) -> Option<Result<Lease, DialError>> {
        if self.tried.len() >= self.settings.connect.attempts as usize {
            return None;
        }
        let other = self.pool.lease(&draw(self.key, &self.tried));
        let lease = other.or_else(|_| self.pool.lease(&draw(self.key, &[])));
        let waits = lease.as_ref().err() == Some(&NoLease::Unavailable(Unavailable::Full));
        if lease.is_err() && !(waits && self.settings.queue.is_some()) {
            return None;
        }
        if !self.pool.may_retry(Instant::now().into_std()) {
            return None;
        }
        let lease = match lease {
            Ok(lease) => lease,
            Err(_) => match self.wait_again().await {
                Ok(lease) => lease,
                Err(error) => return Some(Err(error)),
            },
        };
        self.pool.cells.retries.inc();
        Some(Ok(lease))
    }

    /// Queueing does not count against the deadline.
    async fn wait_again(&mut self) -> Result<Lease, DialError> {
        let since = Instant::now();
        let result = wait(self.pool, self.key, self.heard).await;
        self.deadline += since.elapsed();
        result
    }

    /// One attempt, and a second one raced against it if it is slow and the pool hedges.
    async fn attempt_hedged(&mut self, lease: Lease, target: Target, limit: Duration) -> Result<Dialed, ConnectError> {
        let (pool, connector, tcp, heard) = (self.pool, self.connector, self.settings.tcp, self.heard);
        let (source, preamble) = (self.settings.connect.source.clone(), self.preamble.clone());
        let attempt = |lease, target, timeout| {
            let dial = Dial { target, source: source.clone(), preamble: preamble.clone(), tcp, timeout };
            attempt(pool, connector, dial, lease, heard)
        };
        let mut first = pin!(attempt(lease, target, limit));
        let Some(patience) = pool.hedge_after() else { return first.await };
        if let Ok(result) = timeout(patience, first.as_mut()).await {
            return result;
        }
        let Some(other) = self.hedge_lease() else { return first.await };
        self.tried.push(other.backend().id);
        let (target, limit) = (other.targets[0].clone(), self.settings.connect.timeout.min(self.left()));
        let mut second = pin!(attempt(other, target, limit));
        let (result, won) = tokio::select! {
            biased;
            result = &mut first => match result {
                Ok(dialed) => (Ok(dialed), false),
                Err(_) => (second.await, true),
            },
            result = &mut second => match result {
                Ok(dialed) => (Ok(dialed), true),
                Err(_) => (first.await, false),
            },
        };
        let counter = if won && result.is_ok() { &pool.cells.hedges_won } else { &pool.cells.hedges_lost };
        counter.inc();
        result
    }

    /// A backend to race: a different one, and only if attempts and the budget allow it.
    fn hedge_lease(&self) -> Option<Lease> {
        if self.tried.len() >= self.settings.connect.attempts as usize {
            return None;
        }
        let other = self.pool.lease(&draw(self.key, &self.tried)).ok()?;
        self.pool.may_hedge(Instant::now().into_std()).then_some(other)
    }
}

/// One attempt, told however it ends.
async fn attempt(
    pool: &Pool,
    connector: &Connector,
    dial: Dial,
    lease: Lease,
    heard: &impl Fn(Event),
) -> Result<Dialed, ConnectError> {
    let target = dial.target.clone();
    let mut watch = Watch::new(pool, &lease, heard);
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
    heard: &'a H,
    result: AttemptResult,
}

impl<'a, H: Fn(Event)> Watch<'a, H> {
    fn new(pool: &'a Pool, lease: &Lease, heard: &'a H) -> Self {
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
        self.backend.observe_success();
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

impl<H: Fn(Event)> Drop for Watch<'_, H> {
    fn drop(&mut self) {
        let (backend, result) = (self.backend.clone(), self.result);
        (self.heard)(Event::Attempted(Attempt { backend, result, took: self.started.elapsed() }));
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

    const NOBODY: Caller<'_> = Caller { client: Peer::Unix, local: Peer::Unix, id: &"" };

    async fn pool(backends: &str, connect: &str) -> Arc<Pool> {
        let yaml = format!(
            "{{ listeners: {{ l: {{ bind: 127.0.0.1:0, pool: p }} }},
                pools: {{ p: {{ backends: {backends}, connect: {connect} }} }} }}"
        );
        let plan = crate::config::parse("test.yaml", &yaml, &CATALOGUE, &|_| None).expect("valid");
        let pool = Arc::new(Pool::new(plan.pools[0].clone()));
        Keeper::new(pool.clone(), &Registry::new(1), Arc::new(System), None).start().await;
        pool
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Heard {
        fn note(&self, event: Event) {
            self.0.lock().expect("sound").push(event);
        }

        fn results(&self) -> Vec<AttemptResult> {
            let heard = self.0.lock().expect("sound");
            let result = |event: &Event| match event {
                Event::Attempted(attempt) => Some(attempt.result),
                Event::Queued | Event::Admitted(_) | Event::GaveUp(_) => None,
            };
            heard.iter().filter_map(result).collect()
        }
    }

    /// Answers as the port says: 1 connects at once, 2 refuses, 3 is a black hole, 4 connects after 300 ms.
    fn by_port() -> Connector {
        BoxCloneSyncService::new(tower::service_fn(|dial: Dial| async move {
            let Target::Ip(address) = dial.target else { panic!("not a port") };
            let refused = Err(ConnectError { reason: ConnectFailure::Refused, errno: Some(111) });
            let timed_out = Err(ConnectError { reason: ConnectFailure::Timeout, errno: None });
            match address.port() {
                1 => Ok(some_stream()),
                2 => refused,
                3 => {
                    sleep(dial.timeout).await;
                    timed_out
                }
                _ => {
                    sleep(Duration::from_millis(300)).await;
                    Ok(some_stream())
                }
            }
        }))
    }

    fn some_stream() -> Stream {
        let (ours, _theirs) = tokio::net::UnixStream::pair().expect("a pair");
        Stream::Unix(ours)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_attempt_is_raced_and_the_loser_is_nobodys_failure() {
        let pool = pool("[ '127.0.0.1:3', '127.0.0.1:1' ]", "{ attempts: 2, hedge_after: 50ms }").await;
        let started = Instant::now();
        for _ in 0..10 {
            let dialed = dial(&pool, &by_port(), NOBODY, |_| {}).await.expect("one answers");
            assert_eq!(&*dialed.lease.backend().name, "127.0.0.1:1");
        }
        assert!(started.elapsed() <= Duration::from_millis(600), "{:?}", started.elapsed());
        assert!(pool.cells.hedges_won.get() >= 1);
        let black_hole = pool.snapshot().members[0].backend.clone();
        assert_eq!(black_hole.active(), 0);
        assert!(black_hole.cells.failures.iter().all(|count| count.get() == 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hedge_that_was_not_needed_is_lost() {
        let pool = pool("[ '127.0.0.1:4', '127.0.0.1:3' ]", "{ attempts: 2, hedge_after: 50ms }").await;
        let dialed = dial(&pool, &by_port(), NOBODY, |_| {}).await.expect("one answers");
        assert_eq!(&*dialed.lease.backend().name, "127.0.0.1:4");
        assert_eq!((pool.cells.hedges_won.get(), pool.cells.hedges_lost.get()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn of_three_backends_a_bad_one_is_seen_by_no_client_and_costs_few_retries() {
        let backends = "[ '127.0.0.1:1', '127.0.0.1:2', '127.0.0.2:1' ]";
        let pool = pool(backends, "{ attempts: 2, retry_budget: { share: 0%, min: 10/s } }").await;
        for _ in 0..10_000 {
            dial(&pool, &by_port(), NOBODY, |_| {}).await.expect("a good one is left");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        // Ten seconds of a thousand sessions a second: a third of them would be 3 333.
        assert!(pool.cells.retries.get() < 20, "{} retries", pool.cells.retries.get());
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_not_multiplied() {
        let connect = "{ attempts: 5, backoff: { base: 1ms, max: 1ms }, retry_budget: { share: 20%, min: 1/s } }";
        let pool = pool("[ '127.0.0.1:2', '127.0.0.2:2' ]", connect).await;
        for _ in 0..2000 {
            assert!(dial(&pool, &by_port(), NOBODY, |_| {}).await.is_err());
        }
        let retries = pool.cells.retries.get();
        assert!((300..=450).contains(&retries), "{retries} retries of 2000 sessions");
        assert!(pool.cells.unavailable[Unavailable::Budget as usize].get() > 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_served_in_order_and_nobody_overtakes() {
        let backends = "{ address: '127.0.0.1:1', max_connections: 1 }";
        let pool = pool(backends, "{ attempts: 1 }, queue: { max: 2, timeout: 10s }").await;
        let held = dial(&pool, &by_port(), NOBODY, |_| {}).await.expect("free");
        let order: Arc<Mutex<Vec<u32>>> = Arc::default();
        let wait = |number: u32| {
            let (pool, order) = (pool.clone(), order.clone());
            tokio::spawn(async move {
                let dialed = dial(&pool, &by_port(), NOBODY, |_| {}).await;
                order.lock().expect("sound").push(number);
                sleep(Duration::from_secs(1)).await;
                drop(dialed);
            })
        };
        let first = wait(1);
        tokio::task::yield_now().await;
        let second = wait(2);
        tokio::task::yield_now().await;
        assert_eq!(pool.queue_length(), 2);
        let full = dial(&pool, &by_port(), NOBODY, |_| {}).await;
        assert_eq!(full.err(), Some(DialError::Queue(QueueError::Full)));
        drop(held);
        let third = wait(3);
        for waiter in [first, second, third] {
            waiter.await.expect("no panic");
        }
        assert_eq!(*order.lock().expect("sound"), [1, 2, 3]);
        assert_eq!((pool.queue_length(), pool.snapshot().members[0].backend.active()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_at_its_timeout_and_leaves_the_line() {
        let backends = "{ address: '127.0.0.1:1', max_connections: 1 }";
        let pool = pool(backends, "{ attempts: 1 }, queue: { max: 2, timeout: 3s }").await;
        let _held = dial(&pool, &by_port(), NOBODY, |_| {}).await.expect("free");
        let started = Instant::now();
        let late = dial(&pool, &by_port(), NOBODY, |_| {}).await;
        assert_eq!(late.err(), Some(DialError::Queue(QueueError::Timeout)));
        assert_eq!(started.elapsed().as_secs(), 3);
        assert_eq!(pool.queue_length(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_tier_is_for_those_who_tried_all_of_the_first() {
        let backends = "[ '127.0.0.1:2', { address: '127.0.0.1:1', tier: 1 } ]";
        let pool = pool(backends, "{ attempts: 2 }").await;
        let heard = Heard::default();
        let dialed = dial(&pool, &by_port(), NOBODY, |event| heard.note(event)).await.expect("the second tier");
        assert_eq!(&*dialed.lease.backend().name, "127.0.0.1:1");
        assert_eq!(heard.results().len(), 2);
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
        let heard = Heard::default();
        let result = dial(&pool, &refusing(Duration::ZERO, Arc::clone(&seen)), NOBODY, |event| heard.note(event)).await;
        assert_eq!(result.err(), Some(DialError::Failed(Some(111))));
        assert_eq!(heard.results(), [AttemptResult::Failed(ConnectFailure::Refused); 3]);
        let seen = seen.lock().expect("sound");
        assert_eq!(seen.iter().map(|(_, target)| target.to_string()).collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(seen[0].0, seen[2].0, "no pause before a backend that was not tried yet");
        assert_eq!(pool.cells.retries.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_backend_is_tried_again_only_after_a_pause() {
        let pool = pool("'127.0.0.1:1'", "{ attempts: 3, backoff: { base: 100ms, max: 1s } }").await;
        let seen = Arc::default();
        let result = dial(&pool, &refusing(Duration::ZERO, Arc::clone(&seen)), NOBODY, |_| {}).await;
        assert_eq!(result.err(), Some(DialError::Failed(Some(111))));
        let seen = seen.lock().expect("sound");
        let pauses = [seen[1].0 - seen[0].0, seen[2].0 - seen[1].0].map(|pause| pause.as_millis());
        assert!((50..=101).contains(&pauses[0]) && (100..=201).contains(&pauses[1]), "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_bounds_attempts_and_pauses_together() {
        let pool = pool("[ '127.0.0.1:1', '127.0.0.1:2' ]", "{ attempts: 9, timeout: 2s, deadline: 5s }").await;
        let started = tokio::time::Instant::now();
        let result = dial(&pool, &refusing(Duration::from_secs(60), Arc::default()), NOBODY, |_| {}).await;
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
            let result = dial(&pool, &refusing(Duration::ZERO, Arc::default()), NOBODY, |_| {}).await;
            assert_eq!(result.err(), Some(DialError::Unavailable(reason)));
            assert_eq!(pool.cells.unavailable[reason as usize].get(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_attempt_is_told_and_not_blamed() {
        let pool = pool("'127.0.0.1:1'", "{ attempts: 1 }").await;
        let heard = Heard::default();
        let connector = refusing(Duration::from_secs(60), Arc::default());
        let dialing = dial(&pool, &connector, NOBODY, |event| heard.note(event));
        let _ = tokio::time::timeout(Duration::from_secs(1), dialing).await;
        assert_eq!(heard.results(), [AttemptResult::Abandoned]);
        let backend = pool.snapshot().members[0].backend.clone();
        assert_eq!(backend.active(), 0, "its place was given back");
        assert!(backend.cells.failures.iter().all(|count| count.get() == 0));
    }
}
