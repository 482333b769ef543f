//! Random, in proportion to weight.

use super::lots::{Dice, Lots};
use super::{Draw, Entry, Member, Pick, Policy, PolicyKind};
use crate::config::Takes;

pub(super) const ENTRY: Entry = Entry {
    kind: PolicyKind { name: "random", summary: "at random, in proportion to weight", takes: Takes::Nothing },
    build: |parts| Box::new(Random(Lots::new(parts.members))),
};

/// Draws until a free seat is met.
#[derive(Debug)]
struct Random(Lots);

impl Policy for Random {
    fn pick(&self, members: &[Member], draw: &Draw<'_>) -> Option<Pick> {
        self.0.draw_free(members, draw, &mut Dice::new(draw.entropy)).map(Pick::from)
    }
}
