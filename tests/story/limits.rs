//! Too many: beyond a limit the newcomer pays, never those who are served already.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Backend, Peer, Setup, Wait, cpu_time, descriptors, eventually, send_across};

#[test]
fn beyond_max_connections_newcomers_are_reset_and_counted() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).process("max_connections: 2").start();
    let (mut client, mut server) = proxy.session(&backend);
    let _second = proxy.session(&backend);
    proxy.is_turned_away();
    send_across(&mut client, &mut server, 1000);
    let refused = "peerway_listener_refused_total{listener=\"front\",reason=\"max_connections_process\"}";
    proxy.metric_becomes(refused, 1.0);
    client.close();
    server.close();
    eventually("room", || (proxy.active() < 2.0).then_some(()));
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 1000);
}

#[test]
fn with_overflow_wait_newcomers_wait_in_the_kernel() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).process("max_connections: 1\noverflow: wait").start();
    let (client, server) = proxy.session(&backend);
    let mut waiting = proxy.connect();
    waiting.say(1000);
    assert!(backend.accept_within(Wait::For(Duration::from_millis(500))).is_none(), "served beyond the limit");
    client.close();
    server.close();
    let mut server = backend.accept();
    server.hear(1000);
    send_across(&mut server, &mut waiting, 1000);
    assert_eq!(proxy.metric("peerway_listener_refused_total"), 0.0);
}

#[test]
fn those_who_wait_are_counted_for_what_they_are() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).process("max_connections: 1\noverflow: wait").start();
    let _served = proxy.session(&backend);
    let _waiting: Vec<Peer> = (0..20).map(|_| proxy.connect()).collect();
    thread::sleep(Duration::from_millis(200));
    proxy.scrape().adds_up();
    assert_eq!(proxy.active(), 1.0);
}

#[test]
fn with_overflow_wait_the_proxy_still_drains() {
    let backend = Backend::new();
    let mut proxy =
        Setup::to([&backend]).process("max_connections: 1\noverflow: wait\nshutdown: { grace: 60s }").start();
    let (client, server) = proxy.session(&backend);
    let mut waiting = proxy.connect();
    thread::sleep(Duration::from_millis(200));
    proxy.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(200));
    client.close();
    server.close();
    // Whoever the kernel let in before the signal is served, or told; never left hanging.
    if let Some(mut server) = backend.accept_within(Wait::For(Duration::from_secs(1))) {
        send_across(&mut waiting, &mut server, 1000);
        waiting.close();
        server.close();
    } else {
        waiting.hear_reset_within(Duration::from_secs(5));
    }
    assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
}

#[test]
fn with_64_descriptors_200_clients_do_not_hurt_those_who_are_served() {
    for limit in ["max_connections: auto", "max_connections: 1000"] {
        let backend = Backend::new().echo();
        let proxy = Setup::to([&backend]).process(limit).descriptors(64).start();
        let mut served: Vec<Peer> = (0..8).map(|seed| proxy.connect().seeded(seed, seed)).collect();
        let talk = |served: &mut Vec<Peer>| {
            for client in served {
                client.say(10_000);
                client.hear(10_000);
            }
        };
        talk(&mut served);
        let crowd: Vec<Peer> = (0..200).filter_map(|_| Peer::try_connect(proxy.address("front")).ok()).collect();
        talk(&mut served);
        assert_eq!(proxy.admin().get("/healthz").status, 200, "{limit}");
        let before = cpu_time(proxy.id());
        thread::sleep(Duration::from_secs(2));
        let busy = cpu_time(proxy.id()) - before;
        assert!(busy < Duration::from_millis(5 * 100), "{limit}: {busy:?} of CPU in 2 s of exhaustion");
        talk(&mut served);
        drop(crowd);
        eventually("a newcomer is served again", || answers(Peer::try_connect(proxy.address("front"))).then_some(()));
        talk(&mut served);
    }
}

/// As if something else in the process had taken them: the gate's limit knows nothing of it.
#[test]
fn descriptors_that_run_out_all_the_same_stop_newcomers_only() {
    let backend = Backend::new().echo();
    let proxy = Setup::to([&backend]).start();
    let mut served = proxy.connect().seeded(1, 1);
    let mut talk = || {
        served.say(10_000);
        served.hear(10_000);
    };
    talk();
    let enough = proxy.descriptor_limit(descriptors(proxy.id()) as u64);
    let crowd: Vec<Peer> = (0..50).filter_map(|_| Peer::try_connect(proxy.address("front")).ok()).collect();
    let before = cpu_time(proxy.id());
    thread::sleep(Duration::from_secs(2));
    let busy = cpu_time(proxy.id()) - before;
    assert!(busy < Duration::from_millis(5 * 100), "{busy:?} of CPU in 2 s of exhaustion");
    talk();
    drop(crowd);
    proxy.descriptor_limit(enough);
    eventually("a newcomer is served again", || answers(Peer::try_connect(proxy.address("front"))).then_some(()));
    talk();
    let errors = proxy.metric("peerway_listener_accept_errors_total{listener=\"front\",class=\"descriptors\"}");
    assert!(errors > 0.0, "the limit was never met");
}

#[test]
fn every_connection_is_refused_closed_or_active_at_every_scrape() {
    let backend = Backend::new().echo();
    let setup = Setup::to([backend.address(), Backend::refusing()]);
    let proxy = setup.process("max_connections: 20").start();
    let to = proxy.address("front");
    // Three places are left to thirty clients.
    let _served: Vec<Peer> = (0..17).map(|_| proxy.connect()).collect();
    thread::scope(|scope| {
        for seed in 0..30 {
            scope.spawn(move || churn(to, seed));
        }
        for _ in 0..100 {
            proxy.scrape().adds_up();
        }
    });
    assert!(proxy.metric("peerway_listener_refused_total") > 0.0, "the limit was never reached");
}

/// Sessions that end in every way there is, one after the other.
fn churn(to: std::net::SocketAddr, seed: u64) {
    for turn in 0..100 {
        let Ok(client) = Peer::try_connect(to) else {
            continue;
        };
        let mut client = client.seeded(seed, seed);
        let said = client.try_say(turn * 10).is_ok();
        match turn % 4 {
            0 => client.reset(),
            1 => drop(client.socket.shutdown(Shutdown::Write)),
            2 if said => drop((&client.socket).read(&mut [0; 1000])),
            _ => client.close(),
        }
    }
}

fn answers(client: std::io::Result<Peer>) -> bool {
    let says = |client: Peer| {
        (&client.socket).write_all(b"?")?;
        (&client.socket).read(&mut [0])
    };
    client.and_then(says).is_ok_and(|read| read == 1)
}
