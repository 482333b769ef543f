//! Floods and slowness: everything a client can make the endpoint hold or wait for has an end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::fixture::{Fixture, read};

const ADMIN: &str = "admin: { listen: 127.0.0.1:0 }";

/// How long until the other side closes.
fn closed_after(mut stream: &TcpStream) -> Duration {
    let began = Instant::now();
    let mut sink = [0; 4096];
    while !matches!(stream.read(&mut sink), Ok(0) | Err(_)) {}
    began.elapsed()
}

#[test]
fn a_head_has_its_limits() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    let lines = |count: usize| (0..count).map(|i| format!("X-{i}: y\r\n")).collect::<String>();
    assert_eq!(server.ask("GET", "/healthz", &lines(50)).status, 200);
    assert_eq!(server.ask("GET", "/healthz", &lines(100)).status, 431);
    assert_eq!(server.ask("GET", "/healthz", &lines(10_000)).status, 431);
    assert_eq!(server.ask("GET", "/healthz", &format!("X: {}\r\n", "y".repeat(10_000))).status, 200);
    assert_eq!(server.ask("GET", "/healthz", &format!("X: {}\r\n", "y".repeat(20_000))).status, 431);
    let long = server.get(&format!("/{}", "y".repeat(20_000))).status;
    assert!(long == 414 || long == 431, "{long}");
    assert_eq!(server.raw("nonsense\r\n\r\n").status, 400);
}

#[test]
fn a_body_has_its_limits() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    assert_eq!(
        server.ask("GET", "/healthz", "Content-Length: 7\r\n\r\nhello").status,
        200,
        "with the last end of line"
    );
    server.ask("GET", "/healthz", "Content-Length: 1000000000\r\n").is_problem(413, "1 MiB");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let body = format!("Transfer-Encoding: chunked\r\n\r\n{}0\r\n", chunk.repeat(20));
    server.ask("GET", "/healthz", &body).is_problem(413, "1 MiB");
    let small = format!("Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n");
    assert_eq!(server.ask("GET", "/healthz", &small).status, 200);
}

#[test]
fn a_connection_serves_many_requests() {
    let fixture = Fixture::new(ADMIN);
    let mut stream = fixture.admin().connect();
    let one = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n";
    write!(stream, "{one}\r\n{one}\r\n{one}Connection: close\r\n\r\n").unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 3, "{all}");
}

#[test]
fn slow_and_silent_clients_are_closed() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    let silent = server.connect();
    let mut idle = server.connect();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut slow = server.connect();
    let began = Instant::now();
    for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ".iter().cycle() {
        if slow.write_all(&[*byte]).is_err() || began.elapsed() > Duration::from_secs(20) {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(began.elapsed() < Duration::from_secs(10), "one byte at a time: {:?}", began.elapsed());
    assert!(closed_after(&silent) < Duration::from_secs(5), "no byte");
    assert!(closed_after(&idle) < Duration::from_secs(5), "no second request");
}

#[test]
fn a_body_that_trickles_is_given_up() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    let mut stream = server.connect();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx").unwrap();
    let began = Instant::now();
    read(&stream).is_problem(408, "too long");
    assert!((8..14).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[test]
fn clients_beyond_the_limit_are_closed_and_others_not_hurt() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    let held: Vec<_> = (0..64).map(|_| server.connect()).collect();
    // The last of them is answered, so all have their place.
    let mut last = &held[63];
    last.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(last.read(&mut [0; 1000]).unwrap() > 0);
    let beyond = server.connect();
    assert!(closed_after(&beyond) < Duration::from_secs(2));
    drop(held);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(server.get("/healthz").status, 200);
}

/// Scrapers that ask and never read get no more than their share, and leave the others theirs.
#[test]
fn a_scraper_that_does_not_read_is_dropped() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    let mut stream = server.connect();
    let began = Instant::now();
    // Pipelined pages of a few KiB each, until the socket's buffers are full and we are stopped.
    let result = loop {
        if let Err(error) = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") {
            break error;
        }
        assert!(began.elapsed() < Duration::from_secs(19), "never dropped");
    };
    assert!(matches!(result.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{result}");
    assert_eq!(server.get("/healthz").status, 200);
}
