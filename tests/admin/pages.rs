//! The metrics pages of a full system, in both forms.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use peerway::ledger::Outcome;
use peerway::metrics::families::{self, Kind};
use peerway::metrics::{Cause, Phase, Refused};

use crate::fixture::Fixture;
use crate::page::{self, Page};

const FULL: &str = "admin: { listen: 127.0.0.1:0 }\nmetrics: { backend_histograms: true }";
const OPEN: &str = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3\r\n";

#[test]
fn both_forms_are_well_formed_and_complete() {
    let fixture = Fixture::new(FULL);
    let (entry, _client) = fixture.session("front");
    entry.close(Outcome::stopped(Cause::Killed, Phase::Connect));
    for server in [fixture.admin(), fixture.metrics()] {
        let text = server.get("/metrics");
        assert!(text.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{}", text.head);
        let text = page::read(&text.body, false).unwrap();
        let open = server.ask("GET", "/metrics", OPEN);
        assert!(open.head.contains("application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"), "{}", open.head);
        let open = page::read(&open.body, true).unwrap();
        let named = |page: &Page| page.kinds.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(named(&text), families::ALL.iter().map(|family| family.name.to_owned()).collect());
        assert_eq!(named(&open), families::ALL.iter().map(|family| family.stem().to_owned()).collect());
        let series =
            |page: &Page| page.samples.keys().filter(|name| !name.contains("le=")).cloned().collect::<Vec<_>>();
        assert_eq!(series(&text), series(&open), "the same series");
    }
}

/// So that a rename or a lost label is noticed here and not on a dashboard.
#[test]
fn every_family_has_a_sample_with_its_labels() {
    let fixture = Fixture::new(FULL).with_tls();
    let (entry, _client) = fixture.session("front");
    entry.close(Outcome::stopped(Cause::Killed, Phase::Connect));
    let page = page::read(&fixture.admin().get("/metrics").body, false).unwrap();
    for family in families::ALL {
        let suffix = if family.kind == Kind::Histogram { "_count" } else { "" };
        let name = format!("{}{suffix}", family.name);
        let found = page.samples.keys().find(|series| series.split('{').next() == Some(&name));
        let found = found.unwrap_or_else(|| panic!("{} has no sample", family.name));
        let has = found.split_once('{').map_or(0, |(_, labels)| labels.matches("=\"").count());
        assert_eq!(has, family.labels.len(), "{found}");
        assert!(family.labels.iter().all(|label| found.contains(&format!("{label}=\""))), "{found}");
    }
}

#[test]
fn what_is_shown_is_what_happened() {
    let fixture = Fixture::new(FULL);
    let server = fixture.admin();
    let (entry, _client) = fixture.session("front");
    entry.close(Outcome::stopped(Cause::Killed, Phase::Connect));
    let (_living, _client) = fixture.session("front");
    let live = fixture.state.live.load_full();
    let front = &live.listeners["front"].live;
    front.cells.connections.inc();
    front.cells.refused[Refused::MaxConnectionsProcess as usize].inc();
    live.pools["web"].cells.hash_displaced.add(2);
    let page = page::read(&server.get("/metrics").body, false).unwrap();
    for (series, value) in [
        ("peerway_listener_connections_total{listener=\"front\"}", 3.0),
        ("peerway_listener_active_connections{listener=\"front\"}", 1.0),
        ("peerway_listener_refused_total{listener=\"front\",reason=\"max_connections_process\"}", 1.0),
        ("peerway_listener_refused_total{listener=\"back\",reason=\"denied\"}", 0.0),
        (
            "peerway_sessions_closed_total{listener=\"front\",pool=\"web\",cause=\"killed\",side=\"proxy\",phase=\"connect\"}",
            1.0,
        ),
        ("peerway_session_bytes_total{listener=\"back\",pool=\"db\",direction=\"down\"}", 0.0),
        ("peerway_session_duration_seconds_count{listener=\"front\"}", 1.0),
        ("peerway_worker_connections{worker=\"0\"}", 1.0),
        ("peerway_connections_limit", 1000.0),
        ("peerway_config_generation", 1.0),
        ("peerway_config_last_reload_success", 1.0),
        ("peerway_config_reloads_total{result=\"rolled_back\"}", 0.0),
        ("peerway_backend_up{pool=\"web\",backend=\"one\"}", 1.0),
        ("peerway_backend_state{pool=\"web\",backend=\"two\",state=\"disabled\"}", 1.0),
        ("peerway_backend_weight{pool=\"web\",backend=\"one\"}", 3.0),
        ("peerway_pool_hash_displaced_total{pool=\"web\"}", 2.0),
        ("peerway_pool_hash_displaced_total{pool=\"db\"}", 0.0),
        ("peerway_log_dropped_total{log=\"program\"}", 0.0),
    ] {
        assert_eq!(page.get(series), value, "{series}");
    }
    assert_eq!(page.sum("peerway_backend_state"), 3.0, "one state each");
    assert_eq!(page.sum("peerway_sessions_closed_total"), 1.0);
    assert!(page.get("process_open_fds") > 3.0 && page.get("process_resident_memory_bytes") > 1e6);
    let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((started - page.get("process_start_time_seconds")).abs() < 600.0);
}

/// Every connection that came is somewhere, at every scrape, while sessions come and go.
#[test]
fn listeners_always_add_up() {
    let fixture = Fixture::new(FULL);
    let server = fixture.admin();
    let end = Instant::now() + Duration::from_millis(600);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < end {
                let sessions: Vec<_> = (0..10).map(|_| fixture.session("front")).collect();
                for (entry, _client) in sessions {
                    entry.close(Outcome::stopped(Cause::Idle, Phase::Data));
                }
            }
        });
        while Instant::now() < end {
            let page = page::read(&server.get("/metrics").body, false).unwrap();
            let parts = ["listener_active_connections", "listener_refused_total", "sessions_closed_total"];
            let sum: f64 = parts.iter().map(|name| page.sum(&format!("peerway_{name}"))).sum();
            assert_eq!(page.sum("peerway_listener_connections_total"), sum);
        }
    });
}
