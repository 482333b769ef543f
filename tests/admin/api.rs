//! What the endpoints show and do.

use peerway::drain::Stage;
use peerway::ledger::Ending;
use peerway::metrics::Cause;

use crate::fixture::Fixture;

const ADMIN: &str = "admin: { listen: 127.0.0.1:0 }";

#[test]
fn health_is_always_answered() {
    let fixture = Fixture::new(ADMIN);
    for server in [fixture.admin(), fixture.metrics()] {
        let answer = server.get("/healthz?why=not");
        assert_eq!((answer.status, &*answer.body), (200, "ok\n"));
    }
}

#[test]
fn readiness_follows_life_and_pools() {
    let fixture = Fixture::new(&format!("{ADMIN}\nready_when: {{ pools: [web] }}"));
    let server = fixture.admin();
    let ready = |path: &str| {
        let answer = server.get(path);
        assert_eq!(answer.body.lines().count(), 1, "one line: {}", answer.body);
        (answer.status, answer.body)
    };
    assert_eq!(ready("/readyz").0, 200);
    assert_eq!(ready("/readyz?pool=w%65b").0, 200, "names are decoded");
    assert_eq!(ready("/readyz?pool=web&pool=empty"), (503, "pool \"empty\" has no usable backend\n".into()));
    assert_eq!(ready("/readyz?pool=nope"), (503, "there is no pool \"nope\"\n".into()));
    fixture.state.life.enter(Stage::Leaving);
    assert!(matches!(ready("/readyz"), (503, why) if why.starts_with("leaving")));
    fixture.state.life.enter(Stage::Draining);
    assert!(matches!(ready("/readyz"), (503, why) if why.starts_with("draining")));
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn readiness_waits_for_the_pools_that_matter() {
    let fixture = Fixture::new(&format!("{ADMIN}\nready_when: {{ pools: [empty] }}"));
    let answer = fixture.admin().get("/readyz");
    assert_eq!((answer.status, &*answer.body), (503, "pool \"empty\" has no usable backend\n"));
}

#[test]
fn pools_are_shown_with_every_field() {
    let fixture = Fixture::new(ADMIN);
    let pools = fixture.admin().json("/api/v1/pools");
    let names: Vec<_> = pools["pools"].as_array().unwrap().iter().map(|pool| pool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["db", "empty", "web"]);
    let web = pools["pools"][2].as_object().unwrap();
    assert_eq!(
        web.keys().collect::<Vec<_>>(),
        ["name", "policy", "table_digest", "fail_open", "queue_length", "backends"]
    );
    assert_eq!(web["policy"], "random");
    let one = web["backends"][0].as_object().unwrap();
    let fields = [
        "name",
        "address",
        "state",
        "weight",
        "tier",
        "zone",
        "active",
        "connections_total",
        "since",
        "reason",
        "last_probe",
        "override",
    ];
    assert_eq!(one.keys().collect::<Vec<_>>(), fields);
    assert_eq!((&one["state"], &one["weight"], &one["address"]), (&"up".into(), &3.into(), &"127.0.0.1:1".into()));
    let two = &web["backends"][1];
    assert_eq!((&two["state"], &two["reason"]), (&"disabled".into(), &"disabled in the configuration".into()));
}

#[test]
fn listeners_are_shown_until_they_drain() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    let _session = fixture.session("front");
    let listeners = server.json("/api/v1/listeners");
    let front = &listeners["listeners"][1];
    assert_eq!(
        front,
        &serde_json::json!({ "name": "front", "configured": ["127.0.0.1:0"], "bound": ["127.0.0.1:4321"], "active": 1, "state": "open",
            "pool": "web", "routes": [] })
    );
    fixture.state.life.enter(Stage::Draining);
    assert_eq!(server.json("/api/v1/listeners")["listeners"][0]["state"], "draining");
}

#[test]
fn a_listener_s_routes_are_shown_as_they_are_configured() {
    let fixture = Fixture::of(&format!(
        "{ADMIN}\nlisteners:\n  front:\n    bind: 127.0.0.1:0\n    routes: [ {{ match: {{ sni: \"*.a.example\" }}, pool: p }}, \
         {{ match: {{}}, split: {{ to: {{ p: 3, q: 1 }} }} }} ]\npools: {{ p: {{ backends: [] }}, q: {{ backends: [] }} }}"
    ));
    let shown = fixture.admin().json("/api/v1/listeners")["listeners"][0].clone();
    assert_eq!(shown["pool"], serde_json::Value::Null);
    let routes = shown["routes"].as_array().unwrap();
    assert_eq!((routes.len(), &routes[0]["pool"]), (2, &"p".into()));
    assert!(routes[0]["match"].to_string().contains("*.a.example"), "{shown}");
    assert_eq!(routes[1]["split"]["to"], serde_json::json!({ "p": 3, "q": 1 }));
}

