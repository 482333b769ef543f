//! A socket, connected.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::source::Turns;
use super::{ConnectError, Connected, Dial};
use crate::config::plan::StreamTcp;
use crate::metrics::ConnectFailure;
use crate::net::{
    Family, Peer, Plain, Stream, SystemCongestion, Target, bind_source, delay_ack, prepare_stream, set_transparent,
    urgent,
};

/// A connected socket, with no limit on time.
pub(super) async fn connect(dial: &Dial, turns: &Turns, system: SystemCongestion) -> Result<Connected, ConnectError> {
    let result = match &dial.target {
        Target::Ip(address) => connect_tcp(*address, dial, turns, system).await,
        Target::Unix(path) => connect_unix(path).await,
    };
    result.map_err(|error| ConnectError::new(classify(&error), error.raw_os_error()))
}

async fn connect_tcp(
    address: SocketAddr,
    dial: &Dial,
    turns: &Turns,
    system: SystemCongestion,
) -> io::Result<Connected> {
    let source = match dial.transparent {
        Some(client) => of_client(client, address).map(Some),
        None => turns.next(&dial.source, address),
    };
    let result = connect_from(source, address, dial, system).await;
    if let Err(error) = &result
        && classify(error) == ConnectFailure::Local
    {
        turns.complain(address, !dial.source.is_empty() || dial.transparent.is_some(), error);
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

async fn connect_from(
    source: io::Result<Option<SocketAddr>>,
    address: SocketAddr,
    dial: &Dial,
    system: SystemCongestion,
) -> io::Result<Connected> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // What is not urgent is up to the session, once it lasts.
    prepare_stream(&socket, &StreamTcp { keepalive: urgent(dial.tcp.keepalive, dial.timeout), ..dial.tcp })?;
    system.set(&socket, dial.tcp.congestion, address.ip())?;
    if dial.speaks_first() {
        delay_ack(&socket)?;
    }
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
    let local = stream.local();
    if local == Peer::tcp(address) {
        return Err(Errno::CONNREFUSED.into());
    }
    Ok(Connected { stream: stream.into(), local })
}

async fn connect_unix(path: &std::path::Path) -> io::Result<Connected> {
    /// A full queue is an immediate error on unix sockets; this is the wait that TCP does by itself.
    const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(10);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_FULL_PAUSE).await,
            result => return Stream::try_from(result?).map(Connected::from),
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
    use std::net::{TcpListener, TcpStream};

    use rustix::net::sockopt::tcp_congestion;
    use socket2::SockRef;

    use super::*;
    use crate::config::plan::{Congestion, CongestionName, Keepalive};

    /// A backend that does not block, and one connection to it.
    async fn reach(speaks: bool, congestion: Congestion) -> (TcpListener, Result<Stream, ConnectError>) {
        reach_with(speaks, congestion, None).await
    }

    /// The same with keepalive.
    async fn reach_with(
        speaks: bool,
        congestion: Congestion,
        keepalive: Option<Keepalive>,
    ) -> (TcpListener, Result<Stream, ConnectError>) {
        let backend = TcpListener::bind("127.0.0.1:0").expect("a port");
        backend.set_nonblocking(true).expect("a socket");
        let dial = Dial {
            target: Target::Ip(backend.local_addr().expect("bound")),
            source: [].into(),
            transparent: None,
            preamble: None,
            starttls: None,
            secure: None,
            speaks,
            tcp: StreamTcp { nodelay: true, keepalive, user_timeout: None, congestion },
            timeout: Duration::from_secs(5),
        };
        let reached = connect(&dial, &Turns::default(), SystemCongestion::ask()).await;
        (backend, reached.map(|connected| connected.stream))
    }

    /// Waits for it.
    async fn accepted(backend: &TcpListener) -> TcpStream {
        loop {
            match backend.accept() {
                Ok((stream, _)) => return stream,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn who_has_something_to_say_says_it_with_the_last_packet_of_the_handshake() {
        let mut together = 0;
        for _ in 0..20 {
            let (backend, stream) = reach(true, Congestion::Auto).await;
            let stream = stream.expect("it listens");
            // On a machine that stalls for a fifth of a second right here, the kernel waits no longer.
            let early = backend.accept().is_ok();
            stream.try_write(b"at once").expect("room");
            if !early {
                accepted(&backend).await;
                together += 1;
            }
        }
        assert!(together > 0, "the backend never had to wait for the bytes");
    }

    #[tokio::test]
    async fn who_listens_first_is_there_at_once() {
        let mut prompt = 0;
        for _ in 0..20 {
            let (backend, stream) = reach(false, Congestion::Auto).await;
            let _stream = stream.expect("it listens");
            // An ACK that was put off would take twice as long.
            prompt += usize::from(tokio::time::timeout(Duration::from_millis(100), accepted(&backend)).await.is_ok());
        }
        assert!(prompt > 0, "every ACK waited for bytes");
    }

    #[tokio::test]
    async fn a_socket_sends_as_is_wanted_and_what_the_kernel_lacks_is_not_the_backend_s_fault() {
        let named = |name| Congestion::Named(CongestionName::new(name).expect("a name"));
        let (_backend, stream) = reach(false, named("reno")).await;
        assert_eq!(tcp_congestion(stream.expect("it listens")).expect("a TCP socket"), "reno");
        let (_backend, missing) = reach(false, named("no_such_thing")).await;
        assert_eq!(missing.map(drop).map_err(|error| error.reason), Err(ConnectFailure::Local));
    }

    #[tokio::test]
    async fn keepalive_is_left_to_sessions_that_last_where_they_are_known_in_time() {
        for (idle, at_once) in [(13, true), (14, false), (60, false)] {
            let keepalive = Keepalive { idle: Duration::from_secs(idle), interval: Duration::from_secs(3), probes: 2 };
            let (_backend, stream) = reach_with(false, Congestion::Auto, Some(keepalive)).await;
            let stream = stream.expect("it listens");
            let socket = |stream: &Stream| {
                let socket = SockRef::from(stream);
                (socket.keepalive().expect("a socket"), socket.tcp_keepalive_time().expect("a TCP socket"))
            };
            assert_eq!(socket(&stream).0, at_once, "{idle} s");
            stream.keep_alive(&keepalive);
            assert_eq!(socket(&stream), (true, keepalive.idle));
        }
    }

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
