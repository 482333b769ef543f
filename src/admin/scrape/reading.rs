//! One reading of listeners, pools and backends, which a page is made of.

use std::sync::Arc;

use crate::backend::Backend;
use crate::listener::{Census, ListenerLive};
use crate::metrics::{BackendState, Labels};
use crate::pool::Pool;
use crate::route::Live;

/// A listener and one reading of it, from which all of its samples come: so they always add up.
pub(super) struct OfListener<'a> {
    pub(super) live: &'a ListenerLive,
    pub(super) labels: Labels,
    pub(super) census: Census,
}

pub(super) fn listeners(live: &Live) -> Vec<OfListener<'_>> {
    let one = |(name, listening): (&Arc<str>, &'_ crate::route::Listening)| {
        // So that a route's counters are there, as zeroes, before its first session.
        listening.routes.pools().for_each(|pool| drop(listening.live.route_cells(&pool.name)));
        (Labels::new(&[("listener", name)]), listening.live.census())
    };
    let read = live.listeners.iter().map(|entry| (entry.1, one(entry)));
    read.map(|(listening, (labels, census))| OfListener { live: &listening.live, labels, census }).collect()
}

pub(super) struct OfPool {
    pub(super) pool: Arc<Pool>,
    pub(super) labels: Labels,
    pub(super) backends: Vec<OfBackend>,
}

pub(super) struct OfBackend {
    pub(super) backend: Arc<Backend>,
    pub(super) labels: Labels,
    pub(super) weight: u32,
    pub(super) state: BackendState,
}

pub(super) fn pools(live: &Live) -> Vec<OfPool> {
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
