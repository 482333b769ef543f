//! One client of an endpoint: served until it leaves or breaks a bound.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Door;
use crate::admin::State;
use crate::admin::bounded::Bounded;
use crate::admin::router::{self, Site};

/// Of a request's head: bytes, lines, and the time to send it. The time counts from the end of the
/// request before, so it also bounds how long an idle connection is kept.
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_LINES: usize = 64;
const HEAD_TIME: Duration = Duration::from_secs(5);

/// What the clients of an endpoint are served with.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) site: Arc<Site>,
    pub(super) state: Arc<State>,
    pub(super) door: watch::Receiver<Door>,
}

/// Who has connected.
pub(super) enum Client {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Client {
    /// Serves it in a task of its own, which has the `place` until it ends.
    pub(super) fn spawn(self, service: Service, place: OwnedSemaphorePermit) {
        match self {
            Self::Tcp(client) => {
                // A page that is slower without it is still a page.
                let _ = client.set_nodelay(true);
                tokio::spawn(service.serve(client, place));
            }
            Self::Unix(client) => drop(tokio::spawn(service.serve(client, place))),
        }
    }
}

impl Service {
    /// Serves one client, inside TLS if the endpoint has it.
    async fn serve<S>(self, client: S, _place: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(server) = self.site.tls(&self.state) else { return self.converse(client).await };
        // Who does not speak TLS has seen the alert.
        if let Ok(Ok(client)) = timeout(HEAD_TIME, TlsAcceptor::from(server.config()).accept(client)).await {
            self.converse(client).await;
        }
    }

    /// Serves one client until it leaves or breaks a bound.
    async fn converse<S>(mut self, client: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // It has connected, so there is a question to come.
        let first = Mutex::new(Some(self.state.upgrades.open_question()));
        let (asked, mut has_asked) = watch::channel(false);
        let service = service_fn(|request: Request<Incoming>| {
            let (site, state) = (self.site.clone(), self.state.clone());
            let waits = state.upgrades.open_question();
            first.lock().unwrap_or_else(PoisonError::into_inner).take();
            asked.send_replace(true);
            // Who waits for an upgrade is not waited for by it.
            let waits = (request.uri().path() != router::UPGRADE).then_some(waits);
            async move {
                let answer = router::respond(&site, &state, request).await;
                drop(waits);
                Ok::<Response<_>, Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_headers(HEAD_LINES)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(Bounded::new(client)), service);
        let mut connection = pin!(connection);
        // What goes wrong here is the client's doing, and the client has seen it.
        tokio::select! {
            _ = &mut connection => {}
            () = shuts(&mut self.door, &mut has_asked) => {
                // The answer that is under way, and no other.
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }
}

/// Waits until the door is not open, and the client has asked for something: hyper would let go of one that has not.
async fn shuts(door: &mut watch::Receiver<Door>, has_asked: &mut watch::Receiver<bool>) {
    let shut = door.wait_for(|door| *door != Door::Open).await.is_ok();
    if !shut || has_asked.wait_for(|asked| *asked).await.is_err() {
        std::future::pending().await
    }
}
