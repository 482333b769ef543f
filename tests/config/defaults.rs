//! `defaults`: maps merge by key, lists and scalars replace, `off` clears.

use std::time::Duration;

use peerway::config::plan::{AcceptProxy, AccessSink, Hedge, Others, Queue, RelayMode};

use super::plan;

#[test]
fn maps_merge_by_key_lists_and_scalars_replace() {
    let plan = plan(
        "defaults:
  listener:
    pool: p
    relay: copy
    timeouts: { idle: 10s, session: 20s }
    tcp: { backlog: 5, keepalive: { idle: 7s, probes: 8 } }
    log: { access: { to: stderr, when: [start, end] } }
  pool:
    policy: random
    backends: [10.0.0.1:1, 10.0.0.2:1]
    backend: { weight: 3 }
    connect: { attempts: 5 }
  backend: { weight: 9 }
listeners:
  silent: { bind: 127.0.0.1:1 }
  loud:
    bind: 127.0.0.1:2
    pool: q
    relay: auto
    timeouts: { idle: off }
    tcp: { keepalive: { idle: 9s } }
    log: { access: { when: end } }
pools:
  p: {}
  q:
    policy: round_robin
    backends: [10.0.0.3:1, { address: '10.0.0.4:1', weight: 4 }]
    backend: { weight: 2 }
    connect: { timeout: 1s }
",
    );
    let [silent, loud] = &plan.listeners[..] else { panic!() };
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!(
        (silent.pool.as_deref().unwrap(), silent.relay, silent.timeouts.idle),
        ("p", RelayMode::Copy, seconds(10))
    );
    assert_eq!((loud.pool.as_deref().unwrap(), loud.relay, loud.timeouts.idle), ("q", RelayMode::Auto, None));
    assert_eq!((silent.timeouts.session, loud.timeouts.session), (seconds(20), seconds(20)));
    assert_eq!((silent.tcp.backlog, loud.tcp.backlog), (5, 5));
    let keepalive = loud.tcp.stream.keepalive.unwrap();
    assert_eq!((keepalive.idle.as_secs(), keepalive.interval.as_secs(), keepalive.probes), (9, 10, 8));
    assert!(silent.access.at_start && silent.access.at_end);
    assert!(!loud.access.at_start && loud.access.at_end);
    assert_eq!(loud.access.to, AccessSink::Stderr);

    let weights = |pool: usize| plan.pools[pool].backends.iter().map(|b| b.weight).collect::<Vec<_>>();
    assert_eq!((plan.pools[0].policy.name, weights(0)), ("random", vec![3, 3]));
    assert_eq!((plan.pools[1].policy.name, weights(1)), ("round_robin", vec![2, 4]));
    assert_eq!((plan.pools[1].connect.attempts, plan.pools[1].connect.timeout.as_secs()), (5, 1));
}

#[test]
fn off_clears_a_default_and_a_map_brings_it_back_whole() {
    let plan = plan(
        "defaults: { listener: { pool: p, tcp: { keepalive: off, user_timeout: 5s } } }
listeners:
  a: { bind: 127.0.0.1:1 }
  b: { bind: 127.0.0.1:2, tcp: { keepalive: { idle: 9s }, user_timeout: off } }
pools: { p: { backends: '10.0.0.1:1' } }
",
    );
    let [a, b] = [plan.listeners[0].tcp.stream, plan.listeners[1].tcp.stream];
    assert_eq!((a.keepalive, a.user_timeout), (None, Some(Duration::from_secs(5))));
    assert_eq!((b.keepalive.map(|keepalive| keepalive.probes), b.user_timeout), (Some(3), None));
}

