//! In the clear: it sends from a file in memory by `sendfile`, and what it receives the kernel throws away.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send, socket_with, sockopt,
};

use super::{Count, PATIENCE, Tally, dial};
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

struct Asker {
    socket: OwnedFd,
    since: Instant,
    came: usize,
    connected: bool,
    answered: bool,
}

impl Asker {
    fn new(socket: OwnedFd, connected: bool) -> Self {
        Self { socket, since: Instant::now(), came: 0, connected, answered: false }
    }
}

/// So many are opened at once: then the last one asks, so that none is lost to a queue that is full.
const BURST: usize = 128;

/// Connections that each ask, and ask again as soon as the answer is there.
pub struct Askers {
    poll: OwnedFd,
    askers: Vec<Asker>,
    request: Vec<u8>,
}

impl Askers {
    /// Opens so many.
    pub fn open(to: &[SocketAddr], connections: usize, size: usize) -> io::Result<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        let (mut askers, request, mut answer) = (Vec::new(), vec![0; size], vec![0; size]);
        for index in 0..connections {
            let mut stream = dial(to[index % to.len()], PATIENCE)?;
            stream.write_all(&Order::Answer(size as u64).bytes())?;
            if index % BURST == BURST - 1 {
                stream.write_all(&request)?;
                stream.read_exact(&mut answer)?;
            }
            stream.set_nonblocking(true)?;
            epoll::add(&poll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
            askers.push(Asker::new(stream.into(), true));
        }
        Ok(Self { poll, askers, request })
    }

    /// Asks for so long once all are warm; then `counting` is called.
    pub fn run(mut self, span: Duration, counting: impl FnOnce()) -> io::Result<Tally> {
        let mut count = Count::new(self.askers.len(), span, counting);
        let mut events = Vec::with_capacity(256);
        let mut room = vec![0; 64 * 1024];
        self.ask_all()?;
        while count.goes_on()? {
            wait(&self.poll, &mut events)?;
            for event in &events {
                let index = event.data.u64() as usize;
                if self.hears(index, &mut room)? {
                    let asker = &mut self.askers[index];
                    count.note(asker.since, !std::mem::replace(&mut asker.answered, true));
                    asker.since = Instant::now();
                    say(&asker.socket, &self.request)?;
                }
            }
        }
        Ok(count.tally)
    }

    /// All ask at once and wait for each other, so often: exactly as many round trips as that makes.
    pub fn rounds(&mut self, rounds: usize) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        let mut room = vec![0; 64 * 1024];
        for _ in 0..rounds {
            self.ask_all()?;
            let (began, mut left) = (Instant::now(), self.askers.len());
            while left > 0 {
                if began.elapsed() > PATIENCE {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                wait(&self.poll, &mut events)?;
                for event in &events {
                    left -= usize::from(self.hears(event.data.u64() as usize, &mut room)?);
                }
            }
        }
        Ok(())
    }

    fn ask_all(&mut self) -> io::Result<()> {
        for asker in &mut self.askers {
            asker.since = Instant::now();
            say(&asker.socket, &self.request)?;
        }
        Ok(())
    }

    /// Whether that was the rest of an answer.
    fn hears(&mut self, index: usize, room: &mut [u8]) -> io::Result<bool> {
        let asker = &mut self.askers[index];
        match recv(&asker.socket, room, RecvFlags::TRUNC) {
            Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, read)) => asker.came += read,
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let whole = asker.came >= self.request.len();
        if whole {
            asker.came = 0;
        }
        Ok(whole)
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

/// Waits for events, a tenth of a second at most: whoever waits looks at the clock too.
pub(super) fn wait(poll: &OwnedFd, events: &mut Vec<epoll::Event>) -> io::Result<()> {
    events.clear();
    let soon = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    match epoll::wait(poll, spare_capacity(events), Some(&soon)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What each connection of [`connects`] asks for, bytes.
const SIZE: usize = 64;

/// The order and the request of a connection that asks once.
pub(super) fn once() -> Vec<u8> {
    let mut request = Order::Answer(SIZE as u64).bytes().to_vec();
    request.resize(request.len() + SIZE, 0);
    request
}

/// Connects, asks once for 64 bytes and closes, with so many at once.
pub fn connects(to: &[SocketAddr], at_once: usize, span: Duration) -> io::Result<Tally> {
    let request = once();
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut nth = 0;
    let mut open = |slot: usize| -> io::Result<Asker> {
        nth += 1;
        let socket = begin(nth, to[nth % to.len()])?;
        epoll::add(&poll, &socket, EventData::new_u64(slot as u64), EventFlags::OUT)?;
        Ok(Asker::new(socket, false))
    };
    let mut askers = (0..at_once).map(&mut open).collect::<io::Result<Vec<_>>>()?;
    let mut tally = Tally::default();
    let mut events = Vec::with_capacity(256);
    let mut room = [0; 256];
    let began = Instant::now();
    while began.elapsed() < span {
        wait(&poll, &mut events)?;
        for event in &events {
            let slot = event.data.u64() as usize;
            let asker = &mut askers[slot];
            let over = if asker.connected {
                match recv(&asker.socket, &mut room[..], RecvFlags::empty()) {
                    Ok((_, 0)) => Some(false),
                    Ok((_, read)) => {
                        asker.came += read;
                        (asker.came >= SIZE).then_some(true)
                    }
                    Err(Errno::AGAIN) => None,
                    Err(_) => Some(false),
                }
            } else {
                asker.connected = true;
                match send(&asker.socket, &request, SendFlags::NOSIGNAL) {
                    Ok(_) => {
                        epoll::modify(&poll, &asker.socket, EventData::new_u64(slot as u64), EventFlags::IN)?;
                        None
                    }
                    Err(_) => Some(false),
                }
            };
            match over {
                None => continue,
                Some(true) => tally.note(asker.since),
                Some(false) => tally.failed += 1,
            }
            askers[slot] = open(slot)?;
        }
    }
    tally.span = began.elapsed();
    Ok(tally)
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
