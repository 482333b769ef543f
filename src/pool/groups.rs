//! Which members a session may choose from, and in which order groups of them are asked. Pure.
//!
//! A policy knows neither tiers nor zones. They become groups here, whenever a snapshot is made: each
//! group gets a policy of its own, and a lease asks one group after the other.

use std::collections::BTreeMap;

/// A member as far as grouping goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) tier: u8,
    /// In this instance's zone; true for all when zones are not used.
    pub(super) local: bool,
    pub(super) usable: bool,
    pub(super) weight: u32,
}

/// Members that are chosen from together, as indices into the snapshot's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) members: Vec<usize>,
    /// The share of sessions that asks this group first and the one after it second, 0.0 to 1.0;
    /// the others ask the other way round. 1.0 for all but a local group that spills over.
    pub(super) first: f64,
}

/// The groups of a snapshot, in the order in which they are asked.
///
/// Each tier is a group, asked when those before it have nobody to offer. Only a tier of which too
/// little is usable, but something is, shares its group with the next: less than `spill_below` (0.0 to
/// 1.0). A tier that is down altogether stays alone, so that a table of keys over it, and the next
/// tier's, are the same on all replicas whatever each has seen of their health. With `zoned`, each
/// group is split in two, the local one first.
pub(super) fn groups(members: &[Placed], spill_below: f64, zoned: bool) -> Vec<Group> {
    let mut tiers: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        tiers.entry(member.tier).or_default().push(index);
    }
    let mut merged: Vec<Vec<usize>> = Vec::new();
    // Whether the next tier joins the last group, and whether a tier with enough to offer was met.
    let (mut spilling, mut served) = (false, false);
    for indices in tiers.into_values() {
        let usable = indices.iter().filter(|index| members[**index].usable).count();
        let enough = usable as f64 >= spill_below * indices.len() as f64;
        match merged.last_mut() {
            Some(last) if spilling => last.extend(indices),
            _ => merged.push(indices),
        }
        served |= usable > 0 && enough;
        spilling = !served && (spilling || usable > 0);
    }
    merged.into_iter().flat_map(|tier| split(tier, members, zoned)).collect()
}

/// A tier as one group, or as a local and a remote one.
///
/// The local group keeps the share of sessions that it has usable weight for. With a third of its
/// weight gone a third goes elsewhere, and its remaining members get no more than they had before.
fn split(tier: Vec<usize>, members: &[Placed], zoned: bool) -> Vec<Group> {
    let (local, remote): (Vec<usize>, Vec<usize>) = tier.iter().partition(|index| members[**index].local);
    if !zoned || local.is_empty() || remote.is_empty() {
        return vec![Group { members: tier, first: 1.0 }];
    }
    let weight = |usable_only: bool| -> f64 {
        let counted = local.iter().filter(|index| members[**index].usable || !usable_only);
        counted.map(|index| f64::from(members[*index].weight)).sum()
    };
    let first = weight(true) / weight(false);
    vec![Group { members: local, first }, Group { members: remote, first: 1.0 }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(tier: u8, local: bool, usable: bool) -> Placed {
        Placed { tier, local, usable, weight: 1 }
    }

    fn indices(members: &[Placed], spill_below: f64, zoned: bool) -> Vec<Vec<usize>> {
        groups(members, spill_below, zoned).into_iter().map(|group| group.members).collect()
    }

    #[test]
    fn the_next_tier_waits_until_the_first_is_gone() {
        let mut members = [member(0, true, true), member(0, true, false), member(1, true, true)];
        assert_eq!(indices(&members, 0.0, false), [vec![0, 1], vec![2]]);
        members[0].usable = false;
        assert_eq!(
            indices(&members, 0.5, false),
            [vec![0, 1], vec![2]],
            "a dead tier leaves the next one's table alone"
        );
    }

    #[test]
    fn the_next_tier_joins_when_too_little_is_left() {
        let members = [member(0, true, true), member(0, true, false), member(1, true, true), member(2, true, true)];
        assert_eq!(indices(&members, 0.5, false), [vec![0, 1], vec![2], vec![3]]);
        assert_eq!(indices(&members, 0.6, false), [vec![0, 1, 2], vec![3]]);
    }

    #[test]
    fn a_zone_keeps_what_it_has_weight_for() {
        let mut members = [member(0, true, true), member(0, true, true), member(0, true, true), member(0, false, true)];
        assert_eq!(groups(&members, 0.0, true)[0], Group { members: vec![0, 1, 2], first: 1.0 });
        members[1].usable = false;
        let spilling = groups(&members, 0.0, true);
        assert!((spilling[0].first - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(spilling[1].members, [3]);
        assert_eq!(indices(&members, 0.0, false), [vec![0, 1, 2, 3]], "hashing policies know no zones");
    }

    proptest! {
        #[test]
        fn every_member_is_in_exactly_one_group_and_usable_ones_are_asked_first(
            members in prop::collection::vec(
                (0u8..4, any::<bool>(), any::<bool>(), 1u32..9)
                    .prop_map(|(tier, local, usable, weight)| Placed { tier, local, usable, weight }), 0..20),
            spill in 0.0f64..=1.0, zoned: bool,
        ) {
            let groups = groups(&members, spill, zoned);
            let mut all: Vec<_> = groups.iter().flat_map(|group| group.members.clone()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..members.len()).collect::<Vec<_>>());
            prop_assert!(groups.iter().all(|group| (0.0..=1.0).contains(&group.first)));
            // Who is asked first has something to offer: the lowest tier that has.
            let offers = |group: &&Group| group.members.iter().any(|index| members[*index].usable);
            let first = groups.iter().find(offers).map(|group| {
                group.members.iter().filter(|index| members[**index].usable).map(|index| members[*index].tier).min()
            });
            let lowest = members.iter().filter(|member| member.usable).map(|member| member.tier).min();
            prop_assert!(zoned || first.flatten() == lowest);
        }
    }
}
