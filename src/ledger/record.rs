//! One session's record: written by its task, read by listings, limits and the log.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use once_cell::race::OnceBox;

use crate::backend::Backend;
use crate::intake::{Facts, Introduction};
use crate::listener::ListenerLive;
use crate::metrics::{Cause, Phase, RouteCells};
use crate::net::{Pair, Peer, Target};
use crate::pool::Pool;
use crate::relay::Tally;
use crate::sink::Short;
use crate::upstream::{Attempt, Event};

/// Names one session: unique in the process and, in practice, over its restarts. Ids rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl SessionId {
    /// The text.
    pub(super) fn short(self) -> Short {
        let mut text = Short::new();
        text.hexadecimal(self.0);
        text
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.short().as_str())
    }
}

impl FromStr for SessionId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// What is known of one session.
///
/// Every word here is held as often as there are sessions: a test keeps their number.
#[derive(Debug)]
pub struct Record {
    /// Its name.
    pub id: SessionId,
    /// Where it arrived.
    pub listener: Arc<ListenerLive>,
    /// The accepted socket's addresses.
    ends: Pair<Peer>,
    /// What it has moved, and since when.
    pub tally: Tally,
    /// How others end it.
    pub stop: Stop,
    /// Drawn once: sessions with a share above the log's `sample` are not logged.
    pub sample: f32,
    /// The worker that serves it.
    worker: u16,
    /// Whether its one end was counted.
    closed: AtomicBool,
    /// When its last interval line was due, by the worker's clock of idleness; 0 is never.
    pub(super) logged_at: AtomicU64,
    /// For whom the peer connects, if it says so: one word in the record of those that do not.
    introduction: OnceBox<Introduction>,
    progress: Mutex<Progress>,
}

/// What becomes known as a session goes on.
#[derive(Debug)]
pub struct Progress {
    /// What the client shows of what it wants, if anyone looked.
    pub facts: Option<Arc<Facts>>,
    /// The route it takes, counted from 0, if one does.
    pub route: Option<u16>,
    /// The cells it is counted in: of its pool, or of none.
    pub cells: Arc<RouteCells>,
    /// Where it goes.
    pub pool: Option<Arc<Pool>>,
    /// Who serves it; while attempts fail, None.
    pub backend: Option<Arc<Backend>>,
    /// The addresses of the socket to it.
    ends: Option<Pair<Target>>,
    attempts: Attempts,
    /// Whether it waits in the queue now.
    pub queued: bool,
    /// How long it has waited there in all, nanoseconds, if it did and no longer does.
    queue_wait: Option<NonZeroU64>,
}

/// Attempts that have ended. Nearly always there is one, and it needs no list.
#[derive(Debug)]
enum Attempts {
    None,
    One(Attempt),
    More(Box<[Attempt]>),
}

impl Progress {
    /// The address that answered.
    pub fn target(&self) -> Option<Target> {
        self.ends.as_ref().map(Pair::far)
    }

    /// Our side of the socket to the backend.
    pub fn upstream_local(&self) -> Option<Peer> {
        self.ends.as_ref().map(Pair::near)
    }

    /// Attempts that have ended.
    pub fn attempts(&self) -> &[Attempt] {
        match &self.attempts {
            Attempts::None => &[],
            Attempts::One(attempt) => std::slice::from_ref(attempt),
            Attempts::More(attempts) => attempts,
        }
    }

    /// How long it has waited in the queue in all, if it did and no longer does.
    pub fn queue_wait(&self) -> Option<Duration> {
        self.queue_wait.map(|nanos| Duration::from_nanos(nanos.get()))
    }

    fn waited(&mut self, more: Duration) {
        let more = u64::try_from(more.as_nanos()).unwrap_or(u64::MAX);
        let before = self.queue_wait.map_or(0, NonZeroU64::get);
        self.queue_wait = NonZeroU64::new(before.saturating_add(more).max(1));
    }

    fn attempted(&mut self, attempt: Attempt) {
        self.attempts = match std::mem::replace(&mut self.attempts, Attempts::None) {
            Attempts::None => Attempts::One(attempt),
            Attempts::One(first) => Attempts::More([first, attempt].into()),
            Attempts::More(before) => Attempts::More(before.into_iter().chain([attempt]).collect()),
        };
    }
}

impl Record {
    /// Of a socket with these addresses, ours and the peer's.
    pub(super) fn new(
        id: SessionId,
        listener: Arc<ListenerLive>,
        (local, peer): (Peer, Peer),
        started: Instant,
        worker: usize,
    ) -> Self {
        let cells = listener.route_cells("");
        Self {
            id,
            ends: Pair::new(local, peer),
            worker: worker as u16,
            tally: Tally::new(started),
            stop: Stop::default(),
            sample: fastrand::f32(),
            closed: AtomicBool::new(false),
            logged_at: AtomicU64::new(0),
            introduction: OnceBox::new(),
            progress: Mutex::new(Progress {
                facts: None,
                route: None,
                cells,
                pool: None,
                backend: None,
                ends: None,
                attempts: Attempts::None,
                queued: false,
                queue_wait: None,
            }),
            listener,
        }
    }

    /// The accepted socket's peer.
    pub fn peer(&self) -> Peer {
        self.ends.far()
    }

