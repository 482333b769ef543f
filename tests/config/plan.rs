//! What a valid configuration means.

use std::path::PathBuf;
use std::time::Duration;

use peerway::config::plan::{
    AcceptProxy, AccessSink, AdminAddress, BackendAddress, BindAddress, Congestion, CongestionName, HashKey, HashSpec,
    Hedge, Keepalive, LogFormat, Others, Overflow, Protect, Queue, RelayMode, RetryBudget, SendProxy,
};

use super::plan;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn absent_keys_have_their_documented_defaults() {
    let plan = plan("listeners: { l: { bind: '127.0.0.1:1', pool: p } }\npools: { p: { backends: '10.0.0.1:1' } }\n");
    assert_eq!((plan.workers.threads, plan.workers.pin, plan.workers.busy_poll), (None, false, None));
    assert_eq!((plan.max_connections, plan.overflow), (None, Overflow::Refuse));
    assert_eq!((plan.shutdown.delay, plan.shutdown.grace), (Duration::ZERO, 30 * SECOND));
    assert_eq!((plan.admin, plan.metrics, plan.ready_when.len(), plan.zone), (None, None, 0, None));
    assert_eq!((plan.log.level.as_str(), plan.log.format), ("info", LogFormat::Json));

    let listener = &plan.listeners[0];
    assert_eq!((&*listener.name, listener.pool.as_deref().unwrap(), listener.relay), ("l", "p", RelayMode::Auto));
    assert_eq!(listener.accept_proxy, None);
    let timeouts = listener.timeouts;
    assert_eq!(timeouts.idle, Some(3600 * SECOND));
    assert_eq!(timeouts.half_closed, Some(300 * SECOND));
    assert_eq!(timeouts.session, None);
    let keepalive = Some(Keepalive { idle: 60 * SECOND, interval: 10 * SECOND, probes: 3 });
    assert_eq!((listener.tcp.backlog, listener.tcp.fast_open, listener.tcp.freebind), (4096, None, false));
    assert_eq!(listener.tcp.defer_accept, None);
    assert_eq!((listener.tcp.stream.nodelay, listener.tcp.stream.keepalive), (true, keepalive));
    assert_eq!(listener.tcp.stream.user_timeout, None);
    assert_eq!(listener.access, plan.log.access);
    assert_eq!((&listener.access.to, listener.access.sample), (&AccessSink::Stdout, 1.0));
    assert_eq!((listener.access.at_start, listener.access.at_end, listener.access.interval), (false, true, None));
    assert!(!listener.access.skip_empty);

    let pool = &plan.pools[0];
    assert_eq!((&*pool.name, pool.policy.name, pool.idle), ("p", "round_robin", None));
    assert_eq!((pool.connect.timeout, pool.connect.attempts, pool.connect.deadline), (2 * SECOND, 3, 10 * SECOND));
    assert_eq!((pool.connect.backoff.base, pool.connect.backoff.max), (SECOND / 20, SECOND));
    assert_eq!(pool.connect.retry_budget, RetryBudget { share: 0.2, min_per_second: 10.0 });
    assert_eq!(pool.connect.hedge_after, None);
    assert_eq!((pool.tier_spill_below, pool.slow_start, pool.queue), (0.0, Duration::ZERO, None));
    assert_eq!((pool.connect.source.len(), pool.connect.send_proxy), (0, None));
    assert_eq!((pool.tcp.nodelay, pool.tcp.keepalive, pool.tcp.user_timeout), (true, keepalive, None));
    let backend = &pool.backends[0];
    assert_eq!((&*backend.name, backend.weight, backend.disabled), ("10.0.0.1:1", 1, false));
    assert_eq!((backend.tier, &backend.zone, backend.max_connections), (0, &None, None));
}

