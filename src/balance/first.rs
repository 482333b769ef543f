//! First: fill backends in the order of the file, so that as few as possible are in use.
//!
//! As HAProxy's `balance first` (`src/lb_fas.c`): it goes with `max_connections`; without it, all goes to the first.

use super::{Draw, Entry, Member, Pick, Policy, PolicyKind, Seat};
use crate::config::Takes;

pub(super) const ENTRY: Entry = Entry {
    kind: PolicyKind {
        name: "first",
        summary: "the first in the file until it has its `max_connections`, then the next; weight means nothing",
        takes: Takes::Nothing,
    },
    build: |_| Box::new(First),
};

/// Walks past those that are full.
#[derive(Debug)]
struct First;

impl Policy for First {
    fn pick(&self, members: &[Member], draw: &Draw<'_>) -> Option<Pick> {
        let free = members.iter().zip(0..).find(|(member, _)| member.may_take(draw));
        free.map(|(_, index)| Pick::from(Seat(index)))
    }
}
