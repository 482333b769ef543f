//! Peers under the test's control: the client's end, the backend's end, and backends that serve by themselves.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{PATIENCE, RESET_WITHIN};

/// One end of a session. What it says is a stream derived from a seed, and so is what it expects to hear:
/// a byte that is lost, doubled or altered is named by its offset.
pub(crate) struct Peer {
    pub(crate) socket: Socket,
    says: Stream,
    hears: Stream,
}

impl Peer {
    /// A peer that says the stream of seed `says` and expects that of `hears`.
    pub(crate) fn new(socket: Socket, says: u64, hears: u64) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { socket, says: Stream::new(says), hears: Stream::new(hears) }
    }

    /// Connects to a TCP address; the peer speaks and expects the streams of a plain client.
    #[track_caller]
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).unwrap_or_else(|error| panic!("connect to {to}: {error}"))
    }

    /// The same, for tests that expect it may fail.
    pub(crate) fn try_connect(to: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        Ok(Self::new(socket, CLIENT, SERVER))
    }

    /// The same from an address of this machine, such as any of 127.0.0.0/8; port 0 is any.
    pub(crate) fn try_connect_from(source: SocketAddr, to: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&source.into())?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        Ok(Self::new(socket, CLIENT, SERVER))
    }

    /// Connects to a unix socket.
    #[track_caller]
    pub(crate) fn connect_unix(path: &Path) -> Self {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.connect(&SockAddr::unix(path).unwrap()).unwrap();
        Self::new(socket, CLIENT, SERVER)
    }

    /// Another seed for this peer's words and for what it hears, so that crossed sessions are seen.
    pub(crate) fn seeded(self, says: u64, hears: u64) -> Self {
        Self::new(self.socket, says, hears)
    }

    /// A receive buffer of a few segments, so that a peer that does not read stalls its sender early. Less than a
    /// segment (64 KiB here) would make the kernel wait 200 ms for each.
    pub(crate) fn reads_little(self) -> Self {
        self.socket.set_recv_buffer_size(128 * 1024).unwrap();
        self
    }

    /// Says the next `length` bytes of its stream.
    #[track_caller]
    pub(crate) fn say(&mut self, length: u64) {
        if let Err(error) = self.try_say(length) {
            panic!("say: {error} at offset {}", self.says.at);
        }
    }

    /// The same, until an error.
    pub(crate) fn try_say(&mut self, length: u64) -> std::io::Result<()> {
        let mut buffer = vec![0; length.min(CHUNK) as usize];
        let mut left = length;
        while left > 0 {
            let chunk = &mut buffer[..left.min(CHUNK) as usize];
            self.says.peek(chunk);
            let wrote = (&self.socket).write(chunk)?;
            self.says.at += wrote as u64;
            left -= wrote as u64;
        }
        Ok(())
    }

    /// Says its stream until nobody takes any more of it for 300 ms; returns how much went out.
    pub(crate) fn say_until_stalled(&mut self) -> u64 {
        let before = self.says.at;
        self.socket.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let error = self.try_say(1 << 40).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "say until stalled: {error}");
        self.socket.set_write_timeout(Some(PATIENCE)).unwrap();
        self.says.at - before
    }

    /// Goes on at another offset of its stream: what a proxy that loses bytes would do.
    pub(crate) fn skip(&mut self, to: u64) {
        self.says.at = to;
    }

    /// Reads exactly `length` bytes and checks each one.
    #[track_caller]
    pub(crate) fn hear(&mut self, length: u64) {
        let mut left = length;
        let mut buffer = vec![0; length.min(CHUNK) as usize];
        while left > 0 {
            let room = &mut buffer[..left.min(CHUNK) as usize];
            match (&self.socket).read(room) {
                Ok(0) => panic!("end of stream at offset {}, {left} bytes early", self.hears.at),
                Ok(read) => {
                    self.hears.check(&room[..read]);
                    left -= read as u64;
                }
                Err(error) => panic!("hear: {error} at offset {}, {left} bytes early", self.hears.at),
            }
        }
    }

    /// The same, until an error or the end.
    pub(crate) fn try_hear(&mut self, length: u64) -> std::io::Result<()> {
        let mut left = length;
        let mut buffer = vec![0; length.min(CHUNK) as usize];
        while left > 0 {
            match (&self.socket).read(&mut buffer[..left.min(CHUNK) as usize])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => {
                    self.hears.check(&buffer[..read]);
                    left -= read as u64;
                }
            }
        }
        Ok(())
    }

    /// Reads and checks until a clean end of stream; returns how many bytes came.
    #[track_caller]
    pub(crate) fn hear_all(&mut self) -> u64 {
        let before = self.hears.at;
        let mut buffer = vec![0; CHUNK as usize];
        loop {
            match (&self.socket).read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => self.hears.check(&buffer[..read]),
                Err(error) => panic!("hear: {error} at offset {}", self.hears.at),
            }
        }
        let error = self.socket.take_error().unwrap();
        assert!(error.is_none(), "an end of stream that hides {error:?}");
        self.hears.at - before
    }

    /// The stream ends here, cleanly, with nothing before its end.
    #[track_caller]
    pub(crate) fn hear_end(&mut self) {
        let extra = self.hear_all();
        assert_eq!(extra, 0, "bytes before the end of stream");
    }

    /// Reads and checks until the stream ends, cleanly or not.
    pub(crate) fn hear_whatever(&mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; CHUNK as usize];
        loop {
            match (&self.socket).read(&mut buffer)? {
                0 => return Ok(()),
                read => self.hears.check(&buffer[..read]),
            }
        }
    }

    /// The same, for so long at most.
    pub(crate) fn hear_whatever_within(&mut self, within: Duration) -> std::io::Result<()> {
        self.socket.set_read_timeout(Some(within))?;
        self.hear_whatever()
    }

    /// The same peer twice, for a thread that says and one that hears.
    pub(crate) fn split(self) -> (Self, Self) {
        let socket = self.socket.try_clone().unwrap();
        let (says, hears) = (Stream { ..self.says }, Stream { ..self.hears });
        (self, Self { socket, says, hears })
    }

    /// Nothing arrives for `span`: no byte, no end, no error.
    #[track_caller]
    pub(crate) fn hear_nothing(&mut self, span: Duration) {
        let seen = wait_for(&self.socket, PollFlags::IN | PollFlags::RDHUP, span);
        assert!(seen.is_empty(), "expected silence, not {seen:?}");
    }

    /// The session was aborted: after what is still to be read comes ECONNRESET, and never a clean end.
    #[track_caller]
    pub(crate) fn hear_reset(&mut self) {
        self.hear_reset_within(RESET_WITHIN);
    }

    /// The same, for resets that are due later.
    #[track_caller]
    pub(crate) fn hear_reset_within(&mut self, within: Duration) {
        let start = Instant::now();
        let mut buffer = vec![0; CHUNK as usize];
        loop {
            let left = within.saturating_sub(start.elapsed());
            let seen = wait_for(&self.socket, PollFlags::IN, left);
            assert!(!seen.is_empty(), "expected a reset within {within:?}, heard nothing");
            match (&self.socket).read(&mut buffer) {
                Ok(0) => panic!("a clean end at offset {} where a reset was due", self.hears.at),
                Ok(read) => self.hears.check(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("expected a reset, got {error}"),
            }
        }
    }

    /// The reset reaches a peer that neither reads nor writes, whatever is still to be read before it.
    #[track_caller]
    pub(crate) fn feel_reset(&mut self) {
        let seen = wait_for(&self.socket, PollFlags::empty(), RESET_WITHIN);
        assert!(seen.contains(PollFlags::ERR), "expected a reset within {RESET_WITHIN:?}, saw {seen:?}");
        self.hear_reset();
    }

    /// The session was aborted after the other side's end had been heard: the kernel says EPIPE then.
    #[track_caller]
    pub(crate) fn hear_reset_after_end(&mut self) {
        let seen = wait_for(&self.socket, PollFlags::empty(), RESET_WITHIN);
        assert!(seen.contains(PollFlags::ERR), "expected a reset within {RESET_WITHIN:?}, saw {seen:?}");
        let error = self.socket.take_error().unwrap().unwrap();
        assert!(
            matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
            "expected a reset, got {error}"
        );
    }

    /// Reads one line as text, one byte at a time so that nothing after it is lost.
    pub(crate) fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while (&self.socket).read(&mut byte)? == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// No more will be said: FIN.
    pub(crate) fn finish(&mut self) {
        if let Err(error) = self.socket.shutdown(Shutdown::Write) {
            panic!("finish: {error}");
        }
    }

    /// Aborts the session: RST.
    pub(crate) fn reset(self) {
        self.socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Closes the socket, as a program that ends does.
    pub(crate) fn close(self) {}

    /// Reads exactly `length` bytes that are not part of its stream.
    #[track_caller]
    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        (&self.socket).read_exact(&mut bytes).unwrap_or_else(|error| panic!("take {length} bytes: {error}"));
        bytes
    }

    /// Where the connection it accepted comes from.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.socket.peer_addr().unwrap().as_socket().unwrap()
    }

    /// Its own address.
    pub(crate) fn local(&self) -> SocketAddr {
        self.socket.local_addr().unwrap().as_socket().unwrap()
    }
}