#[test]
fn every_key_of_the_process_reaches_the_plan() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    let plan = plan(
        &"version: 1
workers: { threads: 3, pin: true, busy_poll: 50us }
max_connections: 5000
overflow: wait
shutdown: { delay: 2s, grace: 1m30s }
zone: eu-1
admin: { listen: 10.0.0.1:9901, token_file: TOKEN, protect: all }
metrics: { listen: '[::1]:9902', backend_histograms: true }
ready_when: { pools: p }
log:
  level: debug,peerway::relay=trace
  format: text
  access: { to: logs/access, when: [start, interval 90s], sample: 0.5%, skip: [empty] }
listeners: { l: { bind: '127.0.0.1:1', pool: p } }
pools: { p: { backends: '10.0.0.1:1' } }
"
        .replace("TOKEN", token.to_str().unwrap()),
    );
    assert_eq!((plan.workers.threads.map(usize::from), plan.workers.pin), (Some(3), true));
    assert_eq!(plan.workers.busy_poll, Some(Duration::from_micros(50)));
    assert_eq!((plan.max_connections, plan.overflow), (Some(5000), Overflow::Wait));
    assert_eq!((plan.shutdown.delay, plan.shutdown.grace), (2 * SECOND, 90 * SECOND));
    assert_eq!(plan.zone.as_deref(), Some("eu-1"));
    let admin = plan.admin.unwrap();
    assert_eq!(admin.listen, AdminAddress::Ip("10.0.0.1:9901".parse().unwrap()));
    assert_eq!((admin.token_file.as_deref(), admin.protect), (Some(&*token), Protect::All));
    let metrics = plan.metrics.unwrap();
    assert_eq!((metrics.listen, metrics.backend_histograms), (Some("[::1]:9902".parse().unwrap()), true));
    assert_eq!(&*plan.ready_when[0], "p");
    assert_eq!((plan.log.level.as_str(), plan.log.format), ("debug,peerway::relay=trace", LogFormat::Text));
    let access = plan.log.access;
    assert_eq!((access.at_start, access.at_end, access.interval), (true, false, Some(90 * SECOND)));
    assert_eq!((access.sample, access.skip_empty), (0.005, true));
    assert_eq!(access.to, AccessSink::File(PathBuf::from("conf/logs/access")));
}

