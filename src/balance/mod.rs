//! Choosing: the [`Policy`] trait, one file a policy, and the catalogue of them.
//!
//! A policy sees a slice of [`Member`]s and picks a [`Seat`]. It knows nothing of health, tiers, zones or
//! slow start: whoever builds the slice says who is usable and what everyone weighs.
//!
//! One of your own is one file:
//!
//! ```
//! use std::time::Instant;
//!
//! use peerway::backend::Registry;
//! use peerway::balance::{Draw, Member, Pick, Policy, Seat};
//!
//! /// Always the heaviest that is free.
//! #[derive(Debug)]
//! struct Heaviest;
//!
//! impl Policy for Heaviest {
//!     fn pick(&self, members: &[Member], draw: &Draw<'_>) -> Option<Pick> {
//!         let free = members.iter().zip(0..).filter(|(member, _)| member.may_take(draw));
//!         free.max_by_key(|(member, _)| member.weight).map(|(_, index)| Pick::from(Seat(index)))
//!     }
//! }
//!
//! let registry = Registry::new(1);
//! let member = |(name, weight): (&str, u32)| {
//!     let backend = registry.get(&"pool".into(), &name.into());
//!     Member { backend, weight, usable: true, max_connections: Some(1) }
//! };
//! let members: Vec<Member> = [("light", 1), ("heavy", 5), ("middle", 2)].map(member).into();
//! let draw = Draw { key: 0, entropy: 0, now: Instant::now(), tried: &[] };
//!
//! assert_eq!(Heaviest.pick(&members, &draw), Some(Pick::from(Seat(1))));
//! let _held = members[1].backend.claim(); // now it is full
//! assert_eq!(Heaviest.pick(&members, &draw), Some(Pick::from(Seat(2))));
//! ```
//!
//! In the program itself a policy is one such file here with an `ENTRY`, and one line in the list below. The
//! contract test takes it up from there.

mod bounded;
mod contract;
mod first;
mod hashing;
mod key;
mod least_connections;
mod lots;
mod maglev;
mod movement;
mod p2c;
mod paired;
mod peak_ewma;
mod random;
mod rendezvous;
mod ring_hash;
mod round_robin;
mod shift;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use crate::backend::{Backend, BackendId};
use crate::config::plan::PolicySpec;
use crate::config::{Catalogue, PolicyKind};

pub use key::{Facts, hash_key};
pub use shift::share_moved;

/// Every policy there is, in the order of the manual.
const ENTRIES: [Entry; 9] = [
    round_robin::ENTRY,
    random::ENTRY,
    least_connections::ENTRY,
    p2c::ENTRY,
    peak_ewma::ENTRY,
    maglev::ENTRY,
    rendezvous::ENTRY,
    ring_hash::ENTRY,
    first::ENTRY,
];

/// Every policy there is, as the configuration names it, with those who know its files.
pub const CATALOGUE: Catalogue = Catalogue { policies: &KINDS, tls: crate::tls::FILES };
const KINDS: [PolicyKind; ENTRIES.len()] = kinds();

/// Index of a member within one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// Sessions it may have at once.
    pub max_connections: Option<u32>,
}

impl Member {
    /// Whether a session may go there now: usable, not tried, not full.
    pub fn may_take(&self, draw: &Draw<'_>) -> bool {
        self.is_open(draw) && !self.is_full()
    }

    /// Whether a session might go there if there were room.
    pub fn is_open(&self, draw: &Draw<'_>) -> bool {
        self.usable && !draw.tried.contains(&self.backend.id)
    }

    /// Whether it has all the sessions it may have.
    pub fn is_full(&self) -> bool {
        self.max_connections.is_some_and(|max| self.backend.active() >= max)
    }
}

/// What one choice depends on besides the members.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    /// Stands for the client, or whatever else the pool keeps together; see [`hash_key`].
    pub key: u64,
    /// Random bits, fresh for each choice.
    pub entropy: u64,
    /// When it is made.
    pub now: Instant,
    /// Backends this session has tried already.
    pub tried: &'a [BackendId],
}

/// A choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// Who is to serve the session.
    pub seat: Seat,
    /// The key belongs to another usable backend, which is full or has more than its bounded load.
    pub displaced: bool,
}

impl From<Seat> for Pick {
    fn from(seat: Seat) -> Self {
        Self { seat, displaced: false }
    }
}

/// Called on every connection: synchronous, allocation free, no lock.
pub trait Policy: fmt::Debug + Send + Sync {
    /// A seat that [may take](Member::may_take) the session, or `None` if there is none.
    ///
    /// `members` are those the policy was built for. Same members, loads, cursor and draw give the same seat.
    fn pick(&self, members: &[Member], draw: &Draw<'_>) -> Option<Pick>;

    /// Of a policy with a table: a name for it. Replicas with equal digests lead every key the same way.
    fn digest(&self) -> Option<String> {
        None
    }

    /// Of a policy that follows keys: all seats in the order in which `key` prefers them. Not for the data path.
    fn order(&self, key: u64) -> Option<Order<'_>> {
        let _ = key;
        None
    }
}

/// A key's preferences, found one after another: the first is where it belongs.
pub type Order<'a> = Box<dyn Iterator<Item = Seat> + 'a>;

/// Builds a policy for `members`, off the data path. `cursor` belongs to the pool and outlives the policy.
pub fn build(spec: &PolicySpec, members: &[Member], cursor: &Arc<AtomicUsize>) -> Box<dyn Policy> {
    // The configuration lets through only names of the catalogue.
    let entry = ENTRIES.iter().find(|entry| entry.kind.name == spec.name).unwrap_or(&ENTRIES[0]);
    (entry.build)(Parts { spec, members, cursor })
}

/// A policy of the catalogue.
#[derive(Clone, Copy)]
struct Entry {
    kind: PolicyKind,
    build: fn(Parts<'_>) -> Box<dyn Policy>,
}

/// What a policy may be made of.
struct Parts<'a> {
    spec: &'a PolicySpec,
    members: &'a [Member],
    cursor: &'a Arc<AtomicUsize>,
}

const fn kinds() -> [PolicyKind; ENTRIES.len()] {
    let mut kinds = [ENTRIES[0].kind; ENTRIES.len()];
    let mut at = 1;
    while at < kinds.len() {
        kinds[at] = ENTRIES[at].kind;
        at += 1;
    }
    kinds
}
