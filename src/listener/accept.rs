//! The accept loop: one a worker and address.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;

use super::ListenerLive;
use crate::admission::{Gate, Permit, turn_away};
use crate::config::plan::{ListenerTcp, Others, RefuseWith};
use crate::drain::{Lifecycle, Stage};
use crate::metrics::{AcceptError, Refused};
use crate::net::{
    Arrived, BoundSocket, Incoming, Peer, Stream, lengthen_queue, refuse_new_connections, retune_listener,
};

/// A client that was let in.
#[derive(Debug)]
pub struct Accepted {
    /// Its socket.
    pub stream: Stream,
    /// Its address.
    pub peer: Peer,
    /// The address it connected to.
    pub local: Peer,
    /// Where it arrived.
    pub listener: Arc<ListenerLive>,
    /// Its places under the limits of the process, the listener and, if it is known by now, the client.
    pub permit: Permit,
    /// When it was accepted.
    pub at: Instant,
    /// By when it must have sent a PROXY header; `None` if it may not send one.
    pub header_by: Option<Instant>,
}

/// What the accept loops of one address are to do. A reload may hand an address from one listener to another.
#[derive(Debug, Clone)]
pub struct Orders {
    /// Whose clients they are.
    pub listener: Arc<ListenerLive>,
    /// Options of the socket.
    pub tcp: ListenerTcp,
    /// Whether to go on.
    pub fate: Fate,
}

/// What becomes of a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Open,
    /// Serve what waits, then close.
    Close,
    /// Another process has it as well and serves what waits: let go of it at once.
    HandOver,
}

/// What one accept loop needs.
#[derive(Debug)]
pub struct Acceptor {
    /// The orders now, and later ones.
    orders: Orders,
    later: watch::Receiver<Orders>,
    /// The process's limit.
    gate: Arc<Gate>,
    /// Tells when to stop.
    life: Arc<Lifecycle>,
}

/// The pause after the first failing accept; doubled while it goes on failing.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// After an accept that failed for the client's reasons.
const ABORTED_PAUSE: Duration = Duration::from_millis(1);
/// Between warnings of one loop: a shortage fails many accepts, with successes between them.
const WARNINGS: Duration = Duration::from_secs(10);
/// However many still arrive, the queue of a closing socket is emptied for no longer than this.
const EMPTYING: Duration = Duration::from_secs(2);
/// Long enough not to spin, short enough to accept within a second of relief.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// A handshake that was under way when new ones were refused ends within a round trip; this covers a slow one.
const LAST_HANDSHAKES: Duration = Duration::from_millis(100);

impl Acceptor {
    /// An accept loop to be, which follows `orders`; without anyone left to give them it closes.
    pub fn new(mut orders: watch::Receiver<Orders>, gate: Arc<Gate>, life: Arc<Lifecycle>) -> Self {
        let now = orders.borrow_and_update().clone();
        Self { orders: now, later: orders, gate, life }
    }

    /// Whose clients it accepts now.
    pub fn listener(&self) -> &Arc<ListenerLive> {
        &self.orders.listener
    }

