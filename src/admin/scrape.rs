//! `/metrics`: one look at everything that is counted.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::State;
pub use super::process::Process;
use crate::admission::Gate;
use crate::backend::Backend;
use crate::config::plan::BackendAddress;
use crate::discover::DiscoverError;
use crate::listener::{Census, ListenerLive};
use crate::metrics::families as f;
use crate::metrics::{
    AcceptError, BackendState, BusyPoll, ConnectFailure, Counts, Direction, Engine, Format, HandshakeResult, Known,
    Labels, Page, ProbeResult, ReloadResult, Unavailable,
};
use crate::pool::Pool;
use crate::route::Live;

/// A page of all metrics, finished: of this process and of those before it.
pub fn scrape(state: &State, process: &Process, format: Format) -> String {
    write(state, process, format, others).finish()
}

/// A page of what this process alone has counted.
pub(super) fn scrape_alone(state: &State, process: &Process, format: Format) -> String {
    write(state, process, format, |_, _, _| Counts::default()).finish()
}

fn write(
    state: &State,
    process: &Process,
    format: Format,
    others: impl FnOnce(&State, &[OfListener<'_>], &[OfPool]) -> Counts,
) -> Page {
    /// What a backend adds to a page, and a pool or listener at most, so that it is allocated once.
    const BYTES_EACH: usize = 2 * 1024;
    let live = state.live.load();
    let (listeners, pools) = (listeners(&live), pools(&live));
    let with_histograms = live.plan.metrics.as_ref().is_some_and(|metrics| metrics.backend_histograms);
    let backends = pools.iter().map(|pool| pool.backends.len()).sum::<usize>();
    let parts = backends * (1 + usize::from(with_histograms)) + 3 * pools.len() + 3 * listeners.len() + 4;
    let mut page = Page::beside(format, parts * BYTES_EACH, others(state, &listeners, &pools));
    of_process(&mut page, state, &live);
    of_workers(&mut page, state);
    of_listeners(&mut page, &listeners, &state.gate);
    of_sessions(&mut page, &listeners);
    of_engines(&mut page, state);
    of_pools(&mut page, &pools);
    of_backends(&mut page, &pools);
    if with_histograms {
        histograms_of_backends(&mut page, &pools);
    }
    of_tls(&mut page, state, &listeners);
    of_discovery(&mut page, &pools);
    process.write(&mut page);
    page
}

/// What older processes have counted. Of those that have ended only what is about things that are still there.
fn others(state: &State, listeners: &[OfListener<'_>], pools: &[OfPool]) -> Counts {
    let (mut others, mut ended) = state.elders.counts();
    let mut known = Known::default();
    listeners.iter().for_each(|listener| known.add(&listener.labels));
    for pool in pools {
        known.add(&pool.labels);
        pool.backends.iter().for_each(|backend| known.add(&backend.labels));
    }
    ended.keep_known(&known);
    others.add(&ended);
    others
}

/// A listener and one reading of it, from which all of its samples come: so they always add up.
struct OfListener<'a> {
    live: &'a ListenerLive,
    labels: Labels,
    census: Census,
}

fn listeners(live: &Live) -> Vec<OfListener<'_>> {
    let one = |(name, listening): (&Arc<str>, &'_ crate::route::Listening)| {
        // So that a route's counters are there, as zeroes, before its first session.
        listening.routes.pools().for_each(|pool| drop(listening.live.route_cells(&pool.name)));
        (Labels::new(&[("listener", name)]), listening.live.census())
    };
    let read = live.listeners.iter().map(|entry| (entry.1, one(entry)));
    read.map(|(listening, (labels, census))| OfListener { live: &listening.live, labels, census }).collect()
}

struct OfPool {
    pool: Arc<Pool>,
    labels: Labels,
    backends: Vec<OfBackend>,
}

struct OfBackend {
    backend: Arc<Backend>,
    labels: Labels,
    weight: u32,
    state: BackendState,
}

fn pools(live: &Live) -> Vec<OfPool> {
    let one = |pool: &Arc<Pool>| {
        let snapshot = pool.snapshot();
        let backends = snapshot.members.iter().zip(&snapshot.seats).map(|(member, seat)| OfBackend {
            backend: member.backend.clone(),
            labels: Labels::new(&[("pool", &pool.name), ("backend", &member.backend.name)]),
            weight: seat.weight,
            state: seat.state,
        });
        // A backend that a reload removed is counted until its last session has ended.
        let is_listed = |backend: &Backend| snapshot.members.iter().any(|member| member.backend.name == backend.name);
        let departed = live.departed.iter().filter(|backend| backend.pool == pool.name && !is_listed(backend));
        let departed = departed.map(|backend| OfBackend {
            backend: backend.clone(),
            labels: Labels::new(&[("pool", &pool.name), ("backend", &backend.name)]),
            weight: 0,
            state: BackendState::Draining,
        });
        let backends = backends.chain(departed).collect();
        OfPool { pool: pool.clone(), labels: Labels::new(&[("pool", &pool.name)]), backends }
    };
    live.pools.values().map(one).collect()
}

fn of_process(page: &mut Page, state: &State, live: &Live) {
    let none = Labels::default();
    page.family(f::BUILD_INFO).sample(&none, &[env!("CARGO_PKG_VERSION")], 1);
    page.single(f::CONFIG_GENERATION, live.generation);
    let mut reloads = page.family(f::CONFIG_RELOADS);
    for result in ReloadResult::ALL {
        reloads.sample(&none, &[result.as_str()], state.reloads.of(*result));
    }
    page.single(f::CONFIG_LAST_SUCCESS, u8::from(state.reloads.last_succeeded()));
    page.single(f::CONFIG_LAST_TIMESTAMP, state.reloads.loaded_at());
    page.single(f::CONFIG_DRIFT, u8::from(state.desk.drift()));
    page.single(f::CONNECTIONS_LIMIT, state.gate.limit());
    page.single(f::PANICS, state.ledger.panics());
    let mut dropped = page.family(f::LOG_DROPPED);
    dropped.sample(&none, &["access"], state.ledger.access().dropped());
    dropped.sample(&none, &["program"], state.log_dropped.load(Relaxed));
    let (processes, sessions) = state.elders.census();
    page.single(f::UPGRADE_OLD_PROCESSES, processes);
    page.single(f::UPGRADE_OLD_SESSIONS, sessions);
}

fn of_workers(page: &mut Page, state: &State) {
    let none = Labels::default();
    let mut connections = page.family(f::WORKER_CONNECTIONS);
    for (worker, active) in state.ledger.active().into_iter().enumerate() {
        connections.sample(&none, &[&worker.to_string()], active);
    }
    let mut busy = page.family(f::WORKER_BUSY);
    for (worker, runtime) in state.runtimes.iter().enumerate() {
        // Each runtime has one thread, and that is its worker 0.
        let span = runtime.metrics().worker_total_busy_duration(0);
        busy.sample(&none, &[&worker.to_string()], span.as_secs_f64());
    }
    let mut looked = page.family(f::WORKER_BUSY_POLL);
    for bench in &state.benches {
        for result in BusyPoll::ALL {
            looked.sample(&none, &[&bench.worker().to_string(), result.as_str()], bench.looked(*result));
        }
    }
}

fn of_listeners(page: &mut Page, listeners: &[OfListener<'_>], gate: &Gate) {
    let mut connections = page.family(f::LISTENER_CONNECTIONS);
    for listener in listeners {
        connections.sample(&listener.labels, &[], listener.census.connections);
    }
    let mut active = page.family(f::LISTENER_ACTIVE);
    for listener in listeners {
        active.sample(&listener.labels, &[], listener.census.active);
    }
    let mut limit = page.family(f::LISTENER_LIMIT);
    for listener in listeners {
        let own = listener.live.entrance.limit().unwrap_or(usize::MAX);
        limit.sample(&listener.labels, &[], own.min(gate.limit()));
    }
    let mut refused = page.family(f::LISTENER_REFUSED);
    for listener in listeners {
        for (reason, count) in &listener.census.refused {
            refused.sample(&listener.labels, &[reason.as_str()], count);
        }
    }
    let mut errors = page.family(f::LISTENER_ACCEPT_ERRORS);
    for listener in listeners {
        for class in AcceptError::ALL {
            let count = listener.live.cells.accept_errors[*class as usize].get();
            errors.sample(&listener.labels, &[class.as_str()], count);
        }
    }
    let paused: f64 = listeners.iter().map(|listener| listener.live.cells.accept_paused.get()).sum();
    page.single(f::ACCEPT_PAUSED, paused);
}

fn of_sessions(page: &mut Page, listeners: &[OfListener<'_>]) {
    let mut closed = page.family(f::SESSIONS_CLOSED);
    for listener in listeners {
        for route in &listener.census.routes {
            for ((cause, side, phase), count) in &route.closed {
                let rest = [&*route.pool, cause.as_str(), side.as_str(), phase.as_str()];
                closed.sample(&listener.labels, &rest, count);
            }
        }
    }
    let mut durations = page.family(f::SESSION_DURATION);
    for listener in listeners {
        durations.histogram(&listener.labels, &listener.live.cells.duration);
    }
    let mut bytes = page.family(f::SESSION_BYTES);
    for listener in listeners {
        // A session that has no pool yet has passed nothing on.
        for route in listener.census.routes.iter().filter(|route| !route.pool.is_empty()) {
            for direction in Direction::ALL {
                let rest = [&*route.pool, direction.as_str()];
                bytes.sample(&listener.labels, &rest, route.cells.bytes.total(*direction));
            }
        }
    }
}

fn of_engines(page: &mut Page, state: &State) {
    let mut bytes = page.family(f::RELAY_BYTES);
    for engine in Engine::ALL {
        let total: u64 = state.benches.iter().map(|bench| bench.engine_bytes(*engine)).sum();
        bytes.sample(&Labels::default(), &[engine.as_str()], total);
    }
}

fn of_pools(page: &mut Page, pools: &[OfPool]) {
    let mut connect = page.family(f::POOL_CONNECT);
    pools.iter().for_each(|of| connect.histogram(&of.labels, &of.pool.cells.connect));
    let mut first_byte = page.family(f::POOL_FIRST_BYTE);
    pools.iter().for_each(|of| first_byte.histogram(&of.labels, &of.pool.cells.first_byte));
    let mut queue = page.family(f::POOL_QUEUE_LENGTH);
    pools.iter().for_each(|of| queue.sample(&of.labels, &[], of.pool.queue_length()));
    let mut unavailable = page.family(f::POOL_UNAVAILABLE);
    for of in pools {
        for reason in Unavailable::ALL {
            let count = of.pool.cells.unavailable[*reason as usize].get();
            unavailable.sample(&of.labels, &[reason.as_str()], count);
        }
    }
    let mut retries = page.family(f::POOL_RETRIES);
    pools.iter().for_each(|of| retries.sample(&of.labels, &[], of.pool.cells.retries.get()));
    let mut hedges = page.family(f::POOL_HEDGES);
    for of in pools {
        hedges.sample(&of.labels, &["won"], of.pool.cells.hedges_won.get());
        hedges.sample(&of.labels, &["lost"], of.pool.cells.hedges_lost.get());
    }
    let mut waits = page.family(f::POOL_QUEUE_WAIT);
    pools.iter().for_each(|of| waits.histogram(&of.labels, &of.pool.cells.queue_wait));
    let mut displaced = page.family(f::POOL_HASH_DISPLACED);
    pools.iter().for_each(|of| displaced.sample(&of.labels, &[], of.pool.cells.hash_displaced.get()));
    let mut fail_open = page.family(f::POOL_FAIL_OPEN);
    pools.iter().for_each(|of| fail_open.sample(&of.labels, &[], u8::from(of.pool.fails_open())));
}

fn of_backends(page: &mut Page, pools: &[OfPool]) {
    let all = || pools.iter().flat_map(|of| &of.backends);
    let mut connections = page.family(f::BACKEND_CONNECTIONS);
    all().for_each(|of| connections.sample(&of.labels, &[], of.backend.cells.connections.get()));
    let mut active = page.family(f::BACKEND_ACTIVE);
    all().for_each(|of| active.sample(&of.labels, &[], of.backend.active()));
    let mut bytes = page.family(f::BACKEND_BYTES);
    for of in all() {
        for direction in Direction::ALL {
            bytes.sample(&of.labels, &[direction.as_str()], of.backend.cells.bytes.total(*direction));
        }
    }
    let mut connect = page.family(f::BACKEND_CONNECT_SECONDS);
    all().for_each(|of| connect.sample(&of.labels, &[], of.backend.cells.connect_seconds.get()));
    let mut first_byte = page.family(f::BACKEND_FIRST_BYTE_SECONDS);
    all().for_each(|of| first_byte.sample(&of.labels, &[], of.backend.cells.first_byte_seconds.get()));
    let mut failures = page.family(f::BACKEND_CONNECT_FAILURES);
    for of in all() {
        for reason in ConnectFailure::ALL {
            failures.sample(&of.labels, &[reason.as_str()], of.backend.cells.failures[*reason as usize].get());
        }
    }
    states_of_backends(page, pools);
    health_of_backends(page, pools);
}

fn states_of_backends(page: &mut Page, pools: &[OfPool]) {
    let all = || pools.iter().flat_map(|of| &of.backends);
    let mut up = page.family(f::BACKEND_UP);
    all().for_each(|of| up.sample(&of.labels, &[], u8::from(of.state == BackendState::Up)));
    let mut states = page.family(f::BACKEND_STATE);
    for of in all() {
        for state in BackendState::ALL {
            states.sample(&of.labels, &[state.as_str()], u8::from(of.state == *state));
        }
    }
    let mut weight = page.family(f::BACKEND_WEIGHT);
    all().for_each(|of| weight.sample(&of.labels, &[], of.weight));
}

fn health_of_backends(page: &mut Page, pools: &[OfPool]) {
    let all = || pools.iter().flat_map(|of| &of.backends);
    let mut transitions = page.family(f::BACKEND_TRANSITIONS);
    for of in all() {
        for state in BackendState::ALL {
            transitions.sample(&of.labels, &[state.as_str()], of.backend.cells.transitions[*state as usize].get());
        }
    }
    let mut ejections = page.family(f::BACKEND_EJECTIONS);
    all().for_each(|of| ejections.sample(&of.labels, &[], of.backend.cells.ejections.get()));
    let mut probes = page.family(f::BACKEND_PROBES);
    for of in all() {
        for result in ProbeResult::ALL {
            probes.sample(&of.labels, &[result.as_str()], of.backend.cells.probes[*result as usize].get());
        }
    }
    let mut durations = page.family(f::BACKEND_PROBE_SECONDS);
    for of in all() {
        let nanos = of.backend.cells.probe_duration.load(Relaxed);
        durations.sample(&of.labels, &[], nanos as f64 / 1e9);
    }
}

fn histograms_of_backends(page: &mut Page, pools: &[OfPool]) {
    let mut connect = page.family(f::BACKEND_CONNECT);
    for of in pools.iter().flat_map(|of| &of.backends) {
        connect.histogram(&of.labels, &of.backend.cells.connect_histogram);
    }
}

/// Only of what speaks TLS.
fn of_tls(page: &mut Page, state: &State, listeners: &[OfListener<'_>]) {
    let with_tls: Vec<_> = listeners.iter().filter(|listener| listener.live.tls.server().is_some()).collect();
    let mut handshakes = page.family(f::TLS_HANDSHAKES);
    for listener in &with_tls {
        for result in HandshakeResult::ALL {
            handshakes.sample(&listener.labels, &[result.as_str()], listener.live.tls.ended(*result));
        }
    }
    let of_listeners = with_tls.iter().filter_map(|listener| {
        let tls = &listener.live.tls;
        Some((format!("listener/{}", listener.live.name), tls.server()?.expiries().to_vec(), tls.is_current()))
    });
    let admin = &state.admin_tls;
    let of_admin = admin.server().map(|server| ("admin".to_owned(), server.expiries().to_vec(), admin.is_current()));
    let live = state.live.load();
    let of_pools = live.pools.values().filter_map(|pool| {
        Some((format!("pool/{}", pool.name), pool.tls.client()?.expiries().to_vec(), pool.tls.is_current()))
    });
    let owners: Vec<_> = of_listeners.chain(of_admin).chain(of_pools).collect();
    let none = Labels::default();
    let mut expiries = page.family(f::TLS_EXPIRY);
    for (owner, of_owner, _) in &owners {
        for expiry in of_owner {
            expiries.sample(&none, &[owner, &expiry.file.display().to_string()], expiry.not_after);
        }
    }
    let mut current = page.family(f::TLS_CURRENT);
    for (owner, _, is_current) in &owners {
        current.sample(&none, &[owner], u8::from(*is_current));
    }
}

/// Only of pools that have something to resolve.
fn of_discovery(page: &mut Page, pools: &[OfPool]) {
    let resolves = |of: &&OfPool| {
        of.pool.settings().backends.iter().any(|backend| matches!(backend.address, BackendAddress::Host(..)))
    };
    let resolving: Vec<_> = pools.iter().filter(resolves).collect();
    let mut success = page.family(f::DISCOVERY_SUCCESS);
    for of in &resolving {
        success.sample(&of.labels, &[], of.pool.cells.discovery_last_success.load(Relaxed));
    }
    let mut errors = page.family(f::DISCOVERY_ERRORS);
    for of in &resolving {
        for class in DiscoverError::ALL {
            errors.sample(&of.labels, &[class.as_str()], of.pool.cells.discovery_errors[class as usize].get());
        }
    }
}
