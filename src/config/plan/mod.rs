//! The resolved configuration: types that need no further checks.
//!
//! Everything here is valid by construction: names resolve, addresses parse, defaults are filled in.
//! No other module sees YAML.

mod access;
mod admission;
mod connect;
mod health;
mod intake;
mod listener;
mod log;
mod policy;
mod pool;
mod process;
mod reload;
mod route;
mod tcp;
mod tls;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;

use super::Setting;

pub use access::{AccessList, Networks};
pub use admission::{Admission, Bandwidth, PerClient, RefuseWith};
pub use connect::{Backoff, Connect, Hedge, RetryBudget, SendProxy};
pub use health::{Health, Http, Login, OnChange, Passive, Pattern, Probe, ProbeAt, Role, Step};
pub use intake::{AcceptProxy, Others, Starttls};
pub use listener::{Bind, BindAddress, Listener, RelayMode, Timeouts};
pub use log::{AccessLog, AccessSink, Log, LogFormat};
pub use policy::{HashKey, HashSpec, PolicySpec};
pub use pool::{Backend, BackendAddress, Failback, Pool, Queue};
pub use process::{Admin, AdminAddress, MetricsEndpoint, Overflow, Protect, Sandbox, Shutdown, Upgrade, Workers};
pub use reload::{Guard, Reload};
pub use route::{BadPattern, Destination, HeadPattern, Match, NamePattern, Route, Split, Words};
pub use tcp::{Congestion, CongestionName, Keepalive, ListenerTcp, StreamTcp};
pub use tls::{CertificateFiles, ClientAuth, ListenerTls, PoolTls, TlsVersion};

/// One whole, valid configuration.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Data threads.
    pub workers: Workers,
    /// Sessions at once in the process; `None` is `auto`, derived from the descriptor limit.
    pub max_connections: Option<usize>,
    /// What happens to a connection beyond `max_connections`.
    pub overflow: Overflow,
    /// New connections a second in the process; `None` is any number.
    pub max_rate: Option<NonZeroU64>,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// What becomes of sessions when another process takes over.
    pub upgrade: Upgrade,
    /// Where what operators say of backends outlives the process; `None` is nowhere.
    pub state_file: Option<PathBuf>,
    /// What the process gives up before it serves.
    pub sandbox: Sandbox,
    /// How changes of the files take effect.
    pub reload: Reload,
    /// Where this instance runs: backends of the same zone come first. `None` is nowhere in particular.
    pub zone: Option<Arc<str>>,
    /// The admin endpoint, if there is one.
    pub admin: Option<Admin>,
    /// The separate metrics endpoint (`/metrics`, `/healthz`, `/readyz` only), if there is one.
    pub metrics: Option<MetricsEndpoint>,
    /// Pools that must have a usable backend before `/readyz` answers 200.
    pub ready_when: Vec<Arc<str>>,
    /// The program's own log and the defaults of the access log.
    pub log: Log,
    /// In order of their names' first appearance.
    pub listeners: Vec<Listener>,
    /// In order of their names' first appearance.
    pub pools: Vec<Pool>,
    /// All of the above as a tree of keys, for people: what is compared and shown.
    pub settings: Arc<Setting>,
}
