//! One configured backend, all that is known of it, and what that makes it to new sessions.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::overrides::{Forced, Override};
use super::treatment::Treatment;
use crate::backend::Backend;
use crate::config::plan::{self, BackendAddress, ProbeAt};
use crate::discover::DiscoverError;
use crate::health::outlier::Outlier;
use crate::health::{Standing, Tracker};
use crate::metrics::BackendState;
use crate::net::Target;

/// A configured backend and what is known of it. Only the keeper has any.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) backend: Arc<Backend>,
    pub(super) spec: plan::Backend,
    /// Of a host name: the addresses to dial, the one in use first.
    pub(super) resolved: Vec<SocketAddr>,
    pub(super) trouble: Option<DiscoverError>,
    /// What probes have shown; `None` while none are asked for.
    pub(super) tracker: Option<Tracker>,
    /// What sessions have shown.
    pub(super) outlier: Outlier,
    /// Why it was ejected.
    pub(super) ejected_for: String,
    /// What was said by hand.
    pub(super) over: Option<Override>,
    /// What was last ordered about its sessions.
    pub(super) treated: Treatment,
    /// Whether a better tier took over from its own, and its own has not served since.
    pub(super) relieved: bool,
    /// Whether `state` was ever judged.
    pub(super) settled: bool,
    pub(super) state: BackendState,
    pub(super) since: SystemTime,
    /// The same by the clock that never jumps.
    pub(super) changed: Instant,
    /// When it came up, unless it was up from the start: what slow start counts from.
    pub(super) recovered: Option<Instant>,
}

impl Seat {
    pub(super) fn new(backend: Arc<Backend>, spec: plan::Backend, health: &plan::Health) -> Self {
        Self {
            backend,
            spec,
            resolved: Vec::new(),
            trouble: None,
            tracker: health.probe.is_some().then(|| Tracker::new(health.start_up)),
            outlier: Outlier::default(),
            ejected_for: String::new(),
            over: None,
            treated: Treatment::KEEP,
            relieved: false,
            settled: false,
            state: BackendState::Unknown,
            since: SystemTime::now(),
            changed: Instant::now(),
            recovered: None,
        }
    }

    /// Where it can be dialled, best first.
    pub(super) fn targets(&self) -> Arc<[Target]> {
        match &self.spec.address {
            BackendAddress::Ip(address) => [Target::Ip(*address)].into(),
            BackendAddress::Unix(path) => [unix(path)].into(),
            BackendAddress::Host(..) => self.resolved.iter().map(|address| Target::Ip(*address)).collect(),
        }
    }

    /// Where it is probed; `None` while there is no address, and for a port of a unix socket.
    pub(super) fn probed_at(&self, at: &ProbeAt) -> Option<Target> {
        match (at, self.targets().first()?) {
            (ProbeAt::Backend, target) => Some(target.clone()),
            (ProbeAt::Port(port), Target::Ip(address)) => Some(Target::Ip(SocketAddr::new(address.ip(), *port))),
            (ProbeAt::Port(_), Target::Unix(_)) | (ProbeAt::Address(BackendAddress::Host(..)), _) => None,
            (ProbeAt::Address(BackendAddress::Ip(address)), _) => Some(Target::Ip(*address)),
            (ProbeAt::Address(BackendAddress::Unix(path)), _) => Some(unix(path)),
        }
    }

    /// Its share of sessions, as configured or as said by hand.
    pub(super) fn weight(&self) -> u32 {
        self.over.as_ref().and_then(|over| over.weight).unwrap_or(self.spec.weight)
    }

    /// Whether it is out of service because someone wants it to be.
    pub(super) fn is_out_of_service(&self) -> bool {
        matches!(self.state, BackendState::Disabled | BackendState::Draining)
    }

    /// What all that is known amounts to, and why: what was said by hand comes first, then `disabled`, then health.
    pub(super) fn judge(&self) -> (BackendState, String) {
        let forced = self.over.as_ref().and_then(|over| over.forced);
        match forced {
            Some(Forced::Drain { .. }) => return (BackendState::Draining, "drained by hand".into()),
            None if self.spec.disabled => return (BackendState::Disabled, "disabled in the configuration".into()),
            Some(Forced::Enable) | None => {}
        }
        let named = matches!(self.spec.address, BackendAddress::Host(..));
        match self.trouble {
            Some(error) if self.resolved.is_empty() => {
                return (BackendState::Down, format!("host name: {}", error.explain()));
            }
            None if named && self.resolved.is_empty() => {
                return (BackendState::Down, "host name: not resolved yet".into());
            }
            _ => {}
        }
        match self.tracker.as_ref().map(Tracker::standing) {
            Some(Standing::Down) => (BackendState::Down, format!("probe: {}", self.probe_error())),
            Some(Standing::Unknown) => (BackendState::Unknown, "not probed yet".into()),
            _ if self.outlier.is_on_trial() => (BackendState::Ejected, format!("on trial after {}", self.ejected_for)),
            _ if self.outlier.is_ejected() => (BackendState::Ejected, self.ejected_for.clone()),
            _ => (BackendState::Up, self.reservations()),
        }
    }

