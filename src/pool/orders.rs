//! What a pool wants to happen to sessions that live. It knows none of them; someone else does and obeys.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use crate::backend::Backend;
use crate::config::plan::OnChange;
use crate::metrics::Cause;

/// What happens to the sessions of one backend, from now on and until another order about it.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whose sessions.
    pub backend: Arc<Backend>,
    /// `Keep` takes an earlier order back.
    pub how: OnChange,
    /// What they end of.
    pub cause: Cause,
    /// Only sessions that were accepted before this order; those that come later are left alone.
    pub spares_newcomers: bool,
    /// When it was decided, before the snapshot that goes with it was published.
    pub since: Instant,
}

/// Where orders go. Whoever sends does not wait.
pub type Orders = UnboundedSender<Order>;
