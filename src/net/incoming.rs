//! A listening socket of one thread's runtime, and who comes.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, acceptfrom_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{BoundSocket, Family, Peer, Plain, Stream};

const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A listening socket.
#[derive(Debug)]
pub struct Incoming {
    socket: AsyncFd<BoundSocket>,
}

/// Someone who came.
#[derive(Debug)]
pub struct Arrived {
    /// Its socket.
    pub stream: Stream,
    /// Its address.
    pub peer: Peer,
    /// The address it connected to. The kernel is asked each time: IP_TRANSPARENT and programs of the network's own bring
    /// clients of other addresses than the one that is bound.
    pub local: Peer,
}

impl Incoming {
    /// Waits for clients on `socket`, which listens and does not block.
    ///
    /// # Errors
    /// It cannot be registered with this thread's runtime.
    pub fn new(socket: BoundSocket) -> io::Result<Self> {
        #[allow(deprecated, reason = "its successor asks for a promise, which sockets of the standard library keep")]
        let register = AsyncFd::with_interest;
        Ok(Self { socket: register(socket, Interest::READABLE)? })
    }

    /// The socket.
    pub fn socket(&self) -> &BoundSocket {
        self.socket.get_ref()
    }

    /// Ready when clients may be waiting; the caller's task is woken by the next one that comes.
    ///
    /// # Errors
    /// This thread's runtime ends.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_read_ready(cx).map_ok(drop)
    }

    /// The next client. Cancel safe.
    ///
    /// # Errors
    /// As for [`Incoming::try_accept`], but for `WouldBlock`.
    pub async fn accept(&self) -> io::Result<Arrived> {
        loop {
            poll_fn(|cx| self.poll_ready(cx)).await?;
            match self.try_accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// The next client, if one waits.
    ///
    /// # Errors
    /// The kernel's, `WouldBlock` if nobody waits; or the client is gone, or cannot be registered with this thread's runtime.
    pub fn try_accept(&self) -> io::Result<Arrived> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let once = |socket: &BoundSocket| match socket {
            BoundSocket::Tcp(socket) => {
                let (socket, address) = acceptfrom_with(socket, flags)?;
                let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                // A client without an address has left before anyone could ask.
                address.map(|address| (socket, Peer::tcp(address))).ok_or(Errno::CONNABORTED.into())
            }
            BoundSocket::Unix(socket) => Ok((accept_with(socket, flags)?, Peer::Unix)),
        };
        let (socket, peer) = self.socket.try_io(Interest::READABLE, once)?;
        self.arrived(socket, peer)
    }

    /// Whether nobody waits, after which [`Incoming::poll_ready`] waits for the next one. It costs an eighth of an accept
    /// that finds nobody: for that the kernel makes a socket and a file before it looks.
    pub fn is_empty(&self) -> bool {
        // The kernel answers it from the queue that accept(2) takes from, so that nobody is in it who is not told of later.
        let look = |socket: &BoundSocket| match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&NO_TIME)) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            // If it fails, accept(2) will say why.
            Ok(_) | Err(_) => Ok(()),
        };
        self.socket.try_io(Interest::READABLE, look).is_err()
    }

    fn arrived(&self, socket: OwnedFd, peer: Peer) -> io::Result<Arrived> {
        let family = match self.socket() {
            BoundSocket::Tcp(_) => Family::Tcp,
            BoundSocket::Unix(_) => Family::Unix,
        };
        let stream = Stream::from(Plain::new(socket, family)?);
        let local = stream.local();
        Ok(Arrived { stream, peer, local })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Duration;

    use super::*;

    async fn is_told(incoming: &Incoming) {
        let told = poll_fn(|cx| incoming.poll_ready(cx));
        tokio::time::timeout(Duration::from_secs(5), told).await.expect("the runtime tells").unwrap();
    }

    /// A look finds whoever an accept would find, and what it says of nobody is not said of who comes after it.
    async fn a_look_is_as_good_as_an_accept<C>(socket: BoundSocket, connect: impl Fn() -> C) {
        let incoming = Incoming::new(socket).unwrap();
        let mut first = connect();
        is_told(&incoming).await;
        for _ in 0..100 {
            let _others = [connect(), connect()];
            for _ in 0..3 {
                // The kernel may be a moment late with whoever has just connected; the runtime hears of that one then.
                while incoming.is_empty() {
                    is_told(&incoming).await;
                }
                incoming.try_accept().unwrap();
            }
            assert!(incoming.is_empty());
            assert_eq!(incoming.try_accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            first = connect();
            is_told(&incoming).await;
        }
        drop(first);
    }

    #[tokio::test]
    async fn a_look_at_tcp_is_as_good_as_an_accept() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        a_look_is_as_good_as_an_accept(BoundSocket::Tcp(socket), || TcpStream::connect(address).unwrap()).await;
    }

    #[tokio::test]
    async fn a_look_at_a_unix_socket_is_as_good_as_an_accept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let socket = UnixListener::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        a_look_is_as_good_as_an_accept(BoundSocket::Unix(socket), || UnixStream::connect(&path).unwrap()).await;
    }
}
