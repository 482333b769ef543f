//! Policies at work: 50 000 sessions over backends of unlike speed, in virtual time.
//!
//! `cargo test --test balance_simulation -- --nocapture` prints a table for each scene. Time, chance and load are all
//! invented here, so every run is the same.
#![allow(missing_docs, clippy::unwrap_used)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use peerway::backend::{Claim, Registry};
use peerway::balance::{self, Draw, Member, Policy};
use peerway::config::Takes;
use peerway::config::plan::{HashSpec, PolicySpec};

const SESSIONS: usize = 50_000;
/// Sessions that a backend works on at once; more wait in its queue, first come, first served.
const HANDS: usize = 8;
/// Work of a session at a backend of speed 1, in the mean; it is distributed exponentially.
const WORK: f64 = 0.020;
/// Clients are many and unlike: the square of a uniform number makes some ten times as busy as others.
const CLIENTS: f64 = 5000.0;

/// A scene: how fast each backend is, and how much of what all can do together is asked of them.
struct Scene {
    name: &'static str,
    speeds: Vec<f64>,
    /// What the configuration says: weights need not know the speeds.
    weights: Vec<u32>,
    load: f64,
}

/// How a policy did.
#[derive(Debug, Clone, Copy)]
struct Score {
    /// Standard deviation of active sessions over their weight, relative to the mean, averaged over all arrivals.
    spread: f64,
    p50: f64,
    p99: f64,
    /// Sessions that found every backend full.
    refused: usize,
}

struct Backend {
    /// When each hand is free.
    hands: Vec<f64>,
    speed: f64,
}

impl Backend {
    /// Takes a session at `now`; says when it is done.
    fn serve(&mut self, now: f64, work: f64) -> f64 {
        let hand = self.hands.iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap();
        *hand = hand.max(now) + work / self.speed;
        *hand
    }
}

/// Sessions under way: when they end, and what they hold till then.
#[derive(Default)]
struct Running {
    ends: BinaryHeap<Reverse<(u64, usize)>>,
    held: BTreeMap<usize, (Claim, Duration)>,
}

impl Running {
    fn start(&mut self, session: usize, end: f64, claim: Claim, took: f64) {
        self.ends.push(Reverse(((end * 1e9) as u64, session)));
        self.held.insert(session, (claim, Duration::from_secs_f64(took)));
    }

    /// Ends all that are done by `now`. The backend's answer is what took the time.
    fn finish(&mut self, now: f64, epoch: Instant) {
        while let Some(Reverse((end, session))) = self.ends.peek().copied()
            && end as f64 <= now * 1e9
        {
            self.ends.pop();
            let (claim, took) = self.held.remove(&session).unwrap();
            claim.backend().observe(took, epoch + Duration::from_nanos(end));
        }
    }
}

fn simulate(scene: &Scene, spec: &PolicySpec) -> Score {
    let registry = Registry::new(1);
    let epoch = Instant::now();
    let members: Vec<Member> = (0..scene.speeds.len())
        .map(|index| Member {
            backend: registry.get(&"pool".into(), &format!("b{index}").into()),
            weight: scene.weights[index],
            usable: true,
            // Without a limit `first` would send everything to one.
            max_connections: (spec.name == "first").then_some(4 * HANDS as u32),
        })
        .collect();
    let policy = balance::build(spec, &members, &Arc::default());
    run(scene, &members, &*policy, epoch)
}

fn run(scene: &Scene, members: &[Member], policy: &dyn Policy, epoch: Instant) -> Score {
    let mut backends: Vec<_> =
        scene.speeds.iter().map(|speed| Backend { hands: vec![0.0; HANDS], speed: *speed }).collect();
    let rate = scene.load * HANDS as f64 * scene.speeds.iter().sum::<f64>() / WORK;
    let mut random = fastrand::Rng::with_seed(42);
    let mut running = Running::default();
    let (mut now, mut spread, mut latencies) = (0.0, 0.0, Vec::with_capacity(SESSIONS));
    for session in 0..SESSIONS {
        now += exponential(&mut random) / rate;
        running.finish(now, epoch);
        let client = (random.f64() * random.f64() * CLIENTS) as u64;
        let at = epoch + Duration::from_secs_f64(now);
        let draw = Draw { key: client, entropy: random.u64(..), now: at, tried: &[] };
        let Some(pick) = policy.pick(members, &draw) else { continue };
        let seat = usize::from(pick.seat.0);
        let end = backends[seat].serve(now, WORK * exponential(&mut random));
        running.start(session, end, members[seat].backend.claim(), end - now);
        latencies.push(end - now);
        spread += deviation(members);
    }
    latencies.sort_by(f64::total_cmp);
    let served = latencies.len();
    let percentile = |share: f64| latencies[(served as f64 * share) as usize];
    Score { spread: spread / served as f64, p50: percentile(0.5), p99: percentile(0.99), refused: SESSIONS - served }
}

