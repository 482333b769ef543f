//! A backend's live state, by identity: pool name and backend name.

mod evidence;
mod ewma;
mod suspicion;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;

use crate::metrics::{BackendState, ConnectFailure, Counter, Histogram, LATENCY_BOUNDS, Lanes, ProbeResult, Seconds};

pub use evidence::Evidence;
use ewma::PeakEwma;
pub use ewma::{Cost, TAU};
use suspicion::Suspicion;

/// Names one [`Backend`] for as long as the process lives; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u32);

/// What is known and counted about one backend.
///
/// Weight, tier and limits are not identity: they sit in a pool's snapshot, so that changing them
/// keeps history.
#[derive(Debug)]
pub struct Backend {
    /// Stable over snapshots.
    pub id: BackendId,
    /// The pool's name.
    pub pool: Arc<str>,
    /// Its name within the pool.
    pub name: Arc<str>,
    /// What is counted about it.
    pub cells: BackendCells,
    /// What sessions have shown of it.
    pub evidence: Evidence,
    active: AtomicU32,
    last_probe: ArcSwapOption<LastProbe>,
    latency: PeakEwma,
    suspicion: Suspicion,
    /// Where the clock of `latency` begins.
    epoch: Instant,
}

impl Backend {
    /// Sessions that hold it now, those still connecting included.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Takes a place; the returned guard gives it back.
    pub fn claim(self: &Arc<Self>) -> Claim {
        self.active.fetch_add(1, Ordering::Relaxed);
        Claim(self.clone())
    }

    /// Takes a place unless `max` are taken: never more than `max`, however many threads ask at once.
    pub fn try_claim(self: &Arc<Self>, max: Option<u32>) -> Option<Claim> {
        let Some(max) = max else {
            return Some(self.claim());
        };
        let one_more = |active| (active < max).then_some(active + 1);
        let taken = self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.ok().map(|_| Claim(self.clone()))
    }

    /// How it was when it was last asked; `None` if it never was.
    pub fn last_probe(&self) -> Option<Arc<LastProbe>> {
        self.last_probe.load_full()
    }

    /// Takes in how it was when it was asked; `None` forgets it.
    pub fn note_probe(&self, probe: Option<Arc<LastProbe>>) {
        self.last_probe.store(probe);
    }

    /// Takes in how long it took to connect, or from the question to its first byte.
    pub fn observe(&self, took: Duration, now: Instant) {
        self.latency.observe(took, self.age(now));
    }

    /// Takes in an attempt to connect that failed, by its fault.
    pub fn observe_failure(&self, now: Instant) {
        self.latency.observe_failure(self.age(now));
        self.suspicion.fail(self.age(now));
    }

    /// Another backend, asked later, connected first: no failure, but others are to be picked first for a moment.
    pub fn observe_beaten(&self, now: Instant) {
        self.suspicion.fail(self.age(now));
    }

    /// Takes in an attempt to connect that succeeded.
    pub fn observe_success(&self) {
        self.suspicion.clear();
    }

    /// Whether it failed to connect a moment ago, so that others are to be picked first.
    pub fn is_suspect(&self, now: Instant) -> bool {
        !self.suspicion.is_clear() && self.suspicion.holds(self.age(now))
    }

    /// A session goes there in spite of what it failed; the others go on passing it over.
    pub fn try_suspect(&self, now: Instant) {
        if !self.suspicion.is_clear() {
            self.suspicion.try_again(self.age(now));
        }
    }

    /// What those times say a session must reckon with; `None` until there was one.
    pub fn cost(&self, now: Instant) -> Option<Cost> {
        self.latency.cost(self.age(now))
    }

    /// Forgets those times: behind the name is another address.
    pub fn forget_latency(&self) {
        self.latency.forget();
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }
}

/// How the last probe of a backend went.
#[derive(Debug, Clone, PartialEq)]
pub struct LastProbe {
    /// As counted.
    pub result: ProbeResult,
    /// Why it was not good, in words.
    pub error: Option<Arc<str>>,
    /// How long it took.
    pub took: Duration,
    /// When it ended.
    pub at: SystemTime,
}

/// One session's place at a backend.
#[derive(Debug)]
pub struct Claim(Arc<Backend>);

