//! `refuse_with`: how clients are turned away.

use std::time::{Duration, Instant};

use super::*;
use crate::support::{Setup, eventually};

#[test]
fn close_is_an_orderly_end() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("admission: { deny: 127.0.0.0/8, refuse_with: close }").start();
    for number in 1..20 {
        client(&proxy, number).hear_end();
    }
    proxy.refused("denied", 19);
    is_over(&proxy);
}

#[test]
fn close_is_an_orderly_end_for_a_client_that_was_introduced_too() {
    let backend = Backend::new();
    let setup = Setup::to([&backend]).listener("accept_proxy: { from: 127.0.0.0/8, timeout: 20s }");
    let proxy = setup.listener("admission: { deny: 192.0.2.0/24, refuse_with: close }").start();
    introduced(&proxy, "192.0.2.1").hear_end();
    proxy.refused("denied", 1);
}

/// Sockets that it has open.
fn sockets(proxy: &Proxy) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", proxy.id())).unwrap();
    let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// Ten places for sessions, so one of them for silence.
fn silent() -> Setup {
    let admission = "admission: { deny: [127.0.0.2/32, 192.0.2.0/24], refuse_with: drop }";
    Setup::to::<SocketAddr>([]).process("max_connections: 10").listener(admission)
}

#[test]
fn drop_is_silence_until_the_handshake_would_be_over() {
    let backend = Backend::new();
    let proxy = silent().backend(&backend).listener("timeouts: { handshake: 2s }").start();
    let before = sockets(&proxy);
    let started = Instant::now();
    let mut held = client(&proxy, 2);
    held.say(100);
    proxy.refused("denied", 1);
    // There is no room for a second one.
    is_reset(&proxy, 2);
    held.hear_nothing(Duration::from_secs(1));
    held.hear_reset_within(Duration::from_secs(10));
    assert!(started.elapsed() >= Duration::from_millis(1900), "{:?}", started.elapsed());
    proxy.refused("denied", 2);
    eventually("no socket is left", || (sockets(&proxy) <= before).then_some(()));
    is_over(&proxy);
}

#[test]
fn a_client_that_leaves_gives_up_its_silence() {
    let backend = Backend::new();
    let proxy = silent().backend(&backend).listener("timeouts: { handshake: 1m }").start();
    for _ in 0..3 {
        // Held, and not reset at once as it would be if the one before were still there.
        eventually("a place in silence", || {
            let mut held = from(proxy.address("front"), 2).ok()?;
            let error = held.hear_whatever_within(Duration::from_millis(300)).err()?;
            let is_held = error.kind() == ErrorKind::WouldBlock;
            held.reset();
            is_held.then_some(())
        });
    }
}

#[test]
fn silence_for_a_client_that_was_introduced_takes_the_place_of_its_session() {
    let backend = Backend::new();
    let setup = silent().backend(&backend).listener("accept_proxy: { from: 127.0.0.0/8, timeout: 20s }");
    let proxy = setup.listener("timeouts: { handshake: 1500ms }").start();
    let mut held = introduced(&proxy, "192.0.2.1");
    proxy.refused("denied", 1);
    is_over(&proxy);
    introduced(&proxy, "192.0.2.1").hear_reset();
    // Nine places are left.
    let inside: Vec<_> = (1..=9).map(|n| introduced_is_served(&proxy, &backend, &format!("198.51.100.{n}"))).collect();
    is_reset(&proxy, 1);
    proxy.refused("max_connections_process", 1);
    held.hear_reset_within(Duration::from_secs(10));
    introduced_is_served(&proxy, &backend, "198.51.100.10");
    drop(inside);
}

/// However many come, a hundredth of all places is all they get.
#[test]
fn silence_is_bounded() {
    let backend = Backend::new();
    let admission = "admission: { deny: 127.0.0.2/32, refuse_with: drop }";
    let setup = Setup::to([&backend]).process("max_connections: 500").listener(admission);
    let proxy = setup.listener("timeouts: { handshake: 1m }").start();
    let before = sockets(&proxy);
    let crowd: Vec<_> = (0..400).filter_map(|_| from(proxy.address("front"), 2).ok()).collect();
    proxy.refused("denied", 400);
    let held = sockets(&proxy) - before;
    assert!((1..=5 + 3).contains(&held), "{held} more sockets for {} clients", crowd.len());
    is_served(&proxy, &backend, 1);
}
