//! PostgreSQL's request for TLS: answered, routed by the hello behind it, and asked again of the backend.

use std::io::Write;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Backend, Peer, Proxy, Setup, TOP, Wait, eventually, hello, send_across};

const SSL: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSS: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
/// The first message of a session in the clear, for the user `a`.
const CLEAR: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0a\0\0";
const CANCEL: &[u8] = &[0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e, 1, 2, 3, 4, 5, 6, 7, 8];

struct Stage {
    proxy: Proxy,
    named: Backend,
    rest: Backend,
}

fn stage() -> Stage {
    let (named, rest) = (Backend::new(), Backend::new());
    let yaml = format!(
        "{TOP}listeners:\n  front:\n    bind: 127.0.0.1:0\n    starttls: postgres\n    pool: rest\n    timeouts: {{ sniff: 2s }}\n    \
         routes: [ {{ match: {{ sni: a.example }}, pool: named }} ]\npools:\n  named: {{ backends: '{}' }}\n  \
         rest: {{ backends: '{}', connect: {{ attempts: 1 }} }}\n",
        named.address(),
        rest.address()
    );
    Stage { proxy: Setup::file(yaml).start(), named, rest }
}

fn say(peer: &Peer, bytes: &[u8]) {
    (&peer.socket).write_all(bytes).unwrap();
}

impl Stage {
    fn client(&self, says: &[u8]) -> Peer {
        let client = self.proxy.connect();
        say(&client, says);
        client
    }

    #[track_caller]
    fn nobody_came(&self) {
        for backend in [&self.named, &self.rest] {
            assert!(backend.accept_within(Wait::For(Duration::from_millis(50))).is_none());
        }
    }

    #[track_caller]
    fn ended(&self, cause: &str, phase: &str) {
        let end = self.proxy.ended();
        assert_eq!((&end["cause"], &end["phase"]), (&cause.into(), &phase.into()), "{end}");
    }
}

#[test]
fn a_name_behind_the_request_leads_to_a_backend_that_is_asked_in_its_turn() {
    let stage = stage();
    for (name, backend, route) in
        [("a.example", &stage.named, Value::from("routes[0]")), ("b.example", &stage.rest, Value::Null)]
    {
        let mut client = stage.client(GSS);
        assert_eq!(client.take(1), b"N");
        say(&client, SSL);
        assert_eq!(client.take(1), b"S");
        let says = hello(name);
        say(&client, &says);
        let mut server = backend.accept();
        assert_eq!(server.take(8), SSL);
        server.hear_nothing(Duration::from_millis(100));
        say(&server, b"S");
        assert_eq!(server.take(says.len()), says);
        send_across(&mut client, &mut server, 100_000);
        send_across(&mut server, &mut client, 100_000);
        client.close();
        server.hear_end();
        server.close();
        let end = stage.proxy.ended();
        assert_eq!((&end["route"], &end["sni"], &end["cause"]), (&route, &name.into(), &"finished".into()));
        assert_eq!(end["bytes_up"], 100_000 + says.len(), "requests and answers are nobody's payload");
    }
}

#[test]
fn who_does_not_ask_certainly_names_nobody_unless_it_begins_at_once() {
    let stage = stage();
    for says in [CLEAR, CANCEL] {
        let client = stage.client(says);
        assert_eq!(stage.rest.accept().take(says.len()), says);
        client.close();
    }
    let says = hello("a.example");
    let _client = stage.client(&says);
    assert_eq!(stage.named.accept().take(says.len()), says, "a backend is not asked what nobody asked here");
}

/// Whoever can add bytes to the clear part must not have them taken for something inside TLS.
#[test]
fn bytes_behind_a_request_end_the_session() {
    let stage = stage();
    for says in [[SSL, CLEAR].concat(), [SSL, &hello("a.example")].concat(), [GSS, SSL].concat(), [SSL, b"x"].concat()]
    {
        stage.client(&says).hear_reset();
        stage.ended("handshake_failed", "intake");
    }
    stage.nobody_came();
    stage.proxy.logs("does not ask for TLS");
}

#[test]
fn what_is_not_postgres_is_not_served() {
    let stage = stage();
    for says in [&b"GET / HTTP/1.1\r\n"[..], &[0, 0, 0, 9, 9, 9, 9, 9, 9], &[0, 0, 0]] {
        let mut client = stage.client(says);
        // It may have been reset by then.
        let _ = client.socket.shutdown(std::net::Shutdown::Write);
        client.hear_reset();
        stage.ended("handshake_failed", "intake");
    }
    let mut client = stage.client(GSS);
    assert_eq!(client.take(1), b"N");
    say(&client, GSS);
    client.hear_reset();
    stage.ended("handshake_failed", "intake");
    stage.nobody_came();
}

#[test]
fn who_asks_must_begin_in_time_and_mean_it() {
    let stage = stage();
    for after in [None, Some(&b""[..]), Some(b"\x16\x03\x01"), Some(CLEAR)] {
        let mut client = stage.client(if after.is_some() { SSL } else { &SSL[..5] });
        if let Some(after) = after {
            assert_eq!(client.take(1), b"S");
            say(&client, after);
        }
        client.hear_reset_within(Duration::from_secs(10));
        stage.ended("sniff_undecided", "intake");
    }
    stage.proxy.connect().finish();
    stage.ended("client_reset", "intake");
    stage.nobody_came();
}

#[test]
fn a_backend_that_is_not_willing_has_failed() {
    let stage = stage();
    for answer in [&b"N"[..], b"E", b"SS"] {
        let mut client = stage.client(SSL);
        assert_eq!(client.take(1), b"S");
        say(&client, &hello("b.example"));
        let mut server = stage.rest.accept();
        assert_eq!(server.take(8), SSL);
        say(&server, answer);
        client.hear_reset();
        let end = stage.proxy.ended();
        assert_eq!((&end["cause"], &end["attempts"][0]["result"]), (&"connect_failed".into(), &"tls".into()), "{end}");
    }
    let series = "peerway_backend_connect_failures_total{pool=\"rest\",reason=\"tls\"}";
    eventually("counted", || (stage.proxy.scrape().get(series) == 3.0).then_some(()));
}
