//! `/healthz` and `/readyz`: 200, or 503 and one line that says why.

use hyper::StatusCode;

use super::State;
use super::answer::{self, Answer};
use super::query::Query;
use crate::drain::Stage;

/// The process answers, so it lives.
pub(super) fn healthz() -> Answer {
    answer::text(StatusCode::OK, "ok\n")
}

/// Whether to send clients here: the process serves, and the pools that matter have a usable backend.
pub(super) fn readyz(state: &State, query: &Query) -> Answer {
    let live = state.live.load();
    let asked = query.all("pool").chain(live.plan.ready_when.iter().map(AsRef::as_ref));
    let reason = match state.life.stage() {
        Stage::Starting => Some("starting".to_owned()),
        Stage::Leaving => Some("leaving: the process is about to stop".to_owned()),
        Stage::Draining => Some("draining: the process accepts no more".to_owned()),
        Stage::Ready => asked.filter_map(|pool| unready(&live, pool)).next(),
    };
    match reason {
        None => answer::text(StatusCode::OK, "ready\n"),
        Some(reason) => answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn unready(live: &crate::route::Live, name: &str) -> Option<String> {
    match live.pools.get(name) {
        Some(pool) if pool.is_usable() => None,
        Some(_) => Some(format!("pool {name:?} has no usable backend")),
        None => Some(format!("there is no pool {name:?}")),
    }
}