    /// Accepts until the process drains or its orders say close, and hands each client to `serve`, which
    /// must not block.
    ///
    /// # Errors
    /// Only if the socket cannot be registered with this thread's runtime.
    pub async fn run(mut self, socket: BoundSocket, serve: impl Fn(Accepted)) -> io::Result<()> {
        let socket = Incoming::new(socket)?;
        let mut ending = pin!(ending(self.life.clone(), self.later.clone()));
        let mut pause = SHORTEST_PAUSE;
        let mut warned = None;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut ending => break,
                Ok(()) = self.later.changed() => {
                    self.follow(&socket);
                    continue;
                }
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok(arrived) => {
                    pause = SHORTEST_PAUSE;
                    let mut admitted = pin!(self.admit(arrived, &serve));
                    tokio::select! {
                        biased;
                        () = &mut admitted => {}
                        // Full, with `overflow: wait`: the wait for a place goes on, and newcomers are
                        // held back now, not when a place is free at last.
                        () = &mut ending => {
                            if !self.is_handed_over() {
                                self.hold_back(&socket);
                            }
                            admitted.await;
                            break;
                        }
                    }
                }
                Err(error) => pause = self.failed(&error, pause, &mut warned).await,
            }
        }
        if !self.is_handed_over() {
            self.empty_queue(&socket, &serve).await;
        }
        Ok(())
    }

    fn is_handed_over(&self) -> bool {
        self.later.borrow().fate == Fate::HandOver
    }

    /// Takes over new orders.
    fn follow(&mut self, socket: &Incoming) {
        let orders = self.later.borrow_and_update().clone();
        if orders.tcp != self.orders.tcp {
            let retuned = match socket.socket() {
                BoundSocket::Tcp(socket) => retune_listener(socket, &orders.tcp),
                BoundSocket::Unix(socket) => lengthen_queue(socket, &orders.tcp),
            };
            if let Err(error) = retuned {
                tracing::warn!(listener = %orders.listener.name, %error, "cannot change the options of a listening socket");
            }
        }
        self.orders = orders;
    }

    /// Counts a client and hands it on, or refuses it.
    async fn admit(&self, arrived: Arrived, serve: &impl Fn(Accepted)) {
        let (at, listener) = (Instant::now(), &self.orders.listener);
        let Arrived { stream, peer, local } = arrived;
        let admitted = self.let_in(peer, at).await;
        // Not before: a client that waits there is neither refused nor active, so that the sum would be wrong.
        listener.cells.connections.inc();
        match admitted {
            Ok((permit, header_by)) => {
                serve(Accepted { stream, peer, local, listener: listener.clone(), permit, at, header_by })
            }
            Err(reason) => self.refuse(stream, peer, at, reason),
        }
    }

    /// The places of a client, and by when it must have said for whom it connects, if it is one that does. All others
    /// pass the second gate here as well: they are the clients themselves.
    ///
    /// # Errors
    /// Refuse it; it has taken no place from anyone.
    async fn let_in(&self, peer: Peer, at: Instant) -> Result<(Permit, Option<Instant>), Refused> {
        let listener = &self.orders.listener;
        let header_by = self.trust(peer, at)?;
        let client = header_by.is_none().then_some(peer);
        let permit = Permit::take(&self.gate, &listener.entrance, client, at).await?;
        let waited = at.elapsed();
        if waited > Duration::from_millis(1) {
            listener.cells.accept_paused.add(waited);
        }
        Ok((permit, header_by))
    }

    /// By when this peer must say for whom it connects, if it is one that does.
    ///
    /// # Errors
    /// Its word is not taken here, and without one nobody comes in.
    fn trust(&self, peer: Peer, at: Instant) -> Result<Option<Instant>, Refused> {
        let settings = self.orders.listener.settings();
        let Some(accept_proxy) = &settings.accept_proxy else { return Ok(None) };
        match (accept_proxy.trusts(peer.ip()), accept_proxy.others) {
            (true, _) => Ok(Some(at + accept_proxy.timeout)),
            (false, Others::Plain) => Ok(None),
            (false, Others::Refuse) => Err(Refused::ProxyUntrusted),
        }
    }

    /// Counts a refusal, and turns the client away.
    fn refuse(&self, stream: Stream, peer: Peer, at: Instant, reason: Refused) {
        let listener = &self.orders.listener;
        listener.cells.refused[reason as usize].inc();
        listener.complain(reason, peer, peer, at);
        let manner = match reason {
            // The process has no room even for silence, and with whoever is not trusted there is nothing to be orderly about.
            Refused::MaxConnectionsProcess | Refused::RateProcess | Refused::ProxyUntrusted => RefuseWith::Reset,
            _ => listener.entrance.refuse_with(),
        };
        turn_away(stream, manner, at + listener.settings().timeouts.handshake, || self.gate.hold());
    }

    /// Counts a failing accept, waits if waiting helps, and gives the next pause.
    async fn failed(&self, error: &io::Error, pause: Duration, warned: &mut Option<Instant>) -> Duration {
        let class = classify(error);
        let cells = &self.orders.listener.cells;
        cells.accept_errors[class as usize].inc();
        if class == AcceptError::Aborted {
            // A client that left costs nothing. But a machine that forbids accepting says the same,
            // again and again, and that must not spin.
            sleep(ABORTED_PAUSE).await;
            return SHORTEST_PAUSE;
        }
        if warned.is_none_or(|at| at.elapsed() > WARNINGS) {
            *warned = Some(Instant::now());
            tracing::warn!(listener = %self.orders.listener.name, class = class.as_str(), %error, "cannot accept; trying again");
        }
        sleep(pause).await;
        cells.accept_paused.add(pause);
        (pause * 2).min(LONGEST_PAUSE)
    }

    /// Lets no newcomer into the queue. A unix socket's file is gone by now, which does the same.
    fn hold_back(&self, socket: &Incoming) {
        if let BoundSocket::Tcp(socket) = socket.socket()
            && let Err(error) = refuse_new_connections(socket)
        {
            tracing::warn!(listener = %self.orders.listener.name, %error, "cannot hold back new connections before closing");
        }
    }

    /// Serves what the kernel has already accepted on our behalf, before the socket is closed.
    async fn empty_queue(&self, socket: &Incoming, serve: &impl Fn(Accepted)) {
        self.hold_back(socket);
        let mut quiet = pin!(sleep(LAST_HANDSHAKES));
        let began = Instant::now();
        // With `overflow: wait` each of them may wait for a place; that is no reason to reset those behind it.
        let mut waited = Duration::ZERO;
        while began.elapsed().saturating_sub(waited) < EMPTYING {
            tokio::select! {
                biased;
                accepted = socket.accept() => match accepted {
                    Ok(arrived) => {
                        let since = Instant::now();
                        self.admit(arrived, serve).await;
                        waited += since.elapsed();
                    }
                    Err(error) if classify(&error) == AcceptError::Aborted => {}
                    Err(_) => return,
                },
                () = &mut quiet => return,
            }
        }
    }
}

/// Waits until the process drains, or the orders say close, or nobody gives any more.
async fn ending(life: Arc<Lifecycle>, mut orders: watch::Receiver<Orders>) {
    tokio::select! {
        () = life.reached(Stage::Draining) => {}
        _ = orders.wait_for(|orders| orders.fate != Fate::Open) => {}
    }
}

/// Tells a shortage of ours from a client that left.
pub(crate) fn classify(error: &io::Error) -> AcceptError {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => AcceptError::Descriptors,
        Some(Errno::NOBUFS | Errno::NOMEM) => AcceptError::Memory,
        // accept(2) passes on pending network errors of the new socket; all of these are the client's.
        Some(
            Errno::CONNABORTED
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::PERM
            | Errno::INTR,
        ) => AcceptError::Aborted,
        _ => AcceptError::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_client_that_left_is_not_a_shortage() {
        let class = |errno: Errno| classify(&io::Error::from(errno));
        assert_eq!(class(Errno::MFILE), AcceptError::Descriptors);
        assert_eq!(class(Errno::NOBUFS), AcceptError::Memory);
        assert_eq!(class(Errno::CONNABORTED), AcceptError::Aborted);
        assert_eq!(class(Errno::INVAL), AcceptError::Other);
    }
}
