//! What everything else stands on: opened first, while nothing has changed for anybody.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;

use super::endpoints::bind_endpoints;
use super::upgrade::Estate;
use super::{Logging, StartError, limits, worker};
use crate::admin::{self, AdminTls, Desk, Endpoint, Upgrades};
use crate::admission::Gate;
use crate::backend::Registry;
use crate::config::plan::Plan;
use crate::connect;
use crate::discover::System;
use crate::ledger::{AccessLogs, Ledger};
use crate::metrics::Reloads;
use crate::pool::{Orders, Overrides, SharedOverrides, Tools};
use crate::relay::Workbench;
use crate::route::Live;

/// All that is had before a configuration is prepared.
pub(super) struct Foundation {
    /// Bound, and not served yet.
    pub(super) endpoints: Vec<Endpoint>,
    /// One for each worker.
    pub(super) runtimes: worker::Idle,
    /// What the process may have open.
    pub(super) descriptors: usize,
    overrides: SharedOverrides,
    admin_tls: Arc<AdminTls>,
}

impl Foundation {
    /// Opens it, for as many workers as `plan` says or there are `cpus`.
    ///
    /// # Errors
    /// Something cannot be opened.
    pub(super) fn open(plan: &Plan, cpus: usize, estate: &mut Estate) -> Result<Self, StartError> {
        let descriptors = limits::raise_descriptor_limit();
        let overrides = Overrides::load(plan.state_file.clone()).map_err(|error| state_file_error(plan, &error))?;
        let endpoints = bind_endpoints(plan, estate)?;
        let admin_tls = AdminTls::load(plan.admin.as_ref());
        let admin_tls = admin_tls.map_err(|error| StartError::Tls(vec![("admin.tls".into(), error)]))?;
        let workers = plan.workers.threads.map_or(cpus, |threads| threads.get());
        let runtimes = worker::Idle::new(workers).map_err(StartError::Runtime)?;
        Ok(Self { endpoints, runtimes, descriptors, overrides: Arc::new(overrides), admin_tls: Arc::new(admin_tls) })
    }

    /// What the endpoints show: of a process that serves nothing yet.
    pub(super) fn state(&self, plan: &Plan, desk: Desk, upgrades: Upgrades, logging: &Logging) -> admin::State {
        let runtimes = self.runtimes.handles();
        let workers = runtimes.len();
        let pipes = limits::budget(self.descriptors, limits::open_descriptors(), workers).pipes;
        let bench = |worker| Workbench::new(worker, pipes).busy_polling(plan.workers.busy_poll);
        let nothing = Live {
            plan: Arc::new(plan.clone()),
            generation: 0,
            listeners: BTreeMap::new(),
            pools: BTreeMap::new(),
            departed: Vec::new(),
        };
        admin::State {
            live: Arc::new(ArcSwap::from_pointee(nothing)),
            ledger: Arc::new(Ledger::new(workers, AccessLogs::default())),
            gate: Arc::new(Gate::new(0, plan.overflow)),
            life: Arc::default(),
            benches: (0..workers).map(|worker| Arc::new(bench(worker))).collect(),
            runtimes,
            reloads: Arc::new(Reloads::new(SystemTime::now())),
            desk: Arc::new(desk),
            log_dropped: logging.dropped(),
            overrides: self.overrides.clone(),
            elders: Arc::default(),
            upgrades: Arc::new(upgrades),
            admin_tls: self.admin_tls.clone(),
        }
    }

    /// What pools work with; what they want of sessions goes to `orders`.
    pub(super) fn tools(&self, plan: &Plan, orders: Orders) -> Tools {
        Tools {
            registry: Arc::new(Registry::new(self.runtimes.handles().len())),
            resolver: Arc::new(System),
            connector: connect::system(), // one for all: sessions and probes take turns at its source addresses
            places: Arc::default(),
            overrides: self.overrides.clone(),
            orders,
            zone: plan.zone.clone(),
        }
    }
}

fn state_file_error(plan: &Plan, error: &io::Error) -> StartError {
    let path = plan.state_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    StartError::State(format!("state_file {path}: {error}"))
}