    /// What the last probe found, of one that is down or about to be.
    fn probe_error(&self) -> Arc<str> {
        match self.backend.last_probe() {
            None => "failed".into(),
            Some(probe) => probe.error.clone().unwrap_or_else(|| "good again, but not often enough yet".into()),
        }
    }

    /// What is to be said of one that is up all the same.
    fn reservations(&self) -> String {
        match (self.trouble, self.tracker.as_ref().is_some_and(Tracker::in_transition)) {
            (Some(error), _) => format!("host name: {}; last good answer kept", error.explain()),
            (None, true) => format!("probe: {}", self.probe_error()),
            (None, false) => String::new(),
        }
    }

    /// Forgets what belongs to the address: behind the name is another one.
    pub(super) fn moved(&mut self, health: &plan::Health) {
        self.backend.forget_latency();
        self.outlier.pardon();
        self.backend.note_probe(None);
        self.backend.evidence.forget();
        self.tracker = health.probe.is_some().then(|| Tracker::new(health.start_up));
    }
}

fn unix(path: &Path) -> Target {
    Target::Unix(path.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::{LastProbe, Registry};
    use crate::balance::CATALOGUE;
    use crate::metrics::{BackendState as State, ProbeResult};

    fn seat(backend: &str) -> Seat {
        let yaml = format!(
            "{{ listeners: {{ l: {{ bind: 127.0.0.1:0, pool: p }} }},
                pools: {{ p: {{ backends: [ {backend} ], health: {{ probe: tcp, start: down }} }} }} }}"
        );
        let plan = crate::config::parse("test.yaml", &yaml, &CATALOGUE, &|_| None).expect("valid");
        let (pool, spec) = (&plan.pools[0], plan.pools[0].backends[0].clone());
        Seat::new(Registry::new(1).get(&pool.name, &spec.name), spec, &pool.health)
    }

    fn over(forced: Forced) -> Option<Override> {
        Some(Override { forced: Some(forced), ..Override::default() })
    }

    #[test]
    fn hand_beats_configuration_beats_health() {
        let mut seat = seat("{ address: '127.0.0.1:1', disabled: true }");
        assert_eq!(seat.judge().0, State::Disabled);
        seat.over = over(Forced::Enable);
        assert_eq!(seat.judge(), (State::Unknown, "not probed yet".into()), "health still counts");
        seat.tracker.as_mut().expect("probed").observe(true, 1, 1);
        assert_eq!(seat.judge(), (State::Up, String::new()));
        seat.over = over(Forced::Drain { within_ms: None });
        assert_eq!(seat.judge(), (State::Draining, "drained by hand".into()));
    }

    #[test]
    fn a_backend_that_is_down_says_what_its_probe_found() {
        let mut seat = seat("127.0.0.1:1");
        seat.tracker.as_mut().expect("probed").observe(false, 1, 1);
        let error = Some("a replica, expected the primary".into());
        let (result, took, at) = (ProbeResult::Unexpected, Duration::ZERO, SystemTime::now());
        seat.backend.note_probe(Some(LastProbe { result, error, took, at }.into()));
        assert_eq!(seat.judge(), (State::Down, "probe: a replica, expected the primary".into()));
    }

    #[test]
    fn probes_go_where_they_are_told() {
        let fixed = seat("127.0.0.1:1");
        let at = |seat: &Seat, at: ProbeAt| seat.probed_at(&at).map(|target| target.to_string());
        assert_eq!(at(&fixed, ProbeAt::Backend).as_deref(), Some("127.0.0.1:1"));
        assert_eq!(at(&fixed, ProbeAt::Port(9)).as_deref(), Some("127.0.0.1:9"));
        let elsewhere = ProbeAt::Address(BackendAddress::Ip(([10, 0, 0, 1], 7).into()));
        assert_eq!(at(&fixed, elsewhere.clone()).as_deref(), Some("10.0.0.1:7"));
        assert_eq!(at(&seat("'unix:/tmp/s'"), ProbeAt::Port(9)), None);
        assert_eq!(at(&seat("'h:1'"), elsewhere), None, "it has no address yet");
    }
}
