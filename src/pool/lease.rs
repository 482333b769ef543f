//! A lease: one session's claim on one backend, given back when it is dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tokio::time::timeout;

use super::queue::QueueFull;
use super::single::Hold;
use super::{Choice, Pool, Snapshot};
use crate::backend::{Backend, BackendId, Claim};
use crate::balance::{Draw, Pick};
use crate::connect::Secure;
use crate::metrics::Unavailable;
use crate::net::Target;

/// A claimed place at a backend, and how to get there. When it is dropped the place goes to the oldest session that waits.
#[derive(Debug)]
pub struct Lease {
    claimed: Claimed,
    /// Where it can be dialled, best first; never empty.
    pub targets: Arc<[Target]>,
    /// How TLS is spoken with it, if it is.
    pub secure: Option<Arc<Secure>>,
}

impl Lease {
    /// The backend that is held.
    pub fn backend(&self) -> &Arc<Backend> {
        self.claimed.backend()
    }

    /// The place alone, for who has got there.
    pub fn into_claimed(self) -> Claimed {
        self.claimed
    }
}

/// What of a lease a session keeps for as long as it lives: few words. They are dropped in this order, so that the place is
/// free before it is offered.
#[derive(Debug)]
pub struct Claimed {
    claim: Claim,
    /// With `single_active`: its part in the one backend's sessions.
    #[allow(dead_code, reason = "it is held, not read")]
    hold: Option<Hold>,
    offer: Offer,
}

impl Claimed {
    /// The backend that is held.
    pub fn backend(&self) -> &Arc<Backend> {
        self.claim.backend()
    }

    /// Whose backend it is.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.offer.0
    }
}

/// Offers what has become free to those who wait, when it is dropped.
#[derive(Debug)]
struct Offer(Arc<Pool>);

impl Drop for Offer {
    fn drop(&mut self) {
        self.0.serve_queue();
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

/// Why waiting did not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueError {
    /// As many wait as may.
    Full,
    /// Waited for `queue.timeout`.
    Timeout,
}

/// Another thread may take the last place of a backend between pick and claim. It would have to do so this often in
/// a row for a session to be told that all is full; every time but the last, the next pick sees it full.
const MAX_RACES: usize = 16;
/// Suspects that one pick may pass over. With more of them than that it is an outage, and passing over helps nobody.
const MAX_SHUNNED: usize = 16;

impl Pool {
    /// Picks and claims a backend not in `draw.tried`. Synchronous; holds nothing of the snapshot.
    ///
    /// In a pool with a queue a backend that has just failed is not offered while a sound one is worth the wait:
    /// it is never full, and would get all who find the sound ones full.
    ///
    /// # Errors
    /// There is none to be had; see [`NoLease`].
    pub fn lease(self: &Arc<Self>, draw: &Draw<'_>) -> Result<Lease, NoLease> {
        let snapshot = self.snapshot.load();
        let lease = snapshot.order(draw.entropy).find_map(|choice| self.lease_from(&snapshot, choice, draw));
        lease.ok_or_else(|| why_none(&snapshot, draw))
    }

    /// Whether someone waits whom a newcomer must not overtake.
    pub fn has_queue(&self) -> bool {
        self.queue.len() > 0
    }

    /// Waits in the queue, if the pool has one, until it is this session's turn. Cancel safe.
    ///
    /// # Errors
    /// The queue is full, or the wait was too long.
    pub async fn wait_for_lease(self: &Arc<Self>, key: u64) -> Result<Lease, QueueError> {
        let Some(settings) = self.settings.load().queue else { return Err(QueueError::Full) };
        let mut ticket = self.queue.join(key, settings.max).map_err(|QueueFull| QueueError::Full)?;
        // A place may have become free before this session stood in line.
        self.serve_queue();
        match timeout(settings.timeout, ticket.turn()).await {
            Ok(Some(lease)) => Ok(lease),
            Ok(None) | Err(_) => Err(QueueError::Timeout),
        }
    }

    /// Gives places that are free to the sessions that wait, oldest first.
    pub(super) fn serve_queue(self: &Arc<Self>) {
        let offer = |key| {
            let draw = Draw { key, entropy: fastrand::u64(..), now: Instant::now(), tried: &[] };
            self.lease(&draw).ok()
        };
        self.queue.serve(offer);
    }

    fn lease_from(self: &Arc<Self>, snapshot: &Snapshot, choice: &Choice, draw: &Draw<'_>) -> Option<Lease> {
        (0..MAX_RACES).map_while(|_| self.try_lease(snapshot, choice, draw)).flatten().next()
    }

