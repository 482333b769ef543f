//! The power of two choices: two backends at random, the less loaded of the two.
//!
//! Michael Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (1996): the second choice
//! brings the longest queue from about log n / log log n down to log log n, for two looks instead of n. And
//! unlike the least loaded of all, several proxies with old news do not all run to the same backend.

use std::cmp::Ordering;

use super::lots::{Dice, Lots};
use super::{Draw, Entry, Member, Pick, Policy, PolicyKind};
use crate::config::Takes;

pub(super) const ENTRY: Entry = Entry {
    kind: PolicyKind {
        name: "p2c",
        summary: "two at random in proportion to weight, then the one with fewer active sessions for its weight \
                  (power of two choices)",
        takes: Takes::Nothing,
    },
    build: |parts| Box::new(P2c(Lots::new(parts.members))),
};

/// Two draws and one comparison.
#[derive(Debug)]
struct P2c(Lots);

impl Policy for P2c {
    fn pick(&self, members: &[Member], draw: &Draw<'_>) -> Option<Pick> {
        let (one, other) = self.0.draw_two(members, draw, &mut Dice::new(draw.entropy))?;
        // Of equals the first: it was drawn by weight, so shares are right also while all are idle.
        let less = by_load(&members[usize::from(other.0)], &members[usize::from(one.0)]).is_lt();
        Some(Pick::from(if less { other } else { one }))
    }
}

/// Orders by active / weight without dividing: a/b < c/d exactly when a·d < c·b.
pub(super) fn by_load(a: &Member, b: &Member) -> Ordering {
    let share = |of: &Member, other: &Member| u64::from(of.backend.active()) * u64::from(other.weight);
    share(a, b).cmp(&share(b, a))
}
