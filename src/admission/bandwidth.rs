//! Bytes a second: what a session may move in each direction, by itself and together with its client's others.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::entrance::Stay;
use crate::config::plan::Bandwidth;
use crate::metrics::Direction;

const SECOND: u64 = 1_000_000_000;
/// A bucket holds what a tenth of a second brings: long enough that a timer that is late by some milliseconds loses
/// nothing, short enough that nobody notices what comes at once.
const AHEAD: u64 = SECOND / 10;
/// What is taken at a time is what a hundredth of a second brings: so often a limited direction is woken at most …
const PART: u64 = 100;
/// … unless that were less than a packet, where a packet does not take too long.
const PACKET: u64 = 1448;
/// More than a direction moves in one turn is never taken at once.
const MOST: u64 = 256 * 1024;

/// Rates in bytes a second: of one session, and of all sessions of its client together.
pub type Rates = [Option<NonZeroU64>; 2];

/// The rates of a listener, as its living sessions read them: 0 is any.
#[derive(Debug, Default)]
pub(super) struct LiveBandwidth {
    per_connection: AtomicU64,
    per_client: AtomicU64,
}

impl LiveBandwidth {
    pub(super) fn follow(&self, bandwidth: Bandwidth) {
        let number = |rate: Option<NonZeroU64>| rate.map_or(0, NonZeroU64::get);
        self.per_connection.store(number(bandwidth.per_connection), Relaxed);
        self.per_client.store(number(bandwidth.per_client), Relaxed);
    }

    fn rates(&self) -> Rates {
        [&self.per_connection, &self.per_client].map(|rate| NonZeroU64::new(rate.load(Relaxed)))
    }
}

/// What one session may move.
#[derive(Debug, Clone, Copy)]
pub struct Share<'a> {
    stay: &'a Stay,
}

impl<'a> Share<'a> {
    pub(super) fn new(stay: &'a Stay) -> Self {
        Self { stay }
    }

    /// The rates now; a reload may change them at any time.
    pub fn rates(&self) -> Rates {
        self.stay.entrance.bandwidth.rates()
    }

    /// What the client's sessions have together, if its client is known.
    pub fn together(&self) -> Option<Arc<Buckets>> {
        self.stay.client.and_then(|key| self.stay.entrance.clients.buckets(key))
    }

    /// The time by the clock of all buckets.
    pub fn now(&self) -> u64 {
        self.stay.entrance.now()
    }
}

/// One bucket a direction.
#[derive(Debug, Default)]
pub struct Buckets([Bucket; 2]);

impl Buckets {
    /// That of one direction.
    pub fn of(&self, direction: Direction) -> &Bucket {
        &self.0[direction as usize]
    }

    /// When both are full again.
    pub(super) fn full_at(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.full_at.load(Relaxed)).max().unwrap_or_default()
    }
}

/// A token bucket in which turns are taken: whoever finds it empty waits for its own turn and for nobody who came later,
/// so that sessions that share one get equal parts. Like the rates of connections it keeps but one moment.
#[derive(Debug, Default)]
pub struct Bucket {
    /// The rate that the other number is about.
    rate: AtomicU64,
    full_at: AtomicU64,
}

impl Bucket {
    /// Takes a turn of so many bytes; gives when it comes. All times are nanoseconds of one clock.
    pub fn take(&self, rate: NonZeroU64, bytes: u64, now: u64) -> u64 {
        if self.rate.swap(rate.get(), Relaxed) != rate.get() {
            // What was taken at another rate is settled.
            self.full_at.store(0, Relaxed);
        }
        let next = |full_at: u64| full_at.max(now).saturating_add(cost(rate, bytes));
        let before = self.full_at.fetch_update(Relaxed, Relaxed, |full_at| Some(next(full_at)));
        next(before.unwrap_or_else(|full_at| full_at)).saturating_sub(AHEAD)
    }

    /// Gives back what was not used of a turn.
    pub fn give_back(&self, rate: NonZeroU64, bytes: u64) {
        if self.rate.load(Relaxed) == rate.get() {
            let less = |full_at: u64| Some(full_at.saturating_sub(cost(rate, bytes)));
            let _ = self.full_at.fetch_update(Relaxed, Relaxed, less);
        }
    }
}

