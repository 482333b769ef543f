//! With TLS 1.3, full handshakes only.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::askers::{Asker, Askers};
use super::churn::{Once, Step, churn};
use super::plain::{SIZE, begin, once};
use super::{PATIENCE, Tally, dial};
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
    stream.read_exact(&mut [0; SIZE])?;
    Ok(stream)
}

/// Opens so many that ask for answers of this size.
pub fn askers(
    to: &[SocketAddr],
    config: &Arc<ClientConfig>,
    sessions: usize,
    size: usize,
) -> io::Result<Askers<Session>> {
    Askers::open(sessions, size, |index| {
        let mut stream = open(to[index % to.len()], config, PATIENCE)?;
        stream.write_all(&Order::Answer(size as u64).bytes())?;
        stream.flush()?;
        let (tls, socket) = stream.into_parts();
        socket.set_nonblocking(true)?;
        Ok(Session { socket, tls })
    })
}

/// A session that does not wait.
pub struct Session {
    socket: TcpStream,
    tls: ClientConnection,
}

impl Session {
    /// Takes what has come; how many bytes, and whether that was the end.
    fn take(&mut self, room: &mut [u8]) -> io::Result<(usize, bool)> {
        let ended = match self.tls.read_tls(&mut self.socket) {
            Ok(read) => read == 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => return Err(error),
        };
        self.tls.process_new_packets().map_err(io::Error::other)?;
        let mut came = 0;
        loop {
            match self.tls.reader().read(room) {
                Ok(0) => return Ok((came, true)),
                Ok(read) => came += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((came, ended)),
                Err(error) => return Err(error),
            }
        }
    }

    /// These are small: they fit into what the socket takes.
    fn send(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Asker for Session {
    fn say(&mut self, request: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(request)?;
        self.send()
    }

    fn hear(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self.take(room)? {
            (_, true) => Err(ErrorKind::UnexpectedEof.into()),
            (came, false) => Ok(came),
        }
    }
}

/// A full handshake, 64 bytes there and 64 back, and an end that both sides agree on, with so many at once.
pub fn connects(to: &[SocketAddr], config: &Arc<ClientConfig>, at_once: usize, span: Duration) -> io::Result<Tally> {
    let mut nth = 0;
    churn(at_once, span, || {
        nth += 1;
        let socket = TcpStream::from(begin(nth, to[nth % to.len()])?);
        let mut tls = begun(config)?;
        // It is sent as soon as the handshake allows.
        tls.writer().write_all(&once())?;
        Ok(Short { session: Session { socket, tls }, since: Instant::now(), came: 0, stage: Stage::Connects })
    })
}

/// One that asks once.
struct Short {
    session: Session,
    since: Instant,
    came: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connects,
    Asks,
    /// The answer was there.
    Closes,
}

impl AsFd for Short {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.session.as_fd()
    }
}

impl Once for Short {
    fn step(&mut self, tally: &mut Tally) -> io::Result<Step> {
        if self.stage == Stage::Connects {
            self.stage = Stage::Asks;
            self.session.send()?;
            return Ok(Step::Connected);
        }
        let (came, ended) = self.session.take(&mut [0; 4096])?;
        self.came += came;
        if self.stage == Stage::Asks {
            if ended {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.session.send()?;
            if self.came >= SIZE {
                tally.note(self.since);
                self.stage = Stage::Closes;
                self.session.tls.send_close_notify();
                self.session.send()?;
                self.session.socket.shutdown(Shutdown::Write)?;
            }
        }
        Ok(if ended { Step::Over } else { Step::Waits })
    }

    fn is_answered(&self) -> bool {
        self.stage == Stage::Closes
    }
}
