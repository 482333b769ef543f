//! XXH3 of two numbers, for one that meets thousands: what each of them brings is worked out once.
//!
//! It is the number that [`super::hashing::mix`] gives for the two, in two thirds of the instructions. Yann Collet, "XXH3" (the xxHash
//! specification, inputs of 9 to 16 bytes).

/// What the algorithm's secret flips in the first and in the second number.
const FLIPS: [u64; 2] = [0xAF56_BC3B_0996_523A, 0x6782_737B_EA42_39B9];
const LENGTH: u64 = 16;
const PRIME: u64 = 0x1656_6791_9E37_79F9;

/// The first number, which comes and goes: a key's hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comer(u64);

/// The second number, which stays: the hash of a member's name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stayer(u64);

/// The number of both, all but the last step, which leaves its upper half as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unfinished(u64);

impl Comer {
    pub(super) fn new(number: u64) -> Self {
        Self(number ^ FLIPS[0])
    }
}

impl Stayer {
    pub(super) fn new(number: u64) -> Self {
        Self(number ^ FLIPS[1])
    }

    #[inline]
    pub(super) fn meet(self, comer: Comer) -> Unfinished {
        let product = u128::from(self.0) * u128::from(comer.0);
        let folded = product as u64 ^ (product >> 64) as u64;
        let sum = folded.wrapping_add(self.0.swap_bytes()).wrapping_add(comer.0.wrapping_add(LENGTH));
        Unfinished((sum ^ (sum >> 37)).wrapping_mul(PRIME))
    }
}

impl Unfinished {
    /// What is below this comes to less than `finished`.
    pub(super) fn least_to_reach(finished: u64) -> Self {
        Self(finished & !u64::from(u32::MAX))
    }

    #[inline]
    pub(super) fn finish(self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::hashing::mix;
    use super::*;

    proptest! {
        #[test]
        fn it_is_what_the_whole_hash_gives(a: u64, b: u64) {
            prop_assert_eq!(Stayer::new(b).meet(Comer::new(a)).finish(), mix(a, b));
        }

        #[test]
        fn what_cannot_be_reached_is_known_before_the_end(one: u64, other: u64, near in 0u64..4) {
            for (one, other) in [(one, other), (one, one ^ near << 31)].map(|(a, b)| (Unfinished(a), Unfinished(b))) {
                let skipped = one < Unfinished::least_to_reach(other.finish());
                prop_assert!(!skipped || one.finish() < other.finish());
                prop_assert!(one.finish() >> 32 == other.finish() >> 32 || skipped == (one.finish() < other.finish()));
            }
        }
    }
}
