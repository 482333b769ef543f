//! The keeper by fake clock: backends that are well or not as the test says, and what it orders.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::sleep;

use super::{Keeper, KeeperHandle, Tools};
use crate::balance::{CATALOGUE, Draw};
use crate::config::plan::{self, OnChange};
use crate::connect::{ConnectError, Connector, Dial};
use crate::discover::{Resolution, Resolver};
use crate::metrics::{BackendState as State, ConnectFailure};
use crate::net::{Stream, Target};
use crate::pool::{Order, Pool, Say, SharedOverrides};

/// Ports of backends that refuse, and how often any was dialled.
#[derive(Debug, Default)]
struct World {
    sick: Mutex<BTreeSet<u16>>,
    dialled: AtomicUsize,
}

impl World {
    fn connector(self: &Arc<Self>) -> Connector {
        let world = self.clone();
        Connector::new(move |dial: Dial| {
            world.dialled.fetch_add(1, Relaxed);
            let Target::Ip(address) = dial.target else { panic!("not a port") };
            let sick = world.sick.lock().expect("sound").contains(&address.port());
            async move {
                match sick {
                    true => Err(ConnectError::new(ConnectFailure::Refused, Some(111))),
                    false => Ok(Stream::try_from(tokio::net::UnixStream::pair().expect("a pair").0)
                        .expect("room in the runtime")),
                }
            }
        })
    }
}

struct Stage {
    pool: Arc<Pool>,
    world: Arc<World>,
    overrides: SharedOverrides,
    orders: UnboundedReceiver<Order>,
    _running: KeeperHandle,
}

/// A pool of backends on ports 1, 2 and so on, probed each second, down and up after one probe.
async fn stage(backends: &str, health: &str, more: &str) -> Stage {
    stage_with(backends, health, more, Tools::alone(1)).await
}

async fn stage_with(backends: &str, health: &str, more: &str, tools: Tools) -> Stage {
    let yaml = format!(
        "{{ listeners: {{ l: {{ bind: 127.0.0.1:0, pool: p }} }},
            pools: {{ p: {{ backends: {backends}, {more}
                            health: {{ probe: tcp, interval: 1s, rise: 1, fall: 1, {health} }} }} }} }}"
    );
    let plan = crate::config::parse("test.yaml", &yaml, &CATALOGUE, &|_| None).expect("valid");
    let pool = Arc::new(Pool::new(plan.pools[0].clone()));
    let (world, overrides) = (Arc::new(World::default()), SharedOverrides::default());
    let (sender, orders) = mpsc::unbounded_channel();
    let tools = Tools { connector: world.connector(), overrides: overrides.clone(), orders: sender, ..tools };
    let mut keeper = Keeper::new(pool.clone(), tools);
    keeper.start().await;
    Stage { pool, world, overrides, orders, _running: keeper.spawn() }
}

impl Stage {
    /// These ports refuse from now on; returns when everything has been probed twice since.
    async fn sick(&mut self, ports: &[u16]) {
        *self.world.sick.lock().expect("sound") = ports.iter().copied().collect();
        sleep(Duration::from_millis(2500)).await;
    }

    async fn say(&self, backend: &str, say: Say) {
        let over = self.overrides.say("p", backend, say, SystemTime::now()).expect("no file");
        self.pool.heed(backend, over.as_ref()).await;
    }

    fn usable(&self) -> Vec<String> {
        let snapshot = self.pool.snapshot();
        let usable = snapshot.members.iter().filter(|member| member.usable);
        usable.map(|member| member.backend.name.to_string()).collect()
    }

    fn state(&self, index: usize) -> State {
        self.pool.snapshot().seats[index].state
    }

    /// What was ordered since the last call: `backend how`, with a star where newcomers are spared.
    fn ordered(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.orders.try_recv().ok())
            .map(|order| {
                let how = match order.how {
                    OnChange::Keep => "keep",
                    OnChange::Reset => "reset",
                    OnChange::Drain(_) => "drain",
                };
                format!("{} {how}{}", order.backend.name, if order.spares_newcomers { "*" } else { "" })
            })
            .collect()
    }
}

const THREE: &str = "[ { name: a, address: '127.0.0.1:1' }, { name: b, address: '127.0.0.1:2' },
                       { name: c, address: '127.0.0.1:3' } ]";
const TIERS: &str = "[ { name: a, address: '127.0.0.1:1' }, { name: b, address: '127.0.0.1:2', tier: 1 },
                       { name: c, address: '127.0.0.1:3', tier: 1 } ]";

