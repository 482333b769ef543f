//! Reaching a backend: the next one when it fails, within bounds, and the truth when none answers.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backend, Blackhole, MB, Setup, send_across};

#[test]
fn no_client_notices_one_backend_of_three_that_refuses() {
    let (a, b) = (Backend::new().named("a"), Backend::new().named("b"));
    let proxy = Setup::to([a.address(), Backend::refusing(), b.address()]).start();
    let mut names: Vec<String> = (0..60).map(|_| proxy.connect().line().unwrap()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names, ["a", "b"]);
    assert!(proxy.metric("peerway_backend_connect_failures_total{reason=\"refused\"}") >= 1.0);
    assert_eq!(proxy.metric("peerway_sessions_closed_total{cause=\"connect_failed\"}"), 0.0);
}

#[test]
fn when_all_refuse_the_client_is_reset_soon_and_attempts_are_bounded() {
    let proxy = Setup::to([Backend::refusing(), Backend::refusing()]).pool("connect: { attempts: 3 }").start();
    proxy.is_turned_away();
    let end = proxy.ended();
    assert_eq!((&end["cause"], &end["phase"]), (&"connect_failed".into(), &"connect".into()));
    let attempts = end["attempts"].as_array().unwrap().len();
    assert!((1..=3).contains(&attempts), "{attempts} attempts");
    assert_eq!(proxy.metric("peerway_backend_connect_failures_total"), attempts as f64);
}

#[test]
fn a_client_that_speaks_meanwhile_is_reset_when_nobody_answers() {
    let hole = Blackhole::new();
    let proxy = Setup::to([hole.address()]).pool("connect: { attempts: 1, timeout: 300ms }").start();
    let mut client = proxy.connect();
    client.say(1000);
    client.hear_reset_within(5 * Duration::from_millis(300));
    assert!(proxy.why().starts_with("connect_failed"));
}

#[test]
fn a_pool_without_backends_resets_its_clients() {
    let proxy = Setup::to::<String>([]).start();
    proxy.is_turned_away();
    assert!(proxy.why().starts_with("no_backend"));
    assert_eq!(proxy.metric("peerway_pool_unavailable_total{pool=\"back\",reason=\"empty\"}"), 1.0);
}

#[test]
fn a_backend_that_does_not_answer_is_given_up_for_the_next() {
    let (hole, good) = (Blackhole::new(), Backend::new().named("good"));
    let setup = Setup::to([hole.address(), good.address()]).pool("connect: { timeout: 300ms }");
    let proxy = setup.start();
    let start = Instant::now();
    for _ in 0..4 {
        assert_eq!(proxy.connect().line().unwrap(), "good");
    }
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(start.elapsed() < 4 * 5 * Duration::from_millis(300));
    assert!(proxy.metric("peerway_backend_connect_failures_total{reason=\"timeout\"}") >= 1.0);
}

#[test]
fn all_attempts_together_end_at_the_deadline() {
    let holes = [Blackhole::new(), Blackhole::new()];
    let setup = Setup::to([holes[0].address(), holes[1].address()]);
    let proxy = setup.pool("connect: { timeout: 400ms, attempts: 100, deadline: 1s }").start();
    let start = Instant::now();
    proxy.connect().hear_reset_within(5 * Duration::from_secs(1));
    assert!(start.elapsed() >= Duration::from_millis(900), "after {:?}", start.elapsed());
    let end = proxy.ended();
    assert_eq!((&end["cause"], &end["phase"]), (&"connect_failed".into(), &"connect".into()));
    assert!(end["attempts"].as_array().unwrap().len() <= 4);
}

#[test]
fn a_backend_that_dies_in_mid_stream_is_not_a_clean_end() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    let (mut client, mut server) = proxy.session(&backend);
    thread::scope(|scope| {
        let sender = scope.spawn(|| client.try_say(1 << 40));
        server.hear(MB);
        // What a process leaves behind when it is killed: a closed socket with bytes nobody read.
        server.close();
        assert!(sender.join().unwrap().is_err());
    });
    assert_eq!(proxy.why(), "backend_reset backend first_byte");
}

#[test]
fn a_backend_that_comes_back_is_used_again() {
    let backend = Backend::new();
    let address = backend.address();
    let proxy = Setup::to([address]).pool("connect: { attempts: 1 }").start();
    drop(backend);
    proxy.is_turned_away();
    let backend = Backend::at(address);
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 1000);
}

#[test]
fn a_backend_may_be_named_by_its_host() {
    let backend = Backend::new();
    let proxy = Setup::to([format!("localhost:{}", backend.address().port())]).start();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 1000);
}

#[test]
fn what_the_client_says_while_it_waits_is_not_lost() {
    let hole = Blackhole::new();
    let proxy = Setup::to([hole.address()]).pool("connect: { timeout: 20s, deadline: 30s }").start();
    let mut client = proxy.connect();
    client.say(300_000);
    let backend = hole.open();
    let mut server = backend.accept();
    server.hear(300_000);
    send_across(&mut client, &mut server, MB);
    send_across(&mut server, &mut client, MB);
}
