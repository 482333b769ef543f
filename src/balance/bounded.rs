//! Bounded load: nobody gets many more sessions than its share, whatever the keys are.
//!
//! Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016): with a factor c, a member of
//! weight w out of W takes at most ⌈c · (m + 1) · w / W⌉ sessions when there are m; the key goes on to its next
//! preference. For c > 1 there is always one with room.

use super::Member;

/// The factor is kept in thousandths, so that nothing is rounded.
const WHOLE: u64 = 1000;

/// The rule: its factor.
#[derive(Debug)]
pub(super) struct Bound(u64);

/// What the rule allows at one moment: sessions per weight, as a fraction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    sessions: u128,
    per_weight: u128,
}

impl Bound {
    pub(super) fn new(factor: f64) -> Self {
        Self((factor * WHOLE as f64).round() as u64)
    }

    /// Counts the sessions of all usable members, the one to come included, and their weight: a table outlives changes of who
    /// is usable.
    pub(super) fn allowance(&self, members: &[Member]) -> Allowance {
        let (mut sessions, mut weight) = (1, 0);
        for member in members.iter().filter(|member| member.usable) {
            sessions += u64::from(member.backend.active());
            weight += u64::from(member.weight);
        }
        Allowance {
            sessions: u128::from(self.0) * u128::from(sessions),
            per_weight: u128::from(WHOLE) * u128::from(weight),
        }
    }
}

impl Allowance {
    /// May it take one more? For whole numbers, a + 1 ≤ ⌈x⌉ is a < x.
    pub(super) fn has_room(&self, member: &Member) -> bool {
        u128::from(member.backend.active()) * self.per_weight < self.sessions * u128::from(member.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::members;
    use super::*;

    #[test]
    fn those_that_are_left_share_what_those_that_went_down_had() {
        let mut members = members(&[1; 4]);
        let bound = Bound::new(1.25);
        let _held: Vec<_> =
            members.iter().take(2).flat_map(|member| [member.backend.claim(), member.backend.claim()]).collect();
        // ⌈1.25 · 5 / 4⌉ = 2, and with two of them down ⌈1.25 · 5 / 2⌉ = 4.
        assert!(!bound.allowance(&members).has_room(&members[0]));
        members[2..].iter_mut().for_each(|member| member.usable = false);
        assert!(bound.allowance(&members).has_room(&members[0]));
    }
}
