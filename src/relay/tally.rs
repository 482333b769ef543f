//! Counting what moves, as it moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::admission::Share;
use crate::backend::Backend;
use crate::metrics::{Direction, Engine, Phase, RouteCells, Side};
use crate::pool::Claimed;

use super::{End, Fault, Workbench};

/// What one session has moved. Written by its task, read by anyone at any time.
#[derive(Debug)]
pub struct Tally {
    started: Instant,
    bytes: [AtomicU64; 2],
    /// When each direction's first byte was written, nanoseconds after `started`; 0 is not yet.
    first: [AtomicU64; 2],
    /// When the backend was connected, likewise.
    connected: AtomicU64,
    /// When anything happened last, by the worker's clock of idleness; 0 is never.
    stirred: AtomicU64,
    /// One bit a direction that has passed on its end of stream.
    finished: AtomicU8,
    /// One bit a direction that waits for its turn to move what it could.
    paced: AtomicU8,
    /// Whether its backend was judged by it already.
    witnessed: AtomicBool,
    /// Whether it has lasted, and whether its task has heard of that.
    lasting: AtomicU8,
}

/// Of a session that has lasted for as long as short ones are spared something.
const LASTS: u8 = 1;
/// Of one that was told so.
const TOLD: u8 = 2;

impl Tally {
    /// Nothing yet, for a session accepted at `started`.
    pub fn new(started: Instant) -> Self {
        Self {
            started,
            bytes: Default::default(),
            first: Default::default(),
            connected: AtomicU64::new(0),
            stirred: AtomicU64::new(0),
            finished: AtomicU8::new(0),
            paced: AtomicU8::new(0),
            witnessed: AtomicBool::new(false),
            lasting: AtomicU8::new(0),
        }
    }