/// How many bytes a turn at these rates has; without any, as many as it likes.
pub fn turn(rates: Rates) -> u64 {
    let part = |rate: NonZeroU64| (rate.get() / PART).max(PACKET.min(rate.get() / 4)).clamp(1, MOST);
    rates.into_iter().flatten().map(part).min().unwrap_or(MOST)
}

/// How long so many bytes take. Rounded up, so that the rate is never exceeded.
fn cost(rate: NonZeroU64, bytes: u64) -> u64 {
    bytes.saturating_mul(SECOND).div_ceil(rate.get())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(rate: u64) -> NonZeroU64 {
        NonZeroU64::new(rate).expect("a rate")
    }

    #[test]
    fn whoever_comes_later_waits_longer_and_a_tenth_of_a_second_comes_at_once() {
        let (bucket, start) = (Bucket::default(), 5 * SECOND);
        let turns: Vec<u64> = (0..20).map(|_| bucket.take(rate(1000), 10, start)).collect();
        let at_once = turns.iter().filter(|due| **due <= start).count();
        assert_eq!(at_once, 10);
        assert_eq!(turns[10..], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(|turn| start + turn * SECOND / 100));
        bucket.give_back(rate(1000), 50);
        assert_eq!(bucket.take(rate(1000), 10, start), start + 6 * SECOND / 100);
        assert_eq!(bucket.take(rate(2000), 10, start), start - AHEAD + SECOND / 200, "at another rate it is full");
    }

    #[test]
    fn a_turn_is_a_hundredth_of_a_second_and_at_least_a_packet_if_that_is_not_long() {
        let of = |rates: [u64; 2]| turn(rates.map(NonZeroU64::new));
        assert_eq!([of([0, 0]), of([10_000_000, 0]), of([0, 10_000_000])], [MOST, 100_000, 100_000]);
        assert_eq!([of([1 << 40, 0]), of([50_000, 0]), of([1024, 0]), of([1, 0])], [MOST, PACKET, 256, 1]);
        assert_eq!(of([10_000_000, 1_000_000]), 10_000);
    }

    proptest! {
        /// Sessions that take turns and wait for them: in no span of time do they move more than it brings, and a bucket.
        #[test]
        fn never_more_than_the_rate(rate_ in 1u64..1 << 34, sizes in prop::collection::vec((1u64..MOST, 0u64..SECOND, any::<bool>()), 1..100)) {
            let (bucket, rate_) = (Bucket::default(), rate(rate_));
            let (mut now, mut moved) = (SECOND, Vec::new());
            for (bytes, pause, part) in sizes {
                let due = bucket.take(rate_, bytes, now);
                prop_assert!(due <= now + cost(rate_, bytes) || moved.last().is_some());
                now = now.max(due);
                let unused = if part { bytes / 2 } else { 0 };
                bucket.give_back(rate_, unused);
                moved.push((now, bytes - unused));
                now += pause / 4;
            }
            for (index, (from, _)) in moved.iter().enumerate() {
                let mut sum = 0;
                for (to, bytes) in &moved[index..] {
                    sum += bytes;
                    // What one may take ahead is less than a turn beyond the bucket.
                    let brings = u128::from(to - from + AHEAD) * u128::from(rate_.get()) / u128::from(SECOND);
                    prop_assert!(u128::from(sum) <= brings + u128::from(MOST) + 1);
                }
            }
        }

        /// And they lose nothing of it, though each of them comes late: whoever waits as told has the whole rate.
        #[test]
        fn never_less_than_the_rate_for_whoever_is_late_by_a_little(rate_ in 1000u64..1 << 34, lates in prop::collection::vec(0u64..AHEAD / 2, 50..200)) {
            let (bucket, rate_) = (Bucket::default(), rate(rate_));
            let part = turn([Some(rate_), None]);
            let (start, mut now, mut moved) = (SECOND, SECOND, 0);
            for late in lates {
                let due = bucket.take(rate_, part, now);
                if due > now {
                    now = due + late;
                }
                moved += part;
            }
            let brings = u128::from(now - start) * u128::from(rate_.get()) / u128::from(SECOND);
            prop_assert!(u128::from(moved) + 1 >= brings, "{} of {}", moved, brings);
        }
    }
}
