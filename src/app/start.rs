//! Start: everything is bound, opened and resolved before the first client is accepted.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::{Acceptors, Logging, Running, limits, worker};
use crate::admin::{self, Endpoint, EndpointError};
use crate::admission::Gate;
use crate::backend::Registry;
use crate::config::plan::{BindAddress, Plan};
use crate::connect;
use crate::discover::System;
use crate::drain::Stage;
use crate::ledger::{self, AccessLogs, Ledger, OpenError};
use crate::listener::{Acceptor, ListenerLive};
use crate::metrics::Reloads;
use crate::net::{self, Bound};
use crate::pool::{Keeper, KeeperHandle, Overrides, Pool, Tools};
use crate::relay::Workbench;
use crate::route::{Listening, Live};
use crate::session::Context;

/// Why the process did not start.
#[derive(Debug)]
pub enum StartError {
    /// Addresses that could not be bound: each with its place in the configuration.
    Bind(Vec<(String, io::Error)>),
    /// An access log could not be opened.
    Log(OpenError),
    /// The admin or metrics endpoint could not be had.
    Endpoint(EndpointError),
    /// What operators have said before cannot be read.
    State(String),
    /// Threads or signals are not to be had.
    Runtime(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(failed) => {
                for (index, (place, error)) in failed.iter().enumerate() {
                    let newline = if index > 0 { "\n" } else { "" };
                    write!(f, "{newline}cannot bind {place}: {error}{}", remedy(error))?;
                }
                Ok(())
            }
            Self::Log(error) => write!(f, "cannot open {error}"),
            Self::Endpoint(EndpointError::Bind(place, error)) => {
                write!(f, "cannot bind {place}: {error}{}", remedy(error))
            }
            Self::Endpoint(error) => error.fmt(f),
            Self::State(error) => f.write_str(error),
            Self::Runtime(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process has it (`ss -ltnp` or `ss -lxp` shows which)",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address (`tcp.freebind: true` binds it anyway)",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE, unix sockets a writable folder"
        }
        _ => "",
    }
}

/// Starts everything, in the order in which it can fail without harm.
pub(super) async fn start(plan: Plan, logging: &Logging) -> Result<Running, StartError> {
    let descriptors = limits::raise_descriptor_limit();
    let workers = worker_count(&plan);
    let overrides = Overrides::load(plan.state_file.clone()).map_err(|error| state_file_error(&plan, &error))?;
    let access = AccessLogs::open(&plan).map_err(StartError::Log)?;
    let endpoints = bind_endpoints(&plan)?;
    let mut bound = bind_all(&plan, workers)?;
    let runtimes =
        (0..workers).map(|_| worker::runtime()).collect::<io::Result<Vec<_>>>().map_err(StartError::Runtime)?;

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
    let (pools, keepers) = start_pools(&plan, &tools).await;
    let listeners = listening(&plan, &bound, &pools, workers);
    let budget = limits::budget(descriptors, limits::open_descriptors(), workers);
    let state = Arc::new(admin::State {
        live: Arc::new(ArcSwap::from_pointee(Live { plan: plan.clone(), generation: 1, listeners, pools })),
        ledger: Arc::new(Ledger::new(workers, access)),
        gate: Arc::new(gate(&plan, budget, descriptors)),
        life: Arc::default(),
        benches: (0..workers).map(|worker| Arc::new(Workbench::new(worker, budget.pipes))).collect(),
        runtimes: runtimes.iter().map(|runtime| runtime.handle().clone()).collect(),
        reloads: Arc::new(Reloads::new(SystemTime::now())),
        log_dropped: logging.dropped(),
        overrides: tools.overrides,
    });
    tokio::spawn(ledger::evict(state.ledger.clone(), ordered));
    let acceptors = Acceptors::default();
    let mut handles = Vec::with_capacity(workers);
    for (index, runtime) in runtimes.into_iter().enumerate() {
        let sockets = sockets_of(&mut bound, &state);
        let ctx = Context {
            live: state.live.clone(),
            ledger: state.ledger.clone(),
            connector: connector.clone(),
            bench: state.benches[index].clone(),
        };
        let job = worker::Job { ctx: Arc::new(ctx), sockets, acceptors: acceptors.clone(), pin: plan.workers.pin };
        handles.push(worker::spawn(runtime, job).map_err(StartError::Runtime)?);
    }
    announce(&state, endpoints);
    let (life, ledger) = (state.life.clone(), state.ledger.clone());
    Ok(Running {
        life,
        ledger,
        _keepers: keepers,
        workers: handles,
        acceptors,
        shutdown: plan.shutdown,
        unix_paths: unix_paths(&plan),
    })
}

fn bind_endpoints(plan: &Plan) -> Result<Vec<Endpoint>, StartError> {
    let admin = plan.admin.as_ref().map(Endpoint::admin);
    let metrics = plan.metrics.as_ref().and_then(|metrics| metrics.listen).map(Endpoint::metrics);
    admin.into_iter().chain(metrics).collect::<Result<_, _>>().map_err(StartError::Endpoint)
}

fn worker_count(plan: &Plan) -> usize {
    let auto = || std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
    plan.workers.threads.map_or_else(auto, |threads| threads.get())
}

