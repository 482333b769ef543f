//! Ends of stream: a FIN arrives after the last byte, in each direction by itself.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::support::{Backend, Blackhole, MB, Setup, eventually, send_across};

#[test]
fn client_half_closes_and_the_server_answers_50_mb_after() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    let (mut client, mut server) = proxy.session(&backend);
    client.say(1000);
    client.finish();
    server.hear(1000);
    server.hear_end();
    send_across(&mut server, &mut client, 50 * MB);
    server.finish();
    client.hear_end();
    let end = proxy.ended();
    assert_eq!((end["bytes_up"].as_u64(), end["bytes_down"].as_u64()), (Some(1000), Some(50 * MB)));
    assert_eq!((&end["cause"], &end["side"], &end["phase"]), (&"finished".into(), &"client".into(), &"closing".into()));
}

#[test]
fn server_half_closes_and_the_client_sends_50_mb_after() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    let (mut client, mut server) = proxy.session(&backend);
    server.say(1000);
    server.finish();
    client.hear(1000);
    client.hear_end();
    send_across(&mut client, &mut server, 50 * MB);
    client.finish();
    server.hear_end();
    assert_eq!(proxy.why(), "finished backend closing");
}

#[test]
fn client_sends_50_mb_and_closes_and_the_server_reads_2_s_later() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    let (mut client, mut server) = proxy.session(&backend);
    let sender = thread::spawn(move || {
        client.say(50 * MB);
        client.close();
    });
    thread::sleep(Duration::from_secs(2));
    server.hear(50 * MB);
    server.hear_end();
    sender.join().unwrap();
    server.close();
    assert_eq!(proxy.why(), "finished client closing");
}

#[test]
fn server_sends_what_fits_and_closes_and_the_client_reads_2_s_later() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    let (mut client, mut server) = proxy.session(&backend);
    server.say(MB);
    server.close();
    thread::sleep(Duration::from_secs(2));
    client.hear(MB);
    client.hear_end();
    client.close();
    assert_eq!(proxy.why(), "finished backend closing");
}

#[test]
fn a_session_without_a_byte_ends_cleanly() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    let (mut client, mut server) = proxy.session(&backend);
    client.finish();
    server.hear_end();
    server.finish();
    client.hear_end();
    let end = proxy.ended();
    assert_eq!((end["bytes_up"].as_u64(), end["bytes_down"].as_u64()), (Some(0), Some(0)));
    assert_eq!((&end["cause"], &end["side"]), (&"finished".into(), &"client".into()));
}

#[test]
fn an_end_that_arrives_while_the_backend_is_dialled_follows_the_bytes_before_it() {
    for bytes in [0, 100_000] {
        let hole = Blackhole::new();
        let proxy = Setup::to([hole.address()]).pool("connect: { timeout: 20s, deadline: 30s }").start();
        let mut client = proxy.connect();
        client.say(bytes);
        client.finish();
        thread::sleep(Duration::from_millis(300));
        let backend = hole.open();
        let mut server = backend.accept();
        server.hear(bytes);
        server.hear_end();
        send_across(&mut server, &mut client, MB);
        server.finish();
        client.hear_end();
        assert_eq!(proxy.why(), "finished client closing");
    }
}

#[test]
fn both_close_at_once_three_thousand_times() {
    const TIMES: usize = 3000;
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    for _ in 0..TIMES {
        let (client, server) = proxy.session(&backend);
        let together = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                together.wait();
                client.close();
            });
            together.wait();
            server.close();
        });
    }
    eventually("every session is over", || (proxy.active() == 0.0).then_some(()));
    let finished = proxy.metric("peerway_sessions_closed_total{cause=\"finished\"}");
    assert_eq!(finished, TIMES as f64, "ended otherwise: {:#?}", unclean(&proxy.access()));
}

fn unclean(access: &[String]) -> Vec<&String> {
    access.iter().filter(|line| !line.contains("\"cause\":\"finished\"")).take(3).collect()
}
