//! Start: everything is bound, opened and resolved before the first client is accepted.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::assembly::Assembly;
use super::pools::Pools;
use super::sockets::Sockets;
use super::worker::{Arrival, Job};
use super::{Acceptors, Configured, Logging, Running, limits, reload, worker};
use crate::admin::{self, Desk, Endpoint, EndpointError};
use crate::admission::Gate;
use crate::backend::Registry;
use crate::config::plan::Plan;
use crate::connect::{self, Connector};
use crate::discover::System;
use crate::drain::Stage;
use crate::ledger::{self, AccessLogs, Ledger, OpenError};
use crate::metrics::Reloads;
use crate::pool::{Overrides, Tools};
use crate::relay::Workbench;
use crate::route::Live;
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
pub(super) async fn start(configured: Configured, logging: Arc<Logging>) -> Result<Running, StartError> {
    let descriptors = limits::raise_descriptor_limit();
    let plan = configured.loaded.plan.clone();
    let workers = worker_count(&plan);
    let overrides = Overrides::load(plan.state_file.clone()).map_err(|error| state_file_error(&plan, &error))?;
    let endpoints = bind_endpoints(&plan)?;
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
    let (desk, wishes) = Desk::new(configured.origin);
    let pipes = limits::budget(descriptors, limits::open_descriptors(), workers).pipes;
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
        benches: (0..workers).map(|worker| Arc::new(Workbench::new(worker, pipes))).collect(),
        runtimes: runtimes.iter().map(|runtime| runtime.handle().clone()).collect(),
        reloads: Arc::new(Reloads::new(SystemTime::now())),
        desk: Arc::new(desk),
        log_dropped: logging.dropped(),
        overrides: tools.overrides.clone(),
    });
    tokio::spawn(ledger::evict(state.ledger.clone(), ordered));
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
    let sockets: Arc<Sockets> = Arc::default();
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
    let prepared = match assembly.prepare(configured.loaded).await {
        Ok(prepared) => prepared,
        Err(error) => {
            // Dropping one waits for its threads, and nobody may wait here.
            runtimes.into_iter().for_each(Runtime::shutdown_background);
            return Err(error);
        }
    };
    let handles =
        spawn_workers(runtimes, receivers, &state, &connector, plan.workers.pin).map_err(StartError::Runtime)?;
    assembly.overhead = limits::open_descriptors().saturating_sub(prepared.sockets());
    assembly.commit(prepared).await;
    announce(&state, endpoints);
    reload::spawn(assembly, wishes);
    Ok(Running {
        life: state.life.clone(),
        ledger: state.ledger.clone(),
        live: state.live.clone(),
        desk: state.desk.clone(),
        workers: handles,
        acceptors,
        sockets,
    })
}

fn bind_endpoints(plan: &Plan) -> Result<Vec<Endpoint>, StartError> {
    let admin = plan.admin.as_ref().map(Endpoint::admin);
    let metrics = plan.metrics.as_ref().and_then(|metrics| metrics.listen).map(Endpoint::metrics);
    admin.into_iter().chain(metrics).collect::<Result<_, _>>().map_err(StartError::Endpoint)
}

fn state_file_error(plan: &Plan, error: &io::Error) -> StartError {
    let path = plan.state_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    StartError::State(format!("state_file {path}: {error}"))
}

fn worker_count(plan: &Plan) -> usize {
    let auto = || std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
    plan.workers.threads.map_or_else(auto, |threads| threads.get())
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
fn announce(state: &Arc<admin::State>, endpoints: Vec<Endpoint>) {
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
