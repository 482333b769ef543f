//! The resolved configuration: types that need no further checks.
//!
//! Everything here is valid by construction: names resolve, addresses parse, defaults are filled in.
//! No other module sees YAML.

mod access;
mod admission;
mod health;
mod intake;
mod reload;
mod route;
mod tcp;
mod tls;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Setting;

pub use access::{AccessList, Networks};
pub use admission::{Admission, Bandwidth, PerClient, RefuseWith};
pub use health::{Health, Http, Login, OnChange, Passive, Pattern, Probe, ProbeAt, Role, Step};
pub use intake::{AcceptProxy, Others, Starttls};
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

/// `log`: both logs.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// A tracing filter, already checked, for the program's own log on stderr.
    pub level: String,
    /// The form of both logs.
    pub format: LogFormat,
    /// The access log of listeners that say nothing else.
    pub access: AccessLog,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// `key=value`, strings quoted.
    Text,
}

/// `log.access`: what is written about each session, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// Where lines go.
    pub to: AccessSink,
    /// A line when the session's backend is established.
    pub at_start: bool,
    /// A line when the session ends.
    pub at_end: bool,
    /// A line every so often while it lives.
    pub interval: Option<Duration>,
    /// The share of sessions that are logged, 0.0 to 1.0, decided once a session.
    pub sample: f64,
    /// Leave out sessions that carried no byte.
    pub skip_empty: bool,
}

/// `log.access.to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessSink {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to, opened again on SIGUSR1.
    File(PathBuf),
}

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

/// A policy by name, and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySpec {
    /// A name the catalogue knows.
    pub name: &'static str,
    /// What a policy that hashes does so with; `None` for the others.
    pub hash: Option<HashSpec>,
}

/// The parameters of a policy that hashes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HashSpec {
    /// What is hashed.
    pub key: HashKey,
    /// How many leading bits of an IPv6 address of a client count.
    pub prefix_v6: u8,
    /// How many times its share of sessions a backend may have, at least 1.0; `None` is `off`.
    pub bounded_load: Option<f64>,
}

impl Default for HashSpec {
    /// As if nothing were said.
    fn default() -> Self {
        Self { key: HashKey::ClientIp, prefix_v6: 64, bounded_load: None }
    }
}

/// `key`: sessions of equal keys go to the same backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashKey {
    /// The client's IP address.
    #[default]
    ClientIp,
    /// The client's IP address and port.
    ClientIpPort,
    /// The server name the client asked for.
    ServerName,
    /// The address and port the client connected to.
    Destination,
}

impl HashKey {
    /// As the configuration spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientIp => "client_ip",
            Self::ClientIpPort => "client_ip_port",
            Self::ServerName => "server_name",
            Self::Destination => "destination",
        }
    }
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

/// `connect`: the bounds on reaching a backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Connect {
    /// One attempt.
    pub timeout: Duration,
    /// Attempts a session, at least 1.
    pub attempts: u32,
    /// All attempts and back-offs together.
    pub deadline: Duration,
    /// What may be spent on attempts beyond a session's first.
    pub retry_budget: RetryBudget,
    /// Pauses before the same backend is tried again.
    pub backoff: Backoff,
    /// When a second backend is raced against an attempt; `None` is never. Set only with at least two `attempts`.
    pub hedge_after: Option<Hedge>,
    /// Addresses of this machine to connect from, each in its turn. When there are any, some are of the family of each
    /// backend whose family is known here. Empty leaves it to the kernel.
    pub source: Arc<[IpAddr]>,
    /// `source: client`: sessions connect from their client's address instead. Never with unix sockets as backends.
    pub transparent: bool,
    /// Whether and how backends are told who the client is.
    pub send_proxy: Option<SendProxy>,
}

/// `connect.retry_budget`: how many retries and hedges the pool's sessions may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Retries for each recent session, 0.0 to 1.0: with 0.2 one for five.
    pub share: f64,
    /// Retries a second on top of that, whatever the sessions.
    pub min_per_second: f64,
}

/// `connect.hedge_after`: when a second backend is raced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hedge {
    /// When an attempt has taken so long; shorter than `connect.timeout`.
    After(Duration),
    /// When an attempt has taken longer than 95 % of the pool's recent ones.
    P95,
}

/// `connect.send_proxy`: the version of the PROXY protocol, and what the header says besides addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendProxy {
    /// Text.
    V1,
    /// Binary.
    V2 {
        /// The server name the client asked for, if it is known.
        authority: bool,
        /// The application protocol, if it is known.
        alpn: bool,
        /// What is known of the client's TLS.
        ssl: bool,
        /// The session's id.
        unique_id: bool,
        /// A checksum.
        crc32c: bool,
    },
}

/// `connect.backoff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub base: Duration,
    /// No pause is longer.
    pub max: Duration,
}
