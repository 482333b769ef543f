//! The access log: which lines are written, and what they say.

use super::*;
use crate::admission::{Gate, Permit};
use crate::config::plan::Overflow;
use crate::intake::{Facts, Introduction};
use crate::ledger::{Entry, Ledger};
use crate::listener::{Accepted, ListenerLive};
use crate::metrics::{Cause, Phase, Side};
use crate::net::{Peer, Stream};
use std::time::Instant;
use tokio::net::{TcpListener, TcpStream};

/// A ledger whose one listener logs as `access` says, into `log` of a folder of its own.
struct Fixture {
    dir: tempfile::TempDir,
    ledger: Arc<Ledger>,
    listener: Arc<ListenerLive>,
}

impl Fixture {
    fn new(format: &str, access: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("log");
        let yaml = format!(
            "log: {{ format: {format}, access: {{ to: {}, {access} }} }}\n\
             listeners: {{ 'l\"q': {{ bind: 127.0.0.1:0, pool: p }} }}\n\
             pools: {{ p: {{ backends: [ 127.0.0.1:1 ] }} }}",
            to.display()
        );
        let plan = crate::config::parse("t.yaml", &yaml, &crate::balance::CATALOGUE, &|_| None);
        let plan = plan.unwrap_or_else(|errors| panic!("{errors}"));
        let listener = Arc::new(ListenerLive::new(plan.listeners[0].clone(), 1));
        Self { dir, ledger: Arc::new(Ledger::new(1, AccessLogs::open(&plan).unwrap())), listener }
    }

    async fn session(&self) -> Entry {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(socket.local_addr().unwrap()), socket.accept());
        let (stream, peer) = accepted.unwrap();
        drop(client);
        let (gate, at) = (Gate::new(1, Overflow::Refuse), Instant::now());
        let accepted = Accepted {
            stream: Stream::try_from(stream).expect("room in the runtime"),
            peer: Peer::tcp(peer),
            local: Peer::tcp(socket.local_addr().unwrap()),
            listener: self.listener.clone(),
            permit: Permit::take(&gate, &self.listener.entrance, None, at).await.unwrap(),
            at,
            header_by: None,
        };
        self.ledger.open(&accepted, 0)
    }

    /// Everything that is logged about a session that ends without a byte.
    async fn life(&self) -> String {
        let entry = self.session().await;
        for kind in [Kind::Start, Kind::Interval] {
            self.ledger.access().write(kind, entry.record(), None, Duration::from_secs(1));
        }
        let (side, phase) = (Side::Client, Phase::Intake);
        entry.close(Outcome { cause: Cause::ClientReset, side, phase, errno: Some(104) });
        assert!(self.ledger.access().sinks.load().each().all(|sink| sink.flush(Duration::from_secs(5))));
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

const KEYS: [&str; 23] = [
    "v",
    "ts",
    "kind",
    "id",
    "listener",
    "route",
    "pool",
    "backend",
    "peer",
    "client",
    "local",
    "upstream_local",
    "backend_addr",
    "sni",
    "alpn",
    "unique_id",
    "attempts",
    "bytes_up",
    "bytes_down",
    "seconds",
    "cause",
    "side",
    "phase",
];

#[tokio::test]
async fn every_line_has_every_key_in_its_place() {
    let log = Fixture::new("json", "when: [start, end, interval 60s]").life().await;
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines.iter().map(|line| line["kind"].as_str().unwrap()).collect::<Vec<_>>(),
        ["start", "interval", "end"]
    );
    for line in &lines {
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, [KEYS.as_slice(), &["errno"]].concat());
        let spans: Vec<&str> = line["seconds"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(spans, ["handshake", "queue", "connect", "first_byte_up", "first_byte_down", "total"]);
    }
    let (start, end) = (&lines[0], &lines[2]);
    assert_eq!((&start["cause"], &start["errno"], &start["pool"]), (&().into(), &().into(), &().into()));
    assert_eq!(
        (&end["cause"], &end["side"], &end["phase"]),
        (&"client_reset".into(), &"client".into(), &"intake".into())
    );
    assert_eq!((&end["errno"], &end["v"], &end["listener"]), (&104.into(), &1.into(), &"l\"q".into()));
    assert!(end["seconds"]["total"].as_f64().unwrap() < 5.0 && end["attempts"] == serde_json::json!([]));
}

