//! Listeners: where clients arrive, and what their sessions may do.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{AcceptProxy, AccessLog, Admission, Bandwidth, ListenerTcp, ListenerTls, OnChange, Route, Starttls};

/// One listener: where clients arrive and where they go.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Unique among listeners.
    pub name: Arc<str>,
    /// Port ranges already spread out; never empty.
    pub bind: Vec<Bind>,
    /// Tried in this order; the first that matches decides.
    pub routes: Vec<Route>,
    /// The pool for what no route takes; without one those sessions end. There are routes then.
    pub pool: Option<Arc<str>>,
    /// Who says by a PROXY header who the client is; `None` is nobody.
    pub accept_proxy: Option<AcceptProxy>,
    /// Who may come in.
    pub admission: Admission,
    /// What its sessions may move.
    pub bandwidth: Bandwidth,
    /// How TLS is spoken with clients; `None` is not at all.
    pub tls: Option<ListenerTls>,
    /// How clients ask for TLS before they begin it; `None` is not at all.
    pub starttls: Option<Starttls>,
    /// Limits on time.
    pub timeouts: Timeouts,
    /// How bytes are moved.
    pub relay: RelayMode,
    /// What happens to its sessions when a reload removes it.
    pub on_remove: OnChange,
    /// Socket options of the listener and of the sockets it accepts.
    pub tcp: ListenerTcp,
    /// This listener's access log: the process's, with the listener's own words over it.
    pub access: AccessLog,
}

impl Listener {
    /// The pools that its sessions may go to; some more than once.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<str>> {
        self.routes.iter().flat_map(Route::pools).chain(&self.pool)
    }
}

/// One address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Where.
    pub address: BindAddress,
    /// Accept connections to any address that the kernel hands over; only of TCP.
    pub transparent: bool,
}

/// Where a listener binds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BindAddress {
    /// TCP; IPv6 is v6only.
    Ip(SocketAddr),
    /// A unix socket, and the permission bits of its file if they are given.
    Unix(PathBuf, Option<u32>),
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path, _) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `timeouts` of a listener; `None` is `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the end of the TLS handshake; and so long clients are held that are refused in silence.
    pub handshake: Duration,
    /// From accept until the first bytes have decided the route.
    pub sniff: Duration,
    /// No byte in either direction for so long.
    pub idle: Option<Duration>,
    /// After one FIN: no byte for so long in the direction still open.
    pub half_closed: Option<Duration>,
    /// From accept, whatever happens.
    pub session: Option<Duration>,
}

/// `relay`: how bytes are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayMode {
    /// Copy, and splice while reads are large.
    Auto,
    /// Always copy.
    Copy,
    /// Splice whenever both sides are plain sockets and a pipe is to be had.
    Splice,
}
