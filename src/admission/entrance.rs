//! The limits of a listener, and of each of its clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::bandwidth::{LiveBandwidth, Share};
use super::clients::{ClientKey, Clients, Limits};
use super::rate::{Pace, Rate, nanos};
use crate::config::plan::{Admission, Bandwidth, PerClient, RefuseWith};
use crate::metrics::Refused;
use crate::net::Peer;

/// What stands at the entrance of a listener, for all workers. A reload may change it.
#[derive(Debug)]
pub struct Entrance {
    rules: ArcSwap<Admission>,
    /// Sessions, and those that are on their way to becoming one.
    sessions: AtomicUsize,
    rate: Rate,
    pub(super) clients: Clients,
    pub(super) bandwidth: LiveBandwidth,
    /// Times of clients and of their bytes count from here.
    made: Instant,
}

/// A connection's place under the limits of its listener and of its client; dropping it frees both.
///
/// Until it is [settled](Stay::settle) the connection may still be refused by someone else, and then it has taken nothing
/// of any rate either.
#[derive(Debug)]
#[must_use]
pub(super) struct Stay {
    pub(super) entrance: Arc<Entrance>,
    /// Who the client is, once that is known.
    pub(super) client: Option<ClientKey>,
    /// Whether it took a turn of the listener's rate.
    turn: bool,
    settled: bool,
}

impl Entrance {
    /// An entrance with these rules.
    pub fn new(rules: &Admission, now: Instant) -> Self {
        let entrance = Self {
            rules: ArcSwap::from_pointee(Admission::default()),
            sessions: AtomicUsize::new(0),
            rate: Rate::new(now),
            clients: Clients::default(),
            bandwidth: LiveBandwidth::default(),
            made: now,
        };
        entrance.follow(rules);
        entrance
    }

    /// Takes over other rules. They end nobody's session; those that live count under the new limits as well. Only clients
    /// of other IPv6 prefixes than before are counted anew.
    pub fn follow(&self, rules: &Admission) {
        self.rate.follow(rules.max_rate);
        self.rules.store(Arc::new(rules.clone()));
    }

    /// Takes over other limits on bytes; sessions that live keep to them within a second.
    pub fn follow_bandwidth(&self, bandwidth: Bandwidth) {
        self.bandwidth.follow(bandwidth);
    }

    /// The time by the clock of its clients.
    pub(super) fn now(&self) -> u64 {
        nanos(self.made, Instant::now())
    }

    /// How connections are turned away.
    pub fn refuse_with(&self) -> RefuseWith {
        self.rules.load().refuse_with
    }

    /// Sessions that it lets in at once, if that is limited.
    pub fn limit(&self) -> Option<usize> {
        self.rules.load().max_connections
    }

    /// Lets a connection in that was accepted at `at`: of this client, or of one who is yet to be introduced.
    ///
    /// What concerns one client alone is asked first, so that whoever has more than enough takes nothing from the others.
    ///
    /// # Errors
    /// Refuse it; nothing is taken.
    pub(super) fn enter(self: &Arc<Self>, client: Option<Peer>, at: Instant) -> Result<Stay, Refused> {
        let client = client.map(|client| self.enter_client(client, at)).transpose()?;
        let max = self.limit().unwrap_or(usize::MAX);
        if self.sessions.fetch_update(Relaxed, Relaxed, |sessions| (sessions < max).then_some(sessions + 1)).is_err() {
            client.into_iter().for_each(|key| self.leave_client(key, false));
            return Err(Refused::MaxConnectionsListener);
        }
        // From here on dropping it gives everything back.
        let mut stay = Stay { entrance: self.clone(), client, turn: false, settled: false };
        stay.turn = self.rate.take(at);
        if stay.turn { Ok(stay) } else { Err(Refused::RateListener) }
    }

    fn enter_client(&self, client: Peer, at: Instant) -> Result<ClientKey, Refused> {
        let rules = self.rules.load();
        if rules.access.as_ref().is_some_and(|access| !access.allows(client.ip())) {
            return Err(Refused::Denied);
        }
        let PerClient { max_connections, rate, prefix_v6 } = rules.per_client;
        let key = ClientKey::new(client, prefix_v6);
        let limits = Limits { max_connections, pace: rate.map(Pace::new) };
        self.clients.enter(key, limits, nanos(self.made, at)).map(|()| key)
    }

    /// A client's session has ended, or never was.
    fn leave_client(&self, key: ClientKey, was: bool) {
        let pace = || self.rules.load().per_client.rate.map(Pace::new);
        let never_was = if was { None } else { pace() };
        self.clients.leave(key, never_was, || self.now());
    }
}

impl Stay {
    /// Lets in the client for whom a peer connects that was let in before.
    ///
    /// # Errors
    /// Refuse it. Its connection has been one of the listener's nevertheless.
    pub(super) fn introduce(&mut self, client: Peer, at: Instant) -> Result<(), Refused> {
        self.client = Some(self.entrance.enter_client(client, at)?);
        Ok(())
    }

    /// What its session may move.
    pub(super) fn share(&self) -> Share<'_> {
        Share::new(self)
    }

    /// Nobody else may refuse it any more.
    pub(super) fn settle(&mut self) {
        self.settled = true;
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let entrance = &self.entrance;
        entrance.sessions.fetch_sub(1, Relaxed);
        if self.turn && !self.settled {
            entrance.rate.give_back();
        }
        if let Some(key) = self.client {
            entrance.leave_client(key, self.settled);
        }
    }
}

#[cfg(test)]
mod tests;