/// `from` says `length` bytes while `to` hears them.
#[track_caller]
pub(crate) fn send_across(from: &mut Peer, to: &mut Peer, length: u64) {
    std::thread::scope(|scope| {
        scope.spawn(|| from.say(length));
        to.hear(length);
    });
}

/// A client and a server with no proxy between them: what the harness itself is tried with.
pub(crate) fn socket_pair_direct() -> (Peer, Peer) {
    let backend = Backend::new();
    let client = Peer::connect(backend.address());
    (client, backend.accept())
}

/// How long an accept may wait.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// [`PATIENCE`].
    Usual,
    /// So long.
    For(Duration),
}

/// A listening socket on a free port, accepted from by the test itself.
pub(crate) struct Backend {
    listener: Socket,
}

impl Backend {
    /// On 127.0.0.1.
    pub(crate) fn new() -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// On this address.
    pub(crate) fn at(address: SocketAddr) -> Self {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(4096).unwrap();
        Self { listener }
    }

    /// On a unix socket.
    pub(crate) fn unix(path: &Path) -> Self {
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(path).unwrap()).unwrap();
        listener.listen(4096).unwrap();
        Self { listener }
    }

    /// A port where nobody listens: connections to it are refused. It stays taken for as long as the tests run,
    /// so that no other test gets it and is called by a proxy that is not its own.
    pub(crate) fn refusing() -> SocketAddr {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        std::mem::forget(socket);
        address
    }

    /// Sessions start with a receive buffer of a few segments.
    pub(crate) fn reads_little(self) -> Self {
        self.listener.set_recv_buffer_size(128 * 1024).unwrap();
        self
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap().as_socket().unwrap()
    }

    /// The next connection, as the peer a plain client expects.
    #[track_caller]
    pub(crate) fn accept(&self) -> Peer {
        self.accept_within(Wait::Usual).expect("a connection to the backend")
    }

    /// The next connection, if one comes.
    pub(crate) fn accept_within(&self, wait: Wait) -> Option<Peer> {
        let span = match wait {
            Wait::Usual => PATIENCE,
            Wait::For(span) => span,
        };
        if !wait_for(&self.listener, PollFlags::IN, span).contains(PollFlags::IN) {
            return None;
        }
        let (socket, _) = self.listener.accept().ok()?;
        Some(Peer::new(socket, SERVER, CLIENT))
    }

    /// Serves by itself from now on: `script` gets each connection on a thread of its own.
    pub(crate) fn serve(self, script: impl Fn(Peer) + Send + Sync + 'static) -> Service {
        let listener = Arc::new(self.listener);
        let accepted = Arc::new(AtomicU64::new(0));
        let script = Arc::new(script);
        let service = Service { listener: listener.clone(), accepted: accepted.clone() };
        std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                accepted.fetch_add(1, Ordering::Relaxed);
                let script = script.clone();
                let peer = Peer::new(socket, SERVER, CLIENT);
                std::thread::Builder::new().stack_size(128 * 1024).spawn(move || script(peer)).unwrap();
            }
        });
        service
    }

    /// Says back what it hears, then ends as the client ended.
    pub(crate) fn echo(self) -> Service {
        self.serve(|peer| {
            let mut buffer = [0; 16 * 1024];
            while let Ok(read @ 1..) = (&peer.socket).read(&mut buffer) {
                if (&peer.socket).write_all(&buffer[..read]).is_err() {
                    return;
                }
            }
        })
    }

    /// Says its name in one line and ends.
    pub(crate) fn named(self, name: &'static str) -> Service {
        self.serve(move |peer| drop((&peer.socket).write_all(format!("{name}\n").as_bytes())))
    }
}

