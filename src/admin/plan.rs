//! What another configuration would change, object by object: `POST /api/v1/plan`, and the diffs of the history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::State;
use crate::balance::share_moved;
use crate::config::diff::{Change, ChangeAt, Path, Step, diff, restarts};
use crate::config::plan::{Plan, Pool};
use crate::config::{ConfigError, Loaded, Setting};
use crate::metrics::families as f;
use crate::metrics::{Counts, Labels};

/// Changes that are told of one attempt of the history.
const TOLD: usize = 200;
/// Characters of a value that are told there.
const LONGEST: usize = 500;

/// One change of a key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangeView {
    /// Where it is: in a plan below its object, in the history in the whole.
    pub path: String,
    /// `add`, `remove`, `change` or `order`.
    pub action: &'static str,
    /// The value before; null if there was none.
    pub old: Option<String>,
    /// The value after; null if there is none.
    pub new: Option<String>,
}

impl ChangeView {
    fn new(path: &Path, change: &Change) -> Self {
        let list = |names: &[String]| Some(format!("[{}]", names.join(", ")));
        let (action, old, new) = match change {
            Change::Added(new) => ("add", None, Some(new.to_string())),
            Change::Removed(old) => ("remove", Some(old.to_string()), None),
            Change::Changed(old, new) => ("change", Some(old.to_string()), Some(new.to_string())),
            Change::Ordered(old, new) => ("order", list(old), list(new)),
        };
        Self { path: path.to_string(), action, old, new }
    }
}

/// The changes for the history, and how many more there are: a history of huge files is no reason to grow.
pub fn told(changes: &[ChangeAt]) -> (Vec<ChangeView>, usize) {
    let cut = |text: String| match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    let view = |(path, change): &ChangeAt| {
        let view = ChangeView::new(path, change);
        ChangeView { old: view.old.map(cut), new: view.new.map(cut), ..view }
    };
    (changes.iter().take(TOLD).map(view).collect(), changes.len().saturating_sub(TOLD))
}

/// An object that another configuration has, has not, or has otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ObjectView {
    /// `process`, `listener`, `pool` or `backend`.
    pub kind: &'static str,
    /// Its name; of a backend `POOL/BACKEND`, of the process empty.
    pub name: String,
    /// `add`, `remove` or `change`.
    pub action: &'static str,
    /// Sessions on it now.
    pub sessions: usize,
    /// Of what is removed: what becomes of those sessions.
    pub on_remove: Option<String>,
    /// Of pools that follow keys: the share of keys whose backend would be another one.
    pub keys_moved: Option<f64>,
    /// Its keys; none of an object that is removed.
    pub changes: Vec<ChangeView>,
}

/// What a reload would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanView {
    /// The configuration in force, which this is compared with.
    pub generation: u64,
    /// Whether anything would change.
    pub changed: bool,
    /// Keys that would need a restart: a reload is rejected while there are any.
    pub needs_restart: Vec<String>,
    /// What would change, object by object.
    pub objects: Vec<ObjectView>,
    /// What works but is probably not meant.
    pub warnings: Vec<ConfigError>,
}

/// What `loaded` would change.
pub(super) fn view(state: &State, loaded: &Loaded) -> PlanView {
    let live = state.live.load();
    let changes = diff(&live.plan.settings, &loaded.plan.settings);
    let sessions = Sessions::count(state);
    let mut objects = Objects { old: &live.plan, new: &loaded.plan, sessions: &sessions, found: Vec::new() };
    changes.iter().for_each(|(path, change)| objects.take(path, change));
    PlanView {
        generation: live.generation,
        changed: !changes.is_empty(),
        needs_restart: restarts(&changes),
        objects: objects.found,
        warnings: loaded.warnings.clone(),
    }
}

/// Changes, gathered by the object that they are about.
struct Objects<'a> {
    old: &'a Plan,
    new: &'a Plan,
    sessions: &'a Sessions,
    found: Vec<ObjectView>,
}

impl Objects<'_> {
    fn take(&mut self, path: &Path, change: &Change) {
        let place = Place::of(path);
        if place.kind == "backend"
            && let Some(pool) = place.pool().filter(|pool| self.keys_moved(pool).is_some())
        {
            // The pool itself says the same as ever, but its keys move.
            self.at(&Place { kind: "pool", name: pool.to_owned(), depth: 2 });
        }
        let on_remove = place.on_remove(self.old, self.new);
        let object = self.at(&place);
        match (path.0.len() == place.depth, change) {
            (true, Change::Added(setting)) => {
                object.action = "add";
                object.changes = keys_of(setting);
            }
            (true, Change::Removed(_)) => {
                object.action = "remove";
                object.on_remove = on_remove;
            }
            _ => object.changes.push(ChangeView::new(&path.below(place.depth), change)),
        }
    }

    fn at(&mut self, place: &Place) -> &mut ObjectView {
        let same = self.found.iter().position(|object| (object.kind, &object.name) == (place.kind, &place.name));
        let index = same.unwrap_or(self.found.len());
        if same.is_none() {
            self.found.push(ObjectView {
                kind: place.kind,
                name: place.name.clone(),
                action: "change",
                sessions: self.sessions.on(place),
                on_remove: None,
                keys_moved: place.pool().filter(|_| place.kind == "pool").and_then(|pool| self.keys_moved(pool)),
                changes: Vec::new(),
            });
        }
        &mut self.found[index]
    }

    /// Of a pool that is there before and after, and follows keys both times.
    fn keys_moved(&self, pool: &str) -> Option<f64> {
        let find = |plan: &Plan| plan.pools.iter().find(|other| &*other.name == pool).cloned();
        let (before, after): (Pool, Pool) = find(self.old).zip(find(self.new))?;
        share_moved(&before, &after, Instant::now())
    }
}