#[test]
fn every_key_of_a_listener_reaches_the_plan() {
    let plan = plan(
        "listeners:
  l:
    bind:
      - 127.0.0.1:80-82
      - '[::1]:0'
      - { address: unix:l.sock, mode: \"0660\" }
      - unix:/run/l.sock
    pool: p
    timeouts: { idle: off, half_closed: 1ms, session: 1h }
    relay: splice
    accept_proxy: { from: [10.0.0.0/8, \"2001:db8::/32\", unix], others: plain, timeout: 3s }
    tcp: { backlog: 7, nodelay: false, keepalive: { idle: 5s, probes: 9 }, user_timeout: 250ms, fast_open: 16, defer_accept: 3s, freebind: true, congestion_control: cubic }
    log: { access: { to: stderr } }
pools: { p: { backends: '10.0.0.1:1' } }
",
    );
    let listener = &plan.listeners[0];
    let bound: Vec<String> = listener.bind.iter().map(|bind| bind.address.to_string()).collect();
    let expected = ["127.0.0.1:80", "127.0.0.1:81", "127.0.0.1:82", "[::1]:0", "unix:conf/l.sock", "unix:/run/l.sock"];
    assert_eq!(bound, expected);
    assert_eq!(listener.bind[4].address, BindAddress::Unix(PathBuf::from("conf/l.sock"), Some(0o660)));
    let timeouts = listener.timeouts;
    assert_eq!(
        (timeouts.idle, timeouts.half_closed, timeouts.session),
        (None, Some(SECOND / 1000), Some(3600 * SECOND))
    );
    assert_eq!(listener.relay, RelayMode::Splice);
    let from = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap()).into();
    let accept_proxy = AcceptProxy { from, from_unix: true, others: Others::Plain, timeout: 3 * SECOND };
    assert_eq!(listener.accept_proxy, Some(accept_proxy));
    let tcp = listener.tcp;
    assert_eq!((tcp.backlog, tcp.fast_open, tcp.defer_accept, tcp.freebind), (7, Some(16), Some(3 * SECOND), true));
    let keepalive = Some(Keepalive { idle: 5 * SECOND, interval: 10 * SECOND, probes: 9 });
    assert_eq!((tcp.stream.nodelay, tcp.stream.keepalive), (false, keepalive));
    assert_eq!(tcp.stream.user_timeout, Some(SECOND / 4));
    assert_eq!(tcp.stream.congestion, Congestion::Named(CongestionName::new("cubic").unwrap()));
    assert_eq!((&listener.access.to, listener.access.at_end), (&AccessSink::Stderr, true));
}

#[test]
fn every_key_of_a_pool_reaches_the_plan() {
    let plan = plan(
        "listeners: { l: { bind: '127.0.0.1:1', pool: p } }
pools:
  p:
    policy: { least_connections: {} }
    backends:
      - 10.0.0.1:80
      - db.example.com:5432
      - unix:b.sock
      - { name: four, address: '[2001:db8::1]:80', weight: 65535, disabled: true }
      - { name: five, address: '10.0.0.5:80', tier: 2, zone: c, max_connections: 200 }
    backend: { weight: 7, tier: 1, zone: b, max_connections: 100 }
    tier_spill_below: 70%
    slow_start: 30s
    queue: { max: 50, timeout: 3s }
    connect:
      timeout: 1s
      attempts: 2
      deadline: 4s
      retry_budget: { share: 50%, min: 3/s }
      backoff: { base: 1ms, max: 2ms }
      hedge_after: 50ms
      source: [10.0.0.9, \"2001:db8::9\", 10.0.0.8]
      send_proxy: { v2: crc32c }
    timeouts: { idle: off }
    tcp: { keepalive: off, user_timeout: 1m, nodelay: false }
",
    );
    let pool = &plan.pools[0];
    assert_eq!((pool.policy.name, pool.idle), ("least_connections", Some(None)));
    let sources: Vec<_> = pool.connect.source.iter().map(ToString::to_string).collect();
    assert_eq!(sources, ["10.0.0.9", "2001:db8::9", "10.0.0.8"]);
    assert_eq!(
        pool.connect.send_proxy,
        Some(SendProxy::V2 { authority: false, alpn: false, ssl: false, unique_id: false, crc32c: true })
    );
    let backends: Vec<_> = pool.backends.iter().map(|b| (&*b.name, b.weight, b.disabled)).collect();
    let expected = [
        ("10.0.0.1:80", 7, false),
        ("db.example.com:5432", 7, false),
        ("unix:b.sock", 7, false),
        ("four", 65535, true),
        ("five", 7, false),
    ];
    assert_eq!(backends, expected);
    assert_eq!(pool.backends[1].address, BackendAddress::Host("db.example.com".into(), 5432));
    assert_eq!(pool.backends[2].address, BackendAddress::Unix(PathBuf::from("conf/b.sock")));
    assert_eq!((pool.connect.timeout, pool.connect.attempts, pool.connect.deadline), (SECOND, 2, 4 * SECOND));
    assert_eq!((pool.connect.backoff.base, pool.connect.backoff.max), (SECOND / 1000, SECOND / 500));
    assert_eq!(pool.connect.retry_budget, RetryBudget { share: 0.5, min_per_second: 3.0 });
    assert_eq!(pool.connect.hedge_after, Some(Hedge::After(SECOND / 20)));
    let placed: Vec<_> = pool.backends.iter().map(|b| (b.tier, b.zone.as_deref(), b.max_connections)).collect();
    assert_eq!((placed[0], placed[4]), ((1, Some("b"), Some(100)), (2, Some("c"), Some(200))));
    assert_eq!((pool.tier_spill_below, pool.slow_start), (0.7, 30 * SECOND));
    assert_eq!(pool.queue, Some(Queue { max: 50, timeout: 3 * SECOND }));
    assert_eq!((pool.tcp.keepalive, pool.tcp.user_timeout, pool.tcp.nodelay), (None, Some(60 * SECOND), false));
}

#[test]
fn every_form_of_a_proxy_header() {
    let send = |text: &str| {
        let text = format!(
            "defaults: {{ pool: {{ connect: {{ send_proxy: v1, source: 10.0.0.9 }} }} }}
listeners: {{ l: {{ bind: '127.0.0.1:1', pool: p }} }}
pools: {{ p: {{ backends: '10.0.0.1:1', connect: {{ {text} }} }} }}
"
        );
        let connect = plan(&text).pools[0].connect.clone();
        (connect.send_proxy, connect.source.len())
    };
    let v2 =
        |unique_id, crc32c| (Some(SendProxy::V2 { authority: false, alpn: false, ssl: false, unique_id, crc32c }), 1);
    assert_eq!(send(""), (Some(SendProxy::V1), 1));
    assert_eq!(send("send_proxy: off, source: off"), (None, 0));
    assert_eq!(send("send_proxy: { v1: {} }"), (Some(SendProxy::V1), 1));
    assert_eq!(send("send_proxy: v2"), v2(false, false));
    assert_eq!(send("send_proxy: { v2: [] }"), v2(false, false));
    assert_eq!(send("send_proxy: { v2: unique_id }"), v2(true, false));
    assert_eq!(send("send_proxy: { v2: [crc32c, unique_id] }"), v2(true, true));
}

#[test]
fn variables_stand_for_any_scalar_and_are_expanded_once() {
    let plan = plan(
        "max_connections: ${TEN}
workers: { pin: \"${YES}\", threads: \"${UNSET:-2}\" }
log: { level: \"${EMPTY:-warn}\", access: { to: \"/$$/${DOLLAR}/$x\" } }
x-unset: \"${UNSET}\"
listeners: { l: { bind: \"127.0.0.1:${TEN}\", pool: \"${WORD}\" } }
pools: { word: { backends: '10.0.0.1:1' } }
",
    );
    assert_eq!((plan.max_connections, plan.workers.pin), (Some(10), true));
    assert_eq!(plan.workers.threads.map(usize::from), Some(2));
    assert_eq!(plan.log.level, "warn");
    assert_eq!(plan.log.access.to, AccessSink::File(PathBuf::from("/$/${TEN}/$x")));
    assert_eq!(plan.listeners[0].bind[0].address.to_string(), "127.0.0.1:10");
}

#[test]
fn defaults_may_be_written_out() {
    let written = plan(
        "version: 1
workers: auto
max_connections: auto
overflow: refuse
shutdown: { delay: 0s, grace: 30s }
zone: off
log: { level: info, format: json, access: { to: stdout, when: [end], sample: 100%, skip: [] } }
defaults: { listener: {}, pool: {}, backend: {} }
listeners:
  l:
    bind: 127.0.0.1:1
    pool: p
    timeouts: { idle: 1h, half_closed: 5m, session: off }
    relay: auto
    tcp: { backlog: 4096, nodelay: true, keepalive: { idle: 60s, interval: 10s, probes: 3 }, user_timeout: off, fast_open: off, defer_accept: off, freebind: false }
pools:
  p:
    policy: round_robin
    backends: 10.0.0.1:1
    backend: { weight: 1, tier: 0, zone: off, max_connections: off }
    tier_spill_below: 0%
    slow_start: 0s
    queue: off
    connect: { timeout: 2s, attempts: 3, deadline: 10s, retry_budget: { share: 20%, min: 10/s }, backoff: { base: 50ms, max: 1s }, hedge_after: off }
    tcp: { keepalive: { idle: 60s, interval: 10s, probes: 3 }, user_timeout: off, nodelay: true }
",
    );
    let silent = plan("listeners: { l: { bind: '127.0.0.1:1', pool: p } }\npools: { p: { backends: '10.0.0.1:1' } }\n");
    assert_eq!(format!("{written:?}"), format!("{silent:?}"));
}

#[test]
fn addresses_that_do_not_meet_may_stand_together() {
    plan(
        "admin: { listen: 127.0.0.1:0 }
metrics: { listen: 127.0.0.1:0 }
listeners:
  a: { bind: [0.0.0.0:80, '[::]:80', '127.0.0.1:0', '127.0.0.1:0', '127.0.0.1:81', '127.0.0.2:81'], pool: p }
  b: { bind: [unix:/a, unix:/b], pool: p }
pools: { p: { backends: [10.0.0.1:1, { name: again, address: '10.0.0.1:1' }] } }
",
    );
}

#[test]
fn anchors_and_merge_keys_work_and_own_keys_win() {
    let plan = plan(
        "x-a: &a { idle: 5s, session: 1h }
x-b: &b { idle: 6s, half_closed: 7s }
listeners:
  l: { bind: 127.0.0.1:1, pool: p, timeouts: { idle: 8s, <<: [*a, *b] } }
  m: { bind: 127.0.0.1:2, pool: p, timeouts: { <<: [*a, *b] } }
pools: { p: { backends: '10.0.0.1:1' } }
",
    );
    let [l, m] = [plan.listeners[0].timeouts, plan.listeners[1].timeouts];
    assert_eq!((l.idle, l.half_closed, l.session), (Some(8 * SECOND), Some(7 * SECOND), Some(3600 * SECOND)));
    assert_eq!((m.idle, m.half_closed, m.session), (Some(5 * SECOND), Some(7 * SECOND), Some(3600 * SECOND)));
}

#[test]
fn policies_that_hash_have_parameters_and_each_has_a_default() {
    let hash = |policy: &str| {
        let pool = format!("pools: {{ p: {{ policy: {policy}, backends: '10.0.0.1:1' }} }}\n");
        plan(&format!("listeners: {{ l: {{ bind: '127.0.0.1:1', pool: p }} }}\n{pool}")).pools[0].policy.hash
    };
    let silent = HashSpec { key: HashKey::ClientIp, prefix_v6: 64, bounded_load: None };
    assert_eq!(silent, HashSpec::default());
    for policy in ["maglev", "{ maglev: }", "{ maglev: {} }", "{ maglev: { bounded_load: off } }"] {
        assert_eq!(hash(policy), Some(silent), "{policy}");
    }
    let whole = hash("{ maglev: { key: client_ip_port, prefix_v6: 56, bounded_load: 1.25 } }");
    assert_eq!(whole, Some(HashSpec { key: HashKey::ClientIpPort, prefix_v6: 56, bounded_load: Some(1.25) }));
    let expanded = hash("{ maglev: { key: destination, prefix_v6: '${TEN}', bounded_load: '${TEN}' } }");
    assert_eq!(expanded, Some(HashSpec { key: HashKey::Destination, prefix_v6: 10, bounded_load: Some(10.0) }));
    assert_eq!(hash("random"), None);
}
