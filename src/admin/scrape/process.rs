//! What the process counts: its configuration, its workers, its engines.

use std::sync::atomic::Ordering::Relaxed;

use crate::admin::State;
use crate::metrics::families as f;
use crate::metrics::{BusyPoll, Engine, Labels, Page, ReloadResult};
use crate::route::Live;

pub(super) fn of_process(page: &mut Page, state: &State, live: &Live) {
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

pub(super) fn of_workers(page: &mut Page, state: &State) {
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

pub(super) fn of_engines(page: &mut Page, state: &State) {
    let mut bytes = page.family(f::RELAY_BYTES);
    for engine in Engine::ALL {
        let total: u64 = state.benches.iter().map(|bench| bench.engine_bytes(*engine)).sum();
        bytes.sample(&Labels::default(), &[engine.as_str()], total);
    }
}