/// Binds every address of every listener, and reports all that fail.
fn bind_all(plan: &Plan, workers: usize) -> Result<BTreeMap<Arc<str>, Vec<Bound>>, StartError> {
    let mut bound: BTreeMap<Arc<str>, Vec<Bound>> = BTreeMap::new();
    let mut failed = Vec::new();
    for listener in &plan.listeners {
        for bind in &listener.bind {
            match net::bind(&bind.address, workers, &listener.tcp) {
                Ok(socket) => bound.entry(listener.name.clone()).or_default().push(socket),
                Err(error) => failed.push((format!("listeners.{}: {}", listener.name, bind.address), error)),
            }
        }
    }
    if failed.is_empty() { Ok(bound) } else { Err(StartError::Bind(failed)) }
}

type Pools = BTreeMap<Arc<str>, Arc<Pool>>;
type Keepers = BTreeMap<Arc<str>, KeeperHandle>;

/// Publishes every pool's first snapshot, all names resolved at once, and leaves the keepers running.
async fn start_pools(plan: &Plan, tools: &Tools) -> (Pools, Keepers) {
    let (mut pools, mut keepers) = (Pools::new(), Keepers::new());
    let mut starting = tokio::task::JoinSet::new();
    for settings in &plan.pools {
        let pool = Arc::new(Pool::new(settings.clone()));
        pools.insert(settings.name.clone(), pool.clone());
        let (name, mut keeper) = (settings.name.clone(), Keeper::new(pool, tools.clone()));
        starting.spawn(async move {
            keeper.start().await;
            (name, keeper.spawn())
        });
    }
    while let Some(started) = starting.join_next().await {
        match started {
            Ok((name, keeper)) => drop(keepers.insert(name, keeper)),
            // A defect of ours: its pool has published nothing, and says "empty" to its sessions.
            Err(error) => tracing::error!(%error, "a pool's keeper did not start"),
        }
    }
    (pools, keepers)
}

fn state_file_error(plan: &Plan, error: &io::Error) -> StartError {
    let path = plan.state_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    StartError::State(format!("state_file {path}: {error}"))
}

fn listening(
    plan: &Plan,
    bound: &BTreeMap<Arc<str>, Vec<Bound>>,
    pools: &BTreeMap<Arc<str>, Arc<Pool>>,
    workers: usize,
) -> BTreeMap<Arc<str>, Listening> {
    let one = |listener: &crate::config::plan::Listener| {
        let addresses = bound.get(&listener.name).into_iter().flatten().map(|bound| bound.address.to_string());
        let live = Arc::new(ListenerLive::new(listener.clone(), workers));
        let pool = pools.get(&listener.pool)?.clone();
        Some((listener.name.clone(), Listening { live, bound: addresses.collect(), pool }))
    };
    plan.listeners.iter().filter_map(one).collect()
}

/// The process's limit. Never more than the descriptors allow: sessions that took the last ones would leave none to the
/// admin endpoint, to probes and to log files.
fn gate(plan: &Plan, budget: limits::Budget, descriptors: usize) -> Gate {
    if let Some(wanted) = plan.max_connections
        && wanted > budget.sessions
    {
        tracing::warn!(
            max_connections = wanted,
            descriptors,
            sessions = budget.sessions,
            "max_connections is more than the descriptor limit allows, so that many sessions it is; raise the limit (LimitNOFILE, ulimit -n)"
        );
    }
    Gate::new(plan.max_connections.unwrap_or(usize::MAX).min(budget.sessions), plan.overflow)
}

/// Takes the next worker's socket of every address.
fn sockets_of(
    bound: &mut BTreeMap<Arc<str>, Vec<Bound>>,
    state: &admin::State,
) -> Vec<(crate::net::BoundSocket, Acceptor)> {
    let live = state.live.load();
    let mut sockets = Vec::new();
    for (name, addresses) in bound {
        let Some(listening) = live.listeners.get(name) else { continue };
        for socket in addresses.iter_mut().filter_map(|address| address.sockets.pop()) {
            let acceptor =
                Acceptor { listener: listening.live.clone(), gate: state.gate.clone(), life: state.life.clone() };
            sockets.push((socket, acceptor));
        }
    }
    sockets
}

fn unix_paths(plan: &Plan) -> Vec<PathBuf> {
    let binds = plan.listeners.iter().flat_map(|listener| &listener.bind);
    binds
        .filter_map(|bind| match &bind.address {
            BindAddress::Unix(path, _) => Some(path.clone()),
            BindAddress::Ip(_) => None,
        })
        .collect()
}

/// Says where everything listens, and that it does.
fn announce(state: &Arc<admin::State>, endpoints: Vec<Endpoint>) {
    let live = state.live.load();
    for listener in &live.plan.listeners {
        for address in live.listeners.get(&listener.name).into_iter().flat_map(|listening| &listening.bound) {
            tracing::info!(listener = %listener.name, address, "listening");
        }
    }
    for endpoint in endpoints {
        let name = endpoint.name();
        tracing::info!(listener = name, address = endpoint.address(), "listening");
        let state = state.clone();
        tokio::spawn(async move {
            if let Err(error) = endpoint.serve(state).await {
                tracing::error!(listener = name, %error, "cannot serve");
            }
        });
    }
    state.life.enter(Stage::Ready);
    tracing::info!(workers = state.benches.len(), max_connections = state.gate.limit(), "ready");
}
