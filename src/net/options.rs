//! Socket options, and the one that keeps a killed proxy honest.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;
use socket2::{Domain, SockRef, Socket, Type};

use super::congestion::set_accepted;
use super::keepalive::keep_alive;
use super::raw;
use crate::config::plan::{ListenerTcp, StreamTcp};

/// Makes closing this socket a RST (`SO_LINGER {1, 0}`), also when the process dies without a word.
///
/// Set on listeners, whose accepted sockets inherit it, and on every dialled socket. Only
/// [`super::Stream::close_delivered`] takes it away. Unix sockets ignore it.
pub fn arm_reset(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// Sets what a stream needs: reset on close, urgent data in line, and the configured options.
///
/// On a listening socket all of it is inherited by what it accepts, which saves five calls a connection.
pub fn prepare_stream(socket: &impl AsFd, tcp: &StreamTcp) -> io::Result<()> {
    arm_reset(socket)?;
    let options = SockRef::from(socket);
    // Urgent bytes are bytes: out of line they would be taken from the stream.
    options.set_out_of_band_inline(true)?;
    if tcp.nodelay {
        options.set_tcp_nodelay(true)?;
    }
    if let Some(keepalive) = &tcp.keepalive {
        keep_alive(socket, keepalive)?;
    }
    if let Some(timeout) = tcp.user_timeout {
        options.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}

/// Gives a socket that listens already other options than it was bound with; what it accepts inherits them.
///
/// # Errors
/// The kernel does not take one of them; those before it are set.
pub fn retune_listener(socket: &impl AsFd, tcp: &ListenerTcp) -> io::Result<()> {
    prepare_stream(socket, &tcp.stream)?;
    let listener = SockRef::from(socket);
    listener.set_tcp_nodelay(tcp.stream.nodelay)?;
    listener.set_keepalive(tcp.stream.keepalive.is_some())?;
    listener.set_tcp_user_timeout(tcp.stream.user_timeout)?;
    set_accepted(socket, tcp.stream.congestion)?;
    // Zero is off, of both.
    raw::set_tcp_option(socket, raw::FAST_OPEN, tcp.fast_open.unwrap_or(0))?;
    match tcp.defer_accept {
        Some(patience) => defer_accept(socket, patience)?,
        None => raw::set_tcp_option(socket, raw::DEFER_ACCEPT, 0)?,
    }
    lengthen_queue(socket, tcp)
}

/// Gives a socket that listens already an accept queue of another length.
///
/// # Errors
/// The socket does not listen.
pub fn lengthen_queue(socket: &impl AsFd, tcp: &ListenerTcp) -> io::Result<()> {
    SockRef::from(socket).listen(i32::try_from(tcp.backlog).unwrap_or(i32::MAX))
}

/// Lets the ACK that ends a connection's handshake wait for the first bytes, which saves a packet: to be called before the
/// connect of a socket into which something is written as soon as it is connected. Without bytes the kernel sends it a
/// fifth of a second later.
pub fn delay_ack(socket: &impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_quickack(socket, false).map_err(Into::into)
}

/// Binds a socket that is to be connected to `source`, whose port is 0, and leaves the port to the connect.
///
/// A port chosen here would be kept from all other targets; chosen there it only has to be free towards that one.
///
/// # Errors
/// The address is not this machine's.
pub fn bind_source(socket: &Socket, source: SocketAddr) -> io::Result<()> {
    raw::set_ip_option(socket, raw::BIND_ADDRESS_NO_PORT, 1)?;
    socket.bind(&source.into())
}

/// Lets a socket have addresses that are not this machine's, or takes that from it.
///
/// # Errors
/// This process may not: it needs CAP_NET_RAW or CAP_NET_ADMIN in its network's user namespace.
pub fn set_transparent(socket: &impl AsFd, transparent: bool) -> io::Result<()> {
    let socket = SockRef::from(socket);
    let is_v4 = socket.domain()? == Domain::IPV4;
    let is_so = if is_v4 { socket.ip_transparent_v4()? } else { socket.ip_transparent_v6()? };
    if is_so == transparent {
        return Ok(());
    }
    let set = if is_v4 { socket.set_ip_transparent_v4(transparent) } else { socket.set_ip_transparent_v6(transparent) };
    set.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::other(NOT_TRANSPARENT),
        _ => error,
    })
}

