//! A worker's shared tools: the scratch buffer and the pipes. Each is used within one poll or handed back.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::IdleClock;
use super::stir::Stir;
use crate::metrics::{BusyPoll, Direction, Engine, Lane};
use crate::net::Plain;

/// One read at most of a stream inside TLS, of which a client that stalls may have as much kept for it, some hundredths of
/// what the kernel keeps then. What is read in one call wakes the sender once, and is written in one call, which wakes
/// the receiver once. That is the better part of what moving bytes costs. It stays in the L2 cache, and so do the
/// records that TLS makes of it.
pub(super) const SCRATCH: usize = 256 * 1024;
/// What is read ahead of a client's bytes while its backend is dialled: most first requests, and little beside what the
/// kernel would keep for each client that sends and waits.
const AHEAD: usize = 4 * 1024;
/// What a pipe is asked to hold. An unprivileged user's pipes may hold 64 MiB in all; past that the
/// kernel gives two pages, which still works.
const PIPE_SIZE: usize = 256 * 1024;
/// Pipes a worker may have open at once: two descriptors each, which `max_connections: auto` sets aside.
pub const MOST_PIPES: usize = 64;

/// The tools of one worker thread. Its locks are never contended: only that thread takes them.
#[derive(Debug)]
pub struct Workbench {
    worker: usize,
    most_pipes: usize,
    scratch: Mutex<Box<[u8]>>,
    /// Where TLS makes its records; nothing before the first.
    records: Mutex<Vec<u8>>,
    pipes: Mutex<Vec<Pipe>>,
    /// Open pipes, those in sessions included.
    open: Arc<AtomicUsize>,
    /// Set when a pipe is taken, cleared by [`Workbench::tidy`].
    used: AtomicUsize,
    engines: [Lane; Engine::ALL.len()],
    idle: Arc<IdleClock>,
    /// Where the clock of the next two begins; they are milliseconds.
    began: Instant,
    /// When the worker last looked over its sessions.
    looked_at: AtomicU64,
    /// When it last came late to that; 0 is never.
    late_at: AtomicU64,
    /// With `busy_poll`: what keeps the worker from sleeping.
    stir: Option<Stir>,
}

/// A worker that does not come to look over its sessions for so long was stopped, or starved. It looks several times
/// a second.
const HELD_UP: Duration = Duration::from_secs(1);

/// A pipe with nothing in it, or held by the one flow whose bytes are in it.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
    open: Arc<AtomicUsize>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

impl Workbench {
    /// The tools of worker number `worker`, which may have `most_pipes` pipes open.
    pub fn new(worker: usize, most_pipes: usize) -> Self {
        Self {
            worker,
            most_pipes,
            scratch: Mutex::new(vec![0; SCRATCH].into()),
            records: Mutex::default(),
            pipes: Mutex::default(),
            open: Default::default(),
            used: AtomicUsize::new(0),
            engines: Default::default(),
            idle: Arc::default(),
            began: Instant::now(),
            looked_at: AtomicU64::new(0),
            late_at: AtomicU64::new(0),
            stir: None,
        }
    }

    /// The same for a worker that looks at its sockets for so long after work before it sleeps.
    pub fn busy_polling(self, budget: Option<Duration>) -> Self {
        Self { stir: budget.map(Stir::new), ..self }
    }

    /// Looks at the sockets of this worker after work, while that pays; a task of its runtime, which ends only without
    /// `busy_poll`.
    pub async fn keep_looking(&self) {
        if let Some(stir) = &self.stir {
            stir.keep_looking().await;
        }
    }

    /// The worker has something to do, and so more of it may be near. Called by its own thread.
    pub fn work(&self) {
        if let Some(stir) = &self.stir {
            stir.work();
        }
    }

    /// Seconds that it spent looking instead of sleeping with this result.
    pub fn looked(&self, result: BusyPoll) -> f64 {
        self.stir.as_ref().map_or(0.0, |stir| stir.looked(result))
    }

