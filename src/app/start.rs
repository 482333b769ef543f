//! Start: everything is bound, opened and resolved before the first client is accepted.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::assembly::{Assembly, Prepared};
use super::endpoints::{bind_endpoints, offers};
use super::pools::Pools;
use super::sockets::Sockets;
use super::systemd::Store;
use super::upgrade::{Estate, Heir, Inheritance, Upgrader};
use super::worker::{Arrival, Job};
use super::{
    Acceptors, Birth, Configured, Logging, Running, StartError, Succession, activation, limits, reload, tls, watchdog,
    worker,
};
use crate::admin::{self, AdminTls, Attendance, Desk, Door, Endpoint, Upgrades};
use crate::admission::Gate;
use crate::backend::Registry;
use crate::config::plan::Plan;
use crate::connect::{self, Connector};
use crate::discover::System;
use crate::drain::Stage;
use crate::ledger::{self, AccessLogs, Ledger};
use crate::metrics::Reloads;
use crate::pool::{Overrides, Tools};
use crate::relay::Workbench;
use crate::route::Live;
use crate::session::Context;

/// Starts everything, taking over from another process if there is a `link` to one.
pub(super) async fn start(
    configured: Configured,
    logging: Arc<Logging>,
    mut birth: Birth,
) -> Result<(Running, Succession), StartError> {
    let (link, given) = (birth.link.take(), std::mem::take(&mut birth.given));
    let Some(link) = link else {
        let estate = activation::estate(&configured.loaded.plan, given).map_err(StartError::Given)?;
        return start_all(configured, logging, birth, &mut None, estate).await;
    };
    let (heir, estate) = Heir::meet(link).await.map_err(StartError::Upgrade)?;
    estate.speak();
    let mut heir = Some(heir);
    let started = start_all(configured, logging, birth, &mut heir, estate).await;
    if let (Err(error), Some(heir)) = (&started, heir) {
        heir.fails(error.to_string()).await;
    }
    started
}

/// Starts everything, in the order in which it can fail without harm.
async fn start_all(
    mut configured: Configured,
    logging: Arc<Logging>,
    birth: Birth,
    heir: &mut Option<Heir>,
    mut estate: Estate,
) -> Result<(Running, Succession), StartError> {
    let Birth { starter, walls, cpus, manager, .. } = birth;
    if let Some(walls) = &walls {
        walls.tell();
        configured.origin.reach = walls.reach.clone();
    }
    let descriptors = limits::raise_descriptor_limit();
    let plan = configured.loaded.plan.clone();
    let workers = plan.workers.threads.map_or(cpus, |threads| threads.get());
    let overrides = Overrides::load(plan.state_file.clone()).map_err(|error| state_file_error(&plan, &error))?;
    let endpoints = bind_endpoints(&plan, &mut estate)?;
    let admin_tls =
        AdminTls::load(plan.admin.as_ref()).map_err(|error| StartError::Tls(vec![("admin.tls".into(), error)]))?;
    let runtimes = worker::Idle::new(workers).map_err(StartError::Runtime)?;
    let (orders, ordered) = mpsc::unbounded_channel();
    let connector = connect::system(); // one for all: sessions and probes take turns at its source addresses
    let tools = Tools {
        registry: Arc::new(Registry::new(workers)),
        resolver: Arc::new(System),
        connector: connector.clone(),
        places: Arc::default(),
        overrides: Arc::new(overrides),
        orders,
        zone: plan.zone.clone(),
    };
    let manager = Arc::new(manager);
    let (desk, wishes) = Desk::new(configured.origin);
    let (upgrades, upgrade_wishes) = Upgrades::new();
    let pipes = limits::budget(descriptors, limits::open_descriptors(), workers).pipes;
    let bench = |worker| Workbench::new(worker, pipes).busy_polling(plan.workers.busy_poll);
    let nothing = Live {
        plan: Arc::new(plan.clone()),
        generation: 0,
        listeners: BTreeMap::new(),
        pools: BTreeMap::new(),
        departed: Vec::new(),
    };
    let state = Arc::new(admin::State {
        live: Arc::new(ArcSwap::from_pointee(nothing)),
        ledger: Arc::new(Ledger::new(workers, AccessLogs::default())),
        gate: Arc::new(Gate::new(0, plan.overflow)),
        life: Arc::default(),
        benches: (0..workers).map(|worker| Arc::new(bench(worker))).collect(),
        runtimes: runtimes.handles(),
        reloads: Arc::new(Reloads::new(SystemTime::now())),
        desk: Arc::new(desk),
        log_dropped: logging.dropped(),
        overrides: tools.overrides.clone(),
        elders: Arc::default(),
        upgrades: Arc::new(upgrades),
        admin_tls: Arc::new(admin_tls),
    });
    tokio::spawn(ledger::evict(state.ledger.clone(), ordered));
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
    let sockets: Arc<Sockets> = Arc::default();
    sockets.inherit(std::mem::take(&mut estate.addresses));
    let acceptors = Acceptors::default();
    let mut assembly = Assembly {
        state: state.clone(),
        logging,
        sockets: sockets.clone(),
        pools: Pools::new(tools),
        acceptors: acceptors.clone(),
        workers: senders,
        descriptors,
        overhead: 0,
    };
    let mut prepared = assembly.prepare(configured.loaded).await?;
    let handles =
        spawn_workers(runtimes.take(), receivers, &state, &connector, plan.workers.pin).map_err(StartError::Runtime)?;
    assembly.overhead = limits::open_descriptors().saturating_sub(prepared.sockets());
    let inheritance = take_over(heir, &sockets, &state, &mut prepared).await?;
    assembly.commit(prepared).await;
    let takes_over = inheritance.is_some();
    if let (Some(heir), Some(inheritance)) = (heir.take(), inheritance) {
        // Before the process that the manager knows may end.
        manager.taken_over();
        // Before anyone asks here for what was counted there.
        heir.serves(inheritance, &state.elders).await;
    }
    let (replace, replaced) = oneshot::channel();
    let (bid, biddings) = mpsc::unbounded_channel();
    let (doors, door) = watch::channel(Door::Open);
    let (exports, exported) = mpsc::channel(1);
    let turn: Arc<Mutex<()>> = Arc::default();
    let attendance = Attendance::new(state.clone(), bid);
    let upgrader = Upgrader {
        state: state.clone(),
        sockets: sockets.clone(),
        starter,
        doors,
        endpoints: offers(&plan, &endpoints).map_err(StartError::Runtime)?,
        exports,
        turn: turn.clone(),
        attendance: attendance.clone(),
        manager: manager.clone(),
        replaced: replace,
    };
    announce(&state, endpoints, &door);
    if !takes_over {
        manager.ready("serving");
    }
    let with = reload::With { exports: exported, turn, manager: manager.clone(), store: Store::new(estate.stored) };
    reload::spawn(assembly, wishes, with);
    tokio::spawn(tls::watch_until_left(state.clone()));
    tokio::spawn(watchdog::be_watched(manager.clone(), state.clone()));
    tokio::spawn(upgrader.run(upgrade_wishes));
    tokio::spawn(state.elders.clone().watch());
    Ok((
        Running { state, workers: handles, acceptors, sockets, attendance, manager, _walls: walls },
        Succession { replaced, biddings },
    ))
}

