//! TLS with a backend, before anyone else has the stream.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tower::ServiceExt;

use super::{ConnectError, Dial, Dials};
use crate::metrics::ConnectFailure;
use crate::net::{Secured, Stream, Unsecured};

/// How TLS is spoken with one backend.
#[derive(Clone)]
pub struct Secure {
    /// With what; new content of files is put in here, and counts for what is dialled from then on.
    pub config: Arc<ArcSwap<ClientConfig>>,
    /// Who the backend must prove to be.
    pub name: ServerName<'static>,
    /// Whether it must.
    pub verifies: bool,
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure").field("name", &self.name).field("verifies", &self.verifies).finish_non_exhaustive()
    }
}

/// The layer that shakes hands as soon as the preamble is sent.
pub(super) fn shake_hands(inner: impl Dials) -> impl Dials {
    let made = Instant::now();
    let quiet_until = Arc::new(AtomicU64::new(0));
    tower::service_fn(move |dial: Dial| {
        let inner = inner.clone();
        let quiet_until = quiet_until.clone();
        async move {
            let (secure, target) = (dial.secure.clone(), dial.target.clone());
            let stream = inner.oneshot(dial).await?;
            let Some(secure) = secure else { return Ok(stream) };
            // Boxed, so that a connection in the clear does not carry, and move, the room that a handshake takes.
            Box::pin(secure_stream(stream, &secure)).await.map_err(|error| {
                if may_say(made, &quiet_until) {
                    tracing::warn!(%target, name = %secure.name.to_str(), %error, "no TLS with a backend");
                }
                failed(&error)
            })
        }
    })
}

async fn secure_stream(stream: Stream, secure: &Secure) -> Result<Stream, Unsecured> {
    match stream {
        Stream::Plain(socket) => {
            let config = secure.config.load_full();
            let secured = Secured::connect(socket, config, secure.name.clone()).await?;
            Ok(Stream::Tls(Box::new(secured)))
        }
        // What is inside TLS already came from a layer that tests put there.
        secured @ Stream::Tls(_) => Ok(secured),
    }
}

fn failed(error: &Unsecured) -> ConnectError {
    let errno = match error {
        Unsecured::Broken(error) => error.raw_os_error(),
        Unsecured::Refused(_) | Unsecured::Left => None,
    };
    ConnectError { reason: ConnectFailure::Tls, errno, words: Some(error.to_string().into()) }
}

/// A few times a minute, however often it happens.
fn may_say(made: Instant, quiet_until: &AtomicU64) -> bool {
    const PAUSE_SECONDS: u64 = 10;
    let (now, until) = (made.elapsed().as_secs(), quiet_until.load(Relaxed));
    now >= until && quiet_until.compare_exchange(until, now + PAUSE_SECONDS, Relaxed, Relaxed).is_ok()
}
