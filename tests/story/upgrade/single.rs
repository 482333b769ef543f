//! `single_active` over upgrades: never sessions on two backends at once, whichever process has them.

use std::io::ErrorKind;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Backend, PATIENCE, Peer, Proxy, Setup, TOP, Wait, eventually, send_across};

/// A proxy of two backends, `a` first, with more in the pool.
fn proxy(a: &Backend, b: &Backend, pool: &str) -> Proxy {
    let (a, b) = (a.address(), b.address());
    Setup::file(format!(
        "{TOP}listeners:\n  front: {{ bind: \"127.0.0.1:0\", pool: back }}\npools:\n  back: {{ single_active: true, \
         backends: [ {{ name: a, address: \"{a}\" }}, {{ name: b, address: \"{b}\" }} ]{pool} }}\n"
    ))
    .start()
}

fn drain(proxy: &Proxy, backend: &str) {
    assert_eq!(proxy.said(&["drain", &format!("back/{backend}")]).0, Some(0));
}

fn end((client, mut server): (Peer, Peer)) {
    client.close();
    server.hear_end();
    server.close();
}

/// Comes again and again until one is served there.
#[track_caller]
fn is_served(proxy: &Proxy, backend: &Backend) -> (Peer, Peer) {
    let (client, server) = eventually("served by the next backend", || {
        let mut client = Peer::try_connect(proxy.address("front")).ok()?;
        loop {
            if let Some(server) = backend.accept_within(Wait::For(Duration::from_millis(50))) {
                return Some((client, server));
            }
            match client.hear_whatever_within(Duration::from_millis(10)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => return None, // turned away
            }
        }
    });
    client.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut client, mut server) = (client.seeded(3, 4), server.seeded(4, 3));
    send_across(&mut client, &mut server, 1000);
    (client, server)
}

#[test]
fn the_next_backend_waits_for_sessions_of_the_old_process() {
    let (a, b) = (Backend::new(), Backend::new());
    let proxy = proxy(&a, &b, ", queue: { max: 10, timeout: 5m }");
    let mut old = proxy.session(&a);
    proxy.upgrade();
    end(proxy.session(&a)); // at once: the one that has them goes on having them
    drain(&proxy, "a");
    let mut waiting = proxy.connect().seeded(7, 8);
    waiting.say(10);
    proxy.metric_becomes("peerway_pool_queue_length", 1.0);
    assert!(b.accept_within(Wait::For(Duration::from_millis(1500))).is_none(), "two have sessions");
    send_across(&mut old.0, &mut old.1, 1000);
    end(old);
    let mut server = b.accept().seeded(8, 7);
    server.hear(10);
    send_across(&mut server, &mut waiting, 1000);
    end(is_served(&proxy, &b));
}

#[test]
fn without_a_queue_newcomers_are_refused_until_sessions_of_all_generations_have_ended() {
    let (a, b) = (Backend::new(), Backend::new());
    let proxy = proxy(&a, &b, "");
    let first = proxy.session(&a);
    proxy.upgrade();
    let second = proxy.session(&a);
    proxy.upgrade();
    drain(&proxy, "a");
    for left in [first, second] {
        for _ in 0..5 {
            proxy.is_turned_away();
            std::thread::sleep(Duration::from_millis(200));
        }
        end(left);
    }
    let on_b = is_served(&proxy, &b);
    // And back, by way of a process that has it from the one before.
    proxy.upgrade();
    assert_eq!(proxy.said(&["enable", "back/a"]).0, Some(0));
    drain(&proxy, "b");
    proxy.is_turned_away();
    end(on_b);
    is_served(&proxy, &a);
}

#[test]
fn who_waits_in_the_old_process_gets_the_next_backend_with_all_others() {
    let (a, b) = (Backend::new(), Backend::new());
    let proxy = proxy(&a, &b, ", queue: { max: 10, timeout: 5m }");
    let old = proxy.session(&a);
    drain(&proxy, "a");
    let early = proxy.connect();
    proxy.metric_becomes("peerway_pool_queue_length", 1.0);
    proxy.upgrade();
    let late = proxy.connect();
    proxy.metric_becomes("peerway_pool_queue_length", 2.0);
    assert!(b.accept_within(Wait::For(Duration::from_millis(1000))).is_none(), "two have sessions");
    end(old);
    let servers = [b.accept(), b.accept()];
    proxy.metric_becomes("peerway_pool_queue_length", 0.0);
    drop((early, late, servers));
}

#[test]
fn an_old_process_that_cannot_be_asked_counts_until_it_is_gone() {
    let (a, b) = (Backend::new(), Backend::new());
    let mut proxy = proxy(&a, &b, "");
    let (_client, _server) = proxy.session(&a);
    proxy.upgrade();
    proxy.signal(Signal::STOP);
    end(proxy.session(&a)); // nobody has to be asked
    drain(&proxy, "a");
    for _ in 0..10 {
        proxy.is_turned_away();
        std::thread::sleep(Duration::from_millis(200));
    }
    proxy.signal(Signal::KILL);
    proxy.exit_within(Duration::from_secs(5));
    is_served(&proxy, &b);
}

#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let (a, b) = (Backend::new(), Backend::new());
    let proxy = proxy(&a, &b, "");
    let old = proxy.session(&a);
    let good = std::fs::read_to_string(proxy.file()).unwrap();
    proxy.write(&format!("{good}nonsense: 1\n"));
    proxy.upgrade_fails(78);
    drain(&proxy, "a");
    proxy.is_turned_away();
    end(old);
    is_served(&proxy, &b);
}