const NOT_TRANSPARENT: &str = "to use addresses of others (IP_TRANSPARENT) this process needs CAP_NET_RAW or \
                               CAP_NET_ADMIN; with systemd, add CAP_NET_RAW to AmbientCapabilities and \
                               CapabilityBoundingSet";

/// Whether this process may use addresses of others.
///
/// # Errors
/// It may not; with the remedy.
pub fn check_transparent() -> io::Result<()> {
    set_transparent(&Socket::new(Domain::IPV4, Type::STREAM, None)?, true)
}

/// Accepts data in the SYN of clients that were here before; `queue` is the length of that queue.
pub(super) fn fast_open(socket: &impl AsFd, queue: u32) -> io::Result<()> {
    raw::set_tcp_option(socket, raw::FAST_OPEN, queue)
}

/// Wakes the listener only when data has arrived, or after `patience`.
pub(super) fn defer_accept(socket: &impl AsFd, patience: Duration) -> io::Result<()> {
    let seconds = u32::try_from(patience.as_secs().max(1)).unwrap_or(u32::MAX);
    raw::set_tcp_option(socket, raw::DEFER_ACCEPT, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_takes_other_options_and_hands_them_on() {
        use crate::config::plan::{Congestion, Keepalive};
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let keepalive = Keepalive { idle: Duration::from_secs(9), interval: Duration::from_secs(3), probes: 2 };
        let stream = StreamTcp {
            nodelay: true,
            keepalive: Some(keepalive),
            user_timeout: Some(Duration::from_secs(7)),
            congestion: Congestion::System,
        };
        let tuned = ListenerTcp { backlog: 7, fast_open: None, defer_accept: None, freebind: false, stream };
        let accepted = |tcp: &ListenerTcp| {
            retune_listener(&socket, tcp).expect("possible");
            let client = std::net::TcpStream::connect(socket.local_addr().expect("bound")).expect("connected");
            let (accepted, _) = socket.accept().expect("a client");
            drop(client);
            accepted
        };
        let options = |socket: std::net::TcpStream| {
            let socket = SockRef::from(&socket);
            (socket.tcp_nodelay().expect("a TCP socket"), socket.keepalive().expect("a socket"))
        };
        assert_eq!(options(accepted(&tuned)), (true, true));
        let probed = accepted(&tuned);
        let probed = SockRef::from(&probed);
        assert_eq!(probed.tcp_keepalive_time().expect("a TCP socket"), keepalive.idle);
        assert_eq!(probed.tcp_keepalive_interval().expect("a TCP socket"), keepalive.interval);
        assert_eq!(probed.tcp_keepalive_retries().expect("a TCP socket"), keepalive.probes);
        let off = StreamTcp { nodelay: false, keepalive: None, user_timeout: None, congestion: Congestion::System };
        assert_eq!(options(accepted(&ListenerTcp { stream: off, ..tuned })), (false, false));
        assert_eq!(options(accepted(&tuned)), (true, true));
    }

    #[test]
    fn a_source_is_bound_without_a_port() {
        for source in ["127.0.0.3:0", "[::1]:0"] {
            let source: SocketAddr = source.parse().expect("an address");
            let socket = Socket::new(Domain::for_address(source), Type::STREAM, None).expect("a socket");
            bind_source(&socket, source).expect("ours");
            let bound = socket.local_addr().expect("bound").as_socket();
            assert_eq!(bound, Some(source), "the port is still to be chosen");
        }
    }
}
