//! Listeners: what sessions keep of theirs, and the loop that accepts.

mod accept;
mod grumble;
mod seldom;
mod shortage;
mod tls;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::admission::Entrance;
use crate::config::plan::{Listener, RelayMode};
use crate::metrics::{AcceptError, Cause, Closed, Counter, DURATION_BOUNDS, Histogram, Refused, RouteCells, Seconds};
use crate::net::Peer;

pub use accept::{Accepted, Acceptor, Fate, Orders};
pub use grumble::Grumble;
pub(crate) use shortage::classify;
pub use tls::{LiveTls, UnderWay};

/// A listener's name, counts and tunables, held by its sessions and written by reload.
#[derive(Debug)]
pub struct ListenerLive {
    /// Unique among listeners.
    pub name: Arc<str>,
    /// What is counted about it.
    pub cells: ListenerCells,
    /// Limits on time, read by living sessions.
    pub timeouts: LiveTimeouts,
    /// Who may come in.
    pub entrance: Arc<Entrance>,
    /// Complaints about those that may not …
    pub refused: Grumble,
    /// … about peers that may not say who the client is …
    pub untrusted: Grumble,
    /// … and about those that may, and do not.
    pub invalid: Grumble,
    /// What is said of clients whose first bytes decide no route.
    pub undecided: Grumble,
    /// How TLS is spoken with its clients.
    pub tls: LiveTls,
    /// What is asked of its settings for each session.
    pub asks: LiveAsks,
    settings: ArcSwap<Listener>,
    routes: Mutex<BTreeMap<Arc<str>, Arc<RouteCells>>>,
    workers: usize,
}

impl ListenerLive {
    /// A listener as configured, in a process of so many workers.
    pub fn new(settings: Listener, workers: usize) -> Self {
        let now = Instant::now();
        let live = Self {
            name: settings.name.clone(),
            cells: ListenerCells::default(),
            timeouts: LiveTimeouts::default(),
            entrance: Arc::new(Entrance::new(&settings.admission, now)),
            refused: Grumble::new(now),
            untrusted: Grumble::new(now),
            invalid: Grumble::new(now),
            undecided: Grumble::new(now),
            tls: LiveTls::new(now),
            asks: LiveAsks::default(),
            settings: ArcSwap::from_pointee(settings.clone()),
            routes: Mutex::default(),
            workers,
        };
        live.follow(settings);
        live
    }

    /// Takes over new settings; sessions that live follow them.
    pub fn follow(&self, settings: Listener) {
        self.timeouts.set(settings.timeouts.idle, settings.timeouts.half_closed, settings.timeouts.session);
        self.asks.set(&settings);
        self.entrance.follow(&settings.admission);
        self.entrance.follow_bandwidth(settings.bandwidth);
        self.settings.store(Arc::new(settings));
    }

    /// How bytes of new sessions are moved.
    pub fn relay(&self) -> RelayMode {
        self.settings.load().relay
    }

    /// Its settings now; for a short look, as a guard that is not to be kept.
    pub fn settings(&self) -> arc_swap::Guard<Arc<Listener>> {
        self.settings.load()
    }

    /// Says that a client was refused at a gate, and why: now and then, for whoever can connect could else fill a disk.
    pub fn complain(&self, reason: Refused, peer: Peer, client: Peer, at: Instant) {
        let (listener, untrusted) = (&self.name, reason == Refused::ProxyUntrusted);
        let grumble = if untrusted { &self.untrusted } else { &self.refused };
        match grumble.may_say(at) {
            None => {}
            Some(unsaid) if untrusted => {
                tracing::warn!(%listener, %peer, unsaid, "refused: not in accept_proxy.from");
            }
            Some(unsaid) => tracing::warn!(%listener, %peer, %client, %reason, unsaid, "refused"),
        }
    }

    /// The addresses as configured.
    pub fn configured(&self) -> Vec<String> {
        self.settings.load().bind.iter().map(|bind| bind.address.to_string()).collect()
    }

