//! Who a client would get, as the API tells it.

use serde_json::{Value, json};

use crate::fixture::{Fixture, Server};

const ADMIN: &str = "admin: { listen: 127.0.0.1:0 }";
const CLIENT: &str = "client=192.0.2.7:4711";

/// A process whose listener `front` leads to a pool as `settings` say.
fn process(settings: &str) -> (Fixture, Server) {
    let fixture = Fixture::of(&format!(
        "{ADMIN}\nlisteners: {{ front: {{ bind: 127.0.0.1:0, pool: p, log: {{ access: off }} }} }}\npools: {{ p: {{ {settings} }} }}"
    ));
    let server = fixture.admin();
    (fixture, server)
}

fn explain(server: &Server) -> Value {
    server.json(&format!("/api/v1/explain?listener=front&{CLIENT}"))
}

fn why(explained: &Value) -> &str {
    explained["why"].as_str().unwrap()
}

#[test]
fn every_field_is_there() {
    let (_fixture, server) = process("policy: maglev, backends: [ 127.0.0.1:1 ]");
    let explained = explain(&server);
    let fields = [
        "listener",
        "client",
        "route",
        "pool",
        "policy",
        "key",
        "table_digest",
        "backend",
        "any_of",
        "order",
        "queue_length",
        "candidates",
        "why",
        "split",
    ];
    assert_eq!(explained.as_object().unwrap().keys().collect::<Vec<_>>(), fields);
    assert_eq!(
        explained["candidates"],
        json!([{
            "name": "127.0.0.1:1", "state": "up", "usable": true, "eligible": true, "reason": "the one that gets it",
            "weight": 1, "tier": 0, "zone": null, "active": 0, "max_connections": null
        }])
    );
    assert_eq!((&explained["route"], &explained["any_of"]), (&Value::Null, &Value::Null));
    assert_eq!(explained["key"]["kind"], "client_ip");
    assert_eq!(explained["key"]["value"].as_str().unwrap().len(), 16);
    assert_eq!(explained["table_digest"], server.json("/api/v1/pools")["pools"][0]["table_digest"]);
}

#[test]
fn a_key_goes_past_whoever_cannot_take_it() {
    let backends = ["a", "b", "c"].map(|name| format!("{{ name: {name}, address: unix:/{name}, max_connections: 1 }}"));
    let (fixture, server) = process(&format!("policy: maglev, backends: [ {} ]", backends.join(", ")));
    let first = explain(&server);
    let order: Vec<_> = first["order"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!((order.len(), &first["backend"]), (3, &order[0].into()));
    assert!(why(&first).contains(&format!("belongs to `{}`, which", order[0])), "{first}");
    let pool = fixture.state.live.load().pools["p"].clone();
    let backend = |name: &str| {
        let snapshot = pool.snapshot();
        snapshot.members.iter().find(|member| &*member.backend.name == name).unwrap().backend.clone()
    };
    let held = backend(order[0]).claim();
    let second = explain(&server);
    assert_eq!((&second["backend"], &second["order"]), (&order[1].into(), &first["order"]));
    assert!(why(&second).contains("full: 1 of 1 sessions. `"), "{second}");
    let _rest = [held, backend(order[1]).claim(), backend(order[2]).claim()];
    let none = explain(&server);
    assert_eq!((&none["backend"], why(&none).contains("no queue")), (&Value::Null, true), "{none}");
    assert_eq!(pool.cells.hash_displaced.get(), 0, "nothing was counted");
}

#[test]
fn what_chance_decides_is_left_open() {
    let (_fixture, server) = process(
        "policy: round_robin, backends: [ { name: a, address: \"127.0.0.1:1\" }, \
         { name: b, address: \"127.0.0.1:2\", disabled: true }, { name: c, address: \"127.0.0.1:3\" }, \
         { name: d, address: \"127.0.0.1:4\", tier: 1 } ]",
    );
    let explained = explain(&server);
    assert_eq!((&explained["backend"], &explained["any_of"]), (&Value::Null, &json!(["a", "c"])));
    assert_eq!([&explained["key"], &explained["order"], &explained["table_digest"]], [&Value::Null; 3]);
    let of = |field: &str| -> Vec<_> {
        explained["candidates"].as_array().unwrap().iter().map(|candidate| candidate[field].clone()).collect()
    };
    let may = "one of those that may get it";
    assert_eq!(of("reason"), [may, "disabled in the configuration", may, "in tier 1, which is not in use"]);
    assert_eq!(of("usable"), [true, false, true, true]);
    assert_eq!(of("eligible"), [true, false, true, false]);
    assert!(why(&explained).contains("any of 2"), "{explained}");
}

#[test]
fn an_order_has_at_most_sixteen_names() {
    let backends: Vec<_> = (1..40).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let (_fixture, server) = process(&format!("policy: rendezvous, backends: [ {} ]", backends.join(", ")));
    let explained = explain(&server);
    let lengths = ["order", "candidates"].map(|field| explained[field].as_array().unwrap().len());
    assert_eq!(lengths, [16, 39]);
}

#[test]
fn a_destination_is_the_listeners_or_said() {
    let (_fixture, server) =
        process("policy: { maglev: { key: destination } }, backends: [ \"127.0.0.1:1\", \"127.0.0.1:2\" ]");
    let key = |more: &str| {
        let path = format!("/api/v1/explain?listener=front&{CLIENT}{more}");
        server.json(&path)["key"]["value"].as_str().unwrap().to_owned()
    };
    // The fixture's listeners say that they are bound to this.
    assert_eq!(key(""), key("&local=127.0.0.1:4321"));
    assert_ne!(key(""), key("&local=127.0.0.1:4322"));
}

#[test]
fn first_bytes_decide_where_routes_go_by_them() {
    let fixture = Fixture::of(&format!(
        "{ADMIN}\nlisteners:\n  front:\n    bind: 127.0.0.1:0\n    pool: p\n    routes: [ {{ match: {{ prefix: SSH- }}, pool: q }} ]\n\
         pools: {{ p: {{ backends: [] }}, q: {{ backends: [] }} }}"
    ));
    let server = fixture.admin();
    let explained = |head: &str| server.json(&format!("/api/v1/explain?listener=front&{CLIENT}{head}"));
    for (head, route, pool) in
        [("&head=SSH-2.0%0D%0A", json!("routes[0]"), json!("q")), ("&head=GET", Value::Null, json!("p"))]
    {
        let explained = explained(head);
        assert_eq!((&explained["route"], &explained["pool"]), (&route, &pool), "{explained}");
    }
    for (head, said) in [("", "those are not known"), ("&head=SS", "what follows these first bytes")] {
        let explained = explained(head);
        assert!(explained["pool"].is_null() && why(&explained).contains(said), "{explained}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let fixture = Fixture::new(ADMIN);
    let server = fixture.admin();
    for (query, status, detail) in [
        (format!("listener=fornt&{CLIENT}"), 404, "did you mean `front`?); there are `back` and `front`"),
        (format!("listener=x&{CLIENT}"), 404, "there is no listener \"x\"; there are `back` and `front`"),
        (CLIENT.to_owned(), 400, "listener=NAME is missing"),
        ("listener=front".to_owned(), 400, "client=IP:PORT is missing"),
        ("listener=front&client=192.0.2.7".to_owned(), 400, "client must be IP:PORT"),
        (format!("listener=front&{CLIENT}&local=here"), 400, "local must be IP:PORT"),
        (format!("listener=front&{CLIENT}&pool=web"), 400, "known are listener, client, local"),
    ] {
        server.get(&format!("/api/v1/explain?{query}")).is_problem(status, detail);
    }
}
