//! In the clear: what it sends comes from memory by `sendfile`, what it takes it never sees.

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags, accept_with, recv, send, shutdown, sockopt};

use super::task::Task;
use super::{FILE, Over, file};
use crate::measure;
use crate::order::Order;

struct Conn {
    socket: OwnedFd,
    task: Task,
}

pub fn serve(listeners: &[TcpListener]) {
    measure::pin(measure::LOAD_CPU);
    let poll = epoll::create(CreateFlags::CLOEXEC).expect("epoll");
    for listener in listeners {
        let id = listener.as_raw_fd() as u64;
        epoll::add(&poll, listener, EventData::new_u64(id), EventFlags::IN).expect("epoll");
    }
    let listeners: HashMap<u64, _> = listeners.iter().map(|listener| (listener.as_raw_fd() as u64, listener)).collect();
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
            if let Some(conn) = conns.get_mut(&id) {
                let was_due = conn.task.due > 0;
                if conn.turn(&file, &mut room).is_err() {
                    conns.remove(&id);
                } else if was_due != (conn.task.due > 0) {
                    let flags = if was_due { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
                    epoll::modify(&poll, &conn.socket, EventData::new_u64(id), flags).expect("epoll");
                }
            } else if let Some(listener) = listeners.get(&id) {
                while let Ok(socket) = accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                    let _ = sockopt::set_tcp_nodelay(&socket, true);
                    let id = socket.as_raw_fd() as u64;
                    epoll::add(&poll, &socket, EventData::new_u64(id), EventFlags::IN).expect("epoll");
                    conns.insert(id, Conn { socket, task: Task::default() });
                }
            }
        }
    }
}

impl Conn {
    fn turn(&mut self, file: &OwnedFd, room: &mut [u8]) -> Result<(), Over> {
        self.read(room)?;
        self.send(file)
    }

    fn read(&mut self, room: &mut [u8]) -> Result<(), Over> {
        let wanted = match self.task.order {
            None => &mut room[..self.task.wants()],
            Some(Order::Answer(size)) => &mut room[..(size.max(1) as usize).min(64 * 1024)],
            Some(_) => room,
        };
        // The kernel throws away what nobody looks at.
        let discard = matches!(self.task.order, Some(Order::Take(_) | Order::Answer(_)));
        let flags = if discard { RecvFlags::TRUNC } else { RecvFlags::empty() };
        let read = match recv(&self.socket, &mut *wanted, flags) {
            Ok((_, 0)) => return Err(Over),
            Ok((_, read)) => read,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Over),
        };
        match self.task.order {
            None => self.task.told(&wanted[..read])?,
            Some(Order::Echo) => {
                let mut left = &wanted[..read];
                while !left.is_empty() {
                    match send(&self.socket, left, SendFlags::NOSIGNAL) {
                        Ok(sent) => left = &left[sent..],
                        // Only the check of bytes comes here, which listens.
                        Err(Errno::AGAIN) => std::thread::yield_now(),
                        Err(_) => return Err(Over),
                    }
                }
            }
            Some(_) => self.task.came(read as u64),
        }
        Ok(())
    }

    fn send(&mut self, file: &OwnedFd) -> Result<(), Over> {
        let task = &mut self.task;
        while task.due > 0 {
            let small = task.due <= 64 * 1024 && matches!(task.order, Some(Order::Answer(_) | Order::Take(_)));
            let sent = match small {
                true => send(&self.socket, &ZEROES[..task.due as usize], SendFlags::NOSIGNAL),
                false => {
                    let mut from = 0;
                    sendfile(self.socket.as_fd(), file, Some(&mut from), task.due.min(FILE) as usize)
                }
            };
            match sent {
                Ok(sent) => task.due -= sent as u64,
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Over),
            }
            if task.due == 0 && matches!(task.order, Some(Order::Send(_))) {
                shutdown(&self.socket, Shutdown::Write)?;
            }
        }
        Ok(())
    }
}

static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];
