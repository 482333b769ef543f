//! Probes against nginx and openssl: what they find, and that the servers see clients that behave.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use peerway::config::plan::{self, Pattern, Step};
use peerway::health::{self, Line, ProbeError};
use peerway::metrics::ProbeResult;
use peerway::net::{Stream, arm_reset};
use regex::bytes::Regex;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{PATIENCE, Program, eventually, free_port, program, run};

/// What a probe finds at a port of 127.0.0.1, on a line that resets unless it is ended well.
fn found(probe: &plan::Probe, port: u16) -> Result<(), ProbeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        arm_reset(&stream).unwrap();
        let mut line = Line::new(Stream::try_from(stream).unwrap(), format!("127.0.0.1:{port}"));
        let found = timeout(PATIENCE, health::build(probe).check(&mut line)).await.expect("an answer in time");
        line.hang_up().await;
        found
    })
}

fn words(probe: &plan::Probe, port: u16) -> String {
    let error = found(probe, port).expect_err("not well");
    assert_eq!(error.result, ProbeResult::Unexpected, "{error}");
    error.words
}

fn http(path: &str, tls: bool) -> plan::Http {
    let (method, path, host) = ("GET".into(), path.into(), None);
    plan::Http { method, path, host, status: vec![(200, 299)], body: None, tls }
}

fn asking(http: plan::Http) -> plan::Probe {
    plan::Probe::Http(Arc::new(http))
}

fn pattern(text: &str) -> Option<Pattern> {
    Some(Pattern(Regex::new(text).unwrap()))
}

/// A key and a certificate for it that nobody else signed.
fn certificate(dir: &Path) {
    let files = ["-keyout", "key.pem", "-out", "cert.pem"];
    let how = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x.example", "-days", "2"];
    run(program("openssl").current_dir(dir).args(how).args(files));
}

/// nginx with its log at the level that is its default; plain and TLS ports.
fn nginx() -> (Program, [u16; 2], TempDir) {
    let (dir, [plain, secure]) = (tempfile::tempdir().unwrap(), [free_port(), free_port()]);
    certificate(dir.path());
    let at = dir.path().display();
    let paths =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {at}/{name};\n"));
    let configuration = format!(
        "daemon off; user root; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log {at}/access.log; ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem; {}\n\
         server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{secure} ssl; root {at};\n\
         location = /well {{ return 200 \"all is well\\n\"; }}\n\
         location = /away {{ return 503; }}\n\
         location = /moved {{ return 302 /well; }} }} }}\n",
        paths.concat()
    );
    fs::write(dir.path().join("nginx.conf"), configuration).unwrap();
    fs::write(dir.path().join("large"), vec![b'.'; 16 << 20]).unwrap();
    let mut server = program("nginx");
    server.arg("-p").arg(dir.path()).arg("-c").arg(dir.path().join("nginx.conf")).arg("-e").arg("stderr");
    (Program::start(&mut server).listening(plain).listening(secure), [plain, secure], dir)
}

