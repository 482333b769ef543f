//! Which backends serve when health changes: tiers and failback, one backend at a time, tables of keys that stay.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::Socket;

use crate::support::{Backend, Mood, Moody, PING, Peer, Proxy, Service, Setup, eventually, is_open, who};

const HEALTH: &str = "interval: 100ms, fast_interval: 50ms, timeout: 500ms, fall: 1, rise: 1";

/// Backends in tiers 0, 1 and so on, with more lines of the pool.
fn in_tiers(moody: &[Moody], health: &str, more: &str) -> Proxy {
    let member =
        |(tier, one): (usize, &Moody)| format!("{{ name: '{tier}', address: '{}', tier: {tier} }}", one.address());
    let backends: Vec<_> = moody.iter().enumerate().map(member).collect();
    let whole = format!(
        "admin: {{ listen: 127.0.0.1:0 }}\nlisteners: {{ front: {{ bind: 127.0.0.1:0, pool: back }} }}\npools:\n  back:\n    \
         backends: [ {} ]\n    health: {{ probe: {{ {PING} }}, {HEALTH}, {health} }}\n    {more}\n",
        backends.join(", ")
    );
    Setup::file(whole).start()
}

/// A session that is served, and by whom.
fn served(proxy: &Proxy) -> (Peer, String) {
    let mut client = proxy.connect().seeded(5, 5);
    let name = who(&mut client).unwrap();
    (client, name)
}

/// Waits until sessions go there. Those that began before may be ended meanwhile.
#[track_caller]
fn until_served_by(proxy: &Proxy, name: &str) {
    eventually(name, || who(&mut proxy.connect()).is_ok_and(|by| by == name).then_some(()));
}

fn lives(peer: &mut Peer) {
    peer.say(2000);
    peer.hear(2000);
}

fn two() -> [Moody; 2] {
    ["first", "second"].map(Moody::new)
}

#[test]
fn a_better_tier_takes_over_again_and_sessions_of_the_other_stay() {
    let moody = two();
    let proxy = in_tiers(&moody, "", "");
    assert_eq!(served(&proxy).1, "first");
    moody[0].is(Mood::Sick);
    proxy.logs("a worse tier serves");
    until_served_by(&proxy, "second"); // the line comes just before it is so
    let (mut on_second, _) = served(&proxy);
    moody[0].is(Mood::Well);
    proxy.logs("a better tier serves again");
    until_served_by(&proxy, "first");
    thread::sleep(Duration::from_millis(300));
    lives(&mut on_second);
}

#[test]
fn failback_ends_the_sessions_it_is_about_and_none_that_begin_later() {
    for on_failback in ["reset", "{ drain: 2s }"] {
        let moody = two();
        let proxy = in_tiers(&moody, "", &format!("on_failback: {on_failback}"));
        let mut theirs = Vec::new();
        for _ in 0..2 {
            moody[0].is(Mood::Sick);
            until_served_by(&proxy, "second");
            let mut all: Vec<_> = (0..10).map(|_| served(&proxy).0).collect();
            theirs.extend(all.iter().map(|peer| peer.local().to_string()));
            thread::sleep(Duration::from_millis(400)); // an order that still stood from the time before would show
            all.iter_mut().for_each(lives);
            moody[0].is(Mood::Well);
            until_served_by(&proxy, "first");
            let (mut on_first, _) = served(&proxy);
            let start = Instant::now();
            all.iter_mut().for_each(|peer| peer.hear_reset_within(Duration::from_secs(10)));
            let spread = start.elapsed() > Duration::from_millis(900);
            assert_eq!(spread, on_failback != "reset", "{:?}", start.elapsed());
            lives(&mut on_first);
        }
        let removed = || {
            let lines = proxy.access();
            let ends = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
            ends.filter(|end| end["cause"] == "removed").collect::<Vec<_>>()
        };
        let is_theirs = |end: &Value| theirs.iter().any(|peer| end["client"] == peer.as_str());
        eventually("their ends in the log", || {
            (removed().iter().filter(|end| is_theirs(end)).count() == 20).then_some(())
        });
        // And perhaps some that asked who serves, and were not over when it happened.
        let removed = removed();
        assert!(removed.iter().all(|end| end["backend"] == "1" && end["side"] == "proxy"), "{removed:#?}");
        let counted = proxy.metric("peerway_sessions_closed_total{cause=\"removed\",side=\"proxy\"}");
        assert_eq!(counted, removed.len() as f64);
    }
}

#[test]
fn with_manual_failback_an_operator_goes_back() {
    let moody = two();
    let proxy = in_tiers(&moody, "", "failback: manual\n    on_failback: reset");
    moody[0].is(Mood::Sick);
    until_served_by(&proxy, "second");
    moody[0].is(Mood::Well);
    let waiting = proxy.backend_becomes(0, "up");
    assert!(waiting["reason"].as_str().is_some_and(|reason| reason.contains("manual")), "{waiting}");
    let (mut on_second, name) = served(&proxy);
    assert_eq!(name, "second");
    assert_eq!(proxy.admin().ask("POST", "/api/v1/pools/back/backends/0/enable", "").status, 200);
    assert_eq!(served(&proxy).1, "first");
    on_second.hear_reset();
    assert!(proxy.backend(0)["reason"].is_null());
}

