//! The probe for Redis: passwords, roles over a promotion, and no trace of it left.

use std::fs;
use std::sync::Arc;

use peerway::config::plan::{Login, Probe, Role};
use tempfile::TempDir;

use crate::probes::{at_port, fails, in_role, login, tells_apart};
use crate::support::{Program, eventually, free_port, program, run};

/// A server on a free port, whose default account has the password `geheim`.
struct Server {
    program: Program,
    port: u16,
    dir: TempDir,
}

impl Server {
    fn start(more: &[&str]) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut server = program("redis-server");
        server.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]).arg(dir.path());
        server.args(["--requirepass", "geheim", "--masterauth", "geheim", "--logfile", "log"]).args(more);
        let server = Self { program: Program::start(&mut server).listening(port), port, dir };
        // It accepts connections a moment before it says so.
        eventually("a server that is ready", || server.log().contains("Ready to accept connections").then_some(()));
        server
    }

    fn says(&self, command: &[&str]) -> String {
        let mut client = program("redis-cli");
        client.args(["-p", &self.port.to_string(), "-a", "geheim", "--no-auth-warning"]).args(command);
        run(&mut client).trim().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// Nobody is left but who asks.
    fn is_left_alone(&self) {
        eventually("no connection of a probe", || {
            (self.says(&["client", "list", "type", "normal"]).lines().count() == 1).then_some(())
        });
    }
}

fn probe(login: &Login) -> Probe {
    Probe::Redis(Arc::new(login.clone()))
}

#[test]
fn a_password_is_needed_where_one_is_set() {
    let server = Server::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    let password = Login { user: None, ..login("default", dir.path(), Some("geheim")) };
    let before = server.log();
    for _ in 0..20 {
        at_port(server.port, &probe(&password)).unwrap();
        at_port(server.port, &probe(&login("default", dir.path(), Some("geheim")))).unwrap();
    }
    fails(at_port(server.port, &probe(&Login::default())), "it answers PING with `NOAUTH Authentication required");
    let wrong = Login { user: None, ..login("default", dir.path(), Some("wrong")) };
    fails(at_port(server.port, &probe(&wrong)), "it refuses AUTH: `WRONGPASS");
    // An account that may hardly do anything.
    server.says(&["acl", "setuser", "watcher", "on", ">klein", "+ping", "+info"]);
    let watcher = login("watcher", dir.path(), Some("klein"));
    at_port(server.port, &probe(&in_role(&watcher, Role::Primary))).unwrap();
    fails(at_port(server.port, &probe(&in_role(&watcher, Role::Replica))), "it is a primary, not a replica");
    server.says(&["acl", "setuser", "watcher", "-info"]);
    fails(at_port(server.port, &probe(&in_role(&watcher, Role::Primary))), "it answers INFO with `NOPERM");
    server.is_left_alone();
    assert_eq!(server.log(), before);
}

#[test]
fn a_replica_is_one_while_it_follows_and_until_it_is_promoted() {
    let primary = Server::start(&[]);
    let replica =
        Server::start(&["--replicaof", "127.0.0.1", &primary.port.to_string(), "--repl-diskless-sync-delay", "0"]);
    let dir = tempfile::tempdir().unwrap();
    let user = login("default", dir.path(), Some("geheim"));
    let (as_primary, as_replica) = (probe(&in_role(&user, Role::Primary)), probe(&in_role(&user, Role::Replica)));
    eventually("a replica that follows", || at_port(replica.port, &as_replica).ok());
    let before = replica.log();
    tells_apart((primary.port, &as_primary), (replica.port, &as_replica));
    replica.is_left_alone();
    primary.is_left_alone();
    let (after, warnings) = (replica.log(), " # ");
    assert!(!after[before.len()..].contains(warnings), "{after}");
    drop(primary.program);
    let lost = eventually("a replica without a primary", || at_port(replica.port, &as_replica).err());
    assert!(lost.words.contains("does not follow its primary: the link is `connect"), "{lost}");
    at_port(replica.port, &probe(&user)).unwrap();
    replica.says(&["replicaof", "no", "one"]);
    at_port(replica.port, &as_primary).unwrap();
    fails(at_port(replica.port, &as_replica), "it is a primary, not a replica");
}
