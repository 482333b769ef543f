//! The ledger: one record a session, from accept to its one end; the live listing; the access log.

mod access;
mod evict;
mod line;
mod outcome;
mod record;
mod roll;
mod rounds;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use once_cell::race::OnceBox;

use crate::backend::Backend;
use crate::intake::{Facts, Introduction};
use crate::listener::Accepted;
use crate::metrics::{Cause, Counter};
use crate::net::{Peer, Target};
use crate::pool::Pool;
use crate::relay::IdleClock;
use crate::upstream::Event;

pub use access::{AccessLogs, Kind, OpenError, Sinks};
pub use evict::evict;
pub use outcome::{Ending, Failure, Outcome};
pub use record::{Progress, Record, SessionId};
pub use rounds::rounds;

pub use roll::Departures;
use roll::Roll;

/// All sessions of the process: those that live, and the log of those that ended.
#[derive(Debug)]
pub struct Ledger {
    /// One a worker, so that workers do not wait for each other.
    shards: Box<[Shard]>,
    next_id: AtomicU64,
    /// Counts the times at which limits of living sessions may have changed.
    revision: AtomicU64,
    access: AccessLogs,
    panics: Counter,
}

#[derive(Debug, Default)]
struct Shard {
    live: Mutex<Roll>,
    /// The worker's, once that makes its rounds.
    clock: OnceBox<Arc<IdleClock>>,
}

impl Ledger {
    /// An empty ledger for a process of so many workers.
    pub fn new(workers: usize, access: AccessLogs) -> Self {
        // The start time in the high half keeps ids unique, and rising, over restarts.
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            shards: (0..workers).map(|_| Shard::default()).collect(),
            next_id: AtomicU64::new(epoch << 32 | 1),
            revision: AtomicU64::new(0),
            access,
            panics: Counter::default(),
        }
    }

    /// Where the ids of a process that takes over begin: beyond all that this one may still give.
    pub fn next_ids(&self) -> u64 {
        ((self.next_id.load(Relaxed) >> 32) + 1) << 32
    }

    /// Gives no ids below this one.
    pub fn begin_ids(&self, from: u64) {
        self.next_id.fetch_max(from, Relaxed);
    }

    /// Opens the record of a session that `worker` serves.
    pub fn open(self: &Arc<Self>, accepted: &Accepted, worker: usize) -> Entry {
        let id = SessionId(self.next_id.fetch_add(1, Relaxed));
        let Accepted { listener, local, peer, at, .. } = accepted;
        let record = Arc::new(Record::new(id, listener.clone(), (*local, *peer), *at, worker));
        self.shards[worker].lock().insert(record.clone());
        Entry { ledger: self.clone(), record }
    }

    /// Living sessions after `after` in the order of their ids, at most `limit` of those that `wanted` likes.
    pub fn list(
        &self,
        after: Option<SessionId>,
        limit: usize,
        mut wanted: impl FnMut(&Record) -> bool,
    ) -> Vec<Arc<Record>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            found.extend(shard.list(after, limit, &mut wanted));
        }
        found.sort_unstable_by_key(|record| record.id);
        found.truncate(limit);
        found
    }

    /// Asks one session to end; false if there is none of that id.
    pub fn end(&self, id: SessionId, cause: Cause) -> bool {
        let record = self.shards.iter().find_map(|shard| shard.lock().get(id).cloned());
        record.is_some_and(|record| {
            record.stop.ask(cause);
            true
        })
    }

    /// Asks `count` of these sessions to end: those that have been idle for longest.
    pub fn end_idlest(&self, mut sessions: Vec<Arc<Record>>, count: usize, cause: Cause) {
        // What is asked goes on while this sorts, and no sort likes an order that changes.
        sessions.sort_by_cached_key(|record| std::cmp::Reverse(self.idle_for(record)));
        sessions.iter().take(count).for_each(|record| record.stop.ask(cause));
    }

    /// Limits of living sessions may have changed: all are looked at in the next round.
    pub fn revise(&self) {
        self.revision.fetch_add(1, Release);
    }

    /// How long no byte of a session has moved: at least so long, and at most for
    /// [`IdleClock::LONGEST_STEP`](crate::relay::IdleClock::LONGEST_STEP) and a round longer, and for as long as no round could
    /// be made.
    pub fn idle_for(&self, record: &Record) -> Duration {
        match self.shards[record.worker()].clock.get() {
            // Whoever waits for us to move its bytes is not idle.
            Some(clock) if !record.tally.is_paced() => {
                clock.since(record.tally.stirred()).min(record.started().elapsed())
            }
            _ => Duration::ZERO,
        }
    }

    /// Living sessions of each worker.
    pub fn active(&self) -> Vec<usize> {
        self.shards.iter().map(|shard| shard.lock().len()).collect()
    }

    /// How sessions have ended since the process began; refusals are none.
    pub fn departures(&self) -> Departures {
        self.shards.iter().map(|shard| shard.lock().departures()).fold(Departures::default(), |all, one| Departures {
            finished: all.finished + one.finished,
            otherwise: all.otherwise + one.otherwise,
        })
    }

    /// Sessions that panicked.
    pub fn panics(&self) -> u64 {
        self.panics.get()
    }

    /// The access log's writers.
    pub fn access(&self) -> &AccessLogs {
        &self.access
    }
}

