//! With TLS: the same orders inside it.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustls::{ServerConfig, ServerConnection};

use super::Over;
use super::task::Task;
use crate::measure;
use crate::order::Order;

/// What is encrypted before any of it is sent.
const CHUNK: u64 = 64 * 1024;

struct Conn {
    socket: TcpStream,
    tls: ServerConnection,
    task: Task,
}

pub fn serve(listener: &TcpListener, config: &Arc<ServerConfig>) {
    measure::pin(measure::LOAD_CPU);
    let poll = epoll::create(CreateFlags::CLOEXEC).expect("epoll");
    let listens = listener.as_raw_fd() as u64;
    epoll::add(&poll, listener, EventData::new_u64(listens), EventFlags::IN).expect("epoll");
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
            if id == listens {
                while let Ok((socket, _)) = listener.accept() {
                    let Ok(conn) = Conn::new(socket, config) else { continue };
                    let id = conn.socket.as_raw_fd() as u64;
                    epoll::add(&poll, &conn.socket, EventData::new_u64(id), EventFlags::IN).expect("epoll");
                    conns.insert(id, conn);
                }
                continue;
            }
            let Some(conn) = conns.get_mut(&id) else { continue };
            if conn.turn(&mut room).is_err() {
                conns.remove(&id);
                continue;
            }
            let more = conn.tls.wants_write() || conn.task.due > 0;
            let flags = if more { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(&poll, &conn.socket, EventData::new_u64(id), flags).expect("epoll");
        }
    }
}

impl Conn {
    fn new(socket: TcpStream, config: &Arc<ServerConfig>) -> Result<Self, Over> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let mut tls = ServerConnection::new(config.clone())?;
        tls.set_buffer_limit(None);
        Ok(Self { socket, tls, task: Task::default() })
    }

    fn turn(&mut self, room: &mut [u8]) -> Result<(), Over> {
        match self.tls.read_tls(&mut self.socket) {
            // Whoever has said goodbye asks for nothing more.
            Ok(0) => return Err(Over),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Err(Over),
        }
        self.tls.process_new_packets()?;
        self.take(room)?;
        self.send()
    }

    fn take(&mut self, room: &mut [u8]) -> Result<(), Over> {
        loop {
            let wanted = if self.task.order.is_none() { &mut room[..self.task.wants()] } else { &mut *room };
            let read = match self.tls.reader().read(wanted) {
                Ok(0) => return Err(Over),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Over),
            };
            match self.task.order {
                None => self.task.told(&wanted[..read])?,
                Some(Order::Echo) => self.tls.writer().write_all(&wanted[..read])?,
                Some(_) => self.task.came(read as u64),
            }
        }
    }

    fn send(&mut self) -> Result<(), Over> {
        loop {
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(_) => return Err(Over),
                }
            }
            let chunk = self.task.due.min(CHUNK);
            if chunk == 0 {
                return Ok(());
            }
            self.tls.writer().write_all(&ZEROES[..chunk as usize])?;
            self.task.due -= chunk;
            if self.task.due == 0 && matches!(self.task.order, Some(Order::Send(_))) {
                self.tls.send_close_notify();
            }
        }
    }
}

static ZEROES: [u8; CHUNK as usize] = [0; CHUNK as usize];