/// The keys of an object that is new.
fn keys_of(setting: &Setting) -> Vec<ChangeView> {
    let Setting::Map(entries) = setting else { return Vec::new() };
    let add = |(name, value): (&String, &Setting)| {
        ChangeView::new(&Path(vec![Step::Key(name.clone())]), &Change::Added(value.clone()))
    };
    entries.iter().map(add).collect()
}

/// The object that a path is about.
struct Place {
    kind: &'static str,
    name: String,
    /// Steps of the path that lead to it.
    depth: usize,
}

impl Place {
    fn of(path: &Path) -> Self {
        match path.names().as_slice() {
            ["listeners", name, ..] => Self { kind: "listener", name: (*name).to_owned(), depth: 2 },
            ["pools", pool, "backends", name, ..] => Self { kind: "backend", name: format!("{pool}/{name}"), depth: 4 },
            ["pools", name, ..] => Self { kind: "pool", name: (*name).to_owned(), depth: 2 },
            _ => Self { kind: "process", name: String::new(), depth: 0 },
        }
    }

    /// The pool it is or is in. No pool has a slash in its name.
    fn pool(&self) -> Option<&str> {
        match self.kind {
            "pool" | "backend" => Some(self.name.split_once('/').map_or(self.name.as_str(), |(pool, _)| pool)),
            _ => None,
        }
    }

    /// What becomes of sessions on it if it is removed: a pool that stays says what it means now.
    fn on_remove(&self, old: &Plan, new: &Plan) -> Option<String> {
        let (plan, section, name) = match self.kind {
            "listener" => (old, "listeners", self.name.as_str()),
            "pool" => (old, "pools", self.name.as_str()),
            "backend" => (new, "pools", self.pool()?),
            _ => return None,
        };
        Some(plan.settings.get(section)?.get(name)?.get("on_remove")?.to_string())
    }
}

/// Living sessions by what they are on: those of this process, and what older ones count.
#[derive(Default)]
struct Sessions {
    others: Counts,
    all: usize,
    listeners: BTreeMap<Arc<str>, usize>,
    pools: BTreeMap<Arc<str>, usize>,
    backends: BTreeMap<String, usize>,
}

impl Sessions {
    fn count(state: &State) -> Self {
        let mut sessions = Self { others: state.elders.sum(), ..Self::default() };
        state.ledger.list(None, usize::MAX, |record| {
            let known = record.progress();
            sessions.all += 1;
            *sessions.listeners.entry(record.listener.name.clone()).or_default() += 1;
            if let Some(pool) = &known.pool {
                *sessions.pools.entry(pool.name.clone()).or_default() += 1;
            }
            if let Some(backend) = &known.backend {
                *sessions.backends.entry(format!("{}/{}", backend.pool, backend.name)).or_default() += 1;
            }
            false
        });
        sessions
    }

    fn on(&self, place: &Place) -> usize {
        let found = match place.kind {
            "listener" => self.listeners.get(place.name.as_str()),
            "pool" => self.pools.get(place.name.as_str()),
            "backend" => self.backends.get(&place.name),
            _ => Some(&self.all),
        };
        found.copied().unwrap_or_default() + self.elsewhere(place) as usize
    }

    fn elsewhere(&self, place: &Place) -> u64 {
        let (pool, backend) = place.name.split_once('/').unwrap_or((&place.name, ""));
        let of_pool = Labels::new(&[("pool", pool)]);
        match place.kind {
            "listener" => self.others.total_of(f::LISTENER_ACTIVE, &Labels::new(&[("listener", &place.name)])),
            "pool" => {
                [f::BACKEND_ACTIVE, f::POOL_QUEUE_LENGTH].map(|of| self.others.total_of(of, &of_pool)).iter().sum()
            }
            "backend" => self.others.total_of(f::BACKEND_ACTIVE, &Labels::new(&[("pool", pool), ("backend", backend)])),
            _ => self.others.total(f::LISTENER_ACTIVE) as u64,
        }
    }
}
