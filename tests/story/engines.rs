//! How bytes are moved: splice where it pays, and no pipe for those who say nothing.

use crate::support::{Backend, MB, Setup, eventually, pipes, send_across};

#[test]
fn large_transfers_are_spliced() {
    for engine in ["relay: splice", "relay: auto"] {
        let backend = Backend::new();
        let proxy = Setup::to([&backend]).listener(engine).start();
        let (mut client, mut server) = proxy.session(&backend);
        send_across(&mut server, &mut client, 50 * MB);
        proxy.metric_becomes("peerway_relay_bytes_total", 50e6);
        let spliced = proxy.metric("peerway_relay_bytes_total{engine=\"splice\"}");
        assert!(spliced >= 45e6, "{engine}: only {spliced} bytes were spliced");
    }
}

#[test]
fn copy_never_splices() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("relay: copy").start();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut server, &mut client, 10 * MB);
    proxy.metric_becomes("peerway_relay_bytes_total{engine=\"copy\"}", 10e6);
    assert_eq!(proxy.metric("peerway_relay_bytes_total{engine=\"splice\"}"), 0.0);
}

#[test]
fn small_messages_are_copied_by_auto() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("relay: auto").start();
    let (mut client, mut server) = proxy.session(&backend);
    for _ in 0..200 {
        send_across(&mut client, &mut server, 100);
        send_across(&mut server, &mut client, 100);
    }
    proxy.metric_becomes("peerway_relay_bytes_total{engine=\"copy\"}", 40_000.0);
}

#[test]
fn an_idle_session_holds_no_pipe() {
    const SESSIONS: usize = 60;
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("relay: splice").start();
    let mut open = Vec::new();
    for _ in 0..SESSIONS {
        let (mut client, mut server) = proxy.session(&backend);
        send_across(&mut server, &mut client, MB);
        send_across(&mut client, &mut server, MB);
        open.push((client, server));
    }
    // What the workers keep for the next transfer does not grow with the sessions.
    eventually("pipes are given back", || (pipes(proxy.id()) < SESSIONS / 2).then_some(()));
}

#[test]
fn bytes_are_counted_while_the_session_lives() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 3 * MB);
    send_across(&mut server, &mut client, 2 * MB);
    proxy.metric_becomes("peerway_session_bytes_total{listener=\"front\",pool=\"back\",direction=\"up\"}", 3e6);
    proxy.metric_becomes("peerway_session_bytes_total{direction=\"down\"}", 2e6);
    proxy.metric_becomes("peerway_backend_bytes_total{pool=\"back\",direction=\"up\"}", 3e6);
    let listed = &proxy.admin().json("/api/v1/connections")["connections"][0];
    assert_eq!((listed["bytes"]["up"].as_u64(), listed["bytes"]["down"].as_u64()), (Some(3 * MB), Some(2 * MB)));
}
