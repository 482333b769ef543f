//! Backends and pools that come, go and move, and the sessions they have.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::support::{Backend, MB, Peer, Setup, TOP, eventually, send_across};

use super::{Steady, file, proxy};

#[test]
fn one_that_is_added_gets_sessions_and_the_others_keep_theirs() {
    let (one, two) = (Backend::new().named("one"), Backend::new().named("two"));
    let proxy = proxy(&[one.address()]);
    let said = || proxy.connect().line().unwrap();
    assert_eq!([said(), said()], ["one", "one"]);
    proxy.change_to(&file(&[one.address(), two.address()], "", ""));
    let mut heard = [said(), said()];
    heard.sort();
    assert_eq!(heard, ["one", "two"]);
    let series = format!("peerway_backend_connections_total{{backend=\"{}\"}}", one.address());
    proxy.metric_becomes(&series, 3.0);
}

#[test]
fn one_that_is_removed_gets_no_more_and_its_sessions_go_on() {
    let (one, two) = (Backend::new(), Backend::new().named("two"));
    let proxy = proxy(&[one.address()]);
    let (mut client, mut server) = proxy.session(&one);
    proxy.change_to(&file(&[two.address()], "", ""));
    for _ in 0..10 {
        assert_eq!(proxy.connect().line().unwrap(), "two");
    }
    send_across(&mut client, &mut server, MB);
    let series = format!("peerway_backend_active_connections{{backend=\"{}\"}}", one.address());
    assert_eq!(proxy.metric(&series), 1.0, "it is counted while it has sessions");
    client.close();
    server.close();
    let name = one.address().to_string();
    eventually("its series are gone", || (!proxy.admin().get("/metrics").body.contains(&name)).then_some(()));
}

#[test]
fn on_remove_decides_about_the_sessions_of_a_backend() {
    let (one, two) = (Backend::new(), Backend::new());
    for how in ["keep", "reset", "{ drain: 2s }"] {
        let with = |backends: &[SocketAddr]| file(backends, "", &format!(", on_remove: {how}"));
        let proxy = Setup::file(with(&[one.address()])).start();
        let mut sessions: Vec<_> = (0..4).map(|_| proxy.session(&one)).collect();
        proxy.change_to(&with(&[two.address()]));
        let mut other = proxy.session(&two);
        if how == "keep" {
            sessions[0].0.hear_nothing(Duration::from_secs(1));
            continue;
        }
        for (client, server) in &mut sessions {
            client.hear_reset_within(Duration::from_secs(10));
            server.hear_reset();
            assert!(proxy.why().starts_with("removed proxy"), "{how}");
        }
        send_across(&mut other.0, &mut other.1, MB);
    }
}

#[test]
fn a_session_being_connected_to_a_removed_backend_ends_as_well() {
    let hole = crate::support::Blackhole::new();
    let with =
        |backends: &[SocketAddr]| file(backends, "", ", on_remove: reset, connect: { timeout: 20s, deadline: 20s }");
    let proxy = Setup::file(with(&[hole.address()])).start();
    let mut client = proxy.connect();
    eventually("it is dialled", || (proxy.metric("peerway_backend_active_connections") == 1.0).then_some(()));
    let other = Backend::new();
    proxy.change_to(&with(&[other.address()]));
    let old = hole.open();
    client.hear_reset_within(Duration::from_secs(10));
    drop(old);
    assert!(proxy.why().starts_with("removed proxy"));
}

