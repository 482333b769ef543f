//! Limits on bytes: kept in each direction by itself, by both engines, followed on reload, and no idleness.
//!
//! A limit is a bound from below on the time that bytes take, whatever else the machine does; from above there is much
//! slack.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backend, MB, Peer, Proxy, Setup, TOP, cpu_time, send_across};

/// What comes at once.
const AHEAD: f64 = 0.1;

/// The time in which `bytes` may have come at the earliest.
fn at_least(bytes: u64, rate: u64) -> Duration {
    Duration::from_secs_f64((bytes as f64 / rate as f64 - AHEAD - 0.05).max(0.0))
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn way(from: &mut Peer, to: &mut Peer, length: u64) -> Duration {
    timed(|| send_across(from, to, length))
}

/// A session of the client at 127.0.0.`number`.
fn session(proxy: &Proxy, backend: &Backend, number: u8) -> (Peer, Peer) {
    let client = Peer::try_connect_from(([127, 0, 0, number], 0).into(), proxy.address("front")).unwrap();
    (client, backend.accept())
}

#[test]
fn each_direction_of_each_session_keeps_to_its_own() {
    for engine in ["copy", "splice", "auto"] {
        let backend = Backend::new();
        let setup = Setup::to([&backend]).listener(&format!("relay: {engine}"));
        let proxy = setup.listener(&format!("bandwidth: {{ per_connection: {}B/s }}", 4 * MB)).start();
        let (client, server) = proxy.session(&backend);
        let (least, most) = (at_least(6 * MB, 4 * MB), Duration::from_secs(15));
        let (mut client_says, mut client_hears) = client.split();
        let (mut server_says, mut server_hears) = server.split();
        let whole = timed(|| {
            thread::scope(|scope| {
                let up = scope.spawn(|| way(&mut client_says, &mut server_hears, 6 * MB));
                let down = scope.spawn(|| way(&mut server_says, &mut client_hears, 6 * MB));
                for took in [up.join().unwrap(), down.join().unwrap()] {
                    assert!((least..most).contains(&took), "{engine}: {took:?}");
                }
            });
        });
        assert!(whole < 2 * least, "{engine}: both ways at once take no longer than one: {whole:?}");
        let moved = proxy.metric(&format!("peerway_relay_bytes_total{{engine=\"{engine}\"}}"));
        assert!(engine == "auto" || moved > 6e6, "{engine} moved {moved}");
    }
}

#[test]
fn what_one_direction_waits_for_does_not_hold_up_the_other() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("bandwidth: { per_connection: 100KiB/s }").start();
    let (client, server) = proxy.session(&backend);
    let (mut client_says, mut client_hears) = client.split();
    let (mut server_says, mut server_hears) = server.split();
    thread::scope(|scope| {
        // Some ten seconds' worth, of which the test waits for two.
        scope.spawn(|| drop(server_says.try_say(MB)));
        scope.spawn(|| client_hears.hear(150_000));
        let mut longest = Duration::ZERO;
        for _ in 0..40 {
            longest = longest.max(timed(|| send_across(&mut client_says, &mut server_hears, 100)));
            thread::sleep(Duration::from_millis(20));
        }
        assert!(longest < Duration::from_secs(1), "a hundred bytes waited for {longest:?}");
    });
}

#[test]
fn the_sessions_of_a_client_share_and_others_have_their_own() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener(&format!("bandwidth: {{ per_client: {}B/s }}", 4 * MB)).start();
    let mut sessions: Vec<_> = [1, 1, 1, 2].map(|number| session(&proxy, &backend, number)).into();
    let mut other = sessions.pop().unwrap();
    thread::scope(|scope| {
        let mine: Vec<_> = sessions
            .iter_mut()
            .map(|(client, server)| scope.spawn(move || timed(|| send_across(server, client, 3 * MB))))
            .collect();
        let alone = timed(|| send_across(&mut other.1, &mut other.0, 3 * MB));
        let mine: Vec<_> = mine.into_iter().map(|thread| thread.join().unwrap()).collect();
        let (first, last) = (mine.iter().min().unwrap(), mine.iter().max().unwrap());
        assert!(*last >= at_least(9 * MB, 4 * MB) && *last < Duration::from_secs(20), "{mine:?}");
        assert!(*first > *last / 2, "equal parts: {mine:?}");
        assert!(alone < *last, "another client waits for none of them: {alone:?} {mine:?}");
    });
}

