//! The listening socket of an endpoint: bound, given by the service manager, or taken over.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::client::Client;
use crate::config::plan::{BindAddress, Congestion, ListenerTcp, StreamTcp};
use crate::net::{self, BoundSocket};

/// Length of the accept queue.
const BACKLOG: u32 = 128;

/// A listening socket of an endpoint that someone else has bound.
#[derive(Debug)]
pub struct GivenSocket {
    /// The socket.
    pub socket: BoundSocket,
    /// The service manager has it too, and its file stays when this process ends.
    pub foreign: bool,
}

/// A listening socket, and whose its file is.
#[derive(Debug)]
pub(super) enum Listening {
    Tcp(StdTcpListener),
    Unix(std::os::unix::net::UnixListener, SocketFile),
    /// Bound by another process, which has the file until this one serves.
    Inherited(std::os::unix::net::UnixListener, Option<net::SocketFile>),
    /// Bound by the service manager, whose the file is.
    Foreign(std::os::unix::net::UnixListener),
}

impl Listening {
    /// What accepts from it on the calling thread's runtime, and the file that is this process's to remove.
    ///
    /// # Errors
    /// The runtime cannot take it.
    pub(super) fn into_acceptor(self) -> io::Result<(Acceptor, Option<SocketFile>)> {
        Ok(match self {
            Self::Tcp(socket) => (Acceptor::Tcp(TcpListener::from_std(socket)?), None),
            Self::Unix(socket, file) => (Acceptor::Unix(UnixListener::from_std(socket)?), Some(file)),
            Self::Inherited(socket, file) => (Acceptor::Unix(UnixListener::from_std(socket)?), Some(SocketFile(file))),
            Self::Foreign(socket) => (Acceptor::Unix(UnixListener::from_std(socket)?), None),
        })
    }
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
pub(super) struct SocketFile(Option<net::SocketFile>);

impl SocketFile {
    /// Leaves it to another process.
    pub(super) fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.0.iter().for_each(net::SocketFile::remove);
    }
}

/// One that someone else has bound, and its address.
pub(super) fn take(GivenSocket { socket, foreign }: GivenSocket) -> io::Result<(Listening, String)> {
    match socket {
        BoundSocket::Tcp(socket) => {
            let address = socket.local_addr()?.to_string();
            Ok((Listening::Tcp(socket), address))
        }
        BoundSocket::Unix(socket) => {
            let address = socket.local_addr()?;
            let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
            let text = format!("unix:{}", path.display());
            let listening = match foreign {
                true => Listening::Foreign(socket),
                false => Listening::Inherited(socket, net::SocketFile::at(path)),
            };
            Ok((listening, text))
        }
    }
}

/// A new one on TCP, and its real address.
pub(super) fn bind_tcp(address: SocketAddr) -> io::Result<(Listening, String)> {
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

/// A new one with a file, for this user alone.
pub(super) fn bind_unix(path: PathBuf) -> io::Result<(Listening, String)> {
    const OWNER_ONLY: u32 = 0o600;
    let stream = StreamTcp { nodelay: false, keepalive: None, user_timeout: None, congestion: Congestion::System };
    let options = ListenerTcp { backlog: BACKLOG, fast_open: None, defer_accept: None, freebind: false, stream };
    let bound = net::bind(&BindAddress::Unix(path, Some(OWNER_ONLY)), 1, &options)?;
    let address = bound.address.to_string();
    match bound.sockets.into_iter().next() {
        Some(BoundSocket::Unix(socket)) => Ok((Listening::Unix(socket, SocketFile(bound.file)), address)),
        _ => Err(io::Error::other("no socket")),
    }
}

/// The same, registered with a runtime.
pub(super) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    pub(super) async fn accept(&self) -> io::Result<Client> {
        match self {
            Self::Tcp(socket) => socket.accept().await.map(|(client, _)| Client::Tcp(client)),
            Self::Unix(socket) => socket.accept().await.map(|(client, _)| Client::Unix(client)),
        }
    }
}