fn exponential(random: &mut fastrand::Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}

fn deviation(members: &[Member]) -> f64 {
    let loads: Vec<f64> =
        members.iter().map(|member| f64::from(member.backend.active()) / f64::from(member.weight)).collect();
    let mean = loads.iter().sum::<f64>() / loads.len() as f64;
    let variance = loads.iter().map(|load| (load - mean).powi(2)).sum::<f64>() / loads.len() as f64;
    variance.sqrt() / mean.max(f64::MIN_POSITIVE)
}

/// Runs every policy; those that hash a second time with a bounded load.
fn play(scene: &Scene) -> BTreeMap<String, Score> {
    let mut scores = BTreeMap::new();
    println!("\n{}: {} backends, {:.0} % load", scene.name, scene.speeds.len(), scene.load * 100.0);
    println!("{:24}{:>8}{:>12}{:>12}{:>9}", "policy", "spread", "p50", "p99", "refused");
    for kind in balance::CATALOGUE.policies {
        let bounds = if kind.takes == Takes::Hash { &[None, Some(1.25)][..] } else { &[None] };
        for bound in bounds {
            let hash = HashSpec { bounded_load: *bound, ..HashSpec::default() };
            let score = simulate(scene, &PolicySpec { name: kind.name, hash: Some(hash) });
            let name = format!("{}{}", kind.name, if bound.is_some() { ", bounded" } else { "" });
            let Score { spread, p50, p99, refused } = score;
            println!("{name:24}{spread:>8.2}{:>9.1} ms{:>9.1} ms{refused:>9}", p50 * 1e3, p99 * 1e3);
            assert!(refused == 0 || kind.name == "first");
            scores.insert(name, score);
        }
    }
    scores
}

#[test]
fn equal_backends_are_loaded_more_evenly_by_those_who_look() {
    let scores = play(&Scene { name: "equal", speeds: vec![1.0; 16], weights: vec![1; 16], load: 0.8 });
    let spread = |name: &str| scores[name].spread;
    assert!(spread("least_connections") < spread("p2c"));
    assert!(spread("p2c") < 0.7 * spread("random"), "two choices are much better than one");
    assert!(spread("p2c") < spread("round_robin"));
    assert!(scores["p2c"].p99 < scores["random"].p99);
    for hash in ["maglev", "rendezvous", "ring_hash"] {
        assert!(spread(&format!("{hash}, bounded")) < spread(hash), "{hash}");
        assert!(scores[&format!("{hash}, bounded")].p99 < scores[hash].p99, "{hash}");
    }
    assert!(spread("maglev") < spread("ring_hash"), "a Maglev table is more even than a ring");
}

#[test]
fn one_slow_backend_is_avoided_by_those_who_look() {
    let mut speeds = vec![1.0; 8];
    speeds[3] = 0.2;
    let scores = play(&Scene { name: "one slow", speeds, weights: vec![1; 8], load: 0.7 });
    let p99 = |name: &str| scores[name].p99;
    for looking in ["peak_ewma", "least_connections", "p2c"] {
        assert!(p99(looking) < p99("round_robin") / 3.0, "{looking}: {} ms", p99(looking) * 1e3);
    }
    assert!(p99("peak_ewma") < p99("p2c"), "who measures latency sees more than who counts sessions");
    assert!(scores["p2c"].spread < scores["random"].spread);
}

#[test]
fn weights_that_fit_the_speeds_help_everyone() {
    let speeds: Vec<f64> = (0..12).map(|index| f64::from(1 + index % 4)).collect();
    let weights = speeds.iter().map(|speed| *speed as u32).collect();
    let fit = play(&Scene { name: "weights as speeds", speeds: speeds.clone(), weights, load: 0.8 });
    let blind = play(&Scene { name: "weights all 1", speeds, weights: vec![1; 12], load: 0.8 });
    for name in ["round_robin", "random", "least_connections", "p2c", "maglev", "rendezvous"] {
        assert!(fit[name].p99 < blind[name].p99, "{name}");
    }
    assert!(fit["p2c"].spread < fit["random"].spread);
    assert!(fit["least_connections"].spread < fit["random"].spread);
    assert!(blind["peak_ewma"].p99 <= blind["round_robin"].p99);
}
