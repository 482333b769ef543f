//! The keeper: the one writer of a pool's snapshot, and the one judge of its backends. Runs on the control thread.

mod follow;
mod handle;
mod judge;
mod names;
mod publish;
mod serve;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{self, MissedTickBehavior, interval, sleep_until};

use super::Pool;
use super::orders::Orders;
use super::overrides::SharedOverrides;
use super::recent::RecentQuantile;
use super::seat::Seat;
use super::seats::Seats;
use super::tiers::Tiers;
use crate::backend::{Backend, Registry};
use crate::config::plan;
use crate::connect::{self, Connector};
use crate::discover::{self, Resolver};
use crate::health::{Monitor, Places};

use handle::Command;
use names::Answered;

pub use handle::{Followed, KeeperHandle};
pub use names::Answers;

/// How often host names are asked again. The system's resolver does not tell how long an answer
/// is good for; half a minute is what most records of moving services allow.
const REFRESH: Duration = Duration::from_secs(30);

/// Between looks at what changes by itself: weights that rise, connect times, ejections that end.
const LOOK: Duration = Duration::from_secs(1);

/// Failures come in bursts, and so do verdicts of probes: those of so long are taken in together, since a snapshot of
/// thousands of backends costs milliseconds.
const GATHER: Duration = Duration::from_millis(10);

/// What keepers of all pools work with.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Where backends are known by identity.
    pub registry: Arc<Registry>,
    /// What host names are asked of.
    pub resolver: Arc<dyn Resolver>,
    /// What probes dial through.
    pub connector: Connector,
    /// The probes of the process.
    pub places: Arc<Places>,
    /// What operators have said.
    pub overrides: SharedOverrides,
    /// Where it goes what is to happen to sessions.
    pub orders: Orders,
    /// Where this instance is, if that is known.
    pub zone: Option<Arc<str>>,
}

impl Tools {
    /// Tools of pools that stand alone: nobody obeys their orders, and nothing is said by hand.
    pub fn alone(workers: usize) -> Self {
        Self {
            registry: Arc::new(Registry::new(workers)),
            resolver: Arc::new(discover::System),
            connector: connect::system(),
            places: Arc::default(),
            overrides: Arc::default(),
            orders: mpsc::unbounded_channel().0,
            zone: None,
        }
    }
}

/// Publishes a pool's snapshots: whenever what is known of a backend changes.
#[derive(Debug)]
pub struct Keeper {
    pool: Arc<Pool>,
    tools: Tools,
    seats: Seats,
    monitor: Monitor,
    tiers: Tiers,
    /// With `single_active`: who has the sessions, or is to have them.
    active: Option<Arc<Backend>>,
    /// Whether that more than one claims to be primary was said already.
    rivals: bool,
    /// By hand: this tier is to serve again, or a better one.
    go_back: Option<u8>,
    /// Host names that are being asked for.
    asking: JoinSet<Answered>,
    /// When what has come in lately is taken into account, if something has.
    due: Option<time::Instant>,
    /// Whether a verdict of probes is among it.
    judged: bool,
    /// Whether only the words of a reason are not what they were when the snapshot was made.
    stale: bool,
    connect_times: RecentQuantile,
    /// Where the clock of ejections begins.
    epoch: Instant,
}

impl Keeper {
    /// A keeper for `pool`, of its settings.
    pub fn new(pool: Arc<Pool>, tools: Tools) -> Self {
        let settings = pool.settings();
        let seat = |spec: &plan::Backend| {
            Seat::new(tools.registry.get(&pool.name, &spec.name), spec.clone(), &settings.health)
        };
        let seats = settings.backends.iter().map(seat).collect();
        Self {
            monitor: Monitor::new(tools.connector.clone(), tools.places.clone()),
            pool,
            tools,
            seats,
            tiers: Tiers::default(),
            active: None,
            rivals: false,
            go_back: None,
            asking: JoinSet::new(),
            due: None,
            judged: false,
            stale: false,
            connect_times: RecentQuantile::default(),
            epoch: Instant::now(),
        }
    }

    /// Asks for every host name once and publishes the first snapshot.
    ///
    /// A name that does not resolve leaves its backend down; it is asked again soon.
    pub async fn start(&mut self) {
        self.resolve(|_| true).await;
        self.read_overrides();
        self.publish();
        self.watch();
    }

    /// Runs the keeper for as long as there is a handle to it.
    pub fn spawn(self) -> KeeperHandle {
        let (handle, commands) = mpsc::unbounded_channel();
        tokio::spawn(self.run(commands));
        KeeperHandle(handle)
    }

    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut refreshes = interval(REFRESH);
        let mut looks = interval(LOOK);
        refreshes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refreshes.tick().await;
        let pool = self.pool.clone();
        loop {
            let due = self.due;
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Follow(settings, zone, answers, told)) => {
                        let followed = self.follow(*settings, zone, answers);
                        let _ = told.send(followed);
                    }
                    Some(Command::Export(told)) => drop(told.send(self.export())),
                    None => return,
                },
                report = self.monitor.next() => self.take_report(report),
                () = pool.has_news(), if due.is_none() => self.gather(),
                () = sleep_until(due.unwrap_or_else(time::Instant::now)), if due.is_some() => self.take_news(),
                // In the background: a resolver that takes its time holds up no probe and no verdict.
                _ = refreshes.tick(), if self.asking.is_empty() => self.asking = self.ask_for_names(|_| true),
                Some(answer) = self.asking.join_next(), if !self.asking.is_empty() => {
                    if answer.is_ok_and(|answered| self.take_answer(answered)) {
                        self.publish();
                        self.watch();
                    }
                }
                _ = looks.tick() => self.look(),
            }
        }
    }
}
