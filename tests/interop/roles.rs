//! PostgreSQL whose servers change roles under load: who is new is sent to the primary, and to no other for long.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::cluster::{Server, client, cluster};
use crate::support::{Proxy, Setup, eventually};

const HEALTH: &str = "interval: 200ms, fast_interval: 100ms, timeout: 1s, fall: 2, rise: 2";
/// `fall` × `interval` + `timeout` of that, with five-fold slack for a busy machine.
const SOON: Duration = Duration::from_millis(5 * (2 * 200 + 1000));

/// Each line of its log begins with the time; a copy of its data has these settings too.
const SETTINGS: &[&str] = &["wal_level=replica", "hot_standby=on", "log_connections=on", "log_line_prefix=%n "];

/// Two listeners, as one has them who sends writes to the primary and reads to replicas.
fn in_front_of(servers: [&Server; 2]) -> Proxy {
    let [a, b] = servers.map(|server| format!("127.0.0.1:{}", server.port));
    let pool = |role: &str, more: &str| {
        format!(
            "backends: [ {{ name: a, address: '{a}' }}, {{ name: b, address: '{b}' }} ]\n    {more}\n    \
             health: {{ probe: {{ postgres: {{ role: {role}, user: probe, database: postgres }} }}, {HEALTH} }}"
        )
    };
    let setup = Setup::file(format!(
        "admin: {{ listen: 127.0.0.1:0 }}\nlisteners:\n  writes: {{ bind: 127.0.0.1:0, pool: primary }}\n  \
         reads: {{ bind: 127.0.0.1:0, pool: replicas }}\npools:\n  primary:\n    {}\n  replicas:\n    {}\n",
        pool("primary", "single_active: true"),
        pool("replica", "")
    ));
    setup.start()
}

/// The states of `a` and `b` in a pool.
fn states(proxy: &Proxy, pool: &str) -> [String; 2] {
    let pools = proxy.admin().json("/api/v1/pools");
    let pool = pools["pools"].as_array().unwrap().iter().find(|one| one["name"] == pool).unwrap();
    [0, 1].map(|index| pool["backends"][index]["state"].as_str().unwrap().to_owned())
}

#[track_caller]
fn becomes(proxy: &Proxy, pool: &str, wanted: [&str; 2]) {
    eventually(&format!("{pool} as {wanted:?}"), || (states(proxy, pool) == wanted).then_some(()));
}

/// Writes, each over a connection of its own, until told to stop.
struct Load {
    over: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn on(port: u16, dir: &Path) -> Self {
        let script = dir.join("write.sql");
        fs::write(&script, "INSERT INTO writes VALUES (clock_timestamp());\n").unwrap();
        let (over, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..2).map(|_| {
            let (over, written, script) = (over.clone(), written.clone(), script.clone());
            thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    written.fetch_add(write(port, &script), Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(20));
                }
            })
        });
        Self { over: over.clone(), written: written.clone(), threads: clients.collect() }
    }

    /// How many writes were acknowledged.
    fn stop(self) -> u64 {
        self.over.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.written.load(Ordering::SeqCst)
    }
}

/// A few of them; gives how many were acknowledged.
fn write(port: u16, script: &Path) -> u64 {
    let mut bench = client("pgbench", port, "app");
    let output = bench.args(["-n", "-C", "-t", "5", "-f"]).arg(script).arg("postgres").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let done = said.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
    done.map_or(0, |done| done.split('/').next().unwrap().parse().unwrap())
}

/// One session that stays, and asks now and then.
struct Reader {
    child: Child,
    says: ChildStdin,
    hears: BufReader<ChildStdout>,
}

