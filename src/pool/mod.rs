//! Pools: the snapshot that sessions choose from, the lease they get, and the keeper that publishes.

mod keeper;
mod lease;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use crate::balance::{self, Member, Policy};
use crate::config::plan;
use crate::discover::DiscoverError;
use crate::metrics::{BackendState, Counter, Histogram, LATENCY_BOUNDS, Unavailable};
use crate::net::Target;

pub use keeper::Keeper;
pub use lease::{Lease, NoLease};

/// A pool as sessions use it.
#[derive(Debug)]
pub struct Pool {
    /// Unique among pools.
    pub name: Arc<str>,
    /// What is counted about it.
    pub cells: PoolCells,
    settings: ArcSwap<plan::Pool>,
    /// `timeouts.idle`: [`INHERIT`], or milliseconds with 0 as off.
    idle: AtomicU64,
    /// Where round robin stands; kept over snapshots and reloads.
    cursor: Arc<AtomicUsize>,
    snapshot: ArcSwap<Snapshot>,
}

/// `timeouts.idle` is not given: the listener's counts.
const INHERIT: u64 = u64::MAX;

impl Pool {
    /// A pool that has published nothing yet; its [`Keeper`] does.
    pub fn new(settings: plan::Pool) -> Self {
        let idle = settings.idle.map_or(INHERIT, |idle| idle.map_or(0, |span| span.as_millis() as u64));
        Self {
            name: settings.name.clone(),
            cells: PoolCells::default(),
            settings: ArcSwap::from_pointee(settings),
            idle: AtomicU64::new(idle),
            cursor: Arc::default(),
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
        }
    }

    /// Bounds on dialling, as configured now.
    pub fn settings(&self) -> Arc<plan::Pool> {
        self.settings.load_full()
    }

    /// The idle limit of its sessions, given their listener's.
    pub fn idle(&self, of_listener: Option<Duration>) -> Option<Duration> {
        match self.idle.load(Relaxed) {
            INHERIT => of_listener,
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }

    /// What sessions choose from now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Whether a session could be served now.
    pub fn is_usable(&self) -> bool {
        self.snapshot.load().members.iter().any(|member| member.usable)
    }

    /// Makes `seats` what sessions choose from. Only the pool's keeper calls it.
    fn publish(&self, seats: Vec<SeatFacts>, members: Vec<Member>) {
        let policy = balance::build(&self.settings.load().policy, &members, &self.cursor);
        self.snapshot.store(Arc::new(Snapshot { members: members.into(), seats: seats.into(), policy: Some(policy) }));
    }
}

/// Members and policy, swapped together so that they never disagree.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// As the policy sees them.
    pub members: Box<[Member]>,
    /// What the policy does not need, in the same order.
    pub seats: Box<[SeatFacts]>,
    policy: Option<Box<dyn Policy>>,
}

impl Snapshot {
    /// The policy, for those who explain it; `None` until something is published.
    pub fn policy(&self) -> Option<&dyn Policy> {
        self.policy.as_deref()
    }
}

/// What is known of a member besides what the policy sees.
#[derive(Debug, Clone)]
pub struct SeatFacts {
    /// The address as configured.
    pub address: String,
    /// Where it can be dialled, best first. Empty while a host name has no answer.
    pub targets: Arc<[Target]>,
    /// What it is to new sessions.
    pub state: BackendState,
    /// When it became that.
    pub since: SystemTime,
    /// Why it is that, in words; empty when there is nothing to say.
    pub reason: String,
}

/// What is counted about a pool.
#[derive(Debug)]
pub struct PoolCells {
    /// Time to a connected backend, per successful attempt.
    pub connect: Histogram,
    /// Time to the backend's first byte.
    pub first_byte: Histogram,
    /// Sessions it could not serve, by [`Unavailable`].
    pub unavailable: [Counter; Unavailable::ALL.len()],
    /// Attempts after a first one.
    pub retries: Counter,
    /// Sessions whose key belongs to a usable backend that is full or overloaded.
    pub hash_displaced: Counter,
    /// When a host name was last resolved, seconds since 1970; 0 is never.
    pub discovery_last_success: AtomicU64,
    /// Failed resolutions, by [`DiscoverError`].
    pub discovery_errors: [Counter; DiscoverError::ALL.len()],
}

impl Default for PoolCells {
    fn default() -> Self {
        Self {
            connect: Histogram::new(LATENCY_BOUNDS),
            first_byte: Histogram::new(LATENCY_BOUNDS),
            unavailable: Default::default(),
            retries: Counter::default(),
            hash_displaced: Counter::default(),
            discovery_last_success: AtomicU64::new(0),
            discovery_errors: Default::default(),
        }
    }
}
