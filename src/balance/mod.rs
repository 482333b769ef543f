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
