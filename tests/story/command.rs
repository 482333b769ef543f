//! The command line: what the program says and how it exits when it cannot do what it was told.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Backend, Proxy, Setup, binary, eventually, free_port};

fn peerway(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

/// A disk on which nothing can be written.
fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A configuration that is good and has a warning, and one that is bad.
fn odd_and_bad(dir: &Path, bind: SocketAddr) -> [String; 2] {
    let good = format!(
        "listeners: {{ a: {{ bind: '{bind}', pool: b }} }}\npools: {{ b: {{ backends: 127.0.0.1:1 }}, unused: {{}} }}\n"
    );
    [("odd.yaml", good.clone()), ("bad.yaml", good.replace("pool: b", "pool: c"))].map(|(name, text)| {
        std::fs::write(dir.join(name), text).unwrap();
        dir.join(name).display().to_string()
    })
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure_and_a_reader_that_has_enough_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let [good, bad] = odd_and_bad(dir.path(), ([127, 0, 0, 1], 1).into());
    let run = |line: &[&str], out: Stdio, err: Stdio| {
        let mut child = Command::new(binary()).args(line).stdout(out).stderr(err).spawn().unwrap();
        child.wait().unwrap().code()
    };
    for line in [&["schema"][..], &["reference"], &["check", &good]] {
        let output = Command::new(binary()).args(line).stdout(full()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && said.contains("cannot write the output: No space"),
            "{line:?} {said}"
        );
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(run(line, writer.into(), Stdio::null()), Some(0), "{line:?}");
    }
    for line in [&["check", &bad][..], &["run", "-c", &bad]] {
        assert_eq!(run(line, Stdio::null(), full().into()), Some(78), "{line:?}");
    }
}

#[test]
fn warnings_that_nobody_reads_keep_no_proxy_from_running() {
    let dir = tempfile::tempdir().unwrap();
    let bind = ([127, 0, 0, 1], free_port()).into();
    let [odd, _] = odd_and_bad(dir.path(), bind);
    let mut child =
        Command::new(binary()).args(["run", "-c", &odd]).stdout(Stdio::null()).stderr(full()).spawn().unwrap();
    eventually("a listener", || TcpStream::connect(bind).ok());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn warnings_are_lines_of_the_log_as_all_others() {
    let proxy = Setup::to([Backend::refusing()]).pool("health: { passive: { max_ejected: 10% } }").start();
    let line = proxy.logs("nothing will ever be ejected");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["level"], &line["message"]), (&"WARN".into(), &"configuration".into()), "{line}");
    assert!(proxy.log().iter().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{:#?}", proxy.log());
}

/// Whoever rotates logs, or ends services, does not ask how far the start has come.
#[test]
fn signals_that_come_while_the_configuration_is_read_are_acted_on_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fifo");
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut child = Command::new(binary()).arg("run").arg("-c").arg(&file).stderr(Stdio::piped()).spawn().unwrap();
    // There is a reader: it has begun to read.
    let mut writer = File::options().write(true).open(&file).unwrap();
    let tell = |signal| kill_process(Pid::from_child(&child), signal).unwrap();
    [Signal::HUP, Signal::USR1].into_iter().for_each(tell);
    writer
        .write_all(b"listeners: { a: { bind: 127.0.0.1:0, pool: b } }\npools: { b: { backends: 127.0.0.1:1 } }\n")
        .unwrap();
    drop(writer);
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(log.any(|line| line.contains("\"ready\"")), "it has not been ended");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(log.any(|line| line.contains("\"stopped\"")));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_start_that_waits_for_its_configuration_can_be_ended() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fifo");
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut child = Command::new(binary()).arg("run").arg("-c").arg(&file).spawn().unwrap();
    let _writer = File::options().write(true).open(&file).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn too_few_descriptors_are_an_error_at_the_start() {
    // From not enough for a start to not enough for a session.
    for limit in [15, 17, 20, 24, 30] {
        let (code, log) = Setup::to([Backend::refusing()]).descriptors(limit).fails();
        assert_eq!(code, Some(1), "{limit}: {log}");
        assert!(!log.contains("panicked") && !log.contains("\"ready\""), "{limit}: {log}");
    }
    let (_, log) = Setup::to([Backend::refusing()]).descriptors(30).fails();
    assert!(log.contains("30 descriptors are too few") && log.contains("LimitNOFILE"), "{log}");
}

#[test]
fn json_is_json_also_where_the_process_says_no() {
    let proxy = Setup::to([Backend::refusing()]).start();
    proxy.write("listeners: {}\n");
    for (line, code) in [(&["reload"][..], 78), (&["plan"], 78), (&["drain", "nobody/nothing"], 1)] {
        let output = peerway(&[line, &["--json", "--admin", &proxy.admin().address]].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let problem: Value = serde_json::from_slice(&output.stdout).unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).starts_with(detail.lines().next().unwrap()), "{problem}");
    }
}

#[test]
fn wrong_usage_exits_2() {
    let of_a_line =
        ["", "run", "run --no-such-flag", "no-such-command", "weight p/b 0", "weight p/b 70000", "kill zzz"];
    let spans = ["drain p/b --within 5", "drain p/b --within soon", "reload --guard abc", "connections --limit 1001"];
    for line in of_a_line.iter().chain(&spans) {
        let output = peerway(&line.split_terminator(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{line}: {output:?}");
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