/// A client that comes anew for each piece gets no more than one that stays.
#[test]
fn to_come_again_brings_nothing() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener(&format!("bandwidth: {{ per_client: {MB}B/s }}")).start();
    let took = timed(|| {
        for _ in 0..20 {
            let (mut client, mut server) = session(&proxy, &backend, 1);
            send_across(&mut server, &mut client, MB / 10);
            client.reset();
        }
    });
    assert!(took >= at_least(2 * MB, MB), "{took:?}");
}

fn file(backend: &Backend, more: &str) -> String {
    let address = backend.address();
    format!(
        "{TOP}listeners:\n  front: {{ bind: \"127.0.0.1:0\", pool: back{more} }}\n\
         pools:\n  back: {{ backends: [ \"{address}\" ] }}\n"
    )
}

#[test]
fn a_reload_changes_it_for_living_sessions() {
    let backend = Backend::new();
    let proxy = Setup::file(file(&backend, "")).start();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut server, &mut client, MB);
    proxy.change_to(&file(&backend, &format!(", bandwidth: {{ per_connection: {MB}B/s }}")));
    let took = timed(|| send_across(&mut server, &mut client, 2 * MB));
    assert!(took >= at_least(2 * MB, MB), "{took:?}");
    // So slow that what is there already would take a day.
    proxy.change_to(&file(&backend, ", bandwidth: { per_client: 20B/s, per_connection: 20B/s }"));
    thread::scope(|scope| {
        scope.spawn(|| server.say(5 * MB));
        client.hear(10);
        let lifted = Instant::now();
        proxy.change_to(&file(&backend, ""));
        client.hear(5 * MB - 10);
        assert!(lifted.elapsed() < Duration::from_secs(10), "{:?}", lifted.elapsed());
    });
}

#[test]
fn to_wait_for_a_turn_is_neither_idle_nor_busy() {
    let backend = Backend::new();
    let limits = "bandwidth: { per_client: 100B/s }";
    let proxy = Setup::to([&backend]).listener(limits).listener("timeouts: { idle: 1s, half_closed: 1s }").start();
    // Each has a turn of 25 bytes, and four of them a second: every one waits for three seconds.
    let mut sessions: Vec<_> = (0..12).map(|_| session(&proxy, &backend, 1)).collect();
    for (_, server) in &mut sessions {
        server.say(10_000);
        server.finish();
    }
    let (started, before) = (Instant::now(), cpu_time(proxy.id()));
    thread::sleep(Duration::from_secs(5));
    let busy = cpu_time(proxy.id()) - before;
    assert!(busy < started.elapsed() / 5, "{busy:?} of CPU in {:?}", started.elapsed());
    assert_eq!(proxy.active(), 12.0);
    for (client, _) in &mut sessions {
        client.hear(1);
    }
    // Without anything to wait for they are idle like others.
    let (mut client, _server) = session(&proxy, &backend, 2);
    client.hear_reset_within(Duration::from_secs(10));
}

/// What a session is routed by is not for free either: whoever came with little would pay nothing.
#[test]
fn first_bytes_count_like_those_behind_them() {
    let backend = Backend::new();
    let setup = Setup::to([&backend]).listener("bandwidth: { per_connection: 500B/s }");
    let proxy = setup.listener("routes: [ { match: { prefix: never }, action: reject } ]").start();
    let (mut client, mut server) = (proxy.connect(), Duration::ZERO);
    let took = timed(|| {
        client.say(2000);
        let mut peer = backend.accept();
        server = timed(|| peer.hear(2000));
        send_across(&mut client, &mut peer, 10);
    });
    assert!(took >= at_least(2000, 500) && took < Duration::from_secs(20), "{took:?}");
    assert!(server >= at_least(1500, 500), "bit by bit: {server:?}");
}

#[test]
fn whoever_waits_hears_of_a_reset() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("bandwidth: { per_connection: 20B/s }").start();
    let (mut client, mut server) = proxy.session(&backend);
    server.say(10_000);
    client.hear(1);
    server.reset();
    client.hear_reset();
    assert_eq!(proxy.ended()["cause"], "backend_reset");
}
