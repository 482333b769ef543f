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
use crate::connect::{Caller, ConnectError, Connector};
use crate::metrics::{ConnectFailure, Side, Unavailable};
use crate::net::{Peer, Stream, Target};
use crate::pool::{Lease, NoLease, Pool, QueueError};

use attempt::Course;
pub use attempt::{Attempt, AttemptResult};

/// A connected backend, held.
#[derive(Debug)]
pub struct Dialed {
    /// The socket.
    pub stream: Stream,
    /// The place at the backend; dropping it gives it back.
    pub lease: Lease,
    /// Our side's address.
    pub local: Peer,
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
    /// Every attempt failed, or the deadline passed; whose failure the last one was, and its errno.
    Failed(Side, Option<i32>),
}

impl From<ConnectError> for DialError {
    /// What this machine lacks, a free port or a descriptor, is not the backend's failure.
    fn from(error: ConnectError) -> Self {
        let ours = error.reason == ConnectFailure::Local;
        Self::Failed(if ours { Side::Proxy } else { Side::Backend }, error.errno)
    }
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
    caller: &Caller<'_>,
    heard: impl Fn(Event),
) -> Result<Dialed, DialError> {
    let settings = pool.settings();
    let facts = || Facts { client: caller.client, local: caller.local, server_name: caller.server_name };
    let key = settings.policy.hash.map_or(0, |spec| hash_key(&spec, &facts()));
    let began = Instant::now();
    pool.earn(began.into_std());
    let (lease, now) = first_lease(pool, &settings, key, began, &heard).await?;
    let course = Course {
        pool,
        connector,
        settings: &settings,
        preamble: settings.connect.send_proxy.map(|send| caller.preamble(send)),
        transparent: settings.connect.transparent.then_some(caller.client),
        starttls: caller.asked,
        speaks: caller.speaks,
        heard: &heard,
    };
    let deadline = now + settings.connect.deadline;
    let mut chase = Chase { course: &course, key, now, deadline, tried: Vec::new() };
    chase.run(lease).await
}

/// The first lease, and when it was had: at once, or after a wait in the queue behind all who wait already.
async fn first_lease(
    pool: &Arc<Pool>,
    settings: &plan::Pool,
    key: u64,
    now: Instant,
    heard: &impl Fn(Event),
) -> Result<(Lease, Instant), DialError> {
    let queued = settings.queue.is_some();
    let lease = match queued && pool.has_queue() && pool.is_usable() {
        true => Err(NoLease::Unavailable(Unavailable::Full)),
        false => pool.lease(&draw(key, &[], now)),
    };
    match lease {
        Ok(lease) => Ok((lease, now)),
        Err(NoLease::Unavailable(Unavailable::Full)) if queued => {
            wait(pool, key, heard).await.map(|lease| (lease, Instant::now()))
        }
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

fn draw(key: u64, tried: &[BackendId], now: Instant) -> Draw<'_> {
    Draw { key, entropy: fastrand::u64(..), now: now.into_std(), tried }
}

/// One session's way through attempts.
struct Chase<'a, H: Fn(Event)> {
    course: &'a Course<'a, H>,
    key: u64,
    /// The time as of the last wait: what happens between two of them takes none.
    now: Instant,
    deadline: Instant,
    /// Who was dialled in vain, once for each attempt, and whom a slow one is raced with.
    tried: Vec<BackendId>,
}

