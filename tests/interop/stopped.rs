//! Servers whose process is stopped: the kernel goes on accepting for them, and nobody answers.

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::probes_mysql;
use crate::support::{Program, Proxy, Setup, eventually, free_port, program, run};

/// `fall` × `interval` + `timeout` of these, with five-fold slack for a busy machine.
const SOON: Duration = Duration::from_millis(5 * (3 * 200 + 300));

fn in_front_of(port: u16, probe: &str) -> Proxy {
    let health = "interval: 200ms, fast_interval: 100ms, timeout: 300ms, fall: 3, rise: 2";
    let setup = Setup::to([format!("127.0.0.1:{port}")]).pool(&format!("health: {{ probe: {probe}, {health} }}"));
    // MariaDB keeps no account of 127.0.0.1 itself.
    setup.pool("connect: { source: 127.0.0.9 }").start()
}

/// Stops the server, sees that the proxy leaves it alone in time and for as long as it is stopped, and lets it go on.
#[track_caller]
fn leaves_alone(proxy: &Proxy, server: &Program, port: u16) {
    eventually("good probes", || (probes(proxy, "ok") >= 2.0).then_some(()));
    assert_eq!(proxy.metric("peerway_backend_transitions_total"), 0.0);
    let fault = Instant::now();
    server.signal(Signal::STOP);
    let told = proxy.backend_becomes(0, "down");
    assert!(fault.elapsed() < SOON, "{:?}", fault.elapsed());
    assert_eq!(told["reason"], "probe: no answer within 300ms");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "the kernel accepts for it");
    proxy.is_turned_away();
    // MariaDB would block a host after three clients that leave in the middle of a login.
    eventually("more probes without an answer", || (probes(proxy, "timeout") >= 12.0).then_some(()));
    assert_eq!(proxy.backend(0)["state"], "down");
    let back = Instant::now();
    server.signal(Signal::CONT);
    proxy.backend_becomes(0, "up");
    assert!(back.elapsed() < SOON, "{:?}", back.elapsed());
    let scrape = proxy.scrape();
    let changes = ["down", "up"].map(|to| scrape.get(&format!("peerway_backend_transitions_total{{to=\"{to}\"}}")));
    assert_eq!(changes, [1.0, 1.0]);
}

fn probes(proxy: &Proxy, result: &str) -> f64 {
    proxy.metric(&format!("peerway_backend_probes_total{{result=\"{result}\"}}"))
}

#[test]
fn redis_is_left_alone_while_it_is_stopped() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut server = program("redis-server");
    server.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]).arg(dir.path());
    server.args(["--protected-mode", "no"]);
    let server = Program::start(&mut server).listening(port);
    let proxy = in_front_of(port, "redis");
    leaves_alone(&proxy, &server, port);
    let front = proxy.address("front").port().to_string();
    assert_eq!(run(program("redis-cli").args(["-h", "127.0.0.1", "-p", &front, "ping"])), "PONG\n");
}

fn nginx() -> (Program, u16, TempDir) {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let (file, place) = (dir.path().join("nginx.conf"), dir.path().display());
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String = paths.map(|name| format!("{name}_temp_path {place}/{name};\n")).concat();
    let text = format!(
        "daemon off; master_process off; pid {place}/pid; error_log stderr;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; {paths} server {{ listen 127.0.0.1:{port}; return 200 well; }} }}\n"
    );
    fs::write(&file, text).unwrap();
    let mut server = program("nginx");
    server.arg("-p").arg(dir.path()).arg("-c").arg(&file).args(["-e", "stderr"]);
    (Program::start(&mut server).listening(port), port, dir)
}

#[test]
fn nginx_is_left_alone_while_it_is_stopped() {
    let (server, port, _dir) = nginx();
    let proxy = in_front_of(port, "{ http: { path: / } }");
    leaves_alone(&proxy, &server, port);
    let from = format!("http://{}/", proxy.address("front"));
    assert_eq!(run(program("curl").args(["-fsS", "--max-time", "20", &from])), "well");
}

#[test]
fn mariadb_is_left_alone_while_it_is_stopped_and_blocks_nobody_for_it() {
    let server = probes_mysql::Server::start();
    let proxy = in_front_of(server.port, "{ mysql: { user: open } }");
    leaves_alone(&proxy, &server.program, server.port);
    // Whoever left by a clean end instead of a reset is one that the server holds against its host.
    let front = proxy.address("front").port().to_string();
    let asks = ["--no-defaults", "-h127.0.0.1", "-uopen", "-N", "-e", "SELECT 1", "-P", &front];
    assert_eq!(run(program("mariadb").args(asks)), "1\n");
}
