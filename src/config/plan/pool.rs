//! Pools, and the backends that are in them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Connect, Health, OnChange, PolicySpec, PoolTls, Starttls, StreamTcp};

/// One pool: backends, and how one is chosen and reached.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Unique among pools.
    pub name: Arc<str>,
    /// The policy, resolved against the catalogue.
    pub policy: PolicySpec,
    /// In the order of the file; names are unique within the pool. May be empty.
    pub backends: Vec<Backend>,
    /// The share of a tier's backends, 0.0 to 1.0, that must be usable to keep the next tier out. With 0.0 one
    /// usable backend is enough.
    pub tier_spill_below: f64,
    /// How long a backend that came up takes to its full weight; zero is at once.
    pub slow_start: Duration,
    /// Where sessions wait while every usable backend is at its `max_connections`; `None` refuses them at once.
    pub queue: Option<Queue>,
    /// How a backend is dialled.
    pub connect: Connect,
    /// How TLS is spoken with its backends; `None` is not at all.
    pub tls: Option<PoolTls>,
    /// How TLS is asked for before it begins; `None` is not at all. There is `tls` then.
    pub starttls: Option<Starttls>,
    /// How its backends are judged.
    pub health: Health,
    /// When a better tier is usable again.
    pub failback: Failback,
    /// What happens then to sessions of the tiers it takes over from.
    pub on_failback: OnChange,
    /// Never sessions on two backends at once.
    pub single_active: bool,
    /// `timeouts.idle`: `None` leaves the listener's, `Some(None)` is `off`.
    pub idle: Option<Option<Duration>>,
    /// Options of sockets to backends.
    pub tcp: StreamTcp,
    /// What happens to sessions of a backend that a reload removes.
    pub on_remove: OnChange,
}

/// `failback`: when a better tier is usable again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failback {
    /// It gets new sessions at once.
    Auto,
    /// It gets none until someone enables one of its backends, or no other tier is usable.
    Manual,
}

/// `queue`: sessions that wait for a backend with room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Sessions that may wait at once, at least 1.
    pub max: usize,
    /// How long each may wait.
    pub timeout: Duration,
}

/// One backend of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Unique within the pool; the address as written unless `name` is given.
    pub name: Arc<str>,
    /// Where it is.
    pub address: BackendAddress,
    /// Share of new sessions relative to the others, at least 1.
    pub weight: u32,
    /// Backends of a higher tier serve when too few of the lower ones are usable.
    pub tier: u8,
    /// Where it runs; `None` is nowhere in particular.
    pub zone: Option<Arc<str>>,
    /// Sessions at once from this process, at least 1; `None` is any number.
    pub max_connections: Option<u32>,
    /// Gets no new sessions.
    pub disabled: bool,
}

/// Where a backend is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BackendAddress {
    /// A fixed TCP address.
    Ip(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
    /// A host name, resolved at start and refreshed.
    Host(Arc<str>, u16),
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
        }
    }
}
