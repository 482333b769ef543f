//! Changing the configuration while everything runs: one change at a time, each of them whole or not at all.

mod attempt;
mod guard;
mod meter;
mod removal;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::assembly::Assembly;
use super::systemd::{Manager, Store};
use crate::admin::{Attempt, Author, Departures, Desk, GuardView, Verdict, Wish};
use crate::config::plan::{Guard, Plan};
use crate::config::{Known, Loaded};
use crate::drain::Stage;
use crate::metrics::ReloadResult;
use crate::pool::Verdicts;

pub(super) use attempt::warn_of;
use guard::{Judgement, Reading, judge};
use meter::Meter;
use removal::Removals;

/// Between looks at counters, for the guard of a reload to come or of the last one.
const LOOK: Duration = Duration::from_secs(1);
/// Between looks at sessions of what was removed.
const REMOVE: Duration = Duration::from_millis(100);

/// Carries out what is asked for at the desk.
struct Reloader {
    assembly: Assembly,
    desk: Arc<Desk>,
    meter: Meter,
    removals: Removals,
    /// Whether there is something left of what was removed.
    removing: bool,
    watching: Option<Watching>,
    with: With,
}

/// Whom a reloader has to do with, besides those who want a change.
pub(super) struct With {
    /// Held while something changes. An upgrade holds it, too.
    pub(super) turn: Arc<Mutex<()>>,
    /// Who wants to know what is known of backends.
    pub(super) exports: mpsc::Receiver<oneshot::Sender<BTreeMap<String, Verdicts>>>,
    /// What a newer process has removed.
    pub(super) departures: mpsc::Receiver<Departures>,
    /// Who is told of changes, and has the sockets as well.
    pub(super) manager: Arc<Manager>,
    pub(super) store: Store,
    /// What is known of the files since the start.
    pub(super) known: Known,
}

/// A new configuration on trial.
struct Watching {
    attempt: Attempt,
    guard: Guard,
    since: Instant,
    /// The minute before.
    before: Reading,
    /// All that had been counted when it began.
    start: Reading,
    /// What to go back to.
    old: Arc<Plan>,
    old_hash: String,
    _turn: OwnedMutexGuard<()>,
}

/// Leaves the reloader running, and whoever watches the files.
pub(super) fn spawn(assembly: Assembly, wishes: mpsc::Receiver<Wish>, mut with: With) {
    let desk = assembly.state.desk.clone();
    let in_force = desk.in_force();
    let mut attempt = Attempt::new(desk.next_id(), Author::Start, in_force.generation);
    attempt.hash = Some(in_force.hash);
    desk.note(attempt);
    if !desk.origin().paths.is_empty() {
        let known = std::mem::take(&mut with.known);
        let watching = super::watch::run(assembly.state.clone(), known);
        let life = assembly.state.life.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = watching => {}
                // Whatever the files hold from now on is for another process.
                () = life.reached(Stage::Leaving) => {}
            }
        });
    }
    let mut reloader = Reloader {
        assembly,
        desk,
        meter: Meter::default(),
        removals: Removals::default(),
        removing: false,
        watching: None,
        with,
    };
    reloader.leave_sockets();
    tokio::spawn(reloader.run(wishes));
}

