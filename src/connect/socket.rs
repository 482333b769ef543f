//! The innermost layer: a socket, connected.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::source::Turns;
use super::{ConnectError, Dial, Dials};
use crate::metrics::ConnectFailure;
use crate::net::{Family, Peer, Plain, Stream, Target, bind_source, prepare_stream, set_transparent};

/// Connects sockets, with no limit on time.
pub(super) fn connector() -> impl Dials {
    let turns = Arc::new(Turns::new());
    tower::service_fn(move |dial: Dial| {
        let turns = turns.clone();
        async move {
            let result = match &dial.target {
                Target::Ip(address) => connect_tcp(*address, &dial, &turns).await,
                Target::Unix(path) => connect_unix(path).await,
            };
            result.map_err(|error| ConnectError::new(classify(&error), error.raw_os_error()))
        }
    })
}

async fn connect_tcp(address: SocketAddr, dial: &Dial, turns: &Turns) -> io::Result<Stream> {
    let source = match dial.transparent {
        Some(client) => of_client(client, address).map(Some),
        None => turns.next(&dial.source, address),
    };
    let result = connect_from(source, address, dial).await;
    if let Err(error) = &result
        && (!dial.source.is_empty() || dial.transparent.is_some())
        && classify(error) == ConnectFailure::Local
    {
        turns.complain(address, error);
    }
    result
}

/// The client's address, with port 0: its own port may be in use already for an earlier session of it.
fn of_client(client: Peer, target: SocketAddr) -> io::Result<SocketAddr> {
    match client.ip() {
        Some(ip) if ip.is_ipv4() == target.is_ipv4() => Ok(SocketAddr::new(ip, 0)),
        _ => Err(io::Error::other(format!(
            "`connect.source: client`, and {client} has no address of the backend's family"
        ))),
    }
}

async fn connect_from(source: io::Result<Option<SocketAddr>>, address: SocketAddr, dial: &Dial) -> io::Result<Stream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    prepare_stream(&socket, &dial.tcp)?;
    if let Some(source) = source? {
        if dial.transparent.is_some() {
            set_transparent(&socket, true)?;
        }
        bind_source(&socket, source)?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => return Err(error),
        _ => {}
    }
    let stream = Plain::new(socket.into(), Family::Tcp)?;
    poll_fn(|cx| stream.poll_write_ready(cx)).await?;
    // What woke us says whether there is an error to ask for.
    if stream.has_erred()
        && let Some(error) = stream.take_error()
    {
        return Err(error);
    }
    // Dialling a free port of this machine's ephemeral range can, once in some ten thousand times,
    // meet itself (simultaneous open): that is nobody's backend.
    if stream.local() == Peer::tcp(address) {
        return Err(Errno::CONNREFUSED.into());
    }
    Ok(stream.into())
}

async fn connect_unix(path: &std::path::Path) -> io::Result<Stream> {
    /// A full queue is an immediate error on unix sockets; this is the wait that TCP does by itself.
    const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(10);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_FULL_PAUSE).await,
            result => return Stream::try_from(result?),
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
