//! Ring hashing: members have many points on a ring, a key belongs to the next point.
//!
//! Karger et al., "Consistent Hashing and Random Trees" (1997), with the points of Ketama (Richard Jones, last.fm,
//! 2007): 160 for a member of middling weight. A member that comes or goes moves only its own keys; the shares are
//! less even than those of `maglev`, some 8 % (1/√160) off.

use xxhash_rust::xxh3::xxh3_64;

use super::hashing::{Hashing, Named, Roster, Table, mix};
use super::{Entry, PolicyKind, Seat};
use crate::config::Takes;

pub(super) const ENTRY: Entry = Entry {
    kind: PolicyKind {
        name: "ring_hash",
        summary: "by a hash of the client on a ring of some 160 to 320 points a backend (Ketama): when backends change, \
                  only keys that must move do; shares are off by some 8 %, those of light backends by more",
        takes: Takes::Hash,
    },
    build: |parts| Box::new(Hashing::<Ring>::new(&parts)),
};

/// Points of a member of the unit weight.
const POINTS: u64 = 160;

/// Points in ascending order, and whose they are. Some four kilobytes a member.
#[derive(Debug)]
struct Ring {
    points: Box<[u64]>,
    seats: Box<[Seat]>,
    sectors: Sectors,
}

/// Where a search for a point begins and ends, by the first bits of the point: with one to two points a sector it takes as
/// long on a large ring as on a small one, while halving a large one misses the cache at each step.
#[derive(Debug)]
struct Sectors {
    /// How far a point is shifted to give its sector.
    shift: u32,
    /// The first point of each sector, and the end of the last.
    starts: Box<[u32]>,
}

impl Table for Ring {
    fn new(roster: &Roster) -> Self {
        let unit = unit(&roster.named);
        let mut points: Vec<(u64, usize)> = Vec::new();
        for (member, named) in roster.named.iter().enumerate() {
            // A seed does not tell short names apart well enough, so the number is hashed with the name.
            let name = xxh3_64(named.name.as_bytes());
            points.extend((0..count(named.weight, unit)).map(|point| (mix(name, point), member)));
        }
        points.sort_unstable();
        let seats = roster.seats(points.iter().map(|(_, member)| *member));
        let points: Box<[u64]> = points.into_iter().map(|(point, _)| point).collect();
        Self { sectors: Sectors::of(&points), points, seats }
    }

    fn walk(&self, hash: u64) -> impl Iterator<Item = Seat> {
        let start = self.sectors.find(&self.points, hash);
        let (before, after) = self.seats.split_at(start);
        after.iter().chain(before).copied()
    }

    fn places(&self) -> &[Seat] {
        &self.seats
    }
}

impl Sectors {
    /// Of points in ascending order: the largest power of two of sectors that does not exceed them, and two at least.
    fn of(points: &[u64]) -> Self {
        let shift = u64::BITS - points.len().max(2).ilog2();
        let sectors = 0..=u64::MAX >> shift;
        let start = |sector: u64| points.partition_point(|point| point >> shift < sector) as u32;
        let starts = sectors.map(start).chain([points.len() as u32]).collect();
        Self { shift, starts }
    }

    /// The first of `points` that is not below `hash`.
    fn find(&self, points: &[u64], hash: u64) -> usize {
        let sector = (hash >> self.shift) as usize;
        let (from, to) = (self.starts[sector] as usize, self.starts[sector + 1] as usize);
        from + points[from..to].partition_point(|point| *point < hash)
    }
}

/// The weight that gets [`POINTS`]: the power of two at or below the mean. A mean itself would change with every
/// member, and all points with it.
fn unit(named: &[Named]) -> u64 {
    let total: u64 = named.iter().map(|named| u64::from(named.weight)).sum();
    let mean = total / named.len().max(1) as u64;
    1 << mean.max(1).ilog2()
}

/// In proportion to weight, but at least one: a member far lighter than the mean has more than its share.
fn count(weight: u32, unit: u64) -> u64 {
    ((u64::from(weight) * POINTS + unit / 2) / unit).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sectors_find_what_halving_finds(
            points in prop::collection::vec(prop_oneof![any::<u64>(), 0u64..20, Just(u64::MAX), Just(1 << 63)], 0..200),
            hash in prop_oneof![any::<u64>(), 0u64..20, Just(u64::MAX), Just(1 << 63)],
        ) {
            let mut points = points;
            points.sort_unstable();
            let sectors = Sectors::of(&points);
            for hash in points.iter().flat_map(|point| [point.saturating_sub(1), *point]).chain([hash]) {
                prop_assert_eq!(sectors.find(&points, hash), points.partition_point(|point| *point < hash));
            }
        }
    }

    #[test]
    fn points_follow_weight_and_stay_when_the_mean_moves_a_little() {
        let named = |weights: &[u32]| -> Vec<Named> {
            weights.iter().map(|weight| Named { name: "b".into(), weight: *weight, seat: Seat(0) }).collect()
        };
        let counts = |weights: &[u32]| {
            let unit = unit(&named(weights));
            weights.iter().map(|weight| count(*weight, unit)).collect::<Vec<_>>()
        };
        assert_eq!(counts(&[1, 1, 1]), [160, 160, 160]);
        assert_eq!(counts(&[1, 2, 3]), [80, 160, 240]);
        assert_eq!(counts(&[1, 2, 3, 4]), [80, 160, 240, 320]);
        assert_eq!(counts(&[1, 65_535]), [1, 320]);
        assert_eq!(counts(&[u32::MAX, u32::MAX]), [320, 320]);
    }
}
