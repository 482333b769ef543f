//! Rendezvous hashing: every member draws a number for the key, the highest serves it.
//!
//! Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (1998); weighted by the logarithm
//! method of Schindelhauer and Schomaker, "Weighted Distributed Hash Tables" (2005): the score is w / -ln u for a
//! hash u between 0 and 1. A member that comes or goes moves only its own keys, and a weight that changes only the
//! difference. The price is a look at every member's number for every pick.

use xxhash_rust::xxh3::xxh3_64;

use super::hashing::{Hashing, Roster, Table, mix};
use super::{Entry, Pick, PolicyKind, Seat};
use crate::config::Takes;

pub(super) const ENTRY: Entry = Entry {
    kind: PolicyKind {
        name: "rendezvous",
        summary: "by a hash of the client (rendezvous hashing): when backends or weights change, only keys that must \
                  move do; a pick looks at every backend, so for pools of up to some hundreds",
        takes: Takes::Hash,
    },
    build: |parts| Box::new(Hashing::<NoTable>::new(&parts)),
};

/// The scores are all there is.
#[derive(Debug)]
struct NoTable;

impl Table for NoTable {
    fn new(_: &Roster) -> Self {
        Self
    }

    fn walk(&self, _: u64) -> impl Iterator<Item = Seat> {
        std::iter::empty()
    }

    fn places(&self) -> &[Seat] {
        &[]
    }
}

/// All members, those of one weight together: among them the highest hash has the highest score, so that the
/// logarithm is taken once a weight and not once a member.
#[derive(Debug)]
pub(super) struct Scores(Box<[Contender]>);

#[derive(Debug, Clone, Copy)]
struct Contender {
    seed: u64,
    weight: u32,
    seat: Seat,
    /// Its place among the names, which settles ties.
    rank: u16,
}

/// A member's claim on a key; of two the greater wins.
type Score = (f64, u64, std::cmp::Reverse<u16>);

impl Scores {
    pub(super) fn new(roster: &Roster) -> Self {
        let contenders = roster.named.iter().zip(0..).map(|(named, rank)| Contender {
            seed: xxh3_64(named.name.as_bytes()),
            weight: named.weight,
            seat: named.seat,
            rank,
        });
        let mut contenders: Box<[_]> = contenders.collect();
        contenders.sort_by_key(|contender| (contender.weight, contender.rank));
        Self(contenders)
    }

    /// The best of those that `judge` finds open and with room; it says whether a better open one has none.
    pub(super) fn best(&self, hash: u64, judge: impl Fn(Seat) -> (bool, bool)) -> Option<Pick> {
        let (mut best, mut preferred) = (None, None);
        for equals in self.0.chunk_by(|a, b| a.weight == b.weight) {
            let (open, free) = highest(equals, hash, &judge);
            preferred = better(preferred, open, hash);
            best = better(best, free, hash);
        }
        let (seat, preferred) = (best?.seat, preferred?.seat);
        Some(Pick { seat, displaced: seat != preferred })
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All seats, the best first.
    pub(super) fn order(&self, hash: u64) -> impl Iterator<Item = Seat> + use<> {
        let mut scored: Vec<_> = self.0.iter().map(|of| (of.score(hash), of.seat)).collect();
        scored.sort_by(|(a, _), (b, _)| compare(b, a));
        scored.into_iter().map(|(_, seat)| seat)
    }
}

impl Contender {
    fn draw(&self, hash: u64) -> u64 {
        mix(hash, self.seed)
    }

    fn score(&self, hash: u64) -> Score {
        let drawn = self.draw(hash);
        // 53 bits and a half: never 0 and never 1.
        let unit = ((drawn >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        (f64::from(self.weight) / -unit.ln(), drawn, std::cmp::Reverse(self.rank))
    }
}

/// Of members of one weight the one with the highest hash that is open, and the one that has room too.
fn highest(
    equals: &[Contender],
    hash: u64,
    judge: impl Fn(Seat) -> (bool, bool),
) -> (Option<&Contender>, Option<&Contender>) {
    let (mut open, mut free) = ((0, None), (0, None));
    for contender in equals {
        let drawn = contender.draw(hash);
        // Looking at a member costs more than its hash, so only those are asked that would win.
        if free.1.is_some() && drawn <= free.0 {
            continue;
        }
        let (is_open, has_room) = judge(contender.seat);
        if is_open && (open.1.is_none() || drawn > open.0) {
            open = (drawn, Some(contender));
        }
        if is_open && has_room {
            free = (drawn, Some(contender));
        }
    }
    (open.1, free.1)
}

fn better<'a>(one: Option<&'a Contender>, other: Option<&'a Contender>, hash: u64) -> Option<&'a Contender> {
    match (one, other) {
        (Some(one), Some(other)) if compare(&one.score(hash), &other.score(hash)).is_ge() => Some(one),
        (one, other) => other.or(one),
    }
}

fn compare(a: &Score, b: &Score) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
}
