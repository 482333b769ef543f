//! HTTP answers, played byte by byte.
#![allow(clippy::unwrap_used)]

use regex::bytes::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::super::fixture::{found, pair, says, survives_garbage, words};
use super::*;
use crate::config::plan::Pattern;
use crate::metrics::ProbeResult;

fn spec() -> plan::Http {
    let (method, path) = ("GET".into(), "/healthz?full=1".into());
    plan::Http { method, path, host: None, status: vec![(200, 299)], body: None, tls: false }
}

fn probe(spec: plan::Http) -> Http {
    Http::new(Arc::new(spec), None)
}

fn with_body(pattern: &str) -> Http {
    probe(plan::Http { body: Some(Pattern(Regex::new(pattern).unwrap())), ..spec() })
}

/// Reads a request, and gives its head.
async fn request(theirs: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(theirs.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// What `probe` finds in `answer`, after which the server closes.
async fn answered(probe: &Http, answer: &str) -> Result<(), ProbeError> {
    let answer = answer.to_owned();
    found(probe, |mut theirs| async move {
        request(&mut theirs).await;
        says(theirs, answer.as_bytes()).await;
    })
    .await
}

async fn wrong(probe: &Http, answer: &str) -> String {
    let error = answered(probe, answer).await.expect_err("not as expected");
    assert_eq!(error.result, ProbeResult::Unexpected);
    error.words
}

#[tokio::test]
async fn the_request_says_who_asks_whom_and_that_it_is_the_only_one() {
    for (host, expected) in [(None, "127.0.0.1:80"), (Some("x.example"), "x.example")] {
        let probe = probe(plan::Http { host: host.map(str::to_owned), ..spec() });
        let backend = async |mut theirs: UnixStream| {
            let head = request(&mut theirs).await;
            assert!(head.starts_with("GET /healthz?full=1 HTTP/1.1\r\n"), "{head}");
            let agent = concat!("user-agent: peerway/", env!("CARGO_PKG_VERSION"), " health probe");
            for line in [&format!("host: {expected}"), agent, "connection: close"] {
                assert!(head.to_lowercase().contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
            }
            says(theirs, b"HTTP/1.1 204 No Content\r\n\r\n").await;
        };
        assert_eq!(found(&probe, backend).await, Ok(()));
    }
}

#[tokio::test]
async fn a_unix_socket_is_called_localhost() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut line = Line::new(crate::net::Stream::try_from(ours).unwrap(), "unix:/run/x.sock".into());
    let probe = probe(spec());
    let backend = async {
        assert!(request(&mut theirs).await.contains("\r\nhost: localhost\r\n"));
        theirs.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await.unwrap();
    };
    assert_eq!(tokio::join!(probe.check(&mut line), backend).0, Ok(()));
}

#[tokio::test]
async fn statuses_are_good_when_they_are_expected() {
    let picky = probe(plan::Http { status: vec![(200, 204), (301, 301)], ..spec() });
    for good in ["200 OK", "204 No Content", "301 Moved Permanently"] {
        assert_eq!(answered(&picky, &format!("HTTP/1.1 {good}\r\nContent-Length: 0\r\n\r\n")).await, Ok(()));
    }
    let said = |status: &str| format!("HTTP/1.1 {status}\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
    let found = wrong(&picky, &said("302 Found")).await;
    assert_eq!(found, "status 302 Found, expected 200-204, 301");
    let unavailable = wrong(&probe(spec()), &said("503 Service Unavailable")).await;
    assert_eq!(unavailable, "status 503 Service Unavailable, expected 200-299");
    let own = wrong(&probe(spec()), &said("503 Draining\tnow")).await;
    assert_eq!(own, r"status 503 Draining\tnow, expected 200-299");
    assert_eq!(wrong(&probe(spec()), &said("599 ")).await, "status 599, expected 200-299");
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answered(&probe(spec()), answer).await, Ok(()));
}

#[tokio::test]
async fn a_body_matches_however_it_is_framed() {
    let probe = with_body("^all (is )?well$");
    for good in [
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nall is well",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nall is\r\n5\r\n well\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nall well",
    ] {
        assert_eq!(answered(&probe, good).await, Ok(()), "{good}");
    }
    let other = wrong(&probe, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nno!\n").await;
    assert_eq!(other, r"/^all (is )?well$/ matches nothing in the body, `no!\n`");
    let none = wrong(&probe, "HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(none, "/^all (is )?well$/ matches nothing in the body, which is empty");
    let short = wrong(&probe, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nall is well").await;
    assert!(short.starts_with("connection lost: ") || short.starts_with("it closed the connection"), "{short}");
}

#[tokio::test]
async fn a_body_is_looked_at_up_to_its_64th_kibibyte() {
    let large = |filler: usize| format!("HTTP/1.1 200 OK\r\n\r\n{}ok{}", "-".repeat(filler), "-".repeat(1 << 20));
    assert_eq!(answered(&with_body("ok"), &large(MOST_SEEN - 2)).await, Ok(()));
    let said = wrong(&with_body("ok"), &large(MOST_SEEN - 1)).await;
    assert!(said.starts_with("/ok/ matches nothing in the body, `---") && said.len() < 400, "{said}");
}

/// The head is enough, so a backend that never ends its body is well too.
#[tokio::test]
async fn a_body_that_nobody_asked_about_is_not_waited_for() {
    let (mut line, mut theirs) = pair();
    let probe = probe(spec());
    let backend = async {
        request(&mut theirs).await;
        theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n").await.unwrap();
    };
    let asking = async { tokio::join!(probe.check(&mut line), backend).0 };
    let found = tokio::time::timeout(std::time::Duration::from_secs(20), asking).await;
    assert_eq!(found.expect("no wait for the end of the body"), Ok(()));
}

#[tokio::test]
async fn an_answer_to_head_has_no_body() {
    let head = plan::Http { method: "HEAD".into(), ..spec() };
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    assert_eq!(answered(&probe(head.clone()), answer).await, Ok(()));
    let empty = plan::Http { body: Some(Pattern(Regex::new("^$").unwrap())), ..head };
    assert_eq!(answered(&probe(empty), answer).await, Ok(()));
}

#[tokio::test]
async fn who_answers_before_it_is_asked_has_answered() {
    let (mut line, mut theirs) = pair();
    theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\nok").await.unwrap();
    theirs.shutdown().await.unwrap();
    assert_eq!(with_body("ok").check(&mut line).await, Ok(()));
}

#[tokio::test]
async fn every_method_and_path_that_can_be_configured_does_something() {
    for (method, path) in
        [("CONNECT", "/"), ("get", "/%zz"), ("G/T", "/"), ("GET", "/a#b"), ("GET", "//x"), ("GET", "/\"<>\\^`{|}")]
    {
        let probe = probe(plan::Http { method: method.into(), path: path.into(), ..spec() });
        let found = found(&probe, async |theirs| says(theirs, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await);
        if let Err(error) = found.await {
            assert_eq!(error.result, ProbeResult::Local, "{method} {path}: {error}");
        }
    }
}

#[tokio::test]
async fn what_is_not_http_is_shown() {
    let ssh = wrong(&probe(spec()), "SSH-2.0-OpenSSH_9.2p1\r\n").await;
    assert!(ssh.starts_with(r"not HTTP: `SSH-2.0-OpenSSH_9.2p1\r\n` ("), "{ssh}");
    assert_eq!(wrong(&probe(spec()), "").await, "it closed the connection");
    assert_eq!(wrong(&probe(spec()), "HTTP/1.1 200").await, "it closed the connection after `HTTP/1.1 200`");
}

#[tokio::test]
async fn headers_are_bounded() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MOST_HEADERS + 1));
    let large = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(LARGEST_HEAD));
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(1 << 20));
    for answer in [many, large, endless] {
        assert_eq!(wrong(&probe(spec()), &answer).await, "headers of more than 16 KiB, or more than 100 of them");
    }
    let most = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MOST_HEADERS));
    assert_eq!(answered(&probe(spec()), &most).await, Ok(()));
}

