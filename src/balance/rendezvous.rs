//! Rendezvous hashing: every member draws a number for the key, the highest serves it.
//!
//! Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (1998); weighted by the logarithm
//! method of Schindelhauer and Schomaker, "Weighted Distributed Hash Tables" (2005): the score is w / -ln u for a
//! hash u between 0 and 1. A member that comes or goes moves only its own keys, and a weight that changes only the
//! difference. The price is a look at every member's number for every pick.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::hashing::{Hashing, Named, Roster, Table};
use super::paired::{Comer, Stayer, Unfinished};
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
/// logarithm is taken once a weight at most and not once a member.
#[derive(Debug)]
pub(super) struct Scores {
    /// The hashes of names, apart from the rest: they are what a pick reads from end to end.
    seeds: Box<[Stayer]>,
    /// Whose they are.
    contenders: Box<[Contender]>,
    /// Where those of each weight end.
    ends: Box<[usize]>,
}

#[derive(Debug, Clone, Copy)]
struct Contender {
    weight: u32,
    seat: Seat,
    /// Its place among the names, which settles ties.
    rank: u16,
}

/// A member's claim on a key; of two the greater wins.
type Score = (f64, u64, std::cmp::Reverse<u16>);

/// What a member drew, and its place among the contenders.
#[derive(Debug, Clone, Copy)]
struct Drawn {
    number: u64,
    place: usize,
}

impl Scores {
    pub(super) fn new(roster: &Roster) -> Self {
        let mut ranked: Vec<_> = roster.named.iter().zip(0..).collect();
        ranked.sort_by_key(|(named, rank)| (named.weight, *rank));
        let contender =
            |(named, rank): &(&Named, u16)| Contender { weight: named.weight, seat: named.seat, rank: *rank };
        let contenders: Box<[_]> = ranked.iter().map(contender).collect();
        let seed = |(named, _): &(&Named, u16)| Stayer::new(xxh3_64(named.name.as_bytes()));
        let mut end = 0;
        let ends = contenders.chunk_by(|a, b| a.weight == b.weight).map(|equals| {
            end += equals.len();
            end
        });
        Self { seeds: ranked.iter().map(seed).collect(), ends: ends.collect(), contenders }
    }

    /// The best of those that `judge` finds open and with room; it says whether a better open one has none.
    pub(super) fn best(&self, hash: u64, judge: impl Fn(Seat) -> (bool, bool)) -> Option<Pick> {
        let (mut best, mut preferred) = (None, None);
        let mut start = 0;
        for end in &self.ends {
            let (open, free) = self.highest(start..*end, Comer::new(hash), &judge);
            preferred = self.better(preferred, open);
            best = self.better(best, free);
            start = *end;
        }
        let (best, preferred) = (self.contenders[best?.1].seat, self.contenders[preferred?.1].seat);
        Some(Pick { seat: best, displaced: best != preferred })
    }

    pub(super) fn len(&self) -> usize {
        self.contenders.len()
    }

    /// All seats, the best first.
    pub(super) fn order(&self, hash: u64) -> impl Iterator<Item = Seat> + use<> {
        let key = Comer::new(hash);
        let drawn = self.seeds.iter().map(|seed| seed.meet(key).finish());
        let mut scored: Vec<_> = drawn.zip(&self.contenders).map(|(drawn, of)| (of.score(drawn), of.seat)).collect();
        scored.sort_by(|(a, _), (b, _)| compare(b, a));
        scored.into_iter().map(|(_, seat)| seat)
    }

    /// Of members of one weight the one with the highest hash that is open, and the one that has room too.
    fn highest(
        &self,
        equals: Range<usize>,
        key: Comer,
        judge: impl Fn(Seat) -> (bool, bool),
    ) -> (Option<Drawn>, Option<Drawn>) {
        let (mut open, mut free) = (None, None);
        let is_above = |number: u64, drawn: Option<Drawn>| drawn.is_none_or(|drawn| number > drawn.number);
        let mut least = Unfinished::least_to_reach(0);
        for (seed, place) in self.seeds[equals.clone()].iter().zip(equals) {
            let unfinished = seed.meet(key);
            // Looking at a member costs more than its hash, so only those are asked that would win.
            if unfinished < least {
                continue;
            }
            let number = unfinished.finish();
            if !is_above(number, free) {
                continue;
            }
            let (is_open, has_room) = judge(self.contenders[place].seat);
            if is_open && is_above(number, open) {
                open = Some(Drawn { number, place });
            }
            if is_open && has_room {
                free = Some(Drawn { number, place });
                least = Unfinished::least_to_reach(number);
            }
        }
        (open, free)
    }

    /// The better of the best so far, with its place, and of one that drew.
    fn better(&self, best: Option<(Score, usize)>, drawn: Option<Drawn>) -> Option<(Score, usize)> {
        let Some(drawn) = drawn else { return best };
        let contender = &self.contenders[drawn.place];
        let is_sure = |(best, _): &(Score, usize)| {
            contender.most(drawn.number) < best.0 || compare(best, &contender.score(drawn.number)).is_ge()
        };
        best.filter(is_sure).or_else(|| Some((contender.score(drawn.number), drawn.place)))
    }
}

impl Contender {
    fn score(&self, drawn: u64) -> Score {
        (f64::from(self.weight) / -unit(drawn).ln(), drawn, std::cmp::Reverse(self.rank))
    }

    /// At least the score, without its logarithm: -ln u is at least 1 - u. What rounding may take is added, many times over.
    fn most(&self, drawn: u64) -> f64 {
        f64::from(self.weight) / (1.0 - unit(drawn)) * (1.0 + 1e-9)
    }
}

/// 53 bits and a half: never 0 and never 1.
fn unit(drawn: u64) -> f64 {
    ((drawn >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

fn compare(a: &Score, b: &Score) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::contract::members;
    use super::*;

    proptest! {
        /// The whole order takes every logarithm and compares all; the best of it is found by shortcuts.
        #[test]
        fn the_best_is_the_first_of_the_order_that_may_be_had(
            all in prop::collection::vec((prop_oneof![1u32..4, 1u32.., Just(u32::MAX)], 0u8..3), 0..80),
            hash: u64,
        ) {
            let weights: Vec<u32> = all.iter().map(|(weight, _)| *weight).collect();
            let scores = Scores::new(&Roster::new(&members(&weights)));
            let state = |seat: Seat| all[usize::from(seat.0)].1;
            let first = |least: u8| scores.order(hash).find(|seat| state(*seat) >= least);
            let expected = first(2).map(|seat| Pick { seat, displaced: first(1) != Some(seat) });
            prop_assert_eq!(scores.best(hash, |seat| (state(seat) >= 1, state(seat) == 2)), expected);
        }
    }
}
