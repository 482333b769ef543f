//! The backend: one thread, cheap on purpose. What it sends comes from memory by `sendfile`, what it takes it never sees.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create, sendfile};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags, accept_with, recv, send, shutdown, sockopt};

use crate::measure;
use crate::wire::{ORDER, Order};

/// Bytes of a file in memory, from which both sides send.
pub const FILE: u64 = 1 << 20;

/// A file in memory with [`FILE`] bytes of zeroes.
pub fn file() -> OwnedFd {
    let file = memfd_create("bytes", MemfdFlags::CLOEXEC).expect("memory");
    ftruncate(&file, FILE).expect("memory");
    file
}

/// Starts it, and says where it is.
pub fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    // The standard library's queue is short.
    rustix::net::listen(&listener, 4096).expect("a queue");
    listener.set_nonblocking(true).expect("an option");
    let address = listener.local_addr().expect("bound");
    std::thread::Builder::new().name("backend".into()).spawn(move || serve(&listener)).expect("a thread");
    address
}

struct Conn {
    socket: OwnedFd,
    order: Option<Order>,
    head: Vec<u8>,
    /// Bytes of the request that came so far.
    came: u64,
    /// Bytes that are to be sent.
    due: u64,
}

fn serve(listener: &TcpListener) {
    measure::pin(measure::LOAD_CPU);
    let poll = epoll::create(CreateFlags::CLOEXEC).expect("epoll");
    epoll::add(&poll, listener, EventData::new_u64(0), EventFlags::IN).expect("epoll");
    let file = file();
    let mut conns: HashMap<u64, Conn> = HashMap::new();
    let mut events = Vec::with_capacity(256);
    let mut room = vec![0_u8; 256 * 1024];
    loop {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("epoll: {error}"),
        }
        for event in &events {
            let id = event.data.u64();
            if id == 0 {
                while let Ok(socket) = accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                    let _ = sockopt::set_tcp_nodelay(&socket, true);
                    let id = socket.as_raw_fd() as u64;
                    epoll::add(&poll, &socket, EventData::new_u64(id), EventFlags::IN).expect("epoll");
                    conns.insert(id, Conn { socket, order: None, head: Vec::new(), came: 0, due: 0 });
                }
                continue;
            }
            let Some(conn) = conns.get_mut(&id) else { continue };
            let was_due = conn.due > 0;
            if conn.turn(&file, &mut room).is_err() {
                conns.remove(&id);
                continue;
            }
            if was_due != (conn.due > 0) {
                let flags = if conn.due > 0 { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
                epoll::modify(&poll, &conn.socket, EventData::new_u64(id), flags).expect("epoll");
            }
        }
    }
}

/// The connection is over.
struct Over;

impl From<Errno> for Over {
    fn from(_: Errno) -> Self {
        Self
    }
}

impl Conn {
    fn turn(&mut self, file: &OwnedFd, room: &mut [u8]) -> Result<(), Over> {
        self.read(room)?;
        self.send(file)
    }

    fn read(&mut self, room: &mut [u8]) -> Result<(), Over> {
        let wanted = match self.order {
            None => &mut room[..ORDER - self.head.len()],
            // One more than there is, so that the end is seen.
            Some(Order::Answer(size)) => &mut room[..(size.max(1) as usize).min(64 * 1024)],
            Some(_) => room,
        };
        // The kernel throws away what nobody looks at.
        let discard = matches!(self.order, Some(Order::Take(_) | Order::Answer(_)));
        let flags = if discard { RecvFlags::TRUNC } else { RecvFlags::empty() };
        let read = match recv(&self.socket, &mut *wanted, flags) {
            Ok((_, 0)) => return Err(Over),
            Ok((_, read)) => read,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Over),
        };
        match self.order {
            None => {
                self.head.extend_from_slice(&wanted[..read]);
                if let Ok(head) = <[u8; ORDER]>::try_from(&self.head[..]) {
                    let order = Order::read(head).ok_or(Over)?;
                    self.order = Some(order);
                    if let Order::Send(bytes) = order {
                        self.due = bytes;
                    }
                }
            }
            Some(Order::Take(bytes)) => {
                self.came += read as u64;
                if self.came >= bytes {
                    self.due = 1;
                }
            }
            Some(Order::Answer(size)) => {
                self.came += read as u64;
                while self.came >= size {
                    self.came -= size;
                    self.due += size;
                }
            }
            Some(Order::Echo) => {
                let mut left = &room[..read];
                while !left.is_empty() {
                    match send(&self.socket, left, SendFlags::NOSIGNAL) {
                        Ok(sent) => left = &left[sent..],
                        // Only the check of bytes comes here, which listens.
                        Err(Errno::AGAIN) => std::thread::yield_now(),
                        Err(_) => return Err(Over),
                    }
                }
            }
            Some(Order::Send(_)) => {}
        }
        Ok(())
    }

    fn send(&mut self, file: &OwnedFd) -> Result<(), Over> {
        while self.due > 0 {
            let small = self.due <= 64 * 1024 && matches!(self.order, Some(Order::Answer(_) | Order::Take(_)));
            let sent = match small {
                true => send(&self.socket, &ZEROES[..self.due as usize], SendFlags::NOSIGNAL),
                false => {
                    let mut from = 0;
                    sendfile(self.socket.as_fd(), file, Some(&mut from), self.due.min(FILE) as usize)
                }
            };
            match sent {
                Ok(sent) => self.due -= sent as u64,
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Over),
            }
            if self.due == 0 && matches!(self.order, Some(Order::Send(_))) {
                shutdown(&self.socket, Shutdown::Write)?;
            }
        }
        Ok(())
    }
}

static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];