#[tokio::test]
async fn what_the_client_has_shown_beats_what_a_proxy_says_of_it() {
    let fixture = Fixture::new("json", "when: [end]");
    let entry = fixture.session().await;
    let mut fields = crate::wire::proxy::Tlvs::default();
    fields.push(crate::wire::proxy::AUTHORITY, b"told.example").unwrap();
    fields.push(crate::wire::proxy::ALPN, b"told").unwrap();
    entry.introduced(Some(Introduction { client: Peer::Unix, fields: Some(Box::new(fields)) }));
    let line = || -> serde_json::Value {
        serde_json::from_slice(&line::compose(Form::Json, Kind::End, entry.record(), None, Duration::from_secs(1)))
            .unwrap()
    };
    assert_eq!((&line()["sni"], &line()["alpn"]), (&"told.example".into(), &"told".into()));
    let alpn = vec![b"h2".as_slice().into(), b"\"\n".as_slice().into()];
    entry.shown(Some(Box::new(Facts { sni: Some("shown.example".into()), alpn, ..Facts::default() })));
    assert_eq!((&line()["sni"], &line()["alpn"]), (&"shown.example".into(), &r#"h2,\"\n"#.into()));
}

#[tokio::test]
async fn the_text_form_says_the_same() {
    let log = Fixture::new("text", "when: [end]").life().await;
    let at = |key: &str| log.find(&format!("{key}=")).unwrap_or_else(|| panic!("{key} in {log}"));
    assert!(
        KEYS.iter().filter(|key| **key != "seconds").map(|key| at(&format!(" {key}").replace(" v", "v"))).is_sorted()
    );
    for part in [" kind=\"end\" ", " listener=\"l\\\"q\" ", " seconds.queue=null ", " errno=104\n"] {
        assert!(log.contains(part), "{part} in {log}");
    }
}

#[tokio::test]
async fn only_what_is_wanted_is_written() {
    let kinds = async |access: &str| {
        let log = Fixture::new("json", access).life().await;
        log.lines().map(|line| line.split("\"kind\":\"").nth(1).unwrap()[..3].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds("when: [end]").await, ["end"]);
    assert_eq!(kinds("when: [start]").await, ["sta"]);
    assert_eq!(kinds("when: [interval 1s]").await, ["int"]);
    assert_eq!(kinds("when: [end, start], skip: [empty]").await, ["sta"], "a start is never empty-handed");
    assert!(kinds("when: [end, start], sample: 0%").await.is_empty());
}

#[tokio::test]
async fn a_share_of_the_sessions_is_logged_whole_or_not_at_all() {
    let fixture = Fixture::new("json", "when: [start, end], sample: 30%");
    let mut log = String::new();
    for _ in 0..300 {
        log = fixture.life().await;
    }
    let starts = log.matches("\"kind\":\"start\"").count();
    assert!((50..150).contains(&starts), "{starts} of 300");
    assert_eq!(log.matches("\"kind\":\"end\"").count(), starts);
}

#[tokio::test]
async fn a_new_plan_keeps_open_what_it_needs() {
    let fixture = Fixture::new("json", "when: [end]");
    let logs = fixture.ledger.access();
    let plan = |to: &str| {
        let yaml = format!(
            "log: {{ access: {{ to: {to} }} }}\nlisteners: {{ l: {{ bind: 127.0.0.1:0, pool: p }} }}\npools: {{ p: {{ backends: [ 127.0.0.1:1 ] }} }}"
        );
        crate::config::parse("t.yaml", &yaml, &crate::balance::CATALOGUE, &|_| None).unwrap()
    };
    let path = fixture.dir.path().join("log");
    let before = logs.sinks.load().each().next().unwrap().clone();
    logs.adopt(logs.prepare(&plan(&path.display().to_string())).unwrap());
    assert!(Arc::ptr_eq(&before, logs.sinks.load().each().next().unwrap()));
    let error = logs.prepare(&plan("/nowhere/at/all")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    assert_eq!(logs.sinks.load().open.len(), 1);
    // Another spelling of it has the same sink: two would mix their lines.
    let respelled = fixture.dir.path().join(".//log");
    logs.adopt(logs.prepare(&plan(&respelled.display().to_string())).unwrap());
    assert!(Arc::ptr_eq(&before, logs.sinks.load().each().next().unwrap()));
    logs.adopt(logs.prepare(&plan("off")).unwrap());
    assert!(logs.sinks.load().open.is_empty());
}

#[tokio::test]
async fn a_line_says_how_long_its_session_has_lasted() {
    let fixture = Fixture::new("json", "when: [end]");
    let entry = fixture.session().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    entry.close(Outcome::stopped(Cause::Killed, Phase::Intake));
    assert!(fixture.ledger.access().sinks.load().each().all(|sink| sink.flush(Duration::from_secs(5))));
    let log = std::fs::read_to_string(fixture.dir.path().join("log")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&log).unwrap();
    assert!(line["seconds"]["total"].as_f64().unwrap() >= 0.02, "{line}");
}
