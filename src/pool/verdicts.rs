//! What a pool's keeper knows of its backends, as it goes from one process to the next: who is down stays down without
//! waiting for probes, who is ejected stays out for the time that is left.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Held;
use super::seat::Seat;
use crate::backend::LastProbe;
use crate::config::plan::Health;
use crate::health::Tracker;
use crate::health::outlier::{Outlier, Sentence};
use crate::metrics::{BackendState, ProbeResult};

/// What is known of a pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdicts {
    /// By name.
    pub backends: BTreeMap<String, Verdict>,
    /// The tier that serves.
    #[serde(default)]
    pub serving_tier: Option<u8>,
    /// With `single_active`: the backend that has the sessions.
    #[serde(default)]
    pub active: Option<String>,
    /// With `single_active`: what the process is confined to while there is another one. Missing in earlier versions.
    #[serde(default)]
    pub held: Option<Held>,
}

/// What is known of one backend.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// As configured. Behind another address is another server, of which this says nothing.
    pub address: String,
    /// Of a host name: its addresses, the one in use first.
    pub resolved: Vec<SocketAddr>,
    /// What probes have shown.
    pub tracker: Option<Tracker>,
    /// How the last of them went.
    pub last_probe: Option<Probed>,
    /// What sessions have shown.
    pub sentence: Sentence,
    /// Why it was ejected.
    pub ejected_for: String,
    /// When it became what it is, microseconds since 1970.
    pub since_us: u64,
    /// How long it has been up again, in milliseconds, if it was not always.
    pub up_for_ms: Option<u64>,
}

/// A probe that was made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Probed {
    /// As counted.
    pub result: String,
    /// In words.
    pub error: Option<String>,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// When it ended, microseconds since 1970.
    pub at_us: u64,
}

impl Seat {
    /// What is known of it; `now` is by the clock of ejections.
    pub(super) fn verdict(&self, now: Duration) -> Verdict {
        Verdict {
            address: self.spec.address.to_string(),
            resolved: self.resolved.clone(),
            tracker: self.tracker.clone(),
            last_probe: self.backend.last_probe().map(|probe| Probed::of(&probe)),
            sentence: self.outlier.sentence(now),
            ejected_for: self.ejected_for.clone(),
            since_us: micros(self.since),
            up_for_ms: self.recovered.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Takes over what another process knew of it, as far as it is about the same address and is asked for here. The
    /// seat is settled then: becoming what it was already is no change.
    pub(super) fn take_over(&mut self, verdict: &Verdict, health: &Health, now: Duration) {
        if verdict.address != self.spec.address.to_string() {
            return;
        }
        if self.resolved.is_empty() && !verdict.resolved.is_empty() {
            self.resolved.clone_from(&verdict.resolved);
        }
        if self.tracker.is_some() && verdict.tracker.is_some() {
            self.tracker.clone_from(&verdict.tracker);
            self.backend.note_probe(verdict.last_probe.as_ref().and_then(Probed::probe));
        }
        if health.passive.is_some() {
            self.outlier = Outlier::sentenced(&verdict.sentence, now);
            self.ejected_for.clone_from(&verdict.ejected_for);
        }
        self.state = self.judge().0;
        self.settled = true;
        self.since = UNIX_EPOCH.checked_add(Duration::from_micros(verdict.since_us)).unwrap_or(self.since);
        let up = verdict.up_for_ms.filter(|_| self.state == BackendState::Up);
        self.recovered = up.and_then(|millis| Instant::now().checked_sub(Duration::from_millis(millis)));
    }
}

impl Probed {
    fn of(probe: &LastProbe) -> Self {
        Self {
            result: probe.result.as_str().to_owned(),
            error: probe.error.as_deref().map(str::to_owned),
            took_us: u64::try_from(probe.took.as_micros()).unwrap_or(u64::MAX),
            at_us: micros(probe.at),
        }
    }

    fn probe(&self) -> Option<Arc<LastProbe>> {
        let result = *ProbeResult::ALL.iter().find(|result| result.as_str() == self.result)?;
        let at = UNIX_EPOCH.checked_add(Duration::from_micros(self.at_us))?;
        let error = self.error.as_deref().map(Arc::from);
        Some(Arc::new(LastProbe { result, error, took: Duration::from_micros(self.took_us), at }))
    }
}

fn micros(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