impl Reloader {
    async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) {
        let (mut looks, mut removes) = (interval(LOOK), interval(REMOVE));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        removes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // While a change is on trial the next one waits.
                wish = wishes.recv(), if self.watching.is_none() => match wish {
                    Some(wish) => self.grant(wish).await,
                    None => return,
                },
                Some(told) = self.with.exports.recv() => drop(told.send(self.assembly.pools.export().await)),
                Some(departures) = self.with.departures.recv() => {
                    self.removals.adopt(&self.assembly.state.live.load(), departures, Instant::now());
                    self.remove();
                }
                _ = looks.tick() => self.look().await,
                _ = removes.tick(), if self.removing => self.remove(),
            }
        }
    }

    /// Carries out one wish, and tells everyone what came of it.
    async fn grant(&mut self, wish: Wish) {
        let Wish { id, by, guard, answer } = wish;
        let attempt = Attempt::new(id, by, self.assembly.state.live.load().generation);
        if self.assembly.state.life.stage() >= Stage::Leaving {
            // Neither tried, where another process may have the addresses by now, nor told to the manager, which has
            // heard of the end.
            let attempt = attempt::Why::Leaving.reject(attempt);
            self.tell(&attempt);
            let _ = answer.send(attempt);
            return;
        }
        self.with.manager.reloading();
        let attempt = match (self.with.turn.clone().try_lock_owned(), self.load().await) {
            (Ok(turn), Ok(loaded)) => self.change(attempt, loaded, guard, turn).await,
            (Err(_), _) => attempt::Why::Upgrading.reject(attempt),
            (_, Err(why)) => why.reject(attempt),
        };
        self.with.manager.ready(&format!("serving, generation {}", attempt.generation));
        self.tell(&attempt);
        // Whoever asked may be gone.
        let _ = answer.send(attempt);
    }

    /// Leaves the sockets of the configuration in force with the service manager.
    fn leave_sockets(&mut self) {
        if !self.with.manager.is_there() {
            return;
        }
        match self.assembly.sockets.offer() {
            Ok(offered) => self.with.store.follow(&self.with.manager, &offered),
            Err(error) => tracing::warn!(%error, "sockets are not left with the service manager"),
        }
    }

    /// Puts `loaded` into force, on trial if that is wanted.
    async fn change(
        &mut self,
        attempt: Attempt,
        loaded: Loaded,
        guard: Option<Duration>,
        turn: OwnedMutexGuard<()>,
    ) -> Attempt {
        let wanted = loaded.plan.reload.guard;
        let guard = guard.map(|span| Guard { span, ..wanted.unwrap_or_default() }).or(wanted);
        self.meter.look(&self.assembly.state.live.load(), Instant::now());
        let (before, start) = (self.meter.last_minute(), self.meter.total().clone());
        let (old, old_hash) = (self.assembly.state.live.load().plan.clone(), self.desk.in_force().hash);
        let mut attempt = match self.put(attempt, loaded).await {
            Ok(attempt) => attempt,
            Err(rejected) => return rejected,
        };
        if let Some(guard) = guard {
            attempt.guard = Some(GuardView { state: "watching", seconds: guard.span.as_secs_f64(), detail: None });
            let since = Instant::now();
            self.watching =
                Some(Watching { attempt: attempt.clone(), guard, since, before, start, old, old_hash, _turn: turn });
        }
        attempt
    }

    /// Makes the change, or changes nothing and says why.
    async fn put(&mut self, mut attempt: Attempt, loaded: Loaded) -> Result<Attempt, Attempt> {
        let state = self.assembly.state.clone();
        let before = state.live.load_full();
        attempt.describe(&before.plan, &loaded);
        let prepared = match attempt::obstacle(&attempt) {
            Some(why) => Err(why),
            None => self.assembly.prepare(loaded).await.map_err(attempt::Why::from),
        };
        let prepared = match prepared {
            // It may have taken its time.
            Ok(_) if state.life.stage() >= Stage::Leaving => return Err(attempt::Why::Leaving.reject(attempt)),
            Ok(prepared) => prepared,
            Err(why) => return Err(why.reject(attempt)),
        };
        let gone = self.assembly.commit(prepared).await;
        self.leave_sockets();
        let after = state.live.load_full();
        let departures = self.removals.take(&before, &after, gone, Instant::now());
        self.removing = true;
        self.remove();
        state.elders.part(departures).await;
        attempt.generation = after.generation;
        self.desk.set_drift(false);
        state.reloads.count(ReloadResult::Ok, SystemTime::now());
        Ok(attempt)
    }

    /// Ends sessions of what was removed, and lets go of it once they have ended.
    fn remove(&mut self) {
        let rules = self.removals.obey(&self.assembly.state.ledger);
        let leaving = self.assembly.retire();
        self.removing = rules || leaving;
    }

    /// Takes a reading, and judges the configuration that is on trial.
    async fn look(&mut self) {
        self.meter.look(&self.assembly.state.live.load(), Instant::now());
        let Some(watching) = &self.watching else { return };
        let after = self.meter.total().since(&watching.start);
        let over = watching.since.elapsed() >= watching.guard.span;
        let judgement = judge(&watching.before, &after, &watching.guard);
        match judgement {
            Judgement::Good | Judgement::TooFew if !over => {}
            judgement => {
                if let Some(watching) = self.watching.take() {
                    self.conclude(watching, judgement, after.events()).await;
                }
            }
        }
    }

    async fn conclude(&mut self, watching: Watching, judgement: Judgement, events: u64) {
        let mut attempt = watching.attempt.clone();
        let (verdict, state, detail) = match judgement {
            Judgement::Good => {
                (Verdict::Ok, "passed", format!("{events} attempts to reach a backend, no worse than before"))
            }
            Judgement::TooFew => {
                let few =
                    format!("{events} attempts to reach a backend are too few to judge by; the configuration stays");
                (Verdict::Inconclusive, "inconclusive", few)
            }
            Judgement::Worse(why) => match self.go_back(&watching).await {
                Ok(generation) => {
                    attempt.generation = generation;
                    (Verdict::RolledBack, "rolled_back", why)
                }
                Err(error) => {
                    let stuck = format!("{why}; and there is no way back: {error}");
                    tracing::error!(detail = stuck, "the configuration stays");
                    (Verdict::Ok, "failed", stuck)
                }
            },
        };
        attempt.result = verdict;
        attempt.detail = (verdict == Verdict::RolledBack).then(|| detail.clone());
        attempt.guard = Some(GuardView { state, seconds: watching.guard.span.as_secs_f64(), detail: Some(detail) });
        self.tell(&attempt);
    }

    /// Puts the configuration of before into force again; gives its generation.
    async fn go_back(&mut self, watching: &Watching) -> Result<u64, String> {
        let plan = Plan::clone(&watching.old);
        let hash = watching.old_hash.clone();
        let (files, warnings, needs, known) = Default::default();
        let old = Loaded { plan, files, hash, warnings, needs, known };
        let before = self.assembly.state.live.load_full();
        let prepared = self.assembly.prepare(old).await.map_err(|error| error.to_string())?;
        let gone = self.assembly.commit(prepared).await;
        self.leave_sockets();
        let after = self.assembly.state.live.load_full();
        let departures = self.removals.take(&before, &after, gone, Instant::now());
        self.removing = true;
        self.assembly.state.elders.part(departures).await;
        // The files still hold what was taken back.
        self.desk.set_drift(true);
        self.assembly.state.reloads.count(ReloadResult::RolledBack, SystemTime::now());
        Ok(after.generation)
    }

    /// Notes an attempt in the history, the counters and the log.
    fn tell(&self, attempt: &Attempt) {
        attempt::log(attempt);
        if attempt.result == Verdict::Rejected {
            self.assembly.state.reloads.count(ReloadResult::Rejected, SystemTime::now());
            self.desk.set_drift(attempt.hash.as_ref() != Some(&self.desk.in_force().hash));
        }
        self.desk.note(attempt.clone());
    }

    /// Reads the files, on a thread where that may take its time.
    async fn load(&self) -> Result<Loaded, attempt::Why> {
        attempt::load(self.desk.origin().clone()).await
    }
}
