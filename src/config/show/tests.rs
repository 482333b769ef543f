#![allow(clippy::unwrap_used)]

use super::super::{PolicyKind, diff, parse};
use super::*;

const CATALOGUE: Catalogue = Catalogue {
    policies: &[
        PolicyKind { name: "round_robin", summary: "", takes: Takes::Nothing },
        PolicyKind { name: "maglev", summary: "", takes: Takes::Hash },
    ],
    tls: super::super::TlsFiles::UNREAD,
};

fn shown(text: &str) -> Setting {
    (*parse("/conf/t.yaml", text, &CATALOGUE, &|_| Some("10s".into())).unwrap_or_else(|e| panic!("{e}")).settings)
        .clone()
}

fn at<'a>(tree: &'a Setting, path: &str) -> &'a Setting {
    path.split('/').fold(tree, |tree, name| tree.get(name).unwrap_or_else(|| panic!("no {name} of {path} in {tree:?}")))
}

const PLAIN: &str = "
listeners: { web: { bind: '127.0.0.1:80', pool: web, timeouts: { idle: 90s } } }
pools: { web: { backends: [ 10.0.0.1:80, { name: b, address: 'unix:b.sock', weight: 3 } ] } }
";

#[test]
fn defaults_are_filled_in_and_values_have_one_spelling() {
    let tree = shown(PLAIN);
    for (path, expected) in [
        ("listeners/web/timeouts/idle", "1m30s"),
        ("listeners/web/timeouts/half_closed", "5m"),
        ("listeners/web/bind", "[127.0.0.1:80]"),
        ("listeners/web/on_remove", "keep"),
        ("listeners/web/tcp/backlog", "4096"),
        ("pools/web/connect/retry_budget/share", "20%"),
        ("pools/web/policy", "round_robin"),
        ("pools/web/backends/b/address", "unix:/conf/b.sock"),
        ("pools/web/backends/b/weight", "3"),
        ("pools/web/backends/10.0.0.1:80/weight", "1"),
        ("reload/guard", "off"),
        ("max_connections", "auto"),
        ("log/access/when", "[end]"),
    ] {
        assert_eq!(at(&tree, path).to_string(), expected, "{path}");
    }
    assert!(tree.get("admin").is_none() && at(&tree, "listeners/web").get("log").is_none());
}

#[test]
fn files_that_mean_the_same_look_the_same() {
    let other = "
x-anchor: &idle { idle: 1m30s }
version: 1
defaults: { listener: { timeouts: *idle, bind: '127.0.0.1:80' }, backend: { weight: 1 } }
listeners: { web: { pool: web, relay: { auto: } } }
pools: { web: { policy: { round_robin: {} }, backends: [ { address: 10.0.0.1:80 },
                                                         { weight: 3, name: b, address: 'unix:b.sock' } ] } }
";
    let changes = diff::diff(&shown(PLAIN), &shown(other));
    assert!(changes.is_empty(), "{changes:?}");
}

#[test]
fn a_variable_is_shown_as_what_it_stands_for() {
    let tree = shown(&PLAIN.replace("90s", "'${IDLE}'"));
    assert_eq!(at(&tree, "listeners/web/timeouts/idle").to_string(), "10s");
}

#[test]
fn what_a_listener_leaves_out_of_its_log_is_the_process_s() {
    let text = PLAIN.replace("pool: web,", "pool: web, log: { access: { sample: 10.0% } },");
    assert_eq!(at(&shown(&text), "listeners/web/log").to_string(), "{ access: { sample: 10% } }");
    let text = PLAIN.replace("pool: web,", "pool: web, log: { access: off },");
    assert_eq!(at(&shown(&text), "listeners/web/log/access").to_string(), "off");
}

#[test]
fn choices_show_what_they_take() {
    let pool = |more: &str| shown(&PLAIN.replace("web: { backends", &format!("web: {{ {more}, backends")));
    assert_eq!(
        at(&pool("policy: maglev"), "pools/web/policy").to_string(),
        "{ maglev: { bounded_load: off, key: client_ip, prefix_v6: 64 } }"
    );
    assert_eq!(at(&pool("on_remove: { drain: 300s }"), "pools/web/on_remove").to_string(), "{ drain: 5m }");
    assert_eq!(at(&pool("queue: {}"), "pools/web/queue").to_string(), "{ max: 1000, timeout: 5s }");
    assert_eq!(at(&pool("queue: off"), "pools/web/queue").to_string(), "off");
}

#[test]
fn no_secret_is_shown_and_a_changed_one_is_a_change() {
    let pool = |secret: &str| {
        let health = format!(
            "health: {{ probe: {{ script: [ {{ send: 'AUTH {secret}' }}, {{ send_hex: 'aabb{}' }}, {{ expect: OK }} ] }} }}",
            if secret == "one" { "cc" } else { "dd" }
        );
        shown(&PLAIN.replace("web: { backends", &format!("web: {{ {health}, backends")))
    };
    let (one, two) = (pool("one"), pool("two"));
    let json = serde_json::to_string(&one).unwrap();
    assert!(!json.contains("AUTH") && !json.contains("aabb") && json.contains(r#"{"send":"***"}"#), "{json}");
    let changes = diff::diff(&one, &two);
    let said: Vec<_> = changes.iter().map(|(path, change)| format!("{path} {change:?}")).collect();
    assert_eq!(
        said,
        [
            "pools.web.health.probe.script[0].send Changed(***, ***)",
            "pools.web.health.probe.script[1].send_hex Changed(***, ***)"
        ]
    );
    let text =
        PLAIN.replace("web: { backends", "web: { health: { probe: { http: { path: '/up?token=x' } } }, backends");
    assert_eq!(at(&shown(&text), "pools/web/health/probe/http/path").to_string(), "/up?***");
}

/// Whatever the manual shows can be shown.
#[test]
fn the_reference_can_be_shown() {
    let text = super::super::reference(&CATALOGUE).replace("include:", "x-include:");
    let tree = shown(&text);
    let json = serde_json::to_string(&tree).unwrap();
    assert!(json.len() > 2000 && !json.contains("\"\""), "{json}");
}