    /// By what it is told how long its sessions have been idle.
    pub fn idle_clock(&self) -> &Arc<IdleClock> {
        &self.idle
    }

    /// The worker begins to look over its sessions.
    pub fn look(&self, at: Instant) {
        let now = self.clock(at);
        if now - self.looked_at.swap(now, Relaxed).min(now) >= HELD_UP.as_millis() as u64 {
            self.late_at.store(now, Relaxed);
        }
    }

    /// Whether the worker is held up, or was a moment ago: what seems to have taken long may have waited for it.
    pub fn was_held_up(&self, at: Instant) -> bool {
        let (now, limit) = (self.clock(at), HELD_UP.as_millis() as u64);
        let late_at = self.late_at.load(Relaxed);
        now.saturating_sub(self.looked_at.load(Relaxed)) >= limit || late_at > 0 && now.saturating_sub(late_at) < limit
    }

    fn clock(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.began).as_millis() as u64
    }

    /// The beginning of what `client` has sent so far, for a session whose backend is yet to be reached; nothing if it has
    /// finished. It is kept for as long as that takes.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing, or the socket's error, which is thereby taken from it.
    pub fn read_ahead(&self, client: &Plain) -> io::Result<Vec<u8>> {
        let mut scratch = self.scratch();
        let read = client.read_early(&mut scratch[..AHEAD])?;
        Ok(scratch[..read].to_vec())
    }

    /// The worker's number.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Bytes moved by one engine.
    pub fn engine_bytes(&self, engine: Engine) -> u64 {
        let lane = &self.engines[engine as usize];
        lane.get(Direction::Up) + lane.get(Direction::Down)
    }

    /// Closes pipes that nobody took since the last call, so that a quiet proxy holds none.
    pub fn tidy(&self) {
        if self.used.swap(0, Relaxed) == 0 {
            lock(&self.pipes).clear();
        }
    }

    pub(super) fn moved(&self, engine: Engine, direction: Direction, n: u64) {
        self.engines[engine as usize].add(direction, n);
        self.work();
    }

    pub(super) fn scratch(&self) -> MutexGuard<'_, Box<[u8]>> {
        lock(&self.scratch)
    }

    /// Memory to lend to writes.
    pub(super) fn records(&self) -> MutexGuard<'_, Vec<u8>> {
        lock(&self.records)
    }

    /// An empty pipe, or None: then the bytes are copied.
    pub(super) fn take_pipe(&self) -> Option<Pipe> {
        self.used.store(1, Relaxed);
        let pooled = lock(&self.pipes).pop();
        pooled.or_else(|| (self.open.load(Relaxed) < self.most_pipes).then(|| self.open_pipe().ok()).flatten())
    }

    /// Takes back a pipe that is empty.
    pub(super) fn put_pipe(&self, pipe: Pipe) {
        lock(&self.pipes).push(pipe);
    }

    fn open_pipe(&self) -> io::Result<Pipe> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        self.open.fetch_add(1, Relaxed);
        let pipe = Pipe { read, write, open: self.open.clone() };
        // A smaller pipe than wished for is still a pipe.
        let _ = fcntl_setpipe_size(&pipe.write, PIPE_SIZE);
        Ok(pipe)
    }
}

/// A poisoned lock means a session panicked in mid-use; scratch bytes and empty pipes have no state to lose.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_come_to_look_is_held_up_and_for_a_moment_after() {
        let bench = Workbench::new(0, 1);
        let at = |millis| bench.began + Duration::from_millis(millis);
        bench.look(at(250));
        assert!(!bench.was_held_up(at(1200)) && bench.was_held_up(at(1300)));
        bench.look(at(5000));
        assert!(bench.was_held_up(at(5500)), "what came meanwhile is read now");
        bench.look(at(5900));
        assert!(!bench.was_held_up(at(6001)));
    }
}