    /// The cells of its sessions to `pool`, `""` for those that have none yet.
    pub fn route_cells(&self, pool: &str) -> Arc<RouteCells> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cells) = routes.get(pool) {
            return cells.clone();
        }
        routes.entry(pool.into()).or_insert_with(|| Arc::new(RouteCells::new(self.workers))).clone()
    }

    /// How many of its sessions have ended for this cause.
    pub fn ended(&self, cause: Cause) -> u64 {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.values().map(|cells| cells.closed.of(cause)).sum()
    }

    /// One consistent reading of what came, what was refused, what has ended and what is left.
    pub fn census(&self) -> Census {
        let routes: Vec<_> = {
            let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
            routes.iter().map(|(pool, cells)| (pool.clone(), cells.clone())).collect()
        };
        // Order matters: a connection is counted before its refusal or end is, so reading the
        // arrivals last can never give fewer of them than of the rest.
        let closed: Vec<_> = routes.iter().map(|(_, cells)| Closed::read(&cells.closed)).collect();
        let refused =
            Refused::ALL.iter().map(|reason| (*reason, self.cells.refused[*reason as usize].get())).collect::<Vec<_>>();
        let connections = self.cells.connections.get();
        let gone: u64 = closed.iter().flatten().map(|(_, n)| n).chain(refused.iter().map(|(_, n)| n)).sum();
        let routes = routes.into_iter().zip(closed).map(|((pool, cells), closed)| RouteCensus { pool, cells, closed });
        Census { connections, active: connections - gone, refused, routes: routes.collect() }
    }
}

/// What is counted about a listener besides its sessions' ends.
#[derive(Debug)]
pub struct ListenerCells {
    /// Connections accepted, those refused at the gate included.
    pub connections: Counter,
    /// Refusals at a gate, by [`Refused`].
    pub refused: [Counter; Refused::ALL.len()],
    /// Failing accepts, by [`AcceptError`].
    pub accept_errors: [Counter; AcceptError::ALL.len()],
    /// Time not accepting for want of descriptors, memory or places.
    pub accept_paused: Seconds,
    /// How long sessions lasted.
    pub duration: Histogram,
}

impl Default for ListenerCells {
    fn default() -> Self {
        Self {
            connections: Counter::default(),
            refused: Default::default(),
            accept_errors: Default::default(),
            accept_paused: Seconds::default(),
            duration: Histogram::new(DURATION_BOUNDS),
        }
    }
}

/// One consistent reading: `connections` = all of `refused` + all of `routes[].closed` + `active`.
#[derive(Debug)]
pub struct Census {
    /// Connections accepted.
    pub connections: u64,
    /// Sessions that live.
    pub active: u64,
    /// Refusals by reason, zeroes included.
    pub refused: Vec<(Refused, u64)>,
    /// Sessions by the pool they went to.
    pub routes: Vec<RouteCensus>,
}

/// The part of a [`Census`] that one pool served.
#[derive(Debug)]
pub struct RouteCensus {
    /// The pool's name, or `""`.
    pub pool: Arc<str>,
    /// Its cells, for the bytes.
    pub cells: Arc<RouteCells>,
    /// Ends by cause, side and phase, without zeroes.
    pub closed: Vec<((Cause, crate::metrics::Side, crate::metrics::Phase), u64)>,
}

/// Limits on time as living sessions read them: milliseconds, 0 is off.
#[derive(Debug, Default)]
pub struct LiveTimeouts {
    idle: AtomicU64,
    half_closed: AtomicU64,
    session: AtomicU64,
}

impl LiveTimeouts {
    fn set(&self, idle: Option<Duration>, half_closed: Option<Duration>, session: Option<Duration>) {
        self.idle.store(millis(idle), Relaxed);
        self.half_closed.store(millis(half_closed), Relaxed);
        self.session.store(millis(session), Relaxed);
    }

    /// No byte in either direction.
    pub fn idle(&self) -> Option<Duration> {
        limit(self.idle.load(Relaxed))
    }

    /// No byte in the direction still open.
    pub fn half_closed(&self) -> Option<Duration> {
        limit(self.half_closed.load(Relaxed))
    }

    /// From accept.
    pub fn session(&self) -> Option<Duration> {
        limit(self.session.load(Relaxed))
    }
}

/// What every session asks and few listeners want, as one load each: the settings themselves cost fifty instructions a look.
#[derive(Debug, Default)]
pub struct LiveAsks {
    starttls: AtomicBool,
    start_lines: AtomicBool,
}

impl LiveAsks {
    fn set(&self, settings: &Listener) {
        self.starttls.store(settings.starttls.is_some(), Relaxed);
        self.start_lines.store(settings.access.at_start, Relaxed);
    }

    /// Whether a request for TLS is expected in the clear.
    pub fn starttls(&self) -> bool {
        self.starttls.load(Relaxed)
    }

    /// Whether sessions are to be logged when they start.
    pub fn start_lines(&self) -> bool {
        self.start_lines.load(Relaxed)
    }
}

fn millis(limit: Option<Duration>) -> u64 {
    limit.map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1))
}

fn limit(millis: u64) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis))
}