/// Nothing can fail any more: has the process before let go of what only one can have, and takes over what it knows.
async fn take_over(
    heir: &mut Option<Heir>,
    sockets: &Sockets,
    state: &admin::State,
    prepared: &mut Prepared,
) -> Result<Option<Inheritance>, StartError> {
    let Some(heir) = heir else { return Ok(None) };
    // What this configuration does not name is that process's to close.
    drop(sockets.unclaimed());
    let inheritance = heir.ready(prepared.inherited()).await.map_err(StartError::Upgrade)?;
    let known = &inheritance.go_ahead;
    if let Err(error) = state.overrides.adopt_all(known.overrides.clone()) {
        tracing::warn!(%error, "the state file cannot be written; what operators said is known until the next restart");
    }
    prepared.import(&known.verdicts, &known.tickets);
    state.ledger.begin_ids(known.next_id);
    state.upgrades.note(known.upgrade.clone());
    Ok(Some(inheritance))
}

fn state_file_error(plan: &Plan, error: &io::Error) -> StartError {
    let path = plan.state_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    StartError::State(format!("state_file {path}: {error}"))
}

/// Starts the data threads; they have nothing to accept from yet.
fn spawn_workers(
    runtimes: Vec<Runtime>,
    receivers: Vec<mpsc::UnboundedReceiver<Arrival>>,
    state: &admin::State,
    connector: &Connector,
    pin: bool,
) -> io::Result<Vec<worker::Handle>> {
    let job = |(arrivals, bench): (mpsc::UnboundedReceiver<Arrival>, &Arc<Workbench>)| {
        let ctx = Context {
            live: state.live.clone(),
            ledger: state.ledger.clone(),
            connector: connector.clone(),
            bench: bench.clone(),
        };
        Job { ctx: Arc::new(ctx), arrivals, pin }
    };
    let jobs = receivers.into_iter().zip(&state.benches).map(job);
    runtimes.into_iter().zip(jobs).map(|(runtime, job)| worker::spawn(runtime, job)).collect()
}

/// Serves the endpoints, and says that everything is there.
fn announce(state: &Arc<admin::State>, endpoints: Vec<Endpoint>, door: &watch::Receiver<Door>) {
    for endpoint in endpoints {
        let name = endpoint.name();
        tracing::info!(listener = name, address = endpoint.address(), "listening");
        let (state, door) = (state.clone(), door.clone());
        tokio::spawn(async move {
            if let Err(error) = endpoint.serve(state, door).await {
                tracing::error!(listener = name, %error, "cannot serve");
            }
        });
    }
    state.life.enter(Stage::Ready);
    tracing::info!(
        pid = std::process::id(),
        workers = state.benches.len(),
        max_connections = state.gate.limit(),
        "ready"
    );
}
