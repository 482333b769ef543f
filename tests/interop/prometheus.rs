//! Prometheus: its linter is content with what is served, and it scrapes it.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::support::{Admin, Backend, Program, Proxy, Setup, eventually, free_port, program};

/// A proxy with something to tell: sessions that live, ended, failed, and were refused.
fn busy() -> (Proxy, Vec<Box<dyn std::any::Any>>) {
    let backend = Backend::new();
    let setup = Setup::to([backend.address(), Backend::refusing()]);
    let proxy = setup.process("max_connections: 3\nmetrics: { listen: 127.0.0.1:0, backend_histograms: true }").start();
    let (mut client, mut server) = proxy.session(&backend);
    crate::support::send_across(&mut client, &mut server, 1000);
    client.close();
    server.hear_end();
    server.close();
    proxy.ended();
    let open: Vec<_> = (0..3).map(|_| proxy.session(&backend)).collect();
    proxy.is_turned_away();
    (proxy, vec![Box::new(open), Box::new(backend)])
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let (proxy, _open) = busy();
    let text = proxy.admin().get("/metrics");
    assert!(text.head.to_lowercase().contains("content-type: text/plain"), "{}", text.head);
    let mut lint = program("promtool");
    let lint = lint.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut lint = lint.spawn().unwrap();
    lint.stdin.take().unwrap().write_all(text.body.as_bytes()).unwrap();
    let output = lint.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn openmetrics_is_served_where_it_is_asked_for_and_can_be_read() {
    let (proxy, _open) = busy();
    let answer = proxy.admin().ask("GET", "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n");
    assert!(answer.head.to_lowercase().contains("content-type: application/openmetrics-text"), "{}", answer.head);
    assert!(answer.body.ends_with("# EOF\n"));
    // The one strict reader of this format that promtool has wants a time on every sample.
    let dated = |line: &str| {
        if line.starts_with('#') { format!("{line}\n") } else { format!("{line} 1700000000\n") }
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scrape");
    fs::write(&file, answer.body.lines().map(dated).collect::<String>()).unwrap();
    let mut read = program("promtool");
    read.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&file).arg(dir.path().join("blocks"));
    crate::support::run(&mut read);
}

#[test]
fn a_prometheus_server_scrapes_both_endpoints() {
    let (proxy, _open) = busy();
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let targets = [proxy.addresses("admin"), proxy.addresses("metrics")].concat();
    let scrape = format!(
        "scrape_configs: [{{ job_name: p, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{{ targets: {targets:?} }}] }}]"
    );
    let file = dir.path().join("prometheus.yml");
    fs::write(&file, scrape).unwrap();
    let mut server = program("prometheus");
    server.arg(format!("--config.file={}", file.display()));
    server.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
    server.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _server = Program::start(&mut server).listening(port);
    let prometheus = Admin { address: format!("127.0.0.1:{port}") };
    let count = |query: &str| {
        let answer = prometheus.try_ask("GET", &format!("/api/v1/query?query={query}"), "").ok()?;
        let answer: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse::<u32>().ok()
    };
    eventually("both targets are up", || (count("sum(up)") == Some(2)).then_some(()));
    assert_eq!(count("max(peerway_listener_active_connections)"), Some(3));
}
