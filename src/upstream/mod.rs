//! Reaching a backend: wait for a place, lease, connect, next backend, within attempts, budget and deadline.

mod attempt;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::backend::BackendId;
use crate::backoff;
use crate::balance::{Draw, Facts, hash_key};
use crate::config::plan;
use crate::connect::{Caller, ConnectError, Connector, Dial};
use crate::metrics::Unavailable;
use crate::net::{Peer, Stream, Target};
use crate::pool::{Lease, NoLease, Pool, QueueError};

use attempt::attempt;
pub use attempt::{Attempt, AttemptResult};

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
    let facts = Facts { client: caller.client, local: caller.local, server_name: caller.server_name };
    let key = settings.policy.hash.map_or(0, |spec| hash_key(&spec, &facts));
    pool.earn(Instant::now().into_std());
    let lease = first_lease(pool, &settings, key, &heard).await?;
    let deadline = Instant::now() + settings.connect.deadline;
    let preamble = settings.connect.send_proxy.map(|send| caller.preamble(send));
    let chase = Chase {
        pool,
        connector,
        settings: &settings,
        key,
        preamble,
        transparent: settings.connect.transparent.then_some(caller.client),
        starttls: caller.asked,
        speaks: caller.speaks,
        deadline,
        heard: &heard,
        tried: Vec::new(),
    };
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
    /// The client from whose address each attempt comes, if that is wanted.
    transparent: Option<Peer>,
    /// What its client asked for in the clear before its TLS.
    starttls: Option<plan::Starttls>,
    /// Whether it has said something.
    speaks: bool,
    deadline: Instant,
    heard: &'a H,
    /// One entry an attempt.
    tried: Vec<BackendId>,
}

impl<'a, H: Fn(Event)> Chase<'a, H> {
    async fn run(mut self, first: Lease) -> Result<Dialed, DialError> {
        let mut lease = first;
        let mut errno = None;
        loop {
            let target = self.target_after_pause(&lease).await;
            let timeout = self.settings.connect.timeout.min(self.left());
            if timeout.is_zero() {
                self.pool.cells.unavailable[Unavailable::Deadline as usize].inc();
                return Err(DialError::Failed(errno));
            }
            errno = match self.attempt_hedged(lease, target, timeout).await {
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
        let speaks = self.speaks;
        let (transparent, starttls) = (self.transparent, self.starttls.or(self.settings.starttls));
        let attempt = |lease: Lease, target, timeout| {
            let (source, preamble, secure) = (source.clone(), preamble.clone(), lease.secure.clone());
            let dial = Dial { target, source, transparent, preamble, starttls, secure, speaks, tcp, timeout };
            attempt(pool, connector, dial, lease, heard)
        };
        let slow = lease.backend().clone();
        let mut first = pin!(attempt(lease, target, limit));
        let Some(patience) = pool.hedge_after() else { return first.await };
        if let Ok(result) = timeout(patience, first.as_mut()).await {
            return result;
        }
        let Some(other) = self.hedge_lease() else { return first.await };
        self.tried.push(other.backend().id);
        let (target, limit) = (other.targets[0].clone(), self.settings.connect.timeout.min(self.left()));
        // Boxed: room for it would be carried, and moved, by every session of every pool.
        let mut second = Box::pin(attempt(other, target, limit));
        let (result, won) = tokio::select! {
            biased;
            result = &mut first => match result {
                Ok(dialed) => (Ok(dialed), false),
                Err(_) => (second.await, true),
            },
            result = &mut second => match result {
                Ok(dialed) => {
                    slow.observe_beaten(Instant::now().into_std());
                    (Ok(dialed), true)
                }
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
