//! gRPC answers, played frame by frame, and one from a server of the library.
#![allow(clippy::unwrap_used)]

use hyper::header::HeaderValue;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::super::fixture::{found, says, survives_garbage, tcp_pair, words};
use super::*;
use crate::tls;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Headers by RFC 7541: 200 is entry 8 of the static table, all others are literals.
fn headers(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        match (*name, *value) {
            (":status", "200") => block.push(0x88),
            (name, value) => {
                block.extend([0, name.len() as u8]);
                block.extend(name.bytes());
                block.push(value.len() as u8);
                block.extend(value.bytes());
            }
        }
    }
    frame(HEADERS, END_HEADERS | flags, 1, &block)
}

const HEAD: &[(&str, &str)] = &[(":status", "200"), ("content-type", "application/grpc+proto")];

/// A whole answer with `message` and these trailers.
fn answer(message: &[u8], trailers: &[(&str, &str)]) -> Vec<u8> {
    let settings = frame(SETTINGS, 0, 0, b"");
    [settings, headers(0, HEAD), frame(DATA, 0, 1, message), headers(END_STREAM, trailers)].concat()
}

/// An answer that is trailers alone.
fn only(fields: &[(&str, &str)]) -> Vec<u8> {
    [frame(SETTINGS, 0, 0, b""), headers(END_STREAM, fields)].concat()
}

/// The next frame that the client says: its kind, its flags and what is in it; `None` at the end.
async fn heard(theirs: &mut UnixStream) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    theirs.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    theirs.read_exact(&mut payload).await.unwrap();
    Some((head[3], head[4], payload))
}

