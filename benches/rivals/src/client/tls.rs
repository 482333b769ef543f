//! With TLS 1.3, full handshakes only.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::plain::{begin, once, wait};
use super::{Count, PATIENCE, Tally, dial};
use crate::certificates;
use crate::order::Order;

type Secure = StreamOwned<ClientConnection, TcpStream>;

fn open(to: SocketAddr, config: &Arc<ClientConfig>, patience: Duration) -> io::Result<Secure> {
    let mut stream = Secure::new(begun(config)?, dial(to, patience)?);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn begun(config: &Arc<ClientConfig>) -> io::Result<ClientConnection> {
    let mut tls = ClientConnection::new(config.clone(), certificates::name()).map_err(io::Error::other)?;
    tls.set_buffer_limit(None);
    Ok(tls)
}

/// What comes back of `noise`, a piece at a time.
pub fn echo(to: SocketAddr, config: &Arc<ClientConfig>, noise: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = open(to, config, PATIENCE)?;
    stream.write_all(&Order::Echo.bytes())?;
    let mut heard = vec![0; noise.len()];
    let mut at = 0;
    while at < noise.len() {
        let end = noise.len().min(at + fastrand::usize(1..100_000));
        stream.write_all(&noise[at..end])?;
        stream.flush()?;
        stream.read_exact(&mut heard[at..end])?;
        at = end;
    }
    Ok(heard)
}

/// Takes bytes on one connection for so long; says how many came a second.
pub fn download(to: SocketAddr, config: &Arc<ClientConfig>, span: Duration) -> io::Result<f64> {
    let mut stream = open(to, config, PATIENCE)?;
    stream.write_all(&Order::Send(u64::MAX).bytes())?;
    stream.flush()?;
    let mut room = vec![0; 256 * 1024];
    let (began, mut bytes) = (Instant::now(), 0_u64);
    while began.elapsed() < span {
        match stream.read(&mut room)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => bytes += read as u64,
        }
    }
    Ok(bytes as f64 / began.elapsed().as_secs_f64())
}

/// The other way.
pub fn upload(to: SocketAddr, config: &Arc<ClientConfig>, span: Duration) -> io::Result<f64> {
    let mut stream = open(to, config, PATIENCE)?;
    stream.write_all(&Order::Take(u64::MAX).bytes())?;
    let zeroes = vec![0; 64 * 1024];
    let (began, mut bytes) = (Instant::now(), 0_u64);
    while began.elapsed() < span {
        stream.write_all(&zeroes)?;
        stream.flush()?;
        bytes += zeroes.len() as u64;
    }
    Ok(bytes as f64 / began.elapsed().as_secs_f64())
}

/// A connection that has asked once.
pub fn hold(to: SocketAddr, config: &Arc<ClientConfig>, patience: Duration) -> io::Result<Secure> {
    let mut stream = open(to, config, patience)?;
    stream.write_all(&once())?;
    stream.flush()?;
    stream.read_exact(&mut [0; 64])?;
    Ok(stream)
}

/// Connections that each ask, and ask again as soon as the answer is there.
pub struct Askers {
    poll: OwnedFd,
    askers: Vec<Asker>,
    request: Vec<u8>,
}

struct Asker {
    socket: TcpStream,
    tls: ClientConnection,
    since: Instant,
    came: usize,
    stage: Stage,
    answered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connects,
    Asks,
    /// The answer was there.
    Closes,
}

impl Askers {
    /// Opens so many.
    pub fn open(to: &[SocketAddr], config: &Arc<ClientConfig>, sessions: usize, size: usize) -> io::Result<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut askers = Vec::new();
        for index in 0..sessions {
            let mut stream = open(to[index % to.len()], config, PATIENCE)?;
            stream.write_all(&Order::Answer(size as u64).bytes())?;
            stream.flush()?;
            let (tls, socket) = stream.into_parts();
            socket.set_nonblocking(true)?;
            epoll::add(&poll, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
            askers.push(Asker { socket, tls, since: Instant::now(), came: 0, stage: Stage::Asks, answered: false });
        }
        Ok(Self { poll, askers, request: vec![0; size] })
    }

