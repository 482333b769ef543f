//! The backend: one thread in the clear and one with TLS, cheap on purpose.

mod plain;
mod task;
mod tls;
mod turns;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustls::ServerConfig;

/// Bytes of a file in memory, from which both sides send.
pub const FILE: u64 = 1 << 20;

/// A file in memory with [`FILE`] bytes of zeroes.
pub fn file() -> OwnedFd {
    let file = memfd_create("bytes", MemfdFlags::CLOEXEC).expect("memory");
    ftruncate(&file, FILE).expect("memory");
    file
}

/// Starts one in the clear that listens at so many addresses, and says which.
pub fn start(addresses: usize) -> io::Result<Vec<SocketAddr>> {
    let listeners = (0..addresses).map(listener).collect::<io::Result<Vec<_>>>()?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
    std::thread::Builder::new().name("backend".into()).spawn(move || plain::serve(&listeners))?;
    Ok(addresses)
}

/// Starts one that speaks TLS, and says where it is.
pub fn start_tls(config: Arc<ServerConfig>) -> io::Result<SocketAddr> {
    let listener = listener(0)?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name("backend-tls".into()).spawn(move || tls::serve(&[listener], &config))?;
    Ok(address)
}

fn listener(nth: usize) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((address(2, nth), 0))?;
    // The standard library's queue is short.
    rustix::net::listen(&listener, 4096)?;
    unpaced(&listener)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Lets what this socket, or one that it accepts, sends go at once. Where the machine's default is BBR, which spreads it by
/// timers, these run on the CPU that acknowledges: the proxy's, whose CPU time they would be.
pub fn unpaced(socket: &impl AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_tcp_congestion(socket, "reno")?)
}

/// One of many loopback addresses: there are not ports enough at a single one.
pub fn address(net: u8, nth: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, net, (nth / 250 % 250) as u8, (nth % 250 + 1) as u8)
}

/// The connection is over.
pub struct Over;

impl<E: std::error::Error> From<E> for Over {
    fn from(_: E) -> Self {
        Self
    }
}
