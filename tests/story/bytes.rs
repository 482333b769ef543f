//! Bytes: each one, in its place, on its own session, in time, and at a bounded cost of memory.

use std::io::{Read, Write};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    Backend, Blackhole, MB, Peer, Proxy, Setup, cpu_time, descriptors, eventually, resident_kib, send_across,
};

#[test]
fn the_server_may_speak_first() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut server, &mut client, 100);
    send_across(&mut client, &mut server, 100);
    send_across(&mut server, &mut client, 5 * MB);
    client.close();
    server.hear_end();
}

#[test]
fn both_directions_at_once() {
    for engine in ["relay: copy", "relay: splice", "relay: auto"] {
        let backend = Backend::new().echo();
        let proxy = Setup::to([&backend]).listener(engine).start();
        let client = proxy.connect().seeded(7, 7);
        let (mut mouth, mut ear) = client.split();
        thread::scope(|scope| {
            scope.spawn(move || {
                mouth.say(100 * MB);
                mouth.finish();
            });
            ear.hear(100 * MB);
        });
        ear.hear_end();
        let end = proxy.ended();
        assert_eq!((end["bytes_up"].as_u64(), end["bytes_down"].as_u64()), (Some(100 * MB), Some(100 * MB)));
    }
}

#[test]
fn urgent_data_passes_as_data() {
    for engine in ["relay: copy", "relay: splice", "relay: auto"] {
        let backend = Backend::new();
        let proxy = Setup::to([&backend]).listener(engine).start();
        let (mut client, mut server) = proxy.session(&backend);
        send_across(&mut client, &mut server, MB);
        (&client.socket).write_all(b"ab").unwrap();
        client.socket.send_out_of_band(b"!").unwrap();
        (&client.socket).write_all(b"cd").unwrap();
        client.finish();
        let mut text = String::new();
        (&server.socket).read_to_string(&mut text).unwrap();
        assert_eq!(text, "ab!cd", "{engine}");
        (&server.socket).write_all(b"ef").unwrap();
        server.socket.send_out_of_band(b"!").unwrap();
        server.finish();
        text.clear();
        (&client.socket).read_to_string(&mut text).unwrap();
        assert_eq!(text, "ef!", "{engine}");
    }
}

#[test]
fn one_byte_each_10_ms_is_there_within_20_ms() {
    let backend = Backend::new().echo();
    let proxy = Setup::to([&backend]).start();
    let mut client = proxy.connect().seeded(5, 5);
    let mut late = 0;
    for _ in 0..100 {
        let start = Instant::now();
        client.say(1);
        client.hear(1);
        late += usize::from(start.elapsed() > 5 * Duration::from_millis(2 * 20));
        thread::sleep(Duration::from_millis(10));
    }
    assert!(late <= 5, "{late} of 100 bytes came late");
}