#[tokio::test(start_paused = true)]
async fn an_order_about_a_backend_that_is_down_is_taken_back_while_all_are_used() {
    let mut stage = stage(THREE, "on_down: reset, fail_open_below: 60%", "").await;
    stage.sick(&[1]).await;
    assert_eq!((stage.ordered(), stage.usable().len()), (vec!["a reset".into()], 2));
    stage.sick(&[1, 2]).await;
    assert_eq!((stage.ordered(), stage.usable().len()), (vec!["a keep".into()], 3));
    assert!(stage.pool.fails_open());
    stage.sick(&[1]).await;
    assert_eq!((stage.ordered(), stage.usable().len()), (vec!["a reset".into()], 2));
    stage.sick(&[]).await;
    assert_eq!(stage.ordered(), ["a keep"]);
}

#[tokio::test(start_paused = true)]
async fn those_not_probed_yet_do_not_open_the_pool() {
    let stage = stage(THREE, "start: down, fail_open_below: 60%", "").await;
    assert!(!stage.pool.fails_open() && stage.usable().is_empty());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.usable().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn failback_is_about_sessions_there_were_and_over_when_the_tier_serves_again() {
    let mut stage = stage(TIERS, "", "on_failback: reset,").await;
    stage.sick(&[1]).await;
    assert_eq!((stage.usable(), stage.ordered()), (vec!["b".into(), "c".into()], vec![]));
    stage.sick(&[]).await;
    assert_eq!(stage.ordered(), ["b reset*", "c reset*"]);
    stage.sick(&[1]).await;
    assert_eq!(stage.ordered(), ["b keep", "c keep"]);
    stage.sick(&[]).await;
    assert_eq!(stage.ordered(), ["b reset*", "c reset*"], "and each time anew");
}

#[tokio::test(start_paused = true)]
async fn failback_leaves_the_drain_of_an_operator_alone() {
    let mut stage = stage(TIERS, "", "").await;
    stage.sick(&[1]).await;
    stage.say("b", Say::Drain(Some(Duration::from_secs(600)))).await;
    assert_eq!(stage.ordered(), ["b drain"]);
    stage.sick(&[]).await;
    assert_eq!(stage.ordered(), Vec::<String>::new());
    stage.say("b", Say::Nothing).await;
    assert_eq!(stage.ordered(), ["b keep"]);
}

#[tokio::test(start_paused = true)]
async fn enabling_goes_back_to_the_tier_of_the_one_that_is_enabled() {
    let mut stage = stage(TIERS, "", "failback: manual,").await;
    stage.sick(&[1]).await;
    stage.sick(&[]).await;
    assert_eq!(stage.usable(), ["b", "c"]);
    assert!(stage.pool.snapshot().seats[0].reason.contains("manual"));
    stage.say("c", Say::Drain(None)).await;
    stage.say("c", Say::Enable).await;
    assert_eq!(stage.usable(), ["b", "c"], "c belongs to the tier that serves");
    stage.say("a", Say::Enable).await;
    assert_eq!(stage.usable(), ["a", "b", "c"]);
    assert!(stage.pool.snapshot().seats[0].reason.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_is_down_does_not_take_over_because_the_pool_is_open() {
    let mut stage = stage(TIERS, "fail_open_below: 90%", "on_failback: reset,").await;
    stage.sick(&[1]).await;
    assert!(stage.pool.fails_open());
    assert_eq!((stage.usable(), stage.ordered()), (vec!["b".into(), "c".into()], vec![]));
    stage.sick(&[1, 2, 3]).await;
    assert_eq!(stage.usable(), ["a", "b", "c"], "where nobody is up all are used");
}

#[tokio::test(start_paused = true)]
async fn what_sessions_showed_of_a_server_that_was_down_is_forgotten_when_it_is_up() {
    let mut stage = stage(THREE, "passive: { failures: 3 }", "").await;
    stage.sick(&[1]).await;
    let a = stage.pool.snapshot().members[0].backend.clone();
    // Unseen by the keeper, which looks when it is told.
    (0..5).for_each(|_| a.evidence.bad());
    stage.sick(&[]).await;
    assert_eq!((stage.state(0), a.cells.ejections.get()), (State::Up, 0));
}

#[tokio::test(start_paused = true)]
async fn those_that_come_up_have_their_turn_and_those_that_are_down_leave_an_even_round() {
    for policy in CATALOGUE.policies {
        let mut stage = stage(THREE, "start: down", &format!("policy: {},", policy.name)).await;
        let served = |stage: &Stage| {
            let draw = |key: u64| Draw { key: mix(key), entropy: mix(key), now: Instant::now(), tried: &[] };
            let leases: Vec<_> = (0..300).filter_map(|key| stage.pool.lease(&draw(key)).ok()).collect();
            ["a", "b", "c"].map(|name| leases.iter().filter(|lease| *lease.backend().name == *name).count())
        };
        assert_eq!(served(&stage), [0; 3], "{}", policy.name);
        stage.sick(&[1]).await;
        let [a, b, c] = served(&stage);
        assert_eq!((a, b + c), (0, 300), "{}", policy.name);
        stage.sick(&[]).await;
        let [a, b, c] = served(&stage);
        let even = [a, b, c].iter().all(|count| (60..=140).contains(count));
        assert!(even || policy.name == "first", "{}: {a} {b} {c}", policy.name);
        stage.sick(&[2]).await;
        let [a, b, c] = served(&stage);
        let even = (110..=190).contains(&a) && b == 0;
        assert!(even || policy.name == "first", "{}: {a} {b} {c}", policy.name);
    }
}

fn mix(key: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&key.to_le_bytes())
}

/// Answers once, and then never.
#[derive(Debug, Default)]
struct Stuck(AtomicUsize);

impl Resolver for Stuck {
    fn lookup<'a>(&'a self, _: &'a str, port: u16) -> Resolution<'a> {
        let first = self.0.fetch_add(1, Relaxed) == 0;
        Box::pin(async move {
            if !first {
                std::future::pending::<io::Result<()>>().await?;
            }
            Ok(vec![([127, 0, 0, 1], port).into()])
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_does_not_answer_holds_up_no_probe_and_no_verdict() {
    let tools = Tools { resolver: Arc::new(Stuck::default()), ..Tools::alone(1) };
    let stage = stage_with("[ 'h.example:1', '127.0.0.1:2' ]", "", "", tools).await;
    sleep(Duration::from_millis(30_500)).await;
    // The names are being asked for now, for five seconds.
    let before = stage.world.dialled.load(Relaxed);
    stage.world.sick.lock().expect("sound").insert(2);
    sleep(Duration::from_millis(3500)).await;
    assert!(stage.world.dialled.load(Relaxed) >= before + 5);
    assert_eq!((stage.state(0), stage.state(1)), (State::Up, State::Down));
    sleep(Duration::from_secs(10)).await;
    assert!(stage.pool.snapshot().seats[0].reason.contains("last good answer kept"));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_verdicts_at_once_are_a_few_snapshots() {
    let backends: Vec<String> = (1..=500).map(|port| format!("'127.0.0.1:{port}'")).collect();
    let mut stage = stage(&format!("[ {} ]", backends.join(", ")), "start: down, fast_interval: 10ms", "").await;
    let pool = stage.pool.clone();
    let snapshots = Arc::new(AtomicUsize::new(0));
    let count = snapshots.clone();
    tokio::spawn(async move {
        loop {
            pool.published.notified().await;
            count.fetch_add(1, Relaxed);
        }
    });
    stage.sick(&[]).await;
    assert_eq!(stage.usable().len(), 500);
    // At most one in ten milliseconds, and one a second for the rest.
    let snapshots = snapshots.load(Relaxed);
    assert!(snapshots < 50, "{snapshots}");
}

#[tokio::test]
async fn to_follow_tens_of_thousands_costs_little_more_than_to_start_with_them() {
    const COUNT: u32 = 65_000;
    let yaml = "{ listeners: { l: { bind: 127.0.0.1:0, pool: p } }, pools: { p: { backends: '127.0.0.1:1' } } }";
    let plan = crate::config::parse("test.yaml", yaml, &CATALOGUE, &|_| None).expect("valid");
    let one = &plan.pools[0].backends[0];
    let named = |number: u32| plan::Backend { name: format!("backend {number:05}").into(), ..one.clone() };
    let of = |numbers: std::ops::Range<u32>| plan::Pool {
        // The last one first: whoever searches from the start has the longest way.
        backends: numbers.rev().map(named).collect(),
        ..plan.pools[0].clone()
    };
    let pool = Arc::new(Pool::new(of(0..COUNT)));
    let mut keeper = Keeper::new(pool.clone(), Tools::alone(1));
    let start = Instant::now();
    keeper.start().await;
    let started = start.elapsed();
    let living = pool.snapshot().members[0].backend.clone();
    let (gone, new) = (COUNT / 10, COUNT / 10);
    let next = of(gone..COUNT + new);
    let start = Instant::now();
    let followed = keeper.follow(next, None, super::Answers::default());
    let took = start.elapsed();
    assert_eq!((followed.removed.len(), pool.snapshot().members.len()), (gone as usize, COUNT as usize));
    let still = |member: &crate::balance::Member| Arc::ptr_eq(&member.backend, &living);
    assert!(pool.snapshot().members.iter().any(still), "those that stay keep their history");
    eprintln!("{COUNT} backends: {started:?} to start, {took:?} to follow");
    assert!(took < 5 * started + Duration::from_millis(500), "{took:?}, and {started:?} to start");
}
