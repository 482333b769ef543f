//! The client: one thread, cheap on purpose.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send, socket_with, sockopt,
};

use crate::backend;
use crate::wire::Order;

/// Sends a few megabytes of noise there and back, and compares.
pub fn verify(to: SocketAddr) -> Result<(), String> {
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(8 << 20).collect();
    let mut stream = TcpStream::connect(to).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(|error| error.to_string())?;
    stream.write_all(&Order::Echo.bytes()).map_err(|error| error.to_string())?;
    let mut mouth = stream.try_clone().map_err(|error| error.to_string())?;
    let said = noise.clone();
    let speaking = std::thread::spawn(move || mouth.write_all(&said));
    let mut heard = vec![0; noise.len()];
    stream.read_exact(&mut heard).map_err(|error| format!("bytes are missing: {error}"))?;
    speaking.join().expect("no panic").map_err(|error| error.to_string())?;
    if heard == noise { Ok(()) } else { Err("bytes were altered".into()) }
}

/// Takes bytes on one connection for so long; says how many came a second.
pub fn download(to: SocketAddr, span: Duration) -> io::Result<f64> {
    let mut stream = TcpStream::connect(to)?;
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
    let mut stream = TcpStream::connect(to)?;
    stream.write_all(&Order::Take(u64::MAX).bytes())?;
    let file = backend::file();
    let (began, mut bytes) = (Instant::now(), 0_u64);
    while began.elapsed() < span {
        let mut from = 0;
        bytes += sendfile(stream.as_fd(), &file, Some(&mut from), backend::FILE as usize)? as u64;
    }
    Ok(bytes as f64 / began.elapsed().as_secs_f64())
}

/// What many short things have come to.
#[derive(Debug, Default)]
pub struct Tally {
    pub done: u64,
    pub failed: u64,
    pub span: Duration,
    nanos: Vec<u32>,
}

impl Tally {
    fn note(&mut self, since: Instant) {
        self.done += 1;
        self.nanos.push(since.elapsed().as_nanos().min(u128::from(u32::MAX)) as u32);
    }

    /// Done a second.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.span.as_secs_f64()
    }

    /// The time that this share of them took at most, microseconds.
    pub fn percentile(&mut self, share: f64) -> f64 {
        if self.nanos.is_empty() {
            return f64::NAN;
        }
        let at = ((self.nanos.len() - 1) as f64 * share) as usize;
        let (_, nanos, _) = self.nanos.select_nth_unstable(at);
        f64::from(*nanos) / 1000.0
    }
}

struct Asker {
    socket: OwnedFd,
    since: Instant,
    came: usize,
    connected: bool,
}

/// Connections that each ask, and ask again as soon as the answer is there.
pub struct Askers {
    poll: OwnedFd,
    askers: Vec<Asker>,
    request: Vec<u8>,
}

impl Askers {
    /// Opens so many.
    pub fn open(to: SocketAddr, connections: usize, size: usize) -> io::Result<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut askers = Vec::new();
        for index in 0..connections {
            let mut stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.write_all(&Order::Answer(size as u64).bytes())?;
            stream.set_nonblocking(true)?;
            epoll::add(&poll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
            askers.push(Asker { socket: stream.into(), since: Instant::now(), came: 0, connected: true });
        }
        Ok(Self { poll, askers, request: vec![0; size] })
    }

    /// Asks for so long, after a quarter second that warms up; then `counting` is called.
    pub fn run(mut self, span: Duration, counting: impl FnOnce()) -> io::Result<Tally> {
        let mut tally = Tally::default();
        let mut events = Vec::with_capacity(256);
        let mut room = vec![0; 64 * 1024];
        let (began, warm_up) = (Instant::now(), Duration::from_millis(250));
        let mut counting = Some(counting);
        let mut counted = began;
        for asker in &mut self.askers {
            asker.since = began;
            say(&asker.socket, &self.request)?;
        }
        while began.elapsed() < span + warm_up {
            if began.elapsed() >= warm_up
                && let Some(counting) = counting.take()
            {
                counting();
                (tally, counted) = (Tally::default(), Instant::now());
            }
            events.clear();
            let second = Duration::from_secs(1).try_into().expect("short");
            epoll::wait(&self.poll, spare_capacity(&mut events), Some(&second))?;
            for event in &events {
                let asker = &mut self.askers[event.data.u64() as usize];
                match recv(&asker.socket, &mut room[..], RecvFlags::TRUNC) {
                    Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok((_, read)) => asker.came += read,
                    Err(Errno::AGAIN) => continue,
                    Err(error) => return Err(error.into()),
                }
                if asker.came >= self.request.len() {
                    tally.note(asker.since);
                    (asker.came, asker.since) = (0, Instant::now());
                    say(&asker.socket, &self.request)?;
                }
            }
        }
        tally.span = counted.elapsed();
        Ok(tally)
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

/// Connects, asks once for 64 bytes and closes, with so many at once.
pub fn connects(to: SocketAddr, at_once: usize, span: Duration) -> io::Result<Tally> {
    const SIZE: usize = 64;
    let mut request = Order::Answer(SIZE as u64).bytes().to_vec();
    request.resize(request.len() + SIZE, 0);
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut nth = 0;
    let mut open = |slot: usize| -> io::Result<Asker> {
        nth += 1;
        let socket = socket_from(nth)?;
        let since = Instant::now();
        match connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        epoll::add(&poll, &socket, EventData::new_u64(slot as u64), EventFlags::OUT)?;
        Ok(Asker { socket, since, came: 0, connected: false })
    };
    let mut askers = (0..at_once).map(&mut open).collect::<io::Result<Vec<_>>>()?;
    let mut tally = Tally::default();
    let mut events = Vec::with_capacity(256);
    let mut room = [0; 256];
    let began = Instant::now();
    while began.elapsed() < span {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), Some(&Duration::from_secs(1).try_into().expect("short")))?;
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

/// A socket of one of many addresses, for there are not ports enough at a single one.
fn socket_from(nth: usize) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    let from = Ipv4Addr::new(127, 1, (nth / 200 % 200) as u8, (nth % 200 + 1) as u8);
    bind(&socket, &SocketAddr::from((from, 0)))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket)
}

/// Opens so many connections, of which each has asked once.
pub fn hold(to: SocketAddr, connections: usize) -> io::Result<Vec<TcpStream>> {
    let hold = |_| {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(&Order::Answer(64).bytes())?;
        stream.write_all(&[0; 64])?;
        stream.read_exact(&mut [0; 64])?;
        Ok(stream)
    };
    (0..connections).map(hold).collect()
}
