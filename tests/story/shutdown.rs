//! The end of the process: asked politely it drains, asked twice it resets, killed it still tells no lie.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Backend, Blackhole, MB, Peer, Setup, eventually, send_across};

#[test]
fn sigterm_under_load_loses_no_byte() {
    let backend = Backend::new().echo();
    let mut proxy = Setup::to([&backend]).process("shutdown: { grace: 60s }").start();
    let to = proxy.address("front");
    thread::scope(|scope| {
        let clients: Vec<_> = (0..20).map(|seed| scope.spawn(move || steady(to, seed))).collect();
        thread::sleep(Duration::from_millis(300));
        proxy.signal(Signal::TERM);
        for client in clients {
            client.join().unwrap();
        }
    });
    assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
}

/// Talks for about a second and ends cleanly.
fn steady(to: std::net::SocketAddr, seed: u64) {
    let mut client = Peer::connect(to).seeded(seed, seed);
    for _ in 0..50 {
        client.say(20_000);
        client.hear(20_000);
        thread::sleep(Duration::from_millis(20));
    }
    client.finish();
    client.hear_end();
}

#[test]
fn sigterm_during_the_last_flush_loses_no_byte() {
    for engine in ["relay: copy", "relay: splice"] {
        let backend = Backend::new();
        let mut proxy = Setup::to([&backend]).listener(engine).process("shutdown: { grace: 30s }").start();
        let (mut client, mut server) = proxy.session(&backend);
        let sender = thread::spawn(move || {
            client.say(50 * MB);
            client.close();
        });
        thread::sleep(Duration::from_millis(500));
        proxy.signal(Signal::TERM);
        thread::sleep(Duration::from_millis(1500));
        server.hear(50 * MB);
        server.hear_end();
        sender.join().unwrap();
        server.close();
        assert_eq!(proxy.why(), "finished client closing", "{engine}");
        assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
    }
}

#[test]
fn after_sigterm_newcomers_are_refused_and_it_is_not_ready() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).process("shutdown: { delay: 1s, grace: 60s }").start();
    let (mut client, mut server) = proxy.session(&backend);
    assert_eq!(proxy.admin().get("/readyz").status, 200);
    proxy.signal(Signal::TERM);
    eventually("not ready", || (proxy.admin().get("/readyz").status == 503).then_some(()));
    assert_eq!(proxy.admin().get("/healthz").status, 200);
    eventually("nobody listens", || Peer::try_connect(proxy.address("front")).is_err().then_some(()));
    send_across(&mut client, &mut server, MB);
    send_across(&mut server, &mut client, MB);
}

#[test]
fn during_the_delay_newcomers_are_still_served() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).process("shutdown: { delay: 60s, grace: 1s }").start();
    proxy.signal(Signal::TERM);
    eventually("not ready", || (proxy.admin().get("/readyz").status == 503).then_some(()));
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 1000);
}

