//! Pools under load: limits, the queue, hedges, tiers, zones, and clients that keep their backend.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::support::{Backend, Blackhole, Peer, Proxy, Service, Setup, send_across};

/// One backend that takes one session at a time, and a queue.
fn one_place(backend: &Backend, queue: &str) -> Setup {
    let setup = Setup::to([backend]).pool("backend: { max_connections: 1 }");
    if queue.is_empty() { setup } else { setup.pool(&format!("queue: {queue}")) }
}

#[track_caller]
fn queue_becomes(proxy: &Proxy, length: f64) {
    proxy.metric_becomes("peerway_pool_queue_length{pool=\"back\"}", length);
}

/// `clients` threads of `turns` sessions each; how long each session took to its first line.
fn load(proxy: &Proxy, clients: usize, turns: usize) -> (Vec<Duration>, usize) {
    let to = proxy.address("front");
    let turn = |_| {
        let start = Instant::now();
        let line = Peer::try_connect(to).and_then(|mut client| client.line());
        line.is_ok_and(|line| !line.is_empty()).then(|| start.elapsed())
    };
    let all: Vec<_> = thread::scope(|scope| {
        let all: Vec<_> = (0..clients).map(|_| scope.spawn(move || (0..turns).map(turn).collect::<Vec<_>>())).collect();
        all.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut took: Vec<_> = all.iter().copied().flatten().collect();
    took.sort();
    let failed = all.len() - took.len();
    (took, failed)
}

#[test]
fn a_black_hole_among_three_costs_a_hedge_and_no_client() {
    let (a, b, hole) = (Backend::new().named("a"), Backend::new().named("b"), Blackhole::new());
    let setup = Setup::to([a.address(), hole.address(), b.address()]);
    let proxy = setup.pool("connect: { hedge_after: 50ms }").start();
    let (took, failed) = load(&proxy, 16, 100);
    assert_eq!(failed, 0);
    let p99 = took[took.len() * 99 / 100];
    assert!(p99 < 5 * Duration::from_millis(50), "{p99:?}");
    assert!(proxy.metric("peerway_pool_hedges_total{result=\"won\"}") >= 1.0);
    assert_eq!(proxy.metric("peerway_backend_connect_failures_total"), 0.0);
    proxy.metric_becomes("peerway_backend_active_connections", 0.0);
}

#[test]
fn a_black_hole_among_three_is_seen_by_no_client_without_hedges() {
    let (a, b, hole) = (Backend::new().named("a"), Backend::new().named("b"), Blackhole::new());
    let setup = Setup::to([a.address(), hole.address(), b.address()]);
    let proxy = setup.pool("connect: { timeout: 300ms }").start();
    assert_eq!(load(&proxy, 8, 20).1, 0);
}

#[test]
fn one_of_three_that_refuses_costs_few_retries_under_load() {
    let (a, b) = (Backend::new().named("a"), Backend::new().named("b"));
    let proxy = Setup::to([a.address(), Backend::refusing(), b.address()]).start();
    let start = Instant::now();
    assert_eq!(load(&proxy, 8, 100).1, 0);
    let retries = proxy.metric("peerway_pool_retries_total");
    // Four clients' worth at once, and then one now and then.
    assert!(retries < 20.0 + 4.0 * start.elapsed().as_secs_f64(), "{retries} retries of 800 sessions");
}

/// A backend that counts who is there at once.
fn counting(now: &Arc<AtomicU64>, most: &Arc<AtomicU64>) -> Service {
    let (now, most) = (now.clone(), most.clone());
    Backend::new().serve(move |peer| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(5));
        now.fetch_sub(1, Ordering::SeqCst);
        drop((&peer.socket).write_all(b"served\n"));
    })
}

#[test]
fn a_backend_never_has_more_sessions_than_it_may_and_all_are_served() {
    let cells: [[Arc<AtomicU64>; 2]; 2] = Default::default();
    let backends = cells.each_ref().map(|[now, most]| counting(now, most));
    let setup = Setup::to(backends.iter()).process("workers: { threads: 2 }");
    let proxy = setup.pool("backend: { max_connections: 2 }").pool("queue: { max: 1000, timeout: 20s }").start();
    assert_eq!(load(&proxy, 30, 10).1, 0);
    let most = cells.each_ref().map(|[_, most]| most.load(Ordering::SeqCst));
    assert!(most.iter().all(|most| *most <= 2), "{most:?} at once");
    queue_becomes(&proxy, 0.0);
    let scrape = proxy.scrape();
    assert!(scrape.get("peerway_pool_queue_wait_seconds_count") >= 1.0);
    assert_eq!(scrape.get("peerway_pool_unavailable_total"), 0.0);
}

