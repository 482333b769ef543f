//! How a pool finds out which of its backends are usable.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;

use super::BackendAddress;

/// `health` of a pool. Without a probe and without `passive` every backend is taken to be up.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// What is asked of a backend; `None` asks nothing.
    pub probe: Option<Probe>,
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// The same while `rise` or `fall` is being counted.
    pub fast_interval: Duration,
    /// How long a probe may take, from dialling to its last answer.
    pub timeout: Duration,
    /// Good probes in a row before a backend is up, at least 1.
    pub rise: u32,
    /// Bad probes in a row before it is down, at least 1.
    pub fall: u32,
    /// The share by which intervals vary at random, 0.0 to 1.0.
    pub jitter: f64,
    /// Probe there instead of at the backend's own address.
    pub at: ProbeAt,
    /// Whether they are asked inside the pool's TLS, where it has one.
    pub tls: bool,
    /// Whether backends are usable before their first probe.
    pub start_up: bool,
    /// A probe of this pool starts only while fewer than so many run in the whole process; at least 1.
    pub concurrency: usize,
    /// What happens to sessions of a backend that goes down.
    pub on_down: OnChange,
    /// When a smaller share of the backends is up, all are used; 0.0 to 1.0.
    pub fail_open_below: f64,
    /// How real sessions judge backends; `None` is not at all.
    pub passive: Option<Passive>,
}

/// What happens to sessions that live when what they use goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnChange {
    /// They go on.
    Keep,
    /// They are reset at once.
    Reset,
    /// They are reset one after the other over this time, longest idle first.
    Drain(Duration),
}

impl OnChange {
    /// Over how long they are ended, where they are.
    pub fn span(self) -> Option<Duration> {
        match self {
            Self::Keep => None,
            Self::Reset => Some(Duration::ZERO),
            Self::Drain(span) => Some(span),
        }
    }
}

/// Where a probe goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeAt {
    /// To the backend's own address.
    Backend,
    /// To this port of the backend's host.
    Port(u16),
    /// To this address, whatever the backend's is.
    Address(BackendAddress),
}

/// `health.probe`.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// It accepts a connection.
    Tcp,
    /// It completes a TLS handshake.
    Tls,
    /// It says what is expected; steps in order, at least one.
    Script(Arc<[Step]>),
    /// It answers an HTTP/1.1 request as expected.
    Http(Arc<Http>),
    /// Its gRPC health service says SERVING for this service; `None` is the server as a whole.
    Grpc(Option<Arc<str>>),
    /// It answers as a PostgreSQL server.
    Postgres(Arc<Login>),
    /// It answers as a MySQL or MariaDB server.
    Mysql(Arc<Login>),
    /// It answers as a Redis server.
    Redis(Arc<Login>),
}

impl Probe {
    /// The role a backend must have to be up.
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::Postgres(login) | Self::Mysql(login) | Self::Redis(login) => login.role,
            Self::Tcp | Self::Tls | Self::Script(_) | Self::Http(_) | Self::Grpc(_) => None,
        }
    }
}

/// One step of a script.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Say this.
    Send(Arc<[u8]>),
    /// What comes next must begin with this.
    Expect(Arc<[u8]>),
    /// What comes must match, as soon as enough of it is there.
    ExpectMatch(Pattern),
}

/// What an HTTP probe asks, and which answers are good.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// A token, such as `GET`.
    pub method: String,
    /// Begins with `/`.
    pub path: String,
    /// The Host header; `None` is the address that is probed.
    pub host: Option<String>,
    /// Good status codes, as inclusive ranges; never empty.
    pub status: Vec<(u16, u16)>,
    /// What the body must match.
    pub body: Option<Pattern>,
    /// Ask over TLS.
    pub tls: bool,
}

/// How a database is asked, and who it must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The role it must have; `None` is any. Needs a user where servers ask for one.
    pub role: Option<Role>,
    /// Who logs in; `None` finds out no more than that it is such a server.
    pub user: Option<Arc<str>>,
    /// PostgreSQL alone; `None` is the one of the user's name.
    pub database: Option<Arc<str>>,
    /// A file whose first line is the password. Read anew for each probe, so that it can be changed.
    pub password_file: Option<PathBuf>,
}

/// `role` of a database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows a primary.
    Replica,
}

impl Role {
    /// As the configuration spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// `health.passive`: when real sessions eject a backend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Passive {
    /// Failures in a row, at least 1.
    pub failures: u32,
    /// Or this share of recent sessions, 0.0 to 1.0 …
    pub rate: f64,
    /// … once there are so many of them.
    pub min_volume: u32,
    /// How long the first ejection lasts.
    pub eject_for: Duration,
    /// No ejection is longer.
    pub max_eject_for: Duration,
    /// No larger share of the pool's backends is ejected at once, 0.0 to 1.0.
    pub max_ejected: f64,
    /// A first byte that comes later is a failure; `None` is no limit.
    pub first_byte_within: Option<Duration>,
}

/// A regular expression over bytes, equal to another of the same text.
#[derive(Clone)]
pub struct Pattern(pub Regex);

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.0.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}