#[test]
fn sessions_that_spilled_over_are_no_failback() {
    let moody = ["a", "b", "c"].map(Moody::new);
    let member = |one: &Moody, tier| format!("{{ address: '{}', tier: {tier} }}", one.address());
    let whole = format!(
        "admin: {{ listen: 127.0.0.1:0 }}\nlisteners: {{ front: {{ bind: 127.0.0.1:0, pool: back }} }}\npools:\n  back:\n    \
         backends: [ {}, {}, {} ]\n    tier_spill_below: 80%\n    on_failback: reset\n    \
         health: {{ probe: {{ {PING} }}, {HEALTH} }}\n",
        member(&moody[0], 0),
        member(&moody[1], 0),
        member(&moody[2], 1)
    );
    let proxy = Setup::file(whole).start();
    // Down altogether, and then half back: the second tier is spilled over to from then on.
    moody[..2].iter().for_each(|one| one.is(Mood::Sick));
    proxy.backend_becomes(0, "down");
    proxy.backend_becomes(1, "down");
    assert_eq!(served(&proxy).1, "c");
    moody[0].is(Mood::Well);
    proxy.backend_becomes(0, "up");
    let mut all: Vec<_> = (0..10).map(|_| served(&proxy)).collect();
    let spilled = all.iter().filter(|(_, name)| name == "c").count();
    assert!((3..=7).contains(&spilled), "{spilled} of 10");
    thread::sleep(Duration::from_millis(400));
    all.iter_mut().for_each(|(peer, _)| lives(peer));
    moody[1].is(Mood::Well);
    proxy.backend_becomes(1, "up");
    thread::sleep(Duration::from_millis(400));
    all.iter_mut().for_each(|(peer, _)| lives(peer));
}

#[test]
fn the_table_of_keys_stays_through_health_and_drains() {
    let moody = ["a", "b", "c"].map(Moody::new);
    for policy in ["maglev", "rendezvous", "ring_hash"] {
        let health = format!("health: {{ probe: {{ {PING} }}, {HEALTH} }}");
        let proxy = Setup::to(&moody).pool(&format!("policy: {policy}")).pool(&health).start();
        let digest = || proxy.admin().json("/api/v1/pools")["pools"][0]["table_digest"].clone();
        let before = digest();
        assert!(before.is_string());
        let owner = served(&proxy).1;
        moody[0].is(Mood::Sick);
        proxy.backend_becomes(0, "down");
        let path = format!("/api/v1/pools/back/backends/{}/drain", moody[1].address());
        assert_eq!(proxy.admin().ask("POST", &path, "").status, 200);
        assert_eq!((served(&proxy).1, digest()), ("c".into(), before.clone()), "{policy}");
        moody[0].is(Mood::Well);
        proxy.backend_becomes(0, "up");
        assert_eq!(proxy.admin().ask("DELETE", &path.replace("drain", "override"), "").status, 200);
        assert_eq!((served(&proxy).1, digest()), (owner, before), "{policy}");
    }
}

/// Two backends that look, at every session they get, whether the other one has any at this very moment. What the
/// kernel knows counts: a reset is there as soon as the proxy has closed its socket.
struct Guarded {
    services: Vec<Service>,
    sick: Arc<AtomicU8>,
    overlaps: Arc<AtomicU64>,
    sessions: Arc<AtomicU64>,
}

impl Guarded {
    fn new() -> Self {
        let (sick, overlaps, sessions) = (Arc::new(AtomicU8::new(0)), Arc::default(), Arc::default());
        let live: Arc<Mutex<Vec<(usize, u64, Socket)>>> = Arc::default();
        let one = |me: usize| {
            let (sick, overlaps, sessions) = (Arc::clone(&sick), Arc::clone(&overlaps), Arc::clone(&sessions));
            let live = live.clone();
            Backend::new().serve(move |peer| guard(me, &peer, &sick, &overlaps, &sessions, &live))
        };
        let services = vec![one(0), one(1)];
        Self { services, sick, overlaps, sessions }
    }
}