#[tokio::test]
async fn a_reset_is_a_lost_connection() {
    let (mut line, mut theirs) = super::super::fixture::tcp_pair().await;
    let probe = probe(spec());
    let backend = async {
        theirs.read_u8().await.unwrap();
        crate::net::arm_reset(&theirs).unwrap();
        drop(theirs);
    };
    let found = tokio::join!(probe.check(&mut line), backend).0.unwrap_err();
    assert!(found.words.starts_with("connection lost: "), "{found}");
}

#[test]
fn garbage_is_survived() {
    let good: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\nT: u\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 Away\r\n\r\nok",
    ];
    survives_garbage(&with_body("ok"), &good, async |theirs| drop(request(theirs).await));
}

#[tokio::test]
async fn a_backend_that_says_nothing_is_waited_for_until_the_caller_has_had_enough() {
    let (mut line, _theirs) = pair();
    let probe = probe(spec());
    let waited = tokio::time::timeout(std::time::Duration::from_millis(50), probe.check(&mut line)).await;
    assert!(waited.is_err());
    line.hang_up().await;
}

#[tokio::test]
async fn one_byte_can_be_enough_to_see_that_it_is_not_http() {
    let probe = probe(spec());
    let said = words(&probe, async |mut theirs| {
        theirs.write_all(b"*").await.unwrap();
        theirs.read_to_end(&mut Vec::new()).await.unwrap();
    });
    let said = said.await;
    assert!(said.starts_with("not HTTP: `*` ("), "{said}");
}
