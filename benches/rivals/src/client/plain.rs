//! In the clear: it sends from a file in memory by `sendfile`, and what it receives the kernel throws away.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send, socket_with, sockopt,
};

use super::askers::{Asker, Askers};
use super::churn::{Once, Step, churn};
use super::{PATIENCE, Tally, dial};
use crate::backend::{self, address, unpaced};
use crate::order::Order;

/// What comes back of `noise`.
pub fn echo(to: SocketAddr, noise: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = dial(to, PATIENCE)?;
    stream.write_all(&Order::Echo.bytes())?;
    let mut mouth = stream.try_clone()?;
    let mut heard = vec![0; noise.len()];
    std::thread::scope(|scope| {
        let speaking = scope.spawn(move || mouth.write_all(noise));
        stream.read_exact(&mut heard)?;
        speaking.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    })?;
    Ok(heard)
}

/// Takes bytes on one connection for so long; says how many came a second.
pub fn download(to: SocketAddr, span: Duration) -> io::Result<f64> {
    let mut stream = dial(to, PATIENCE)?;
    stream.write_all(&Order::Send(u64::MAX).bytes())?;
    let mut room = vec![0; 1 << 20];
    let (began, mut bytes) = (Instant::now(), 0_u64);
    while began.elapsed() < span {
        match recv(&stream, &mut room[..], RecvFlags::TRUNC) {
            Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, read)) => bytes += read as u64,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes as f64 / began.elapsed().as_secs_f64())
}

/// The other way.
pub fn upload(to: SocketAddr, span: Duration) -> io::Result<f64> {
    let mut stream = dial(to, PATIENCE)?;
    stream.write_all(&Order::Take(u64::MAX).bytes())?;
    let file = backend::file();
    let (began, mut bytes) = (Instant::now(), 0_u64);
    while began.elapsed() < span {
        let mut from = 0;
        bytes += sendfile(stream.as_fd(), &file, Some(&mut from), backend::FILE as usize)? as u64;
    }
    Ok(bytes as f64 / began.elapsed().as_secs_f64())
}

/// So many are opened at once: then the last one asks, so that none is lost to a queue that is full.
const BURST: usize = 128;

/// Opens so many that ask for answers of this size.
pub fn askers(to: &[SocketAddr], connections: usize, size: usize) -> io::Result<Askers<Open>> {
    let (request, mut answer) = (vec![0; size], vec![0; size]);
    Askers::open(connections, size, |index| {
        let mut stream = dial(to[index % to.len()], PATIENCE)?;
        stream.write_all(&Order::Answer(size as u64).bytes())?;
        if index % BURST == BURST - 1 {
            stream.write_all(&request)?;
            stream.read_exact(&mut answer)?;
        }
        stream.set_nonblocking(true)?;
        Ok(Open(stream.into()))
    })
}

/// An open connection.
pub struct Open(OwnedFd);

impl AsFd for Open {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Asker for Open {
    fn say(&mut self, request: &[u8]) -> io::Result<()> {
        say(&self.0, request)
    }

    fn hear(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match recv(&self.0, room, RecvFlags::TRUNC) {
            Ok((_, 0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, read)) => Ok(read),
            Err(Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

fn say(socket: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::AGAIN) => std::thread::yield_now(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What each connection of [`connects`] asks for, bytes.
pub(super) const SIZE: usize = 64;

/// The order and the request of a connection that asks once.
pub(super) fn once() -> Vec<u8> {
    let mut request = Order::Answer(SIZE as u64).bytes().to_vec();
    request.resize(request.len() + SIZE, 0);
    request
}

/// Connects, asks once for 64 bytes and closes, with so many at once.
pub fn connects(to: &[SocketAddr], at_once: usize, span: Duration) -> io::Result<Tally> {
    let request = once();
    let mut nth = 0;
    churn(at_once, span, || {
        nth += 1;
        let socket = begin(nth, to[nth % to.len()])?;
        Ok(Short { socket, request: &request, since: Instant::now(), came: 0, connected: false })
    })
}

/// A connection that asks once.
struct Short<'a> {
    socket: OwnedFd,
    request: &'a [u8],
    since: Instant,
    came: usize,
    connected: bool,
}

impl AsFd for Short<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Once for Short<'_> {
    fn step(&mut self, tally: &mut Tally) -> io::Result<Step> {
        if !std::mem::replace(&mut self.connected, true) {
            send(&self.socket, self.request, SendFlags::NOSIGNAL)?;
            return Ok(Step::Connected);
        }
        match recv(&self.socket, &mut [0; 256], RecvFlags::empty()) {
            Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, read)) => self.came += read,
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        if !self.is_answered() {
            return Ok(Step::Waits);
        }
        tally.note(self.since);
        Ok(Step::Over)
    }

    fn is_answered(&self) -> bool {
        self.came >= SIZE
    }
}

/// Begins to connect from one of many addresses.
pub(super) fn begin(nth: usize, to: SocketAddr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddr::from((address(1, nth), 0)))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    unpaced(&socket)?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// One after the other, exactly so many.
pub fn connects_exactly(to: &[SocketAddr], connections: usize) -> io::Result<()> {
    for nth in 0..connections {
        // The proxy closes when this one does, so it waits here until nobody writes any more.
        let mut stream = hold(to[nth % to.len()], PATIENCE)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let _ = stream.read(&mut [0])?;
    }
    Ok(())
}

/// A connection that has asked once.
pub fn hold(to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let mut stream = dial(to, patience)?;
    stream.write_all(&once())?;
    stream.read_exact(&mut [0; SIZE])?;
    Ok(stream)
}
