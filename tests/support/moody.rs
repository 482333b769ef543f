//! Backends whose health the test decides, moment by moment.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

use super::Peer;

/// How a [`Moody`] backend is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
pub(crate) enum Mood {
    /// Answers `PING` with `+PONG` and `WHO` with its name, and says back all else.
    Well,
    /// Says `-ERR` to `PING`; its sessions go on.
    Sick,
    /// Accepts and answers nobody, as a stopped process does.
    Silent,
    /// Resets whoever it accepts as soon as it is spoken to.
    Rude,
    /// Nobody listens, and all its sessions are reset, as when the process is killed.
    Dead,
}

const MOODS: [Mood; 5] = [Mood::Well, Mood::Sick, Mood::Silent, Mood::Rude, Mood::Dead];

/// The script probe that goes with it.
pub(crate) const PING: &str = r#"script: [ { send: "PING\r\n" }, { expect: "+PONG" } ]"#;

/// A backend on a port of its own that is as the test says.
pub(crate) struct Moody {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Keeps the port while nobody listens.
    _port: Socket,
}

struct Shared {
    name: String,
    mood: AtomicU8,
    over: AtomicBool,
    probes: AtomicU64,
    /// When each session began that was not a probe.
    sessions: Mutex<Vec<Instant>>,
}

impl Shared {
    fn mood(&self) -> Mood {
        MOODS[usize::from(self.mood.load(Ordering::SeqCst))]
    }
}

impl Moody {
    /// Well, under this name.
    pub(crate) fn new(name: &str) -> Self {
        Self::starting(name, Mood::Well)
    }

    pub(crate) fn starting(name: &str, mood: Mood) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, name, mood)
    }

    /// At another address than usual.
    pub(crate) fn at(ip: Ipv4Addr, name: &str, mood: Mood) -> Self {
        let port = bound((ip, 0).into());
        let address = port.local_addr().unwrap().as_socket().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            mood: AtomicU8::new(mood as u8),
            over: AtomicBool::new(false),
            probes: AtomicU64::new(0),
            sessions: Mutex::default(),
        });
        let moody = Self { address, shared: shared.clone(), _port: port };
        std::thread::spawn(move || live(address, &shared));
        moody.settle();
        moody
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    /// It is like that from now on.
    pub(crate) fn is(&self, mood: Mood) {
        self.shared.mood.store(mood as u8, Ordering::SeqCst);
        self.settle();
    }

    /// Waits until the port is open or shut as the mood wants it.
    fn settle(&self) {
        let open = self.shared.mood() != Mood::Dead;
        super::eventually("a port as it should be", || {
            let connected = std::net::TcpStream::connect(self.address).is_ok();
            (connected == open).then_some(())
        });
    }

    /// Probes it has heard.
    pub(crate) fn probes(&self) -> u64 {
        self.shared.probes.load(Ordering::SeqCst)
    }

    /// When each session began.
    pub(crate) fn sessions(&self) -> Vec<Instant> {
        self.shared.sessions.lock().unwrap().clone()
    }
}

impl Drop for Moody {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
    }
}

fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

/// Listens while it does not have to be dead.
fn live(address: SocketAddr, shared: &Arc<Shared>) {
    while !shared.over.load(Ordering::SeqCst) {
        if shared.mood() == Mood::Dead {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        }
        let listener = bound(address);
        listener.listen(1024).unwrap();
        while shared.mood() != Mood::Dead && !shared.over.load(Ordering::SeqCst) {
            if !readable(&listener, Duration::from_millis(10)) {
                continue;
            }
            let Ok((socket, _)) = listener.accept() else { continue };
            let shared = shared.clone();
            let thread = std::thread::Builder::new().stack_size(128 * 1024);
            thread.spawn(move || serve(&socket, &shared)).unwrap();
        }
    }
}

