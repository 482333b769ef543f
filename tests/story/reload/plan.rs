//! What would change, before it does.

use std::time::Duration;

use crate::support::{Backend, Setup, TOP, Wait};

use super::{file, proxy};

#[test]
fn a_plan_names_every_object_and_key() {
    let (one, two) = (Backend::new(), Backend::new());
    let yaml = |listeners: &str, policy: &str, backends: &str| {
        format!(
            "{TOP}listeners:\n  front: {{ bind: '127.0.0.1:0', pool: back{listeners}\n\
             pools:\n  back: {{ policy: {policy}, backends: [ {backends} ] }}\n"
        )
    };
    let (a, b) = (
        format!("{{ name: a, address: '{}' }}", one.address()),
        format!("{{ name: b, address: '{}', weight: 3 }}", two.address()),
    );
    let old = yaml(" }", "maglev", &format!("{a}, {b}"));
    let proxy = Setup::file(old).start();
    let client = proxy.connect();
    // Which of the two the client's key belongs to is not for this test to know.
    let on_a = usize::from(one.accept_within(Wait::For(Duration::from_millis(500))).is_some());
    let (of_a, of_b) = ([" 0 sessions", "1 session"][on_a].trim(), ["1 session", "0 sessions"][on_a]);
    let new = yaml(
        ", timeouts: { idle: 60s } }\n  more: { bind: 'unix:x.sock', pool: back }",
        "maglev",
        &b.replace("weight: 3", "weight: 5"),
    );
    std::fs::write(proxy.dir().join("new.yaml"), &new).unwrap();
    let (code, said, error) = proxy.said(&["plan", "new.yaml"]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let dir = proxy.dir().canonicalize().unwrap();
    let moved = said.split("; ").nth(1).and_then(|rest| rest.split('%').next()).unwrap_or("?").to_owned();
    let share: f64 = moved.parse().unwrap_or_else(|_| panic!("{said}"));
    assert!((15.0..35.0).contains(&share), "a had a quarter of the keys: {said}");
    let expected = format!(
        "\
~ listener front (1 session)
    ~ timeouts.idle: 1h -> 1m
+ listener more
    + bind: [unix:{}/x.sock]
    + on_remove: keep
    + pool: back
    + relay: auto
    + timeouts: {{ half_closed: 5m, handshake: 5s, idle: 1h, session: off, sniff: 3s }}
~ pool back (1 session; {moved}% of keys move)
- backend back/a ({of_a}: keep)
~ backend back/b ({of_b})
    ~ weight: 3 -> 5

1 to add, 3 to change, 1 to remove.
",
        dir.display()
    );
    // Other keys may join; those here stay.
    let kept = |text: &str| {
        let here = |line: &&str| expected.lines().any(|wanted| wanted == *line) || !line.starts_with("    +");
        text.lines().filter(here).map(|line| format!("{line}\n")).collect::<String>()
    };
    assert_eq!(kept(&said), expected);
    drop(client);
    assert_eq!(proxy.generation(), 1, "a plan changes nothing");
    assert_eq!(proxy.config()["drift"], false);
}

#[test]
fn a_plan_tells_by_its_exit_code_and_in_json() {
    let backend = Backend::new();
    let proxy = proxy(&[backend.address()]);
    let good = file(&[backend.address()], "", "");
    assert_eq!(proxy.said(&["plan", "--exit-code"]), (Some(0), "No changes.\n".into(), String::new()));
    proxy.write(&format!("# A remark changes nothing.\n{good}"));
    assert_eq!(proxy.said(&["plan", "--exit-code"]).0, Some(0));
    proxy.write(&format!("workers: {{ threads: 7 }}\n{}", file(&[backend.address()], ", relay: copy", "")));
    let (code, said, _) = proxy.said(&["plan", "--exit-code"]);
    assert_eq!(code, Some(2));
    assert!(said.ends_with("A reload would be rejected: needs restart: workers.\n"), "{said}");
    let (code, json, _) = proxy.said(&["plan", "--json"]);
    assert_eq!(code, Some(0));
    let plan: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&plan["changed"], &plan["needs_restart"][0]), (&true.into(), &"workers".into()));
    let relay = plan["objects"].as_array().unwrap().iter().find(|object| object["kind"] == "listener").unwrap();
    assert_eq!(
        relay["changes"],
        serde_json::json!([{ "path": "relay", "action": "change", "old": "auto", "new": "copy" }])
    );
    proxy.write("listeners: {");
    let (code, out, error) = proxy.said(&["plan"]);
    assert_eq!((code, out.as_str()), (Some(78), ""));
    assert!(error.contains("peerway.yaml:"), "{error}");
    std::fs::write(proxy.dir().join("bad.yaml"), good.replace("pool: back", "pool: bakc")).unwrap();
    let (code, _, error) = proxy.said(&["plan", "bad.yaml"]);
    assert_eq!(code, Some(78));
    assert!(error.contains("bad.yaml:4:") && error.contains("did you mean `back`"), "{error}");
    assert_eq!(proxy.said(&["plan", "missing.yaml"]).0, Some(78));
}