/// Reads up to the end of the request, and gives its message.
async fn request(theirs: &mut UnixStream) -> Vec<u8> {
    let mut preface = [0; 24];
    theirs.read_exact(&mut preface).await.unwrap();
    assert_eq!(preface, *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    loop {
        match heard(theirs).await.unwrap() {
            (DATA, END_STREAM, message) => return message,
            (kind, ..) => assert!([HEADERS, SETTINGS, 8].contains(&kind), "a frame of type {kind}"),
        }
    }
}

fn probe() -> Grpc {
    Grpc(None)
}

async fn wrong(answer: Vec<u8>) -> String {
    let probe = Grpc(Some("orders".into()));
    let backend = |mut theirs: UnixStream| async move {
        request(&mut theirs).await;
        says(theirs, &answer).await;
    };
    words(&probe, backend).await
}

#[tokio::test]
async fn a_service_that_serves_is_well_and_is_told_goodbye() {
    let backend = async |mut theirs: UnixStream| {
        assert_eq!(request(&mut theirs).await, b"\0\0\0\0\x08\x0a\x06orders");
        tokio::io::AsyncWriteExt::write_all(&mut theirs, &answer(SERVING, &[("grpc-status", "0")])).await.unwrap();
        let mut last = None;
        while let Some(frame) = heard(&mut theirs).await {
            last = Some(frame);
        }
        let (kind, _, payload) = last.unwrap();
        assert_eq!((kind, &payload[4..8]), (GOAWAY, &[0; 4][..]), "a goodbye without an error");
    };
    assert_eq!(found(&Grpc(Some("orders".into())), backend).await, Ok(()));
}

#[tokio::test]
async fn everything_but_serving_is_said() {
    let with = |message: &[u8]| wrong(answer(message, &[("grpc-status", "0")]));
    assert_eq!(with(b"\0\0\0\0\x02\x08\x02").await, "NOT_SERVING");
    assert_eq!(with(b"\0\0\0\0\x00").await, "UNKNOWN");
    assert_eq!(with(b"\0\0\0\0\x02\x08\x03").await, "SERVICE_UNKNOWN");
    assert_eq!(with(b"\0\0\0\0\x02\x08\x09").await, "serving status 9");
    assert_eq!(with(b"\0\0\0\0\x02\x08").await, r"a message that is cut short, `\x00\x00\x00\x00\x02\x08`");
    assert_eq!(with(&[SERVING, SERVING].concat()).await, "more than one message, where one was asked for");
    assert_eq!(with(b"\x01\0\0\0\x02\x08\x01").await, "a compressed message, which was not offered");
    assert_eq!(with(&[0; 2000]).await, "more than 1024 bytes of answer");
}

#[tokio::test]
async fn errors_of_grpc_are_told_in_words() {
    let unimplemented =
        [HEAD, &[("grpc-status", "12"), ("grpc-message", "unknown service %C3%A9 grpc.health.v1.Health")]];
    let expected = r"grpc-status 12 UNIMPLEMENTED: `unknown service \xc3\xa9 grpc.health.v1.Health`";
    assert_eq!(wrong(only(&unimplemented.concat())).await, expected);
    let unavailable = answer(b"", &[("grpc-status", "14"), ("grpc-message", &"x".repeat(125))]);
    assert_eq!(wrong(unavailable).await, format!("grpc-status 14 UNAVAILABLE: `{}…`", "x".repeat(120)));
    let unknown = only(&[HEAD, &[("grpc-status", "5"), ("grpc-message", "unknown service")]].concat());
    assert_eq!(wrong(unknown).await, "service `orders` unknown: `unknown service`");
    let silent = only(&[HEAD, &[("grpc-status", "5"), ("grpc-message", "")]].concat());
    assert_eq!(wrong(silent).await, "service `orders` unknown");
    assert_eq!(wrong(answer(SERVING, &[("grpc-status", "no")])).await, "a grpc-status of `no`");
    assert_eq!(wrong(answer(SERVING, &[("x", "y")])).await, "the answer has no grpc-status");
    // A message with a good status is not believed when the trailers take it back.
    assert_eq!(wrong(answer(SERVING, &[("grpc-status", "13")])).await, "grpc-status 13 INTERNAL");
}

#[tokio::test]
async fn answers_that_are_not_grpc_are_told_as_what_they_are() {
    assert_eq!(wrong(only(&[(":status", "404")])).await, "status 404 Not Found, not gRPC");
    let html = only(&[(":status", "200"), ("content-type", "text/html")]);
    assert_eq!(wrong(html).await, "content of type `text/html`, not gRPC");
    assert_eq!(wrong(Vec::new()).await, "it closed the connection");
    let http1 = words(&probe(), async |theirs| says(theirs, b"HTTP/1.1 400 Bad Request\r\n\r\n").await).await;
    assert_eq!(http1, r"not HTTP/2: `HTTP/1.1 400 Bad Request\r\n\r\n`");
    let refused = wrong([frame(SETTINGS, 0, 0, b""), frame(3, 0, 1, &[0, 0, 0, 7])].concat()).await;
    assert_eq!(refused, "stream error received: refused stream before processing any application logic");
}

#[tokio::test]
async fn floods_are_cut_off() {
    let large = "x".repeat(250);
    let fields: Vec<(&str, &str)> = std::iter::repeat_n(("x", large.as_str()), 60).collect();
    let headers_flood = [frame(SETTINGS, 0, 0, b""), headers(0, HEAD), headers(END_STREAM, &fields)].concat();
    let said = wrong(headers_flood).await;
    assert_eq!(said, "connection error detected: unspecific protocol error detected");
    let endless = [answer(&[0; 8000], &[])[..].to_vec(), vec![0; 1 << 20]].concat();
    assert_eq!(wrong(endless).await, "more than 1024 bytes of answer");
    let continuation =
        [frame(SETTINGS, 0, 0, b""), frame(HEADERS, 0, 1, &[0x88]), frame(9, 0, 1, &[0; 100]).repeat(10_000)];
    let said = wrong(continuation.concat()).await;
    assert!(said.contains("excessive load") && said.contains("too_many_continuations"), "{said}");
    let pings = [frame(SETTINGS, 0, 0, b""), frame(6, 0, 0, &[0; 8]).repeat(10_000)].concat();
    assert_eq!(wrong(pings).await, "it closed the connection");
}

#[test]
fn garbage_is_survived() {
    let good = answer(SERVING, &[("grpc-status", "0")]);
    let error = only(&[HEAD, &[("grpc-status", "12"), ("grpc-message", "no")]].concat());
    survives_garbage(&probe(), &[&good, &error], async |theirs| drop(request(theirs).await));
}

/// Inside TLS, to a server by the library that reads what the headers say.
#[tokio::test]
async fn the_request_is_what_servers_expect() {
    let (mut line, theirs) = tcp_pair().await;
    let expected = format!("https://{}/grpc.health.v1.Health/Check", line.address());
    let client = tls::Client::unverified().unwrap().offering(&[b"h2"]);
    let serving = async {
        let accepted = tls::fixture::server(&[&rustls::version::TLS13], &[b"h2"]).accept(theirs).await.unwrap();
        let mut connection = h2::server::handshake(accepted).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        assert_eq!((request.method(), request.uri().to_string()), (&Method::POST, expected));
        assert_eq!(request.headers()[CONTENT_TYPE], "application/grpc");
        assert_eq!(request.headers()[TE], "trailers");
        let head = Response::builder().header(CONTENT_TYPE, "application/grpc").body(()).unwrap();
        let mut body = respond.send_response(head, false).unwrap();
        body.send_data(Bytes::from_static(SERVING), false).unwrap();
        body.send_trailers(
            [(STATUS, HeaderValue::from_static("0"))].map(|(k, v)| (k.parse().unwrap(), v)).into_iter().collect(),
        )
        .unwrap();
        assert!(connection.accept().await.is_none(), "a goodbye, and no error");
    };
    let asking = async {
        line.secure(&client, "x").await.unwrap();
        let found = probe().check(&mut line).await;
        line.hang_up().await;
        found
    };
    assert_eq!(tokio::join!(asking, serving).0, Ok(()));
}
