//! What operators say by hand: on the command line, by the API, and over restarts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Backend, Moody, Peer, Proxy, Service, Setup, binary, eventually, who};

/// `peerway WORD --admin … MORE`.
fn peerway(proxy: &Proxy, word: &str, more: &[&str]) -> Output {
    let admin = proxy.admin().address;
    Command::new(binary()).arg(word).args(["--admin", &admin]).args(more).output().unwrap()
}

/// The same, which must work; what it prints.
#[track_caller]
fn said(proxy: &Proxy, word: &str, more: &[&str]) -> String {
    let output = peerway(proxy, word, more);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn named(process: &str, backends: &[&Moody]) -> Setup {
    let member = |one: &&Moody| format!("{{ name: '{}', address: '{}' }}", one.name(), one.address());
    let members: Vec<_> = backends.iter().map(member).collect();
    Setup::file(format!(
        "admin: {{ listen: 127.0.0.1:0 }}\n{process}\nlisteners: {{ front: {{ bind: 127.0.0.1:0, pool: back }} }}\n\
         pools: {{ back: {{ backends: [ {} ] }} }}\n",
        members.join(", ")
    ))
}

fn names(proxy: &Proxy, times: usize) -> Vec<String> {
    (0..times).map(|_| who(&mut proxy.connect()).unwrap()).collect()
}

#[test]
fn drain_enable_weight_and_release_by_the_command_line() {
    let (a, b) = (Moody::new("a"), Moody::new("b"));
    let proxy = named("", &[&a, &b]).start();
    let mut living = (0..2).map(|_| proxy.connect().seeded(3, 3)).collect::<Vec<_>>();
    living.iter_mut().for_each(|peer| drop(who(peer).unwrap()));
    assert_eq!(said(&proxy, "drain", &["back/a"]), "back/a: drain\n");
    assert_eq!(names(&proxy, 6), ["b"; 6], "from the moment it is said");
    assert_eq!(
        (&proxy.backend(0)["state"], &proxy.backend(0)["override"]["state"]),
        (&"draining".into(), &"drain".into())
    );
    let state = "peerway_backend_state{backend=\"a\",state=\"draining\"}";
    assert_eq!((proxy.metric(state), proxy.metric("peerway_backend_state{backend=\"a\"}")), (1.0, 1.0));
    assert_eq!(said(&proxy, "enable", &["back/a"]), "back/a: enable\n");
    assert_eq!(names(&proxy, 6).iter().filter(|name| *name == "a").count(), 3);
    assert_eq!(said(&proxy, "weight", &["back/a", "3"]), "back/a: enable, weight 3\n");
    assert_eq!(names(&proxy, 8).iter().filter(|name| *name == "a").count(), 6);
    assert_eq!(proxy.metric("peerway_backend_weight{backend=\"a\"}"), 3.0);
    let table = said(&proxy, "pools", &[]);
    assert!(table.lines().any(|line| line.contains(" a ") && line.contains("by hand: enable, weight 3")), "{table}");
    assert_eq!(said(&proxy, "release", &["back/a"]), "back/a: as configured\n");
    assert_eq!(proxy.backend(0)["override"], Value::Null);
    assert_eq!(names(&proxy, 6).iter().filter(|name| *name == "a").count(), 3);
    for peer in &mut living {
        peer.say(1000);
        peer.hear(1000);
    }
    let json: Value = serde_json::from_str(&said(&proxy, "drain", &["--json", "--within", "90s", "back/a"])).unwrap();
    assert_eq!((&json["backend"], &json["override"]["within_seconds"]), (&"a".into(), &90.0.into()));
    proxy.logs("an operator has spoken");
}

#[test]
fn drain_within_ends_sessions_one_after_the_other_and_enable_stops_it() {
    let a = Moody::new("a");
    let proxy = named("", &[&a]).start();
    let mut all: Vec<Peer> = (0..20).map(|_| proxy.connect().seeded(4, 4)).collect();
    all.iter_mut().for_each(|peer| drop(who(peer).unwrap()));
    said(&proxy, "drain", &["--within", "4s", "back/a"]);
    proxy.is_turned_away();
    let start = Instant::now();
    let ended = || proxy.metric("peerway_sessions_closed_total{cause=\"killed\"}");
    assert!(ended() <= 4.0);
    eventually("half of them", || (ended() >= 10.0).then_some(()));
    assert!(start.elapsed() > Duration::from_millis(1000), "{:?}", start.elapsed());
    said(&proxy, "enable", &["back/a"]);
    let left = ended();
    thread::sleep(Duration::from_secs(1));
    assert!(ended() - left <= 1.0 && left < 20.0, "{left} {}", ended());
    said(&proxy, "drain", &["--within", "0s", "back/a"]);
    eventually("the rest", || (ended() == 20.0).then_some(()));
}

#[test]
fn wrong_names_values_methods_and_tokens_are_refused_and_change_nothing() {
    let a = Moody::new("a");
    let setup = named("", &[&a]);
    fs::write(setup.dir().join("token"), "secret\n").unwrap();
    let proxy = setup.replace("listen: 127.0.0.1:0 }", "listen: 0.0.0.0:0, token_file: token }").start();
    let admin = proxy.admin();
    let ask = |method, rest: &str| {
        admin.ask(method, &format!("/api/v1/pools/{rest}"), "Authorization: Bearer secret\r\n").status
    };
    for rest in [
        "none/backends/a/drain",
        "back/backends/none/drain",
        "back/backends/a/stop",
        "back/backends/a%2Fb/drain",
        "back/a/drain",
    ] {
        assert_eq!(ask("POST", rest), 404, "{rest}");
    }
    for rest in [
        "drain?within=5",
        "drain?within=",
        "drain?for=5m",
        "weight",
        "weight?value=0",
        "weight?value=-1",
        "weight?value=70000",
        "enable?x=1",
    ] {
        assert_eq!(ask("POST", &format!("back/backends/a/{rest}")), 400, "{rest}");
    }
    assert_eq!(ask("POST", "back/backends/%zz/drain"), 400);
    for (method, word) in
        [("GET", "drain"), ("DELETE", "drain"), ("PUT", "weight"), ("POST", "override"), ("GET", "override")]
    {
        assert_eq!(ask(method, &format!("back/backends/a/{word}")), 405, "{method} {word}");
    }
    assert_eq!(ask("DELETE", "back/backends/a/override"), 200, "nothing to forget is no error");
    for headers in ["", "Authorization: Bearer wrong\r\n"] {
        assert_eq!(admin.ask("POST", "/api/v1/pools/back/backends/a/drain", headers).status, 401, "{headers}");
    }
    let origin = "Authorization: Bearer secret\r\nOrigin: http://evil.example\r\n";
    assert_eq!(admin.ask("POST", "/api/v1/pools/back/backends/a/drain", origin).status, 403);
    assert_eq!((&proxy.backend(0)["state"], &proxy.backend(0)["override"]), (&"up".into(), &Value::Null));
    assert_eq!(peerway(&proxy, "drain", &["back/a"]).status.code(), Some(1));
    let token = proxy.dir().join("token").display().to_string();
    assert_eq!(peerway(&proxy, "drain", &["--token-file", &token, "back/a"]).status.code(), Some(0));
    for wrong in [&["back"][..], &["/a"], &[], &["back/a", "extra"]] {
        assert_eq!(peerway(&proxy, "drain", wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(peerway(&proxy, "weight", &["back/a", "much"]).status.code(), Some(2));
    let unknown = peerway(&proxy, "enable", &["--token-file", &token, "back/b"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no backend \"b\""), "{unknown:?}");
}

#[test]
fn names_with_odd_letters_are_encoded_once() {
    let setup = Setup::to::<String>([]);
    let path = setup.dir().join("a b%2F+é.sock");
    let backend: Service = Backend::unix(&path).named("odd");
    let proxy = setup.backend(format!("unix:{}", path.display())).start();
    let name = format!("back/unix:{}", path.display());
    said(&proxy, "drain", &[&name]);
    assert_eq!(proxy.backend(0)["state"], "draining");
    proxy.is_turned_away();
    said(&proxy, "release", &[&name]);
    assert_eq!(proxy.connect().line().unwrap(), "odd");
    drop(backend);
}

#[test]
fn what_was_said_outlives_the_process_with_a_state_file() {
    let (a, b) = (Moody::new("a"), Moody::new("b"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let process = format!("state_file: {}", file.display());
    let proxy = named(&process, &[&a, &b]).start();
    said(&proxy, "drain", &["back/a"]);
    said(&proxy, "weight", &["back/b", "7"]);
    drop(proxy); // killed
    let proxy = named(&process, &[&a, &b]).start();
    assert_eq!((&proxy.backend(0)["state"], &proxy.backend(1)["weight"]), (&"draining".into(), &7.into()));
    assert_eq!(names(&proxy, 4), ["b"; 4], "from the first session on");
    said(&proxy, "release", &["back/a"]);
    drop(proxy);
    let proxy = named(&process, &[&a, &b]).start();
    assert_eq!((&proxy.backend(0)["state"], &proxy.backend(1)["weight"]), (&"up".into(), &7.into()));
}

#[test]
fn a_broken_state_file_stops_the_start_and_says_what_to_do() {
    let a = Moody::new("a");
    for text in [
        "{",
        "{\"version\":9,\"overrides\":{}}",
        "",
        "{\"version\":1,\"overrides\":{\"p\":{\"b\":{\"weight\":0,\"at\":1}}}}",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        fs::write(&file, text).unwrap();
        let (code, log) = named(&format!("state_file: {}", file.display()), &[&a]).fails();
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("state.json") && (log.contains("mend") || log.contains("version")), "{log}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "it is left as it was");
    }
}

#[test]
fn what_cannot_be_written_down_is_not_done() {
    let a = Moody::new("a");
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let proxy = named(&format!("state_file: {}", home.join("state.json").display()), &[&a]).start();
    // Not by permissions: tests may run as root.
    fs::remove_dir(&home).unwrap();
    let answer = proxy.admin().ask("POST", "/api/v1/pools/back/backends/a/drain", "");
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("nothing has changed"), "{}", answer.body);
    assert_eq!((&proxy.backend(0)["state"], &proxy.backend(0)["override"]), (&"up".into(), &Value::Null));
    assert_eq!(names(&proxy, 2), ["a"; 2]);
    let output = peerway(&proxy, "drain", &["back/a"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("state file"), "{output:?}");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    said(&proxy, "drain", &["back/a"]);
    assert_eq!(proxy.backend(0)["state"], "draining");
}

#[test]
fn what_is_said_beats_disabled_and_health_counts_all_the_same() {
    let (a, b) = (Moody::new("a"), Moody::new("b"));
    let whole = format!(
        "admin: {{ listen: 127.0.0.1:0 }}\nlisteners: {{ front: {{ bind: 127.0.0.1:0, pool: back }} }}\npools:\n  back:\n    \
         backends: [ {{ name: a, address: '{}', disabled: true }}, {{ name: b, address: '{}' }} ]\n    \
         health: {{ probe: tcp, interval: 100ms, fall: 1, rise: 1 }}\n",
        a.address(),
        b.address()
    );
    let proxy = Setup::file(whole).start();
    assert_eq!(proxy.backend(0)["state"], "disabled");
    assert_eq!(proxy.backend(0)["last_probe"], Value::Null, "nobody asks it");
    said(&proxy, "enable", &["back/a"]);
    proxy.backend_becomes(0, "up");
    assert_eq!(names(&proxy, 4).iter().filter(|name| *name == "a").count(), 2);
    a.is(crate::support::Mood::Dead);
    proxy.backend_becomes(0, "down");
    assert_eq!(names(&proxy, 4), ["b"; 4]);
    said(&proxy, "release", &["back/a"]);
    assert_eq!(proxy.backend(0)["state"], "disabled");
}

#[test]
fn what_was_said_of_a_pool_that_is_gone_can_be_taken_back() {
    let a = Moody::new("a");
    let proxy = named("state_file: state.json\nreload: { watch: false }", &[&a]).start();
    let with = fs::read_to_string(proxy.file()).unwrap();
    said(&proxy, "drain", &["back/a"]);
    proxy.change_to(&with.replace("back: {", "other: {").replace("pool: back", "pool: other"));
    eventually("the pool is gone", || {
        let pools = proxy.admin().json("/api/v1/pools");
        (pools["pools"].as_array().unwrap().len() == 1).then_some(())
    });
    let answer = proxy.admin().ask("POST", "/api/v1/pools/back/backends/a/drain", "");
    assert_eq!(answer.status, 404, "{}", answer.body);
    assert!(fs::read_to_string(proxy.dir().join("state.json")).unwrap().contains("drain"));
    let answer = proxy.admin().ask("DELETE", "/api/v1/pools/back/backends/a/override", "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(!fs::read_to_string(proxy.dir().join("state.json")).unwrap().contains("drain"));
    proxy.change_to(&with);
    assert_eq!(proxy.backend(0)["state"], "up");
}