impl Claim {
    /// The backend that is held.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The cells of one backend.
#[derive(Debug)]
pub struct BackendCells {
    /// Connections established to it.
    pub connections: Counter,
    /// Payload bytes.
    pub bytes: Lanes,
    /// Time spent establishing those connections.
    pub connect_seconds: Seconds,
    /// Time to first bytes.
    pub first_byte_seconds: Seconds,
    /// Failed attempts, by [`ConnectFailure`].
    pub failures: [Counter; ConnectFailure::ALL.len()],
    /// Probes, by [`ProbeResult`].
    pub probes: [Counter; ProbeResult::ALL.len()],
    /// How long the last probe took, nanoseconds.
    pub probe_duration: AtomicU64,
    /// How often it became each [`BackendState`].
    pub transitions: [Counter; BackendState::ALL.len()],
    /// How often it was ejected.
    pub ejections: Counter,
    /// Connect times; shown with `metrics.backend_histograms`.
    pub connect_histogram: Histogram,
}

impl BackendCells {
    fn new(workers: usize) -> Self {
        Self {
            connections: Counter::default(),
            bytes: Lanes::new(workers),
            connect_seconds: Seconds::default(),
            first_byte_seconds: Seconds::default(),
            failures: Default::default(),
            probes: Default::default(),
            probe_duration: AtomicU64::new(0),
            transitions: Default::default(),
            ejections: Counter::default(),
            connect_histogram: Histogram::new(LATENCY_BOUNDS),
        }
    }
}

/// Hands out backends by identity, so that a reload finds the one that is there.
///
/// Only config loading and discovery come here; no session does.
#[derive(Debug)]
pub struct Registry {
    workers: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    next: u32,
    /// So many entries are looked through for those that are gone.
    tidy_at: usize,
    backends: BTreeMap<(Arc<str>, Arc<str>), std::sync::Weak<Backend>>,
}

impl Registry {
    /// For a process of so many workers.
    pub fn new(workers: usize) -> Self {
        Self { workers, known: Mutex::default() }
    }

    /// The backend of that identity: the living one, or a new one.
    pub fn get(&self, pool: &Arc<str>, name: &Arc<str>) -> Arc<Backend> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (pool.clone(), name.clone());
        if let Some(backend) = known.backends.get(&key).and_then(std::sync::Weak::upgrade) {
            return backend;
        }
        // Now and then, not for each newcomer: a pool may have tens of thousands.
        if known.backends.len() >= known.tidy_at {
            known.backends.retain(|_, backend| backend.strong_count() > 0);
            known.tidy_at = known.backends.len() * 2 + 16;
        }
        let id = BackendId(known.next);
        known.next += 1;
        let (pool, name) = key.clone();
        let backend = Arc::new(Backend {
            id,
            pool,
            name,
            cells: BackendCells::new(self.workers),
            evidence: Evidence::default(),
            active: AtomicU32::new(0),
            last_probe: ArcSwapOption::empty(),
            latency: PeakEwma::default(),
            suspicion: Suspicion::default(),
            epoch: Instant::now(),
        });
        known.backends.insert(key, Arc::downgrade(&backend));
        backend
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_identity_is_the_same_backend_while_it_lives() {
        let registry = Registry::new(1);
        let (pool, name): (Arc<str>, Arc<str>) = ("p".into(), "b".into());
        let first = registry.get(&pool, &name);
        let claim = first.claim();
        assert!(Arc::ptr_eq(&first, &registry.get(&pool, &name)));
        let id = first.id;
        drop((first, claim));
        assert_ne!(registry.get(&pool, &name).id, id);
    }

    #[test]
    fn a_claim_gives_its_place_back() {
        let backend = Registry::new(1).get(&"p".into(), &"b".into());
        let claims = [backend.claim(), backend.claim()];
        assert_eq!(backend.active(), 2);
        drop(claims);
        assert_eq!(backend.active(), 0);
    }

    #[test]
    fn threads_together_never_claim_more_than_the_most() {
        let backend = Registry::new(1).get(&"p".into(), &"b".into());
        let grab = || {
            for _ in 0..2000 {
                let claim = backend.try_claim(Some(3));
                assert!(backend.active() <= 3);
                drop(claim);
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(grab))));
        assert_eq!(backend.active(), 0);
        assert!(backend.try_claim(Some(0)).is_none());
    }
}
