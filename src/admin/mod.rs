//! The admin endpoint: metrics, health, and the API, for people and tools of the same machine.
//!
//! It runs on the control thread and reads what sessions write; nothing here can stall a relay. A
//! second flavour with metrics and health only may listen where a scraper reaches it.

mod answer;
mod api;
mod bounded;
mod config;
mod desk;
mod elders;
mod explain;
mod guard;
mod health;
mod operate;
mod plan;
mod query;
mod router;
mod scrape;
mod server;
mod tls;
mod upgrade;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;

use crate::admission::Gate;
use crate::drain::Lifecycle;
use crate::ledger::Ledger;
use crate::metrics::Reloads;
use crate::pool::SharedOverrides;
use crate::relay::Workbench;
use crate::route::Live;

pub use desk::{Attempt, Author, Busy, Desk, GuardView, InForce, Origin, Verdict, Wish};
pub use elders::{Attendance, Bidding, Departure, Departures, Elders, Handed, Heeds, Thing};
pub use plan::{ChangeView, ObjectView, PlanView, told};
pub use router::understands;
pub use scrape::{Process, scrape};
pub use server::{Door, Endpoint, EndpointError, GivenSocket};
pub use tls::AdminTls;
pub use upgrade::{UpgradeResult, UpgradeView, UpgradeWish, Upgrades};

/// What the endpoints show and act on.
#[derive(Debug)]
pub struct State {
    /// The configuration in force.
    pub live: Arc<ArcSwap<Live>>,
    /// All sessions.
    pub ledger: Arc<Ledger>,
    /// The process's limit.
    pub gate: Arc<Gate>,
    /// The stage of the process's life.
    pub life: Arc<Lifecycle>,
    /// The workers' tools, in the workers' order.
    pub benches: Vec<Arc<Workbench>>,
    /// The workers' runtimes, in the same order.
    pub runtimes: Vec<tokio::runtime::Handle>,
    /// Configurations that were loaded.
    pub reloads: Arc<Reloads>,
    /// Where changes of the configuration are asked for.
    pub desk: Arc<Desk>,
    /// Lines that the program's own log has lost.
    pub log_dropped: Arc<AtomicU64>,
    /// What operators have said about backends.
    pub overrides: SharedOverrides,
    /// The processes before this one that still have sessions.
    pub elders: Arc<Elders>,
    /// Where upgrades are asked for.
    pub upgrades: Arc<Upgrades>,
    /// How TLS is spoken with clients of the admin endpoint, if it is.
    pub admin_tls: Arc<AdminTls>,
}
