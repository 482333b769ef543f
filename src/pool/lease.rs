//! A lease: one session's claim on one backend, given back when it is dropped.

use std::sync::Arc;

use super::{Pool, Snapshot};
use crate::backend::{Backend, Claim};
use crate::balance::Draw;
use crate::metrics::Unavailable;
use crate::net::Target;

/// A claimed place at a backend.
#[derive(Debug)]
pub struct Lease {
    claim: Claim,
    /// Where it can be dialled, best first; never empty.
    pub targets: Arc<[Target]>,
}

impl Lease {
    /// The backend that is held.
    pub fn backend(&self) -> &Arc<Backend> {
        self.claim.backend()
    }
}

/// Why there is no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLease {
    /// No usable backend at all, or all of them are full.
    Unavailable(Unavailable),
    /// There are usable ones, and all of them were tried or are full.
    AllTried,
}

/// Another thread may take the last place of a backend between pick and claim. It would have to do so this often in
/// a row for a session to be told that all is full; every time but the last, the next pick sees it full.
const MAX_RACES: usize = 16;

impl Pool {
    /// Picks and claims a backend not in `draw.tried`. Synchronous; holds nothing of the snapshot.
    ///
    /// # Errors
    /// There is none to be had; see [`NoLease`].
    pub fn lease(&self, draw: &Draw<'_>) -> Result<Lease, NoLease> {
        let snapshot = self.snapshot.load();
        let lease = (0..MAX_RACES).map_while(|_| self.try_lease(&snapshot, draw)).flatten().next();
        lease.ok_or_else(|| why_none(&snapshot, draw))
    }

    /// `None` if there is nothing to pick, `Some(None)` if what was picked is full by now.
    fn try_lease(&self, snapshot: &Snapshot, draw: &Draw<'_>) -> Option<Option<Lease>> {
        let pick = snapshot.policy.as_ref()?.pick(&snapshot.members, draw)?;
        let seat = usize::from(pick.seat.0);
        let member = &snapshot.members[seat];
        let claim = member.backend.try_claim(member.max_connections);
        if pick.displaced && claim.is_some() {
            self.cells.hash_displaced.inc();
        }
        Some(claim.map(|claim| Lease { claim, targets: snapshot.seats[seat].targets.clone() }))
    }
}

/// In words that tell a pool without backends from one without free ones.
fn why_none(snapshot: &Snapshot, draw: &Draw<'_>) -> NoLease {
    match snapshot.members.iter().any(|member| member.usable) {
        true if draw.tried.is_empty() => NoLease::Unavailable(Unavailable::Full),
        true => NoLease::AllTried,
        false if snapshot.members.is_empty() => NoLease::Unavailable(Unavailable::Empty),
        false => NoLease::Unavailable(Unavailable::Down),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::backend::{BackendId, Registry};
    use crate::balance::{CATALOGUE, Member};
    use crate::metrics::BackendState;
    use crate::pool::SeatFacts;

    /// A pool of `size` backends that may have `max` sessions each.
    fn pool(policy: &str, size: u32, max: u32) -> Pool {
        let yaml = format!(
            "{{ listeners: {{ l: {{ bind: 127.0.0.1:0, pool: p }} }},
                pools: {{ p: {{ backends: [], policy: {policy} }} }} }}"
        );
        let plan = crate::config::parse("test.yaml", &yaml, &CATALOGUE, &|_| None).expect("valid");
        let pool = Pool::new(plan.pools[0].clone());
        let registry = Registry::new(1);
        let member = |index| {
            let backend = registry.get(&"p".into(), &format!("b{index}").into());
            Member { backend, weight: 1, usable: true, max_connections: Some(max) }
        };
        let facts = |_| SeatFacts {
            address: String::new(),
            targets: [].into(),
            state: BackendState::Up,
            since: SystemTime::now(),
            reason: String::new(),
        };
        pool.publish((0..size).map(facts).collect(), (0..size).map(member).collect());
        pool
    }

    fn draw(key: u64, tried: &[BackendId]) -> Draw<'_> {
        Draw { key, entropy: key, now: Instant::now(), tried }
    }

    #[test]
    fn a_full_pool_says_so_and_one_whose_free_backends_were_tried_says_that() {
        let pool = pool("first", 2, 1);
        let first = pool.lease(&draw(0, &[])).expect("both are free");
        assert_eq!(pool.lease(&draw(0, &[pool.snapshot().members[1].backend.id])).err(), Some(NoLease::AllTried));
        let second = pool.lease(&draw(0, &[])).expect("one is free");
        assert_ne!(first.backend().id, second.backend().id);
        assert_eq!(pool.lease(&draw(0, &[])).err(), Some(NoLease::Unavailable(Unavailable::Full)));
        drop(first);
        assert!(pool.lease(&draw(0, &[])).is_ok());
    }

    #[test]
    fn sessions_that_full_backends_displace_are_counted() {
        let pool = pool("maglev", 2, 1);
        let one = pool.lease(&draw(7, &[])).expect("both are free");
        assert_eq!(pool.cells.hash_displaced.get(), 0);
        let other = pool.lease(&draw(7, &[])).expect("one is free");
        assert_ne!(one.backend().id, other.backend().id);
        assert_eq!(pool.cells.hash_displaced.get(), 1);
        assert!(pool.lease(&draw(7, &[])).is_err());
        assert_eq!(pool.cells.hash_displaced.get(), 1, "who gets nothing is not displaced");
    }

    #[test]
    fn threads_that_race_for_places_get_exactly_those_there_are() {
        for policy in CATALOGUE.policies {
            let pool = pool(policy.name, 4, 25);
            let (got, key) = (AtomicU32::new(0), AtomicU32::new(0));
            let grab = || {
                let leases: Vec<_> =
                    (0..60).filter_map(|_| pool.lease(&draw(key.fetch_add(1, Relaxed).into(), &[])).ok()).collect();
                got.fetch_add(leases.len() as u32, Relaxed);
                leases
            };
            let leases: Vec<_> = std::thread::scope(|scope| {
                let grabs: Vec<_> = (0..4).map(|_| scope.spawn(grab)).collect();
                grabs.into_iter().map(|grab| grab.join().expect("no panic")).collect()
            });
            assert_eq!(got.load(Relaxed), 100, "{}", policy.name);
            assert!(pool.snapshot().members.iter().all(|member| member.backend.active() == 25), "{}", policy.name);
            drop(leases);
        }
    }
}
