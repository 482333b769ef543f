//! Pools: the snapshot that sessions choose from, the lease they get, and the keeper that publishes.

mod budget;
mod confine;
mod explain;
mod groups;
mod keeper;
mod lease;
mod orders;
mod overrides;
mod queue;
mod ramp;
mod recent;
mod seat;
mod seats;
mod single;
mod tiers;
mod tls;
mod treatment;
mod verdicts;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::balance::{self, Member, Policy};
use crate::config::plan::{self, Hedge};
use crate::connect::Secure;
use crate::discover::DiscoverError;
use crate::metrics::{BackendState, Counter, Histogram, LATENCY_BOUNDS, Unavailable};
use crate::net::Target;

use budget::{Allowance, Budget};
use groups::Placed;
use queue::Queue;

pub use confine::Held;
pub use explain::{Prospect, Standing};
pub use keeper::{Answers, Followed, Keeper, KeeperHandle, Tools};
pub use lease::{Claimed, Lease, NoLease, QueueError};
pub use orders::{Order, Orders};
pub use overrides::{Forced, Override, Overrides, Said, Say, SharedOverrides};
pub use single::Confined;
use single::Single;
pub use tls::LiveTls;
pub use verdicts::{Probed, Verdict, Verdicts};

/// A pool as sessions use it.
#[derive(Debug)]
pub struct Pool {
    /// Unique among pools.
    pub name: Arc<str>,
    /// What is counted about it.
    pub cells: PoolCells,
    /// How its backends are met inside TLS.
    pub tls: LiveTls,
    settings: ArcSwap<plan::Pool>,
    /// `timeouts.idle`: [`INHERIT`], or milliseconds with 0 as off.
    idle: AtomicU64,
    /// Where round robin stands; kept over snapshots and reloads.
    cursor: Arc<AtomicUsize>,
    snapshot: ArcSwap<Snapshot>,
    /// Sessions that wait for a backend below its limit, with their keys.
    queue: Queue<u64, Lease>,
    budget: Budget,
    /// `single_active`: whether only one backend may have sessions, and which one has them.
    single_active: AtomicBool,
    single: Single,
    /// Whether so few backends are up that all are used. The keeper writes it.
    fail_open: AtomicBool,
    /// `health.passive.first_byte_within`, nanoseconds; 0 is no limit.
    first_byte_within: AtomicU64,
    /// Wakes the keeper: sessions have failed, or an operator has spoken.
    news: Notify,
    /// Wakes those who wait for a new snapshot.
    published: Notify,
    /// The 95th percentile of recent connect times, nanoseconds; 0 is unknown. The keeper writes it.
    connect_p95: AtomicU64,
    /// Where the budget's clock begins.
    began: Instant,
}

/// `timeouts.idle` is not given: the listener's counts.
const INHERIT: u64 = u64::MAX;

impl Pool {
    /// A pool that has published nothing yet; its [`Keeper`] does.
    pub fn new(settings: plan::Pool) -> Self {
        let pool = Self {
            name: settings.name.clone(),
            cells: PoolCells::default(),
            tls: LiveTls::default(),
            settings: ArcSwap::from_pointee(settings.clone()),
            idle: AtomicU64::new(INHERIT),
            cursor: Arc::default(),
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            queue: Queue::default(),
            budget: Budget::default(),
            single_active: AtomicBool::new(false),
            single: Single::default(),
            fail_open: AtomicBool::new(false),
            first_byte_within: AtomicU64::new(0),
            news: Notify::new(),
            published: Notify::new(),
            connect_p95: AtomicU64::new(0),
            began: Instant::now(),
        };
        pool.follow(settings);
        pool
    }

    /// Takes over new settings; sessions that live follow them. Backends follow by the pool's keeper.
    fn follow(&self, settings: plan::Pool) {
        let idle = settings.idle.map_or(INHERIT, |idle| idle.map_or(0, |span| span.as_millis() as u64));
        let within = settings.health.passive.and_then(|passive| passive.first_byte_within);
        self.idle.store(idle, Relaxed);
        self.first_byte_within.store(within.map_or(0, |span| span.as_nanos() as u64), Relaxed);
        self.single_active.store(settings.single_active, Relaxed);
        self.settings.store(Arc::new(settings));
    }

    /// Whether so few backends are up that all are used.
    pub fn fails_open(&self) -> bool {
        self.fail_open.load(Relaxed)
    }

