//! A real proxy: the binary under test, its file in a folder of its own, its two logs.

use std::fmt::Display;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

use super::admin::{Admin, Scrape};
use super::lines::Lines;
use super::process::end;
use super::{Backend, Moody, PATIENCE, Peer, Service};

/// A proxy to be: admin on a free port, listener `front` on a free port, pool `back`.
/// Extra YAML lines go under the process, the listener or the pool.
pub(crate) struct Setup {
    dir: TempDir,
    backends: Vec<String>,
    bind: String,
    process: String,
    listener: String,
    pool: String,
    whole: Option<String>,
    wrapper: Vec<String>,
    read_stdout: bool,
    linked: bool,
    program: PathBuf,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// In front of these backends.
    pub(crate) fn to<B: Address>(backends: impl IntoIterator<Item = B>) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            backends: backends.into_iter().map(|backend| backend.text()).collect(),
            bind: "127.0.0.1:0".into(),
            process: String::new(),
            listener: String::new(),
            pool: String::new(),
            whole: None,
            wrapper: Vec::new(),
            read_stdout: true,
            linked: false,
            program: binary(),
            environment: Vec::new(),
        }
    }

    /// With a file of the test's own.
    pub(crate) fn file(yaml: impl Into<String>) -> Self {
        Self { whole: Some(yaml.into()), ..Self::to::<SocketAddr>([]) }
    }

    /// The test's own file, with something in it replaced.
    pub(crate) fn replace(self, from: &str, to: &str) -> Self {
        Self { whole: self.whole.map(|whole| whole.replace(from, to)), ..self }
    }

    /// One more backend.
    pub(crate) fn backend(mut self, address: impl Address) -> Self {
        self.backends.push(address.text());
        self
    }

    /// `front` binds here instead.
    pub(crate) fn bind(self, bind: impl Display) -> Self {
        Self { bind: format!("{bind}"), ..self }
    }

    /// One more line at the top level.
    pub(crate) fn process(mut self, line: &str) -> Self {
        self.process += &format!("{line}\n");
        self
    }

    /// One more line of the listener.
    pub(crate) fn listener(mut self, line: &str) -> Self {
        self.listener += &format!("    {line}\n");
        self
    }

    /// One more line of the pool.
    pub(crate) fn pool(mut self, line: &str) -> Self {
        self.pool += &format!("    {line}\n");
        self
    }

    /// Its file is a link to this one.
    pub(crate) fn linked_to(self, file: &Path) -> Self {
        std::os::unix::fs::symlink(file, self.dir.path().join("peerway.yaml")).unwrap();
        Self { linked: true, ..self }
    }

    /// With so many descriptors, soft and hard.
    pub(crate) fn descriptors(mut self, limit: u32) -> Self {
        self.wrapper = vec!["prlimit".into(), format!("--nofile={limit}:{limit}")];
        self
    }

    /// Started from a copy of the program, which the test may replace: `program` in its folder.
    pub(crate) fn own_program(mut self) -> Self {
        self.program = self.dir.path().join("program");
        std::fs::copy(binary(), &self.program).unwrap();
        self
    }

    /// Wrapped in another program.
    pub(crate) fn wrapped(mut self, line: &[&str]) -> Self {
        self.wrapper = line.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// With one more variable in its environment.
    pub(crate) fn variable(mut self, name: &str, value: impl Display) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Nobody reads the proxy's stdout.
    pub(crate) fn stdout_stuck(self) -> Self {
        Self { read_stdout: false, ..self }
    }

    /// The folder the proxy's file will be in, and where it runs.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn yaml(&self) -> String {
        let Self { process, bind, listener, pool, .. } = self;
        let backends: Vec<String> = self.backends.iter().map(|backend| format!("{backend:?}")).collect();
        let backends = backends.join(", ");
        self.whole.clone().unwrap_or_else(|| {
            format!(
                "admin: {{ listen: 127.0.0.1:0 }}\n{process}\
                 listeners:\n  front:\n    bind: {bind:?}\n    pool: back\n{listener}\
                 pools:\n  back:\n    backends: [ {backends} ]\n{pool}"
            )
        })
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Proxy {
        let proxy = self.launch();
        let ready = proxy.log.wait(PATIENCE, |lines| lines.iter().any(|line| message(line) == "ready").then_some(()));
        assert!(ready.is_some(), "not ready: {:#?}", proxy.log.all());
        proxy
    }

    /// Starts it and waits until it has ended by itself; returns its exit code and its stderr.
    #[track_caller]
    pub(crate) fn fails(self) -> (Option<i32>, String) {
        let mut proxy = self.launch();
        let status = proxy.exit_within(PATIENCE);
        proxy.log.wait(PATIENCE, |_| None::<()>);
        (status.code(), proxy.log.all().join("\n"))
    }

    /// Starts it and does not wait.
    pub(crate) fn launch(self) -> Proxy {
        raise_own_limit();
        let file = self.dir.path().join("peerway.yaml");
        if !self.linked {
            std::fs::write(&file, self.yaml()).unwrap();
        }
        let mut line = self.wrapper.clone();
        line.extend([self.program.display().to_string(), "run".into(), "-c".into(), file.display().to_string()]);
        let mut child = Command::new(&line[0])
            .args(&line[1..])
            .current_dir(self.dir.path())
            .envs(self.environment.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let log = Lines::of(child.stderr.take().unwrap());
        let (access, stuck) =
            if self.read_stdout { (Lines::of(stdout), None) } else { (Lines::default(), Some(stdout)) };
        Proxy { child, log, access, stuck, heard: AtomicUsize::new(0), dir: self.dir }
    }
}

/// The proxy under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("PEERWAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_peerway").into(), PathBuf::from)
}

