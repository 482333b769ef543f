//! Listeners that come, go, move and change their names, under load.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Backend, MB, Peer, Proxy, Setup, TOP, descriptors, eventually, free_port, resident_kib, send_across,
};

use super::Steady;

/// A file with these listeners, each a name, an address and more of it, before one pool.
fn listeners(listeners: &[(&str, &str, &str)], backend: SocketAddr) -> String {
    let lines: String = listeners
        .iter()
        .map(|(name, bind, more)| format!("  {name}: {{ bind: {bind}, pool: back{more} }}\n"))
        .collect();
    format!("{TOP}listeners:\n{lines}pools:\n  back: {{ backends: [ \"{backend}\" ] }}\n")
}

const ANY: &str = "'127.0.0.1:0'";

/// The address that a listener has now.
#[track_caller]
fn now_at(proxy: &Proxy, listener: &str) -> SocketAddr {
    let shown = proxy.admin().json("/api/v1/listeners");
    let found = shown["listeners"].as_array().unwrap().iter().find(|shown| shown["name"] == listener);
    found.unwrap_or_else(|| panic!("no {listener} in {shown}"))["bound"][0].as_str().unwrap().parse().unwrap()
}

/// Who gets through leaves with a reset, so that no session stays behind.
fn is_gone(address: SocketAddr) -> Option<()> {
    Peer::try_connect(address).map(Peer::reset).is_err().then_some(())
}

#[test]
fn one_that_is_added_serves() {
    let backend = Backend::new();
    let proxy = Setup::file(listeners(&[("front", ANY, "")], backend.address())).start();
    let before = proxy.address("front");
    proxy.change_to(&listeners(&[("front", ANY, ""), ("second", ANY, "")], backend.address()));
    assert_eq!(proxy.address("front"), before, "a port that the kernel chose stays");
    for address in [before, now_at(&proxy, "second")] {
        let mut client = Peer::connect(address);
        let mut server = backend.accept();
        send_across(&mut client, &mut server, MB);
    }
    assert_eq!(proxy.metric("peerway_listener_connections_total{listener=\"second\"}"), 1.0);
    let shown = proxy.admin().json("/api/v1/listeners");
    assert_eq!(shown["listeners"][1]["bound"][0], now_at(&proxy, "second").to_string());
}

