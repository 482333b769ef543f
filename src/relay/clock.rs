//! The clock of idleness: what it costs a moved byte to show that its session lives is one store.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A worker's clock, in milliseconds. It stands still between two rounds over the sessions, and it leaves out the time in which
/// no round could be made: bytes that came meanwhile are not read yet, so that time is nobody's idleness.
#[derive(Debug)]
pub struct IdleClock {
    now: AtomicU64,
}

impl Default for IdleClock {
    fn default() -> Self {
        // At 0 nothing has happened.
        Self { now: AtomicU64::new(1) }
    }
}

impl IdleClock {
    /// More than this it is not advanced by at once. Rounds come every 250 ms.
    pub const LONGEST_STEP: Duration = Duration::from_millis(375);

    /// The time at the last round.
    pub fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    /// A round begins, so long after the one before; false if some of that is left out. It counts whole milliseconds and
    /// gives the rest, to be added to the next gap: a day would be minutes too long without.
    pub fn advance(&self, gap: Duration) -> (bool, Duration) {
        let step = gap.min(Self::LONGEST_STEP);
        self.now.store(self.now() + step.as_millis() as u64, Relaxed);
        (step == gap, Duration::from_nanos(u64::from(gap.subsec_nanos() % 1_000_000)))
    }

    /// How long ago at least something was stamped with the time that was `now` then: it may have happened right before the
    /// next round.
    pub fn since(&self, stamp: u64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(stamp)).saturating_sub(Self::LONGEST_STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_process_makes_nobody_idle() {
        let clock = IdleClock::default();
        assert!(clock.advance(Duration::from_millis(250)).0);
        assert!(!clock.advance(Duration::from_secs(30)).0);
        assert_eq!(clock.now(), 626);
    }

    #[test]
    fn an_hour_of_uneven_rounds_is_an_hour() {
        let (clock, mut rest, begin) = (IdleClock::default(), Duration::ZERO, IdleClock::default().now());
        for round in 0..4 * 3600_u32 {
            let jitter = Duration::from_micros(u64::from(round % 2) * 1_800);
            (_, rest) = clock.advance(Duration::from_micros(249_100) + jitter + rest);
        }
        assert_eq!(clock.now() - begin, 3_600_000);
    }

    #[test]
    fn nobody_is_idle_for_longer_than_is_true() {
        let (clock, moments) = (IdleClock::default(), [10, 249, 251, 600]);
        let mut elapsed = 0;
        for at in moments {
            let stamp = clock.now();
            let mut after = 0;
            while elapsed < at {
                elapsed += 250;
                after = elapsed - at;
                clock.advance(Duration::from_millis(250));
            }
            assert!(clock.since(stamp) <= Duration::from_millis(after), "{at}: {:?}", clock.since(stamp));
        }
    }
}
