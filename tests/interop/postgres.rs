//! PostgreSQL: thousands of transactions, and a hundred megabytes in and out.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::cluster::{self, Server, cluster};
use crate::support::{Proxy, Setup, program, run};

fn postgres() -> (Proxy, Server, TempDir) {
    let (dir, data) = cluster();
    let server = Server::start(data, &["synchronize_seqscans=off", "max_wal_size=1GB"]);
    (Setup::to([format!("127.0.0.1:{}", server.port)]).start(), server, dir)
}

/// A client program that talks to the proxy.
fn client(name: &str, proxy: &Proxy) -> Command {
    cluster::client(name, proxy.address("front").port(), "postgres")
}

#[test]
fn pgbench_runs_its_transactions_without_a_failure() {
    let (proxy, _server, _dir) = postgres();
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
    let (proxy, _server, dir) = postgres();
    let (inward, outward) = (dir.path().join("in"), dir.path().join("out"));
    let lines =
        (0..1_600_000_u64).map(|n| format!("{n:010} {:052x}\n", u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
    fs::write(&inward, lines.collect::<String>()).unwrap();
    assert!(fs::metadata(&inward).unwrap().len() > 100_000_000);
    run(client("psql", &proxy).args(["-c", "CREATE TABLE t (line text)"]));
    run(client("psql", &proxy).args(["-c", &format!("\\copy t FROM '{}'", inward.display())]));
    run(client("psql", &proxy).args(["-c", &format!("\\copy t TO '{}'", outward.display())]));
    run(program("cmp").arg(&inward).arg(&outward));
}