#[test]
fn one_that_is_removed_keeps_its_sessions_and_takes_no_more() {
    let backend = Backend::new();
    let both = listeners(&[("front", ANY, ""), ("gone", ANY, "")], backend.address());
    let proxy = Setup::file(&both).start();
    let address = now_at(&proxy, "gone");
    let mut client = Peer::connect(address);
    let mut server = backend.accept();
    proxy.change_to(&listeners(&[("front", ANY, "")], backend.address()));
    eventually("nobody listens there", || is_gone(address));
    send_across(&mut client, &mut server, MB);
    send_across(&mut server, &mut client, MB);
    let state = || {
        let shown = proxy.admin().json("/api/v1/listeners");
        let gone = shown["listeners"].as_array().unwrap().iter().find(|listener| listener["name"] == "gone").cloned();
        gone.map(|listener| listener["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(state().as_deref(), Some("draining"));
    proxy.metric_becomes("peerway_listener_active_connections{listener=\"gone\"}", 1.0);
    client.finish();
    server.hear_end();
    server.finish();
    client.hear_end();
    eventually("its end", || proxy.access().iter().any(|line| line.contains("\"finished\"")).then_some(()));
    eventually("it is forgotten", || state().is_none().then_some(()));
    assert!(!proxy.admin().get("/metrics").body.contains("listener=\"gone\""));
    // And it may come back.
    proxy.change_to(&both);
    Peer::connect(now_at(&proxy, "gone"));
    backend.accept();
}

/// So many clients who have said something at a listener with one place, of which the first is served; the others stand
/// in the queue of the listening socket (`overflow: wait`) when it is removed.
fn in_the_queue_of_a_removed_listener(backend: SocketAddr, clients: u64) -> (Proxy, SocketAddr, Vec<Peer>) {
    let yaml = |names: &[(&str, &str, &str)]| {
        format!("workers: {{ threads: 1 }}\nmax_connections: 1\noverflow: wait\n{}", listeners(names, backend))
    };
    let proxy = Setup::file(yaml(&[("front", ANY, ""), ("gone", ANY, "")])).start();
    let address = now_at(&proxy, "gone");
    let mut clients: Vec<Peer> = (0..clients).map(|seed| Peer::connect(address).seeded(seed, seed)).collect();
    for client in &mut clients {
        client.say(10);
    }
    clients[0].hear(10);
    proxy.change_to(&yaml(&[("front", ANY, "")]));
    (proxy, address, clients)
}

#[test]
fn who_waits_in_the_queue_of_a_removed_listener_is_served() {
    let backend = Backend::new().echo();
    let (proxy, address, clients) = in_the_queue_of_a_removed_listener(backend.address(), 12);
    for (index, mut client) in clients.into_iter().enumerate() {
        if index > 0 {
            client.hear(10);
        }
        client.finish();
        client.hear_end();
        assert_eq!(proxy.why(), "finished client closing", "{index}");
    }
    eventually("nobody listens there", || is_gone(address));
}

/// However long that takes: a place may be free only when a session ends.
#[test]
fn who_waits_long_in_the_queue_of_a_removed_listener_is_served() {
    let backend = Backend::new().echo();
    let (proxy, _, clients) = in_the_queue_of_a_removed_listener(backend.address(), 3);
    for mut client in clients {
        thread::sleep(Duration::from_millis(2500));
        client.finish();
        client.hear_all();
        assert_eq!(proxy.why(), "finished client closing");
    }
}

#[test]
fn a_listener_with_another_name_keeps_its_sockets() {
    let backend = Backend::new().echo();
    let port = free_port();
    let bind = format!("'127.0.0.1:{port}'");
    let named = |name: &str| listeners(&[("admin-only", ANY, ""), (name, &bind, "")], backend.address());
    let proxy = Setup::file(named("one")).start();
    let mut living = Peer::connect(([127, 0, 0, 1], port).into()).seeded(900, 900);
    living.say(1000);
    living.hear(1000);
    let steady = Steady::at(([127, 0, 0, 1], port).into(), 4);
    for name in ["two", "one", "three", "four", "two"] {
        thread::sleep(Duration::from_millis(200));
        proxy.change_to(&named(name));
    }
    thread::sleep(Duration::from_millis(200));
    assert!(steady.end() > 50);
    living.say(MB);
    living.hear(MB);
    assert!(proxy.metric("peerway_listener_connections_total{listener=\"two\"}") > 0.0);
}

#[test]
fn listeners_come_and_go_under_load_and_no_byte_is_lost() {
    let backend = Backend::new().echo();
    let front = format!("'127.0.0.1:{}'", free_port());
    let with = |others: &[(&str, &str, &str)]| {
        listeners(&[&[("front", front.as_str(), "")], others].concat(), backend.address())
    };
    let proxy = Setup::file(with(&[])).start();
    let steady = Steady::at(proxy.address("front"), 4);
    let (other, third) = (format!("'127.0.0.1:{}'", free_port()), format!("'127.0.0.1:{}'", free_port()));
    for round in 0..6 {
        proxy.change_to(&with(&[("other", &other, ""), ("third", &third, ", relay: copy")]));
        let mut client = Peer::connect(now_at(&proxy, "other")).seeded(round, round);
        client.say(MB / 4);
        // Moved, its address taken by another one, while it has a session.
        proxy.change_to(&with(&[("other", &third, "")]));
        client.hear(MB / 4);
        client.finish();
        client.hear_end();
        proxy.change_to(&with(&[]));
    }
    let served = steady.served();
    assert!(steady.end() >= served && served > 50, "{served}");
}

/// An address that takes in another one of the same port: the two are never bound by different listeners for long.
#[test]
fn from_one_address_to_all_and_back() {
    let backend = Backend::new().echo();
    let port = free_port();
    let bound = |address: &str| listeners(&[("front", &format!("'{address}:{port}'"), "")], backend.address());
    let proxy = Setup::file(bound("127.0.0.1")).start();
    let serves = |address: [u8; 4]| {
        let mut client = Peer::connect((address, port).into()).seeded(5, 5);
        client.say(1000);
        client.hear(1000);
    };
    serves([127, 0, 0, 1]);
    proxy.change_to(&bound("0.0.0.0"));
    thread::sleep(Duration::from_millis(300));
    serves([127, 0, 0, 1]);
    serves([127, 0, 0, 2]);
    proxy.change_to(&bound("127.0.0.1"));
    thread::sleep(Duration::from_millis(300));
    serves([127, 0, 0, 1]);
    eventually("nobody listens there", || is_gone(([127, 0, 0, 2], port).into()));
}

#[test]
fn unix_sockets_come_and_go_with_their_files() {
    let backend = Backend::new();
    let proxy = Setup::file(listeners(&[("front", ANY, "")], backend.address())).start();
    let path = proxy.dir().join("front.sock");
    let with = |mode: &str| {
        listeners(
            &[("front", ANY, ""), ("local", &format!("{{ address: 'unix:front.sock'{mode} }}"), "")],
            backend.address(),
        )
    };
    for _ in 0..3 {
        proxy.change_to(&with(""));
        let mut client = Peer::connect_unix(&path);
        let mut server = backend.accept();
        proxy.change_to(&with(", mode: '0600'"));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        proxy.change_to(&listeners(&[("front", ANY, "")], backend.address()));
        assert!(!path.exists() && UnixStream::connect(&path).is_err());
        send_across(&mut client, &mut server, MB);
    }
    // Another spelling of the same path is the same socket, and a path that another process has taken is that one's.
    proxy.change_to(&with(""));
    proxy.change_to(&with("").replace("unix:front.sock", "unix:./front.sock"));
    send_across(&mut Peer::connect_unix(&path), &mut backend.accept(), 1000);
    std::fs::remove_file(&path).unwrap();
    let theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
    proxy.change_to(&listeners(&[("front", ANY, "")], backend.address()));
    UnixStream::connect(&path).unwrap();
    drop(theirs);
    std::fs::remove_file(&path).unwrap();
    // What a refused configuration would have bound is given up again.
    let taken = Backend::new();
    let bad = with("").replace("pools:", &format!("  taken: {{ bind: '{}', pool: back }}\npools:", taken.address()));
    proxy.refuses(&bad);
    assert!(!path.exists());
}

#[test]
fn on_remove_decides_about_the_sessions_of_a_listener() {
    let backend = Backend::new();
    let gone = |how: &str| {
        // One that comes back has its old sessions again, so each has a name of its own.
        let name = how.trim_matches(['{', ' ']).split(':').next().unwrap();
        listeners(&[("front", ANY, ""), (name, ANY, &format!(", on_remove: {how}"))], backend.address())
    };
    let stays = listeners(&[("front", ANY, "")], backend.address());
    let proxy = Setup::file(gone("keep")).start();
    let sessions = |name: &str, count: usize| -> Vec<(Peer, Peer)> {
        let address = now_at(&proxy, name);
        (0..count).map(|_| (Peer::connect(address), backend.accept())).collect()
    };
    let (mut kept, mut kept_server) = sessions("keep", 1).remove(0);
    proxy.change_to(&stays);
    kept.hear_nothing(Duration::from_millis(500));

    proxy.change_to(&gone("reset"));
    let mut reset = sessions("reset", 2);
    proxy.change_to(&stays);
    for (client, server) in &mut reset {
        client.hear_reset_within(Duration::from_secs(2));
        server.hear_reset();
        assert!(proxy.why().starts_with("removed proxy"));
    }
    send_across(&mut kept, &mut kept_server, 10);

    proxy.change_to(&gone("{ drain: 2s }"));
    let mut drained = sessions("drain", 4);
    let start = Instant::now();
    proxy.change_to(&stays);
    thread::sleep(Duration::from_secs(1));
    let ended = proxy.access().iter().filter(|line| line.contains("\"removed\"")).count() - 2;
    assert!((1..4).contains(&ended) || start.elapsed() > Duration::from_secs(2), "{ended} of 4 after half the time");
    for (client, _) in &mut drained {
        client.hear_reset_within(Duration::from_secs(10));
    }
    assert!(start.elapsed() > Duration::from_millis(1000), "spread over the time: {:?}", start.elapsed());
    send_across(&mut kept, &mut kept_server, 10);
}

#[test]
fn fifty_reloads_in_five_seconds() {
    let backend = Backend::new().echo();
    let front = format!("'127.0.0.1:{}'", free_port());
    let proxy = Setup::file(listeners(&[("front", &front, "")], backend.address())).start();
    let steady = Steady::at(proxy.address("front"), 4);
    let start = Instant::now();
    for round in 0..50 {
        let idle = format!(", timeouts: {{ idle: {}s }}", 100 + round);
        let other = ("other", ANY, "");
        let front = ("front", front.as_str(), idle.as_str());
        let both = [front, other];
        proxy.change_to(&listeners(if round % 2 == 0 { &both } else { &both[..1] }, backend.address()));
        thread::sleep((Duration::from_millis(100) * round).saturating_sub(start.elapsed()));
    }
    steady.end();
    assert_eq!(proxy.generation(), 51);
}

#[test]
fn many_reloads_leave_nothing_behind() {
    let backend = Backend::new().echo();
    let front = format!("'127.0.0.1:{}'", free_port());
    let proxy = Setup::file(listeners(&[("front", &front, "")], backend.address())).start();
    let steady = Steady::at(proxy.address("front"), 2);
    let rounds = |count: usize| {
        for round in 0..count {
            let log = format!(", log: {{ access: {{ to: access{}.log }} }}", round % 3);
            let pool = format!(
                "{}  spare{}: {{ backends: [ '127.0.0.1:1', '127.0.0.1:{}' ] }}\n",
                listeners(
                    &[("front", front.as_str(), log.as_str()), ("other", ANY, "")][..1 + round % 2],
                    backend.address()
                ),
                round % 5,
                2 + round % 7
            );
            proxy.change_to(&pool);
        }
    };
    let settled = || {
        proxy.change_to(&listeners(&[("front", &front, "")], backend.address()));
        thread::sleep(Duration::from_millis(1500));
        resident_kib(proxy.id())
    };
    rounds(250);
    let before = settled();
    rounds(250);
    let after = settled();
    assert!(steady.end() > 100);
    eventually("descriptors are closed", || (descriptors(proxy.id()) < 60).then_some(()));
    assert!(after < before + before / 10 + 2048, "{before} KiB became {after} KiB");
}
