//! The command line: what the program says and how it exits when it cannot do what it was told.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Backend, Proxy, Setup, binary};

fn peerway(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

#[test]
fn wrong_usage_exits_2() {
    for arguments in [&[][..], &["run"], &["run", "--no-such-flag"], &["no-such-command"]] {
        assert_eq!(peerway(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn help_and_version_exit_0() {
    for argument in ["--help", "--version"] {
        let output = peerway(&[argument]);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains("peerway"));
    }
}

#[test]
fn a_wrong_file_exits_78_and_names_every_place() {
    let yaml =
        "listeners:\n  front:\n    bind: 127.0.0.1:0\n    pol: back\npools:\n  back: { polcy: p2c, backends: [] }\n";
    let (code, log) = Setup::file(yaml).fails();
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("peerway.yaml:4:5") && log.contains("peerway.yaml:6:11"), "{log}");
}

#[test]
fn check_tells_right_from_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    let path = file.to_str().unwrap();
    let good = "listeners:\n  a: { bind: 127.0.0.1:0, pool: b }\npools:\n  b: { backends: [127.0.0.1:1] }\n";
    std::fs::write(&file, good).unwrap();
    let right = peerway(&["check", path]);
    assert_eq!(String::from_utf8_lossy(&right.stdout), format!("{path}: ok\n"));
    assert_eq!(right.status.code(), Some(0));
    std::fs::write(&file, good.replace("pool: b", "pool: c")).unwrap();
    let wrong = peerway(&["check", path]);
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(78), 0));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("a.yaml:2:"));
    assert_eq!(peerway(&["check", "/no/such/file"]).status.code(), Some(78));
}

#[test]
fn a_port_in_use_exits_1_and_is_named() {
    let taken = Backend::new();
    let (code, log) = Setup::to([Backend::refusing()]).bind(taken.address()).fails();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&taken.address().to_string()) && log.to_lowercase().contains("in use"), "{log}");
}

#[test]
fn a_second_proxy_does_not_share_the_port_of_the_first() {
    let backend = Backend::new().named("first");
    let proxy = Setup::to([&backend]).start();
    let (code, log) = Setup::to([Backend::refusing()]).bind(proxy.address("front")).fails();
    assert_eq!(code, Some(1), "{log}");
    for _ in 0..20 {
        assert_eq!(proxy.connect().line().unwrap(), "first");
    }
}

#[test]
fn replicas_explain_a_client_alike() {
    let backends = [Backend::new().named("0"), Backend::new().named("1"), Backend::new().named("2")];
    let replica = || Setup::to(&backends).pool("policy: maglev").start();
    let replicas = [replica(), replica()];
    for client in (1..20).map(|host| format!("192.0.2.{host}:4711")) {
        let [one, other] = replicas.each_ref().map(|proxy| explain(proxy, &client));
        assert!(one["backend"].is_string() && one["table_digest"].is_string(), "{one}");
        assert_eq!(one, other, "{client}");
    }
    // And what is said comes true.
    let mut session = replicas[0].connect();
    let said = explain(&replicas[0], &session.local().to_string());
    let number: usize = session.line().unwrap().parse().unwrap();
    assert_eq!(said["backend"], backends[number].address().to_string().as_str());
}

#[test]
fn an_explanation_is_for_people_and_errors_are_said() {
    let proxy = Setup::to([Backend::refusing()]).start();
    let admin = proxy.admin().address;
    let run = |more: &[&str]| peerway(&[&["explain", "--admin", &admin], more].concat());
    let output = run(&["--client", "192.0.2.7:4711", "front"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text.starts_with("client    192.0.2.7:4711\nlistener  front\npool      back, by "), "{text}");
    assert!(text.contains("\nBACKEND ") && text.contains("the one that gets it"), "{text}");
    let unknown = run(&["--client", "192.0.2.7:4711", "fornt"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean `front`?"), "{unknown:?}");
    for wrong in [&["front"][..], &["--client", "192.0.2.7", "front"], &["--client", "192.0.2.7:4711"]] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

/// What `peerway explain --json` prints about a client of `front`.
fn explain(proxy: &Proxy, client: &str) -> Value {
    let output = peerway(&["explain", "--admin", &proxy.admin().address, "--json", "--client", client, "front"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}
