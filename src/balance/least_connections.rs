//! Least connections: the fewest active sessions for its weight.

use super::{Draw, Member, Policy, PolicyKind, Seat};

pub(super) const KIND: PolicyKind = PolicyKind {
    name: "least_connections",
    summary: "the fewest active sessions in proportion to weight; ties at random",
};

/// Looks at every member; the loads are live.
#[derive(Debug)]
pub(super) struct LeastConnections;

impl Policy for LeastConnections {
    fn pick(&self, members: &[Member], draw: &Draw<'_>) -> Option<Seat> {
        let start = (draw.entropy % members.len().max(1) as u64) as usize;
        let (before, after) = members.split_at(start);
        let seats = (start..members.len()).chain(0..start);
        let candidates = after.iter().chain(before).zip(seats).filter(|(member, _)| member.may_take(draw));
        // Among equals `min_by_key` keeps the first, and the walk starts at random. The load counts
        // the session to come, so that of idle backends the heavier is chosen.
        candidates.min_by(|(a, _), (b, _)| load_then_weight(a, b)).map(|(_, index)| Seat(index as u16))
    }
}

/// Orders by (active + 1) / weight without dividing: a/b < c/d exactly when a·d < c·b.
fn load_then_weight(a: &Member, b: &Member) -> std::cmp::Ordering {
    let after_this = |member: &Member| u64::from(member.backend.active()) + 1;
    (after_this(a) * u64::from(b.weight)).cmp(&(after_this(b) * u64::from(a.weight)))
}
