//! The cells that are counted in: atomics that cost a nanosecond, resolved before traffic.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::labels::{Cause, Direction, Phase, Side};

/// A counter any thread may raise.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`. Release, so that who reads this count also sees what was counted before it.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, std::sync::atomic::Ordering::Release);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Acquire)
    }
}

/// Seconds that add up, kept in nanoseconds: 584 years fit.
#[derive(Debug, Default)]
pub struct Seconds(AtomicU64);

impl Seconds {
    /// Adds a span.
    pub fn add(&self, span: Duration) {
        self.0.fetch_add(nanos(span), Relaxed);
    }

    /// The sum so far, in seconds.
    pub fn get(&self) -> f64 {
        self.0.load(Relaxed) as f64 / 1e9
    }
}

/// Bytes of both directions, written by ONE thread and read by any: no locked instruction.
///
/// Aligned to a cache line so that two workers' lanes never share one.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Lane([AtomicU64; 2]);

impl Lane {
    /// Adds `n` bytes; only the thread that owns the lane may call it.
    pub fn add(&self, direction: Direction, n: u64) {
        let cell = &self.0[direction as usize];
        cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The bytes so far.
    pub fn get(&self, direction: Direction) -> u64 {
        self.0[direction as usize].load(Relaxed)
    }
}

/// One [`Lane`] a worker.
#[derive(Debug)]
pub struct Lanes(Box<[Lane]>);

impl Lanes {
    /// Lanes for so many workers.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Lane::default()).collect())
    }

    /// The lane of one worker.
    pub fn of(&self, worker: usize) -> &Lane {
        &self.0[worker]
    }

    /// The sum over all workers.
    pub fn total(&self, direction: Direction) -> u64 {
        self.0.iter().map(|lane| lane.get(direction)).sum()
    }
}

/// Bounds, in seconds, of all latency histograms: 50 µs (a loopback connect) to 10 s (a deadline).
pub const LATENCY_BOUNDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Bounds, in seconds, of session durations: 1 ms (one request) to a day (a database connection).
pub const DURATION_BOUNDS: &[f64] =
    &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

/// A histogram of seconds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than there are bounds; not cumulative.
    buckets: Box<[AtomicU64]>,
    sum: Seconds,
}

impl Histogram {
    /// An empty one over `bounds`, which rise.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: Seconds::default() }
    }

    /// Counts one span.
    pub fn observe(&self, span: Duration) {
        let seconds = span.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.sum.add(span);
        self.buckets[bucket].fetch_add(1, Relaxed);
    }

    /// The upper bounds, in seconds; the bucket beyond the last is not among them.
    pub fn bounds(&self) -> &'static [f64] {
        self.bounds
    }

    /// Cumulative counts, one a bound and one for infinity, and the sum in seconds.
    pub fn read(&self) -> (Vec<u64>, f64) {
        let sum = self.sum.get();
        let mut running = 0;
        let counts = self.buckets.iter().map(|bucket| {
            running += bucket.load(Relaxed);
            running
        });
        (counts.collect(), sum)
    }
}

const SIDES: usize = Side::ALL.len();
const PHASES: usize = Phase::ALL.len();

/// Ended sessions by cause, side and phase: a cube of counters, most of which stay zero.
#[derive(Debug)]
pub struct Closed(Box<[Counter]>);

impl Default for Closed {
    fn default() -> Self {
        Self((0..Cause::ALL.len() * SIDES * PHASES).map(|_| Counter::default()).collect())
    }
}

impl Closed {
    /// Counts one ended session.
    pub fn inc(&self, cause: Cause, side: Side, phase: Phase) {
        self.0[(cause as usize * SIDES + side as usize) * PHASES + phase as usize].inc();
    }

    /// How many ended for this cause. A small part of the cube, for whoever asks often and for many.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0.iter().skip(cause as usize * SIDES * PHASES).take(SIDES * PHASES).map(Counter::get).sum()
    }

    /// All counters that are not zero, each read once.
    pub fn read(&self) -> Vec<((Cause, Side, Phase), u64)> {
        let place = |i: usize| (Cause::ALL[i / PHASES / SIDES], Side::ALL[i / PHASES % SIDES], Phase::ALL[i % PHASES]);
        let counted = self.0.iter().enumerate().map(|(i, counter)| (place(i), counter.get()));
        counted.filter(|(_, count)| *count > 0).collect()
    }
}

/// What is counted of the sessions of one listener that go to one pool; `""` is "no pool yet".
#[derive(Debug)]
pub struct RouteCells {
    /// How they ended.
    pub closed: Closed,
    /// Their payload.
    pub bytes: Lanes,
}

impl RouteCells {
    /// For a process of so many workers.
    pub fn new(workers: usize) -> Self {
        Self { closed: Closed::default(), bytes: Lanes::new(workers) }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_counts_a_bound_in_its_own_bucket() {
        let histogram = Histogram::new(&[0.001, 0.01]);
        for micros in [1_000, 1_001, 10_000, 10_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let (counts, sum) = histogram.read();
        assert_eq!(counts, [1, 3, 4]);
        assert!((sum - 0.022_002).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn closed_keeps_every_combination_apart() {
        let closed = Closed::default();
        for &cause in Cause::ALL {
            for &side in Side::ALL {
                for &phase in Phase::ALL {
                    closed.inc(cause, side, phase);
                }
            }
        }
        let read = closed.read();
        assert_eq!(read.len(), Cause::ALL.len() * SIDES * PHASES);
        assert!(read.iter().all(|(_, count)| *count == 1));
        closed.inc(Cause::NoBackend, Side::Proxy, Phase::Connect);
        for &cause in Cause::ALL {
            let all = (SIDES * PHASES) as u64 + u64::from(cause == Cause::NoBackend);
            assert_eq!(closed.of(cause), all, "{cause:?}");
        }
    }

    #[test]
    fn lanes_add_up_over_workers() {
        let lanes = Lanes::new(3);
        lanes.of(0).add(Direction::Up, 5);
        lanes.of(2).add(Direction::Up, 7);
        lanes.of(1).add(Direction::Down, 1);
        assert_eq!((lanes.total(Direction::Up), lanes.total(Direction::Down)), (12, 1));
    }
}