/// A backend that serves by itself until it is dropped. Sessions under way go on.
pub(crate) struct Service {
    listener: Arc<Socket>,
    accepted: Arc<AtomicU64>,
}

impl Service {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap().as_socket().unwrap()
    }

    /// How many connections it has accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Wakes the thread in accept, which then ends and closes the socket.
        let _ = self.listener.shutdown(Shutdown::Both);
    }
}

/// An address whose accept queue is full: whoever connects hears nothing, as if the host were gone.
pub(crate) struct Blackhole {
    listener: Socket,
    filler: Vec<Socket>,
}

impl Blackhole {
    pub(crate) fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let mut hole = Self { listener, filler: Vec::new() };
        while hole.swallows() {}
        hole
    }

    /// Whether one more connection fits into the queue.
    fn swallows(&mut self) -> bool {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let connected = socket.connect_timeout(&self.address().into(), Duration::from_millis(200)).is_ok();
        self.filler.extend(connected.then_some(socket));
        connected
    }

    /// Where nobody answers.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap().as_socket().unwrap()
    }

    /// Takes what filled the queue out of it: a dialler gets through when its kernel asks again, 1 s or 3 s after its start.
    pub(crate) fn open(self) -> Backend {
        for _ in &self.filler {
            self.listener.accept().unwrap();
        }
        self.listener.listen(64).unwrap();
        Backend { listener: self.listener }
    }
}

