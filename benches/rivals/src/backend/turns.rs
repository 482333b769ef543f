//! The loop of a backend: whoever has come is accepted, and whose socket is ready has its turn.

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::Over;
use crate::measure;

/// A connection that is served.
pub trait Conn: AsFd {
    /// Does what can be done now; `room` is for what it reads. Says what it waits for from now on, where that may be
    /// something else than before.
    fn turn(&mut self, room: &mut [u8]) -> Result<Option<EventFlags>, Over>;
}

/// Serves whoever comes to one of these, for ever. `begin` makes a connection of a socket, which does not block.
pub fn serve<C: Conn>(listeners: &[TcpListener], begin: impl Fn(OwnedFd) -> Result<C, Over>) {
    measure::pin(measure::LOAD_CPU);
    let poll = epoll::create(CreateFlags::CLOEXEC).expect("epoll");
    for listener in listeners {
        let id = listener.as_raw_fd() as u64;
        epoll::add(&poll, listener, EventData::new_u64(id), EventFlags::IN).expect("epoll");
    }
    let listeners: HashMap<u64, _> = listeners.iter().map(|listener| (listener.as_raw_fd() as u64, listener)).collect();
    let mut conns: HashMap<u64, C> = HashMap::new();
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
                match conn.turn(&mut room) {
                    Ok(None) => {}
                    Ok(Some(flags)) => {
                        epoll::modify(&poll, &*conn, EventData::new_u64(id), flags).expect("epoll");
                    }
                    Err(Over) => drop(conns.remove(&id)),
                }
            } else if let Some(listener) = listeners.get(&id) {
                while let Ok(socket) = accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                    let Ok(conn) = begin(socket) else { continue };
                    let id = conn.as_fd().as_raw_fd() as u64;
                    epoll::add(&poll, &conn, EventData::new_u64(id), EventFlags::IN).expect("epoll");
                    conns.insert(id, conn);
                }
            }
        }
    }
}
