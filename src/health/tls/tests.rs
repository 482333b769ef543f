//! Probes over TLS.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::build;
use super::super::fixture::{found, says, survives_garbage, tcp_pair};
use super::*;
use crate::config::plan;
use crate::metrics::ProbeResult;
use crate::tls::fixture::server;

#[tokio::test]
async fn a_handshake_is_enough_and_ends_with_a_close_notify() {
    for version in [&TLS12, &TLS13] {
        let (mut line, theirs) = tcp_pair().await;
        let acceptor = server(&[version], &[]);
        let serving = async {
            let mut accepted = acceptor.accept(theirs).await.unwrap();
            // An end without a close_notify would be an error, and so would a reset.
            let read = accepted.read_to_end(&mut Vec::new()).await;
            accepted.shutdown().await.unwrap();
            read
        };
        let probe = build(&plan::Probe::Tls);
        let asking = async {
            probe.check(&mut line).await.unwrap();
            assert!(line.is_secure());
            line.hang_up().await;
        };
        assert_eq!(tokio::join!(asking, serving).1.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_handshake_that_fails_is_counted_as_such() {
    let error =
        found(&*build(&plan::Probe::Tls), async |theirs| says(theirs, b"220 hello\r\n").await).await.unwrap_err();
    assert_eq!(error.result, ProbeResult::Tls);
    assert!(error.words.starts_with("not TLS: "), "{error}");
    let alert = found(&*build(&plan::Probe::Tls), async |theirs| says(theirs, &[21, 3, 3, 0, 2, 2, 40]).await).await;
    assert_eq!(alert.unwrap_err().words, "alert: handshake failure");
}

#[test]
fn garbage_is_survived() {
    let hello = b"\x16\x03\x03\x00\x31\x02\x00\x00\x2d\x03\x03................................\x00\x13\x01\x00\x00\x05\x00\x00\x00\x01\x00";
    survives_garbage(&*build(&plan::Probe::Tls), &[&[21, 3, 3, 0, 2, 1, 0], hello], async |_| {});
}

#[tokio::test]
async fn http_is_asked_inside_tls_by_its_host_name() {
    let (method, path, host) = ("GET".into(), "/".into(), Some("x.example:8443".into()));
    let spec = plan::Http { method, path, host, status: vec![(200, 200)], body: None, tls: true };
    let probe = build(&plan::Probe::Http(Arc::new(spec)));
    let backend = async |theirs| {
        let mut accepted = server(&[&TLS13], &[b"h2", b"http/1.1"]).accept(theirs).await.unwrap();
        let session = accepted.get_ref().1;
        assert_eq!((session.server_name(), session.alpn_protocol()), (Some("x.example"), Some(&b"http/1.1"[..])));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(accepted.read_u8().await.unwrap());
        }
        assert!(String::from_utf8(head).unwrap().contains("\r\nhost: x.example:8443\r\n"));
        accepted.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        assert_eq!(accepted.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    };
    assert_eq!(found(&*probe, backend).await, Ok(()));
}

/// A pool that speaks TLS hands over lines that are inside it already.
#[tokio::test]
async fn a_line_that_is_secure_is_not_secured_again() {
    let (mut line, theirs) = tcp_pair().await;
    let client = crate::tls::Client::unverified().unwrap();
    let acceptor = server(&[&TLS13], &[]);
    let (secured, accepted) = tokio::join!(line.secure(&client, "x"), acceptor.accept(theirs));
    secured.unwrap();
    let _open = accepted.unwrap();
    assert_eq!(Tls(client).check(&mut line).await, Ok(()));
}
