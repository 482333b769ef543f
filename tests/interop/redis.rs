//! Redis: its own benchmark, and one value as large as a file.

use std::fs::File;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::{Program, Proxy, Setup, free_port, program, random_file, run};

fn redis() -> (Program, Proxy, TempDir) {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut server = program("redis-server");
    server.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]).arg(dir.path());
    let server = Program::start(&mut server).listening(port);
    let proxy = Setup::to([format!("127.0.0.1:{port}")]).start();
    (server, proxy, dir)
}

fn client(name: &str, proxy: &Proxy) -> Command {
    let mut command = program(name);
    command.args(["-h", "127.0.0.1", "-p", &proxy.address("front").port().to_string()]);
    command
}

#[test]
fn redis_benchmark_finishes_pipelined_and_not() {
    let (_server, proxy, _dir) = redis();
    for pipeline in ["1", "16"] {
        let said =
            run(client("redis-benchmark", &proxy)
                .args(["-n", "50000", "-c", "50", "-q", "-P", pipeline, "-t", "set,get"]));
        assert!(said.contains("SET: ") && said.contains("GET: "), "{said}");
    }
    // A connection for each request.
    run(client("redis-benchmark", &proxy).args(["-n", "2000", "-c", "20", "-k", "0", "-q", "-t", "ping"]));
    let count = run(client("redis-cli", &proxy).args(["config", "get", "port"]));
    assert!(count.contains("port"));
}

#[test]
fn a_value_of_100_mb_comes_back_unchanged() {
    let (_server, proxy, dir) = redis();
    let (inward, outward) = (dir.path().join("in"), dir.path().join("out"));
    random_file(&inward, 100_000_000);
    let set =
        client("redis-cli", &proxy).args(["-x", "set", "big"]).stdin(File::open(&inward).unwrap()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&set.stdout), "OK\n");
    let mut get = client("redis-cli", &proxy);
    get.args(["get", "big"]).stdin(Stdio::null()).stdout(File::create(&outward).unwrap());
    assert!(get.status().unwrap().success());
    // The client adds a newline of its own.
    run(program("cmp").args(["-n", "100000000"]).arg(&inward).arg(&outward));
    assert_eq!(outward.metadata().unwrap().len(), 100_000_001);
}
