//! One address that is served, with a socket on every worker.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::place::Held;
use super::{Served, Serving};
use crate::app::AcceptorGuard;
use crate::app::worker::Arrival;
use crate::config::is_same_socket;
use crate::config::plan::{BindAddress, Listener};
use crate::listener::{Acceptor, Fate, Orders};
use crate::net::{BoundSocket, SocketFile};

/// One address, with a socket on every worker.
#[derive(Debug)]
pub(super) struct Post {
    /// Whose it is.
    pub(super) listener: Arc<str>,
    pub(super) configured: BindAddress,
    /// Port 0 has become a port.
    pub(super) real: BindAddress,
    pub(super) orders: watch::Sender<Orders>,
    /// What the workers have, once more, for a process that takes over: of a unix socket one.
    pub(super) spares: Vec<BoundSocket>,
    /// How many the workers have.
    pub(super) served: usize,
    /// The service manager has them too.
    pub(super) foreign: bool,
    /// That of a unix socket.
    pub(super) file: Option<SocketFile>,
}

impl Post {
    pub(super) fn open(
        listener: Arc<str>,
        configured: BindAddress,
        held: Held,
        orders: Orders,
        with: &Serving<'_>,
        served: &mut Served,
    ) -> Self {
        let (orders, follow) = watch::channel(orders);
        let Held { address: real, sockets, spares, foreign, file } = held;
        let workers = served.arrivals.len().max(1);
        let count = sockets.len();
        // More sockets than workers: each has several.
        for (index, socket) in sockets.into_iter().enumerate() {
            let Some(arrivals) = served.arrivals.get_mut(index % workers) else { continue };
            let acceptor = Acceptor::new(follow.clone(), with.gate.clone(), with.life.clone());
            let running: AcceptorGuard = with.acceptors.enter();
            arrivals.push(Arrival { socket, acceptor, running });
        }
        served.announced.push((listener.clone(), real.to_string()));
        Self { listener, configured, real, orders, spares, served: count, foreign, file }
    }

    /// Goes on, perhaps for another listener.
    pub(super) fn follow(
        mut self,
        listener: &Arc<str>,
        configured: BindAddress,
        orders: Orders,
        served: &mut Served,
    ) -> Self {
        if self.listener != *listener {
            served.announced.push((listener.clone(), self.real.to_string()));
        }
        self.orders.send_if_modified(|now| {
            let other = !Arc::ptr_eq(&now.listener, &orders.listener) || now.tcp != orders.tcp;
            *now = orders;
            other
        });
        self.listener = listener.clone();
        self.configured = configured;
        self
    }

    /// Has its sockets emptied and closed. The file of a unix socket goes first: while we have it open no other file can be
    /// taken for it.
    pub(super) fn close(&mut self) {
        self.spares.clear();
        if self.foreign {
            // Who waits there waits for whomever the manager starts next.
            self.orders.send_modify(|orders| orders.fate = Fate::HandOver);
            return;
        }
        self.file.iter().for_each(SocketFile::remove);
        self.orders.send_modify(|orders| orders.fate = Fate::Close);
    }
}

/// Whether sockets of a `listener_had` are what a listener wants to be bound to. A port that the kernel chose stays with
/// its listener.
pub(in crate::app) fn is_same(
    wanted: &BindAddress,
    listener: &Listener,
    listener_had: &str,
    configured: &BindAddress,
    real: &BindAddress,
) -> bool {
    match (wanted, configured) {
        (BindAddress::Unix(path, _), BindAddress::Unix(other, _)) => is_same_socket(path, other),
        (BindAddress::Ip(wanted), BindAddress::Ip(had)) if wanted.port() == 0 => {
            wanted == had && *listener_had == *listener.name
        }
        (wanted, _) => wanted == real,
    }
}

/// Whether one address takes in the other.
pub(super) fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    let wide = one.ip().is_unspecified() || other.ip().is_unspecified() || one.ip() == other.ip();
    wide && one.port() == other.port() && one.is_ipv4() == other.is_ipv4()
}
