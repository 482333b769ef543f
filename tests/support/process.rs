//! Other programs, and what /proc knows of a process.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::lines::Lines;
use super::{PATIENCE, eventually};

/// A program in the foreground, ended by its id when dropped.
pub(crate) struct Program {
    child: Child,
    name: String,
    said: Lines,
}

impl Program {
    /// Starts `command`; what it says is printed only if the test fails.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let said = Lines::of(child.stderr.take().unwrap());
        Self { child, name, said }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        end(self.child.id(), signal);
    }

    /// The lines it has written to its standard error so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.all()
    }

    /// Waits until it accepts connections on this port of 127.0.0.1.
    #[track_caller]
    pub(crate) fn listening(mut self, port: u16) -> Self {
        let (child, name, said) = (&mut self.child, &self.name, &self.said);
        eventually(&format!("{name} on port {port}"), || {
            assert!(child.try_wait().unwrap().is_none(), "{name} ended: {:#?}", said.all());
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        self
    }

    /// Waits until it has said this: some programs listen before they serve.
    #[track_caller]
    pub(crate) fn saying(self, text: &str) -> Self {
        eventually(&format!("{}: {text}", self.name), || {
            self.said.all().iter().any(|line| line.contains(text)).then_some(())
        });
        self
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, self.said.all().join("\n"));
        }
        // Asked politely first: a database that is killed leaves its children and its shared memory behind.
        end(self.child.id(), rustix::process::Signal::INT);
        let gone = self.said.wait(PATIENCE / 4, |_| None::<()>);
        if gone.is_none() && self.child.try_wait().ok().flatten().is_none() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Sends `signal` to the process `id`.
pub(super) fn end(id: u32, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_raw(id as i32).unwrap();
    let _ = rustix::process::kill_process(id, signal);
}

/// A program of this machine, wherever its package puts it. A missing one fails the test.
#[track_caller]
pub(crate) fn program(name: &str) -> Command {
    let mut places: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    places.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    places.extend(versions.map(|version| version.path().join("bin")));
    let found = places.iter().map(|place| place.join(name)).find(|path| path.is_file());
    Command::new(found.unwrap_or_else(|| panic!("{name} is not installed; tests/run installs it")))
}

/// Runs a command to its end, which must be a success; returns what it printed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{complained}", output.status);
    format!("{said}{complained}")
}

/// A port of 127.0.0.1 that was free a moment ago, for programs that cannot choose one themselves.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(id: u32) -> usize {
    fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
}

/// How many of them are pipe ends.
pub(crate) fn pipes(id: u32) -> usize {
    let links =
        fs::read_dir(format!("/proc/{id}/fd")).unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("pipe:")).count()
}

/// Resident memory of a process.
pub(crate) fn resident_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// CPU time a process has used, all its threads together.
pub(crate) fn cpu_time(id: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // Fields 14 and 15 of the line; the first one after the name is the third. The kernel counts 100 ticks a second.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
