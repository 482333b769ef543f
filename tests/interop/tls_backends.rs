//! Real servers behind TLS: nginx and OpenSSL.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use crate::nginx::serve;
use crate::support::pki::{Authority, Wish};
use crate::support::{Program, Setup, free_port, program, random_file, run};

const NAME: &str = "a.example";

/// nginx that speaks this version, asks clients who they are, and serves its folder.
fn nginx(version: &str, authority: &Authority) -> (Program, u16, TempDir) {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    authority.issue(&Wish::names([NAME])).save(dir.path(), "a");
    fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
    let root = dir.path().display();
    let http = format!(
        "sendfile on; client_max_body_size 1g; server {{\n\
         listen 127.0.0.1:{port} ssl; ssl_protocols {version}; ssl_certificate a.pem; ssl_certificate_key a.key;\n\
         ssl_client_certificate ca.pem; ssl_verify_client on; root {root}; dav_methods PUT; }}"
    );
    (serve(&dir, port, &http), port, dir)
}

fn setup(port: u16, authority: &Authority) -> Setup {
    let setup = Setup::to([format!("127.0.0.1:{port}")])
        .pool(&format!("tls: {{ server_name: {NAME}, ca: ca.pem, cert: me.pem, key: me.key }}"));
    fs::write(setup.dir().join("ca.pem"), authority.pem()).unwrap();
    authority.issue(&Wish::names::<&str>([])).save(setup.dir(), "me");
    setup
}

#[test]
fn nginx_serves_and_takes_large_files_unchanged() {
    let authority = Authority::new("authority");
    for version in ["TLSv1.2", "TLSv1.3"] {
        let (_server, port, dir) = nginx(version, &authority);
        let file = dir.path().join("big");
        random_file(&file, 300 << 20);
        let proxy = setup(port, &authority).start();
        let url = format!("http://{}", proxy.address("front"));
        let download = "set -o pipefail; curl -fsS --max-time 300 \"$1\" | cmp - \"$2\"";
        run(program("bash").args(["-c", download, "bash", &format!("{url}/big")]).arg(&file));
        run(program("curl").args(["-fsS", "--max-time", "300", "-T"]).arg(&file).arg(format!("{url}/copy")));
        run(program("cmp").arg(&file).arg(dir.path().join("copy")));
        let many = format!("{url}/nginx.conf?[1-300]");
        let said = run(program("curl").args(["-fsS", "-H", "Connection: close", &many]));
        assert_eq!(said, fs::read_to_string(dir.path().join("nginx.conf")).unwrap().repeat(300));
        let failures = proxy.scrape().all().into_iter().filter(|(series, _)| series.contains("connect_failures"));
        assert_eq!(failures.map(|(_, count)| count).sum::<f64>(), 0.0);
    }
}

#[test]
fn nginx_is_probed_inside_tls_and_hears_no_error() {
    let authority = Authority::new("authority");
    let (server, port, _dir) = nginx("TLSv1.3", &authority);
    let health = "health: { probe: { http: { path: /nginx.conf, host: a.example } }, interval: 50ms, start: down }";
    let proxy = setup(port, &authority).pool(health).start();
    proxy.backend_becomes(0, "up");
    let good = "peerway_backend_probes_total{pool=\"back\",backend=\"127.0.0.1:PORT\",result=\"ok\"}";
    let good = good.replace("PORT", &port.to_string());
    crate::support::eventually("twenty good probes", || (proxy.metric(&good) >= 20.0).then_some(()));
    assert_eq!(server.said(), Vec::<String>::new());
}

/// OpenSSL answers as long as it lives; what it did not sign is no end.
#[test]
fn a_server_that_is_killed_is_a_reset() {
    let (authority, dir, port) = (Authority::new("authority"), tempfile::tempdir().unwrap(), free_port());
    authority.issue(&Wish::names([NAME])).save(dir.path(), "a");
    for version in ["-tls1_2", "-tls1_3"] {
        let mut server = program("openssl");
        server.current_dir(dir.path()).args(["s_server", "-quiet", "-rev", "-cert", "a.pem", "-key", "a.key", version]);
        server.args(["-accept", &format!("127.0.0.1:{port}")]);
        let server = Program::start(&mut server).listening(port);
        let proxy = setup(port, &authority).start();
        let mut client = proxy.connect();
        std::io::Write::write_all(&mut &client.socket, b"abc\n").unwrap();
        assert_eq!(client.take(4), b"cba\n");
        server.signal(rustix::process::Signal::KILL);
        client.hear_reset_within(Duration::from_secs(5));
        assert!(proxy.why().starts_with("backend_reset backend"), "{}", proxy.why());
    }
}
