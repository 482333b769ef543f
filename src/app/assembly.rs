//! Putting a configuration into force, at start and by reload: first everything that can fail, then everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::pools::{Gone, Pools, Started};
use super::sockets::{Places, Serving, Sockets};
use super::tls::{self, Secrets};
use super::worker::Arrival;
use super::{Acceptors, Logging, StartError, limits};
use crate::admin::{self, InForce};
use crate::backend::Backend;
use crate::config::Loaded;
use crate::config::plan::{Congestion, Plan};
use crate::ledger::Sinks;
use crate::listener::ListenerLive;
use crate::pool::{Pool, Verdicts};
use crate::route::{Listening, Live, Table};
use crate::sink::rfc3339;
use crate::tls::HandedSecrets;

/// What a configuration is put into force with.
pub(super) struct Assembly {
    pub(super) state: Arc<admin::State>,
    pub(super) logging: Arc<Logging>,
    pub(super) sockets: Arc<Sockets>,
    pub(super) pools: Pools,
    pub(super) acceptors: Acceptors,
    /// Where each worker takes its sockets from.
    pub(super) workers: Vec<mpsc::UnboundedSender<Arrival>>,
    /// What the process may have open.
    pub(super) descriptors: usize,
    /// What it has open besides listening sockets, sessions and pipes, as counted at start.
    pub(super) overhead: usize,
}

/// A configuration of which nothing can fail any more.
pub(super) struct Prepared {
    plan: Arc<Plan>,
    hash: String,
    sinks: Sinks,
    places: Places,
    pools: Started,
    tls: Secrets,
}

impl Prepared {
    /// Sockets that were bound for it just now.
    pub(super) fn sockets(&self) -> usize {
        self.places.fresh()
    }

    /// The numbers of those that another process had.
    pub(super) fn inherited(&self) -> Vec<usize> {
        self.places.inherited()
    }

    /// Takes over what that process knew of backends, and what it made tickets with.
    pub(super) fn import(&mut self, verdicts: &BTreeMap<String, Verdicts>, tickets: &BTreeMap<String, HandedSecrets>) {
        self.pools.import(verdicts);
        self.tls.take_over(tickets);
    }
}

impl Assembly {
    /// Opens, binds and resolves all that `loaded` needs and is not there yet. Dropping the result undoes it.
    ///
    /// # Errors
    /// Something is not to be had; nothing has changed.
    pub(super) async fn prepare(&self, loaded: Loaded) -> Result<Prepared, StartError> {
        let plan = Arc::new(loaded.plan);
        check_transparent(&plan)?;
        check_congestion(&plan)?;
        let sinks = self.state.ledger.access().prepare(&plan).map_err(StartError::Log)?;
        let tls = tls::load(&plan, &self.state.live.load_full()).await.map_err(StartError::Tls)?;
        // Names first: while they are asked for, no address is held.
        let pools = self.pools.prepare(&plan, &tls.clients).await;
        let places = self.sockets.claim(&plan, self.workers.len()).map_err(StartError::Bind)?;
        Ok(Prepared { plan, hash: loaded.hash, sinks, places, pools, tls })
    }

    /// Puts it into force, and gives the backends that it has no longer, or elsewhere. What it no longer names is left
    /// to serve those who came before; see [`Self::retire`].
    pub(super) async fn commit(&mut self, prepared: Prepared) -> Vec<Gone> {
        let Prepared { plan, hash, sinks, places, pools, mut tls } = prepared;
        self.state.ledger.access().adopt(sinks);
        if let Err(error) = self.logging.follow(&plan.log) {
            tracing::warn!(%error, "the log's level stays as it was");
        }
        let before = self.state.live.load_full();
        let generation = before.generation + 1;
        let (pools, gone) = self.pools.adopt(&plan, pools, &tls.clients).await;
        let departed = departed(&before, &pools, &gone);
        let mut live = Live { generation, listeners: BTreeMap::new(), pools, departed, plan: plan.clone() };
        let mut addresses = places.addresses();
        let listeners: Vec<_> =
            plan.listeners.iter().map(|listener| (listener.clone(), self.listener(&before, listener))).collect();
        for (listener, of) in &listeners {
            // Before anyone is accepted for it, and after its settings, so that nobody who should be is served in the clear.
            of.tls.put(tls.servers.remove(&listener.name));
            let earlier = before.listeners.get(&listener.name).map(|listening| &*listening.routes);
            let Some(routes) = Table::new(listener, |name| live.pools.get(name).cloned(), earlier) else { continue };
            let (bound, routes) = (addresses.remove(&listener.name).unwrap_or_default(), Arc::new(routes));
            live.listeners.insert(listener.name.clone(), Listening { live: of.clone(), bound, routes, leaving: false });
        }
        keep_leaving(&before, &mut live);
        // Before anyone accepts for it, so that every session finds its way.
        self.state.live.store(Arc::new(live));
        self.follow_limits(&plan);
        // After all that living sessions follow.
        self.state.ledger.revise();
        self.serve(&listeners, places);
        let loaded_at = rfc3339(SystemTime::now());
        self.state.desk.enforce(InForce { generation, hash, loaded_at });
        gone
    }

    /// The listener of that name, if it is there with the new settings, or a new one.
    fn listener(&self, before: &Live, settings: &crate::config::plan::Listener) -> Arc<ListenerLive> {
        match before.listeners.get(&settings.name) {
            Some(listening) => {
                listening.live.follow(settings.clone());
                listening.live.clone()
            }
            None => Arc::new(ListenerLive::new(settings.clone(), self.workers.len())),
        }
    }

