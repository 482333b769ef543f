//! A process without workers: real state, real endpoints on port 0, sessions opened by hand.

#[path = "../support/pki.rs"]
mod pki;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use peerway::admin::{Desk, Door, Endpoint, Origin, State, Upgrades};
use peerway::admission::{Gate, Permit};
use peerway::balance::CATALOGUE;
use peerway::config;
use peerway::config::plan::{CertificateFiles, Plan};
use peerway::drain::{Lifecycle, Stage};
use peerway::ledger::{AccessLogs, Entry, Ledger};
use peerway::listener::{Accepted, ListenerLive};
use peerway::metrics::Reloads;
use peerway::net::{Peer, Stream};
use peerway::pool::{Keeper, Pool, Tools};
use peerway::relay::Workbench;
use peerway::route::{Listening, Live, Table};
use peerway::tls;
use tokio::sync::watch;

use pki::{Authority, Wish};

const PATIENCE: Duration = Duration::from_secs(20);
const LISTENERS: &str = "
listeners:
  front: { bind: 127.0.0.1:0, pool: web, log: { access: off } }
  back: { bind: 127.0.0.1:0, pool: db, log: { access: off } }
pools:
  web:
    policy: random
    backends: [ { name: one, address: \"127.0.0.1:1\", weight: 3 }, { name: two, address: \"127.0.0.1:2\", disabled: true } ]
  db: { backends: [ { name: named, address: \"localhost:5\" } ] }
  empty: { backends: [] }
";

/// The process.
pub(crate) struct Fixture {
    runtime: tokio::runtime::Runtime,
    pub(crate) state: Arc<State>,
    plan: Plan,
}

/// An answer in its parts.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Fixture {
    /// With these top-level settings besides the listeners and pools above; ready.
    pub(crate) fn new(settings: &str) -> Self {
        Self::of(&format!("{settings}\n{LISTENERS}"))
    }

    /// With this configuration; ready.
    pub(crate) fn of(yaml: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let plan = config::parse("test.yaml", yaml, &CATALOGUE, &|_| None);
        let plan = plan.unwrap_or_else(|errors| panic!("{errors}"));
        let state = Arc::new(runtime.block_on(state(&plan, runtime.handle().clone())));
        state.life.enter(Stage::Ready);
        Self { runtime, state, plan }
    }

    /// Has `front` speak TLS.
    pub(crate) fn with_tls(self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [cert, key] = Authority::new("x").issue(&Wish::names(["x.example"])).save(dir.path(), "a");
        let server = tls::Server::endpoint(&CertificateFiles { cert, key }).unwrap();
        self.state.live.load().listeners["front"].live.tls.put(Some(Arc::new(server)));
        self
    }

    /// Serves the admin endpoint of the settings, or one on loopback.
    pub(crate) fn admin(&self) -> Server {
        let endpoint = Endpoint::admin(self.plan.admin.as_ref().expect("admin in the settings"), None).unwrap();
        self.serve(endpoint)
    }

    /// Serves a metrics endpoint.
    pub(crate) fn metrics(&self) -> Server {
        self.serve(Endpoint::metrics(([127, 0, 0, 1], 0).into(), None).unwrap())
    }

    pub(crate) fn serve(&self, endpoint: Endpoint) -> Server {
        let address = endpoint.address().to_owned();
        let (door, opens) = watch::channel(Door::Open);
        self.runtime.spawn(endpoint.serve(self.state.clone(), opens));
        Server { address, _door: door }
    }

    /// Opens a session at `listener`; it ends with the entry.
    pub(crate) fn session(&self, listener: &str) -> (Entry, TcpStream) {
        let live = self.state.live.load_full();
        let listening = &live.listeners[listener];
        self.runtime.block_on(async {
            let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
            let (stream, peer) = socket.accept().await.unwrap();
            listening.live.cells.connections.inc();
            let (at, who) = (Instant::now(), Some(Peer::tcp(peer)));
            let entrance = &listening.live.entrance;
            let accepted = Accepted {
                stream: Stream::try_from(stream).unwrap(),
                peer: Peer::tcp(peer),
                local: Peer::tcp(socket.local_addr().unwrap()),
                listener: listening.live.clone(),
                permit: Permit::take(&self.state.gate, entrance, who, at).await.unwrap(),
                at,
                header_by: None,
            };
            let entry = self.state.ledger.open(&accepted, 0);
            entry.routed(listening.routes.pools().next().unwrap());
            (entry, client)
        })
    }
}

async fn state(plan: &Plan, runtime: tokio::runtime::Handle) -> State {
    let tools = Tools::alone(1);
    let mut pools = std::collections::BTreeMap::new();
    for settings in &plan.pools {
        let pool = Arc::new(Pool::new(settings.clone()));
        Keeper::new(pool.clone(), tools.clone()).start().await;
        pools.insert(settings.name.clone(), pool);
    }
    let listening = |settings: &config::plan::Listener| Listening {
        live: Arc::new(ListenerLive::new(settings.clone(), 1)),
        bound: vec!["127.0.0.1:4321".into()],
        routes: Table::new(settings, |name| pools.get(name).cloned(), None).unwrap().into(),
        leaving: false,
    };
    let listeners = plan.listeners.iter().map(|settings| (settings.name.clone(), listening(settings))).collect();
    let live = Live { plan: plan.clone().into(), generation: 1, listeners, pools, departed: Vec::new() };
    State {
        live: Arc::new(ArcSwap::from_pointee(live)),
        ledger: Arc::new(Ledger::new(1, AccessLogs::open(plan).unwrap())),
        gate: Arc::new(Gate::new(1000, plan.overflow)),
        life: Arc::new(Lifecycle::default()),
        benches: vec![Arc::new(Workbench::new(0, 4))],
        runtimes: vec![runtime],
        reloads: Arc::new(Reloads::new(SystemTime::now())),
        overrides: tools.overrides.clone(),
        desk: Arc::new(Desk::new(Origin { paths: Vec::new(), env: |_| None, reach: Default::default() }).0),
        log_dropped: Arc::default(),
        elders: Arc::default(),
        upgrades: Arc::new(Upgrades::new().0),
        admin_tls: Arc::default(),
    }
}

/// A served endpoint.
pub(crate) struct Server {
    pub(crate) address: String,
    /// Open for as long as this is held.
    _door: watch::Sender<Door>,
}

impl Server {
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address.parse::<SocketAddr>().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// `method path` with more header lines, each with its end.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let host = &self.address;
        self.raw(&format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"))
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    #[track_caller]
    pub(crate) fn json(&self, path: &str) -> serde_json::Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(answer.head.contains("content-type: application/json\r\n"), "{}", answer.head);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// These bytes, and all that comes back.
    #[track_caller]
    pub(crate) fn raw(&self, bytes: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        read(stream)
    }
}

/// Reads to the end of the connection.
#[track_caller]
pub(crate) fn read(mut stream: impl Read) -> Answer {
    let mut raw = String::new();
    stream.read_to_string(&mut raw).unwrap();
    let (head, body) = raw.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {raw:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: format!("{head}\r\n"), body: body.to_owned() }
}

impl Answer {
    /// It is a problem of this status, and its detail says so.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, detail: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json\r\n"), "{}", self.head);
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!((&problem["status"], &problem["type"]), (&status.into(), &"about:blank".into()));
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
    }
}