#[test]
fn who_waits_is_served_in_the_order_of_arrival() {
    let backend = Backend::new();
    let proxy = one_place(&backend, "{ max: 10, timeout: 20s }").start();
    let mut served = proxy.session(&backend);
    let mut waiting = Vec::new();
    for number in 0..5 {
        let mut client = proxy.connect().seeded(1000 + number, 1);
        client.say(100);
        waiting.push(client);
        queue_becomes(&proxy, number as f64 + 1.0);
    }
    for (number, client) in waiting.into_iter().enumerate() {
        drop(served);
        let mut server = backend.accept().seeded(1, 1000 + number as u64);
        server.hear(100);
        served = (client, server);
    }
    queue_becomes(&proxy, 0.0);
}

#[test]
fn beyond_the_queue_and_its_patience_clients_are_told_which() {
    let backend = Backend::new();
    let proxy = one_place(&backend, "{ max: 1, timeout: 1s }").start();
    let _served = proxy.session(&backend);
    let mut waiting = proxy.connect();
    queue_becomes(&proxy, 1.0);
    proxy.is_turned_away();
    assert_eq!(proxy.why(), "queue_full proxy queue");
    waiting.hear_reset_within(Duration::from_secs(5));
    let end = proxy.ended();
    assert_eq!(["cause", "side", "phase"].map(|key| end[key].as_str().unwrap()), ["queue_timeout", "proxy", "queue"]);
    assert!(end["seconds"]["queue"].as_f64().is_some_and(|waited| waited >= 0.9), "{end}");
    queue_becomes(&proxy, 0.0);
    let scrape = proxy.scrape();
    assert!(scrape.get("peerway_pool_queue_wait_seconds_sum") >= 0.9);
    assert_eq!(scrape.get("peerway_sessions_closed_total{cause=\"queue_full\",side=\"proxy\",phase=\"queue\"}"), 1.0);
}

#[test]
fn a_client_that_leaves_the_queue_frees_its_place_in_line() {
    for finishes in [false, true] {
        let backend = Backend::new();
        let proxy = one_place(&backend, "{ max: 1, timeout: 20s }").start();
        let served = proxy.session(&backend);
        let mut leaver = proxy.connect();
        queue_becomes(&proxy, 1.0);
        if finishes {
            leaver.finish();
            leaver.hear_reset_after_end();
        } else {
            leaver.reset();
        }
        assert_eq!(proxy.why(), "client_reset client queue");
        queue_becomes(&proxy, 0.0);
        assert_eq!(proxy.metric("peerway_pool_queue_wait_seconds_count"), 1.0, "who gave up has waited too");
        let mut next = proxy.connect();
        queue_becomes(&proxy, 1.0);
        drop(served);
        let mut server = backend.accept();
        send_across(&mut next, &mut server, 1000);
    }
}

#[test]
fn a_client_that_has_spoken_and_finished_stays_in_the_queue() {
    let backend = Backend::new();
    let proxy = one_place(&backend, "{ max: 1, timeout: 20s }").start();
    let served = proxy.session(&backend);
    let mut client = proxy.connect();
    client.say(50_000);
    client.finish();
    queue_becomes(&proxy, 1.0);
    client.hear_nothing(Duration::from_millis(300));
    drop(served);
    let mut server = backend.accept();
    assert_eq!(server.hear_all(), 50_000);
    server.say(1000);
    server.finish();
    assert_eq!(client.hear_all(), 1000);
    queue_becomes(&proxy, 0.0);
}

#[test]
fn a_full_pool_without_a_queue_refuses_at_once() {
    let backend = Backend::new();
    let proxy = one_place(&backend, "").start();
    let (mut client, mut server) = proxy.session(&backend);
    proxy.is_turned_away();
    assert!(proxy.why().starts_with("no_backend proxy"));
    assert_eq!(proxy.metric("peerway_pool_unavailable_total{pool=\"back\",reason=\"full\"}"), 1.0);
    send_across(&mut client, &mut server, 1000);
}

/// In front of `backends` as YAML, with more lines of the process and the pool.
fn with(backends: &str, process: &str, pool: &str) -> Proxy {
    let whole = format!(
        "admin: {{ listen: 127.0.0.1:0 }}\n{process}\nlisteners: {{ front: {{ bind: 127.0.0.1:0, pool: back }} }}\n\
         pools:\n  back:\n    backends: [ {backends} ]\n    {pool}\n"
    );
    Setup::file(whole).start()
}

fn names(proxy: &Proxy, times: usize) -> BTreeSet<String> {
    (0..times).map(|_| proxy.connect().line().unwrap()).collect()
}

