//! How slow a backend has been lately: a peak-sensitive moving average in one atomic word.
//!
//! The average jumps to a sample above it at once and falls to samples below it with time, by
//! e^(-elapsed/τ). So one slow answer is heard immediately, and a burst of quick ones does not talk it
//! away. It is that of Finagle (`PeakEwma.scala`, Marius Eriksen, 2015), of linkerd and of tower
//! (`tower/src/load/peak_ewma.rs`). Two things differ:
//!
//! - Those let what they remember fade to nothing, so that a backend nobody has asked for a while looks
//!   faster than any other and is flooded. Here [`Cost::beside`] lets it fade only to the cost of the
//!   backend it is compared with. A slow one is so forgiven in time, and a new one is no better and no
//!   worse than its neighbours: the number of its sessions decides.
//! - A failed attempt counts as a peak, however quickly it failed. Else a backend that refuses every
//!   connection within microseconds would be the fastest of all.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The time in which the past fades to a third (1/e). Ten seconds, as in Finagle and linkerd: some rounds
/// of a client's retries. Shorter forgets a slow backend before its next session; longer keeps one away
/// that has recovered.
pub const TAU: Duration = Duration::from_secs(10);

/// Time is kept in such ticks, as a wrapping 32-bit number: an age is right up to 248 days.
const TICK_MILLIS: u64 = 10;
/// What a failure multiplies the average by: one is forgiven after some 23 s, and of a few in a row each
/// adds as much again.
const FAILURE_FACTOR: f32 = 10.0;
/// A failure costs at least so much, also at a backend that answers within microseconds.
const FAILURE_MIN_NANOS: f32 = 10e6;
/// What a failure costs when nothing else is known: more than healthy backends take.
const FAILURE_FIRST_NANOS: f32 = 1e9;
/// Nothing costs more, so that even the worst is forgiven within two minutes.
const MAX_NANOS: f32 = 60e9;
const MIN_NANOS: f32 = 1.0;

/// The average, shared by all threads. All zeroes: nothing is known.
#[derive(Debug, Default)]
pub(super) struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// Takes in that something took `took`. `now` counts from a moment that is always the same.
    pub(super) fn observe(&self, took: Duration, now: Duration) {
        let sample = (took.as_secs() as f32 * 1e9 + took.subsec_nanos() as f32).clamp(MIN_NANOS, MAX_NANOS);
        self.update(|past| past.map_or(Past { nanos: sample, at: tick(now) }, |past| past.observe(sample, tick(now))));
    }

    /// Takes in that an attempt failed.
    pub(super) fn observe_failure(&self, now: Duration) {
        let at = tick(now);
        self.update(|past| Past { nanos: penalty(past, at), at });
    }

    /// What is known now.
    pub(super) fn cost(&self, now: Duration) -> Option<Cost> {
        let past = Past::unpack(self.0.load(Relaxed))?;
        Some(Cost { remembered: past.nanos, faded: past.nanos * past.fading(tick(now)) })
    }

    /// Knows nothing again.
    pub(super) fn forget(&self) {
        self.0.store(0, Relaxed);
    }

    /// One word holds value and time, so a reader never sees one without the other.
    fn update(&self, next: impl Fn(Option<Past>) -> Past) {
        let step = |word| Some(next(Past::unpack(word)).pack());
        // The closure never refuses, so neither does this.
        let _ = self.0.fetch_update(Relaxed, Relaxed, step);
    }
}

/// What a backend costs a session, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// When it was last heard of.
    pub remembered: f32,
    /// What is left of that by now.
    pub faded: f32,
}

impl Cost {
    /// Nanoseconds to reckon with when the other choice costs `other`: what is left of the memory, but no
    /// less than the other unless it was never more.
    pub fn beside(self, other: Self) -> f32 {
        self.faded.max(self.remembered.min(other.remembered))
    }
}

/// The average as of a tick.
#[derive(Debug, Clone, Copy)]
struct Past {
    nanos: f32,
    at: u32,
}

impl Past {
    fn observe(self, sample: f32, now: u32) -> Self {
        if sample >= self.nanos {
            return Self { nanos: sample, at: now };
        }
        let kept = self.fading(now);
        let nanos = (sample + (self.nanos - sample) * kept).min(self.nanos);
        // A thread that read the clock earlier must not turn time back.
        Self { nanos, at: if kept < 1.0 { now } else { self.at } }
    }

    /// The share of the past that is left, 0 to 1.
    fn fading(self, now: u32) -> f32 {
        let ticks = now.wrapping_sub(self.at).cast_signed().max(0);
        let elapsed = Duration::from_millis(u64::from(ticks.unsigned_abs()) * TICK_MILLIS);
        (-elapsed.as_secs_f32() / TAU.as_secs_f32()).exp()
    }

    /// A value is at least a nanosecond, so no word but that of "nothing known" is below 1.0's.
    fn pack(self) -> u64 {
        u64::from(self.nanos.to_bits()) << 32 | u64::from(self.at)
    }

    fn unpack(word: u64) -> Option<Self> {
        let nanos = f32::from_bits((word >> 32) as u32);
        (nanos > 0.0).then_some(Self { nanos, at: word as u32 })
    }
}

