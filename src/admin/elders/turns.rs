//! `single_active` over processes: the newest one moves all of them from one backend to the next.
//!
//! A backend gets its turn in two steps. First all shut themselves, this process before the others, and say whether they
//! have sessions anywhere else; only when nobody has, all open for it. Sessions never wait for an answer: they read what a
//! pool is confined to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::words::{Ask, Told, Turn};
use super::{Elders, LOOK};
use crate::backend::Backend;
use crate::pool::{Confined, Pool};
use crate::route::Live;

/// Between looks at whose turn it is.
const STEP: Duration = Duration::from_millis(200);

/// Where the turns stand.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Another process is taking over: nothing moves.
    frozen: bool,
    /// They have begun, with older processes that an earlier one may have left shut.
    begun: bool,
    /// Pools that are open here, and perhaps not yet in older processes.
    opening: BTreeSet<Arc<str>>,
    /// Pools that wait for sessions of older processes, as was said.
    waiting: BTreeSet<Arc<str>>,
}

/// A pool and the backend whose turn it is to be.
struct Wish {
    pool: Arc<Pool>,
    next: Arc<Backend>,
    open: bool,
}

impl Elders {
    /// Gives backends their turns for as long as the process lives.
    pub async fn take_turns(self: Arc<Self>, live: Arc<ArcSwap<Live>>) {
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            steps.tick().await;
            if !self.turn(&live.load_full()).await {
                // One that does not answer must not find hundreds of questions when it does.
                sleep(LOOK).await;
            }
        }
    }

    /// Leaves everything as it is until [`Self::thaw`]: another process is taking over.
    pub async fn freeze(&self) {
        self.turns.lock().await.frozen = true;
    }

    /// That process has given up.
    pub async fn thaw(&self) {
        self.turns.lock().await.frozen = false;
    }

    /// One step; false if somebody has not answered.
    async fn turn(&self, live: &Live) -> bool {
        let mut turns = self.turns.lock().await;
        if turns.frozen {
            return true;
        }
        if self.ids().is_empty() {
            turns.free(live);
            return true;
        }
        let pools = live.pools.values().filter(|pool| pool.is_single());
        if !std::mem::replace(&mut turns.begun, true) {
            turns.opening.extend(pools.clone().map(|pool| pool.name.clone()));
        }
        let wishes: Vec<Wish> = pools.filter_map(|pool| turns.wish(pool)).collect();
        if wishes.is_empty() {
            return true;
        }
        let told = self.ask_each(Ask::Yield(wishes.iter().map(Wish::turn).collect())).await;
        // One that does not answer may have sessions anywhere: it is stopped, or very busy, or of a version that does not
        // know the question. Then the pool stays where it is until that process has ended.
        let answers: Vec<Option<Vec<bool>>> = told.into_iter().map(|told| yielded(told, wishes.len())).collect();
        for (index, wish) in wishes.iter().enumerate() {
            let all = answers.iter().all(|of_one| of_one.as_ref().is_some_and(|of_one| of_one[index]));
            turns.hear(wish, all);
        }
        answers.iter().all(Option::is_some)
    }
}

impl Turns {
    /// There are no older processes, or no longer.
    fn free(&mut self, live: &Live) {
        self.opening.clear();
        self.waiting.clear();
        for pool in live.pools.values().filter(|pool| pool.confined() != Confined::Free) {
            pool.confine(Confined::Free);
        }
    }

    /// What the others are to be asked about a pool, if anything is.
    fn wish(&self, pool: &Arc<Pool>) -> Option<Wish> {
        // While nobody is usable, nobody gets a turn.
        let (pool, next) = (pool.clone(), pool.next_active()?);
        if pool.confined() == Confined::To(next.id) {
            return self.opening.contains(&pool.name).then_some(Wish { pool, next, open: true });
        }
        pool.confine(Confined::Shut);
        // Only then, so that no session comes between.
        (!pool.holds_other(Some(next.id))).then_some(Wish { pool, next, open: false })
    }

    /// Takes in whether all the others have agreed.
    fn hear(&mut self, Wish { pool, next, open }: &Wish, agreed: bool) {
        match (open, agreed) {
            (true, true) => drop(self.opening.remove(&pool.name)),
            (true, false) => {}
            (false, true) => {
                self.waiting.remove(&pool.name);
                self.opening.insert(pool.name.clone());
                pool.confine(Confined::To(next.id));
            }
            (false, false) => {
                if self.waiting.insert(pool.name.clone()) {
                    tracing::info!(pool = %pool.name, next = %next.name, "the next backend waits for sessions of old processes on another one");
                }
            }
        }
    }
}

impl Wish {
    fn turn(&self) -> Turn {
        Turn { pool: self.pool.name.to_string(), backend: self.next.name.to_string(), open: self.open }
    }
}

/// An answer to so many questions.
fn yielded(told: Option<Told>, count: usize) -> Option<Vec<bool>> {
    match told {
        Some(Told::Yielded(answers)) if answers.len() == count => Some(answers),
        _ => None,
    }
}