impl Reader {
    fn on(port: u16) -> Self {
        let mut psql: Command = client("psql", port, "reader");
        psql.args(["-X", "-A", "-t", "-q", "postgres"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = psql.spawn().unwrap();
        let (says, hears) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, says, hears }
    }

    fn asks(&mut self, sql: &str) -> String {
        writeln!(self.says, "{sql};").unwrap();
        let mut line = String::new();
        self.hears.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Who serves it, whether that is a replica, and which of its processes: another session has another one.
    fn whereabouts(&mut self) -> (u16, bool, String) {
        let port = self.asks("SELECT inet_server_port()").parse().unwrap_or(0);
        (port, self.asks("SELECT pg_is_in_recovery()") == "t", self.asks("SELECT pg_backend_pid()"))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// When a server logged lines with this in them, since 1970.
fn times(server: &Server, text: &str) -> Vec<Duration> {
    let said = server.program.said();
    let lines = said.iter().filter(|line| line.contains(text));
    lines.filter_map(|line| line.split(' ').next()?.parse().ok().map(Duration::from_secs_f64)).collect()
}

const WRITER: &str = "connection authorized: user=app";
const REFUSED_WRITE: &str = "cannot execute INSERT in a read-only transaction";

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Makes a replica of `server`, which follows the one at `port` from now on; its own port stays.
fn demote(server: Server, port: u16) -> Server {
    let own = server.port;
    let data: PathBuf = server.stop();
    fs::write(data.join("standby.signal"), "").unwrap();
    let mut settings = OpenOptions::new().append(true).open(data.join("postgresql.auto.conf")).unwrap();
    writeln!(settings, "primary_conninfo = 'host=127.0.0.1 port={port} user=postgres'").unwrap();
    Server::launch(data, own, SETTINGS).ready()
}

#[test]
fn when_roles_change_hands_new_sessions_follow_and_others_are_left_alone() {
    let (dir, data) = cluster();
    let first = Server::start(data, SETTINGS);
    first.sql("CREATE USER app; CREATE USER reader; CREATE USER probe");
    first.sql("CREATE TABLE writes (at timestamptz)");
    first.sql("GRANT INSERT ON writes TO app");
    let second = Server::start(first.copy("copy"), SETTINGS);
    let proxy = in_front_of([&first, &second]);
    becomes(&proxy, "primary", ["up", "down"]);
    becomes(&proxy, "replicas", ["down", "up"]);
    let mut reader = Reader::on(proxy.address("reads").port());
    let before = reader.whereabouts();
    assert_eq!((before.0, before.1), (second.port, true));
    let load = Load::on(proxy.address("writes").port(), dir.path());
    eventually("writes", || (times(&first, WRITER).len() > 20).then_some(()));

    let fault = now();
    let first = demote(first, second.port);
    // Nobody is primary for a while, and one that was looks as well as ever.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(reader.whereabouts(), before);
    let promotion = now();
    second.promote();
    let promoted = now();
    eventually("writes there", || (times(&second, WRITER).len() > 20).then_some(()));
    becomes(&proxy, "primary", ["down", "up"]);
    becomes(&proxy, "replicas", ["up", "down"]);
    thread::sleep(Duration::from_secs(1));
    let written = load.stop();

    // The log of before is gone with its process: all of these are of the time after the fault.
    let wrong = times(&first, WRITER);
    let last = wrong.iter().chain(&times(&first, REFUSED_WRITE)).max().map(|at| at.saturating_sub(fault));
    assert!(last.is_none_or(|last| last < SOON), "a session on the wrong server {last:?} after it became that");
    let early = times(&second, WRITER).iter().filter(|at| **at < promotion).count();
    assert_eq!(early, 0, "sessions that write, on a replica");
    assert_eq!(times(&second, REFUSED_WRITE).len(), 0);
    let next = times(&second, WRITER).into_iter().min().unwrap().saturating_sub(promoted);
    assert!(next < SOON, "the first session on the new primary {next:?} after it became that");
    assert_eq!(first.sql("SELECT pg_is_in_recovery()"), "t");
    let there: u64 = second.sql("SELECT count(*) FROM writes").parse().unwrap();
    assert!(written > 40 && there >= written, "{written} acknowledged, {there} there");

    // The session that was there all along is the same, though its server is another kind now; a new one goes elsewhere.
    assert_eq!(reader.whereabouts(), (before.0, false, before.2));
    let newcomer = Reader::on(proxy.address("reads").port()).whereabouts();
    assert_eq!((newcomer.0, newcomer.1), (first.port, true));
    assert_eq!(proxy.metric("peerway_sessions_closed_total{pool=\"replicas\",cause=\"backend_down\"}"), 0.0);
    eprintln!(
        "{} sessions on the wrong server, the last {last:?} after the fault; the first on the new primary {next:?} after \
         its promotion; {written} writes",
        wrong.len()
    );
    let told: Value = proxy.admin().json("/api/v1/pools");
    let reason = told["pools"].as_array().unwrap().iter().find(|pool| pool["name"] == "primary").unwrap();
    let reason = reason["backends"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("it is a replica, not the primary"), "{reason}");
}
