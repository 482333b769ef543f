//! Choosing: the [`Policy`] trait, one file a policy, and the catalogue of them.

mod least_connections;
mod random;
mod round_robin;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::backend::{Backend, BackendId};
use crate::config::plan::PolicySpec;
use crate::config::{Catalogue, PolicyKind};

/// Every policy there is, as the configuration names it.
pub const CATALOGUE: Catalogue = Catalogue { policies: &[round_robin::KIND, random::KIND, least_connections::KIND] };

/// Index of a member within one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seat(pub u16);

/// A backend as a policy sees it.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its live state.
    pub backend: Arc<Backend>,
    /// Its share relative to the others, at least 1.
    pub weight: u32,
    /// Whether it may get new sessions; no policy knows why not.
    pub usable: bool,
}

impl Member {
    fn may_take(&self, draw: &Draw<'_>) -> bool {
        self.usable && !draw.tried.contains(&self.backend.id)
    }
}

/// What one choice depends on besides the members.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    /// Random bits, fresh for each choice.
    pub entropy: u64,
    /// Backends this session has tried already.
    pub tried: &'a [BackendId],
}

/// Called on every connection: synchronous, allocation free, no lock.
pub trait Policy: fmt::Debug + Send + Sync {
    /// A usable seat whose backend is not in `draw.tried`, or None.
    ///
    /// Same members, loads, cursor and draw give the same seat.
    fn pick(&self, members: &[Member], draw: &Draw<'_>) -> Option<Seat>;
}

/// Builds a policy for `members`, off the data path. `cursor` belongs to the pool and outlives the policy.
pub fn build(spec: &PolicySpec, members: &[Member], cursor: &Arc<AtomicUsize>) -> Box<dyn Policy> {
    match spec.name {
        "random" => Box::new(random::Random::new(members)),
        "least_connections" => Box::new(least_connections::LeastConnections),
        // The configuration lets through only names of the catalogue.
        _ => Box::new(round_robin::RoundRobin::new(members, cursor.clone())),
    }
}

#[cfg(test)]
mod contract {
    //! What every policy promises, asked of every policy in the catalogue.

    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::backend::Registry;

    fn members(weights: &[(u32, bool)]) -> Vec<Member> {
        let registry = Registry::new(1);
        let member = |(index, (weight, usable)): (usize, &(u32, bool))| Member {
            backend: registry.get(&"pool".into(), &format!("b{index}").into()),
            weight: *weight,
            usable: *usable,
        };
        weights.iter().enumerate().map(member).collect()
    }

    fn every_policy(members: &[Member]) -> impl Iterator<Item = (&'static str, Box<dyn Policy>)> {
        CATALOGUE
            .policies
            .iter()
            .map(|kind| (kind.name, build(&PolicySpec { name: kind.name }, members, &Arc::default())))
    }

    proptest! {
        #[test]
        fn a_pick_is_usable_and_untried_and_none_means_there_is_none(
            weights in prop::collection::vec((1u32..100, any::<bool>()), 0..12),
            tried in prop::collection::vec(0usize..12, 0..8),
            entropy: u64,
        ) {
            let members = members(&weights);
            let tried: Vec<_> = tried.into_iter().filter_map(|i| members.get(i)).map(|member| member.backend.id).collect();
            let draw = Draw { entropy, tried: &tried };
            let exists = members.iter().any(|member| member.may_take(&draw));
            for (name, policy) in every_policy(&members) {
                let seat = policy.pick(&members, &draw);
                prop_assert_eq!(seat.is_some(), exists, "{}", name);
                prop_assert!(seat.is_none_or(|seat| members[usize::from(seat.0)].may_take(&draw)), "{}", name);
            }
        }

        #[test]
        fn the_same_draw_gives_the_same_seat(weights in prop::collection::vec((1u32..100, any::<bool>()), 1..12), entropy: u64) {
            let members = members(&weights);
            let draw = Draw { entropy, tried: &[] };
            for ((name, one), (_, other)) in every_policy(&members).zip(every_policy(&members)) {
                prop_assert_eq!(one.pick(&members, &draw), other.pick(&members, &draw), "{}", name);
            }
        }
    }

    #[test]
    fn sessions_are_shared_in_proportion_to_weight() {
        let members = members(&[(1, true), (2, true), (7, true), (9, false)]);
        for (name, policy) in every_policy(&members) {
            let mut held = Vec::new();
            let mut taken: HashMap<Seat, f64> = HashMap::new();
            let mut random = fastrand::Rng::with_seed(7);
            for _ in 0..10_000 {
                let seat = policy.pick(&members, &Draw { entropy: random.u64(..), tried: &[] }).expect(name);
                // Sessions stay, so that policies that look at the load see one.
                held.push(members[usize::from(seat.0)].backend.claim());
                *taken.entry(seat).or_default() += 1.0;
            }
            for (seat, share) in [(Seat(0), 0.1), (Seat(1), 0.2), (Seat(2), 0.7)] {
                let got = taken[&seat] / 10_000.0;
                assert!((got - share).abs() < 0.02, "{name}: {got} of the sessions went where {share} should");
            }
        }
    }

    #[test]
    fn a_retry_spreads_over_all_that_are_left() {
        let members = members(&[(1, true), (1, true), (1, true), (1, true)]);
        for (name, policy) in every_policy(&members) {
            let dead = [members[0].backend.id];
            let mut random = fastrand::Rng::with_seed(7);
            let mut taken: HashMap<Seat, usize> = HashMap::new();
            for _ in 0..3000 {
                let seat = policy.pick(&members, &Draw { entropy: random.u64(..), tried: &dead }).expect(name);
                *taken.entry(seat).or_default() += 1;
            }
            assert_eq!(taken.len(), 3, "{name}");
            let most = taken.values().max().copied().unwrap_or(0);
            assert!(most < 1700, "{name}: {taken:?} has one that inherits the dead one's sessions");
        }
    }
}
