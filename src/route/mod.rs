//! Facts to pool: what is live now, and where a connection goes.

mod find;
mod split;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backend::Backend;
use crate::config::plan::Plan;
use crate::listener::ListenerLive;
use crate::pool::Pool;

pub use find::{Found, Shown};
pub use table::{Fractions, Lead, Table};

/// The configuration in force and the living things it names. Swapped whole; read once a connection.
#[derive(Debug, Clone)]
pub struct Live {
    /// The configuration.
    pub plan: Arc<Plan>,
    /// Counts configurations since start, from 1.
    pub generation: u64,
    /// By name; those too that a reload removed, until their last session has ended.
    pub listeners: BTreeMap<Arc<str>, Listening>,
    /// By name; those too that a reload removed, until nobody uses them any more.
    pub pools: BTreeMap<Arc<str>, Arc<Pool>>,
    /// Backends that a reload removed from pools that stay, until their last session has ended.
    pub departed: Vec<Arc<Backend>>,
}

impl Live {
    /// A backend that is there, or is gone and still has sessions.
    pub fn backend(&self, pool: &str, name: &str) -> Option<Arc<Backend>> {
        let is_it = |backend: &&Arc<Backend>| *backend.pool == *pool && *backend.name == *name;
        let snapshot = self.pools.get(pool).map(|pool| pool.snapshot());
        let members = snapshot.iter().flat_map(|snapshot| &snapshot.members).map(|member| &member.backend);
        members.chain(&self.departed).find(is_it).cloned()
    }
}

/// A listener that accepts, and where its sessions go.
#[derive(Debug, Clone)]
pub struct Listening {
    /// Its counts and tunables.
    pub live: Arc<ListenerLive>,
    /// The real addresses, as announced.
    pub bound: Vec<String>,
    /// Where its sessions go.
    pub routes: Arc<Table>,
    /// A reload removed it: it serves those who came before, and nobody else.
    pub leaving: bool,
}

impl Live {
    /// Where connections go that come to `listener`.
    pub fn routes(&self, listener: &ListenerLive) -> Option<&Table> {
        self.listeners.get(&listener.name).map(|listening| &*listening.routes)
    }
}