#[test]
fn a_higher_tier_is_used_only_when_the_lower_cannot_serve() {
    let (a, b) = (Backend::new().named("a"), Backend::new().named("b"));
    let spare = format!("{{ address: '{}', tier: 1 }}", b.address());
    let first = format!("'{}'", a.address());
    assert_eq!(names(&with(&format!("{spare}, {first}"), "", ""), 20), ["a".into()].into());
    let disabled = format!("{{ address: '{}', disabled: true }}", a.address());
    assert_eq!(names(&with(&format!("{spare}, {disabled}"), "", ""), 20), ["b".into()].into());
    let refusing = format!("'{}'", Backend::refusing());
    assert_eq!(names(&with(&format!("{spare}, {refusing}"), "", ""), 20), ["b".into()].into());
}

#[test]
fn the_zone_of_this_instance_is_preferred() {
    let (a, b) = (Backend::new().named("a"), Backend::new().named("b"));
    let member = |zone, of: SocketAddr, more: &str| format!("{{ address: '{of}', zone: {zone}{more} }}");
    let both = format!("{}, {}", member("x", a.address(), ""), member("y", b.address(), ""));
    assert_eq!(names(&with(&both, "zone: x", ""), 20), ["a".into()].into());
    assert_eq!(names(&with(&both, "zone: y", ""), 20), ["b".into()].into());
    assert_eq!(names(&with(&both, "", ""), 20).len(), 2);
    let gone = format!("{}, {}", member("x", a.address(), ", disabled: true"), member("y", b.address(), ""));
    assert_eq!(names(&with(&gone, "zone: x", ""), 20), ["b".into()].into());
}

/// The line a client of that address hears.
fn hears(proxy: &Proxy, from: u8) -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0)).into()).unwrap();
    socket.connect(&proxy.address("front").into()).unwrap();
    Peer::new(socket, 1, 2).line().unwrap()
}

#[test]
fn replicas_lead_a_client_to_the_same_backend() {
    let backends = ["a", "b", "c", "d"].map(|name| Backend::new().named(name));
    let listed = backends.each_ref().map(|backend| format!("'{}'", backend.address()));
    let policy = "policy: { maglev: { key: client_ip } }";
    let turned: Vec<String> = listed.iter().rev().cloned().collect();
    let proxies = [with(&listed.join(", "), "", policy), with(&turned.join(", "), "", policy)];
    let digests =
        proxies.each_ref().map(|proxy| proxy.admin().json("/api/v1/pools")["pools"][0]["table_digest"].clone());
    assert!(digests[0].is_string());
    assert_eq!(digests[0], digests[1]);
    let led = |from| (hears(&proxies[0], from), hears(&proxies[1], from));
    let pairs: Vec<_> = (1..60).map(led).collect();
    assert!(pairs.iter().all(|(one, other)| one == other), "{pairs:?}");
    assert!((1..60).zip(&pairs).all(|(from, pair)| hears(&proxies[0], from) == pair.0));
    assert_eq!(pairs.iter().collect::<BTreeSet<_>>().len(), 4);
}

#[test]
fn a_kill_and_the_end_of_a_drain_reach_who_waits() {
    let backend = Backend::new();
    let mut proxy = one_place(&backend, "{ max: 9, timeout: 60s }").process("shutdown: { grace: 1s }").start();
    let (mut client, _server) = proxy.session(&backend);
    let mut killed = proxy.connect();
    queue_becomes(&proxy, 1.0);
    let listed = proxy.admin().json("/api/v1/connections");
    let of_queue = |one: &&serde_json::Value| one["phase"] == "queue";
    let id =
        listed["connections"].as_array().unwrap().iter().find(of_queue).unwrap()["id"].as_str().unwrap().to_owned();
    proxy.admin().ask("DELETE", &format!("/api/v1/connections/{id}"), "");
    killed.hear_reset();
    assert_eq!(proxy.why(), "killed proxy queue");
    let mut waiting = proxy.connect();
    queue_becomes(&proxy, 1.0);
    proxy.signal(Signal::TERM);
    waiting.hear_reset_within(Duration::from_secs(5));
    client.hear_reset_within(Duration::from_secs(5));
    assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
}
#[test]
fn a_backend_that_refuses_in_a_full_pool_is_seen_by_nobody_who_can_wait() {
    let cells: [[Arc<AtomicU64>; 2]; 2] = Default::default();
    let [a, b] = cells.each_ref().map(|[now, most]| counting(now, most));
    let setup = Setup::to([a.address(), Backend::refusing(), b.address()]).pool("backend: { max_connections: 2 }");
    let proxy = setup.pool("queue: { max: 1000, timeout: 20s }").start();
    assert_eq!(load(&proxy, 20, 10).1, 0);
}