#[test]
fn connections_are_listed_filtered_and_paged() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    let mut sessions: Vec<_> = (0..5).map(|_| fixture.session("front")).collect();
    sessions.push(fixture.session("back"));
    let ids = |path: &str| {
        let found = server.json(path);
        let ids = found["connections"].as_array().unwrap().iter();
        (ids.map(|c| c["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), found["next"].clone())
    };
    let (all, next) = ids("/api/v1/connections");
    let expected: Vec<_> = sessions.iter().map(|(entry, _)| entry.record().id.to_string()).collect();
    assert_eq!((&all, &next), (&expected, &serde_json::Value::Null));
    assert_eq!(ids("/api/v1/connections?listener=back").0, all[5..]);
    assert_eq!(ids("/api/v1/connections?pool=web&limit=1000").0, all[..5]);
    assert!(ids("/api/v1/connections?backend=one").0.is_empty(), "none is connected");
    assert_eq!(ids("/api/v1/connections?limit=2"), (all[..2].to_vec(), (*all[1]).into()));
    assert_eq!(ids(&format!("/api/v1/connections?limit=4&after={}", all[1])), (all[2..].to_vec(), ().into()));
    let one = &server.json("/api/v1/connections?limit=1")["connections"][0];
    let fields =
        ["id", "listener", "pool", "backend", "peer", "client", "phase", "age_seconds", "idle_seconds", "bytes"];
    assert_eq!(one.as_object().unwrap().keys().collect::<Vec<_>>(), fields);
    assert_eq!((&one["phase"], &one["pool"]), (&"connect".into(), &"web".into()));
    assert_eq!(one["client"], sessions[0].1.local_addr().unwrap().to_string());
    assert_eq!(one["bytes"], serde_json::json!({ "up": 0, "down": 0 }));
}

#[test]
fn a_connection_is_killed_once_it_is_named_right() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    let (entry, _client) = fixture.session("front");
    let id = entry.record().id.to_string();
    for bad in ["x", "%00", "-1", "+1", "..%2f..%2fmetrics", "11111111111111111", "%", "%ff"] {
        let answer = server.ask("DELETE", &format!("/api/v1/connections/{bad}"), "");
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
    server.ask("DELETE", "/api/v1/connections/1", "").is_problem(404, "there is no connection 0000000000000001");
    let answer = server.ask("DELETE", &format!("/api/v1/connections/{id}"), "");
    assert_eq!((answer.status, &*answer.body), (204, ""));
    let ending = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(async { entry.unless_stopped(std::pin::pin!(std::future::pending())).await });
    assert!(matches!(ending, Ending::Closed(outcome) if outcome.cause == Cause::Killed));
    entry.close(ending);
    let answer = server.ask("DELETE", &format!("/api/v1/connections/{id}"), "");
    assert_eq!(answer.status, 404);
}

#[test]
fn parameters_must_make_sense() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    for (query, detail) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("after=../x", "16 hex digits"),
        ("lisener=front", "known are limit, after, listener"),
        ("pool=%zz", "two hex digits"),
    ] {
        server.get(&format!("/api/v1/connections?{query}")).is_problem(400, detail);
    }
}

#[test]
fn the_index_names_what_there_is() {
    let fixture = Fixture::new(ADMIN);
    let (admin, metrics) = (fixture.admin().get("/"), fixture.metrics().get("/"));
    assert!(admin.status == 200 && admin.body.contains("/api/v1/pools"), "{admin:?}");
    assert!(metrics.status == 200 && !metrics.body.contains("/api/"), "{metrics:?}");
}

#[test]
fn the_metrics_endpoint_has_no_api() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.metrics();
    for path in ["/api/v1/pools", "/api/v1/connections", "/api/v1/listeners", "/api/v1/explain"] {
        server.get(path).is_problem(404, "nothing here");
    }
    assert_eq!(server.ask("DELETE", "/api/v1/connections/1", "").status, 404);
    assert_eq!(server.get("/metrics").status, 200);
}

#[test]
fn methods_and_paths_are_what_they_are() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    for (method, path, allow) in [
        ("POST", "/metrics", "GET, HEAD"),
        ("DELETE", "/api/v1/connections", "GET, HEAD"),
        ("BREW", "/healthz", "GET, HEAD"),
        ("GET", "/api/v1/connections/1", "DELETE"),
        ("POST", "/api/v1/explain", "GET, HEAD"),
    ] {
        let answer = server.ask(method, path, "");
        answer.is_problem(405, allow);
        assert!(answer.head.contains(&format!("allow: {allow}\r\n")), "{}", answer.head);
    }
    for path in
        ["/nope", "/metrics/", "//metrics", "/api/v1/../../metrics", "/api/v1/connections/../pools", "/%2e%2e/x"]
    {
        server.get(path).is_problem(404, "nothing here");
    }
}

#[test]
fn head_is_get_without_the_body() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    for path in ["/metrics", "/healthz", "/readyz", "/api/v1/pools", "/"] {
        let (head, get) = (server.ask("HEAD", path, ""), server.get(path));
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
        assert!(head.head.contains("content-length: ") && get.head.contains("content-length: "), "{}", head.head);
    }
}
