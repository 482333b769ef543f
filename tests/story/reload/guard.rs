//! A guarded reload goes back by itself when connecting gets worse.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Backend, Peer, Proxy, Setup, eventually};

use super::file;

/// Judged by twenty events, for so long.
fn guarded(backends: &[SocketAddr], span: &str) -> String {
    let guard = format!("watch: false, guard: {{ for: {span}, min_events: 20 }}");
    file(backends, "", ", connect: { attempts: 1 }").replace("watch: false", &guard)
}

/// So many sessions, whatever becomes of them.
fn traffic(proxy: &Proxy, sessions: usize) {
    for _ in 0..sessions {
        if let Ok(mut client) = Peer::try_connect(proxy.address("front")) {
            let _ = client.line();
        }
    }
}

#[test]
fn it_goes_back_from_dead_backends() {
    let good = Backend::new().named("good");
    let proxy = Setup::file(guarded(&[good.address()], "30s")).start();
    traffic(&proxy, 40);
    let dead = guarded(&[Backend::refusing()], "30s");
    let attempt = proxy.change_to(&dead);
    assert_eq!(attempt["guard"]["state"], "watching");
    traffic(&proxy, 40);
    eventually("it goes back", || {
        (proxy.metric("peerway_config_reloads_total{result=\"rolled_back\"}") == 1.0).then_some(())
    });
    eventually("it is told", || (proxy.config()["last_attempt"]["result"] == "rolled_back").then_some(()));
    assert_eq!(proxy.connect().line().unwrap(), "good");
    let config = proxy.config();
    let last = &config["last_attempt"];
    assert_eq!((&config["generation"], &config["drift"]), (&3.into(), &true.into()));
    assert!(last["detail"].as_str().unwrap().contains("fail"), "{last}");
    assert_eq!(last["guard"]["state"], "rolled_back");
    let scrape = proxy.scrape();
    assert_eq!(scrape.get("peerway_config_last_reload_success"), 0.0);
    assert_eq!(scrape.get("peerway_config_drift"), 1.0);
    proxy.logs("configuration taken back");
    // File and process agree again.
    proxy.write(&guarded(&[good.address()], "30s"));
    eventually("no drift", || (proxy.metric("peerway_config_drift") == 0.0).then_some(()));
}

#[test]
fn what_was_taken_back_is_not_tried_again_until_someone_asks() {
    let good = Backend::new().named("good");
    let watched =
        |backends: &[SocketAddr]| guarded(backends, "30s").replace("watch: false", "watch: true, debounce: 100ms");
    let proxy = Setup::file(watched(&[good.address()])).start();
    traffic(&proxy, 40);
    proxy.write(&watched(&[Backend::refusing()]));
    proxy.generation_after(1);
    traffic(&proxy, 40);
    eventually("it goes back", || (proxy.config()["last_attempt"]["result"] == "rolled_back").then_some(()));
    thread::sleep(Duration::from_secs(7));
    let config = proxy.config();
    assert_eq!((&config["generation"], &config["last_attempt"]["by"]), (&3.into(), &"file".into()));
    proxy.signal(Signal::HUP);
    assert_eq!(proxy.generation_after(3), 4);
}

#[test]
fn it_keeps_what_works() {
    let (one, two) = (Backend::new().named("one"), Backend::new().named("two"));
    let proxy = Setup::file(guarded(&[one.address()], "4s")).start();
    traffic(&proxy, 40);
    proxy.change_to(&guarded(&[two.address()], "4s"));
    traffic(&proxy, 40);
    eventually("it passes", || (proxy.config()["last_attempt"]["guard"]["state"] == "passed").then_some(()));
    assert_eq!(proxy.config()["last_attempt"]["result"], "ok");
    assert_eq!((proxy.generation(), proxy.connect().line().unwrap()), (2, "two".to_owned()));
    assert_eq!(proxy.metric("peerway_config_last_reload_success"), 1.0);
}

#[test]
fn the_command_waits_and_exits_by_the_verdict() {
    let good = Backend::new().named("good");
    let plain = |backends: &[SocketAddr]| file(backends, "", ", connect: { attempts: 1 }");
    let proxy = Setup::file(plain(&[good.address()])).start();
    proxy.write(
        &plain(&[good.address(), good.address()])
            .replacen(&format!("\"{}\",", good.address()), "", 1)
            .replace("pool: back", "pool: back, relay: copy"),
    );
    let (code, said, error) = proxy.said(&["reload", "--guard", "2s"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("guard inconclusive: ") && said.contains("too few"), "{said}");
    assert!(error.contains("watching it for 2s"), "{error}");
    assert_eq!(proxy.config()["last_attempt"]["result"], "inconclusive");
    traffic(&proxy, 60);
    proxy.write(&plain(&[Backend::refusing()]));
    thread::scope(|scope| {
        let command = scope.spawn(|| proxy.said(&["reload", "--guard", "30s"]));
        proxy.generation_after(2);
        traffic(&proxy, 60);
        let (code, _, error) = command.join().unwrap();
        assert_eq!(code, Some(1));
        assert!(error.contains("taken back: ") && error.contains('%'), "{error}");
    });
    assert_eq!(proxy.connect().line().unwrap(), "good");
}

#[test]
fn a_change_during_a_guard_waits_for_its_end() {
    let backend = Backend::new();
    let plain = |more: &str| file(&[backend.address()], more, "");
    let proxy = Setup::file(plain("")).start();
    proxy.write(&plain(", relay: copy"));
    let answer = proxy.admin().ask("POST", "/api/v1/reload?guard=3s", "");
    assert_eq!(answer.status, 200);
    proxy.write(&plain(", relay: splice"));
    proxy.signal(Signal::HUP);
    thread::sleep(Duration::from_millis(700));
    assert_eq!(proxy.config()["config"]["listeners"]["front"]["relay"], "copy");
    assert_eq!(proxy.generation_after(2), 3);
    let results: Vec<_> = proxy.admin().json("/api/v1/config/history")["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["result"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(results, ["ok", "inconclusive", "ok"]);
}