    /// How long a backend may take for its first byte before that is a failure.
    pub fn first_byte_within(&self) -> Option<Duration> {
        let nanos = self.first_byte_within.load(Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Takes in that a backend has served a session, or failed one. At most once a session.
    pub fn witness(&self, backend: &Backend, good: bool) {
        if good {
            return backend.evidence.good();
        }
        backend.evidence.bad();
        // Without `passive` nobody judges by it.
        if self.settings.load().health.passive.is_some() {
            self.news.notify_one();
        }
    }

    /// Has the keeper take over what an operator has said about `backend`, and waits until sessions heed it; not for
    /// longer than a second.
    pub async fn heed(&self, backend: &str, over: Option<&Override>) {
        const PATIENCE: Duration = Duration::from_secs(1);
        self.news.notify_one();
        let heeded = async {
            loop {
                let published = self.published.notified();
                let snapshot = self.snapshot.load();
                let seats = snapshot.members.iter().zip(&snapshot.seats);
                let mut of_it = seats.filter(|(member, _)| *member.backend.name == *backend);
                if of_it.all(|(_, seat)| seat.over.as_ref() == over) {
                    return;
                }
                drop(snapshot);
                published.await;
            }
        };
        let _ = timeout(PATIENCE, heeded).await;
    }

    /// Waits until something was witnessed or said.
    async fn has_news(&self) {
        self.news.notified().await;
    }

    /// Bounds on dialling, as configured now.
    pub fn settings(&self) -> Arc<plan::Pool> {
        self.settings.load_full()
    }

    /// The idle limit of its sessions, given their listener's.
    pub fn idle(&self, of_listener: Option<Duration>) -> Option<Duration> {
        match self.idle.load(Relaxed) {
            INHERIT => of_listener,
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }

    /// What sessions choose from now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Whether a session could be served now, or would wait in a queue.
    pub fn is_usable(&self) -> bool {
        self.snapshot.load().members.iter().any(|member| member.usable)
    }

    /// Sessions in the queue.
    pub fn queue_length(&self) -> usize {
        self.queue.len()
    }

    /// Counts a session that begins to dial: what it earns, retries may spend.
    pub fn earn(&self, now: Instant) {
        self.budget.session(now.saturating_duration_since(self.began));
    }

    /// Whether the budget has a hedge to spare; counts it. A session that may not hedge goes on.
    pub fn may_hedge(&self, now: Instant) -> bool {
        let plan::RetryBudget { share, min_per_second } = self.settings.load().connect.retry_budget;
        self.budget.withdraw(Allowance { share, min_per_second }, now.saturating_duration_since(self.began))
    }

    /// Whether the budget has a retry to spare; counts it, and counts a refusal.
    pub fn may_retry(&self, now: Instant) -> bool {
        let granted = self.may_hedge(now);
        if !granted {
            self.cells.unavailable[Unavailable::Budget as usize].inc();
        }
        granted
    }

    /// How long an attempt may take before a second backend is raced against it, if that is wanted and known.
    pub fn hedge_after(&self, wanted: Option<Hedge>) -> Option<Duration> {
        match wanted? {
            Hedge::After(delay) => Some(delay),
            Hedge::P95 => {
                let nanos = self.connect_p95.load(Relaxed);
                (nanos > 0).then(|| Duration::from_nanos(nanos))
            }
        }
    }

    /// Makes these what sessions choose from, in the groups they are asked in, and serves who waits:
    /// there may be room now. Only the pool's keeper calls it.
    fn publish(self: &Arc<Self>, seats: Vec<SeatFacts>, members: Vec<Member>) {
        let settings = self.settings.load();
        let placed: Vec<Placed> = seats.iter().zip(&members).map(|(seat, member)| seat.placed(member)).collect();
        let zoned = settings.policy.hash.is_none();
        let before = self.snapshot.load();
        let choice = |group: groups::Group| {
            let members: Box<[Member]> = group.members.iter().map(|index| members[*index].clone()).collect();
            // A table is dear, and most changes are not about what it is made of.
            let policy = before.policy_of(&settings.policy, &members);
            let policy = policy.unwrap_or_else(|| balance::build(&settings.policy, &members, &self.cursor).into());
            Choice { members, seats: group.members.into(), policy, first: group.first }
        };
        let choices = groups::groups(&placed, settings.tier_spill_below, zoned).into_iter().map(choice).collect();
        let made_of = Some(settings.policy.clone());
        self.snapshot.store(Arc::new(Snapshot { members: members.into(), seats: seats.into(), choices, made_of }));
        self.published.notify_waiters();
        self.serve_queue();
    }
}

/// Members and policies, swapped together so that they never disagree.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// All, in the order of the configuration.
    pub members: Box<[Member]>,
    /// What no policy needs to know of them, in the same order.
    pub seats: Box<[SeatFacts]>,
    choices: Box<[Choice]>,
    /// What the policies were built of.
    made_of: Option<plan::PolicySpec>,
}

impl Snapshot {
    /// The policy of the group that is asked first, for those who explain it.
    pub fn policy(&self) -> Option<&dyn Policy> {
        self.choices.first().map(|choice| &*choice.policy)
    }

    /// The policy of a group that is the same as far as policies are made of it, if there is one.
    fn policy_of(&self, spec: &plan::PolicySpec, members: &[Member]) -> Option<Arc<dyn Policy>> {
        // Only a table of keys is made over all members; a schedule is made of those that are usable.
        let table = spec.hash.is_some();
        let same = |a: &Member, b: &Member| {
            a.backend.id == b.backend.id && a.weight == b.weight && (table || a.usable == b.usable)
        };
        let fits = |choice: &&Choice| {
            choice.members.len() == members.len() && choice.members.iter().zip(members).all(|(a, b)| same(a, b))
        };
        let choices = self.choices.iter().filter(|_| self.made_of.as_ref() == Some(spec));
        choices.into_iter().find(fits).map(|choice| choice.policy.clone())
    }
}

/// A group of members with a policy of its own.
#[derive(Debug)]
struct Choice {
    members: Box<[Member]>,
    /// Where each stands in the snapshot.
    seats: Box<[usize]>,
    policy: Arc<dyn Policy>,
    /// See [`groups::Group::first`].
    first: f64,
}

/// What is known of a member besides what the policy sees.
#[derive(Debug, Clone)]
pub struct SeatFacts {
    /// The address as configured.
    pub address: String,
    /// Where it can be dialled, best first. Empty while a host name has no answer.
    pub targets: Arc<[Target]>,
    /// How TLS is spoken with it, if it is.
    pub secure: Option<Arc<Secure>>,
    /// What it is to new sessions.
    pub state: BackendState,
    /// When it became that.
    pub since: SystemTime,
    /// Why it is that, in words; empty when there is nothing to say.
    pub reason: String,
    /// As configured or as said by hand; [`Member::weight`] is the effective weight, which rises during a slow start.
    pub weight: u32,
    /// Lower tiers are used first.
    pub tier: u8,
    /// Where it is, if that is known.
    pub zone: Option<Arc<str>>,
    /// Whether that is where this instance is; true when this instance's zone is not known.
    pub local: bool,
    /// What was said about it by hand.
    pub over: Option<Override>,
}

impl SeatFacts {
    fn placed(&self, member: &Member) -> Placed {
        Placed { tier: self.tier, local: self.local, usable: member.usable, weight: self.weight }
    }
}

/// What is counted about a pool.
#[derive(Debug)]
pub struct PoolCells {
    /// Time to a connected backend, per successful attempt.
    pub connect: Histogram,
    /// Time to the backend's first byte.
    pub first_byte: Histogram,
    /// Sessions it could not serve, by [`Unavailable`].
    pub unavailable: [Counter; Unavailable::ALL.len()],
    /// Attempts after a first one.
    pub retries: Counter,
    /// Second attempts raced against a slow first one: how many connected first, and how many did not.
    pub hedges_won: Counter,
    /// See `hedges_won`.
    pub hedges_lost: Counter,
    /// How long sessions waited in the queue, those that gave up included.
    pub queue_wait: Histogram,
    /// Sessions whose key belongs to a usable backend that is full or overloaded.
    pub hash_displaced: Counter,
    /// When a host name was last resolved, seconds since 1970; 0 is never.
    pub discovery_last_success: AtomicU64,
    /// Failed resolutions, by [`DiscoverError`].
    pub discovery_errors: [Counter; DiscoverError::ALL.len()],
}

impl Default for PoolCells {
    fn default() -> Self {
        Self {
            connect: Histogram::new(LATENCY_BOUNDS),
            first_byte: Histogram::new(LATENCY_BOUNDS),
            unavailable: Default::default(),
            retries: Counter::default(),
            hedges_won: Counter::default(),
            hedges_lost: Counter::default(),
            queue_wait: Histogram::new(LATENCY_BOUNDS),
            hash_displaced: Counter::default(),
            discovery_last_success: AtomicU64::new(0),
            discovery_errors: Default::default(),
        }
    }
}
