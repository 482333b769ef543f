//! A listening socket of one thread's runtime, and who comes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, acceptfrom_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{BoundSocket, Family, Peer, Plain, Stream};

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

    /// The next client. Cancel safe.
    ///
    /// # Errors
    /// The kernel's; or the client is gone, or cannot be registered with this thread's runtime.
    pub async fn accept(&self) -> io::Result<Arrived> {
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
        let (socket, peer) = self.socket.async_io(Interest::READABLE, once).await?;
        self.arrived(socket, peer)
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