    /// When the session was accepted.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Bytes written to the far side.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.bytes[direction as usize].load(Relaxed)
    }

    /// From accept to the first byte written in this direction.
    pub fn first_byte(&self, direction: Direction) -> Option<Duration> {
        span(&self.first[direction as usize])
    }

    /// From accept to a connected backend.
    pub fn connected(&self) -> Option<Duration> {
        span(&self.connected)
    }

    /// Marks the moment the backend is connected, which is `now` by the worker's clock of idleness: a backend that connected
    /// late has its whole idle limit ahead.
    pub fn set_connected(&self, now: u64) {
        self.stamp(&self.connected);
        self.stir(now);
    }

    /// Marks a sign of life: a byte, an end of stream, the backend's connect; or that its bytes wait for us.
    pub fn stir(&self, now: u64) {
        self.stirred.store(now, Relaxed);
    }

    /// When the last one was, by the worker's clock of idleness; 0 is never.
    pub fn stirred(&self) -> u64 {
        self.stirred.load(Relaxed)
    }

    /// How long the backend has been connected.
    pub fn connected_for(&self) -> Option<Duration> {
        Some(self.started.elapsed().saturating_sub(self.connected()?))
    }

    /// Notes that the session lasts; true once, and then its task is to be woken, which has something to do about it.
    pub fn lasts(&self) -> bool {
        self.lasting.fetch_or(LASTS, Relaxed) & LASTS == 0
    }

    /// Whether the session lasts and its task hears of that now; true once.
    pub(super) fn hears_that_it_lasts(&self) -> bool {
        // One load is what this costs a session whenever it does something.
        self.lasting.load(Relaxed) == LASTS && self.lasting.fetch_or(TOLD, Relaxed) == LASTS
    }

    /// Whether this direction has passed on its end of stream.
    pub fn has_finished(&self, direction: Direction) -> bool {
        self.finished.load(Relaxed) & (1 << direction as u8) != 0
    }

    /// Whether a direction has bytes to move that bandwidth limits hold back.
    pub fn is_paced(&self) -> bool {
        self.paced.load(Relaxed) != 0
    }

    pub(super) fn paced(&self, direction: Direction, waits: bool) {
        let bit = 1 << direction as u8;
        let others = self.paced.load(Relaxed) & !bit;
        self.paced.store(if waits { others | bit } else { others }, Relaxed);
    }

    /// Where a connected session stands.
    pub fn phase(&self) -> Phase {
        match (self.finished.load(Relaxed), self.bytes(Direction::Down)) {
            (0, 0) => Phase::FirstByte,
            (0, _) => Phase::Data,
            _ => Phase::Closing,
        }
    }

    /// The backend's first-byte time: from the first client byte written to it, or from connect when
    /// it spoke first.
    pub fn backend_first_byte(&self) -> Option<Duration> {
        let down = self.first_byte(Direction::Down)?;
        let asked = self.first_byte(Direction::Up).filter(|up| *up <= down).or_else(|| self.connected())?;
        Some(down.saturating_sub(asked))
    }

    /// How long the backend has left the client's bytes without an answer; `None` if it has answered, or was not asked.
    pub fn unanswered_for(&self) -> Option<Duration> {
        let asked = self.first_byte(Direction::Up).filter(|_| self.bytes(Direction::Down) == 0)?;
        Some(self.started.elapsed().saturating_sub(asked))
    }

    /// Whether the session is yet to judge its backend; true once.
    pub fn witness(&self) -> bool {
        !self.witnessed.swap(true, Relaxed)
    }

    /// What the end of a session without an answer says of its backend: true is good, `None` is nothing.
    ///
    /// A backend that resets or soon closes before its first byte has failed a client that asked it something, and one
    /// that does so right after it was connected has failed any client. A client that leaves shows nothing, unless it
    /// said something and the backend took it: not every protocol answers.
    pub fn verdict(&self, end: &End) -> Option<bool> {
        /// A server that refuses service does so at once; one that closes later may have waited for the client long enough.
        const AT_ONCE: Duration = Duration::from_secs(1);
        /// One that closes so long after it was asked may never answer anyone, and have waited for more: idle limits of
        /// servers are longer. One that hangs so long and closes then is for `first_byte_within` to find.
        const SOON: Duration = Duration::from_secs(5);
        if self.bytes(Direction::Down) > 0 {
            return None;
        }
        let asked = self.unanswered_for();
        let refused = self.connected_for().is_some_and(|span| span < AT_ONCE);
        match end {
            End::Finished { first: Side::Backend } => {
                let failed = asked.map_or(refused, |span| span < SOON);
                failed.then_some(false)
            }
            End::Failed(Fault { side: Side::Backend, .. }) => (asked.is_some() || refused).then_some(false),
            End::Finished { .. } => asked.map(|_| true),
            End::Failed(_) => None,
        }
    }

    fn finished(&self, direction: Direction) {
        self.finished.store(self.finished.load(Relaxed) | 1 << direction as u8, Relaxed);
    }

    /// Marks a moment as now, and says when that is.
    fn stamp(&self, moment: &AtomicU64) -> Instant {
        let now = Instant::now();
        let nanos = u64::try_from(now.saturating_duration_since(self.started).as_nanos()).unwrap_or(u64::MAX);
        moment.store(nanos.max(1), Relaxed);
        now
    }
}

fn span(moment: &AtomicU64) -> Option<Duration> {
    let nanos = moment.load(Relaxed);
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

/// All that a moved byte is counted in.
#[derive(Debug)]
pub struct Meter<'a> {
    /// The session's own.
    pub tally: &'a Tally,
    /// Those of the listener and pool.
    pub route: Arc<RouteCells>,
    /// The session's place at the backend that serves it.
    pub place: &'a Claimed,
    /// What the session may move.
    pub share: Share<'a>,
    /// This worker's engine counts, and its number.
    pub bench: &'a Workbench,
}