    /// Asks for so long once all are warm; then `counting` is called.
    pub fn run(mut self, span: Duration, counting: impl FnOnce()) -> io::Result<Tally> {
        let mut count = Count::new(self.askers.len(), span, counting);
        let mut events = Vec::with_capacity(256);
        for asker in &mut self.askers {
            asker.since = Instant::now();
            asker.say(&self.request)?;
        }
        while count.goes_on()? {
            wait(&self.poll, &mut events)?;
            for event in &events {
                let asker = &mut self.askers[event.data.u64() as usize];
                if asker.hears()? {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                if asker.came >= self.request.len() {
                    count.note(asker.since, !std::mem::replace(&mut asker.answered, true));
                    (asker.came, asker.since) = (0, Instant::now());
                    asker.say(&self.request)?;
                }
            }
        }
        Ok(count.tally)
    }
}

impl Asker {
    /// Takes what has come; whether that was the end.
    fn hears(&mut self) -> io::Result<bool> {
        let ended = match self.tls.read_tls(&mut self.socket) {
            Ok(read) => read == 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => return Err(error),
        };
        self.tls.process_new_packets().map_err(io::Error::other)?;
        let mut room = [0; 4096];
        loop {
            match self.tls.reader().read(&mut room) {
                Ok(0) => return Ok(true),
                Ok(read) => self.came += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(ended),
                Err(error) => return Err(error),
            }
        }
    }

    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(bytes)?;
        self.send()
    }

    /// These are small: they fit into what the socket takes.
    fn send(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    /// The next step of one that asks once; whether it is over.
    fn step(&mut self, tally: &mut Tally) -> io::Result<bool> {
        if self.stage == Stage::Connects {
            self.stage = Stage::Asks;
            return self.send().map(|()| false);
        }
        let ended = self.hears()?;
        if self.stage == Stage::Asks {
            if ended {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.send()?;
            if self.came >= 64 {
                tally.note(self.since);
                self.stage = Stage::Closes;
                self.tls.send_close_notify();
                self.send()?;
                self.socket.shutdown(Shutdown::Write)?;
            }
        }
        Ok(ended)
    }
}

/// A full handshake, 64 bytes there and 64 back, and an end that both sides agree on, with so many at once.
pub fn connects(to: &[SocketAddr], config: &Arc<ClientConfig>, at_once: usize, span: Duration) -> io::Result<Tally> {
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut nth = 0;
    let mut open = |slot: usize| -> io::Result<Asker> {
        nth += 1;
        let socket = TcpStream::from(begin(nth, to[nth % to.len()])?);
        epoll::add(&poll, &socket, EventData::new_u64(slot as u64), EventFlags::OUT)?;
        let mut tls = begun(config)?;
        // It is sent as soon as the handshake allows.
        tls.writer().write_all(&once())?;
        Ok(Asker { socket, tls, since: Instant::now(), came: 0, stage: Stage::Connects, answered: false })
    };
    let mut askers = (0..at_once).map(&mut open).collect::<io::Result<Vec<_>>>()?;
    let mut tally = Tally::default();
    let mut events = Vec::with_capacity(256);
    let began = Instant::now();
    while began.elapsed() < span {
        wait(&poll, &mut events)?;
        for event in &events {
            let slot = event.data.u64() as usize;
            let asker = &mut askers[slot];
            let connects = asker.stage == Stage::Connects;
            match asker.step(&mut tally) {
                Ok(false) if connects => {
                    epoll::modify(&poll, &asker.socket, EventData::new_u64(slot as u64), EventFlags::IN)?;
                    continue;
                }
                Ok(false) => continue,
                Ok(true) => {}
                // Once it has its answer, it does not matter how the other side says goodbye.
                Err(_) => tally.failed += u64::from(asker.stage != Stage::Closes),
            }
            askers[slot] = open(slot)?;
        }
    }
    tally.span = began.elapsed();
    Ok(tally)
}
