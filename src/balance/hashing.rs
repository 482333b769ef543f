//! What all hashing policies share: a key's own order of preference, and the walk along it.
//!
//! A table is made of names and weights of all members, those down too, so it moves only when the configuration
//! does. Who cannot take a session is passed over when a key walks its order: the keys of a backend that is down
//! spread over the others, and return, exactly they, when it is up again.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::bounded::{Allowance, Bound};
use super::rendezvous::Scores;
use super::{Draw, Member, Order, Parts, Pick, Policy, Seat};
use crate::config::plan::HashSpec;

/// Steps along a table before the rest of the order is by [`Scores`]. With half the members down, one key in 2^64
/// gets so far; with all but a few down a table of a million places would be walked from end to end.
const STEPS: usize = 64;

/// A table that leads each key along seats, many of them more than once.
pub(super) trait Table: std::fmt::Debug + Send + Sync + Sized {
    /// The table over `roster`: a pure function of names and weights.
    fn new(roster: &Roster) -> Self;

    /// The seats from the place of `hash` on, round and round.
    fn walk(&self, hash: u64) -> impl Iterator<Item = Seat>;

    /// The whole table, place by place.
    fn places(&self) -> &[Seat];
}

/// A policy that follows keys over a table.
#[derive(Debug)]
pub(super) struct Hashing<T> {
    table: T,
    scores: Scores,
    bound: Option<Bound>,
    digest: u64,
}

impl<T: Table> Hashing<T> {
    pub(super) fn new(parts: &Parts<'_>) -> Self {
        let spec = parts.spec.hash.unwrap_or_default();
        let roster = Roster::new(parts.members);
        let table = T::new(&roster);
        let digest = digest(parts.spec.name, &spec, &roster, table.places());
        let bound = spec.bounded_load.map(Bound::new);
        Self { table, scores: Scores::new(&roster), bound, digest }
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> &T {
        &self.table
    }

    /// The first of the key's order that may take the session, within its allowance if there is one.
    fn first_free(&self, members: &[Member], draw: &Draw<'_>, allowance: Option<Allowance>) -> Option<Pick> {
        let has_room = |member: &Member| !member.is_full() && allowance.is_none_or(|of| of.has_room(member));
        let hash = spread(draw.key);
        let mut displaced = false;
        for seat in self.table.walk(hash).take(STEPS) {
            let member = &members[usize::from(seat.0)];
            if !member.is_open(draw) {
                continue;
            }
            if has_room(member) {
                return Some(Pick { seat, displaced });
            }
            displaced = true;
        }
        let pick = self.scores.best(hash, |seat| {
            let member = &members[usize::from(seat.0)];
            (member.is_open(draw), has_room(member))
        })?;
        Some(Pick { displaced: displaced || pick.displaced, ..pick })
    }
}

impl<T: Table> Policy for Hashing<T> {
    fn pick(&self, members: &[Member], draw: &Draw<'_>) -> Option<Pick> {
        let Some(bound) = &self.bound else {
            return self.first_free(members, draw, None);
        };
        let within = self.first_free(members, draw, Some(bound.allowance(members)));
        // When those that are left have all they should, one of them must have more.
        within.or_else(|| self.first_free(members, draw, None))
    }

    fn digest(&self) -> Option<String> {
        Some(format!("{:016x}", self.digest))
    }

    fn order(&self, key: u64) -> Option<Order<'_>> {
        let hash = spread(key);
        let rest = std::iter::once_with(move || self.scores.order(hash)).flatten();
        let mut seen = vec![false; self.scores.len()];
        let is_new = move |seat: &Seat| !std::mem::replace(&mut seen[usize::from(seat.0)], true);
        Some(Box::new(self.table.walk(hash).take(STEPS).chain(rest).filter(is_new)))
    }
}

/// Keys may be alike in most of their bits; places in a table must not be.
fn spread(key: u64) -> u64 {
    xxh3_64(&key.to_le_bytes())
}

/// One number of two: all bits of both in all of its bits.
pub(super) fn mix(a: u64, b: u64) -> u64 {
    xxh3_64(&(u128::from(a) << 64 | u128::from(b)).to_le_bytes())
}

/// The members by name: their order in the file means nothing to a table.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) named: Vec<Named>,
}

/// One member of a roster.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: std::sync::Arc<str>,
    pub(super) weight: u32,
    pub(super) seat: Seat,
}

impl Roster {
    pub(super) fn new(members: &[Member]) -> Self {
        let name = |(member, index): (&Member, u16)| Named {
            name: member.backend.name.clone(),
            weight: member.weight,
            seat: Seat(index),
        };
        let mut named: Vec<_> = members.iter().zip(0u16..).map(name).collect();
        named.sort_by(|a, b| a.name.cmp(&b.name));
        Self { named }
    }

    /// The seats for places given as indices into the roster.
    pub(super) fn seats(&self, places: impl IntoIterator<Item = usize>) -> Box<[Seat]> {
        places.into_iter().map(|place| self.named[place].seat).collect()
    }
}

/// Over all that says where a key goes; seats are told by the rank of their names.
fn digest(policy: &str, spec: &HashSpec, roster: &Roster, places: &[Seat]) -> u64 {
    let mut digest = Xxh3::new();
    let mut text = |text: &str| {
        digest.update(&(text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    };
    text(policy);
    text(spec.key.as_str());
    roster.named.iter().for_each(|named| text(&named.name));
    digest.update(&[spec.prefix_v6]);
    roster.named.iter().for_each(|named| digest.update(&named.weight.to_le_bytes()));
    let mut ranks = vec![[0; 2]; roster.named.len()];
    for (named, rank) in roster.named.iter().zip(0u16..) {
        ranks[usize::from(named.seat.0)] = rank.to_le_bytes();
    }
    places.iter().for_each(|seat| digest.update(&ranks[usize::from(seat.0)]));
    digest.digest()
}