#[test]
fn a_peer_that_reads_slowly_still_gets_every_byte() {
    for engine in ["relay: copy", "relay: splice", "relay: auto"] {
        let backend = Backend::new();
        let proxy = Setup::to([&backend]).listener(engine).start();
        let (client, mut server) = proxy.session(&backend);
        let mut client = client.reads_little();
        thread::scope(|scope| {
            scope.spawn(|| {
                server.say(4 * MB);
                server.finish();
            });
            for _ in 0..40 {
                client.hear(20_000);
                thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(client.hear_all(), 4 * MB - 40 * 20_000, "{engine}");
        });
    }
}

#[test]
fn peers_that_do_not_read_cost_a_bounded_amount_of_memory() {
    const SESSIONS: u64 = 100;
    for engine in ["relay: copy", "relay: splice", "relay: auto"] {
        let backend = Backend::new();
        let proxy = Setup::to([&backend]).listener(engine).start();
        let mut sessions: Vec<(Peer, Peer)> = (0..SESSIONS).map(|_| proxy.session(&backend)).collect();
        // The control: the same sessions, each having carried its bytes.
        for (client, server) in &mut sessions {
            send_across(server, client, 200_000);
        }
        let before = resident_kib(proxy.id());
        thread::scope(|scope| {
            for (_, server) in &mut sessions {
                scope.spawn(|| server.say_until_stalled());
            }
        });
        let each = resident_kib(proxy.id()).saturating_sub(before) / SESSIONS;
        assert!(each <= 2 * 64 + 16, "{engine}: {each} KiB for each session that stands still");
    }
}

#[test]
fn sessions_that_stand_still_use_no_cpu() {
    for engine in ["relay: copy", "relay: splice"] {
        let (backend, hole) = (Backend::new().reads_little(), Blackhole::new());
        let listener = |pool| format!("  {pool}: {{ bind: 127.0.0.1:0, pool: {pool}, {engine} }}\n");
        let pool = |name, at| format!("  {name}: {{ backends: \"{at}\" }}\n");
        let (listeners, pools) =
            (["front", "hole"].map(listener), [pool("front", backend.address()), pool("hole", hole.address())]);
        let proxy = Setup::file(format!("listeners:\n{}pools:\n{}", listeners.concat(), pools.concat())).start();
        let _dialling = Peer::connect(proxy.address("hole"));
        let session = |_| {
            let (client, server) = proxy.session(&backend);
            (client.reads_little(), server)
        };
        let mut still: Vec<(Peer, Peer)> = (0..8).map(session).collect();
        thread::scope(|scope| {
            for (number, (client, server)) in still.iter_mut().enumerate() {
                scope.spawn(move || stand_still(number, client, server));
            }
        });
        let before = cpu_time(proxy.id());
        thread::sleep(Duration::from_secs(2));
        let busy = cpu_time(proxy.id()) - before;
        // 2 % of the time, five-fold.
        assert!(busy <= Duration::from_millis(5 * 40), "{engine}: {busy:?} of CPU in 2 s");
    }
}

/// Idle, stalled, ended in one direction, stalled with an end behind; each with a server that stalls or not.
fn stand_still(number: usize, client: &mut Peer, server: &mut Peer) {
    if number % 2 == 1 {
        client.say_until_stalled();
    }
    if number % 4 >= 2 {
        client.finish();
    }
    if number >= 4 {
        server.say_until_stalled();
    }
}

#[test]
fn two_thousand_sessions_at_once_keep_their_bytes_apart() {
    const SESSIONS: u64 = 2000;
    let backend = Backend::new().echo();
    let proxy = Setup::to([&backend]).start();
    let at_start = descriptors(proxy.id());
    let all_here = Arc::new(Barrier::new(SESSIONS as usize));
    let to = proxy.address("front");
    let clients: Vec<_> = (0..SESSIONS).map(|seed| talk(to, 1000 + seed, all_here.clone())).collect();
    for client in clients {
        client.join().unwrap();
    }
    settled(&proxy, at_start);
    assert_eq!(proxy.metric("peerway_sessions_closed_total{cause=\"finished\"}"), SESSIONS as f64);
    assert_eq!(proxy.metric("peerway_session_bytes_total{direction=\"up\"}"), (SESSIONS * 50_000) as f64);
}

/// A client on a thread of its own, which starts to talk when all others are connected too.
fn talk(to: std::net::SocketAddr, seed: u64, all_here: Arc<Barrier>) -> thread::JoinHandle<()> {
    let talk = move || {
        let mut client = Peer::connect(to).seeded(seed, seed);
        client.say(1);
        client.hear(1);
        all_here.wait();
        for _ in 0..4 {
            client.say(12_000);
            client.hear(12_000);
        }
        client.say(1999);
        client.finish();
        client.hear(1999);
        client.hear_end();
    };
    thread::Builder::new().stack_size(128 * 1024).spawn(talk).unwrap()
}

/// Gauges and descriptors are back where they started.
fn settled(proxy: &Proxy, descriptors_at_start: usize) {
    eventually("no session is left", || (proxy.active() == 0.0).then_some(()));
    eventually("descriptors are given back", || (descriptors(proxy.id()) <= descriptors_at_start + 32).then_some(()));
}

/// They are there when the proxy accepts it, and some of them are read before there is a backend.
#[test]
fn what_a_client_says_before_it_is_met_goes_first_and_once() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    for length in [0, 1, 4096, 4097, 50_000] {
        proxy.signal(Signal::STOP);
        let mut client = proxy.connect();
        client.say(length);
        client.finish();
        proxy.signal(Signal::CONT);
        let mut server = backend.accept();
        server.hear(length);
        server.hear_end();
        send_across(&mut server, &mut client, 1000);
        server.close();
        client.hear_end();
        let end = proxy.ended();
        assert_eq!((&end["cause"], &end["bytes_up"]), (&"finished".into(), &length.into()));
    }
}
