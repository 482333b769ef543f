//! Suspicion: a backend that has just failed to connect is passed over for a moment.
//!
//! Retries keep a bad backend from the clients' eyes, but each costs an attempt, and attempts have a
//! budget. So after a failure others are picked first, and only one session now and then is sent to
//! try again; one success ends it. It is no verdict: where there is nobody else it changes nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// After the first failure; doubled with each that follows.
const FIRST: Duration = Duration::from_millis(250);
/// A recovered backend is found again within this.
const LONGEST: Duration = Duration::from_secs(4);

/// Until when, and after how many failures: milliseconds in the high bits, the count in the low 8.
#[derive(Debug, Default)]
pub(super) struct Suspicion(AtomicU64);

impl Suspicion {
    /// An attempt failed at `now`, a time since any fixed moment.
    pub(super) fn fail(&self, now: Duration) {
        let next = |state: u64| Some(pack(now, (state & 0xff).min(20) + 1));
        let _ = self.0.fetch_update(Relaxed, Relaxed, next);
    }

    /// An attempt succeeded.
    pub(super) fn clear(&self) {
        // Where it is clear already the line stays shared between workers.
        if !self.is_clear() {
            self.0.store(0, Relaxed);
        }
    }

    /// Whether nothing has failed since the last success, which is nearly always so.
    pub(super) fn is_clear(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    /// Whether others are to be picked first.
    pub(super) fn holds(&self, now: Duration) -> bool {
        let state = self.0.load(Relaxed);
        state != 0 && (now.as_millis() as u64) < state >> 8
    }

    /// A session goes there; while it tries, nobody else needs to.
    pub(super) fn try_again(&self, now: Duration) {
        let state = self.0.load(Relaxed);
        if state != 0 {
            let _ = self.0.compare_exchange(state, pack(now, state & 0xff), Relaxed, Relaxed);
        }
    }
}

fn pack(now: Duration, failures: u64) -> u64 {
    let doubled = FIRST.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST);
    (((now + doubled).as_millis() as u64) << 8) | failures
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn one_failure_is_forgotten_soon_and_one_success_forgives_all() {
        let suspicion = Suspicion::default();
        assert!(!suspicion.holds(at(0)));
        suspicion.fail(at(0));
        assert!(suspicion.holds(at(249)) && !suspicion.holds(at(250)));
        suspicion.fail(at(250));
        assert!(suspicion.holds(at(749)) && !suspicion.holds(at(750)));
        suspicion.clear();
        assert!(!suspicion.holds(at(300)));
    }

    #[test]
    fn while_one_tries_nobody_else_does() {
        let suspicion = Suspicion::default();
        suspicion.try_again(at(5));
        assert!(!suspicion.holds(at(6)), "there was nothing to suspect");
        suspicion.fail(at(0));
        assert!(!suspicion.holds(at(300)));
        suspicion.try_again(at(300));
        assert!(suspicion.holds(at(301)));
    }

    proptest! {
        #[test]
        fn it_never_lasts(failures in prop::collection::vec(0u64..100_000, 1..60)) {
            let suspicion = Suspicion::default();
            let mut last = 0;
            for failure in failures {
                last += failure;
                suspicion.fail(at(last));
                prop_assert!(suspicion.holds(at(last)));
            }
            prop_assert!(!suspicion.holds(at(last) + LONGEST));
        }
    }
}
