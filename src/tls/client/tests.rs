//! Handshakes with real and with odd servers.
#![allow(clippy::unwrap_used)]

use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::super::fixture::server;
use super::*;

/// What a server of `versions` and `protocols` learns from a client of anybody that calls it `host`.
async fn met(
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
    host: &str,
) -> (Option<ProtocolVersion>, Option<String>, Option<Vec<u8>>) {
    let (ours, theirs) = duplex(4096);
    let acceptor = server(versions, protocols);
    let client = Client::unverified().unwrap().offering(&[b"http/1.1"]);
    let (secured, accepted) = tokio::join!(client.handshake(host, ours), acceptor.accept(theirs));
    let (mut secured, mut accepted) = (secured.unwrap(), accepted.unwrap());
    secured.write_all(b"hello").await.unwrap();
    secured.shutdown().await.unwrap();
    let mut heard = String::new();
    accepted.read_to_string(&mut heard).await.expect("a close_notify");
    assert_eq!(heard, "hello");
    let session = accepted.get_ref().1;
    (session.protocol_version(), session.server_name().map(str::to_owned), session.alpn_protocol().map(<[u8]>::to_vec))
}

/// Why there is no handshake with a server that says `answer` and ends.
async fn refused(answer: &[u8]) -> String {
    let (ours, mut theirs) = duplex(4096);
    let client = Client::unverified().unwrap();
    let answering = async {
        theirs.write_all(answer).await.unwrap();
        theirs.shutdown().await.unwrap();
        let _ = theirs.read_to_end(&mut Vec::new()).await;
    };
    tokio::join!(client.handshake("x", ours), answering).0.unwrap_err().0
}

#[tokio::test]
async fn who_only_asks_shakes_hands_with_anybody() {
    for version in [&TLS12, &TLS13] {
        let (spoken, ..) = met(&[version], &[], "another.example:443").await;
        assert_eq!(spoken, Some(version.version));
    }
}

#[tokio::test]
async fn host_names_are_sent_and_addresses_are_not() {
    for (host, expected) in [
        ("x.example:443", Some("x.example")),
        ("X.Example", Some("x.example")),
        ("x.example.", Some("x.example")),
        ("192.0.2.1:443", None),
        ("192.0.2.1", None),
        ("[::1]:443", None),
        ("[::1]", None),
        ("::1", None),
        ("unix:/run/x.sock", None),
        ("not a name", None),
        ("", None),
    ] {
        let (_, sent, _) = met(&[&TLS13], &[], host).await;
        assert_eq!(sent.as_deref(), expected, "{host}");
    }
}

#[tokio::test]
async fn protocols_are_offered() {
    let (.., protocol) = met(&[&TLS13], &[b"h2", b"http/1.1"], "x").await;
    assert_eq!(protocol.as_deref(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn alerts_are_told_in_words() {
    let (ours, theirs) = duplex(4096);
    let client = Client::unverified().unwrap().offering(&[b"http/1.1"]);
    let acceptor = server(&[&TLS13], &[b"h2"]);
    let (secured, accepted) = tokio::join!(client.handshake("x", ours), acceptor.accept(theirs));
    assert!(accepted.is_err());
    assert_eq!(secured.unwrap_err().0, "alert: no application protocol");
    let alert = |code: u8| [21, 3, 3, 0, 2, 2, code];
    assert_eq!(refused(&alert(40)).await, "alert: handshake failure");
    assert_eq!(refused(&alert(48)).await, "alert: unknown ca");
    assert_eq!(refused(&alert(199)).await, "alert: number 199");
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told_from_who_leaves() {
    let ssh = refused(b"SSH-2.0-OpenSSH_9.2p1\r\n").await;
    assert!(ssh.starts_with("not TLS: "), "{ssh}");
    assert_eq!(refused(b"").await, "it closed the connection during the handshake");
}

#[test]
fn words_of_peers_are_escaped_and_cut() {
    let odd = rustls::Error::General(format!("\x1b[31m“{}", "x".repeat(1000)));
    let said = words(&io::Error::other(odd));
    assert!(said.contains(r"\u{1b}[31m\u{201c}xxx") && said.ends_with('…') && said.len() < 300, "{said}");
}