    fn serve(&self, listeners: &[(crate::config::plan::Listener, Arc<ListenerLive>)], places: Places) {
        let serving = Serving {
            listeners,
            gate: &self.state.gate,
            life: &self.state.life,
            acceptors: &self.acceptors,
            workers: self.workers.len(),
        };
        let served = self.sockets.serve(places, &serving);
        for (worker, arrivals) in self.workers.iter().zip(served.arrivals) {
            // A worker that is gone has nothing to serve with.
            arrivals.into_iter().for_each(|arrival| drop(worker.send(arrival)));
        }
        for (listener, address) in served.announced {
            tracing::info!(%listener, address, "listening");
        }
    }

    /// The process's limit. Never more than the descriptors allow: sessions that took the last ones would leave none to
    /// the admin endpoint, to probes and to log files.
    fn follow_limits(&self, plan: &Plan) {
        let workers = self.workers.len();
        let open = self.overhead + self.sockets.count();
        let budget = limits::budget(self.descriptors, open, workers);
        if let Some(wanted) = plan.max_connections
            && wanted > budget.sessions
        {
            tracing::warn!(
                max_connections = wanted,
                descriptors = self.descriptors,
                sessions = budget.sessions,
                "max_connections is more than the descriptor limit allows, so that many sessions it is; raise the limit (LimitNOFILE, ulimit -n)"
            );
        }
        let limit = plan.max_connections.unwrap_or(usize::MAX).min(budget.sessions);
        self.state.gate.follow(limit, plan.overflow);
        self.state.gate.follow_rate(plan.max_rate);
    }

    /// Lets go of listeners and pools that a reload removed and nobody uses any more. Says whether there are others.
    pub(super) fn retire(&mut self) -> bool {
        let live = self.state.live.load_full();
        let mut next = Live::clone(&live);
        next.listeners.retain(|name, listening| {
            !listening.leaving || self.sockets.is_closing(name) || listening.live.census().active > 0
        });
        let routed = |pool: &Arc<Pool>| {
            next.listeners.values().flat_map(|listening| listening.routes.pools()).any(|used| Arc::ptr_eq(used, pool))
        };
        let named: BTreeSet<&str> = live.plan.pools.iter().map(|pool| &*pool.name).collect();
        next.pools.retain(|name, pool| named.contains(&**name) || routed(pool) || is_in_use(pool));
        next.departed.retain(|backend| backend.active() > 0);
        for name in live.pools.keys().filter(|name| !next.pools.contains_key(*name)) {
            self.pools.end(name);
        }
        let left =
            next.listeners.values().any(|listening| listening.leaving) || next.pools.len() > live.plan.pools.len();
        let left = left || !next.departed.is_empty();
        let size = |live: &Live| (live.listeners.len(), live.pools.len(), live.departed.len());
        if size(&next) != size(&live) {
            self.state.live.store(Arc::new(next));
        }
        left
    }
}

/// Whether pools that connect from the addresses of clients can.
fn check_transparent(plan: &Plan) -> Result<(), StartError> {
    let Some(pool) = plan.pools.iter().find(|pool| pool.connect.transparent) else { return Ok(()) };
    let refused = |error| StartError::Option(format!("pools.{}.connect.source", pool.name), error);
    crate::net::check_transparent().map_err(refused)
}

/// Whether the kernel offers the congestion controls that are named.
fn check_congestion(plan: &Plan) -> Result<(), StartError> {
    let listeners = plan.listeners.iter().map(|listener| ("listeners", &listener.name, listener.tcp.stream.congestion));
    let pools = plan.pools.iter().map(|pool| ("pools", &pool.name, pool.tcp.congestion));
    for (kind, owner, congestion) in listeners.chain(pools) {
        let Congestion::Named(name) = congestion else { continue };
        let refused = |error| StartError::Option(format!("{kind}.{owner}.tcp.congestion_control"), error);
        crate::net::check_congestion(&name).map_err(refused)?;
    }
    Ok(())
}

/// Backends of `pools` that are gone and still have sessions.
fn departed(before: &Live, pools: &BTreeMap<Arc<str>, Arc<Pool>>, gone: &[Gone]) -> Vec<Arc<Backend>> {
    let fresh = gone.iter().filter(|gone| gone.moved_from.is_none()).map(|gone| &gone.backend);
    let is_back = |backend: &Backend| {
        let snapshot = pools.get(&backend.pool).map(|pool| pool.snapshot());
        snapshot.is_some_and(|snapshot| snapshot.members.iter().any(|member| member.backend.id == backend.id))
    };
    let all = before.departed.iter().chain(fresh);
    all.filter(|backend| backend.active() > 0 && !is_back(backend)).cloned().collect()
}

/// Whether a pool has sessions, or some that wait for a backend.
fn is_in_use(pool: &Pool) -> bool {
    pool.queue_length() > 0 || pool.snapshot().members.iter().any(|member| member.backend.active() > 0)
}

/// Keeps what is no longer named for those who came before.
fn keep_leaving(before: &Live, live: &mut Live) {
    for (name, listening) in &before.listeners {
        if !live.listeners.contains_key(name) {
            live.listeners.insert(name.clone(), Listening { leaving: true, ..listening.clone() });
        }
    }
    for (name, pool) in &before.pools {
        live.pools.entry(name.clone()).or_insert_with(|| pool.clone());
    }
}
