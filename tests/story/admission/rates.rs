//! New connections a second: of the process, of a listener, and of each client.

use std::time::{Duration, Instant};

use super::*;
use crate::support::{Setup, eventually};

/// Of so many who come at once, those who were let in, and how long they took to come. They are asked once all are there,
/// so that no answer holds up the next one.
fn let_in(proxy: &Proxy, count: u32, number: u8) -> (u32, Duration) {
    let started = Instant::now();
    let clients: Vec<_> = (0..count).filter_map(|_| from(proxy.address("front"), number).ok()).collect();
    let took = started.elapsed();
    let served = |client: &mut Peer| client.try_say(1).and_then(|()| client.try_hear(1)).is_ok();
    let served = clients.into_iter().map(|client| client.seeded(5, 5)).filter_map(|mut c| served(&mut c).then_some(()));
    (served.count() as u32, took)
}

/// No more than a second's worth and what the time brings, and that much at least.
#[track_caller]
fn keeps_to(rate: u32, let_in: u32, took: Duration) {
    let most = f64::from(rate) * (1.0 + took.as_secs_f64()) + 1.0;
    assert!(let_in >= rate && f64::from(let_in) <= most, "{let_in} at {rate}/s in {took:?}");
}

#[test]
fn a_listener_a_client_and_the_process_each_have_a_rate() {
    let backend = Backend::new().echo();
    for (process, listener, reason) in [
        ("max_rate: 10/s", "relay: auto", "rate_process"),
        ("overflow: wait\nmax_rate: 10/s", "relay: auto", "rate_process"),
        ("overflow: refuse", "admission: { max_rate: 10/s }", "rate_listener"),
        ("overflow: refuse", "admission: { per_client: { rate: 10/s } }", "rate_client"),
    ] {
        let proxy = Setup::to([&backend]).process(process).listener(listener).start();
        let (served, took) = let_in(&proxy, 40, 1);
        keeps_to(10, served, took);
        proxy.refused(reason, 40 - served);
        let line = proxy.logs("\"refused\"");
        assert!(line.contains(&format!("\"reason\":\"{reason}\"")), "{line}");
        eventually("another one", || (let_in(&proxy, 1, 1).0 == 1).then_some(()));
        is_over(&proxy);
    }
}

#[test]
fn one_client_that_comes_too_often_takes_nothing_from_the_others() {
    let backend = Backend::new().echo();
    let proxy = Setup::to([&backend]).listener("admission: { max_rate: 20/s, per_client: { rate: 5/s } }").start();
    let (served, took) = let_in(&proxy, 200, 1);
    keeps_to(5, served, took);
    // Fifteen others have as many turns left, and more when it took long.
    for number in 2..17 {
        assert_eq!(let_in(&proxy, 1, number).0, 1, "client {number}");
    }
    assert_eq!(proxy.metric("peerway_listener_refused_total{reason=\"rate_listener\"}"), 0.0);
}

#[test]
fn behind_another_load_balancer_it_is_the_client_that_has_a_rate() {
    let backend = Backend::new();
    let setup = Setup::to([&backend]).listener("accept_proxy: { from: 127.0.0.0/8, timeout: 20s }");
    let proxy = setup.listener("admission: { per_client: { rate: 1/s } }").start();
    let started = Instant::now();
    for number in 1..=20 {
        introduced_is_served(&proxy, &backend, &format!("192.0.2.{number}"));
    }
    let mut again = introduced(&proxy, "192.0.2.20");
    if started.elapsed() < Duration::from_millis(900) {
        again.hear_reset();
        proxy.refused("rate_client", 1);
    }
}
