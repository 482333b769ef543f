//! Slow start: a new or recovered backend comes up to its weight over a while. Pure.

use std::time::Duration;

/// A beginner's share of its weight. Less would keep it from ever showing what it can do.
const LEAST: f64 = 0.1;
/// Effective weights are given in hundredths, so that a tenth of weight 1 is a weight.
pub(super) const SCALE: u32 = 100;

/// The effective weight, in [`SCALE`]ths, of a member that has been up for `up_for`.
///
/// It rises in a line from a tenth to the whole over `slow_start`; zero means at once.
pub(super) fn weight(configured: u32, up_for: Duration, slow_start: Duration) -> u32 {
    let full = configured.saturating_mul(SCALE);
    if up_for >= slow_start {
        return full;
    }
    let share = LEAST + (1.0 - LEAST) * up_for.as_secs_f64() / slow_start.as_secs_f64();
    ((f64::from(full) * share) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn from_a_tenth_to_the_whole() {
        let weight = |seconds| weight(2, Duration::from_secs(seconds), Duration::from_secs(10));
        assert_eq!([weight(0), weight(5), weight(10), weight(99)], [20, 110, 200, 200]);
    }

    proptest! {
        #[test]
        fn it_only_rises_and_never_beyond(configured in 1u32..65_536, a in 0u64..100_000, b in 0u64..100_000, over in 0u64..100_000) {
            let at = |millis| weight(configured, Duration::from_millis(millis), Duration::from_millis(over));
            prop_assert!(at(a.min(b)) <= at(a.max(b)));
            prop_assert!((1..=configured * SCALE).contains(&at(a)));
        }
    }
}
