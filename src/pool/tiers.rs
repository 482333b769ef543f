//! Which tier serves: the best that is usable, or the one that does already. Pure.

use crate::config::plan::Failback;

/// The tier in use, and what `failback` makes of a better one that is usable again.
#[derive(Debug, Clone, Default)]
pub(super) struct Tiers {
    serving: Option<u8>,
}

/// Another tier took over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) from: u8,
    pub(super) to: u8,
}

impl Moved {
    /// Whether the better one took over.
    pub(super) fn is_failback(self) -> bool {
        self.to < self.from
    }
}

impl Tiers {
    /// The tier that serves; better ones only stand by. `None` while no tier ever was usable.
    pub(super) fn serving(&self) -> Option<u8> {
        self.serving
    }

    /// The same tier serves as in another process before.
    pub(super) fn resume(&mut self, serving: Option<u8>) {
        self.serving = serving.or(self.serving);
    }

    /// Takes in the best tier with a usable backend, and whether the serving one still has some.
    pub(super) fn look(&mut self, best: Option<u8>, serving_is_usable: bool, failback: Failback) -> Option<Moved> {
        let best = best?;
        let before = self.serving.replace(best)?;
        if best < before && serving_is_usable && failback == Failback::Manual {
            self.serving = Some(before);
            return None;
        }
        (best != before).then_some(Moved { from: before, to: best })
    }

    /// Someone wants the best usable tier to serve, by hand.
    pub(super) fn go_back(&mut self, best: Option<u8>) -> Option<Moved> {
        self.look(best, true, Failback::Auto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_better_tier_takes_over_by_itself_or_by_hand() {
        let back = Some(Moved { from: 1, to: 0 });
        for (failback, expected, serves) in [(Failback::Auto, back, 0), (Failback::Manual, None, 1)] {
            let mut tiers = Tiers::default();
            assert_eq!(tiers.look(Some(0), true, failback), None);
            assert_eq!(tiers.look(Some(1), false, failback), Some(Moved { from: 0, to: 1 }));
            assert_eq!(tiers.look(Some(0), true, failback), expected);
            assert_eq!(tiers.serving(), Some(serves));
        }
        let mut tiers = Tiers { serving: Some(1) };
        assert_eq!(tiers.go_back(Some(0)), back);
        assert_eq!(tiers.go_back(Some(0)), None);
    }

    #[test]
    fn with_manual_failback_a_tier_that_is_down_holds_nothing_up() {
        let mut tiers = Tiers { serving: Some(2) };
        assert_eq!(tiers.look(Some(0), false, Failback::Manual), Some(Moved { from: 2, to: 0 }));
    }

    proptest! {
        /// Whenever something is usable, the tier that serves has something usable.
        #[test]
        fn what_serves_is_usable(rounds in prop::collection::vec(prop::collection::btree_set(0u8..5, 0..4), 1..50), manual: bool) {
            let failback = if manual { Failback::Manual } else { Failback::Auto };
            let mut tiers = Tiers::default();
            for usable in rounds {
                let still = tiers.serving().is_some_and(|serving| usable.contains(&serving));
                let before = tiers.serving();
                tiers.look(usable.first().copied(), still, failback);
                if let Some(serving) = tiers.serving().filter(|_| !usable.is_empty()) {
                    prop_assert!(usable.contains(&serving));
                    prop_assert!(!manual || !still || Some(serving) == before);
                    prop_assert!(manual || Some(&serving) == usable.first());
                }
            }
        }
    }
}
