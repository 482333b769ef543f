//! Maglev hashing: a table of places, filled by members in turn, each by its own permutation of the places.
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4. A look
//! costs one read. Weights are turns, as in Katran (`katran/lib/MaglevHash.cpp`) and Envoy
//! (`source/extensions/load_balancing_policies/maglev`), but spread: the k-th turn of a member of weight w comes at
//! time (k - ½) / w. So a heavy one does not take all its favourite places before the light have had a turn, and
//! shares are rounded to the nearest place (the divisor method of Webster).

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use xxhash_rust::xxh3::xxh3_128;

use super::hashing::{Hashing, Roster, Table};
use super::{Entry, PolicyKind, Seat};
use crate::config::Takes;

pub(super) const ENTRY: Entry = Entry {
    kind: PolicyKind {
        name: "maglev",
        summary: "by a hash of the client (Maglev hashing): one look whatever the size; shares are even, and when \
                  backends change little moves that need not",
        takes: Takes::Hash,
    },
    build: |parts| Box::new(Hashing::<Maglev>::new(&parts)),
};

/// Places for each member: the paper's hundred, which bounds the difference of shares to one in a hundred.
const PLACES: usize = 100;
/// Primes, so that every step but 0 visits all places: each the first above a power of two, the first that of the
/// paper. They are few and far apart because a table of another size moves most keys.
const SIZES: [usize; 8] = [65_537, 131_101, 262_147, 524_309, 1_048_583, 2_097_169, 4_194_319, 8_388_617];

/// The owner of each place.
#[derive(Debug)]
struct Maglev(Box<[Seat]>);

impl Table for Maglev {
    fn new(roster: &Roster) -> Self {
        Self(roster.seats(fill(roster)))
    }

    /// In steps of the key's own length. Neighbouring places would not do: their owners depend on one another, so
    /// that those of one member are followed by some of the others far more often than by the rest.
    fn walk(&self, hash: u64) -> impl Iterator<Item = Seat> {
        let mut walk = Walk::new(hash, hash.rotate_left(32), self.0.len());
        (0..self.0.len()).map(move |_| self.0[walk.next()])
    }

    fn places(&self) -> &[Seat] {
        &self.0
    }
}

/// Who has which place, as indices into the roster.
fn fill(roster: &Roster) -> Vec<usize> {
    if roster.named.is_empty() {
        return Vec::new();
    }
    let size = size(roster.named.len());
    let mut walks: Vec<_> = roster.named.iter().map(|named| Walk::of(&named.name, size)).collect();
    let first =
        |(member, named): (usize, &super::hashing::Named)| Reverse(Turn { halves: 1, weight: named.weight, member });
    let mut turns: BinaryHeap<_> = roster.named.iter().enumerate().map(first).collect();
    let mut owners = vec![usize::MAX; size];
    for _ in 0..size {
        let Some(Reverse(turn)) = turns.pop() else { break };
        let place = walks[turn.member].next_free(&owners);
        owners[place] = turn.member;
        turns.push(Reverse(Turn { halves: turn.halves + 2, ..turn }));
    }
    owners
}

fn size(members: usize) -> usize {
    SIZES.into_iter().find(|size| *size >= members * PLACES).unwrap_or(SIZES[SIZES.len() - 1])
}

/// A member's turn, at time halves / 2 / weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    halves: u32,
    weight: u32,
    member: usize,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        let time = |of: &Self, at: &Self| u64::from(of.halves) * u64::from(at.weight);
        time(self, other).cmp(&time(other, self)).then(self.member.cmp(&other.member))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// An order of all places: steps of one length, round and round. The size is a prime, so each place comes once.
#[derive(Debug)]
struct Walk {
    place: usize,
    step: usize,
    size: usize,
}

impl Walk {
    fn of(name: &str, size: usize) -> Self {
        let hash = xxh3_128(name.as_bytes());
        Self::new(hash as u64, (hash >> 64) as u64, size)
    }

    fn new(start: u64, step: u64, size: usize) -> Self {
        let most = size.max(2) as u64;
        Self { place: (start % most) as usize, step: (step % (most - 1) + 1) as usize, size }
    }

    fn next(&mut self) -> usize {
        let place = self.place;
        self.place += self.step;
        if self.place >= self.size {
            self.place -= self.size;
        }
        place
    }

    /// The next place nobody has. There is one whenever this is called.
    fn next_free(&mut self, owners: &[usize]) -> usize {
        loop {
            let place = self.next();
            if owners[place] == usize::MAX {
                return place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_primes_and_large_enough_for_every_seat() {
        for size in SIZES {
            assert!((2..).take_while(|n| n * n <= size).all(|n| size % n != 0), "{size}");
        }
        assert_eq!(size(1), 65_537);
        assert_eq!(size(656), 131_101);
        assert!(size(usize::from(u16::MAX) + 1) >= 100 * usize::from(u16::MAX));
    }

    #[test]
    fn every_place_has_an_owner_and_shares_are_exact_to_a_place_or_two() {
        let weights = [1, 2, 7, 100, 65_535];
        let members = super::super::contract::members(&weights);
        let spec = crate::config::plan::PolicySpec { name: "maglev", hash: None };
        let cursor = std::sync::Arc::default();
        let hashing = Hashing::<Maglev>::new(&super::super::Parts { spec: &spec, members: &members, cursor: &cursor });
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for (seat, weight) in (0..).zip(weights) {
            let got = hashing.table().places().iter().filter(|place| **place == Seat(seat)).count();
            let fair = 65_537.0 * f64::from(weight) / total;
            assert!((got as f64 - fair).abs() < 2.0, "{got} against {fair}");
        }
    }
}
