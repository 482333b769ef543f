//! How old processes end, and how all of them do.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Backend, Peer, is_gone, send_across};

use super::proxy;

#[test]
fn an_old_process_ends_with_its_last_session() {
    let backend = Backend::new();
    let mut proxy = proxy(&backend, "");
    let (mut client, mut server) = proxy.session(&backend);
    proxy.upgrade();
    send_across(&mut client, &mut server, 1000);
    client.finish();
    server.hear_end();
    client.hear_nothing(Duration::from_millis(300));
    send_across(&mut server, &mut client, 1000);
    server.finish();
    client.hear_end();
    assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 1000);
}

#[test]
fn grace_ends_old_sessions() {
    let backend = Backend::new();
    let mut proxy = proxy(&backend, "upgrade: { grace: 1s }");
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 1000);
    let start = Instant::now();
    proxy.upgrade();
    client.hear_reset_within(Duration::from_secs(6));
    server.hear_reset();
    assert!(start.elapsed() >= Duration::from_millis(450), "after {:?}", start.elapsed());
    assert_eq!(proxy.why(), "shutdown proxy first_byte");
    assert_eq!(proxy.exit_within(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn sigterm_to_an_old_process_ends_that_one_alone() {
    let backend = Backend::new();
    let mut proxy = proxy(&backend, "shutdown: { grace: 1s }");
    let (mut client, _server) = proxy.session(&backend);
    proxy.upgrade();
    let (mut new_client, mut new_server) = proxy.session(&backend);
    proxy.signal(Signal::TERM);
    client.hear_reset_within(Duration::from_secs(6));
    assert_eq!(proxy.exit_within(Duration::from_secs(5)).code(), Some(0));
    send_across(&mut new_client, &mut new_server, 1000);
    proxy.connect();
}

#[test]
fn sigterm_to_the_newest_ends_all_within_the_grace() {
    let backend = Backend::new();
    let mut proxy = proxy(&backend, "shutdown: { grace: 2s }");
    let (mut client, mut server) = proxy.session(&backend);
    let new = proxy.upgrade();
    let (mut new_client, _new_server) = proxy.session(&backend);
    proxy.signal_to(new, Signal::TERM);
    send_across(&mut client, &mut server, 1000);
    client.hear_reset_within(Duration::from_secs(10));
    new_client.hear_reset_within(Duration::from_secs(10));
    assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
    is_gone(new);
    assert!(Peer::try_connect(proxy.address("front")).is_err());
}

#[test]
fn a_second_sigterm_to_the_newest_ends_all_at_once() {
    let backend = Backend::new();
    let mut proxy = proxy(&backend, "shutdown: { grace: 60s }");
    let (mut client, _server) = proxy.session(&backend);
    let new = proxy.upgrade();
    let (mut new_client, _new_server) = proxy.session(&backend);
    proxy.signal_to(new, Signal::TERM);
    client.hear_nothing(Duration::from_millis(300));
    proxy.signal_to(new, Signal::TERM);
    client.hear_reset_within(Duration::from_secs(5));
    new_client.hear_reset_within(Duration::from_secs(5));
    assert_eq!(proxy.exit_within(Duration::from_secs(5)).code(), Some(1));
    is_gone(new);
}

#[test]
fn the_newest_waits_for_sessions_of_old_ones() {
    let backend = Backend::new();
    let proxy = proxy(&backend, "shutdown: { grace: 60s }");
    let (client, mut server) = proxy.session(&backend);
    let new = proxy.upgrade();
    proxy.signal_to(new, Signal::TERM);
    std::thread::sleep(Duration::from_millis(500));
    proxy.signal_to(new, Signal::HUP); // it is there
    client.close();
    server.hear_end();
    server.close();
    is_gone(new);
}

#[test]
fn sigusr2_upgrades_too() {
    let backend = Backend::new();
    let mut proxy = proxy(&backend, "");
    proxy.signal(Signal::USR2);
    proxy.logs("another process has taken over");
    assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 1000);
    let last = proxy.admin().json("/api/v1/upgrade");
    assert_eq!((&last["upgrade"]["by"], &last["upgrade"]["result"]), (&"signal".into(), &"ok".into()));
}

#[test]
fn an_old_process_takes_no_other_configuration() {
    let backend = Backend::new();
    let proxy = proxy(&backend, "");
    let (mut client, mut server) = proxy.session(&backend);
    proxy.upgrade();
    proxy.signal(Signal::HUP);
    let line = proxy.logs("configuration rejected");
    assert!(line.contains("the process is ending"), "{line}");
    send_across(&mut client, &mut server, 1000);
}
