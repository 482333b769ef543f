//! The retry budget: so that an outage is not multiplied by those who try again.
//!
//! Over the last ten seconds, retries and hedges may be at most a share of the sessions that began,
//! plus a small constant rate that lets a quiet pool retry at all (the idea is Finagle's
//! `RetryBudget`). Counted in one slot a second, in atomics, shared by all workers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Seconds that count.
const WINDOW: u64 = 10;

/// What a pool's sessions may spend on trying again.
#[derive(Debug, Default)]
pub(super) struct Budget {
    sessions: Window,
    retries: Window,
}

/// How much may be spent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Allowance {
    /// Retries for each session, 0.2 is one for five.
    pub(super) share: f64,
    /// Retries a second, whatever the sessions.
    pub(super) min_per_second: f64,
}

impl Budget {
    /// Counts a session that begins `now`, a time since any fixed moment.
    pub(super) fn session(&self, now: Duration) {
        self.sessions.add(now.as_secs());
    }

    /// Takes one retry from the budget; false if there is none left.
    ///
    /// Workers that ask at the same instant may overdraw it by one each.
    pub(super) fn withdraw(&self, allowance: Allowance, now: Duration) -> bool {
        let now = now.as_secs();
        let earned = allowance.share * self.sessions.total(now) as f64 + allowance.min_per_second * WINDOW as f64;
        let granted = (self.retries.total(now) as f64) < earned;
        if granted {
            self.retries.add(now);
        }
        granted
    }
}

/// Counts of the last [`WINDOW`] seconds: each slot holds its second (high half) and its count.
#[derive(Debug, Default)]
struct Window([AtomicU64; WINDOW as usize]);

impl Window {
    fn add(&self, second: u64) {
        let stamp = second << 32;
        // Always succeeds: the closure never declines.
        let _ = self.0[(second % WINDOW) as usize].fetch_update(Relaxed, Relaxed, |slot| {
            let same = slot >> 32 == second & u64::from(u32::MAX);
            Some(if same { slot.saturating_add(1) } else { stamp | 1 })
        });
    }

    fn total(&self, now: u64) -> u64 {
        let recent = |slot: &u64| now.saturating_sub(slot >> 32) < WINDOW;
        let slots = self.0.iter().map(|slot| slot.load(Relaxed));
        slots.filter(recent).map(|slot| slot & u64::from(u32::MAX)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    #[test]
    fn a_quiet_pool_may_retry_at_the_constant_rate() {
        let (budget, allowance) = (Budget::default(), Allowance { share: 0.0, min_per_second: 2.0 });
        let granted = (0..100).filter(|_| budget.withdraw(allowance, at(0))).count();
        assert_eq!(granted, 20);
        assert!(!budget.withdraw(allowance, at(9)));
        assert!(budget.withdraw(allowance, at(10)), "what was spent ten seconds ago is forgotten");
    }

    proptest! {
        #[test]
        fn an_outage_is_multiplied_by_no_more_than_the_share(
            per_second in 1u64..500, seconds in 1u64..40, share in 0.0f64..1.0, min in 0.0f64..20.0,
        ) {
            let (budget, allowance) = (Budget::default(), Allowance { share, min_per_second: min });
            let mut granted = 0.0;
            for second in 0..seconds {
                for _ in 0..per_second {
                    budget.session(at(second));
                    // Everything fails: every session would try twice more.
                    granted += f64::from(u8::from(budget.withdraw(allowance, at(second))));
                    granted += f64::from(u8::from(budget.withdraw(allowance, at(second))));
                }
            }
            let windows = (seconds as f64 / WINDOW as f64).ceil();
            let most = (per_second * seconds) as f64 * share + windows * (min * WINDOW as f64 + 1.0);
            prop_assert!(granted <= most + 1.0, "{} of at most {}", granted, most);
        }
    }
}