/// Waits until one of `flags`, an error or a hang-up shows; empty when time is up.
fn wait_for(socket: &Socket, flags: PollFlags, within: Duration) -> PollFlags {
    let mut polled = [PollFd::from_borrowed_fd(socket.as_fd(), flags)];
    poll(&mut polled, Some(&Timespec::try_from(within).unwrap())).unwrap();
    polled[0].revents()
}

/// Seed of what a plain client says, and of what a plain server says.
const CLIENT: u64 = 1;
const SERVER: u64 = 2;

const CHUNK: u64 = 64 * 1024;

/// A pseudo-random stream that knows its position.
struct Stream {
    seed: u64,
    at: u64,
}

impl Stream {
    fn new(seed: u64) -> Self {
        Self { seed: mix(seed), at: 0 }
    }

    /// The eight bytes that start at offset `word * 8`.
    fn word(&self, word: u64) -> [u8; 8] {
        mix(self.seed.wrapping_add(word)).to_le_bytes()
    }

    /// The bytes that come next, without moving on.
    fn peek(&self, into: &mut [u8]) {
        let mut at = self.at;
        let mut rest = into;
        while !rest.is_empty() {
            let word = self.word(at / 8);
            let from = (at % 8) as usize;
            let length = rest.len().min(8 - from);
            rest[..length].copy_from_slice(&word[from..from + length]);
            rest = &mut rest[length..];
            at += length as u64;
        }
    }

    /// These bytes must be the next ones.
    #[track_caller]
    fn check(&mut self, bytes: &[u8]) {
        let mut due = vec![0; bytes.len()];
        self.peek(&mut due);
        if let Some(wrong) = (0..bytes.len()).find(|&i| due[i] != bytes[i]) {
            let at = self.at + wrong as u64;
            panic!("byte at offset {at} is {:#04x}, not {:#04x}: lost, doubled or altered", bytes[wrong], due[wrong]);
        }
        self.at += bytes.len() as u64;
    }
}

/// Writes a file of pseudo-random bytes, for programs that move files.
pub(crate) fn random_file(path: &Path, length: u64) {
    let mut file = std::fs::File::create(path).unwrap();
    let mut stream = Stream::new(length);
    let mut buffer = vec![0; CHUNK as usize];
    while stream.at < length {
        let chunk = &mut buffer[..(length - stream.at).min(CHUNK) as usize];
        stream.peek(chunk);
        stream.at += chunk.len() as u64;
        file.write_all(chunk).unwrap();
    }
}

/// SplitMix64's finaliser.
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
