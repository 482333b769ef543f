//! The probe for MySQL, against MariaDB: logins, who takes writes, and nothing counted as gone wrong.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::sync::Arc;

use peerway::config::plan::{Login, Probe, Role};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::probes::{at_path, at_port, fails, from, in_role, login};
use crate::support::{PATIENCE, Program, eventually, free_port, program, run};

/// A server on a free port, without any settings but these.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) port: u16,
    dir: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let (data, scratch) = (dir.path().join("data"), dir.path().join("scratch"));
        [&data, &scratch].iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
        let mut init = program("mariadb-install-db");
        init.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        let mut server = program("mariadbd");
        server.args([
            "--no-defaults",
            "--bind-address=127.0.0.1",
            "--max-connect-errors=3",
            "--innodb-flush-method=nosync",
        ]);
        if let Some((user, group)) = account() {
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
            [&data, &scratch].iter().for_each(|dir| chown(dir, Some(user), Some(group)).unwrap());
            init.arg("--user=mysql");
            server.arg("--user=mysql");
        }
        // Two that are set up at once get into each other's way in the usual place.
        init.env("TMPDIR", &scratch);
        server.env("TMPDIR", &scratch);
        run(init.arg(format!("--datadir={}", data.display())));
        let socket = format!("--socket={}", data.join("socket").display());
        server.arg(format!("--datadir={}", data.display())).args([socket, format!("--port={port}")]);
        let server = Self { program: Program::start(&mut server).listening(port), port, dir };
        // Its unix socket is there a little later than its port.
        eventually("an answer", || server.client("SELECT 1").output().unwrap().status.success().then_some(()));
        // Nobody may come from elsewhere while no account says so.
        server.sql("CREATE USER watcher@'%' IDENTIFIED BY 'geheim'; CREATE USER open@'%'");
        server
    }

    fn sql(&self, sql: &str) -> String {
        run(&mut self.client(sql)).trim().to_owned()
    }

    fn client(&self, sql: &str) -> Command {
        let mut client = program("mariadb");
        client.args(["--no-defaults", "-uroot", "-N", "-e", sql, "-S"]).arg(self.dir.path().join("data/socket"));
        client
    }

    /// Connections that came to nothing, by kind.
    fn aborted(&self) -> BTreeMap<String, u32> {
        let status = self.sql("SHOW GLOBAL STATUS LIKE 'Aborted%'");
        let pairs = status.lines().map(|line| line.split_once('\t').unwrap());
        pairs.map(|(name, count)| (name.to_owned(), count.parse().unwrap())).collect()
    }

    /// Nobody is left but who asks.
    fn is_left_alone(&self) {
        let others = "SELECT count(*) FROM information_schema.processlist WHERE command <> 'Daemon'";
        eventually("no session of a probe", || (self.sql(others) == "1").then_some(()));
    }
}

/// As root the server takes on the account that its package brings.
fn account() -> Option<(u32, u32)> {
    let id = |flags: &[&str]| run(program("id").args(flags)).trim().parse::<u32>().unwrap();
    (id(&["-u"]) == 0).then(|| (id(&["-u", "mysql"]), id(&["-g", "mysql"])))
}

fn probe(login: &Login) -> Probe {
    Probe::Mysql(Arc::new(login.clone()))
}

#[test]
fn logins_roles_and_refusals() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let (watcher, open) = (login("watcher", dir.path(), Some("geheim")), login("open", dir.path(), None));
    let (as_primary, as_replica) = (probe(&in_role(&watcher, Role::Primary)), probe(&in_role(&watcher, Role::Replica)));
    let socket = server.dir.path().join("data/socket");
    let before = (server.aborted(), server.program.said());
    for _ in 0..10 {
        for login in [&watcher, &open] {
            at_port(server.port, &probe(login)).unwrap();
            at_path(&socket, &probe(login)).unwrap();
        }
        at_port(server.port, &as_primary).unwrap();
        fails(at_port(server.port, &as_replica), "it is a primary, not a replica");
        server.sql("SET GLOBAL read_only = ON");
        at_port(server.port, &as_replica).unwrap();
        fails(at_port(server.port, &as_primary), "it is a replica, not the primary");
        server.sql("SET GLOBAL read_only = OFF");
    }
    server.is_left_alone();
    assert_eq!((server.aborted(), server.program.said()), before);

    let wrong = login("watcher", dir.path(), Some("wrong"));
    fails(at_port(server.port, &probe(&wrong)), "1045 28000: Access denied for user");
    server.sql("INSTALL SONAME 'auth_ed25519'; CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('x')");
    let ed = login("ed", dir.path(), Some("x"));
    fails(at_port(server.port, &probe(&ed)), "the account's plugin is `client_ed25519`");
    server.sql("SET GLOBAL max_connections = 10");
    // One more than that is let in, for the case that it is the administrator.
    let _crowd: Vec<_> = (0..11).map(|_| greeted([127, 0, 0, 1].into(), server.port)).collect();
    for login in [&watcher, &Login::default()] {
        fails(at_port(server.port, &probe(login)), "Too many connections");
    }
}

#[test]
fn probes_never_make_a_server_block_their_host() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let there = |last: u8| IpAddr::from([127, 0, 0, last]);
    server.sql("INSTALL SONAME 'auth_ed25519'");
    // Strangers are asked for a proof as one of those is that are known, so here most likely for one of these.
    for number in 0..20 {
        server.sql(&format!("CREATE USER ed{number}@'%' IDENTIFIED VIA ed25519 USING PASSWORD('x')"));
    }
    for _ in 0..6 {
        from(there(2), server.port, &probe(&Login::default())).unwrap();
        fails(from(there(2), server.port, &probe(&login("ed1", dir.path(), Some("x")))), "`client_ed25519`");
    }
    from(there(2), server.port, &probe(&login("open", dir.path(), None))).unwrap();
    // What a client does that only hears the greeting.
    for _ in 0..3 {
        drop(greeted(there(3), server.port));
    }
    let blocked = eventually("a host that is blocked", || from(there(3), server.port, &probe(&Login::default())).err());
    assert!(blocked.words.contains("is blocked because of many connection errors"), "{blocked}");
}

/// A client that has heard the greeting and says nothing.
fn greeted(source: IpAddr, port: u16) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!((&socket).read(&mut [0; 512]).unwrap() > 0);
    socket
}