#[test]
fn at_the_end_of_grace_what_is_left_is_reset() {
    let backend = Backend::new();
    let mut proxy = Setup::to([&backend]).process("shutdown: { grace: 1s }").start();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 1000);
    send_across(&mut server, &mut client, 1000);
    let start = Instant::now();
    proxy.signal(Signal::INT);
    client.hear_reset_within(Duration::from_secs(5));
    server.hear_reset();
    assert!(start.elapsed() >= Duration::from_millis(450), "after {:?}", start.elapsed());
    assert_eq!(proxy.why(), "shutdown proxy data");
    assert_eq!(proxy.exit_within(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn a_second_sigterm_resets_all_and_fails_within_a_second() {
    let backend = Backend::new();
    let mut proxy = Setup::to([&backend]).process("shutdown: { grace: 60s }").start();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 1000);
    proxy.signal(Signal::TERM);
    client.hear_nothing(Duration::from_millis(300));
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    client.hear_reset();
    server.hear_reset();
    assert_eq!(proxy.exit_within(Duration::from_secs(5)).code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn with_no_session_sigterm_ends_it_at_once() {
    let mut proxy = Setup::to([Backend::refusing()]).process("shutdown: { grace: 60s }").start();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_within(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn killed_in_mid_stream_both_peers_see_a_reset() {
    for engine in ["relay: copy", "relay: splice"] {
        let backend = Backend::new();
        let proxy = Setup::to([&backend]).listener(engine).start();
        let (mut client, mut server) = proxy.session(&backend);
        let (mut stalled, mut silent) = proxy.session(&backend);
        send_across(&mut client, &mut server, MB);
        send_across(&mut server, &mut client, MB);
        stalled.say_until_stalled();
        proxy.signal(Signal::KILL);
        for peer in [&mut client, &mut server, &mut stalled, &mut silent] {
            peer.feel_reset();
        }
    }
}

#[test]
fn killed_after_a_half_close_both_peers_see_a_reset() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    let (mut client, mut server) = proxy.session(&backend);
    client.say(1000);
    client.finish();
    server.hear(1000);
    server.hear_end();
    proxy.signal(Signal::KILL);
    client.feel_reset();
    server.hear_reset_after_end();
}

#[test]
fn killed_while_it_dials_the_client_sees_a_reset() {
    let hole = Blackhole::new();
    let proxy = Setup::to([hole.address()]).pool("connect: { timeout: 20s, deadline: 30s }").start();
    let mut client = proxy.connect();
    client.say(1000);
    eventually("a session", || (proxy.active() == 1.0).then_some(()));
    proxy.signal(Signal::KILL);
    client.feel_reset();
}

/// With `overflow: wait` an accept loop waits for a place, and must hear of the drain all the same.
#[test]
fn a_full_process_that_drains_lets_nobody_new_into_its_queue() {
    let backend = Backend::new().echo();
    let mut proxy = Setup::to([&backend])
        .process("workers: { threads: 1 }\nmax_connections: 1\noverflow: wait\nshutdown: { grace: 20s }")
        .start();
    let mut first = proxy.connect().seeded(1, 1);
    first.say(1);
    first.hear(1);
    let mut second = proxy.connect().seeded(2, 2);
    second.say(1);
    thread::sleep(Duration::from_millis(100));
    proxy.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(300));
    let late = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    assert!(late.connect_timeout(&proxy.address("front").into(), Duration::from_millis(500)).is_err());
    first.finish();
    first.hear_end();
    second.hear(1); // it was in before, and is served
    second.finish();
    second.hear_end();
    assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
}

#[test]
fn a_path_that_someone_else_has_taken_stays() {
    let yaml = "admin: { listen: 'unix:admin.sock' }
listeners: { front: { bind: 'unix:front.sock', pool: back } }
pools: { back: { backends: [] } }
";
    let mut proxy = Setup::file(yaml).start();
    let (path, admin) = (proxy.dir().join("front.sock"), proxy.dir().join("admin.sock"));
    let take = |path: &std::path::Path| {
        std::fs::remove_file(path).unwrap();
        std::os::unix::net::UnixListener::bind(path).unwrap()
    };
    let _theirs = [take(&path), take(&admin)];
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
    for path in [path, admin] {
        std::os::unix::net::UnixStream::connect(&path).unwrap();
    }
}

#[test]
fn a_successor_keeps_its_unix_socket_when_its_predecessor_ends() {
    let backend = Backend::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("front.sock");
    let setup = || Setup::to([&backend]).bind(format!("unix:{}", path.display())).process("shutdown: { grace: 20s }");
    let mut old = setup().start();
    let client = Peer::connect_unix(&path);
    let server = backend.accept();
    old.signal(Signal::TERM);
    let by = Instant::now() + Duration::from_secs(5);
    while path.exists() {
        assert!(Instant::now() < by, "nobody new can come");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(std::os::unix::net::UnixStream::connect(&path).is_err());
    let _new = setup().start();
    client.close();
    server.close();
    assert_eq!(old.exit_within(Duration::from_secs(10)).code(), Some(0));
    Peer::connect_unix(&path);
    backend.accept();
}

/// Whose ends were delivered has finished, whoever else has been reset, also those that came after the signal.
#[test]
fn the_last_line_counts_what_became_of_whom() {
    let backend = Backend::new();
    let mut proxy = Setup::to([&backend]).process("shutdown: { delay: 5s, grace: 5s }").start();
    let mut sessions: Vec<_> = (0..2).map(|_| proxy.session(&backend)).collect();
    proxy.signal(Signal::TERM);
    eventually("the delay", || (proxy.admin().get("/readyz").status == 503).then_some(()));
    sessions.extend((0..2).map(|_| proxy.session(&backend)));
    let (mut client, mut server) = sessions.pop().unwrap();
    client.finish();
    server.hear_end();
    server.finish();
    client.hear_end();
    assert_eq!(proxy.exit_within(Duration::from_secs(30)).code(), Some(0));
    let line: serde_json::Value = serde_json::from_str(&proxy.logs("\"stopped\"")).unwrap();
    assert_eq!(["sessions", "finished", "reset"].map(|key| line[key].as_u64().unwrap()), [4, 1, 3], "{line}");
}
