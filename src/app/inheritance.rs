//! Listening sockets that another process has bound: an older one of ours, or the service manager.

use std::io;
use std::sync::Arc;

use crate::config::plan::{BindAddress, ListenerTcp};
use crate::net::{BoundSocket, SocketFile, lengthen_queue, retune_listener};

/// One address and its sockets.
#[derive(Debug)]
pub(super) struct Inherited {
    /// Names it between the two processes.
    pub(super) number: usize,
    /// Whose it was.
    pub(super) listener: Arc<str>,
    pub(super) configured: BindAddress,
    /// Port 0 has become a port.
    pub(super) real: BindAddress,
    /// Each another member of the address's group.
    pub(super) sockets: Vec<BoundSocket>,
    /// The service manager has it too, and goes on listening when we do not.
    pub(super) foreign: bool,
    /// That of a unix socket, if it goes with it.
    pub(super) file: Option<SocketFile>,
}

/// Gives inherited sockets the options of this configuration; what they accept inherits them.
pub(super) fn tune(sockets: &[BoundSocket], listener: &str, tcp: &ListenerTcp) {
    for socket in sockets {
        let tuned = match socket {
            BoundSocket::Tcp(socket) => retune_listener(socket, tcp),
            BoundSocket::Unix(socket) => lengthen_queue(socket, tcp),
        };
        if let Err(error) = tuned {
            tracing::warn!(listener, %error, "cannot change the options of an inherited socket");
        }
    }
}

/// Sockets for so many workers, in turn: with fewer sockets than workers some are shared, with more each worker has
/// several. Every socket is served by someone: its queue is its own.
///
/// # Errors
/// Descriptors are short.
pub(super) fn spread(sockets: &[BoundSocket], workers: usize) -> io::Result<Vec<BoundSocket>> {
    let count = if sockets.is_empty() { 0 } else { sockets.len().max(workers) };
    sockets.iter().cycle().take(count).map(BoundSocket::try_clone).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    fn sockets(count: usize) -> Vec<BoundSocket> {
        (0..count).map(|_| BoundSocket::Tcp(TcpListener::bind("127.0.0.1:0").unwrap())).collect()
    }

    fn addresses(sockets: &[BoundSocket]) -> Vec<SocketAddr> {
        let address = |socket: &BoundSocket| match socket {
            BoundSocket::Tcp(socket) => socket.local_addr().unwrap(),
            BoundSocket::Unix(_) => panic!("not here"),
        };
        sockets.iter().map(address).collect()
    }

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        for (count, workers) in [(1, 1), (2, 5), (5, 2), (3, 3)] {
            let inherited = sockets(count);
            let spread = addresses(&spread(&inherited, workers).unwrap());
            assert_eq!(spread.len(), count.max(workers));
            assert!(addresses(&inherited).iter().all(|address| spread.contains(address)));
        }
        assert!(spread(&[], 3).unwrap().is_empty());
    }
}
