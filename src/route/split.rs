//! Dividing sessions among pools by share: in turn, or by client.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// Shares that are met exactly: of as many sessions in a row as there are shares in all, each pool gets its own.
#[derive(Debug)]
pub(super) struct Shares {
    /// Where the part of each ends, the last one being the sum.
    ends: Vec<u64>,
    /// How far one session's place is from the last one's.
    stride: u64,
}

impl Shares {
    pub(super) fn new(shares: impl Iterator<Item = u32>) -> Self {
        let shares: Vec<u64> = shares.map(u64::from).collect();
        // The same proportions in the smallest numbers: the sooner they are met.
        let common = shares.iter().fold(0, |common, share| divisor(common, *share)).max(1);
        let ends: Vec<u64> = shares
            .iter()
            .scan(0, |end, share| {
                *end += share / common;
                Some(*end)
            })
            .collect();
        Self { stride: stride(ends.last().copied().unwrap_or_default()), ends }
    }

    /// Whose turn the session is that `before` others have come before; None if nobody has a share.
    ///
    /// Steps of one stride that has no divisor in common with the sum visit each place once in a round; one near the
    /// golden section of it spreads them evenly (Knuth, The Art of Computer Programming, volume 3, section 6.4).
    pub(super) fn of(&self, before: u64) -> Option<usize> {
        let sum = *self.ends.last()?;
        let place = u128::from(before.checked_rem(sum)?) * u128::from(self.stride) % u128::from(sum);
        self.ends.iter().position(|end| place < u128::from(*end))
    }
}

fn stride(sum: u64) -> u64 {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let near = ((sum as f64 * GOLDEN) as u64).max(1);
    (near..).find(|stride| divisor(*stride, sum) == 1).unwrap_or(1)
}

/// The greatest common divisor.
fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// The pool of a client with this key: each pool draws a number for it, and the highest for its share has it (weighted
/// rendezvous hashing, as in the policy of that name). It depends on names and shares alone, and a share that changes
/// moves no more clients than it must. None if nobody has a share.
pub(super) fn sticky_share(key: u64, to: &[(Arc<str>, u32)]) -> Option<usize> {
    let score = |(name, share): &(Arc<str>, u32)| {
        let mut drawn = [0; 16];
        drawn[..8].copy_from_slice(&xxh3_64(name.as_bytes()).to_le_bytes());
        drawn[8..].copy_from_slice(&key.to_le_bytes());
        // Between 0 and 1, neither of them included.
        let uniform = ((xxh3_64(&drawn) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        f64::from(*share) / -uniform.ln()
    };
    let scored = to.iter().enumerate().filter(|(_, (_, share))| *share > 0).map(|(index, of)| (score(of), index));
    scored.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))).map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shares_are_met_exactly_from_any_session_on(
            shares in proptest::collection::vec(0..30_u32, 1..6), from in 0..1_000_000_u64,
        ) {
            let sum: u32 = shares.iter().sum();
            let turns = Shares::new(shares.iter().copied());
            prop_assert_eq!(turns.of(from).is_none(), sum == 0);
            let mut got = vec![0; shares.len()];
            for n in from..from + u64::from(sum) {
                got[turns.of(n).expect("someone's turn")] += 1;
            }
            prop_assert_eq!(got, shares);
        }

        #[test]
        fn the_largest_shares_are_no_trouble(shares in proptest::collection::vec(999_990..=1_000_000_u32, 1..50)) {
            let turns = Shares::new(shares.iter().copied());
            prop_assert!(turns.of(u64::MAX).is_some());
        }
    }

    #[test]
    fn a_small_share_comes_up_evenly() {
        let turns = Shares::new([90, 10].into_iter());
        let second: Vec<u64> = (0..1000).filter(|n| turns.of(*n) == Some(1)).collect();
        assert_eq!(second.len(), 100);
        let gaps: Vec<u64> = second.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (5..=20).contains(gap)), "{gaps:?}");
    }

    fn to(shares: &[(&str, u32)]) -> Vec<(Arc<str>, u32)> {
        shares.iter().map(|(name, share)| ((*name).into(), *share)).collect()
    }

    #[test]
    fn a_client_stays_and_a_changed_share_moves_only_who_must() {
        const CLIENTS: u64 = 20_000;
        let key = |n: u64| xxh3_64(&n.to_le_bytes());
        let of = |shares: &[(&str, u32)]| -> Vec<Option<usize>> {
            (0..CLIENTS).map(|n| sticky_share(key(n), &to(shares))).collect()
        };
        let before = of(&[("blue", 90), ("green", 10), ("grey", 0)]);
        let after = of(&[("blue", 80), ("green", 20), ("grey", 0)]);
        let green = |all: &[Option<usize>]| all.iter().filter(|of| **of == Some(1)).count() as f64 / CLIENTS as f64;
        assert!((green(&before) - 0.1).abs() < 0.01 && (green(&after) - 0.2).abs() < 0.01);
        assert!(
            before.iter().zip(&after).all(|(old, new)| old == new || *new == Some(1)),
            "nobody moves the other way"
        );
        assert!(before.iter().all(|of| of.is_some_and(|of| of < 2)), "a share of 0 has nobody");
    }

    /// Changing these moves clients of every user.
    #[test]
    fn clients_go_where_they_went_in_every_version() {
        let shares = to(&[("blue", 50), ("green", 50)]);
        let got: Vec<_> = (0..8).map(|n| sticky_share(xxh3_64(&[n]), &shares)).collect();
        assert_eq!(got, [0, 0, 1, 0, 1, 0, 0, 1].map(Some));
    }
}