#[test]
fn nginx_is_asked_plainly_and_over_tls_and_has_nothing_to_complain_of() {
    let (server, ports, dir) = nginx();
    for (port, tls) in ports.into_iter().zip([false, true]) {
        for _ in 0..20 {
            assert_eq!(found(&asking(http("/well", tls)), port), Ok(()));
        }
        let with_body = |path, text| asking(plan::Http { body: pattern(text), ..http(path, tls) });
        assert_eq!(found(&with_body("/well", "^all is well\n$"), port), Ok(()));
        assert_eq!(words(&with_body("/well", "ill"), port), r"/ill/ matches nothing in the body, `all is well\n`");
        assert_eq!(found(&asking(plan::Http { method: "HEAD".into(), ..http("/large", tls) }), port), Ok(()));
        // More than anybody looks at, with and without looking.
        assert_eq!(found(&asking(http("/large", tls)), port), Ok(()));
        assert!(words(&with_body("/large", "x"), port).starts_with("/x/ matches nothing in the body, `....."));
        assert_eq!(
            words(&asking(http("/away", tls)), port),
            "status 503 Service Temporarily Unavailable, expected 200-299"
        );
        assert_eq!(words(&asking(http("/moved", tls)), port), "status 302 Moved Temporarily, expected 200-299");
        let refused = plan::Http { status: vec![(405, 405)], method: "TRACE".into(), ..http("/", tls) };
        assert_eq!(found(&asking(refused), port), Ok(()));
    }
    assert_eq!(found(&plan::Probe::Tls, ports[1]), Ok(()));
    let plain = found(&plan::Probe::Tls, ports[0]).expect_err("not TLS");
    assert!(plain.result == ProbeResult::Tls && plain.words.starts_with("not TLS: "), "{plain}");
    assert_eq!(words(&asking(http("/well", false)), ports[1]), "status 400 Bad Request, expected 200-299");
    assert!(words(&plan::Probe::Grpc(None), ports[0]).starts_with("not HTTP/2: `HTTP/1.1 400"));
    drop(server);
    let log = fs::read_to_string(dir.path().join("error.log")).unwrap();
    assert_eq!(log, "", "nginx complains");
    let log = fs::read_to_string(dir.path().join("access.log")).unwrap();
    let agent = concat!("\"peerway/", env!("CARGO_PKG_VERSION"), " health probe\"");
    let probes = log.lines().filter(|line| line.contains("GET /well HTTP/1.1\" 200 ")).count();
    assert_eq!(probes, 2 * 22, "{log}");
    assert!(log.lines().filter(|line| line.contains("/well HTTP/1.1")).all(|line| line.contains(agent)), "{log}");
}

#[test]
fn a_script_asks_nginx() {
    let (_server, [port, _], _dir) = nginx();
    let script = |expected: &str| {
        let ask = Step::Send(b"GET /well HTTP/1.0\r\n\r\n"[..].into());
        let body = Step::ExpectMatch(pattern("\r\n\r\nall is (well|ill)\n").unwrap());
        plan::Probe::Script([ask, Step::Expect(expected.as_bytes().into()), body].into())
    };
    assert_eq!(found(&script("HTTP/1.1 200 "), port), Ok(()));
    assert!(
        words(&script("HTTP/1.1 404 "), port)
            .starts_with("step 2: expected `HTTP/1.1 404 `, got `HTTP/1.1 200 OK\\r\\n")
    );
}

/// `openssl s_server` tells how each connection ended.
fn s_server(options: &[&str]) -> (Program, u16, TempDir) {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    certificate(dir.path());
    let mut server = program("sh");
    let command = "exec openssl s_server -cert cert.pem -key key.pem \"$@\" </dev/zero >said 2>&1";
    server.current_dir(dir.path()).args(["-c", command, "sh", "-accept", &format!("127.0.0.1:{port}")]).args(options);
    // It counts connections, so the one that looks whether it listens is made by reading what it says.
    let server = Program::start(&mut server);
    eventually("s_server listens", || said(&dir).contains("ACCEPT").then_some(()));
    (server, port, dir)
}

fn said(dir: &TempDir) -> String {
    fs::read_to_string(dir.path().join("said")).unwrap_or_default()
}

#[test]
fn openssl_sees_a_handshake_and_a_close_notify() {
    for version in ["-tls1_2", "-tls1_3"] {
        let (_server, port, dir) = s_server(&[version, "-www", "-state"]);
        for _ in 0..5 {
            assert_eq!(found(&plan::Probe::Tls, port), Ok(()), "{}", said(&dir));
        }
        let goodbyes = || said(&dir).matches("read:warning:close notify").count();
        eventually("all goodbyes", || (goodbyes() == 5).then_some(()));
        let said = said(&dir);
        assert!(!said.contains("ERROR") && !said.contains(":error:") && !said.contains("fatal"), "{said}");
    }
}

#[test]
fn openssl_refuses_and_is_quoted() {
    // No version in common.
    let (_server, port, dir) = s_server(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    let error = found(&plan::Probe::Tls, port).expect_err("an alert");
    assert_eq!((error.result, error.words.as_str()), (ProbeResult::Tls, "alert: protocol version"), "{}", said(&dir));
    // The answer of `-www` is a page over HTTP.
    let (_server, port, _dir) = s_server(&["-www"]);
    assert_eq!(found(&asking(plan::Http { body: pattern("s_server"), ..http("/", true) }), port), Ok(()));
}
