//! Sessions at once: of a listener, and of each of its clients.

use std::thread;

use super::*;
use crate::support::{Setup, eventually};

#[test]
fn a_listener_has_its_own_limit_and_says_so() {
    let backend = Backend::new();
    let setup = Setup::to([&backend]).process("max_connections: 50").process("overflow: wait");
    let proxy = setup.listener("admission: { max_connections: 3 }").start();
    let mut inside: Vec<_> = (1..=3).map(|number| is_served(&proxy, &backend, number)).collect();
    assert_eq!(proxy.metric("peerway_listener_connections_limit{listener=\"front\"}"), 3.0);
    // It does not wait for the process's sake.
    for number in 4..8 {
        is_reset(&proxy, number);
    }
    proxy.refused("max_connections_listener", 4);
    inside.pop();
    proxy.metric_becomes("peerway_listener_active_connections", 2.0);
    inside.push(is_served(&proxy, &backend, 9));
    is_reset(&proxy, 9);
    drop(inside);
    is_over(&proxy);
}

#[test]
fn without_a_limit_of_its_own_a_listener_s_is_the_process_s() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).process("max_connections: 50").start();
    assert_eq!(proxy.metric("peerway_listener_connections_limit{listener=\"front\"}"), 50.0);
}

#[test]
fn each_client_has_its_own_sessions() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("admission: { per_client: { max_connections: 2 } }").start();
    let mut inside: Vec<_> = [1, 1, 2].map(|number| is_served(&proxy, &backend, number)).into();
    is_reset(&proxy, 1);
    inside.push(is_served(&proxy, &backend, 2));
    is_reset(&proxy, 2);
    proxy.refused("max_connections_client", 2);
    drop(inside.remove(0));
    proxy.metric_becomes("peerway_listener_active_connections", 3.0);
    inside.push(is_served(&proxy, &backend, 1));
    drop(inside);
    is_over(&proxy);
}

#[test]
fn behind_another_load_balancer_it_is_the_client_that_has_them() {
    let backend = Backend::new();
    let setup = Setup::to([&backend]).listener("accept_proxy: { from: 127.0.0.0/8, timeout: 20s }");
    let proxy = setup.listener("admission: { per_client: { max_connections: 1, prefix_v6: 48 } }").start();
    // All of them from one peer.
    let clients = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8:1::1", "2001:db8:2::1"];
    let mut inside = clients.map(|who| introduced_is_served(&proxy, &backend, who)).into_iter().collect::<Vec<_>>();
    for who in ["192.0.2.1", "192.0.2.3", "2001:db8:1::2", "2001:db8:1:ffff::1"] {
        introduced(&proxy, who).hear_reset();
    }
    proxy.refused("max_connections_client", 4);
    drop(inside.remove(0));
    proxy.metric_becomes("peerway_listener_active_connections", 4.0);
    introduced_is_served(&proxy, &backend, "192.0.2.1");
    drop(inside);
    is_over(&proxy);
}

/// Clients that come and go in every way there is, at limits of every kind: nothing is lost or counted twice.
#[test]
fn everything_adds_up_at_every_scrape_and_all_is_given_back() {
    let backend = Backend::new().echo();
    let admission = "admission: { max_connections: 12, max_rate: 400/s, deny: 127.0.0.3/32, refuse_with: drop, \
                     per_client: { max_connections: 4, rate: 100/s } }";
    let setup = Setup::to([&backend]).process("max_connections: 14").process("max_rate: 500/s").listener(admission);
    let proxy = setup.listener("timeouts: { handshake: 200ms }").start();
    let to = proxy.address("front");
    thread::scope(|scope| {
        for number in 1..=12_u8 {
            scope.spawn(move || churn(to, number));
        }
        for _ in 0..100 {
            proxy.scrape().adds_up();
        }
    });
    is_over(&proxy);
    let inside: Vec<_> = (21..=32).map(|number| eventually_served(&proxy, number)).collect();
    is_reset_in_time(&proxy, 33);
    assert_eq!(proxy.active(), 12.0, "every place was given back");
    drop(inside);
}

fn churn(to: SocketAddr, number: u8) {
    for turn in 0..100 {
        // Some hold on to each other for a while.
        let mut clients: Vec<_> = (0..2).filter_map(|_| from(to, number).ok()).collect();
        for client in &mut clients {
            client.socket.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
            let _ = client.try_say(turn * 10);
        }
        if turn % 3 == 0 {
            clients.pop().into_iter().for_each(Peer::reset);
        }
    }
}

/// Rates may have it wait for a moment.
#[track_caller]
fn eventually_served(proxy: &Proxy, number: u8) -> Peer {
    eventually("served", || {
        let mut client = from(proxy.address("front"), number).ok()?.seeded(5, 5);
        client.socket.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        client.try_say(10).and_then(|()| client.try_hear(10)).is_ok().then_some(client)
    })
}

/// It may be held in silence first.
#[track_caller]
fn is_reset_in_time(proxy: &Proxy, number: u8) {
    match from(proxy.address("front"), number) {
        Ok(mut client) => client.hear_reset_within(std::time::Duration::from_secs(5)),
        // The reset may be there before its connect returns.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}
