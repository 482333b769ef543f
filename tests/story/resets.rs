//! Aborts: a reset on one side is a reset on the other, soon, and never a clean end.

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use crate::support::{Backend, Blackhole, MB, Peer, Setup, Wait, send_across};

/// Each way of moving bytes has to notice by itself.
const ENGINES: [&str; 3] = ["relay: copy", "relay: splice", "relay: auto"];

/// Plays a session by each engine; says why it ended.
#[track_caller]
fn by_each_engine(backend: impl Fn() -> Backend, why: &str, play: impl Fn(Peer, Peer)) {
    for engine in ENGINES {
        let backend = backend();
        let proxy = Setup::to([&backend]).listener(engine).start();
        let (client, server) = proxy.session(&backend);
        play(client, server);
        assert_eq!(proxy.why(), why, "{engine}");
    }
}

/// One that takes little at once.
fn little() -> Backend {
    Backend::new().reads_little()
}

/// Has a session carry bytes both ways, and none any more.
#[track_caller]
fn rest(client: &mut Peer, server: &mut Peer) {
    send_across(client, server, MB);
    send_across(server, client, MB);
    thread::sleep(Duration::from_millis(50));
}

#[test]
fn client_resets_while_the_backend_is_dialled() {
    let hole = Blackhole::new();
    let proxy = Setup::to([hole.address()]).pool("connect: { timeout: 20s, deadline: 30s }").start();
    let mut client = proxy.connect();
    client.say(100);
    thread::sleep(Duration::from_millis(200));
    client.reset();
    assert_eq!(proxy.why(), "client_reset client connect");
    proxy.metric_becomes("peerway_listener_active_connections", 0.0);
    let backend = hole.open();
    assert!(backend.accept_within(Wait::For(Duration::from_secs(4))).is_none(), "the dial goes on");
}

#[test]
fn client_resets_an_idle_session() {
    by_each_engine(Backend::new, "client_reset client data", |mut client, mut server| {
        rest(&mut client, &mut server);
        client.reset();
        server.feel_reset();
    });
}

#[test]
fn server_resets_an_idle_session() {
    by_each_engine(Backend::new, "backend_reset backend data", |mut client, mut server| {
        rest(&mut client, &mut server);
        server.reset();
        client.feel_reset();
    });
}

#[test]
fn client_resets_a_session_that_has_carried_nothing() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    let (client, mut server) = proxy.session(&backend);
    client.reset();
    server.hear_reset();
    assert!(proxy.why().starts_with("client_reset client"));
}

/// One side resets behind the last of many bytes, of which the other one hears the first.
fn cut_short(mut sender: Peer, mut listener: Peer) {
    thread::scope(|scope| {
        scope.spawn(move || {
            sender.say(20 * MB);
            sender.reset();
        });
        listener.hear(MB);
        listener.hear_reset_within(Duration::from_secs(10));
    });
}

#[test]
fn the_one_who_sends_resets_in_mid_stream() {
    by_each_engine(Backend::new, "client_reset client data", |mut client, mut server| {
        send_across(&mut server, &mut client, 1);
        cut_short(client, server);
    });
    by_each_engine(Backend::new, "backend_reset backend data", |mut client, mut server| {
        send_across(&mut server, &mut client, 1);
        cut_short(server, client);
    });
}

#[test]
fn the_one_who_listens_resets_in_mid_stream() {
    by_each_engine(Backend::new, "backend_reset backend data", |mut client, mut server| {
        send_across(&mut server, &mut client, 1);
        thread::scope(|scope| {
            let sender = scope.spawn(|| client.try_say(1 << 40));
            server.hear(MB);
            server.reset();
            assert!(sender.join().unwrap().is_err(), "it could say all");
        });
    });
}

#[test]
fn client_resets_while_the_server_does_not_read() {
    by_each_engine(little, "client_reset client first_byte", |mut client, mut server| {
        client.say_until_stalled();
        client.reset();
        server.feel_reset();
    });
}

#[test]
fn server_resets_while_it_does_not_read() {
    by_each_engine(little, "backend_reset backend first_byte", |mut client, server| {
        client.say_until_stalled();
        server.reset();
        client.feel_reset();
    });
}

#[test]
fn server_resets_while_the_client_does_not_read() {
    by_each_engine(Backend::new, "backend_reset backend data", |client, mut server| {
        let mut client = client.reads_little();
        server.say_until_stalled();
        server.reset();
        client.feel_reset();
    });
}

#[test]
fn client_resets_after_its_own_end() {
    by_each_engine(Backend::new, "client_reset client closing", |mut client, mut server| {
        client.say(1000);
        client.finish();
        server.hear(1000);
        server.hear_end();
        client.reset();
        server.hear_reset_after_end();
    });
}

#[test]
fn server_resets_after_the_clients_end() {
    by_each_engine(Backend::new, "backend_reset backend closing", |mut client, mut server| {
        client.finish();
        server.hear_end();
        server.say(1000);
        client.hear(1000);
        server.reset();
        client.feel_reset();
    });
}

#[test]
fn client_resets_behind_an_end_that_could_not_be_delivered_yet() {
    for engine in ENGINES {
        let backend = Backend::new().reads_little();
        let proxy = Setup::to([&backend]).listener(engine).start();
        let (mut client, mut server) = proxy.session(&backend);
        client.say_until_stalled();
        client.finish();
        thread::sleep(Duration::from_millis(100));
        client.reset();
        server.feel_reset();
        assert!(proxy.why().starts_with("client_reset client"), "{engine}");
    }
}

/// One side closes while what the other one has said is unread.
fn close_unread(mut speaker: Peer, closer: Peer) {
    speaker.say(1000);
    thread::sleep(Duration::from_millis(100));
    closer.close();
    speaker.feel_reset();
}

#[test]
fn a_close_with_unread_bytes_is_an_abort() {
    by_each_engine(Backend::new, "client_reset client data", |mut client, mut server| {
        send_across(&mut server, &mut client, 1);
        close_unread(server, client);
    });
    by_each_engine(Backend::new, "backend_reset backend data", |mut client, mut server| {
        send_across(&mut server, &mut client, 1);
        close_unread(client, server);
    });
}

/// What a server says in the midst of an upload, closing with the rest unread, comes together with its reset.
#[test]
fn the_last_words_of_a_server_that_refuses_an_upload_arrive() {
    for engine in ENGINES {
        let backend = Backend::new();
        let proxy = Setup::to([&backend]).listener(engine).start();
        for round in 0..40 {
            let (mut client, mut server) = proxy.session(&backend);
            let upload = client.socket.try_clone().unwrap();
            let uploading = thread::spawn(move || while (&upload).write_all(&[0; 64 * 1024]).is_ok() {});
            let mut taken = 0;
            while taken < 300_000 {
                taken += (&server.socket).read(&mut [0; 64 * 1024]).unwrap();
            }
            server.say(13);
            server.close();
            uploading.join().unwrap();
            assert!(catch_unwind(AssertUnwindSafe(|| client.hear(13))).is_ok(), "{engine}, round {round}");
        }
    }
}
