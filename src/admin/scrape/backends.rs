//! What backends count: their sessions, their states, their probes.

use std::sync::atomic::Ordering::Relaxed;

use super::reading::OfPool;
use crate::metrics::families as f;
use crate::metrics::{BackendState, ConnectFailure, Direction, Page, ProbeResult};

pub(super) fn of_backends(page: &mut Page, pools: &[OfPool]) {
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

pub(super) fn histograms_of_backends(page: &mut Page, pools: &[OfPool]) {
    let mut connect = page.family(f::BACKEND_CONNECT);
    for of in pools.iter().flat_map(|of| &of.backends) {
        connect.histogram(&of.labels, &of.backend.cells.connect_histogram);
    }
}
