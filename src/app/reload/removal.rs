//! `on_remove`: what becomes of sessions whose listener or backend a reload removed.
//!
//! A session that both rules are about goes by the gentler one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::{Departure, Departures, Thing};
use crate::app::pools::Gone;
use crate::backend::Backend;
use crate::config::plan::OnChange;
use crate::drain::Pace;
use crate::ledger::{Ledger, Record};
use crate::listener::ListenerLive;
use crate::metrics::Cause;
use crate::net::Target;
use crate::route::Live;

/// All rules that stand.
#[derive(Debug, Default)]
pub(super) struct Removals(Vec<Rule>);

/// What happens to the sessions of something that is gone.
#[derive(Debug)]
struct Rule {
    of: Whom,
    /// None keeps them.
    pace: Option<Pace>,
    since: Instant,
}

#[derive(Debug)]
enum Whom {
    Listener(Arc<ListenerLive>),
    Backend(Arc<Backend>),
    /// The backend is there, elsewhere: those that it had here.
    Moved(Arc<Backend>, Arc<[Target]>),
}

impl Removals {
    /// Takes in what the step from one configuration to the next removed, and what it brought back; says the same for
    /// older processes.
    pub(super) fn take(&mut self, before: &Live, after: &Live, gone: Vec<Gone>, now: Instant) -> Departures {
        self.0.retain(|rule| !rule.of.is_back(after));
        let stood = self.0.len();
        let rule = |of, how: OnChange| Rule { of, pace: how.span().map(Pace::over), since: now };
        for (name, listening) in &before.listeners {
            if !listening.leaving && after.listeners.get(name).is_none_or(|listening| listening.leaving) {
                self.0.push(rule(Whom::Listener(listening.live.clone()), listening.live.settings().on_remove));
            }
        }
        for pool in before.plan.pools.iter().filter(|pool| !names_pool(after, &pool.name)) {
            let snapshot = before.pools.get(&pool.name).map(|pool| pool.snapshot());
            for member in snapshot.iter().flat_map(|snapshot| &snapshot.members) {
                self.0.push(rule(Whom::Backend(member.backend.clone()), pool.on_remove));
            }
        }
        for Gone { backend, moved_from } in gone {
            let how = after.pools.get(&backend.pool).map_or(OnChange::Keep, |pool| pool.settings().on_remove);
            let of = moved_from.map_or(Whom::Backend(backend.clone()), |from| Whom::Moved(backend.clone(), from));
            self.0.push(rule(of, how));
        }
        let gone = self.0[stood..].iter().map(Rule::departure).collect();
        Departures { gone, back: &things(after) - &things(before) }
    }

    /// Takes in what a newer process has removed, as far as it is known here, and what that brought back.
    pub(super) fn adopt(&mut self, live: &Live, Departures { gone, back }: Departures, now: Instant) {
        self.0.retain(|rule| !back.contains(&rule.of.name()));
        let rule = |departure: Departure| {
            let pace = departure.within_ms.map(|millis| Pace::over(Duration::from_millis(millis)));
            Some(Rule { of: Whom::named(live, departure.what)?, pace, since: now })
        };
        self.0.extend(gone.into_iter().filter_map(rule));
    }

    /// Ends those whose time has come; says whether there may be more.
    pub(super) fn obey(&mut self, ledger: &Ledger) -> bool {
        self.0.retain(|rule| rule.of.has_sessions());
        if self.0.iter().all(|rule| rule.pace.is_none()) {
            return !self.0.is_empty();
        }
        let mut found: Vec<Vec<Arc<Record>>> = self.0.iter().map(|_| Vec::new()).collect();
        for record in ledger.list(None, usize::MAX, |record| self.rule_for(record).is_some()) {
            // Looked at twice, and it may have moved on between.
            if let Some(index) = self.rule_for(&record) {
                found[index].push(record);
            }
        }
        for (rule, sessions) in self.0.iter_mut().zip(found) {
            rule.end(ledger, sessions);
        }
        true
    }

