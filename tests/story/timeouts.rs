//! Limits of time: each ends the session by a reset on both sides and says so.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backend, Blackhole, Setup, send_across};

/// A limit of this length is set in the files below.
const LIMIT: Duration = Duration::from_millis(500);
/// By then it must have been enforced.
const SLACK: Duration = Duration::from_millis(5 * 500);

#[test]
fn an_idle_session_is_reset() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("timeouts: { idle: 500ms }").start();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 10);
    send_across(&mut server, &mut client, 10);
    let start = Instant::now();
    client.hear_reset_within(SLACK);
    assert!(start.elapsed() >= LIMIT * 9 / 10, "after {:?}", start.elapsed());
    server.hear_reset();
    assert_eq!(proxy.why(), "idle proxy data");
}

#[test]
fn a_byte_in_either_direction_keeps_a_session_alive() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("timeouts: { idle: 1s }").start();
    let (mut client, mut server) = proxy.session(&backend);
    for turn in 0..8 {
        thread::sleep(Duration::from_millis(300));
        if turn % 2 == 0 { send_across(&mut client, &mut server, 1) } else { send_across(&mut server, &mut client, 1) }
    }
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(300));
        send_across(&mut server, &mut client, 1);
    }
    client.close();
    server.hear_end();
}

#[test]
fn the_pools_idle_limit_beats_the_listeners() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("timeouts: { idle: 1h }").pool("timeouts: { idle: 500ms }").start();
    let (mut client, mut server) = proxy.session(&backend);
    client.hear_reset_within(SLACK);
    server.hear_reset();
    assert!(proxy.why().starts_with("idle proxy"));
}

#[test]
fn a_half_closed_session_is_reset_when_the_other_direction_falls_silent() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("timeouts: { half_closed: 500ms }").start();
    let (mut client, mut server) = proxy.session(&backend);
    client.finish();
    server.hear_end();
    for _ in 0..5 {
        thread::sleep(LIMIT / 3);
        send_across(&mut server, &mut client, 1);
    }
    client.hear_reset_within(SLACK);
    server.hear_reset_after_end();
    assert_eq!(proxy.why(), "half_closed_timeout proxy closing");
}

#[test]
fn a_session_is_reset_at_its_limit_whatever_it_does() {
    let backend = Backend::new().echo();
    let proxy = Setup::to([&backend]).listener("timeouts: { session: 500ms }").start();
    let start = Instant::now();
    let mut client = proxy.connect().seeded(3, 3);
    while client.try_say(1).is_ok() && start.elapsed() < SLACK {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() >= LIMIT * 9 / 10 && start.elapsed() < SLACK, "after {:?}", start.elapsed());
    assert_eq!(proxy.why(), "session_limit proxy data");
}

#[test]
fn a_peer_that_does_not_read_is_idle_too() {
    let backend = Backend::new().reads_little();
    let proxy = Setup::to([&backend]).listener("timeouts: { idle: 1s }").start();
    let (mut client, mut server) = proxy.session(&backend);
    client.say_until_stalled();
    thread::sleep(Duration::from_millis(500));
    server.hear_reset_within(Duration::from_secs(5));
    assert!(proxy.why().starts_with("idle proxy"));
}

#[test]
fn the_time_a_backend_took_to_answer_is_not_idleness() {
    let hole = Blackhole::new();
    let proxy = Setup::to([hole.address()])
        .listener("timeouts: { idle: 1s }")
        .pool("connect: { timeout: 20s, deadline: 30s, attempts: 1 }")
        .start();
    let mut client = proxy.connect();
    thread::sleep(Duration::from_millis(1500));
    let backend = hole.open();
    let mut server = backend.accept(); // 3 s after the start, when the kernel asks again
    thread::sleep(Duration::from_millis(600));
    send_across(&mut server, &mut client, 1);
}
