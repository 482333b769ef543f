//! Who may ask: foreign sites, tokens, unix sockets.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use peerway::admin::{Endpoint, EndpointError};
use peerway::config::plan::{Admin, AdminAddress, Protect};

use crate::fixture::{Fixture, Server, read};

const ADMIN: &str = "admin: { listen: 127.0.0.1:0 }";

fn with_host(server: &Server, host: &str) -> u16 {
    server.raw(&format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).status
}

#[test]
fn a_foreign_host_is_refused() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    for host in ["127.0.0.1", "localhost:9901", "[::1]:80", "10.1.2.3"] {
        assert_eq!(with_host(&server, host), 200, "{host}");
    }
    for host in ["evil.example", "evil.example:9901", "127.0.0.1.evil.example", "localhost.evil.example", ""] {
        assert_eq!(with_host(&server, host), 421, "{host}");
    }
}

#[test]
fn the_host_is_one_and_the_same() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    server.raw("GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n").is_problem(400, "more than one");
    server.raw("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").is_problem(400, "no Host");
    server.raw("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n").is_problem(400, "request line");
    assert_eq!(server.raw("GET /healthz HTTP/1.0\r\n\r\n").status, 200, "old probes name no host");
}

#[test]
fn a_scraper_may_know_the_metrics_endpoint_by_any_name() {
    let fixture = Fixture::new(ADMIN);
    assert_eq!(with_host(&fixture.metrics(), "peerway.prod.example:9902"), 200);
}

#[test]
fn a_foreign_origin_is_refused() {
    let fixture = Fixture::new(ADMIN);
    for server in [fixture.admin(), fixture.metrics()] {
        let asked = |origin: &str| server.ask("GET", "/healthz", &format!("Origin: {origin}\r\n"));
        assert_eq!(asked(&format!("http://{}", server.address)).status, 200);
        for origin in ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", ""] {
            asked(origin).is_problem(403, "other sites");
        }
    }
}

fn protected(listen: &str, protect: &str) -> (Fixture, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, " s3cret\n").unwrap();
    let token = token.display();
    (Fixture::new(&format!("admin: {{ listen: \"{listen}\", token_file: {token}, protect: {protect} }}")), dir)
}

const RIGHT: &str = "Authorization: Bearer s3cret\r\n";
const WRONG: [&str; 5] = [
    "",
    "Authorization: Bearer s3cre\r\n",
    "Authorization: Bearer s3crets\r\n",
    "Authorization: Basic s3cret\r\n",
    "Authorization: \r\n",
];

#[test]
fn with_protect_all_only_health_is_open() {
    let (fixture, _dir) = protected("127.0.0.1:0", "all");
    let server = fixture.admin();
    assert_eq!((server.get("/healthz").status, server.get("/readyz").status), (200, 200));
    for path in ["/", "/metrics", "/api/v1/pools", "/api/v1/connections"] {
        for wrong in WRONG {
            let answer = server.ask("GET", path, wrong);
            answer.is_problem(401, "token");
            assert!(answer.head.contains("www-authenticate: Bearer\r\n"), "{}", answer.head);
        }
        assert_eq!(server.ask("GET", path, RIGHT).status, 200);
    }
    assert_eq!(server.ask("DELETE", "/api/v1/connections/1", WRONG[1]).status, 401);
    assert_eq!(server.ask("DELETE", "/api/v1/connections/1", RIGHT).status, 404);
}

#[test]
fn on_the_network_writes_need_the_token() {
    let (fixture, _dir) = protected("0.0.0.0:0", "writes");
    let server = fixture.admin();
    assert_eq!(server.get("/api/v1/pools").status, 200);
    server.ask("DELETE", "/api/v1/connections/1", "").is_problem(401, "Bearer");
    assert_eq!(server.ask("DELETE", "/api/v1/connections/1", RIGHT).status, 404);
}

#[test]
fn on_the_network_without_a_token_nothing_is_written() {
    let admin = Admin {
        listen: AdminAddress::Ip(([0, 0, 0, 0], 0).into()),
        token_file: None,
        protect: Protect::Writes,
        tls: None,
    };
    let fixture = Fixture::new("");
    let server = fixture.serve(Endpoint::admin(&admin, None).unwrap());
    assert_eq!(server.get("/metrics").status, 200);
    server.ask("DELETE", "/api/v1/connections/1", RIGHT).is_problem(403, "admin.token_file");
}

#[test]
fn a_token_that_is_missing_or_empty_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let admin = Admin {
        listen: AdminAddress::Ip(([127, 0, 0, 1], 0).into()),
        token_file: Some(path.clone()),
        protect: Protect::Writes,
        tls: None,
    };
    let missing = Endpoint::admin(&admin, None).unwrap_err();
    assert!(matches!(&missing, EndpointError::Token(named, _) if *named == path), "{missing}");
    std::fs::write(&path, " \n").unwrap();
    assert!(Endpoint::admin(&admin, None).unwrap_err().to_string().contains("empty"));
}

#[test]
fn a_port_in_use_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = Endpoint::metrics(taken.local_addr().unwrap(), None).unwrap_err();
    assert!(error.to_string().contains("metrics.listen"), "{error}");
    assert!(matches!(error, EndpointError::Bind(_, error) if error.kind() == std::io::ErrorKind::AddrInUse));
}

#[test]
fn a_unix_socket_is_for_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let fixture = Fixture::new(&format!("admin: {{ listen: \"unix:{}\" }}", path.display()));
    let server = fixture.admin();
    assert_eq!(server.address, format!("unix:{}", path.display()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let asked = |headers: &str| {
        let mut stream = UnixStream::connect(&path).unwrap();
        write!(stream, "DELETE /api/v1/connections/1 HTTP/1.1\r\nHost: any\r\nConnection: close\r\n{headers}\r\n")
            .unwrap();
        read(stream).status
    };
    assert_eq!(asked(""), 404, "no token is needed");
    assert_eq!(asked("Origin: http://evil.example\r\n"), 403);
    drop(fixture);
    assert!(!path.exists(), "it goes with its process");
}
