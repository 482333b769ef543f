//! PostgreSQL servers of a test's own: each on a port of its own, their data in one folder that goes with the test.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Program, eventually, free_port, program, run};

/// A server on a free port.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) port: u16,
    pub(crate) data: PathBuf,
}

impl Server {
    /// One that serves, with these settings.
    pub(crate) fn start(data: PathBuf, settings: &[&str]) -> Self {
        Self::launch(data, free_port(), settings).ready()
    }

    /// One that listens, and may never let anyone in.
    pub(crate) fn launch(data: PathBuf, port: u16, settings: &[&str]) -> Self {
        let mut server = program("postgres");
        server.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"]).arg(home(&data));
        server.args(["-c", "fsync=off"]);
        server.args(settings.iter().flat_map(|setting| ["-c", setting]));
        let program = Program::start(unprivileged(&mut server, home(&data))).listening(port);
        Self { program, port, data }
    }

    /// Waits until it serves: it listens before that.
    pub(crate) fn ready(self) -> Self {
        Self { program: self.program.saying("ready to accept"), ..self }
    }

    /// A copy of its data in `name`, set up to follow it.
    pub(crate) fn copy(&self, name: &str) -> PathBuf {
        let copy = home(&self.data).join(name);
        let mut backup = self.client("pg_basebackup");
        run(unprivileged(backup.arg("-D").arg(&copy).args(["-R", "-X", "stream", "-c", "fast"]), home(&self.data)));
        copy
    }

    /// Makes a primary of a replica.
    pub(crate) fn promote(&self) {
        self.control(&["promote", "-w"]);
    }

    /// Ends it as an operator does: sessions are cut off, replicas have all they need. Returns its data.
    pub(crate) fn stop(self) -> PathBuf {
        self.control(&["stop", "-m", "fast", "-w"]);
        self.data
    }

    fn control(&self, what: &[&str]) {
        run(unprivileged(program("pg_ctl").arg("-D").arg(&self.data).args(what), home(&self.data)));
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        run(self.client("psql").args(["-X", "-A", "-t", "-c", sql, "postgres"])).trim().to_owned()
    }

    /// A client program that talks to it, as its owner.
    pub(crate) fn client(&self, name: &str) -> Command {
        client(name, self.port, "postgres")
    }

    /// What it has logged until now: all of it, for a warning of ours is the last of that.
    pub(crate) fn log(&self) -> Vec<String> {
        let mark = format!("mark {}", self.program.said().len());
        self.sql(&format!("DO $$ BEGIN RAISE WARNING '{mark}'; END $$"));
        eventually("our own warning in the log", || {
            let said = self.program.said();
            let end = said.iter().position(|line| line.contains(&mark))?;
            Some(said[..end].to_vec())
        })
    }

    /// Nobody is left but who asks.
    pub(crate) fn is_left_alone(&self) {
        let others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
        eventually("no session of a probe", || (self.sql(others) == "1").then_some(()));
    }
}

/// A client program that talks to this port of 127.0.0.1, as this user.
pub(crate) fn client(name: &str, port: u16, user: &str) -> Command {
    let mut command = program(name);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", user]);
    command
}

/// A new cluster in a folder of its own, where all may log in as they like.
pub(crate) fn cluster() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    if let Some((user, group)) = account() {
        chown(dir.path(), Some(user), Some(group)).unwrap();
    }
    let data = dir.path().join("data");
    let mut init = program("initdb");
    run(unprivileged(init.arg("-D").arg(&data).args(["-A", "trust", "-U", "postgres", "-N"]), dir.path()));
    (dir, data)
}

/// The folder that a server's data is in.
fn home(data: &Path) -> &Path {
    data.parent().unwrap()
}

/// PostgreSQL refuses to run as root; its package brings an account.
pub(crate) fn account() -> Option<(u32, u32)> {
    let id = |flags: &[&str]| run(program("id").args(flags)).trim().parse::<u32>().unwrap();
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

fn unprivileged<'a>(command: &'a mut Command, dir: &Path) -> &'a mut Command {
    command.current_dir(dir);
    match account() {
        Some((user, group)) => command.uid(user).gid(group),
        None => command,
    }
}
