//! Start: everything is bound, opened and resolved before the first client is accepted.

use std::io;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::assembly::{Assembly, Prepared};
use super::endpoints::offers;
use super::foundation::Foundation;
use super::pools::Pools;
use super::sockets::Sockets;
use super::systemd::{Manager, Store};
use super::upgrade::{Estate, Heir, Inheritance, Upgrader};
use super::worker::{Arrival, Job};
use super::{
    Acceptors, Birth, Configured, Logging, Running, StartError, Succession, activation, limits, orders, reload, tls,
    watchdog, worker,
};
use crate::admin::{self, Attendance, Desk, Door, Endpoint, Heeds, UpgradeWish, Upgrades, Wish};
use crate::config::Known;
use crate::connect::Connector;
use crate::drain::Stage;
use crate::ledger;
use crate::pool::Orders;
use crate::relay::Workbench;
use crate::session::Context;

/// Reloads of a newer process that wait to be followed here.
const DEPARTURES: usize = 64;

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
    if let Some(walls) = &birth.walls {
        walls.tell();
        configured.origin.reach = walls.reach.clone();
    }
    let plan = configured.loaded.plan.clone();
    let foundation = Foundation::open(&plan, birth.cpus, &mut estate)?;
    let (desk, wishes) = Desk::new(configured.origin);
    let (upgrades, upgrade_wishes) = Upgrades::new();
    let state = Arc::new(foundation.state(&plan, desk, upgrades, &logging));
    let (orders, ordered) = mpsc::unbounded_channel();
    let tools = foundation.tools(&plan, orders);
    let connector = tools.connector.clone();
    let Foundation { endpoints, runtimes, descriptors, .. } = foundation;
    let (obey, obeyed) = mpsc::unbounded_channel();
    tokio::spawn(ledger::evict(state.ledger.clone(), obeyed));
    let (senders, receivers): (Vec<_>, Vec<_>) = state.benches.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let sockets: Arc<Sockets> = Arc::default();
    sockets.inherit(std::mem::take(&mut estate.addresses));
    let mut assembly = Assembly {
        state: state.clone(),
        logging,
        sockets,
        pools: Pools::new(tools),
        acceptors: Acceptors::default(),
        workers: senders,
        descriptors,
        overhead: 0,
    };
    let known = std::mem::take(&mut configured.loaded.known);
    let prepared = assembly.prepare(configured.loaded).await?;
    let workers =
        spawn_workers(runtimes.take(), receivers, &state, &connector, plan.workers.pin).map_err(StartError::Runtime)?;
    let open = limits::open_descriptors();
    limits::suffices(descriptors, open, workers.len())?;
    assembly.overhead = open.saturating_sub(prepared.sockets());
    let takes_over = enforce(&mut assembly, prepared, heir, &birth.manager).await?;
    // Not before the older processes are known, which are to hear of what was ordered meanwhile as well.
    tokio::spawn(orders::pass_on(ordered, obey.clone(), state.elders.clone()));
    let unattended =
        Unattended { assembly, workers, endpoints, wishes, upgrade_wishes, known, takes_over, orders: obey };
    unattended.attend(birth, Store::new(estate.stored))
}

/// Puts the first configuration into force. The process before, if there is one, gives up what only one can have; says
/// whether there is.
async fn enforce(
    assembly: &mut Assembly,
    mut prepared: Prepared,
    heir: &mut Option<Heir>,
    manager: &Manager,
) -> Result<bool, StartError> {
    let inheritance = take_over(heir, assembly, &mut prepared).await?;
    assembly.commit(prepared).await;
    let (Some(heir), Some(inheritance)) = (heir.take(), inheritance) else { return Ok(false) };
    // Before the process that the manager knows may end.
    manager.taken_over();
    // Before anyone asks here for what was counted there.
    heir.serves(inheritance, &assembly.state.elders).await;
    Ok(true)
}

/// Nothing can fail any more: has the process before let go of what only one can have, and takes over what it knows.
async fn take_over(
    heir: &mut Option<Heir>,
    Assembly { sockets, state, .. }: &Assembly,
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

/// A process that serves, and is not attended to yet.
struct Unattended {
    assembly: Assembly,
    workers: Vec<worker::Handle>,
    /// Bound, and not served yet.
    endpoints: Vec<Endpoint>,
    /// Changes of the configuration that are asked for.
    wishes: mpsc::Receiver<Wish>,
    /// The same of upgrades.
    upgrade_wishes: mpsc::Receiver<UpgradeWish>,
    /// What is known of the files that it was started with.
    known: Known,
    /// Whether it has taken over from another one.
    takes_over: bool,
    /// Obeyed here.
    orders: Orders,
}

impl Unattended {
    /// Says that everything is there, and leaves running whoever changes it, watches it and replaces it.
    fn attend(self, birth: Birth, store: Store) -> Result<(Running, Succession), StartError> {
        let Birth { starter, walls, manager, .. } = birth;
        let Self { assembly, workers, endpoints, wishes, upgrade_wishes, known, takes_over, orders } = self;
        let (state, sockets, acceptors) =
            (assembly.state.clone(), assembly.sockets.clone(), assembly.acceptors.clone());
        let manager = Arc::new(manager);
        let (replace, replaced) = oneshot::channel();
        let (bid, biddings) = mpsc::unbounded_channel();
        let (doors, door) = watch::channel(Door::Open);
        let (exports, exported) = mpsc::channel(1);
        let turn: Arc<Mutex<()>> = Arc::default();
        let (departures, departed) = mpsc::channel(DEPARTURES);
        let attendance = Attendance::new(state.clone(), Heeds { biddings: bid, departures, orders });
        let upgrader = Upgrader {
            state: state.clone(),
            sockets: sockets.clone(),
            starter,
            doors,
            endpoints: offers(&state.live.load().plan, &endpoints).map_err(StartError::Runtime)?,
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
        let with =
            reload::With { exports: exported, departures: departed, turn, manager: manager.clone(), store, known };
        reload::spawn(assembly, wishes, with);
        tokio::spawn(tls::watch_until_left(state.clone()));
        tokio::spawn(watchdog::be_watched(manager.clone(), state.clone()));
        tokio::spawn(upgrader.run(upgrade_wishes));
        tokio::spawn(state.elders.clone().watch());
        tokio::spawn(state.elders.clone().take_turns(state.live.clone()));
        let running = Running { state, workers, acceptors, sockets, attendance, manager, _walls: walls };
        Ok((running, Succession { replaced, biddings }))
    }
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
