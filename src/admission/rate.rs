//! So many times a second: token buckets that keep one number.
//!
//! The generic cell rate algorithm (ITU-T I.371): instead of tokens that someone would have to refill it keeps the moment
//! at which the bucket will be full again. A bucket whose moment has passed is like one that was never used.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

const SECOND: u64 = 1_000_000_000;

/// How often something may happen: as many times as a second brings may come at once, and no more than that in addition
/// in any second after it. Times are nanoseconds of any clock that never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// What one time takes. Rounded up, so that the rate is never exceeded.
    gap: u64,
    /// What may be taken ahead.
    ahead: u64,
}

impl Pace {
    pub(super) fn new(rate: NonZeroU64) -> Self {
        let gap = SECOND.div_ceil(rate.get());
        Self { gap, ahead: gap.saturating_mul(rate.get()) }
    }

    /// Takes one from a bucket that is full again at `full_at`; gives when it will be full now, or `None`: it is empty.
    pub(super) fn take(self, full_at: u64, now: u64) -> Option<u64> {
        let next = full_at.max(now).saturating_add(self.gap);
        (next - now <= self.ahead).then_some(next)
    }

    /// Puts one back.
    pub(super) fn give_back(self, full_at: u64) -> u64 {
        full_at.saturating_sub(self.gap)
    }
}

/// A bucket that threads share, and whose pace a reload may change.
#[derive(Debug)]
pub(super) struct Rate {
    made: Instant,
    /// Times a second, 0 is any number.
    rate: AtomicU64,
    full_at: AtomicU64,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self { made: now, rate: AtomicU64::new(0), full_at: AtomicU64::new(0) }
    }

    /// Takes over another pace.
    pub(super) fn follow(&self, rate: Option<NonZeroU64>) {
        self.rate.store(rate.map_or(0, NonZeroU64::get), Relaxed);
    }

    /// Takes one, if there is one.
    pub(super) fn take(&self, at: Instant) -> bool {
        let Some(pace) = self.pace() else { return true };
        let now = nanos(self.made, at);
        self.full_at.fetch_update(Relaxed, Relaxed, |full_at| pace.take(full_at, now)).is_ok()
    }

    /// Puts one back that was taken for nothing.
    pub(super) fn give_back(&self) {
        if let Some(pace) = self.pace() {
            let _ = self.full_at.fetch_update(Relaxed, Relaxed, |full_at| Some(pace.give_back(full_at)));
        }
    }

    fn pace(&self) -> Option<Pace> {
        NonZeroU64::new(self.rate.load(Relaxed)).map(Pace::new)
    }
}

/// Nanoseconds from `made` to `at`; centuries fit.
pub(super) fn nanos(made: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(made).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn pace(rate: u64) -> Pace {
        Pace::new(NonZeroU64::new(rate).expect("a rate"))
    }

    #[test]
    fn a_second_s_worth_comes_at_once_and_then_one_after_another() {
        let rate = Rate::new(Instant::now());
        rate.follow(NonZeroU64::new(10));
        let start = rate.made + Duration::from_secs(5);
        let taken = |at: Instant| (0..100).filter(|_| rate.take(at)).count();
        assert_eq!(taken(start), 10);
        assert_eq!(taken(start + Duration::from_millis(99)), 0);
        assert_eq!(taken(start + Duration::from_millis(301)), 3);
        assert_eq!(taken(start + Duration::from_secs(60)), 10, "what nobody takes does not add up");
        rate.give_back();
        assert_eq!(taken(start + Duration::from_secs(60)), 1);
    }

    #[test]
    fn another_pace_holds_at_once_and_whatever_was_taken_is_over_in_a_second() {
        let rate = Rate::new(Instant::now());
        let taken = |after: u64| (0..1000).filter(|_| rate.take(rate.made + Duration::from_millis(after))).count();
        assert_eq!(taken(0), 1000, "there is none");
        rate.follow(NonZeroU64::new(100));
        assert_eq!(taken(0), 100);
        rate.follow(NonZeroU64::new(1));
        assert_eq!((taken(0), taken(1001)), (0, 1));
        rate.follow(NonZeroU64::new(500));
        assert_eq!((taken(1001), taken(2002)), (0, 500));
        rate.follow(None);
        assert_eq!(taken(2002), 1000);
    }

    proptest! {
        /// In every span of time no more than it brings and a second's worth, and whoever keeps to the pace gets all.
        #[test]
        fn never_more_than_the_rate(rate in 1u64..5000, gaps in prop::collection::vec(0u64..2_000_000_000, 1..200)) {
            let pace = pace(rate);
            let (mut full_at, mut now) = (0, 7 * SECOND);
            let mut taken: Vec<u64> = Vec::new();
            for gap in gaps {
                now += gap / rate;
                if let Some(next) = pace.take(full_at, now) {
                    prop_assert!(next > full_at && next > now);
                    full_at = next;
                    taken.push(now);
                }
            }
            for (index, from) in taken.iter().enumerate() {
                for (count, to) in taken[index..].iter().enumerate() {
                    let brings = (to - from) as u128 * u128::from(rate) / u128::from(SECOND);
                    prop_assert!((count as u128) < u128::from(rate) + brings + 1);
                }
            }
        }

        #[test]
        fn whoever_keeps_to_the_pace_is_never_refused(rate in 1u64..2_000_000_000, start in 0..u64::MAX / 2, lates in prop::collection::vec(0u64..1_000_000, 0..200)) {
            let pace = pace(rate);
            let (mut full_at, mut now) = (0, start);
            for late in lates {
                full_at = pace.take(full_at, now).expect("in time");
                now += pace.gap + late;
            }
        }

        #[test]
        fn what_is_given_back_was_never_taken(rate in 1u64..100_000, full_at in 0u64..SECOND, now in 0u64..2 * SECOND) {
            let pace = pace(rate);
            if let Some(next) = pace.take(full_at, now) {
                prop_assert_eq!(pace.give_back(next), full_at.max(now));
            }
        }

        #[test]
        fn no_number_panics(rate in 1..=u64::MAX, full_at in any::<u64>(), now in any::<u64>()) {
            let pace = pace(rate);
            let _ = (pace.take(full_at, now), pace.give_back(full_at));
        }
    }
}