impl<H: Fn(Event)> Chase<'_, H> {
    #[allow(
        clippy::manual_async_fn,
        reason = "what an `async fn` is called with it keeps twice for as long as it runs"
    )]
    fn run(&mut self, mut lease: Lease) -> impl Future<Output = Result<Dialed, DialError>> {
        async move {
            let mut failed = DialError::Failed(Side::Backend, None);
            loop {
                let target = self.target_after_pause(&lease).await;
                let limit = self.course.settings.connect.timeout.min(self.left());
                if limit.is_zero() {
                    self.course.pool.cells.unavailable[Unavailable::Deadline as usize].inc();
                    return Err(failed);
                }
                if !self.tried.is_empty() {
                    self.course.pool.cells.retries.inc();
                }
                let backend = lease.backend().id;
                let result = match self.course.pool.hedge_after(self.course.settings.connect.hedge_after) {
                    None => self.course.attempt(lease, target, limit, self.now).await,
                    // Boxed: the room for two would be carried, and moved, by every session of every pool.
                    Some(patience) => Box::pin(self.race(lease, target, limit, patience)).await,
                };
                failed = match result {
                    Ok(dialed) => return Ok(dialed),
                    Err(error) => error.into(),
                };
                self.now = Instant::now();
                self.tried.push(backend);
                lease = self.next_lease().await.unwrap_or(Err(failed))?;
            }
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(self.now)
    }

    /// Where to dial this time. The same address is dialled again only after a pause; only a host name
    /// has other addresses, and they need none.
    async fn target_after_pause(&mut self, lease: &Lease) -> Target {
        let again = self.tried.iter().filter(|id| **id == lease.backend().id).count();
        if again >= lease.targets.len() {
            let plan::Backoff { base, max } = self.course.settings.connect.backoff;
            let pause = backoff::pause(base, max, again as u32 - 1, fastrand::u64(..));
            sleep(pause.min(self.left())).await;
            self.now = Instant::now();
        }
        lease.targets[again % lease.targets.len()].clone()
    }

    /// The next backend to try, if attempts and the budget allow one. Where the sound ones are only full and
    /// there is a queue, it is waited for.
    async fn next_lease(&mut self) -> Option<Result<Lease, DialError>> {
        let Course { pool, settings, .. } = self.course;
        if self.tried.len() >= settings.connect.attempts as usize {
            return None;
        }
        let other = pool.lease(&draw(self.key, &self.tried, self.now));
        let lease = other.or_else(|_| pool.lease(&draw(self.key, &[], self.now)));
        let waits = lease.as_ref().err() == Some(&NoLease::Unavailable(Unavailable::Full));
        if lease.is_err() && !(waits && settings.queue.is_some()) {
            return None;
        }
        if !pool.may_retry(self.now.into_std()) {
            return None;
        }
        let lease = match lease {
            Ok(lease) => lease,
            Err(_) => match self.wait_again().await {
                Ok(lease) => lease,
                Err(error) => return Some(Err(error)),
            },
        };
        Some(Ok(lease))
    }

    /// Queueing does not count against the deadline.
    async fn wait_again(&mut self) -> Result<Lease, DialError> {
        let result = wait(self.course.pool, self.key, self.course.heard).await;
        let since = std::mem::replace(&mut self.now, Instant::now());
        self.deadline += self.now - since;
        result
    }

    /// One attempt, and a second one raced against it if it is slow.
    async fn race(
        &mut self,
        lease: Lease,
        target: Target,
        limit: Duration,
        patience: Duration,
    ) -> Result<Dialed, ConnectError> {
        let (course, slow) = (self.course, lease.backend().clone());
        let mut first = pin!(course.attempt(lease, target, limit, self.now));
        if let Ok(result) = timeout(patience, first.as_mut()).await {
            return result;
        }
        self.now = Instant::now();
        let Some(other) = self.hedge_lease(slow.id) else { return first.await };
        self.tried.push(other.backend().id);
        let (target, limit) = (other.targets[0].clone(), course.settings.connect.timeout.min(self.left()));
        let mut second = pin!(course.attempt(other, target, limit, self.now));
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
        let cells = &course.pool.cells;
        let counter = if won && result.is_ok() { &cells.hedges_won } else { &cells.hedges_lost };
        counter.inc();
        result
    }

    /// A backend to race with `slow`: a different one, and only if attempts and the budget allow it.
    fn hedge_lease(&mut self, slow: BackendId) -> Option<Lease> {
        let Course { pool, settings, .. } = self.course;
        self.tried.push(slow);
        let may = self.tried.len() < settings.connect.attempts as usize;
        let other = may.then(|| pool.lease(&draw(self.key, &self.tried, self.now)).ok()).flatten();
        self.tried.pop(); // it is not tried in vain yet
        other.filter(|_| pool.may_hedge(self.now.into_std()))
    }
}