fn guard(
    me: usize,
    peer: &Peer,
    sick: &AtomicU8,
    overlaps: &AtomicU64,
    sessions: &AtomicU64,
    live: &Mutex<Vec<(usize, u64, Socket)>>,
) {
    let mut buffer = [0; 4096];
    let mut socket = &peer.socket;
    let Ok(read @ 1..) = socket.read(&mut buffer) else { return };
    if buffer[..read].starts_with(b"PING") {
        let well = sick.load(Ordering::SeqCst) & (1 << me) == 0;
        let _ = socket.write_all(if well { b"+PONG\r\n" } else { b"-ERR\r\n" });
        let _ = socket.read(&mut buffer);
        return;
    }
    let number = sessions.fetch_add(1, Ordering::SeqCst);
    {
        let mut live = live.lock().unwrap();
        let others = live.iter().any(|(whose, _, other)| *whose != me && is_open(other));
        // If this one is over by now, the other may well have begun after it.
        if others && is_open(&peer.socket) {
            overlaps.fetch_add(1, Ordering::SeqCst);
        }
        live.push((me, number, peer.socket.try_clone().unwrap()));
    }
    let mut read = read;
    while socket.write_all(&buffer[..read]).is_ok() {
        match socket.read(&mut buffer) {
            Ok(more @ 1..) => read = more,
            _ => break,
        }
    }
    live.lock().unwrap().retain(|(_, other, _)| *other != number);
}

/// Sessions of many clients that come and go, while the backends go down and up in turn.
fn churn(proxy: &Proxy, guarded: &Guarded, span: Duration) -> u64 {
    let over = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicU64::new(0));
    let client = |seed: u64| {
        let (over, served, to) = (over.clone(), served.clone(), proxy.address("front"));
        thread::spawn(move || {
            let mut turn = seed;
            while !over.load(Ordering::SeqCst) {
                turn += 1;
                let Ok(peer) = Peer::try_connect(to) else { continue };
                let mut peer = peer.seeded(turn, turn);
                if peer.try_say(500).and_then(|()| peer.try_hear(500)).is_ok() {
                    served.fetch_add(1, Ordering::SeqCst);
                }
                thread::sleep(Duration::from_millis(turn % 7 * 5));
                if turn.is_multiple_of(3) {
                    peer.reset();
                }
            }
        })
    };
    let clients: Vec<_> = (0..8).map(|n| client(n * 1_000_000)).collect();
    let start = Instant::now();
    while start.elapsed() < span {
        for sick in [1, 0, 2, 0] {
            guarded.sick.store(sick, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(250));
        }
    }
    guarded.sick.store(0, Ordering::SeqCst);
    over.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    served.load(Ordering::SeqCst)
}

fn single(guarded: &Guarded, more: &str) -> Proxy {
    let setup = Setup::to(&guarded.services).process("workers: { threads: 2 }").pool("single_active: true");
    setup
        .pool(&format!("health: {{ probe: {{ {PING} }}, {HEALTH}, {more} }}"))
        .pool("queue: { max: 100, timeout: 2s }")
        .start()
}

#[test]
fn with_single_active_two_backends_never_have_sessions_at_once() {
    for on_down in ["on_down: reset", "on_down: { drain: 100ms }"] {
        let guarded = Guarded::new();
        let proxy = single(&guarded, on_down);
        let served = churn(&proxy, &guarded, Duration::from_secs(4));
        let taken = guarded.services.iter().map(Service::accepted).collect::<Vec<_>>();
        assert_eq!(guarded.overlaps.load(Ordering::SeqCst), 0, "{on_down}");
        assert!(served > 50 && guarded.sessions.load(Ordering::SeqCst) > 50, "{served} {taken:?}");
        let moves = proxy.log().iter().filter(|line| line.contains("another backend is to have the sessions")).count();
        assert!(moves >= 4, "{moves} moves");
    }
}

#[test]
fn the_guard_sees_an_overlap_where_nothing_prevents_it() {
    let guarded = Guarded::new();
    let health = format!("health: {{ probe: {{ {PING} }}, {HEALTH} }}");
    let proxy = Setup::to(&guarded.services).pool(&health).start();
    churn(&proxy, &guarded, Duration::from_millis(500));
    assert!(guarded.overlaps.load(Ordering::SeqCst) > 0);
}

#[test]
fn with_single_active_the_next_one_waits_for_the_drain_of_the_first() {
    let guarded = Guarded::new();
    let proxy = single(&guarded, "on_down: { drain: 1500ms }");
    let talk = |peer: &mut Peer| {
        peer.say(100);
        peer.hear(100);
    };
    let mut first: Vec<_> = (0..5).map(|seed| proxy.connect().seeded(seed, seed)).collect();
    first.iter_mut().for_each(talk);
    guarded.sick.store(1, Ordering::SeqCst);
    proxy.backend_becomes(0, "down");
    let mut waiting = proxy.connect().seeded(9, 9);
    waiting.say(100);
    waiting.hear_nothing(Duration::from_millis(500));
    first.iter_mut().for_each(|peer| peer.hear_reset_within(Duration::from_secs(8)));
    waiting.hear(100);
    assert_eq!(guarded.overlaps.load(Ordering::SeqCst), 0);
    // Up again, it stands by: the other one has the sessions.
    guarded.sick.store(0, Ordering::SeqCst);
    let told = proxy.backend_becomes(0, "up");
    assert!(told["reason"].as_str().is_some_and(|reason| reason.starts_with("standing by")), "{told}");
    talk(&mut waiting);
    let mut next = proxy.connect().seeded(8, 8);
    talk(&mut next);
    assert_eq!(proxy.backend(1)["active"], 2);
}
