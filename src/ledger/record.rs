//! One session's record: written by its task, read by listings, limits and the log.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use atomic_waker::AtomicWaker;

use crate::backend::Backend;
use crate::intake::{Facts, Introduction};
use crate::listener::{Accepted, ListenerLive};
use crate::metrics::{Cause, Phase, RouteCells};
use crate::net::{Peer, Target};
use crate::pool::Pool;
use crate::relay::Tally;
use crate::sink::Short;
use crate::upstream::{Attempt, Event};

/// Names one session: unique in the process and, in practice, over its restarts. Ids rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Short::new();
        text.hexadecimal(self.0);
        f.pad(text.as_str())
    }
}

impl FromStr for SessionId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// What is known of one session.
#[derive(Debug)]
pub struct Record {
    /// Its name.
    pub id: SessionId,
    /// Where it arrived.
    pub listener: Arc<ListenerLive>,
    /// The accepted socket's peer.
    pub peer: Peer,
    /// Our side of the accepted socket.
    pub local: Peer,
    /// When it was accepted.
    pub started: Instant,
    /// The same by the wall clock.
    pub started_at: SystemTime,
    /// The worker that serves it.
    pub worker: usize,
    /// What it has moved.
    pub tally: Tally,
    /// How others end it.
    pub stop: Stop,
    /// Drawn once: sessions with a share above the log's `sample` are not logged.
    pub sample: f32,
    pub(super) rounds: Seen,
    /// For whom the peer connects, if it says so: one word in the record of those that do not.
    introduction: ArcSwapOption<Introduction>,
    progress: Mutex<Progress>,
}

/// What becomes known as a session goes on.
#[derive(Debug, Clone)]
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
    /// The address that answered.
    pub target: Option<Target>,
    /// Our side of the socket to the backend.
    pub upstream_local: Option<Peer>,
    /// Attempts that have ended.
    pub attempts: Vec<Attempt>,
    /// Whether it waits in the queue now.
    pub queued: bool,
    /// How long it has waited there in all, if it did and no longer does.
    pub queue_wait: Option<Duration>,
}

impl Progress {
    fn waited(&mut self, more: Duration) {
        self.queue_wait = Some(self.queue_wait.unwrap_or_default() + more);
    }
}

impl Record {
    pub(super) fn new(id: SessionId, accepted: &Accepted, worker: usize) -> Self {
        let listener = accepted.listener.clone();
        let cells = listener.route_cells(&Arc::from(""));
        Self {
            id,
            peer: accepted.peer,
            local: accepted.local,
            started: accepted.at,
            started_at: SystemTime::now(),
            worker,
            tally: Tally::new(accepted.at),
            stop: Stop::default(),
            sample: fastrand::f32(),
            rounds: Seen::default(),
            introduction: ArcSwapOption::empty(),
            progress: Mutex::new(Progress {
                facts: None,
                route: None,
                cells,
                pool: None,
                backend: None,
                target: None,
                upstream_local: None,
                attempts: Vec::new(),
                queued: false,
                queue_wait: None,
            }),
            listener,
        }
    }

    /// The client's address: the peer's, until PROXY protocol says otherwise. Every reader reads this one.
    pub fn client(&self) -> Peer {
        self.introduction.load().as_ref().map_or(self.peer, |told| told.client)
    }

    /// What the peer says of the client for whom it connects.
    pub fn introduction(&self) -> Option<Arc<Introduction>> {
        self.introduction.load_full()
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
        match (&progress.target, &progress.pool) {
            (Some(_), _) => self.tally.phase(),
            (None, Some(_)) if progress.queued => Phase::Queue,
            (None, Some(_)) => Phase::Connect,
            (None, None) => Phase::Intake,
        }
    }

    /// How long no byte has moved, to the precision of the rounds that look.
    pub fn idle_for(&self) -> Duration {
        self.rounds.idle_for().min(self.started.elapsed())
    }

    pub(super) fn introduced(&self, introduction: Option<Introduction>) {
        self.introduction.store(introduction.map(Arc::new));
    }

    pub(super) fn shown(&self, facts: Option<Box<Facts>>) {
        self.progress().facts = facts.map(Arc::from);
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
            Event::Attempted(attempt) => {
                // Nearly always there is one, and a session is held to the byte.
                progress.attempts.reserve_exact(1);
                progress.attempts.push(attempt);
            }
        }
    }

    pub(super) fn established(&self, backend: &Arc<Backend>, target: Target, from: Peer) {
        self.tally.set_connected();
        let mut progress = self.progress();
        progress.backend = Some(backend.clone());
        progress.target = Some(target);
        progress.upstream_local = Some(from);
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

    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(super) fn asked(&self) -> Option<Cause> {
        let cause = self.cause.load(Ordering::Acquire);
        (cause > 0).then(|| Cause::ALL[usize::from(cause) - 1])
    }
}

/// What the worker's rounds saw of a session last time. Milliseconds of the rounds' own clock.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) pulse: AtomicU64,
    pub(super) changed_at: AtomicU64,
    pub(super) looked_at: AtomicU64,
    pub(super) logged_at: AtomicU64,
    /// Until then it has nothing to pass, unless it stirs or a reload changes that.
    pub(super) due_at: AtomicU64,
}

impl Seen {
    fn idle_for(&self) -> Duration {
        let span = self.looked_at.load(Ordering::Relaxed).saturating_sub(self.changed_at.load(Ordering::Relaxed));
        Duration::from_millis(span)
    }
}
