//! The two ends of a session inside TLS: clean ones are passed on as such, and a cut never looks like one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::{NAME, Site};
use crate::support::{Backend, MB, Peer, Proxy, TlsClient, TlsPeer, VERSIONS, resident_kib};
use rustls::SupportedProtocolVersion;
use rustls::version::TLS13;

/// A session in this version of TLS.
fn session(backend: &Backend, version: &'static SupportedProtocolVersion) -> (Proxy, TlsPeer, Peer) {
    let (proxy, authority) = Site::to(backend).start("");
    let client = TlsClient::new(&authority, None, &[version], &[]).connect(proxy.address("front"), NAME);
    (proxy, client, backend.accept())
}

/// One in which the client has said something.
fn greeted(backend: &Backend, version: &'static SupportedProtocolVersion) -> (Proxy, TlsPeer, Peer) {
    let (proxy, mut client, mut server) = session(backend, version);
    client.say(b"hello");
    assert_eq!(server.take(5), b"hello");
    (proxy, client, server)
}

#[test]
fn a_client_that_has_finished_still_hears_its_answer() {
    let backend = Backend::new();
    let (proxy, mut client, mut server) = session(&backend, &TLS13);
    client.say(b"question");
    client.finish();
    assert_eq!(server.take(8), b"question");
    server.hear_end();
    let answer = vec![b'a'; 5 * MB as usize];
    let listening = std::thread::spawn(move || client.hear_all().len());
    (&server.socket).write_all(&answer).unwrap();
    server.finish();
    assert_eq!(listening.join().unwrap(), answer.len());
    assert_eq!(proxy.why(), "finished client closing");
}

#[test]
fn a_backend_that_has_finished_is_a_close_notify() {
    for version in VERSIONS {
        let backend = Backend::new();
        let (proxy, mut client, server) = session(&backend, version);
        (&server.socket).write_all(b"bye").unwrap();
        server.close();
        assert_eq!(client.hear_all(), b"bye");
        client.finish();
        assert_eq!(proxy.why(), "finished backend closing");
    }
}

#[test]
fn a_client_that_is_cut_is_a_reset_for_the_backend() {
    for version in VERSIONS {
        for cut in [Shutdown::Write, Shutdown::Both] {
            let backend = Backend::new();
            let (proxy, client, mut server) = greeted(&backend, version);
            // FIN, and no close_notify before it.
            client.stream.sock.shutdown(cut).unwrap();
            server.hear_reset();
            assert!(proxy.why().starts_with("client_reset client"));
        }
    }
}

#[test]
fn a_backend_that_is_cut_is_a_reset_for_the_client() {
    for version in VERSIONS {
        let backend = Backend::new();
        let (proxy, mut client, server) = greeted(&backend, version);
        server.reset();
        client.hear_reset();
        assert!(proxy.why().starts_with("backend_reset backend"));
    }
}

/// What the client does not take is kept in records, all of it, so that nobody waits to read from the backend.
#[test]
fn a_backend_that_resets_is_heard_while_the_client_does_not_read() {
    for version in VERSIONS {
        let backend = Backend::new();
        let (proxy, authority) = Site::to(&backend).start("");
        let client = TlsClient::new(&authority, None, &[version], &[]);
        let socket = Peer::connect(proxy.address("front")).reads_little().socket;
        let mut client = client.over(TcpStream::from(socket), NAME).unwrap();
        let mut server = backend.accept();
        server.say_until_stalled();
        server.reset();
        assert_eq!(proxy.why(), "backend_reset backend data");
        client.hear_reset();
    }
}

#[test]
fn who_kills_the_proxy_is_heard_as_a_reset() {
    let backend = Backend::new();
    let (proxy, mut client, mut server) = greeted(&backend, &TLS13);
    proxy.signal(rustix::process::Signal::KILL);
    client.hear_reset();
    server.hear_reset();
}

/// Streams that have been under way for a while, and then are not read any more.
#[test]
fn clients_that_stop_reading_cost_a_bounded_amount_of_memory() {
    const SESSIONS: u64 = 40;
    let backend = Backend::new();
    let (proxy, authority) = Site::to(&backend).start("");
    let tls = TlsClient::new(&authority, None, &[&TLS13], &[]);
    let session = |_| {
        let mut client = tls.connect(proxy.address("front"), NAME);
        client.say(b"?");
        let mut server = backend.accept();
        assert_eq!(server.take(1), b"?");
        (client, server)
    };
    let mut sessions: Vec<_> = (0..SESSIONS).map(session).collect();
    let before = resident_kib(proxy.id());
    for (client, server) in &mut sessions {
        std::thread::scope(|scope| {
            scope.spawn(|| server.say_until_stalled());
            client.stream.read_exact(&mut vec![0; 3 * MB as usize]).unwrap();
        });
    }
    let each = resident_kib(proxy.id()).saturating_sub(before) / SESSIONS;
    assert!(each <= 2 * 64 + 16, "{each} KiB for each session that stands still");
}