impl Shard {
    fn now(&self) -> u64 {
        self.clock.get().map_or(1, |clock| clock.now())
    }

    fn lock(&self) -> MutexGuard<'_, Roll> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists in small steps, so that a long listing never holds up the worker.
    fn list(
        &self,
        mut after: Option<SessionId>,
        limit: usize,
        wanted: &mut impl FnMut(&Record) -> bool,
    ) -> Vec<Arc<Record>> {
        const STEP: usize = 256;
        let mut found = Vec::new();
        loop {
            let step = self.lock().behind(after, STEP);
            let Some(last) = step.last() else {
                return found;
            };
            after = Some(last.id);
            for record in step {
                if found.len() == limit {
                    return found;
                }
                if wanted(&record) {
                    found.push(record);
                }
            }
        }
    }
}

/// A session's hold on its record. Closing it counts and logs the end; dropping it unclosed means a
/// panic, and that is counted and logged too.
#[derive(Debug)]
pub struct Entry {
    ledger: Arc<Ledger>,
    record: Arc<Record>,
}

impl Entry {
    /// The record.
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// Where the session goes, once that is known.
    pub fn pool(&self) -> Option<Arc<Pool>> {
        self.record.progress().pool.clone()
    }

    /// Notes for whom the peer connects, if it says so.
    pub fn introduced(&self, introduction: Option<Introduction>) {
        if let Some(introduction) = introduction {
            self.record.introduced(introduction);
        }
    }

    /// Notes what the client shows of what it wants, if anyone looked.
    pub fn shown(&self, facts: Option<Box<Facts>>) {
        if let Some(facts) = facts {
            self.record.shown(facts);
        }
    }

    /// Notes which of its listener's routes takes the session, counted from 0.
    pub fn matched(&self, route: usize) {
        self.record.matched(route);
    }

    /// Notes where the session goes.
    pub fn routed(&self, pool: &Arc<Pool>) {
        self.record.routed(pool);
    }

    /// Notes what happens on the way to a backend.
    pub fn heard(&self, event: Event) {
        self.record.heard(event);
    }

    /// Notes that a backend is connected, from where and to where.
    pub fn established(&self, backend: &Arc<Backend>, target: Target, from: Peer) {
        self.record.established(backend, target, from, self.ledger.shards[self.record.worker()].now());
        if self.record.listener.asks.start_lines() {
            let lasted = self.record.tally.connected().unwrap_or_default();
            self.ledger.access.write(Kind::Start, &self.record, None, lasted);
        }
    }

    /// Runs the session until it ends, or until someone asks it to.
    ///
    /// When this returns, what the session held is still to be dropped with its future.
    pub fn unless_stopped(
        &self,
        mut session: Pin<&mut impl Future<Output = Result<Outcome, Failure>>>,
    ) -> impl Future<Output = Ending> {
        let mut registered = false;
        poll_fn(move |cx| {
            // A task's waker never changes, so once is enough.
            if !std::mem::replace(&mut registered, true) {
                self.record.stop.register(cx.waker());
            }
            if let Some(cause) = self.record.stop.asked() {
                return Poll::Ready(Outcome::stopped(cause, self.record.phase()).into());
            }
            session.as_mut().poll(cx).map(|result| match result {
                Ok(outcome) => outcome.into(),
                Err(failure) => Ending::failed(failure, self.record.phase()),
            })
        })
    }

    /// Counts and logs the session's one end. A refusal is counted only.
    pub fn close(self, ending: impl Into<Ending>) {
        match ending.into() {
            Ending::Closed(outcome) => self.settle(outcome),
            Ending::Refused(reason) if self.leave(None) => {
                self.record.listener.cells.refused[reason as usize].inc();
            }
            Ending::Refused(_) => {}
        }
    }

    /// Takes it off the list; true once. A refusal has no cause.
    fn leave(&self, cause: Option<Cause>) -> bool {
        let first = self.record.close();
        if first {
            let mut roll = self.ledger.shards[self.record.worker()].lock();
            roll.remove(self.record.id);
            cause.into_iter().for_each(|cause| roll.count(cause));
        }
        first
    }

    fn settle(&self, outcome: Outcome) {
        if !self.leave(Some(outcome.cause)) {
            return;
        }
        let record = &self.record;
        let lasted = record.started().elapsed();
        record.listener.cells.duration.observe(lasted);
        // The line goes first: whoever sees the count can find the line on its way.
        self.ledger.access.write(Kind::End, record, Some(&outcome), lasted);
        record.cells().closed.inc(outcome.cause, outcome.side, outcome.phase);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.record.is_closed() {
            return;
        }
        if std::thread::panicking() {
            self.ledger.panics.inc();
            tracing::error!(session = %self.record.id, listener = %self.record.listener.name, "session panicked; it was reset, the proxy goes on");
            self.settle(Outcome::internal(self.record.phase()));
        } else {
            // Not a panic: the worker's runtime is being dropped at the end of the process.
            self.settle(Outcome::stopped(Cause::Shutdown, self.record.phase()));
        }
    }
}