/// One connection. Dead means that it is reset, as are those that wait to be accepted when their listener closes.
fn serve(mut socket: &Socket, shared: &Shared) {
    let began = Instant::now();
    let mut first = true;
    let mut buffer = vec![0; 16 * 1024];
    while !shared.over.load(Ordering::SeqCst) {
        if shared.mood() == Mood::Dead {
            socket.set_linger(Some(Duration::ZERO)).unwrap();
            return;
        }
        if shared.mood() == Mood::Silent || !readable(socket, Duration::from_millis(10)) {
            std::thread::sleep(Duration::from_millis(u64::from(shared.mood() == Mood::Silent)));
            continue;
        }
        let read = match socket.read(&mut buffer) {
            Ok(read @ 1..) => &buffer[..read],
            _ => return,
        };
        let is_probe = first && read.starts_with(b"PING");
        if first && !is_probe {
            shared.sessions.lock().unwrap().push(began);
        }
        first = false;
        let answer = match read {
            _ if shared.mood() == Mood::Rude && !is_probe => {
                socket.set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
            _ if is_probe => {
                shared.probes.fetch_add(1, Ordering::SeqCst);
                match shared.mood() {
                    Mood::Sick => b"-ERR\r\n",
                    _ => &b"+PONG\r\n"[..],
                }
            }
            b"WHO\n" => &[shared.name.as_bytes(), b"\n"].concat()[..],
            other => other,
        };
        if socket.write_all(answer).is_err() {
            return;
        }
    }
}

fn readable(socket: &Socket, within: Duration) -> bool {
    !seen(socket, PollFlags::IN, within).is_empty()
}

fn seen(socket: &Socket, flags: PollFlags, within: Duration) -> PollFlags {
    let mut polled = [PollFd::from_borrowed_fd(socket.as_fd(), flags)];
    poll(&mut polled, Some(&Timespec::try_from(within).unwrap())).unwrap();
    polled[0].revents()
}

/// Whether the far side of a connection has neither finished nor reset it, by what this kernel knows now.
pub(crate) fn is_open(socket: &Socket) -> bool {
    !seen(socket, PollFlags::RDHUP, Duration::ZERO).intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
}

/// Who serves this session: it asks, and waits no longer than a second.
pub(crate) fn who(peer: &mut Peer) -> std::io::Result<String> {
    peer.socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    (&peer.socket).write_all(b"WHO\n")?;
    let name = peer.line()?;
    peer.socket.set_read_timeout(Some(super::PATIENCE)).unwrap();
    if name.is_empty() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(name) }
}

/// Many listeners that one thread accepts from: it takes a connection, writes down when, and ends as the client ends.
pub(crate) struct Crowd {
    addresses: Vec<SocketAddr>,
    arrivals: Arc<Mutex<Vec<Instant>>>,
    over: Arc<AtomicBool>,
}

impl Crowd {
    pub(crate) fn new(size: usize) -> Self {
        let listeners: Vec<Socket> = (0..size)
            .map(|_| {
                let socket = bound((Ipv4Addr::LOCALHOST, 0).into());
                socket.listen(64).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            })
            .collect();
        let addresses = listeners.iter().map(|socket| socket.local_addr().unwrap().as_socket().unwrap()).collect();
        let (arrivals, over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let crowd = Self { addresses, arrivals: Arc::clone(&arrivals), over: over.clone() };
        std::thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                let mut polled: Vec<_> =
                    listeners.iter().map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)).collect();
                poll(&mut polled, Some(&Timespec::try_from(Duration::from_millis(50)).unwrap())).unwrap();
                let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
                for (listener, _) in listeners.iter().zip(ready).filter(|(_, ready)| *ready) {
                    while let Ok((socket, _)) = listener.accept() {
                        arrivals.lock().unwrap().push(Instant::now());
                        drop(socket);
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        crowd
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// When connections came, since this was asked last.
    pub(crate) fn arrivals(&self) -> Vec<Instant> {
        std::mem::take(&mut self.arrivals.lock().unwrap())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}