    /// Our side of the accepted socket.
    pub fn local(&self) -> Peer {
        self.ends.near()
    }

    /// When it was accepted.
    pub fn started(&self) -> Instant {
        self.tally.started()
    }

    /// The worker that serves it.
    pub fn worker(&self) -> usize {
        self.worker.into()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Its end is counted now; true once.
    pub(super) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::Relaxed)
    }

    /// The client's address: the peer's, until PROXY protocol says otherwise. Every reader reads this one.
    pub fn client(&self) -> Peer {
        self.introduction().map_or_else(|| self.peer(), |told| told.client)
    }

    /// What the peer says of the client for whom it connects.
    pub fn introduction(&self) -> Option<&Introduction> {
        self.introduction.get()
    }

    /// What the client shows of what it wants, if anyone looked.
    pub fn facts(&self) -> Option<Arc<Facts>> {
        self.progress().facts.clone()
    }

    /// What is known by now.
    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cells its end is counted in.
    pub fn cells(&self) -> Arc<RouteCells> {
        self.progress().cells.clone()
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        let progress = self.progress();
        match (&progress.ends, &progress.pool) {
            (Some(_), _) => self.tally.phase(),
            (None, Some(_)) if progress.queued => Phase::Queue,
            (None, Some(_)) => Phase::Connect,
            (None, None) => Phase::Intake,
        }
    }

    /// Nobody is introduced twice: the first word counts.
    pub(super) fn introduced(&self, introduction: Introduction) {
        let _ = self.introduction.set(Box::new(introduction));
    }

    pub(super) fn shown(&self, facts: Box<Facts>) {
        self.progress().facts = Some(facts.into());
    }

    pub(super) fn matched(&self, route: usize) {
        self.progress().route = u16::try_from(route).ok();
    }

    pub(super) fn routed(&self, pool: &Arc<Pool>) {
        let cells = self.listener.route_cells(&pool.name);
        let mut progress = self.progress();
        progress.pool = Some(pool.clone());
        progress.cells = cells;
    }

    pub(super) fn heard(&self, event: Event) {
        let mut progress = self.progress();
        match event {
            Event::Queued => progress.queued = true,
            Event::Admitted(waited) => {
                progress.queued = false;
                progress.waited(waited);
            }
            // It ends where it waited.
            Event::GaveUp(waited) => progress.waited(waited),
            Event::Attempted(attempt) => progress.attempted(attempt),
        }
    }

    pub(super) fn established(&self, backend: &Arc<Backend>, target: Target, from: Peer, now: u64) {
        self.tally.set_connected(now);
        let mut progress = self.progress();
        progress.backend = Some(backend.clone());
        progress.ends = Some(Pair::new(from, target));
    }
}

/// How a session is asked to end: the first cause counts.
#[derive(Debug, Default)]
pub struct Stop {
    /// 0, or a [`Cause`]'s discriminant + 1.
    cause: AtomicU8,
    waker: AtomicWaker,
}

impl Stop {
    /// Asks the session to end for `cause`, and wakes it.
    pub fn ask(&self, cause: Cause) {
        let _ = self.cause.compare_exchange(0, cause as u8 + 1, Ordering::Release, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Wakes the session, which is not asked to end. To be called by its own worker.
    pub(super) fn nudge(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake_by_ref();
            // It is needed again. Whoever asked meanwhile found none, but the session looks for what it was asked as soon as
            // it has its turn, which is after this.
            self.waker.register(&waker);
        }
    }

    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(super) fn asked(&self) -> Option<Cause> {
        let cause = self.cause.load(Ordering::Acquire);
        (cause > 0).then(|| Cause::ALL[usize::from(cause) - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Registry;
    use crate::upstream::AttemptResult;

    #[test]
    fn attempts_are_kept_in_their_order() {
        let backend = Registry::new(1).get(&"p".into(), &"b".into());
        let listener = crate::ledger::roll::tests::listener();
        let record = Record::new(SessionId(1), listener, (Peer::Unix, Peer::Unix), Instant::now(), 0);
        let mut known = record.progress();
        for number in 0..4 {
            let spans: Vec<u64> = known.attempts().iter().map(|attempt| attempt.took().as_nanos() as u64).collect();
            assert_eq!(spans, (0..number).collect::<Vec<_>>());
            let took = Duration::from_nanos(number);
            known.attempted(Attempt::new(backend.clone(), AttemptResult::Connected, took));
        }
        assert_eq!(known.queue_wait(), None);
        known.waited(Duration::ZERO);
        known.waited(Duration::from_secs(2));
        assert_eq!(known.queue_wait().map(|wait| wait.as_secs()), Some(2));
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicU8);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_session_that_was_woken_for_something_else_can_still_be_ended() {
        let (stop, woken) = (Stop::default(), Arc::new(Woken::default()));
        let times = || woken.0.load(Ordering::Relaxed);
        stop.register(&woken.clone().into());
        stop.nudge();
        assert_eq!((times(), stop.asked()), (1, None));
        stop.nudge();
        assert_eq!((times(), stop.asked()), (2, None));
        stop.ask(Cause::Killed);
        assert_eq!((times(), stop.asked()), (3, Some(Cause::Killed)));
    }

    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Record>() <= 256, "{}", size_of::<Record>());
    }
}
