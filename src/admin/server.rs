//! Binding an endpoint, and serving whoever connects: few at a time, none for long.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::State;
use super::bounded::Bounded;
use super::guard::Guard;
use super::router::{self, Site};
use crate::config::plan::{self, AdminAddress, BindAddress, Congestion, ListenerTcp, StreamTcp};
use crate::listener::classify;
use crate::metrics::AcceptError;
use crate::net::{self, BoundSocket};

/// Clients of one endpoint at once; beyond, they are closed at once.
const CLIENTS: usize = 64;
/// Length of the accept queue.
const BACKLOG: u32 = 128;
/// Of a request's head: bytes, lines, and the time to send it. The time counts from the end of the
/// request before, so it also bounds how long an idle connection is kept.
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_LINES: usize = 64;
const HEAD_TIME: Duration = Duration::from_secs(5);
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

/// A listening socket of an endpoint that someone else has bound.
#[derive(Debug)]
pub struct GivenSocket {
    /// The socket.
    pub socket: BoundSocket,
    /// The service manager has it too, and its file stays when this process ends.
    pub foreign: bool,
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

#[derive(Debug)]
enum Listening {
    Tcp(StdTcpListener),
    Unix(std::os::unix::net::UnixListener, SocketFile),
    /// Bound by another process, which has the file until this one serves.
    Inherited(std::os::unix::net::UnixListener, PathBuf),
    /// Bound by the service manager, whose the file is.
    Foreign(std::os::unix::net::UnixListener),
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket, _) | Self::Inherited(socket, _) | Self::Foreign(socket) => socket.as_fd(),
        }
    }
}

/// The file of a unix socket, which goes with it.
#[derive(Debug)]
struct SocketFile(Option<PathBuf>);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Somebody else's by now, or gone: either way there is nothing to do about it.
            let _ = std::fs::remove_file(path);
        }
    }
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
        let site = Arc::new(self.site);
        let clients = Arc::new(Semaphore::new(CLIENTS));
        let (socket, mut file) = match self.socket {
            Listening::Tcp(socket) => (Acceptor::Tcp(TcpListener::from_std(socket)?), None),
            Listening::Unix(socket, file) => (Acceptor::Unix(UnixListener::from_std(socket)?), Some(file)),
            Listening::Inherited(socket, path) => {
                (Acceptor::Unix(UnixListener::from_std(socket)?), Some(SocketFile(Some(path))))
            }
            Listening::Foreign(socket) => (Acceptor::Unix(UnixListener::from_std(socket)?), None),
        };
        let mut pause = PAUSES.0;
        loop {
            let now = *door.borrow_and_update();
            let accepted = tokio::select! {
                biased;
                () = changes(&mut door) => continue,
                accepted = socket.accept(), if now == Door::Open => accepted,
                () = std::future::ready(()), if now == Door::Left => {
                    // The path is the other process's.
                    file.as_mut().and_then(|file| file.0.take());
                    return Ok(());
                }
            };
            match accepted {
                Ok(client) => {
                    pause = PAUSES.0;
                    // No place: dropping the client closes it.
                    if let Ok(place) = clients.clone().try_acquire_owned() {
                        client.spawn(site.clone(), state.clone(), place, door.clone());
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

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Client {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Acceptor {
    async fn accept(&self) -> io::Result<Client> {
        match self {
            Self::Tcp(socket) => socket.accept().await.map(|(client, _)| Client::Tcp(client)),
            Self::Unix(socket) => socket.accept().await.map(|(client, _)| Client::Unix(client)),
        }
    }
}

impl Client {
    fn spawn(self, site: Arc<Site>, state: Arc<State>, place: OwnedSemaphorePermit, door: watch::Receiver<Door>) {
        match self {
            Self::Tcp(client) => {
                // A page that is slower without it is still a page.
                let _ = client.set_nodelay(true);
                tokio::spawn(secure(client, site, state, place, door));
            }
            Self::Unix(client) => drop(tokio::spawn(secure(client, site, state, place, door))),
        }
    }
}

/// Serves one client, inside TLS if the endpoint has it.
async fn secure<S>(
    client: S,
    site: Arc<Site>,
    state: Arc<State>,
    place: OwnedSemaphorePermit,
    door: watch::Receiver<Door>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(server) = site.tls(&state) else { return converse(client, site, state, place, door).await };
    // Who does not speak TLS has seen the alert.
    if let Ok(Ok(client)) = timeout(HEAD_TIME, TlsAcceptor::from(server.config()).accept(client)).await {
        converse(client, site, state, place, door).await;
    }
}

/// Serves one client until it leaves or breaks a bound.
async fn converse<S>(
    client: S,
    site: Arc<Site>,
    state: Arc<State>,
    _place: OwnedSemaphorePermit,
    mut door: watch::Receiver<Door>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // It has connected, so there is a question to come.
    let first = Mutex::new(Some(state.upgrades.open_question()));
    let (asked, mut has_asked) = watch::channel(false);
    let service = service_fn(|request: Request<Incoming>| {
        let (site, state) = (site.clone(), state.clone());
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
        () = shuts(&mut door, &mut has_asked) => {
            // The answer that is under way, and no other.
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Waits for news of the door; for ever if there will be none.
async fn changes(door: &mut watch::Receiver<Door>) {
    if door.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Waits until the door is not open, and the client has asked for something: hyper would let go of one that has not.
async fn shuts(door: &mut watch::Receiver<Door>, has_asked: &mut watch::Receiver<bool>) {
    let shut = door.wait_for(|door| *door != Door::Open).await.is_ok();
    if !shut || has_asked.wait_for(|asked| *asked).await.is_err() {
        std::future::pending().await
    }
}

fn take(GivenSocket { socket, foreign }: GivenSocket) -> io::Result<(Listening, String)> {
    match socket {
        BoundSocket::Tcp(socket) => {
            let address = socket.local_addr()?.to_string();
            Ok((Listening::Tcp(socket), address))
        }
        BoundSocket::Unix(socket) => {
            let address = socket.local_addr()?;
            let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
            let text = format!("unix:{}", path.display());
            let listening = if foreign { Listening::Foreign(socket) } else { Listening::Inherited(socket, path) };
            Ok((listening, text))
        }
    }
}

fn failed(key: &str, address: impl fmt::Display, error: io::Error) -> EndpointError {
    EndpointError::Bind(format!("{key} {address}"), error)
}

fn bind_tcp(address: SocketAddr) -> io::Result<(Listening, String)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    let socket = StdTcpListener::from(socket);
    let address = socket.local_addr()?.to_string();
    Ok((Listening::Tcp(socket), address))
}

fn bind_unix(path: PathBuf) -> io::Result<(Listening, String)> {
    const OWNER_ONLY: u32 = 0o600;
    let stream = StreamTcp { nodelay: false, keepalive: None, user_timeout: None, congestion: Congestion::System };
    let options = ListenerTcp { backlog: BACKLOG, fast_open: None, defer_accept: None, freebind: false, stream };
    let bound = net::bind(&BindAddress::Unix(path.clone(), Some(OWNER_ONLY)), 1, &options)?;
    let address = bound.address.to_string();
    match bound.sockets.into_iter().next() {
        Some(BoundSocket::Unix(socket)) => Ok((Listening::Unix(socket, SocketFile(Some(path))), address)),
        _ => Err(io::Error::other("no socket")),
    }
}
