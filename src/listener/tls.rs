//! TLS of one listener: what is in force, handshakes under way, and what is counted of them.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Instant;

use arc_swap::ArcSwapOption;

use super::Grumble;
use crate::metrics::{Counter, HandshakeResult};
use crate::tls::{OwnSecrets, Server};

/// TLS of a listener. A reload or new content of its files puts another server in; handshakes that have begun go on with
/// the one they began with.
#[derive(Debug)]
pub struct LiveTls {
    server: ArcSwapOption<Server>,
    /// Whether there is one: what nearly all sessions ask, and cheaper to know.
    on: AtomicBool,
    under_way: AtomicUsize,
    current: AtomicBool,
    results: [Counter; HandshakeResult::ALL.len()],
    /// Complaints about clients whose handshake failed.
    pub failures: Grumble,
}

/// A place among the handshakes under way, given back when it is dropped.
#[derive(Debug)]
pub struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl LiveTls {
    /// None yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            server: ArcSwapOption::empty(),
            on: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            current: AtomicBool::new(true),
            results: Default::default(),
            failures: Grumble::new(now),
        }
    }

    /// What new connections meet; None is no TLS.
    pub fn server(&self) -> Option<Arc<Server>> {
        if self.on.load(Acquire) { self.server.load_full() } else { None }
    }

    /// What new connections meet from now on. Its files are as they are on disk.
    pub fn put(&self, server: Option<Arc<Server>>) {
        let on = server.is_some();
        self.server.store(server);
        // After it: whoever reads this finds the server, too.
        self.on.store(on, Release);
        self.current.store(true, Relaxed);
    }

    /// The files on disk have become others, and those cannot be used.
    pub fn outdated(&self) {
        self.current.store(false, Relaxed);
    }

    /// Whether what is in force is what is on disk.
    pub fn is_current(&self) -> bool {
        self.current.load(Relaxed)
    }

    /// The secrets that its tickets were made with so far, or new ones.
    pub fn secrets(&self) -> Arc<OwnSecrets> {
        self.server().map(|server| server.secrets().clone()).unwrap_or_default()
    }

    /// A place for a handshake, unless there are `most` under way already.
    pub fn enter(&self, most: usize) -> Option<UnderWay<'_>> {
        let entered = self.under_way.fetch_update(Relaxed, Relaxed, |now| (now < most).then_some(now + 1));
        entered.is_ok().then(|| UnderWay(&self.under_way))
    }

    /// Counts a handshake that has ended.
    pub fn count(&self, result: HandshakeResult) {
        self.results[result as usize].inc();
    }

    /// Handshakes that have ended so.
    pub fn ended(&self, result: HandshakeResult) -> u64 {
        self.results[result as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_places_and_they_come_back() {
        let tls = LiveTls::new(Instant::now());
        let [one, two] = [(); 2].map(|()| tls.enter(2));
        assert!(one.is_some() && two.is_some() && tls.enter(2).is_none());
        drop(one);
        assert!(tls.enter(1).is_none(), "a lower limit counts at once");
        assert!(tls.enter(2).is_some());
    }
}
