//! Binding an endpoint, and serving whoever connects: few at a time, none for long.

mod client;
mod socket;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use super::State;
use super::guard::Guard;
use super::router::Site;
use crate::config::plan::{self, AdminAddress};
use crate::listener::classify;
use crate::metrics::AcceptError;

pub use socket::GivenSocket;

use client::Service;
use socket::{Listening, SocketFile, bind_tcp, bind_unix, take};

/// Clients of one endpoint at once; beyond, they are closed at once.
const CLIENTS: usize = 64;
/// Pauses between failing accepts: the first, doubled up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// An endpoint that is bound and not yet served.
#[derive(Debug)]
pub struct Endpoint {
    name: &'static str,
    address: String,
    socket: Listening,
    foreign: bool,
    site: Site,
}

/// Whether an endpoint takes clients. Its socket stays open for whoever else has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// It does.
    Open,
    /// Not now: those that are connected have their answers and are let go.
    Shut,
    /// Another process does, from now on.
    Left,
}

/// Why there is no endpoint.
#[derive(Debug)]
pub enum EndpointError {
    /// Its address cannot be bound: the place in the configuration and the address, and why.
    Bind(String, io::Error),
    /// Its token cannot be read.
    Token(PathBuf, io::Error),
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(place, error) => write!(f, "cannot bind {place}: {error}"),
            Self::Token(path, error) => write!(f, "admin.token_file: cannot read {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for EndpointError {}

impl Endpoint {
    /// Binds the admin endpoint, unless a socket for it is `given`, and reads its token.
    ///
    /// # Errors
    /// The address cannot be bound, or the token cannot be read.
    pub fn admin(settings: &plan::Admin, given: Option<GivenSocket>) -> Result<Self, EndpointError> {
        let token_file = || settings.token_file.clone().unwrap_or_default();
        let guard = Guard::admin(settings).map_err(|error| EndpointError::Token(token_file(), error))?;
        let foreign = given.as_ref().is_some_and(|given| given.foreign);
        let bound = match (given, &settings.listen) {
            (Some(given), _) => take(given),
            (None, AdminAddress::Ip(address)) => bind_tcp(*address),
            (None, AdminAddress::Unix(path)) => bind_unix(path.clone()),
        };
        let (socket, address) = bound.map_err(|error| failed("admin.listen", &settings.listen, error))?;
        Ok(Self { name: "admin", address, socket, foreign, site: Site::new(guard, false) })
    }

    /// Binds the endpoint that has metrics and health only, unless a socket for it is `given`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn metrics(listen: SocketAddr, given: Option<GivenSocket>) -> Result<Self, EndpointError> {
        let foreign = given.as_ref().is_some_and(|given| given.foreign);
        let (socket, address) =
            given.map_or_else(|| bind_tcp(listen), take).map_err(|error| failed("metrics.listen", listen, error))?;
        Ok(Self { name: "metrics", address, socket, foreign, site: Site::new(Guard::metrics(), true) })
    }

    /// `admin` or `metrics`: how it is announced.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The real address: `IP:port` or `unix:PATH`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the service manager has its socket, too, and whatever file that has.
    pub fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// Its socket once more, for another process.
    ///
    /// # Errors
    /// Descriptors are short.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Serves while the `door` is open, until another process does, on the calling thread's runtime.
    ///
    /// # Errors
    /// Only if the socket cannot be registered with the runtime.
    pub async fn serve(self, state: Arc<State>, mut door: watch::Receiver<Door>) -> io::Result<()> {
        let clients = Arc::new(Semaphore::new(CLIENTS));
        let (socket, file) = self.socket.into_acceptor()?;
        let service = Service { site: Arc::new(self.site), state, door: door.clone() };
        let mut pause = PAUSES.0;
        loop {
            let now = *door.borrow_and_update();
            let accepted = tokio::select! {
                biased;
                () = changes(&mut door) => continue,
                accepted = socket.accept(), if now == Door::Open => accepted,
                () = std::future::ready(()), if now == Door::Left => {
                    // The path is the other process's.
                    file.into_iter().for_each(SocketFile::leave);
                    return Ok(());
                }
            };
            match accepted {
                Ok(client) => {
                    pause = PAUSES.0;
                    // No place: dropping the client closes it.
                    if let Ok(place) = clients.clone().try_acquire_owned() {
                        client.spawn(service.clone(), place);
                    }
                }
                Err(error) if classify(&error) == AcceptError::Aborted => {}
                Err(error) => {
                    if pause == PAUSES.0 {
                        tracing::warn!(listener = self.name, %error, "cannot accept; trying again");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }
}

/// Waits for news of the door; for ever if there will be none.
async fn changes(door: &mut watch::Receiver<Door>) {
    if door.changed().await.is_err() {
        std::future::pending().await
    }
}

fn failed(key: &str, address: impl fmt::Display, error: io::Error) -> EndpointError {
    EndpointError::Bind(format!("{key} {address}"), error)
}
