//! The accept loop: one a worker and address.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::ListenerLive;
use super::seldom::Seldom;
use super::shortage::{Shortage, classify};
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

/// Clients that are let in before other tasks have a turn, and before orders are looked for again: less than a millisecond.
const BATCH: usize = 32;
/// After each of the first few of a batch a look whether there are more costs less than an accept in vain.
const LOOKS: usize = 8;
/// However many still arrive, the queue of a closing socket is emptied for no longer than this.
const EMPTYING: Duration = Duration::from_secs(2);
/// A handshake that was under way when new ones were refused ends within a round trip; this covers a slow one.
const LAST_HANDSHAKES: Duration = Duration::from_millis(100);

/// What the loop has to do next.
enum Next {
    /// To end.
    End,
    /// To follow new orders.
    Follow,
    /// To accept.
    Accept,
}

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
        let mut news = Seldom::new(self.news());
        let mut shortage = Shortage::default();
        loop {
            let accepted = match next(&mut news, &socket).await {
                Ok(Next::End) => break,
                Ok(Next::Follow) => {
                    self.follow(&socket);
                    news = Seldom::new(self.news());
                    continue;
                }
                Ok(Next::Accept) => self.accept_batch(&socket, &mut shortage, &serve).await,
                Err(error) => Err(error),
            };
            if let Err(error) = accepted {
                shortage.wait(&self.orders.listener, &error).await;
            }
        }
        if !self.is_handed_over() {
            self.empty_queue(&socket, &serve).await;
        }
        Ok(())
    }

    /// Waits for whatever is not a client.
    fn news(&self) -> impl Future<Output = Next> + use<> {
        let (life, mut orders) = (self.life.clone(), self.later.clone());
        async move {
            tokio::select! {
                biased;
                () = ending(life, orders.clone()) => Next::End,
                Ok(()) = orders.changed() => Next::Follow,
            }
        }
    }

    /// Lets in clients that wait: all of them, or a batch and then others have a turn.
    ///
    /// # Errors
    /// An accept failed.
    async fn accept_batch(
        &self,
        socket: &Incoming,
        shortage: &mut Shortage,
        serve: &impl Fn(Accepted),
    ) -> io::Result<()> {
        for number in 1..=BATCH {
            let arrived = match socket.try_accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                result => result?,
            };
            shortage.is_over();
            let waited = self.admit_while_open(socket, arrived, serve).await;
            if waited || number <= LOOKS && socket.is_empty() {
                return Ok(());
            }
        }
        yield_now().await;
        Ok(())
    }

    /// Lets in or refuses a client; true if that took a wait, in which there may have been news.
    async fn admit_while_open(&self, socket: &Incoming, arrived: Arrived, serve: &impl Fn(Accepted)) -> bool {
        let mut admitted = pin!(self.admit(arrived, serve));
        if poll_once(admitted.as_mut()).await.is_ready() {
            return false;
        }
        // Full, with `overflow: wait`: the wait for a place goes on, and newcomers are held back now, not when a place is
        // free at last.
        tokio::select! {
            biased;
            () = &mut admitted => return true,
            () = ending(self.life.clone(), self.later.clone()) => {}
        }
        if !self.is_handed_over() {
            self.hold_back(socket);
        }
        admitted.await;
        true
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
        let mut taking = pin!(Permit::take(&self.gate, &listener.entrance, client, at));
        let permit = match poll_once(taking.as_mut()).await {
            Poll::Ready(taken) => taken,
            Poll::Pending => {
                let taken = taking.await;
                listener.cells.accept_paused.add(at.elapsed());
                taken
            }
        };
        Ok((permit?, header_by))
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

/// Waits for news or for clients, and hears of news first.
///
/// # Errors
/// This thread's runtime ends.
async fn next(news: &mut Seldom<impl Future<Output = Next>>, socket: &Incoming) -> io::Result<Next> {
    poll_fn(|cx| match news.poll(cx) {
        Poll::Ready(next) => Poll::Ready(Ok(next)),
        Poll::Pending => socket.poll_ready(cx).map_ok(|()| Next::Accept),
    })
    .await
}

/// Whether a future is ready at once.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Waits until the process drains, or the orders say close, or nobody gives any more.
async fn ending(life: Arc<Lifecycle>, mut orders: watch::Receiver<Orders>) {
    tokio::select! {
        () = life.reached(Stage::Draining) => {}
        _ = orders.wait_for(|orders| orders.fate != Fate::Open) => {}
    }
}

#[cfg(test)]
mod tests;
