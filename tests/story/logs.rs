//! The access log: one true record a session, and never in the way of one.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Backend, MB, Peer, Setup, eventually, free_port, send_across};

/// Every key a record has.
const KEYS: &str = "v ts kind id listener route pool backend peer client local upstream_local backend_addr sni alpn \
                    attempts bytes_up bytes_down seconds cause side phase errno";

#[test]
fn a_record_has_all_its_keys_and_tells_the_truth() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    let (mut client, mut server) = proxy.session(&backend);
    let peer = client.local().to_string();
    send_across(&mut client, &mut server, 123);
    send_across(&mut server, &mut client, 45_678);
    client.close();
    server.close();
    let end = proxy.ended();
    let missing: Vec<_> = KEYS.split(' ').filter(|key| end.get(key).is_none()).collect();
    assert!(missing.is_empty(), "no {missing:?} in {end:#}");
    let text = |key: &str| end[key].as_str().unwrap_or("?").to_owned();
    assert_eq!((text("listener"), text("pool"), text("kind")), ("front".into(), "back".into(), "end".into()));
    assert_eq!((text("peer"), text("client")), (peer.clone(), peer));
    assert_eq!(text("backend_addr"), backend.address().to_string());
    assert_eq!(text("local"), proxy.address("front").to_string());
    assert_eq!((end["bytes_up"].as_u64(), end["bytes_down"].as_u64()), (Some(123), Some(45_678)));
    for part in ["handshake", "queue", "connect", "first_byte_up", "first_byte_down", "total"] {
        assert!(end["seconds"].get(part).is_some(), "no seconds.{part} in {end:#}");
    }
}

#[test]
fn a_stuck_log_loses_lines_and_holds_up_nobody() {
    let backend = Backend::new().echo();
    let proxy = Setup::to([&backend]).stdout_stuck().start();
    let mut steady = proxy.connect().seeded(1, 1);
    let dropped = eventually("lines are dropped", || {
        for _ in 0..500 {
            proxy.connect().close();
        }
        // All of them have ended, and so have a line, before there are more.
        proxy.metric_becomes("peerway_listener_active_connections", 1.0);
        let dropped = proxy.metric("peerway_log_dropped_total{log=\"access\"}");
        (dropped > 0.0).then_some(dropped)
    });
    assert!(dropped > 0.0);
    steady.say(100_000);
    steady.hear(100_000);
}

#[test]
fn a_reader_that_goes_away_does_not_take_the_proxy_along() {
    let backend = Backend::new().echo();
    let mut proxy = Setup::to([&backend]).stdout_stuck().start();
    proxy.close_stdout();
    for _ in 0..50 {
        let mut client = proxy.connect().seeded(1, 1);
        client.say(1000);
        client.hear(1000);
    }
    eventually("lines are dropped", || (proxy.metric("peerway_log_dropped_total") > 0.0).then_some(()));
    assert_eq!(proxy.admin().get("/healthz").status, 200);
}

#[test]
fn a_full_disk_loses_lines_and_no_session() {
    let backend = Backend::new().echo();
    let proxy = Setup::to([&backend]).process("log: { access: { to: /dev/full } }").start();
    for _ in 0..50 {
        let mut client = proxy.connect().seeded(1, 1);
        client.say(1000);
        client.hear(1000);
    }
    eventually("lines are dropped", || (proxy.metric("peerway_log_dropped_total") > 0.0).then_some(()));
}

#[test]
fn sigusr1_opens_the_log_file_again() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).process("log: { access: { to: access.log } }").start();
    let (log, old) = (proxy.dir().join("access.log"), proxy.dir().join("access.log.1"));
    drop(proxy.session(&backend));
    eventually("the first record", || fs::read_to_string(&log).ok().filter(|text| text.contains("\"end\"")));
    fs::rename(&log, &old).unwrap();
    proxy.signal(Signal::USR1);
    eventually("a new file", || log.exists().then_some(()));
    drop(proxy.session(&backend));
    eventually("the second record", || fs::read_to_string(&log).ok().filter(|text| text.contains("\"end\"")));
    assert_eq!(fs::read_to_string(&old).unwrap().lines().count(), 1);
}

#[test]
fn records_at_the_start_and_in_between_are_written_when_asked_for() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).process("log: { access: { when: [start, end, interval 1s] } }").start();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, MB);
    let kinds = || {
        let lines = proxy.access();
        let kinds = lines.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        kinds.map(|line| line["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    eventually("an interval", || kinds().contains(&"interval".into()).then_some(()));
    client.close();
    server.close();
    proxy.ended();
    assert_eq!(kinds().first().map(String::as_str), Some("start"));
    assert_eq!(kinds().last().map(String::as_str), Some("end"));
}

#[test]
fn off_says_nothing() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).process("log: { access: { to: off } }").start();
    drop(proxy.session(&backend));
    eventually("the end", || (proxy.metric("peerway_sessions_closed_total") == 1.0).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(proxy.access(), Vec::<String>::new());
}

#[test]
fn a_text_record_is_one_line_of_keys_and_values() {
    let backend = Backend::new();
    let to = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let setup = Setup::to([&backend]).bind(to);
    // Its own log is text too, so that the harness cannot tell when it is ready.
    let proxy = setup.process("log: { format: text, access: { to: access.log } }").launch();
    let log = proxy.dir().join("access.log");
    let mut client = eventually("it listens", || Peer::try_connect(to).ok());
    let mut server = backend.accept();
    send_across(&mut client, &mut server, 10);
    client.close();
    server.close();
    let text = eventually("a record", || fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n')));
    assert_eq!(text.lines().count(), 1);
    for part in [r#"kind="end""#, r#"cause="finished""#, "bytes_up=10", "sni=null"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}