#[test]
fn off_clears_what_pools_and_backends_may_go_without() {
    let plan = plan(
        "zone: a
defaults:
  pool: { queue: { max: 7 }, connect: { hedge_after: 50ms }, backend: { zone: b } }
  backend: { tier: 3, zone: a, max_connections: 9 }
listeners: { l: { bind: 127.0.0.1:1, pool: p }, m: { bind: 127.0.0.1:2, pool: q } }
pools:
  p: { backends: h:1, queue: { timeout: 1s } }
  q: { backends: h:1, queue: off, connect: { attempts: 1, hedge_after: off }, backend: { zone: off, max_connections: off } }
",
    );
    let [p, q] = &plan.pools[..] else { panic!() };
    assert_eq!(p.queue, Some(Queue { max: 7, timeout: Duration::from_secs(1) }));
    assert_eq!(p.connect.hedge_after, Some(Hedge::After(Duration::from_millis(50))));
    let backend = &p.backends[0];
    assert_eq!((backend.tier, backend.zone.as_deref(), backend.max_connections), (3, Some("b"), Some(9)));
    assert_eq!((q.queue, q.connect.hedge_after), (None, None));
    let backend = &q.backends[0];
    assert_eq!((backend.tier, backend.zone.as_deref(), backend.max_connections), (3, None, None));
}

#[test]
fn the_process_log_is_below_the_listeners() {
    let plan = plan(
        "log: { access: { to: off, sample: 10% } }
defaults: { listener: { log: { access: { skip: empty } } } }
listeners:
  a: { bind: 127.0.0.1:1, pool: p }
  b: { bind: 127.0.0.1:2, pool: p, log: { access: off } }
  c: { bind: 127.0.0.1:3, pool: p, log: { access: { to: stdout } } }
pools: { p: { backends: '10.0.0.1:1' } }
",
    );
    let access: Vec<_> = plan.listeners.iter().map(|listener| &listener.access).collect();
    assert_eq!((&access[0].to, access[0].sample, access[0].skip_empty), (&AccessSink::Off, 0.1, true));
    assert_eq!(access[1].to, AccessSink::Off);
    assert_eq!((&access[2].to, access[2].sample, access[2].skip_empty), (&AccessSink::Stdout, 0.1, true));
}

#[test]
fn a_weight_of_one_backend_beats_all_defaults() {
    let weights = |backend: &str, pool: &str, defaults_pool: &str, defaults: &str| {
        let text = format!(
            "defaults: {{ pool: {{ backend: {{ {defaults_pool} }} }}, backend: {{ {defaults} }} }}
listeners: {{ l: {{ bind: '127.0.0.1:1', pool: p }} }}
pools: {{ p: {{ backends: {{ address: '10.0.0.1:1', {backend} }}, backend: {{ {pool} }} }} }}
"
        );
        plan(&text).pools[0].backends[0].weight
    };
    assert_eq!(weights("weight: 2", "weight: 3", "weight: 4", "weight: 5"), 2);
    assert_eq!(weights("", "weight: 3", "weight: 4", "weight: 5"), 3);
    assert_eq!(weights("", "", "weight: 4", "weight: 5"), 4);
    assert_eq!(weights("", "", "", "weight: 5"), 5);
    assert_eq!(weights("", "", "", ""), 1);
}

#[test]
fn trust_in_proxy_headers_is_merged_by_key_and_off_clears_it() {
    let plan = plan(
        "defaults: { listener: { pool: p, accept_proxy: { from: 10.0.0.0/8, timeout: 3s } } }
listeners:
  a: { bind: 127.0.0.1:1 }
  b: { bind: 127.0.0.1:2, accept_proxy: { others: plain } }
  c: { bind: 127.0.0.1:3, accept_proxy: { from: [192.0.2.0/24], timeout: 1s } }
  d: { bind: 127.0.0.1:4, accept_proxy: off }
pools: { p: { backends: '10.0.0.1:1' } }
",
    );
    let settings = |from: &str, others, seconds| {
        let (from, timeout) = (vec![from.parse().unwrap()], Duration::from_secs(seconds));
        Some(AcceptProxy { from, from_unix: false, others, timeout })
    };
    let read: Vec<_> = plan.listeners.into_iter().map(|listener| listener.accept_proxy).collect();
    assert_eq!(read[0], settings("10.0.0.0/8", Others::Refuse, 3));
    assert_eq!(read[1], settings("10.0.0.0/8", Others::Plain, 3));
    assert_eq!(read[2], settings("192.0.2.0/24", Others::Refuse, 1));
    assert_eq!(read[3], None);
}
