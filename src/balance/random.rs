//! Random, in proportion to weight: by inversion of the cumulative weights.

use super::{Draw, Member, Policy, PolicyKind, Seat};

pub(super) const KIND: PolicyKind = PolicyKind { name: "random", summary: "at random, in proportion to weight" };

/// Cumulative weights of the usable seats.
#[derive(Debug)]
pub(super) struct Random {
    seats: Box<[(u64, Seat)]>,
}

impl Random {
    pub(super) fn new(members: &[Member]) -> Self {
        let mut sum = 0;
        let usable = members.iter().zip(0u16..).filter(|(member, _)| member.usable);
        let cumulate = usable.map(|(member, index)| {
            sum += u64::from(member.weight);
            (sum, Seat(index))
        });
        Self { seats: cumulate.collect() }
    }
}

impl Policy for Random {
    fn pick(&self, members: &[Member], draw: &Draw<'_>) -> Option<Seat> {
        let total = self.seats.last()?.0;
        // The high half of a 128-bit product maps 64 random bits onto 0..total without a division
        // and with a bias below total / 2^64 (Lemire, "Fast random integer generation", 2019).
        let point = ((u128::from(draw.entropy) * u128::from(total)) >> 64) as u64;
        if draw.tried.is_empty() {
            return self.seats.get(self.seats.partition_point(|(sum, _)| *sum <= point)).map(|(_, seat)| *seat);
        }
        self.pick_untried(members, draw)
    }
}

impl Random {
    /// Draws among the seats that are left, in proportion to their weights: no neighbour inherits all
    /// sessions of a dead backend.
    fn pick_untried(&self, members: &[Member], draw: &Draw<'_>) -> Option<Seat> {
        let left =
            || self.seats.iter().map(|(_, seat)| *seat).filter(|seat| members[usize::from(seat.0)].may_take(draw));
        let weight = |seat: Seat| u64::from(members[usize::from(seat.0)].weight);
        let total: u64 = left().map(weight).sum();
        let mut point = ((u128::from(draw.entropy) * u128::from(total)) >> 64) as u64;
        left().find(|seat| {
            let here = point < weight(*seat);
            point = point.saturating_sub(weight(*seat));
            here
        })
    }
}