/// A running proxy, killed when dropped.
pub(crate) struct Proxy {
    child: Child,
    log: Lines,
    access: Lines,
    stuck: Option<ChildStdout>,
    /// How many ended sessions the test has asked about.
    heard: AtomicUsize,
    dir: TempDir,
}

impl Proxy {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Every address a listener announced, in order.
    pub(crate) fn addresses(&self, listener: &str) -> Vec<String> {
        let lines = self.log.all().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let bound = lines.filter(|line| line["message"] == "listening" && line["listener"] == listener);
        bound.map(|line| line["address"].as_str().unwrap().to_owned()).collect()
    }

    /// The first address of a listener.
    #[track_caller]
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let addresses = self.addresses(listener);
        addresses.first().unwrap_or_else(|| panic!("no listener {listener}")).parse().unwrap()
    }

    /// A client of `front`.
    #[track_caller]
    pub(crate) fn connect(&self) -> Peer {
        Peer::connect(self.address("front"))
    }

    /// A newcomer is reset: the reset may be there before its connect returns.
    #[track_caller]
    pub(crate) fn is_turned_away(&self) {
        match Peer::try_connect(self.address("front")) {
            Ok(mut client) => client.hear_reset(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    /// A whole session: the client's end and the backend's end.
    #[track_caller]
    pub(crate) fn session(&self, backend: &Backend) -> (Peer, Peer) {
        static SEED: AtomicUsize = AtomicUsize::new(100);
        let seed = SEED.fetch_add(2, Ordering::Relaxed) as u64;
        let client = self.connect().seeded(seed, seed + 1);
        (client, backend.accept().seeded(seed + 1, seed))
    }

    /// Its admin endpoint.
    #[track_caller]
    pub(crate) fn admin(&self) -> Admin {
        let address = self.addresses("admin").pop().expect("an admin endpoint");
        Admin { address }
    }

    /// One value of a fresh scrape; see [`Scrape::get`].
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> f64 {
        self.admin().metric(series)
    }

    /// Waits until the series has this value: a count follows what it counts by a moment.
    #[track_caller]
    pub(crate) fn metric_becomes(&self, series: &str, value: f64) {
        let mut last = f64::NAN;
        let start = Instant::now();
        while start.elapsed() < PATIENCE && last != value {
            last = self.metric(series);
        }
        assert_eq!(last, value, "{series}");
    }

    /// Waits until so many were refused at `front` for this reason.
    #[track_caller]
    pub(crate) fn refused(&self, reason: &str, times: u32) {
        let series = format!("peerway_listener_refused_total{{listener=\"front\",reason=\"{reason}\"}}");
        self.metric_becomes(&series, f64::from(times));
    }

    /// The `index`th backend of the first pool, as the API tells it.
    #[track_caller]
    pub(crate) fn backend(&self, index: usize) -> Value {
        self.admin().json("/api/v1/pools")["pools"][0]["backends"][index].clone()
    }

    /// Waits until that backend is in this state; returns what the API tells of it then.
    #[track_caller]
    pub(crate) fn backend_becomes(&self, index: usize, state: &str) -> Value {
        let start = Instant::now();
        loop {
            let backend = self.backend(index);
            if backend["state"] == state {
                return backend;
            }
            assert!(start.elapsed() < PATIENCE, "not {state}: {backend}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A fresh scrape.
    #[track_caller]
    pub(crate) fn scrape(&self) -> Scrape {
        self.admin().scrape()
    }

    /// Sessions under way.
    #[track_caller]
    pub(crate) fn active(&self) -> f64 {
        self.metric("peerway_listener_active_connections")
    }

    /// The access log's next record of an ended session.
    #[track_caller]
    pub(crate) fn ended(&self) -> Value {
        let number = self.heard.fetch_add(1, Ordering::Relaxed);
        let found = self.access.wait(PATIENCE, |lines| ends(lines).nth(number));
        found.unwrap_or_else(|| panic!("session {number} has not ended in the access log: {:#?}", self.access.all()))
    }

    /// Why that session ended: `cause side phase`.
    #[track_caller]
    pub(crate) fn why(&self) -> String {
        let end = self.ended();
        ["cause", "side", "phase"].map(|key| end[key].as_str().unwrap_or("?").to_owned()).join(" ")
    }

    /// Lines of its own log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.all()
    }

    /// Waits for a line of its own log that contains `text`.
    #[track_caller]
    pub(crate) fn logs(&self, text: &str) -> String {
        let found = self.log.wait(PATIENCE, |lines| lines.iter().find(|line| line.contains(text)).cloned());
        found.unwrap_or_else(|| panic!("no line with {text:?}: {:#?}", self.log.all()))
    }

    /// Lines of its access log so far.
    pub(crate) fn access(&self) -> Vec<String> {
        self.access.all()
    }

    /// Whoever should read its stdout is gone.
    pub(crate) fn close_stdout(&mut self) {
        self.stuck = None;
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        end(self.child.id(), signal);
    }

    /// Gives it another soft limit of descriptors while it runs; returns the one it had.
    pub(crate) fn descriptor_limit(&self, limit: u64) -> u64 {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let new = Rlimit { current: Some(limit), maximum };
        let had = prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, new).unwrap();
        had.current.unwrap()
    }

    /// How it ended, within so long.
    #[track_caller]
    pub(crate) fn exit_within(&mut self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < within, "still running after {within:?}: {:#?}", self.log.all());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end_heirs();
        let _ = self.child.kill();
        let status = self.child.wait();
        let log = self.log.all();
        if std::thread::panicking() {
            eprintln!(
                "--- the proxy's log:\n{}\n--- its access log:\n{}",
                log.join("\n"),
                self.access.all().join("\n")
            );
            return;
        }
        assert!(!log.iter().any(|line| line.contains("panicked")), "the proxy panicked: {log:#?}");
        let signal = status.unwrap().signal();
        assert!(!matches!(signal, Some(6 | 11)), "the proxy died of signal {signal:?}: {log:#?}");
    }
}

/// What can stand in a pool.
pub(crate) trait Address {
    fn text(&self) -> String;
}

impl Address for &Backend {
    fn text(&self) -> String {
        self.address().to_string()
    }
}

impl Address for &Service {
    fn text(&self) -> String {
        self.address().to_string()
    }
}

impl Address for &Moody {
    fn text(&self) -> String {
        self.address().to_string()
    }
}

impl Address for SocketAddr {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Address for String {
    fn text(&self) -> String {
        self.clone()
    }
}

fn message(line: &str) -> String {
    serde_json::from_str::<Value>(line)
        .map(|line| line["message"].as_str().unwrap_or("").to_owned())
        .unwrap_or_default()
}

fn ends(lines: &[String]) -> impl Iterator<Item = Value> + '_ {
    lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|line| line["kind"] == "end")
}

/// Tests with thousands of sessions hold both ends of each.
fn raise_own_limit() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    });
}