impl Meter<'_> {
    /// Counts `n` bytes that the far side's socket has taken.
    pub(super) fn moved(&self, direction: Direction, engine: Engine, n: usize) {
        let n = n as u64;
        let cell = &self.tally.bytes[direction as usize];
        let before = cell.load(Relaxed);
        if before == 0 {
            self.first_byte(direction);
        }
        cell.store(before + n, Relaxed);
        self.tally.stir(self.bench.idle_clock().now());
        let worker = self.bench.worker();
        self.route.bytes.of(worker).add(direction, n);
        self.backend().cells.bytes.of(worker).add(direction, n);
        self.bench.moved(engine, direction, n);
    }

    /// A direction has passed on its end of stream.
    pub(super) fn finished(&self, direction: Direction) {
        self.tally.finished(direction);
        self.tally.stir(self.bench.idle_clock().now());
    }

    fn first_byte(&self, direction: Direction) {
        let now = self.tally.stamp(&self.tally.first[direction as usize]);
        if direction == Direction::Down
            && let Some(took) = self.tally.backend_first_byte()
        {
            let (backend, pool) = (self.backend(), self.place.pool());
            pool.cells.first_byte.observe(took);
            backend.cells.first_byte_seconds.add(took);
            backend.observe(took, now);
            if self.tally.witness() {
                let late = pool.first_byte_within().is_some_and(|within| took > within) && !self.bench.was_held_up(now);
                pool.witness(backend, !late);
            }
        }
    }

    /// Judges the backend by how the session ended, unless it was judged already.
    pub fn ended(&self, end: &End) {
        if let Some(good) = self.tally.verdict(end).filter(|_| self.tally.witness()) {
            self.place.pool().witness(self.backend(), good);
        }
    }

    fn backend(&self) -> &Backend {
        self.place.backend()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(connected: u64, up: u64, down: u64) -> Tally {
        let tally = Tally::new(Instant::now());
        tally.connected.store(connected, Relaxed);
        tally.first[0].store(up, Relaxed);
        tally.first[1].store(down, Relaxed);
        tally
    }

    #[test]
    fn first_byte_time_runs_from_the_question_or_from_connect() {
        assert_eq!(tally(10, 30, 70).backend_first_byte(), Some(Duration::from_nanos(40)));
        assert_eq!(tally(10, 90, 70).backend_first_byte(), Some(Duration::from_nanos(60)), "the server spoke first");
        assert_eq!(tally(10, 0, 70).backend_first_byte(), Some(Duration::from_nanos(60)));
        assert_eq!(tally(10, 30, 0).backend_first_byte(), None);
    }

    #[test]
    fn only_backends_that_fail_a_client_are_blamed() {
        let (backend, client) = (Side::Backend, Side::Client);
        let failed = |side| End::Failed(Fault { side, errno: 104 });
        let asked = |up: u64, down: u64| {
            let tally = tally(1, up, down);
            tally.bytes[0].store(up, Relaxed);
            tally.bytes[1].store(down, Relaxed);
            tally
        };
        for end in [failed(backend), End::Finished { first: backend }] {
            assert_eq!(asked(5, 0).verdict(&end), Some(false));
            assert_eq!(asked(0, 0).verdict(&end), Some(false), "right after connect");
            assert_eq!(asked(5, 9).verdict(&end), None, "it had answered");
            let mut idle = asked(0, 0);
            idle.started -= Duration::from_secs(60);
            assert_eq!(idle.verdict(&end), None, "nobody had asked, for a minute");
        }
        let asked_before = |seconds| {
            let mut tally = asked(5, 0);
            tally.started -= Duration::from_secs(seconds);
            tally
        };
        let closes = End::Finished { first: backend };
        assert_eq!(asked_before(4).verdict(&closes), Some(false));
        assert_eq!(asked_before(6).verdict(&closes), None, "it may be one that only listens, and has waited for more");
        assert_eq!(asked_before(60).verdict(&failed(backend)), Some(false), "a reset is none of that");
        assert_eq!(asked(5, 0).verdict(&failed(client)), None);
        assert_eq!(asked(0, 0).verdict(&End::Finished { first: client }), None);
        assert_eq!(asked(5, 0).verdict(&End::Finished { first: client }), Some(true), "not every protocol answers");
    }

    #[test]
    fn phases_follow_bytes_and_ends() {
        let tally = tally(1, 0, 0);
        assert_eq!(tally.phase(), Phase::FirstByte);
        tally.bytes[1].store(1, Relaxed);
        assert_eq!(tally.phase(), Phase::Data);
        tally.finished(Direction::Up);
        assert_eq!(tally.phase(), Phase::Closing);
    }
}
