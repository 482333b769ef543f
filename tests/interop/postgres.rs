//! PostgreSQL: thousands of transactions, and a hundred megabytes in and out.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Program, Proxy, Setup, free_port, program, run};

/// A cluster of its own, on a free port, in a folder of its own.
struct Postgres {
    _server: Program,
    port: u16,
    dir: TempDir,
}

impl Postgres {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (data, port) = (dir.path().join("data"), free_port());
        if let Some((user, group)) = account() {
            std::os::unix::fs::chown(dir.path(), Some(user), Some(group)).unwrap();
        }
        run(unprivileged(&mut program("initdb"), dir.path())
            .arg("-D")
            .arg(&data)
            .args(["-A", "trust", "-U", "postgres", "-N"]));
        let mut server = program("postgres");
        server.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"]).arg(dir.path());
        server.args(["-c", "fsync=off", "-c", "synchronize_seqscans=off", "-c", "max_wal_size=1GB"]);
        let server = Program::start(unprivileged(&mut server, dir.path())).listening(port);
        let server = server.saying("ready to accept connections");
        Self { _server: server, port, dir }
    }

    fn proxy(&self) -> Proxy {
        Setup::to([format!("127.0.0.1:{}", self.port)]).start()
    }
}

/// PostgreSQL refuses to run as root; its package brings an account.
pub(crate) fn account() -> Option<(u32, u32)> {
    let id = |flags: &[&str]| run(program("id").args(flags)).trim().parse::<u32>().unwrap();
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

pub(crate) fn unprivileged<'a>(command: &'a mut Command, dir: &Path) -> &'a mut Command {
    command.current_dir(dir);
    match account() {
        Some((user, group)) => command.uid(user).gid(group),
        None => command,
    }
}

/// A client program that talks to the proxy.
fn client(name: &str, proxy: &Proxy) -> Command {
    let mut command = program(name);
    let port = proxy.address("front").port().to_string();
    command.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres"]);
    command
}

#[test]
fn pgbench_runs_its_transactions_without_a_failure() {
    let postgres = Postgres::start();
    let proxy = postgres.proxy();
    run(client("pgbench", &proxy).args(["-i", "-q", "-s", "5", "postgres"]));
    let said = run(client("pgbench", &proxy).args(["-c", "8", "-j", "2", "-t", "500", "postgres"]));
    assert!(said.contains("actually processed: 4000/4000"), "{said}");
    assert!(said.contains("failed transactions: 0"), "{said}");
    // A connection for each transaction.
    let said = run(client("pgbench", &proxy).args(["-S", "-C", "-c", "4", "-t", "50", "postgres"]));
    assert!(said.contains("actually processed: 200/200"), "{said}");
    let scrape = proxy.scrape();
    let closed = scrape.get("peerway_sessions_closed_total");
    assert!(closed >= 200.0);
    assert_eq!(scrape.get("peerway_sessions_closed_total{cause=\"finished\"}"), closed);
}

#[test]
fn a_hundred_megabytes_go_in_and_come_out_unchanged() {
    let postgres = Postgres::start();
    let proxy = postgres.proxy();
    let (inward, outward) = (postgres.dir.path().join("in"), postgres.dir.path().join("out"));
    let lines =
        (0..1_600_000_u64).map(|n| format!("{n:010} {:052x}\n", u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
    fs::write(&inward, lines.collect::<String>()).unwrap();
    assert!(fs::metadata(&inward).unwrap().len() > 100_000_000);
    run(client("psql", &proxy).args(["-c", "CREATE TABLE t (line text)"]));
    run(client("psql", &proxy).args(["-c", &format!("\\copy t FROM '{}'", inward.display())]));
    run(client("psql", &proxy).args(["-c", &format!("\\copy t TO '{}'", outward.display())]));
    run(program("cmp").arg(&inward).arg(&outward));
}
