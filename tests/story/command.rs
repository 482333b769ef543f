//! The command line: what the program says and how it exits when it cannot do what it was told.

use std::process::{Command, Output};

use crate::support::{Backend, Setup, binary};

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
