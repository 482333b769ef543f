//! nginx and curl: a file of one GiB, and many small answers.

use std::fs;

use tempfile::TempDir;

use crate::support::{Program, Setup, free_port, program, random_file, run};

pub(crate) fn nginx() -> (Program, u16, TempDir) {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let root = dir.path().display();
    let program = serve(&dir, port, &format!("sendfile on; server {{ listen 127.0.0.1:{port}; root {root}; }}"));
    (program, port, dir)
}

/// Starts one in this folder, with these lines about HTTP, which say that it listens at this port.
pub(crate) fn serve(dir: &TempDir, port: u16, http: &str) -> Program {
    let file = dir.path().join("nginx.conf");
    let root = dir.path().display();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String = paths.map(|name| format!("{name}_temp_path {root}/{name};\n")).concat();
    let configuration = format!(
        "daemon off; user root; worker_processes 1; pid {root}/pid; error_log stderr;\n\
         events {{ worker_connections 512; }}\nhttp {{ access_log off; {paths} {http} }}\n"
    );
    fs::write(&file, configuration).unwrap();
    let mut server = program("nginx");
    server.arg("-p").arg(dir.path()).arg("-c").arg(&file).arg("-e").arg("stderr");
    Program::start(&mut server).listening(port)
}

#[test]
fn a_gibibyte_is_downloaded_unchanged_by_each_engine() {
    let (_server, port, dir) = nginx();
    let file = dir.path().join("big");
    random_file(&file, 1 << 30);
    for engine in ["relay: auto", "relay: copy"] {
        let proxy = Setup::to([format!("127.0.0.1:{port}")]).listener(engine).start();
        let download = "set -o pipefail; curl -fsS --max-time 300 \"$1\" | cmp - \"$2\"";
        let from = format!("http://{}/big", proxy.address("front"));
        run(program("bash").args(["-c", download, "bash", &from]).arg(&file));
        let down = proxy.ended()["bytes_down"].as_u64().unwrap();
        assert!((1 << 30..(1 << 30) + 4096).contains(&down), "{down} bytes are in the log");
    }
}

#[test]
fn a_thousand_small_downloads_on_connections_of_their_own() {
    let (_server, port, dir) = nginx();
    fs::write(dir.path().join("small"), "hello\n").unwrap();
    let proxy = Setup::to([format!("127.0.0.1:{port}")]).start();
    let to = format!("http://{}/small?[1-1000]", proxy.address("front"));
    let said = run(program("curl").args(["-fsS", "--no-keepalive", "-H", "Connection: close", &to]));
    assert_eq!(said, "hello\n".repeat(1000));
    assert_eq!(proxy.metric("peerway_listener_connections_total{listener=\"front\"}"), 1000.0);
}