    /// `None` if there is nothing to pick, `Some(None)` if what was picked is full by now.
    fn try_lease(self: &Arc<Self>, snapshot: &Snapshot, choice: &Choice, draw: &Draw<'_>) -> Option<Option<Lease>> {
        let pick = choice.pick(draw)?;
        let seat = usize::from(pick.seat.0);
        let member = &choice.members[seat];
        if member.backend.is_suspect(draw.now) && self.settings.load().queue.is_some() && choice.has_sound(draw) {
            return None;
        }
        let hold = match self.single_active.load(Relaxed) {
            // Another backend has sessions left: to this one that is as if it were full.
            true => Some(self.single.join(member.backend.id)?),
            false => None,
        };
        let Some(claim) = member.backend.try_claim(member.max_connections) else { return Some(None) };
        let claimed = Claimed { claim, hold, offer: Offer(self.clone()) };
        if pick.displaced {
            self.cells.hash_displaced.inc();
        }
        member.backend.try_suspect(draw.now);
        let facts = &snapshot.seats[choice.seats[seat]];
        Some(Some(Lease { claimed, targets: facts.targets.clone(), secure: facts.secure.clone() }))
    }
}

impl Snapshot {
    /// The groups in the order in which this session asks them. A local group that spills over comes
    /// second for the share of sessions that it has no weight for.
    fn order(&self, entropy: u64) -> impl Iterator<Item = &Choice> {
        // Other bits than those a policy looks at first.
        let drawn = entropy.rotate_left(32) as f64 / u64::MAX as f64;
        let mut at = 0;
        let pair = move || {
            let here = self.choices.get(at)?;
            let next = self.choices.get(at + 1).filter(|_| here.first < 1.0);
            at += if next.is_some() { 2 } else { 1 };
            Some(match next {
                Some(next) if drawn >= here.first => [Some(next), Some(here)],
                next => [Some(here), next],
            })
        };
        std::iter::from_fn(pair).flatten().flatten()
    }
}

impl Choice {
    /// Whether a backend that the session might go to, full or not, has not just failed to connect.
    fn has_sound(&self, draw: &Draw<'_>) -> bool {
        self.members.iter().any(|member| member.is_open(draw) && !member.backend.is_suspect(draw.now))
    }

    /// The policy's pick, past backends that have just failed to connect as long as there are others.
    pub(super) fn pick(&self, draw: &Draw<'_>) -> Option<Pick> {
        let pick = self.policy.pick(&self.members, draw)?;
        let is_suspect = |pick: &Pick| self.members[usize::from(pick.seat.0)].backend.is_suspect(draw.now);
        if !is_suspect(&pick) || draw.tried.len() >= MAX_SHUNNED {
            return Some(pick);
        }
        let mut shunned = [BackendId(0); MAX_SHUNNED];
        shunned[..draw.tried.len()].copy_from_slice(draw.tried);
        let mut other = pick;
        for count in draw.tried.len()..MAX_SHUNNED {
            shunned[count] = self.members[usize::from(other.seat.0)].backend.id;
            other = match self.policy.pick(&self.members, &Draw { tried: &shunned[..=count], ..*draw }) {
                Some(next) if is_suspect(&next) => next,
                Some(next) => return Some(next),
                None => return Some(pick),
            };
        }
        Some(pick)
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
    use std::sync::atomic::AtomicU32;
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::backend::{BackendId, Registry};
    use crate::balance::{CATALOGUE, Member};
    use crate::metrics::BackendState;
    use crate::pool::SeatFacts;

    /// A pool of `size` backends that may have `max` sessions each.
    fn pool(policy: &str, size: u32, max: u32) -> Arc<Pool> {
        let yaml = format!(
            "{{ listeners: {{ l: {{ bind: 127.0.0.1:0, pool: p }} }},
                pools: {{ p: {{ backends: [], policy: {policy} }} }} }}"
        );
        let plan = crate::config::parse("test.yaml", &yaml, &CATALOGUE, &|_| None).expect("valid");
        let pool = Arc::new(Pool::new(plan.pools[0].clone()));
        let registry = Registry::new(1);
        let member = |index| {
            let backend = registry.get(&"p".into(), &format!("b{index}").into());
            Member { backend, weight: 1, usable: true, max_connections: Some(max) }
        };
        let facts = |_| SeatFacts {
            address: String::new(),
            targets: [].into(),
            secure: None,
            state: BackendState::Up,
            since: SystemTime::now(),
            reason: String::new(),
            weight: 1,
            tier: 0,
            zone: None,
            local: true,
            over: None,
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

    /// A table of keys is dear, and what sessions see of backends changes often.
    #[test]
    fn a_policy_is_built_anew_only_when_what_it_is_made_of_changes() {
        let pool = pool("maglev", 3, 1);
        let built = |pool: &Pool| pool.snapshot().choices[0].policy.clone();
        let again = |change: &dyn Fn(&mut Member)| {
            let snapshot = pool.snapshot();
            let (before, mut members) = (built(&pool), snapshot.members.to_vec());
            change(&mut members[1]);
            pool.publish(snapshot.seats.to_vec(), members);
            Arc::ptr_eq(&before, &built(&pool))
        };
        assert!(again(&|_| {}));
        assert!(again(&|member| member.usable = false));
        assert!(again(&|member| member.max_connections = None));
        assert!(!again(&|member| member.weight = 7));
    }

    #[test]
    fn with_single_active_a_second_backend_gets_nothing_while_the_first_has_sessions() {
        let pool = pool("round_robin", 2, 100);
        let mut settings = (*pool.settings()).clone();
        settings.single_active = true;
        pool.follow(settings);
        let only = |usable: usize| {
            let snapshot = pool.snapshot();
            let mut members = snapshot.members.to_vec();
            members.iter_mut().enumerate().for_each(|(index, member)| member.usable = index == usable);
            pool.publish(snapshot.seats.to_vec(), members);
        };
        only(0);
        let held = [pool.lease(&draw(0, &[])), pool.lease(&draw(1, &[]))].map(|lease| lease.expect("free"));
        only(1);
        assert_eq!(pool.lease(&draw(2, &[])).err(), Some(NoLease::Unavailable(Unavailable::Full)));
        drop(held);
        let next = pool.lease(&draw(3, &[])).expect("the first has none left");
        assert_eq!(next.backend().id, pool.snapshot().members[1].backend.id);
    }
}
