//! What the process as a whole is told: its threads, its beginning and end, its endpoints.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::CertificateFiles;

/// `workers`: how many data threads, and where they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workers {
    /// `None` is `auto`: one per CPU this process may use.
    pub threads: Option<NonZeroUsize>,
    /// Pin worker i to the i-th CPU this process may use.
    pub pin: bool,
    /// How long a worker looks for packets after work before it sleeps.
    pub busy_poll: Option<Duration>,
}

/// `overflow`: beyond `max_connections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Accept, reset, count.
    Refuse,
    /// Stop accepting; the kernel's backlog holds the rest.
    Wait,
}

/// `sandbox`: whether the process gives up files and programs that it does not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sandbox {
    /// It does not.
    #[default]
    Off,
    /// As far as the kernel can keep it from them.
    On,
    /// Or it does not start.
    Strict,
}

/// `shutdown`: the two spans of a graceful end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// From `/readyz` failing to the end of accepting.
    pub delay: Duration,
    /// From the end of accepting to the end of the process.
    pub grace: Duration,
}

/// `upgrade`: what becomes of an old process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upgrade {
    /// From the moment another process serves to the end of the old one; `None` is until its last session has ended.
    pub grace: Option<Duration>,
    /// Old processes there may be.
    pub max_old: usize,
}

/// `admin`: the endpoint for people and tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub listen: AdminAddress,
    /// File whose trimmed content is the bearer token.
    pub token_file: Option<PathBuf>,
    /// Which requests need the token.
    pub protect: Protect,
    /// Its certificate, if it is served over TLS.
    pub tls: Option<CertificateFiles>,
}

/// `admin.protect`: which requests need the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protect {
    /// Requests that change something.
    Writes,
    /// All but `/healthz` and `/readyz`.
    All,
}

/// Where the admin endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// TCP.
    Ip(SocketAddr),
    /// A unix socket, mode 0600.
    Unix(PathBuf),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `metrics`: an endpoint a scraper may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsEndpoint {
    /// Where it listens.
    pub listen: Option<SocketAddr>,
    /// Whether backends get connect-time histograms of their own.
    pub backend_histograms: bool,
}
