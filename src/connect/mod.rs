//! The connector: one address, one attempt, a stream or the reason why not.
//!
//! What sessions and probes dial through can be replaced: tests put in what refuses, hangs or is slow. The limit on an
//! attempt's time is the same for all, and covers whatever they do. That of a running proxy connects a socket, and only
//! for those that want it goes on to the header that names the client, the request for TLS, and TLS.

mod preamble;
mod secure;
mod socket;
mod source;
mod starttls;
mod system;
#[cfg(test)]
mod tests;

use std::fmt;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::config::plan::{Starttls, StreamTcp};
use crate::metrics::ConnectFailure;
use crate::net::{Peer, Stream, Target};

pub use preamble::Caller;
pub use secure::Secure;
use system::System;

/// What sessions and probes dial through; one for all of them.
#[derive(Clone)]
pub struct Connector(Arc<dyn Connect>);

impl Connector {
    /// One that makes attempts so.
    pub fn new(connect: impl Connect + 'static) -> Self {
        Self(Arc::new(connect))
    }

    /// Makes an attempt that begins at `now`. Cancel safe: dropping the future closes what it has opened.
    ///
    /// # Errors
    /// It failed, or was not done within `dial.timeout`, whatever it was doing.
    pub async fn dial(&self, dial: &Dial, now: Instant) -> Result<Connected, ConnectError> {
        let attempt = timeout_at(now + dial.timeout, self.0.connect(dial));
        attempt.await.unwrap_or(Err(ConnectError::new(ConnectFailure::Timeout, None)))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

/// How attempts are made: by the system, or as a test has it.
pub trait Connect: Send + Sync {
    /// Makes an attempt, with no limit on time. Dropping the future must close what it has opened.
    fn connect<'a>(&'a self, dial: &'a Dial) -> Connecting<'a>;
}

/// An attempt under way.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Connected, ConnectError>> + Send + 'a>>;

/// What comes of an attempt.
#[derive(Debug)]
pub struct Connected {
    /// The stream.
    pub stream: Stream,
    /// Our side's address, for which the kernel is asked once.
    pub local: Peer,
}

impl From<Stream> for Connected {
    fn from(stream: Stream) -> Self {
        Self { local: stream.local(), stream }
    }
}

/// Functions make attempts, too; they are given a copy of what is wanted, and give the stream alone.
impl<F, A> Connect for F
where
    F: Fn(Dial) -> A + Send + Sync,
    A: Future<Output = Result<Stream, ConnectError>> + Send + 'static,
{
    fn connect<'a>(&'a self, dial: &'a Dial) -> Connecting<'a> {
        let attempt = self(dial.clone());
        Box::pin(async move { attempt.await.map(Connected::from) })
    }
}

/// One attempt.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Where to.
    pub target: Target,
    /// Where from: of these addresses one of the target's family; none leaves it to the kernel.
    pub source: Arc<[IpAddr]>,
    /// From the address of this client instead, which is not this machine's.
    pub transparent: Option<Peer>,
    /// Sent before anything else; see [`Caller::preamble`].
    pub preamble: Option<Arc<[u8]>>,
    /// What is asked for in the clear before TLS.
    pub starttls: Option<Starttls>,
    /// How TLS is spoken, if it is.
    pub secure: Option<Arc<Secure>>,
    /// Whether there are bytes for it as soon as it is connected.
    pub speaks: bool,
    /// Socket options.
    pub tcp: StreamTcp,
    /// For how long, all that it takes together.
    pub timeout: Duration,
}

impl Dial {
    /// Whether something is written as soon as it is connected: bytes of the client, or what is said before them.
    fn speaks_first(&self) -> bool {
        self.speaks || self.greets()
    }

    /// Whether something is said before the session's first byte.
    fn greets(&self) -> bool {
        self.preamble.is_some() || self.starttls.is_some() || self.secure.is_some()
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectError {
    /// Whom to blame, as counted.
    pub reason: ConnectFailure,
    /// What the kernel said, if it said something.
    pub errno: Option<i32>,
    /// What else is to be said, for an operator. What the backend supplied is escaped and cut in it.
    pub words: Option<Box<str>>,
}

impl ConnectError {
    /// One of which the kernel has said all there is to say, if anybody has.
    pub fn new(reason: ConnectFailure, errno: Option<i32>) -> Self {
        Self { reason, errno, words: None }
    }
}

/// The connector of a running proxy.
pub fn system() -> Connector {
    Connector::new(System::new())
}