fn penalty(past: Option<Past>, now: u32) -> f32 {
    past.map_or(FAILURE_FIRST_NANOS, |past| {
        let repeated = (past.nanos * past.fading(now) * FAILURE_FACTOR).max(FAILURE_MIN_NANOS);
        repeated.max(past.nanos).min(MAX_NANOS)
    })
}

fn tick(now: Duration) -> u32 {
    (now.as_millis() as u64 / TICK_MILLIS) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn known(ewma: &PeakEwma, now: Duration) -> Cost {
        ewma.cost(now).expect("known")
    }

    fn near(got: f32, expected: f32) {
        assert!((got / expected - 1.0).abs() < 1e-3, "{got} against {expected}");
    }

    #[test]
    fn nothing_is_known_at_first_and_after_a_change_of_address() {
        let ewma = PeakEwma::default();
        assert_eq!(ewma.cost(SECOND), None);
        ewma.observe(Duration::ZERO, SECOND);
        assert!(ewma.cost(SECOND).is_some());
        ewma.forget();
        assert_eq!(ewma.cost(SECOND), None);
    }

    #[test]
    fn a_peak_is_heard_at_once_and_fades_to_what_follows() {
        let ewma = PeakEwma::default();
        ewma.observe(MILLI, SECOND);
        ewma.observe(500 * MILLI, SECOND);
        near(known(&ewma, SECOND).remembered, 500e6);
        ewma.observe(MILLI, SECOND + TAU);
        near(known(&ewma, SECOND + TAU).remembered, 1e6 + 499e6 / std::f32::consts::E);
    }

    #[test]
    fn a_slow_one_is_forgiven_until_it_is_like_its_neighbour_and_no_further() {
        let (slow, fast) = (PeakEwma::default(), PeakEwma::default());
        slow.observe(SECOND, SECOND);
        fast.observe(MILLI, SECOND);
        let beside = |now| (known(&slow, now).beside(known(&fast, now)), known(&fast, now).beside(known(&slow, now)));
        near(beside(SECOND).0 / beside(SECOND).1, 1000.0);
        near(beside(SECOND + TAU).0, 1e9 / std::f32::consts::E);
        assert_eq!(beside(SECOND + 60 * TAU), (1e6, 1e6));
    }

    #[test]
    fn failures_cost_however_quick_they_are() {
        let (failing, slow) = (PeakEwma::default(), PeakEwma::default());
        failing.observe_failure(SECOND);
        near(known(&failing, SECOND).remembered, FAILURE_FIRST_NANOS);
        slow.observe(200 * MILLI, SECOND);
        slow.observe_failure(SECOND);
        near(known(&slow, SECOND).remembered, 2e9);
        (0..100).for_each(|_| slow.observe_failure(SECOND));
        near(known(&slow, SECOND).remembered, MAX_NANOS);
    }

    #[test]
    fn a_clock_that_another_thread_read_earlier_changes_nothing_but_peaks() {
        let ewma = PeakEwma::default();
        ewma.observe(SECOND, 100 * SECOND);
        ewma.observe(MILLI, 99 * SECOND);
        near(known(&ewma, 100 * SECOND).faded, 1e9);
    }

    /// What may happen to a backend: a time that something took, or a failure, so long after the last.
    fn events() -> impl Strategy<Value = Vec<(Option<u64>, u64)>> {
        prop::collection::vec((prop::option::weighted(0.9, any::<u64>()), 0..100_000_000_000u64), 1..50)
    }

    proptest! {
        #[test]
        fn whatever_happens_the_cost_is_a_number_within_bounds(events in events(), start: u64) {
            let ewma = PeakEwma::default();
            let mut now = Duration::from_nanos(start);
            for (took, pause) in events {
                now += Duration::from_nanos(pause);
                let before = ewma.cost(now);
                match took {
                    Some(took) => ewma.observe(Duration::from_nanos(took), now),
                    None => ewma.observe_failure(now),
                }
                let cost = known(&ewma, now);
                prop_assert!((MIN_NANOS..=MAX_NANOS).contains(&cost.remembered), "{:?}", cost);
                prop_assert!((0.0..=cost.remembered).contains(&cost.faded), "{:?}", cost);
                let sample = took.map_or(0.0, |took| (took as f32).clamp(MIN_NANOS, MAX_NANOS));
                prop_assert!(cost.remembered >= sample * 0.999_999, "a peak counts whole: {} in {:?}", sample, cost);
                if let (Some(before), Some(_)) = (before, took) {
                    prop_assert!(cost.remembered <= before.remembered.max(sample), "above all that was seen");
                }
            }
        }

        #[test]
        fn memory_only_fades(took in 1u64..60_000_000_000, mut pauses in prop::collection::vec(0u64..600_000, 1..20)) {
            let ewma = PeakEwma::default();
            ewma.observe(Duration::from_nanos(took), SECOND);
            pauses.sort_unstable();
            let mut last = f32::INFINITY;
            for pause in pauses {
                let faded = known(&ewma, SECOND + Duration::from_millis(pause)).faded;
                prop_assert!(faded <= last);
                last = faded;
            }
        }
    }
}
