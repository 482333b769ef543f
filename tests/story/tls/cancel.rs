//! PostgreSQL's request to cancel a query, which older clients make in the clear though TLS ends here.

use std::io::Write;
use std::time::Duration;

use super::{NAME, Site};
use crate::support::{Backend, Peer, Proxy, TlsClient, Wait};

const SSL: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const CLEAR: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0a\0\0";
const CANCEL: &[u8] = &[0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e, 1, 2, 3, 4, 5, 6, 7, 8];

fn client(proxy: &Proxy, says: &[u8]) -> Peer {
    let client = proxy.connect();
    (&client.socket).write_all(says).unwrap();
    client
}

#[track_caller]
fn is_refused(proxy: &Proxy, backend: &Backend, says: &[u8]) {
    client(proxy, says).hear_reset();
    assert_eq!(proxy.why(), "handshake_failed client intake");
    assert!(backend.accept_within(Wait::For(Duration::from_millis(50))).is_none());
}

#[test]
fn it_goes_on_as_it_is_and_nothing_else_does() {
    for auth in ["", ", client_auth: { ca: ca.pem, mode: optional }"] {
        let backend = Backend::new();
        let (proxy, authority) = Site::to(&backend).listener("starttls: postgres").start(auth);
        for cut in [16, 8, 3] {
            let mut client = client(&proxy, &CANCEL[..cut]);
            if cut < 16 {
                assert!(backend.accept_within(Wait::For(Duration::from_millis(30))).is_none());
                (&client.socket).write_all(&CANCEL[cut..]).unwrap();
            }
            let mut server = backend.accept();
            assert_eq!(server.take(16), CANCEL);
            server.close();
            client.hear_end();
            client.close();
            let end = proxy.ended();
            assert_eq!((&end["cause"], &end["bytes_up"], &end["sni"]), (&"finished".into(), &16.into(), &().into()));
        }
        is_refused(&proxy, &backend, CLEAR);
        is_refused(&proxy, &backend, &[CANCEL, b"x"].concat());
        is_refused(&proxy, &backend, &[SSL, CANCEL].concat());
        let mut client = client(&proxy, SSL);
        assert_eq!(client.take(1), b"S");
        let mut inside = TlsClient::trusting(&authority).over(client.socket.into(), NAME).unwrap();
        inside.say(CANCEL);
        assert_eq!(backend.accept().take(16), CANCEL);
    }
}

#[test]
fn where_every_client_shows_a_certificate_it_does_not() {
    let backend = Backend::new();
    let (proxy, _) = Site::to(&backend).listener("starttls: postgres").start(", client_auth: { ca: ca.pem }");
    is_refused(&proxy, &backend, CANCEL);
    proxy.logs("where each client must show a certificate");
}
