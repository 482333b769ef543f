//! Binding: one SO_REUSEPORT socket a worker, and never a silent share with another process.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;

use rustix::fs::Mode;
use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, Type};

use super::congestion::set_accepted;
use super::options::{lengthen_queue, prepare_stream, set_transparent};
use super::socket_file::SocketFile;
use crate::config::plan::{Bind, BindAddress, ListenerTcp};

/// One address, bound and listening, with a socket for each worker.
#[derive(Debug)]
pub struct Bound {
    /// The real address: port 0 has become a port.
    pub address: BindAddress,
    /// One a worker, in the workers' order, non-blocking.
    pub sockets: Vec<BoundSocket>,
    /// That of a unix socket.
    pub file: Option<SocketFile>,
}

/// One worker's listening socket.
#[derive(Debug)]
pub enum BoundSocket {
    /// A member of a SO_REUSEPORT group.
    Tcp(StdTcpListener),
    /// A duplicate of the one unix socket.
    Unix(StdUnixListener),
}

/// Who else may have the address that is to be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody.
    Alone,
    /// This process itself, through a socket that is bound to more or fewer addresses of the port.
    WithOurselves,
}

/// Binds one address for `workers` workers, and listens on it.
///
/// # Errors
/// The address is taken (also by a socket with SO_REUSEPORT), missing, or not permitted; a unix path
/// has a living listener or is something else than a socket.
pub fn bind(address: &BindAddress, workers: usize, tcp: &ListenerTcp) -> io::Result<Bound> {
    let bind = Bind { address: address.clone(), transparent: false };
    let bound = reserve(&bind, workers, tcp, Sharing::Alone)?;
    bound.listen(tcp)?;
    Ok(bound)
}

/// Binds one address for `workers` workers without listening yet: giving it up again hurts no client.
///
/// # Errors
/// As for [`bind`].
pub fn reserve(bind: &Bind, workers: usize, tcp: &ListenerTcp, sharing: Sharing) -> io::Result<Bound> {
    match &bind.address {
        BindAddress::Ip(address) => reserve_tcp(*address, bind.transparent, workers, tcp, sharing),
        BindAddress::Unix(path, mode) => reserve_unix(path, *mode, workers),
    }
}

impl Bound {
    /// Listens. Clients may come from now on, and wait.
    ///
    /// # Errors
    /// The kernel refuses; some sockets may listen by then.
    pub fn listen(&self, tcp: &ListenerTcp) -> io::Result<()> {
        listen(&self.sockets, tcp)
    }
}

/// Has sockets listen that are bound already.
///
/// # Errors
/// The kernel refuses; some may listen by then.
pub fn listen(sockets: &[BoundSocket], tcp: &ListenerTcp) -> io::Result<()> {
    sockets.iter().try_for_each(|socket| lengthen_queue(socket, tcp))
}

impl BoundSocket {
    /// The same socket once more.
    ///
    /// # Errors
    /// Descriptors are short.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    /// A listening socket that another process has bound, and the address it is bound to.
    ///
    /// # Errors
    /// It is no stream socket that listens, or has no address to be found by.
    pub fn inherited(socket: OwnedFd) -> io::Result<(Self, BindAddress)> {
        let socket = Socket::from(socket);
        if !socket.is_listener()? || socket.r#type()? != Type::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket that listens"));
        }
        socket.set_nonblocking(true)?;
        socket.set_cloexec(true)?;
        let address = socket.local_addr()?;
        if let Some(address) = address.as_socket() {
            return Ok((Self::Tcp(socket.into()), BindAddress::Ip(address)));
        }
        let nameless = || io::Error::new(io::ErrorKind::InvalidInput, "a unix socket without a path");
        let path = address.as_pathname().ok_or_else(nameless)?.to_owned();
        Ok((Self::Unix(OwnedFd::from(socket).into()), BindAddress::Unix(path, None)))
    }
}

impl AsRawFd for BoundSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for BoundSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

fn reserve_tcp(
    address: SocketAddr,
    transparent: bool,
    workers: usize,
    tcp: &ListenerTcp,
    sharing: Sharing,
) -> io::Result<Bound> {
    if address.port() != 0 && sharing == Sharing::Alone {
        // With SO_REUSEPORT a second process of the same user would share the port in silence. Binding
        // without it fails where anyone listens, and never listens itself, so nobody connects to it.
        drop(tcp_socket(address, transparent, tcp, false)?);
    }
    let mut real = address;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = tcp_socket(real, transparent, tcp, true)?;
        prepare_stream(&socket, &tcp.stream)?;
        set_accepted(&socket, tcp.stream.congestion)?;
        let listener = StdTcpListener::from(socket);
        real = listener.local_addr()?;
        sockets.push(BoundSocket::Tcp(listener));
    }
    Ok(Bound { address: BindAddress::Ip(real), sockets, file: None })
}

/// A bound TCP socket that does not listen yet.
fn tcp_socket(address: SocketAddr, transparent: bool, tcp: &ListenerTcp, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Sessions of an earlier run in TIME_WAIT must not keep the port from us; a living listener still does.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    set_transparent(&socket, transparent)?;
    if tcp.freebind {
        match address {
            SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
    }
    if shared {
        socket.set_reuse_port(true)?;
        if let Some(queue) = tcp.fast_open {
            super::options::fast_open(&socket, queue)?;
        }
        if let Some(patience) = tcp.defer_accept {
            super::options::defer_accept(&socket, patience)?;
        }
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn reserve_unix(path: &Path, mode: Option<u32>, workers: usize) -> io::Result<Bound> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    if let Some(mode) = mode {
        // Before bind, so that the file never exists with wider permissions; the umask may narrow it …
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
    }
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::at(path);
    if let Some(mode) = mode {
        // … and this undoes the umask.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    let listener = StdUnixListener::from(OwnedFd::from(socket));
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        sockets.push(BoundSocket::Unix(listener.try_clone()?));
    }
    Ok(Bound { address: BindAddress::Unix(path.to_owned(), mode), sockets, file })
}

/// Removes a socket file that nobody listens on any more; leaves everything else alone.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path exists and is not a socket; remove it or choose another",
        ));
    }
    // Non-blocking: the listener may be stopped, or too busy to accept, and then its queue is full.
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on this socket")),
    }
}

/// Makes a listening TCP socket drop every new SYN in silence, while handshakes under way still end.
///
/// Closing a member of a SO_REUSEPORT group resets what waits in its queue; so first no more is let
/// in, then the queue is emptied, then it is closed. A client whose SYN is dropped sends it again a
/// second later and meets another member, a new process, or a refusal.
pub fn refuse_new_connections(socket: &impl AsFd) -> io::Result<()> {
    const LOAD_BYTE_AT: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
    const JUMP_IF_BITS: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const TCP_FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    let filter = [
        SockFilter::new(LOAD_BYTE_AT, 0, 0, TCP_FLAGS),
        SockFilter::new(JUMP_IF_BITS, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    SockRef::from(socket).attach_filter(&filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_whose_queue_is_full_is_alive_and_does_not_hold_us_up() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("busy.sock");
        let socket = || Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).expect("a socket");
        let address = SockAddr::unix(&path).expect("short enough");
        let busy = socket();
        busy.bind(&address).expect("free");
        busy.listen(0).expect("bound");
        let waiting: Vec<_> = std::iter::repeat_with(socket).take_while(|one| one.connect(&address).is_ok()).collect();
        assert!(!waiting.is_empty());
        assert_eq!(remove_stale(&path).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
        drop((busy, waiting));
        remove_stale(&path).expect("nobody listens any more");
        assert!(!path.exists());
    }
}
