//! The connector: one address, one attempt, a stream or the reason why not.
//!
//! A tower `Service`, so that what sessions and probes dial through can be layered and replaced (tests: refuse, hang,
//! slow). Layers, outermost first: the time limit of the attempt, TLS, the request for it, the header that names
//! the client, the socket. It is always called through `oneshot` on a clone.

mod preamble;
mod secure;
mod socket;
mod source;
mod starttls;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::config::plan::{Starttls, StreamTcp};
use crate::metrics::ConnectFailure;
use crate::net::{Peer, Stream, Target};

pub use preamble::Caller;
pub use secure::Secure;

/// What dials: requests in, connected streams out.
pub type Connector = BoxCloneSyncService<Dial, Stream, ConnectError>;

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
    /// For how long, all layers together.
    pub timeout: Duration,
}

impl Dial {
    /// Whether something is written as soon as it is connected: bytes of the client, or what one of the layers says first.
    fn speaks_first(&self) -> bool {
        self.speaks || self.preamble.is_some() || self.secure.is_some()
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
    let layers = ServiceBuilder::new()
        .layer_fn(within_timeout)
        .layer_fn(secure::shake_hands)
        .layer_fn(starttls::ask)
        .layer_fn(preamble::send_first);
    BoxCloneSyncService::new(layers.service(socket::connector()))
}

/// A connector, or some layers of one.
pub(crate) trait Dials:
    Service<Dial, Response = Stream, Error = ConnectError, Future: Send + 'static> + Clone + Send + Sync + 'static
{
}

impl<S> Dials for S where
    S: Service<Dial, Response = Stream, Error = ConnectError, Future: Send + 'static> + Clone + Send + Sync + 'static
{
}

/// The layer that ends an attempt when its time is up, whatever it is doing.
fn within_timeout(inner: impl Dials) -> impl Dials {
    tower::service_fn(move |dial: Dial| {
        let inner = inner.clone();
        async move {
            // Not made outside and moved in here: that would take room for it twice.
            let attempt = timeout(dial.timeout, inner.oneshot(dial));
            attempt.await.unwrap_or(Err(ConnectError::new(ConnectFailure::Timeout, None)))
        }
    })
}
