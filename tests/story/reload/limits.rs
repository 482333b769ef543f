//! Settings that living sessions and listeners follow.

use std::time::{Duration, Instant};

use crate::support::{Backend, MB, Peer, Setup, TOP, eventually, send_across};

use super::{file, proxy};

#[test]
fn a_shorter_timeout_holds_for_a_living_session() {
    let backend = Backend::new();
    let proxy = proxy(&[backend.address()]);
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 10);
    let start = Instant::now();
    let attempt = proxy.change_to(&file(&[backend.address()], ", timeouts: { idle: 1s }", ""));
    assert_eq!((&attempt["result"], &attempt["by"]), (&"ok".into(), &"api".into()));
    assert_eq!(attempt["changes"][0]["path"], "listeners.front.timeouts.idle");
    client.hear_reset_within(Duration::from_secs(10));
    server.hear_reset();
    assert!(start.elapsed() >= Duration::from_millis(500), "not for a second idle: {:?}", start.elapsed());
    assert_eq!(proxy.why(), "idle proxy first_byte");
}

#[test]
fn a_longer_timeout_and_that_of_a_pool_hold_too() {
    let backend = Backend::new();
    let proxy = Setup::file(file(&[backend.address()], ", timeouts: { idle: 2s }", "")).start();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 10);
    proxy.change_to(&file(&[backend.address()], ", timeouts: { idle: 1h }", ""));
    client.hear_nothing(Duration::from_secs(4));
    send_across(&mut server, &mut client, 10);
    proxy.change_to(&file(&[backend.address()], "", ", timeouts: { idle: 500ms }"));
    client.hear_reset_within(Duration::from_secs(10));
}

#[test]
fn what_both_files_have_is_not_touched() {
    let backend = Backend::new();
    let proxy = proxy(&[backend.address()]);
    let (mut client, mut server) = proxy.session(&backend);
    proxy.metric_becomes("peerway_backend_connections_total", 1.0);
    let before = proxy.scrape();
    let address = proxy.address("front");
    for round in 0..5 {
        proxy.change_to(&file(&[backend.address()], &format!(", timeouts: {{ idle: {}s }}", 100 + round), ""));
        send_across(&mut client, &mut server, MB / 10);
        send_across(&mut server, &mut client, MB / 10);
    }
    assert_eq!(proxy.addresses("front").len(), 1, "bound once, announced once");
    let after = proxy.scrape();
    for series in ["peerway_backend_connections_total", "peerway_listener_connections_total"] {
        assert_eq!(after.get(series), before.get(series), "{series}");
    }
    assert_eq!(after.get("peerway_config_generation"), 6.0);
    assert_eq!(after.get("peerway_config_reloads_total{result=\"ok\"}"), 5.0);
    assert_eq!(after.get("peerway_config_last_reload_success"), 1.0);
    Peer::connect(address).close();
    backend.accept();
}

#[test]
fn the_limit_of_sessions_follows() {
    let backend = Backend::new();
    let top = |max: usize| format!("max_connections: {max}\n{}", file(&[backend.address()], "", ""));
    let proxy = Setup::file(top(2)).start();
    let (first, second) = (proxy.session(&backend), proxy.session(&backend));
    proxy.is_turned_away();
    proxy.change_to(&top(3));
    let third = proxy.session(&backend);
    proxy.is_turned_away();
    proxy.change_to(&top(1));
    assert_eq!(proxy.metric("peerway_connections_limit"), 1.0);
    drop((first, second));
    eventually("only one is left", || (proxy.active() == 1.0).then_some(()));
    proxy.is_turned_away();
    drop(third);
    eventually("none is left", || (proxy.active() == 0.0).then_some(()));
    proxy.session(&backend);
}

#[test]
fn the_access_log_and_the_level_follow() {
    let backend = Backend::new().echo();
    let top = |log: &str| format!("{log}\n{}", file(&[backend.address()], "", ""));
    let proxy = Setup::file(top("log: { access: off }")).start();
    // The count follows the line: what is changed after it changes nothing of this session.
    let session = |nth: f64| {
        let mut client = proxy.connect().seeded(1, 1);
        client.say(10);
        client.hear(10);
        client.finish();
        client.hear_end();
        proxy.metric_becomes("peerway_sessions_closed_total{cause=\"finished\"}", nth);
    };
    session(1.0);
    proxy.change_to(&top("log: { level: debug, access: { to: access.log } }"));
    session(2.0);
    let path = proxy.dir().join("access.log");
    let lines = || std::fs::read_to_string(&path).unwrap_or_default().lines().count();
    eventually("a line", || (lines() == 1).then_some(()));
    proxy.change_to(&top("log: { access: { to: other.log } }"));
    session(3.0);
    let other = proxy.dir().join("other.log");
    eventually("a line", || std::fs::read_to_string(&other).unwrap_or_default().contains("\"end\"").then_some(()));
    assert_eq!(lines(), 1);
    assert!(proxy.access().is_empty());
}

#[test]
fn options_of_a_listening_socket_follow() {
    let backend = Backend::new();
    let proxy = proxy(&[backend.address()]);
    proxy.change_to(&file(&[backend.address()], ", tcp: { backlog: 17, nodelay: false }", ""));
    let port = proxy.address("front").port();
    // Of a listening socket `ss` shows its backlog as Send-Q.
    eventually("another backlog", || {
        let shown =
            crate::support::run(crate::support::program("ss").args(["-Hltn", &format!("src 127.0.0.1:{port}")]));
        let queues: Vec<_> =
            shown.lines().map(|line| line.split_whitespace().nth(2).unwrap_or("").to_owned()).collect();
        (!queues.is_empty() && queues.iter().all(|queue| queue == "17")).then_some(())
    });
    proxy.session(&backend);
}

#[test]
fn ready_when_follows() {
    let yaml = |ready: &str| {
        format!(
            "{TOP}{ready}listeners: {{ front: {{ bind: '127.0.0.1:0', pool: back }} }}\n\
             pools: {{ back: {{ backends: [ '127.0.0.1:1' ] }}, none: {{ backends: [] }} }}\n"
        )
    };
    let proxy = Setup::file(yaml("")).start();
    assert_eq!(proxy.admin().get("/readyz").status, 200);
    proxy.change_to(&yaml("ready_when: { pools: [none] }\n"));
    assert_eq!(proxy.admin().get("/readyz").status, 503);
}
