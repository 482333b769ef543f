//! The pools and whoever keeps them, over all configurations.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::backend::Backend;
use crate::config::plan::Plan;
use crate::net::Target;
use crate::pool::{Answers, Keeper, KeeperHandle, Pool, Tools, Verdicts};
use crate::tls::Client;

/// What pools speak TLS with, by their names.
type Clients = BTreeMap<Arc<str>, Arc<Client>>;

/// All pools that live.
#[derive(Debug)]
pub(super) struct Pools {
    tools: Tools,
    kept: BTreeMap<Arc<str>, Kept>,
}

#[derive(Debug)]
struct Kept {
    pool: Arc<Pool>,
    keeper: KeeperHandle,
}

/// Pools that are new, each with its first snapshot, and what host names stand for that are new to the others; nobody
/// uses them yet.
#[derive(Debug)]
pub(super) struct Started {
    fresh: Vec<(Arc<Pool>, Keeper)>,
    answers: HashMap<Arc<str>, Answers>,
}

/// A backend that is no longer there, or no longer where it was.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) backend: Arc<Backend>,
    /// Where it was, if its name stands for another address now.
    pub(super) moved_from: Option<Arc<[Target]>>,
}

impl Started {
    /// Takes over what another process knew, by pool.
    pub(super) fn import(&mut self, verdicts: &BTreeMap<String, Verdicts>) {
        for (pool, keeper) in &mut self.fresh {
            if let Some(verdicts) = verdicts.get(&*pool.name) {
                keeper.import(verdicts);
            }
        }
    }
}

impl Pools {
    /// None yet.
    pub(super) fn new(tools: Tools) -> Self {
        Self { tools, kept: BTreeMap::new() }
    }

    /// Starts those of `plan` that are not there, and asks for the host names that are new, all at once.
    pub(super) async fn prepare(&self, plan: &Plan, clients: &Clients) -> Started {
        let tools = Tools { zone: plan.zone.clone(), ..self.tools.clone() };
        let mut starting = JoinSet::new();
        for settings in plan.pools.iter().filter(|settings| !self.kept.contains_key(&settings.name)) {
            let pool = Arc::new(Pool::new(settings.clone()));
            pool.tls.put(clients.get(&pool.name).cloned());
            let mut keeper = Keeper::new(pool.clone(), tools.clone());
            starting.spawn(async move {
                keeper.start().await;
                (pool, keeper)
            });
        }
        let answers = self.ask_ahead(plan).await;
        let mut fresh = Vec::new();
        while let Some(result) = starting.join_next().await {
            match result {
                Ok(pool) => fresh.push(pool),
                // A defect of ours: sessions of its listeners find no route.
                Err(error) => tracing::error!(%error, "a pool's keeper did not start"),
            }
        }
        Started { fresh, answers }
    }

    /// What host names stand for that `plan` is the first to name in pools that are there.
    async fn ask_ahead(&self, plan: &Plan) -> HashMap<Arc<str>, Answers> {
        let mut asking = JoinSet::new();
        for settings in &plan.pools {
            let Some(kept) = self.kept.get(&settings.name) else { continue };
            let (now, next, resolver) = (kept.pool.settings(), settings.clone(), self.tools.resolver.clone());
            asking.spawn(async move { (next.name.clone(), Answers::ahead(&resolver, &now, &next).await) });
        }
        asking.join_all().await.into_iter().collect()
    }

    /// Has all pools follow `plan`; gives those that it names, and what their backends have come to.
    pub(super) async fn adopt(
        &mut self,
        plan: &Plan,
        started: Started,
        clients: &Clients,
    ) -> (BTreeMap<Arc<str>, Arc<Pool>>, Vec<Gone>) {
        // Before the new ones are there: those are as they should be.
        let gone = self.follow(plan, clients, started.answers).await;
        for (pool, keeper) in started.fresh {
            self.kept.insert(pool.name.clone(), Kept { pool, keeper: keeper.spawn() });
        }
        let named = plan.pools.iter().filter_map(|settings| self.kept.get(&settings.name));
        (named.map(|kept| (kept.pool.name.clone(), kept.pool.clone())).collect(), gone)
    }

    /// All at once.
    async fn follow(&self, plan: &Plan, clients: &Clients, mut answers: HashMap<Arc<str>, Answers>) -> Vec<Gone> {
        let mut following = JoinSet::new();
        for settings in &plan.pools {
            let Some(kept) = self.kept.get(&settings.name) else { continue };
            let (keeper, settings, zone) = (kept.keeper.clone(), settings.clone(), plan.zone.clone());
            let (before, answers) = (kept.pool.snapshot(), answers.remove(&settings.name).unwrap_or_default());
            kept.pool.tls.put(clients.get(&settings.name).cloned());
            following.spawn(async move {
                let names: HashSet<_> = settings.backends.iter().map(|backend| backend.name.clone()).collect();
                let followed = keeper.follow(settings, zone, answers).await;
                let ids = before.members.iter().map(|member| member.backend.id);
                let were: HashMap<_, _> = ids.zip(&before.seats).collect();
                let gone = |backend: Arc<Backend>| {
                    let seat = were.get(&backend.id).filter(|_| names.contains(&backend.name));
                    Gone { moved_from: seat.map(|seat| seat.targets.clone()), backend }
                };
                followed.removed.into_iter().map(gone).collect::<Vec<_>>()
            });
        }
        let mut gone = Vec::new();
        while let Some(result) = following.join_next().await {
            gone.extend(result.into_iter().flatten());
        }
        gone
    }

    /// What is known of all backends, for another process.
    pub(super) async fn export(&self) -> BTreeMap<String, Verdicts> {
        let mut exported = BTreeMap::new();
        for (name, kept) in &self.kept {
            exported.insert(name.to_string(), kept.keeper.export().await);
        }
        exported
    }

    /// Ends the keeper of a pool that nobody uses any more: it goes with its handle.
    pub(super) fn end(&mut self, name: &str) {
        self.kept.remove(name);
    }
}
