//! Smooth weighted round robin: turns in proportion to weight, spread as evenly as they can be.
//!
//! The order is that of nginx's upstream balancer (Igor Sysoev, commit 52327e0627f4, 2012): each turn
//! every seat gains its weight, the richest is taken and pays the sum of all weights.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Draw, Entry, Member, Pick, Policy, PolicyKind, Seat};
use crate::config::Takes;

pub(super) const ENTRY: Entry = Entry {
    kind: PolicyKind {
        name: "round_robin",
        summary: "in turn, in proportion to weight, evenly spread (smooth weighted round robin)",
        takes: Takes::Nothing,
    },
    build: |parts| Box::new(RoundRobin::new(parts.members, parts.cursor.clone())),
};

/// Making a schedule costs turns × different weights, of which each seat may have its own; this bounds it to some tens of
/// milliseconds.
const MAX_WORK: usize = 16_000_000;
/// A schedule may be long and a heavy seat have many turns in a row. After so many that cannot take a session the
/// members are asked instead, in their order: there are never more of them than turns.
const MAX_TURNS: usize = 64;

/// A schedule made with the snapshot, walked by the pool's one cursor.
#[derive(Debug)]
struct RoundRobin {
    schedule: Box<[Seat]>,
    cursor: Arc<AtomicUsize>,
}

impl RoundRobin {
    fn new(members: &[Member], cursor: Arc<AtomicUsize>) -> Self {
        Self { schedule: schedule(members), cursor }
    }
}

impl Policy for RoundRobin {
    fn pick(&self, members: &[Member], draw: &Draw<'_>) -> Option<Pick> {
        let length = self.schedule.len();
        if length == 0 {
            return None;
        }
        let start = self.cursor.fetch_add(1, Ordering::Relaxed);
        let turns = from(&self.schedule, start % length).copied();
        let mut seats = turns.take(MAX_TURNS).chain((0..members.len()).map(|at| nth(start, at, members.len())));
        seats.find(|seat| members[usize::from(seat.0)].may_take(draw)).map(Pick::from)
    }
}

/// All of `turns`, beginning at `start`.
fn from(turns: &[Seat], start: usize) -> impl Iterator<Item = &Seat> {
    let (before, after) = turns.split_at(start);
    after.iter().chain(before)
}

/// The `at`-th of `members` seats, beginning where the cursor stands.
fn nth(start: usize, at: usize, members: usize) -> Seat {
    Seat(((start % members + at) % members) as u16)
}

/// One round of turns over the usable seats.
fn schedule(members: &[Member]) -> Box<[Seat]> {
    let usable: Vec<(Seat, u32)> = members
        .iter()
        .zip(0u16..)
        .filter(|(member, _)| member.usable)
        .map(|(member, index)| (Seat(index), member.weight))
        .collect();
    let weights = reduce(usable.iter().map(|(_, weight)| *weight).collect());
    turns(&weights).into_iter().map(|place| usable[place].0).collect()
}

/// Divides by the common divisor, and by more where a round would be too long to lay out.
fn reduce(mut weights: Vec<u32>) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    weights.iter_mut().for_each(|weight| *weight /= divisor);
    let total: usize = weights.iter().map(|weight| *weight as usize).sum();
    let longest = (MAX_WORK / weights.len().max(1)).max(weights.len());
    if total > longest {
        let scale = longest as f64 / total as f64;
        weights.iter_mut().for_each(|weight| *weight = ((f64::from(*weight) * scale).round() as u32).max(1));
    }
    weights
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The smooth weighted order of one round: places in `weights`.
///
/// After t turns a seat of weight w that had n of them has t·w - n·(sum of weights). Among those of one weight so the one
/// with the fewest turns is the richest, and the first of these: they take turns in their order, and a turn compares one of
/// each weight instead of all.
fn turns(weights: &[u32]) -> Vec<usize> {
    let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
    if total as usize == weights.len() {
        return (0..weights.len()).collect();
    }
    let mut equals: Vec<Equals> = equals(weights);
    let turn = |_| {
        equals.iter_mut().for_each(|equals| equals.wealth += equals.weight);
        let richest = equals.iter_mut().max_by_key(|equals| (equals.wealth, Reverse(equals.first())));
        richest.map(|richest| richest.take_turn(total)).unwrap_or_default()
    };
    (0..total).map(turn).collect()
}