    /// The gentlest rule that is about a session.
    fn rule_for(&self, record: &Record) -> Option<usize> {
        let about = (0..self.0.len()).filter(|index| self.0[*index].of.is_about(record));
        about.max_by_key(|index| self.0[*index].gentleness())
    }
}

/// All that a configuration names and that may have sessions.
fn things(live: &Live) -> BTreeSet<Thing> {
    let listeners = live.plan.listeners.iter().map(|listener| Thing::Listener(listener.name.to_string()));
    let backends = live.plan.pools.iter().flat_map(|pool| {
        pool.backends.iter().map(|backend| Thing::Backend {
            pool: pool.name.to_string(),
            name: backend.name.to_string(),
            at: None,
        })
    });
    listeners.chain(backends).collect()
}

fn names_pool(live: &Live, name: &str) -> bool {
    live.plan.pools.iter().any(|pool| &*pool.name == name)
}

impl Rule {
    /// It in words.
    fn departure(&self) -> Departure {
        let millis = |pace: &Pace| u64::try_from(pace.span().as_millis()).unwrap_or(u64::MAX);
        Departure { what: self.of.name(), within_ms: self.pace.as_ref().map(millis) }
    }

    /// The more, the gentler.
    fn gentleness(&self) -> Duration {
        self.pace.as_ref().map_or(Duration::MAX, Pace::span)
    }

    /// Ends as many of those `left` as are due.
    fn end(&mut self, ledger: &Ledger, left: Vec<Arc<Record>>) {
        if let Some(pace) = &mut self.pace {
            let due = pace.due(left.len(), self.since.elapsed());
            ledger.end_idlest(left, due, Cause::Removed);
        }
    }
}

impl Whom {
    fn is_about(&self, record: &Record) -> bool {
        match self {
            Self::Listener(listener) => Arc::ptr_eq(&record.listener, listener),
            Self::Backend(backend) => record.progress().backend.as_ref().is_some_and(|of| of.id == backend.id),
            Self::Moved(backend, from) => {
                let known = record.progress();
                let at = |target: Target| from.contains(&target);
                known.backend.as_ref().is_some_and(|of| of.id == backend.id) && known.target().is_some_and(at)
            }
        }
    }

    /// It in words.
    fn name(&self) -> Thing {
        let backend = |backend: &Backend, at| Thing::Backend {
            pool: backend.pool.to_string(),
            name: backend.name.to_string(),
            at,
        };
        match self {
            Self::Listener(listener) => Thing::Listener(listener.name.to_string()),
            Self::Backend(of) => backend(of, None),
            Self::Moved(of, from) => backend(of, Some(from.iter().map(ToString::to_string).collect())),
        }
    }

    /// What those words stand for here.
    fn named(live: &Live, thing: Thing) -> Option<Self> {
        match thing {
            Thing::Listener(name) => Some(Self::Listener(live.listeners.get(&*name)?.live.clone())),
            Thing::Backend { pool, name, at: None } => Some(Self::Backend(live.backend(&pool, &name)?)),
            Thing::Backend { pool, name, at: Some(at) } => {
                let from = at.iter().filter_map(|at| Target::read(at)).collect();
                Some(Self::Moved(live.backend(&pool, &name)?, from))
            }
        }
    }

    fn has_sessions(&self) -> bool {
        match self {
            // One that its records hold beside the table of listeners and this rule is still to be served.
            Self::Listener(listener) => listener.census().active > 0 || Arc::strong_count(listener) > 1,
            Self::Backend(backend) | Self::Moved(backend, _) => backend.active() > 0,
        }
    }

    /// Whether it is there again.
    fn is_back(&self, live: &Live) -> bool {
        match self {
            Self::Listener(listener) => live
                .listeners
                .get(&listener.name)
                .is_some_and(|listening| !listening.leaving && Arc::ptr_eq(&listening.live, listener)),
            Self::Backend(backend) => {
                let snapshot = live
                    .pools
                    .get(&backend.pool)
                    .filter(|_| names_pool(live, &backend.pool))
                    .map(|pool| pool.snapshot());
                snapshot.is_some_and(|snapshot| snapshot.members.iter().any(|member| member.backend.id == backend.id))
            }
            Self::Moved(..) => false,
        }
    }
}
