//! Facts to pool: what is live now, and where a connection goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::plan::Plan;
use crate::listener::ListenerLive;
use crate::pool::Pool;

/// The configuration in force and the living things it names. Swapped whole; read once a connection.
#[derive(Debug)]
pub struct Live {
    /// The configuration.
    pub plan: Plan,
    /// Counts configurations since start, from 1.
    pub generation: u64,
    /// By name.
    pub listeners: BTreeMap<Arc<str>, Listening>,
    /// By name.
    pub pools: BTreeMap<Arc<str>, Arc<Pool>>,
}

/// A listener that accepts, and where its sessions go.
#[derive(Debug)]
pub struct Listening {
    /// Its counts and tunables.
    pub live: Arc<ListenerLive>,
    /// The real addresses, as announced.
    pub bound: Vec<String>,
    /// The pool that everything goes to.
    pub pool: Arc<Pool>,
}

impl Live {
    /// The pool for a connection that came to `listener`.
    pub fn route(&self, listener: &ListenerLive) -> Option<Arc<Pool>> {
        self.listeners.get(&listener.name).map(|listening| listening.pool.clone())
    }
}