/// Seats of one weight.
#[derive(Debug)]
struct Equals {
    weight: i64,
    /// Their places, in order.
    places: Vec<usize>,
    /// Who of them is the richest, and how rich it is.
    next: usize,
    wealth: i64,
}

fn equals(weights: &[u32]) -> Vec<Equals> {
    let mut by_weight: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (place, weight) in weights.iter().enumerate() {
        by_weight.entry(*weight).or_default().push(place);
    }
    let equals = |(weight, places)| Equals { weight: i64::from(weight), places, next: 0, wealth: 0 };
    by_weight.into_iter().map(equals).collect()
}

impl Equals {
    fn first(&self) -> usize {
        self.places[self.next]
    }

    /// Gives the place that takes the turn. The one after it is as rich as this one was, until all have had as many.
    fn take_turn(&mut self, total: i64) -> usize {
        let place = self.first();
        self.next += 1;
        if self.next == self.places.len() {
            (self.next, self.wealth) = (0, self.wealth - total);
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_classic_order() {
        assert_eq!(turns(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(turns(&[1, 1, 1]), [0, 1, 2]);
    }

    #[test]
    fn extreme_weights_keep_their_order_of_magnitude_and_a_bound() {
        let weights = reduce((1..=2000).map(|i| 65_536 - i).collect());
        let round: usize = weights.iter().map(|weight| *weight as usize).sum();
        assert!(round <= MAX_WORK / 2000 + 2000, "{round}");
        assert_eq!(reduce(vec![65_535, 1]), [65_535, 1]);
    }

    /// As it is defined: everyone gains, the richest pays.
    fn plain_turns(weights: &[u32]) -> Vec<usize> {
        let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
        let mut wealth = vec![0i64; weights.len()];
        let turn = |_| {
            wealth.iter_mut().zip(weights).for_each(|(wealth, weight)| *wealth += i64::from(*weight));
            let richest = (0..wealth.len()).max_by_key(|place| (wealth[*place], Reverse(*place))).unwrap_or_default();
            wealth[richest] -= total;
            richest
        };
        (0..total).map(turn).collect()
    }

    proptest! {
        #[test]
        fn equals_in_turn_give_the_order_as_it_is_defined(
            weights in prop_oneof![prop::collection::vec(1u32..4, 1..40), prop::collection::vec(1u32..60, 1..12)],
        ) {
            prop_assert_eq!(turns(&weights), plain_turns(&weights));
        }

        #[test]
        fn a_round_gives_each_seat_its_weight(weights in prop::collection::vec(1u32..50, 1..20)) {
            let order = turns(&reduce(weights.clone()));
            for (place, weight) in weights.iter().enumerate() {
                let got = order.iter().filter(|taken| **taken == place).count();
                let total: u32 = weights.iter().sum();
                prop_assert_eq!(got * total as usize, *weight as usize * order.len());
            }
        }

        #[test]
        fn no_seat_is_ever_more_than_a_turn_or_so_off_its_share(weights in prop::collection::vec(1u32..20, 2..10)) {
            let order = turns(&weights);
            let total: u32 = weights.iter().sum();
            for (place, weight) in weights.iter().enumerate() {
                let mut got = 0.0;
                for (turn, taken) in order.iter().enumerate() {
                    got += f64::from(u8::from(*taken == place));
                    let fair = (turn + 1) as f64 * f64::from(*weight) / f64::from(total);
                    prop_assert!((got - fair).abs() < weights.len() as f64, "{} against {}", got, fair);
                }
            }
        }
    }
}
