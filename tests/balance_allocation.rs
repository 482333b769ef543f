//! A pick allocates nothing, whatever state the pool is in. In a process of its own, because it counts every
//! allocation there is.
#![allow(missing_docs, clippy::unwrap_used)]

use std::alloc::System;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peerway::backend::{Claim, Registry};
use peerway::balance::{self, Draw, Member};
use peerway::config::Takes;
use peerway::config::plan::{HashSpec, PolicySpec};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Some down, some full, some slow.
fn pool(size: u32, now: Instant) -> (Vec<Member>, Vec<Claim>) {
    let registry = Registry::new(1);
    let mut held = Vec::new();
    let member = |index| {
        let backend = registry.get(&"pool".into(), &format!("b{index}").into());
        held.extend((0..index % 3).map(|_| backend.claim()));
        backend.observe(Duration::from_micros(u64::from(index) + 1), now);
        Member { backend, weight: 1 + index % 5, usable: index % 4 > 0, max_connections: (index % 7 > 2).then_some(2) }
    };
    ((0..size).map(member).collect(), held)
}

#[test]
fn a_pick_allocates_nothing() {
    let now = Instant::now();
    let mut random = fastrand::Rng::with_seed(7);
    for size in [0, 1, 2, 5, 300] {
        let (members, _held) = pool(size, now);
        let tried: Vec<_> = members.iter().step_by(3).map(|member| member.backend.id).collect();
        for kind in balance::CATALOGUE.policies {
            let hash = HashSpec { bounded_load: Some(1.25), ..HashSpec::default() };
            let hash = (kind.takes == Takes::Hash).then_some(hash);
            let policy = balance::build(&PolicySpec { name: kind.name, hash }, &members, &Arc::default());
            let region = Region::new(ALLOCATOR);
            for tried in [&[], tried.as_slice()] {
                for _ in 0..200 {
                    let draw = Draw { key: random.u64(..), entropy: random.u64(..), now, tried };
                    let _ = policy.pick(&members, &draw);
                }
            }
            let change = region.change();
            assert_eq!((change.allocations, change.reallocations), (0, 0), "{} of {size}", kind.name);
        }
    }
}
