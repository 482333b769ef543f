//! Drawing seats by weight, each draw in constant time however many there are.

use super::{Draw, Member, Seat};

/// After so many draws that met only seats which cannot take the session, all are looked at once. With half of
/// them full, one session in 256 does that; with nearly all of them full, nearly every one.
const DRAWS: usize = 8;

/// Usable seats as a table of Walker's alias method (A. J. Walker, "An Efficient Method for Generating Discrete
/// Random Variables with General Distributions", 1977), filled as M. D. Vose does ("A Linear Algorithm For
/// Generating Random Numbers With a Given Distribution", 1991), in whole numbers and so without rounding.
///
/// All columns are equally likely; within its column a seat keeps a part, and the alias has the rest.
#[derive(Debug)]
pub(super) struct Lots {
    columns: Box<[Column]>,
    /// The height of a column: the sum of all weights.
    height: u64,
}

#[derive(Debug, Clone, Copy)]
struct Column {
    kept: u64,
    seat: Seat,
    alias: Seat,
}

impl Lots {
    pub(super) fn new(members: &[Member]) -> Self {
        let usable: Vec<_> = members.iter().zip(0u16..).filter(|(member, _)| member.usable).collect();
        let height = usable.iter().map(|(member, _)| u64::from(member.weight)).sum();
        // A weight times their number: at most 2^32 × 2^16, so nothing here overflows.
        let scaled = |weight: u32| u64::from(weight) * usable.len() as u64;
        let columns = usable.iter().map(|(member, index)| Column {
            kept: scaled(member.weight),
            seat: Seat(*index),
            alias: Seat(*index),
        });
        let mut columns: Box<[Column]> = columns.collect();
        level(&mut columns, height);
        Self { columns, height }
    }

    /// Any usable seat.
    pub(super) fn draw(&self, dice: &mut Dice) -> Option<Seat> {
        let column = self.columns.get(dice.below(self.columns.len() as u64) as usize)?;
        Some(if dice.below(self.height) < column.kept { column.seat } else { column.alias })
    }

    /// A seat that may take the session; `None` only if there is none.
    pub(super) fn draw_free(&self, members: &[Member], draw: &Draw<'_>, dice: &mut Dice) -> Option<Seat> {
        for _ in 0..DRAWS {
            let seat = self.draw(dice)?;
            if members[usize::from(seat.0)].may_take(draw) {
                return Some(seat);
            }
        }
        self.search_free(members, draw, dice)
    }

    /// A seat that may take the session, and another one, or the same where no other is soon found.
    pub(super) fn draw_two(&self, members: &[Member], draw: &Draw<'_>, dice: &mut Dice) -> Option<(Seat, Seat)> {
        let one = self.draw_free(members, draw, dice)?;
        let is_other = |seat: &Seat| *seat != one && members[usize::from(seat.0)].may_take(draw);
        let other = (0..DRAWS).find_map(|_| self.draw(dice).filter(is_other));
        Some((one, other.or_else(|| self.next_free(one, members, draw, dice)).unwrap_or(one)))
    }

    /// Another free seat than `one`, when it is so heavy or the rest so full that draws do not meet one: among
    /// some seats from a random place on, the first.
    fn next_free(&self, one: Seat, members: &[Member], draw: &Draw<'_>, dice: &mut Dice) -> Option<Seat> {
        let (before, after) = self.columns.split_at(dice.below(self.columns.len() as u64) as usize);
        let seats = after.iter().chain(before).map(|column| column.seat).take(DRAWS * DRAWS);
        seats.into_iter().find(|seat| *seat != one && members[usize::from(seat.0)].may_take(draw))
    }

    /// Looks at every seat once and keeps each by its share of the weight so far (A-Chao, "A general purpose
    /// unequal probability sampling plan", 1982): in the end every free one by its share of all.
    fn search_free(&self, members: &[Member], draw: &Draw<'_>, dice: &mut Dice) -> Option<Seat> {
        let mut total = 0;
        let mut kept = None;
        for seat in self.columns.iter().map(|column| column.seat) {
            let member = &members[usize::from(seat.0)];
            if member.may_take(draw) {
                total += u64::from(member.weight);
                kept = if dice.below(total) < u64::from(member.weight) { Some(seat) } else { kept };
            }
        }
        kept
    }
}

/// Fills up columns that are too low with what others have too much.
fn level(columns: &mut [Column], height: u64) {
    let (mut low, mut high): (Vec<_>, Vec<_>) = (0..columns.len()).partition(|at| columns[*at].kept < height);
    while let (Some(poor), Some(rich)) = (low.pop(), high.last().copied()) {
        columns[poor].alias = columns[rich].seat;
        columns[rich].kept -= height - columns[poor].kept;
        if columns[rich].kept < height {
            high.pop();
            low.push(rich);
        }
    }
}

/// Random numbers from one: SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(entropy: u64) -> Self {
        Self(entropy)
    }

    /// A number below `end`, or 0. The high half of the product of 64 random bits and `end`: without a division,
    /// with a bias below `end` / 2^64 (Lemire, "Fast Random Integer Generation in an Interval", 2019).
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What a seat keeps, and what it has of others as their alias, is its weight.
        #[test]
        fn columns_hold_each_seat_by_its_weight(weights in prop::collection::vec(1u32.., 1..60)) {
            let members = super::super::contract::members(&weights);
            let lots = Lots::new(&members);
            let mut held = vec![0u64; weights.len()];
            for column in &lots.columns {
                held[usize::from(column.seat.0)] += column.kept;
                held[usize::from(column.alias.0)] += lots.height - column.kept;
            }
            let expected: Vec<_> = weights.iter().map(|weight| u64::from(*weight) * weights.len() as u64).collect();
            prop_assert_eq!(held, expected);
        }
    }
}
