//! A lease: one session's claim on one backend, given back when it is dropped.

use std::sync::Arc;

use super::Pool;
use crate::backend::{Backend, BackendId, Claim};
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
    /// No usable backend at all.
    Unavailable(Unavailable),
    /// There are usable ones, and all of them were tried.
    AllTried,
}

impl Pool {
    /// Picks and claims a backend not in `tried`. Synchronous; holds nothing of the snapshot.
    ///
    /// # Errors
    /// There is none to be had; see [`NoLease`].
    pub fn lease(&self, tried: &[BackendId], entropy: u64) -> Result<Lease, NoLease> {
        let snapshot = self.snapshot.load();
        let pick = snapshot.policy.as_ref().and_then(|policy| policy.pick(&snapshot.members, &Draw { entropy, tried }));
        let Some(seat) = pick.map(|seat| usize::from(seat.0)) else {
            return Err(match snapshot.members.iter().any(|member| member.usable) {
                true => NoLease::AllTried,
                false if snapshot.members.is_empty() => NoLease::Unavailable(Unavailable::Empty),
                false => NoLease::Unavailable(Unavailable::Down),
            });
        };
        let claim = snapshot.members[seat].backend.claim();
        Ok(Lease { claim, targets: snapshot.seats[seat].targets.clone() })
    }
}
