//! Exponential back-off with jitter; pure.

use std::time::Duration;

/// The pause before retry number `retry` (0 is the first): `base` doubled each time, at most `max`.
///
/// Half of it is fixed and half is drawn by `entropy`, so that sessions that failed together do not
/// come back together ("equal jitter", Marc Brooker, AWS Architecture Blog, 2015).
pub fn pause(base: Duration, max: Duration, retry: u32, entropy: u64) -> Duration {
    let doubled = base.saturating_mul(1u32.checked_shl(retry).unwrap_or(u32::MAX)).min(max);
    let half = doubled / 2;
    let share = entropy as f64 / u64::MAX as f64;
    half + half.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pause_is_bounded_and_jittered(base in 0u64..10_000, max in 0u64..100_000, retry in 0u32..100, entropy: u64) {
            let (base, max) = (Duration::from_millis(base), Duration::from_millis(max));
            let full = base.saturating_mul(1u32.checked_shl(retry).unwrap_or(u32::MAX)).min(max);
            let drawn = pause(base, max, retry, entropy);
            prop_assert!(drawn <= full);
            prop_assert!(drawn >= full / 2);
        }
    }
}
