//! The connector: one address, one attempt, a stream or the reason why not.
//!
//! A tower `Service`, so that what sessions and probes dial through can be layered (PROXY, TLS) and
//! replaced (tests: refuse, hang, slow). It is always called through `oneshot` on a clone.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::{sleep, timeout};
use tower::util::BoxCloneSyncService;

use crate::config::plan::StreamTcp;
use crate::metrics::ConnectFailure;
use crate::net::{Stream, Target, prepare_stream};

/// What dials: requests in, connected streams out.
pub type Connector = BoxCloneSyncService<Dial, Stream, ConnectError>;

/// One attempt.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Where to.
    pub target: Target,
    /// Socket options.
    pub tcp: StreamTcp,
    /// For how long.
    pub timeout: Duration,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectError {
    /// Whom to blame, as counted.
    pub reason: ConnectFailure,
    /// What the kernel said, if it said something.
    pub errno: Option<i32>,
}

/// The connector of a running proxy.
pub fn system() -> Connector {
    BoxCloneSyncService::new(tower::service_fn(connect))
}

async fn connect(dial: Dial) -> Result<Stream, ConnectError> {
    let attempt = async {
        match &dial.target {
            Target::Ip(address) => connect_tcp(*address, &dial.tcp).await,
            Target::Unix(path) => connect_unix(path).await,
        }
    };
    match timeout(dial.timeout, attempt).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(ConnectError { reason: classify(&error), errno: error.raw_os_error() }),
        Err(_) => Err(ConnectError { reason: ConnectFailure::Timeout, errno: None }),
    }
}

async fn connect_tcp(address: SocketAddr, tcp: &StreamTcp) -> io::Result<Stream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    prepare_stream(&socket, tcp)?;
    let stream = TcpSocket::from_std_stream(socket.into()).connect(address).await?;
    // Dialling a free port of this machine's ephemeral range can, once in some ten thousand times,
    // meet itself (simultaneous open): that is nobody's backend.
    if stream.local_addr()? == address {
        return Err(Errno::CONNREFUSED.into());
    }
    Ok(Stream::Tcp(stream))
}

async fn connect_unix(path: &std::path::Path) -> io::Result<Stream> {
    /// A full queue is an immediate error on unix sockets; this is the wait that TCP does by itself.
    const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(10);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_FULL_PAUSE).await,
            result => return result.map(Stream::Unix),
        }
    }
}

/// Tells the backend's failings from this machine's own.
fn classify(error: &io::Error) -> ConnectFailure {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        // A unix path that is not there is a server that is not there.
        Some(Errno::CONNREFUSED | Errno::NOENT) => ConnectFailure::Refused,
        Some(Errno::TIMEDOUT) => ConnectFailure::Timeout,
        Some(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN | Errno::NETDOWN) => ConnectFailure::Unreachable,
        Some(Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE) => ConnectFailure::Reset,
        _ => ConnectFailure::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_shortages_are_not_the_backends_fault() {
        let class = |errno: Errno| classify(&io::Error::from(errno));
        for ours in
            [Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ACCESS, Errno::PERM]
        {
            assert_eq!(class(ours), ConnectFailure::Local, "{ours}");
        }
        assert_eq!(class(Errno::CONNREFUSED), ConnectFailure::Refused);
        assert_eq!(class(Errno::HOSTUNREACH), ConnectFailure::Unreachable);
    }
}
