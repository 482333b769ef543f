//! TLS with a backend, before anyone else has the stream.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::ConnectError;
use crate::metrics::ConnectFailure;
use crate::net::{Secured, Stream, Target, Unsecured};

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

/// Shakes hands with backends, and complains of those with which it cannot.
#[derive(Debug)]
pub(super) struct Handshakes {
    /// When this was made, and the second from which the next complaint may be said.
    made: Instant,
    quiet_until: AtomicU64,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { made: Instant::now(), quiet_until: AtomicU64::new(0) }
    }
}

impl Handshakes {
    /// The stream inside TLS.
    pub(super) async fn shake(&self, stream: Stream, secure: &Secure, target: &Target) -> Result<Stream, ConnectError> {
        secure_stream(stream, secure).await.map_err(|error| {
            if self.may_complain() {
                tracing::warn!(%target, name = %secure.name.to_str(), %error, "no TLS with a backend");
            }
            failed(&error)
        })
    }

    /// A few times a minute, however often it happens.
    fn may_complain(&self) -> bool {
        const PAUSE_SECONDS: u64 = 10;
        let (now, until) = (self.made.elapsed().as_secs(), self.quiet_until.load(Relaxed));
        let mine = || self.quiet_until.compare_exchange(until, now + PAUSE_SECONDS, Relaxed, Relaxed).is_ok();
        now >= until && mine()
    }
}

async fn secure_stream(stream: Stream, secure: &Secure) -> Result<Stream, Unsecured> {
    match stream {
        Stream::Plain(socket) => {
            let config = secure.config.load_full();
            let secured = Secured::connect(socket, config, secure.name.clone()).await?;
            Ok(Stream::Tls(Box::new(secured)))
        }
        // No step before this one puts it inside TLS.
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
