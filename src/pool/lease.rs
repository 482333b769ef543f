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

fn why_none(snapshot: &Snapshot, draw: &Draw<'_>) -> NoLease {
    match snapshot.members.iter().any(|member| member.usable) {
        true if draw.tried.is_empty() => NoLease::Unavailable(Unavailable::Full),
        true => NoLease::AllTried,
        false if snapshot.members.is_empty() => NoLease::Unavailable(Unavailable::Empty),
        false => NoLease::Unavailable(Unavailable::Down),
    }
}