#[test]
fn a_plan_follows_includes_and_takes_the_process_s_variables() {
    let backend = Backend::new();
    let proxy = proxy(&[backend.address()]);
    std::fs::create_dir(proxy.dir().join("other")).unwrap();
    let main = format!("include: pools.yaml\n{TOP}listeners:\n  front: {{ bind: '127.0.0.1:0', pool: back }}\n");
    let pools =
        format!("pools:\n  back: {{ backends: [ \"{}\" ], timeouts: {{ idle: ${{NONE:-7s}} }} }}\n", backend.address());
    std::fs::write(proxy.dir().join("other/main.yaml"), main).unwrap();
    std::fs::write(proxy.dir().join("other/pools.yaml"), pools.replace("${NONE:-7s}", "\"${NONE:-7s}\"")).unwrap();
    let (code, said, error) = proxy.said(&["plan", "other/main.yaml"]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert_eq!(said, "~ pool back (0 sessions)\n    + timeouts: { idle: 7s }\n\n0 to add, 1 to change, 0 to remove.\n");
}

#[test]
fn the_configuration_is_shown_without_its_secrets() {
    let backend = Backend::new();
    let health = ", health: { probe: { script: [ { send: 'AUTH hunter2' }, { expect: '+OK' } ] }, interval: 1h }";
    let yaml = file(&[backend.address()], "", health);
    let yaml = yaml.replace("127.0.0.1:0 }\nreload", "127.0.0.1:0, token_file: token }\nreload");
    let setup = Setup::file(yaml);
    std::fs::write(setup.dir().join("token"), "swordfish").unwrap();
    let proxy = setup.start();
    let body = proxy.admin().get("/api/v1/config").body;
    assert!(!body.contains("hunter2") && !body.contains("swordfish") && body.contains("***"), "{body}");
    let config: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(config["config"]["admin"]["token_file"].as_str().unwrap().ends_with("/token"));
    assert_eq!(config["config"]["pools"]["back"]["health"]["interval"], "1h");
    assert_eq!((&config["last_attempt"]["by"], &config["last_attempt"]["result"]), (&"start".into(), &"ok".into()));
    assert_eq!(config["hash"].as_str().map(str::len), Some(16));
    proxy.change_to(&yaml_with(&config, &proxy));
    let history = proxy.admin().get("/api/v1/config/history").body;
    assert!(!history.contains("hunter") && history.contains("script[0].send"), "{history}");
}

/// The same file with another secret.
fn yaml_with(_: &serde_json::Value, proxy: &crate::support::Proxy) -> String {
    std::fs::read_to_string(proxy.file()).unwrap().replace("hunter2", "hunter3")
}
