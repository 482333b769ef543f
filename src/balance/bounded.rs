//! Bounded load: nobody gets many more sessions than its share, whatever the keys are.
//!
//! Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016): with a factor c, a member of
//! weight w out of W takes at most ⌈c · (m + 1) · w / W⌉ sessions when there are m; the key goes on to its next
//! preference. For c > 1 there is always one with room.

use super::Member;

/// The factor is kept in thousandths, so that nothing is rounded.
const WHOLE: u64 = 1000;

/// The rule, and the weight of all usable members.
#[derive(Debug)]
pub(super) struct Bound {
    factor: u64,
    weight: u64,
}

/// What the rule allows at one moment: sessions per weight, as a fraction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    sessions: u128,
    per_weight: u128,
}

impl Bound {
    pub(super) fn new(factor: f64, members: &[Member]) -> Self {
        let usable = members.iter().filter(|member| member.usable);
        Self {
            factor: (factor * WHOLE as f64).round() as u64,
            weight: usable.map(|member| u64::from(member.weight)).sum(),
        }
    }

    /// Counts the sessions of all usable members, the one to come included.
    pub(super) fn allowance(&self, members: &[Member]) -> Allowance {
        let usable = members.iter().filter(|member| member.usable);
        let sessions = 1 + usable.map(|member| u64::from(member.backend.active())).sum::<u64>();
        Allowance {
            sessions: u128::from(self.factor) * u128::from(sessions),
            per_weight: u128::from(WHOLE) * u128::from(self.weight),
        }
    }
}

impl Allowance {
    /// May it take one more? For whole numbers, a + 1 ≤ ⌈x⌉ is a < x.
    pub(super) fn has_room(&self, member: &Member) -> bool {
        u128::from(member.backend.active()) * self.per_weight < self.sessions * u128::from(member.weight)
    }
}
