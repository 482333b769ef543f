//! Least connections: the fewest active sessions for its weight.
//!
//! Up to [`ALL`] members each is looked at. Beyond that the best of [`SAMPLE`] drawn by weight is taken: a look
//! is a cache miss, and `benches/README.md` has what thousands of them cost a connection. The best of d draws is
//! among the least loaded 1/d of all but for one time in e (Mitzenmacher, "The Power of Two Choices", for d = 2).

use super::lots::{Dice, Lots};
use super::p2c::by_load;
use super::{Draw, Entry, Member, Pick, Policy, PolicyKind, Seat};
use crate::config::Takes;

pub(super) const ENTRY: Entry = Entry {
    kind: PolicyKind {
        name: "least_connections",
        summary: "the fewest active sessions in proportion to weight; ties at random. In a pool of more than 256 \
                  backends: the fewest among 32 drawn at random",
        takes: Takes::Nothing,
    },
    build: |parts| Box::new(LeastConnections(Lots::new(parts.members))),
};

const ALL: usize = 256;
const SAMPLE: usize = 32;

/// The loads are live; the lots are for large pools.
#[derive(Debug)]
struct LeastConnections(Lots);

impl Policy for LeastConnections {
    fn pick(&self, members: &[Member], draw: &Draw<'_>) -> Option<Pick> {
        let mut dice = Dice::new(draw.entropy);
        let seat = if members.len() <= ALL {
            least_of_all(members, draw, &mut dice)
        } else {
            self.least_of_some(members, draw, &mut dice)
        };
        seat.map(Pick::from)
    }
}

impl LeastConnections {
    fn least_of_some(&self, members: &[Member], draw: &Draw<'_>, dice: &mut Dice) -> Option<Seat> {
        let mut least = self.0.draw_free(members, draw, dice)?;
        for _ in 1..SAMPLE {
            let Some(seat) = self.0.draw(dice) else { break };
            let (member, best) = (&members[usize::from(seat.0)], &members[usize::from(least.0)]);
            if by_load(member, best).is_lt() && member.may_take(draw) {
                least = seat;
            }
        }
        Some(least)
    }
}

/// Of equals each is kept by its share of their weight.
fn least_of_all(members: &[Member], draw: &Draw<'_>, dice: &mut Dice) -> Option<Seat> {
    let mut least: Option<(&Member, u16)> = None;
    let mut weight_of_equals = 0;
    for (member, index) in members.iter().zip(0..).filter(|(member, _)| member.may_take(draw)) {
        let weight = u64::from(member.weight);
        let order = least.map_or(std::cmp::Ordering::Less, |(best, _)| by_load(member, best));
        weight_of_equals = if order.is_eq() { weight_of_equals + weight } else { weight };
        if order.is_lt() || order.is_eq() && dice.below(weight_of_equals) < weight {
            least = Some((member, index));
        }
    }
    least.map(|(_, index)| Seat(index))
}
