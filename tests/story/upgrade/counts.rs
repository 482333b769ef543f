//! One page, one list of connections, one place to end them, over all generations.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Backend, MB, eventually, is_gone, send_across};

use super::proxy;

#[test]
fn sessions_of_all_generations_are_listed_and_can_be_ended() {
    let backend = Backend::new();
    let proxy = proxy(&backend, "");
    let (mut old_client, mut old_server) = proxy.session(&backend);
    let middle = proxy.upgrade();
    let (mut middle_client, mut middle_server) = proxy.session(&backend);
    send_across(&mut middle_server, &mut middle_client, 10);
    proxy.upgrade();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut old_client, &mut old_server, MB);
    // A count follows what it counts by a moment.
    proxy.metric_becomes("peerway_session_bytes_total{direction=\"up\"}", MB as f64);

    let list = proxy.admin().json("/api/v1/connections");
    let ids: Vec<String> =
        list["connections"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 3, "{list}");
    assert!(ids.is_sorted(), "{ids:?}");
    assert_eq!(list["connections"][0]["bytes"]["up"], MB);
    let first = proxy.admin().json("/api/v1/connections?limit=1");
    assert_eq!(first["next"], ids[0].as_str());
    let rest = proxy.admin().json(&format!("/api/v1/connections?after={}&pool=back", ids[0]));
    assert_eq!(rest["connections"].as_array().unwrap().len(), 2);
    let scrape = proxy.scrape();
    scrape.adds_up();
    assert_eq!(scrape.get("peerway_listener_active_connections"), 3.0);
    assert_eq!(scrape.get("peerway_backend_active_connections"), 3.0);
    assert_eq!(scrape.get("peerway_worker_connections"), 3.0);
    assert_eq!(scrape.get("peerway_session_bytes_total{direction=\"up\"}"), MB as f64);

    assert_eq!(proxy.said(&["kill", &ids[1]]).0, Some(0));
    middle_client.hear_reset();
    assert_eq!(proxy.why(), "killed proxy data");
    is_gone(middle);
    assert_eq!(proxy.said(&["kill", &ids[0]]).0, Some(0));
    old_client.hear_reset();
    old_server.hear_reset();
    assert_eq!(proxy.said(&["kill", &ids[0]]).0, Some(1), "no longer");
    proxy.metric_becomes("peerway_upgrade_old_processes", 0.0);
    let scrape = proxy.scrape();
    scrape.adds_up();
    assert_eq!(scrape.get("peerway_sessions_closed_total{cause=\"killed\"}"), 2.0);
    assert_eq!(scrape.get("peerway_session_bytes_total{direction=\"up\"}"), MB as f64);
    assert_eq!(scrape.get("peerway_listener_active_connections"), 1.0);
    send_across(&mut client, &mut server, 1000);
}

#[test]
fn an_old_process_that_is_killed_takes_no_count_along() {
    let backend = Backend::new();
    let mut proxy = proxy(&backend, "");
    let (mut ended, mut server) = proxy.session(&backend);
    send_across(&mut ended, &mut server, MB);
    ended.close();
    server.close();
    proxy.why();
    let (mut client, _server) = proxy.session(&backend);
    proxy.upgrade();
    let before = proxy.scrape();
    assert_eq!(before.get("peerway_upgrade_old_sessions"), 1.0);
    proxy.signal(Signal::KILL);
    client.hear_reset_within(Duration::from_secs(5));
    proxy.exit_within(Duration::from_secs(5));
    proxy.metric_becomes("peerway_upgrade_old_processes", 0.0);
    let after = proxy.scrape();
    after.adds_up();
    for series in ["peerway_listener_connections_total", "peerway_session_bytes_total", "peerway_relay_bytes_total"] {
        assert_eq!(after.get(series), before.get(series), "{series}");
    }
    assert_eq!(after.get("peerway_sessions_closed_total{cause=\"internal\"}"), 1.0);
    // The next one inherits what it left.
    proxy.upgrade();
    let after = proxy.scrape();
    after.adds_up();
    assert_eq!(after.get("peerway_listener_connections_total"), 2.0);
}

#[test]
fn words_about_a_backend_reach_old_sessions() {
    let backend = Backend::new();
    let proxy = proxy(&backend, "");
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 10);
    proxy.upgrade();
    let name = format!("back/{}", backend.address());
    assert_eq!(proxy.said(&["drain", &name, "--within", "100ms"]).0, Some(0));
    client.hear_reset_within(Duration::from_secs(5));
    assert_eq!(proxy.why(), "killed proxy first_byte");
    eventually("it is drained", || {
        let pools = proxy.admin().json("/api/v1/pools");
        (pools["pools"][0]["backends"][0]["state"] == "draining").then_some(())
    });
}

#[test]
fn lists_and_plans_count_sessions_of_all_generations() {
    let backend = Backend::new();
    let proxy = proxy(&backend, "");
    let old = [proxy.session(&backend), proxy.session(&backend)];
    proxy.upgrade();
    let mut sessions = vec![proxy.session(&backend)];
    sessions.extend(old);
    let active = |count: u64| {
        let of_backend = || proxy.backend(0)["active"] == count;
        let of_listener = || proxy.admin().json("/api/v1/listeners")["listeners"][0]["active"] == count;
        eventually("all sessions are counted", || (of_backend() && of_listener()).then_some(()));
    };
    active(3);
    assert_eq!(proxy.backend(0)["connections_total"], 3);
    let good = std::fs::read_to_string(proxy.file()).unwrap();
    proxy.write(
        &good.replace("pool: back }", "pool: back, relay: copy }").replace("backends:", "on_remove: reset, backends:"),
    );
    let (_, plan, _) = proxy.said(&["plan", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let counted = |kind: &str| plan["objects"].as_array().unwrap().iter().find(|one| one["kind"] == kind).cloned();
    for kind in ["listener", "pool"] {
        assert_eq!(counted(kind).expect(kind)["sessions"], 3, "{plan}");
    }
    let (client, mut server) = sessions.pop().expect("an old one");
    client.close();
    server.hear_end();
    server.close();
    active(2);
    assert_eq!(proxy.backend(0)["connections_total"], 3);
    let (client, mut server) = sessions.pop().expect("an old one");
    client.close();
    server.hear_end();
    server.close();
    proxy.metric_becomes("peerway_upgrade_old_processes", 0.0);
    active(1);
    assert_eq!(proxy.backend(0)["connections_total"], 3, "also what an ended process had served");
}
