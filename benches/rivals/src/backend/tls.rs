//! With TLS: the same orders inside it.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::EventFlags;
use rustls::{ServerConfig, ServerConnection};

use super::task::Task;
use super::{Over, turns};
use crate::order::Order;

/// What is encrypted before any of it is sent.
const CHUNK: u64 = 64 * 1024;

struct Conn {
    socket: TcpStream,
    tls: ServerConnection,
    task: Task,
}

pub fn serve(listeners: &[TcpListener], config: &Arc<ServerConfig>) {
    turns::serve(listeners, |socket| Conn::new(socket, config));
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl turns::Conn for Conn {
    fn turn(&mut self, room: &mut [u8]) -> Result<Option<EventFlags>, Over> {
        match self.tls.read_tls(&mut self.socket) {
            // Whoever has said goodbye asks for nothing more.
            Ok(0) => return Err(Over),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Err(Over),
        }
        self.tls.process_new_packets()?;
        self.take(room)?;
        self.send()?;
        let more = self.tls.wants_write() || self.task.due > 0;
        Ok(Some(if more { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN }))
    }
}

impl Conn {
    fn new(socket: OwnedFd, config: &Arc<ServerConfig>) -> Result<Self, Over> {
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        let mut tls = ServerConnection::new(config.clone())?;
        tls.set_buffer_limit(None);
        Ok(Self { socket, tls, task: Task::default() })
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