#[test]
fn of_two_rules_the_gentler_wins() {
    let (one, two) = (Backend::new(), Backend::new());
    let yaml = |listener: &str, of_listener: &str, pool: &str, of_pool: &str| {
        format!(
            "{TOP}listeners: {{ stays: {{ bind: '127.0.0.1:0', pool: stays }}{listener} }}\n\
             pools: {{ stays: {{ backends: [ '{}' ] }}{pool} }}\n",
            two.address()
        )
        .replace("LISTENER", of_listener)
        .replace("POOL", of_pool)
    };
    let listener = ", gone: { bind: '127.0.0.1:0', pool: gone, on_remove: LISTENER }";
    let pool = format!(", gone: {{ backends: [ '{}' ], on_remove: POOL }}", one.address());
    for (of_listener, of_pool, ends) in [
        ("keep", "reset", false),
        ("reset", "keep", false),
        ("reset", "{ drain: 300s }", false),
        ("reset", "reset", true),
    ] {
        let proxy = Setup::file(yaml(listener, of_listener, &pool, of_pool)).start();
        let mut client = Peer::connect(proxy.address("gone"));
        let mut server = one.accept();
        let mut second = Peer::connect(proxy.address("gone"));
        let _second = one.accept();
        proxy.change_to(&yaml("", "", "", ""));
        match ends {
            true => client.hear_reset_within(Duration::from_secs(5)),
            // Of a slow drain one is due at once, and this one has spoken last.
            false if of_pool.contains("drain") => send_across(&mut second, &mut server, 0),
            false => {
                client.hear_nothing(Duration::from_millis(700));
                send_across(&mut client, &mut server, 1000);
            }
        }
    }
}

#[test]
fn a_name_that_stands_for_another_address_moves_its_sessions() {
    let (one, two) = (Backend::new(), Backend::new());
    let with = |address: SocketAddr| {
        format!(
            "{TOP}listeners: {{ front: {{ bind: '127.0.0.1:0', pool: back }} }}\n\
             pools: {{ back: {{ backends: {{ name: db, address: '{address}' }}, on_remove: reset }} }}\n"
        )
    };
    let proxy = Setup::file(with(one.address())).start();
    let (mut client, mut server) = proxy.session(&one);
    proxy.metric_becomes("peerway_backend_connections_total{backend=\"db\"}", 1.0);
    proxy.change_to(&with(two.address()));
    let (mut new_client, mut new_server) = proxy.session(&two);
    client.hear_reset_within(Duration::from_secs(5));
    server.hear_reset();
    thread::sleep(Duration::from_millis(500));
    send_across(&mut new_client, &mut new_server, MB);
    proxy.metric_becomes("peerway_backend_connections_total{backend=\"db\"}", 2.0);
}

#[test]
fn pools_come_and_go_and_listeners_change_theirs_under_load() {
    let (one, two) = (Backend::new().echo(), Backend::new().echo());
    let with = |pool: &str, backend: SocketAddr| {
        format!(
            "{TOP}listeners: {{ front: {{ bind: '127.0.0.1:0', pool: {pool} }} }}\n\
             pools: {{ {pool}: {{ backends: [ '{backend}' ] }} }}\n"
        )
    };
    let proxy = Setup::file(with("a", one.address())).start();
    let steady = Steady::at(proxy.address("front"), 4);
    for round in 0..10 {
        thread::sleep(Duration::from_millis(100));
        proxy.change_to(&with(["b", "a"][round % 2], [two.address(), one.address()][round % 2]));
    }
    assert!(steady.end() > 50);
    assert!(one.accepted() > 10 && two.accepted() > 10);
    let names = || {
        let shown = proxy.admin().json("/api/v1/pools");
        shown["pools"].as_array().unwrap().iter().map(|pool| pool["name"].to_string()).collect::<Vec<_>>()
    };
    eventually("the other pool is forgotten", || (names() == ["\"a\""]).then_some(()));
}

#[test]
fn weights_and_limits_follow_and_a_queue_moves_on() {
    let backend = Backend::new().echo();
    let with = |max: u32| {
        format!(
            "{TOP}listeners: {{ front: {{ bind: '127.0.0.1:0', pool: back }} }}\npools: {{ back: {{ queue: {{ timeout: 30s }}, \
             backends: {{ name: db, address: '{}', max_connections: {max} }} }} }}\n",
            backend.address()
        )
    };
    let proxy = Setup::file(with(1)).start();
    let mut first = proxy.connect().seeded(1, 1);
    first.say(1);
    first.hear(1);
    let mut second = proxy.connect().seeded(2, 2);
    second.say(1);
    second.hear_nothing(Duration::from_millis(300));
    proxy.change_to(&with(2));
    second.hear(1);
}
