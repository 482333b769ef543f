//! A new process that does not come to serve leaves everything as it was.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::{Backend, Proxy, Setup, eventually, send_across};

use super::{file, proxy};

/// Puts a script in the program's place.
fn replace(proxy: &Proxy, script: &str) {
    let (beside, program) = (proxy.dir().join("script"), proxy.dir().join("program"));
    fs::write(&beside, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(beside, program).unwrap();
}

/// A session from before goes on, and newcomers are served.
fn goes_on(proxy: &Proxy, backend: &Backend) {
    let (mut client, mut server) = proxy.session(backend);
    send_across(&mut client, &mut server, 1000);
    assert_eq!(proxy.generations().len(), 1);
}

#[test]
fn a_program_that_crashes_at_once() {
    let backend = Backend::new();
    let proxy = Setup::file(file(&backend, "", "")).own_program().start();
    let (mut client, mut server) = proxy.session(&backend);
    replace(&proxy, "echo 'cannot open shared object' >&2; exit 127");
    let said = proxy.upgrade_fails(1);
    assert!(said.contains("exit code 127") && said.contains("cannot open shared object"), "{said}");
    let line = proxy.logs("upgrade failed");
    assert!(line.contains("\"exit_code\":127") && line.contains("cannot open shared object"), "{line}");
    replace(&proxy, "kill -SEGV $$");
    assert!(proxy.upgrade_fails(1).contains("signal 11"));
    fs::remove_file(proxy.dir().join("program")).unwrap();
    assert!(proxy.upgrade_fails(1).contains("cannot start"));
    send_across(&mut client, &mut server, 1000);
    goes_on(&proxy, &backend);
    // The right one again.
    fs::copy(crate::support::binary(), proxy.dir().join("program")).unwrap();
    proxy.upgrade();
    send_across(&mut client, &mut server, 1000);
}

#[test]
fn a_program_that_floods_its_standard_error() {
    let backend = Backend::new();
    let proxy = Setup::file(file(&backend, "", "")).own_program().start();
    replace(&proxy, "yes 'much to say' | head -c 30000000 >&2; echo the end >&2; exit 5");
    let said = proxy.upgrade_fails(1);
    assert!(said.contains("the end") && said.len() < 10_000, "{} bytes", said.len());
    goes_on(&proxy, &backend);
}

#[test]
fn a_program_that_hangs_is_given_up_and_nothing_else_is_done_meanwhile() {
    let backend = Backend::new();
    let proxy = Setup::file(file(&backend, "", "")).own_program().start();
    let (mut client, mut server) = proxy.session(&backend);
    replace(&proxy, "exec sleep 300");
    std::thread::scope(|scope| {
        let upgrading = scope.spawn(|| proxy.said(&["upgrade"]));
        proxy.logs("a new process is starting");
        let second = proxy.admin().ask("POST", "/api/v1/upgrade", "");
        assert!(second.status == 409 && second.body.contains("under way"), "{}", second.body);
        let reload = proxy.reload();
        assert!(reload.status == 409 && reload.body.contains("upgrade"), "{}", reload.body);
        send_across(&mut client, &mut server, 1000);
        let (code, _, said) = upgrading.join().unwrap();
        assert!(code == Some(1) && said.contains("not ready within 30 seconds"), "{code:?} {said}");
    });
    let last = proxy.admin().json("/api/v1/upgrade");
    let hung = last["upgrade"]["new_pid"].as_u64().unwrap() as u32;
    crate::support::is_gone(hung);
    assert_eq!(proxy.reload().status, 200);
    goes_on(&proxy, &backend);
}

#[test]
fn a_configuration_that_is_wrong() {
    let backend = Backend::new();
    let proxy = proxy(&backend, "");
    let good = fs::read_to_string(proxy.file()).unwrap();
    proxy.write(&format!("{good}nonsense: 1\n"));
    let said = proxy.upgrade_fails(78);
    assert!(said.contains("peerway.yaml:") && said.contains("nonsense"), "{said}");
    goes_on(&proxy, &backend);
    assert_eq!(proxy.admin().json("/api/v1/upgrade")["upgrade"]["result"], "bad_config");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("{good}  \n").replace(
        "listeners:\n",
        &format!("listeners:\n  other: {{ bind: \"{}\", pool: back }}\n", taken.local_addr().unwrap()),
    );
    let _held = &taken;
    proxy.write(&taken);
    let said = proxy.upgrade_fails(1);
    assert!(said.contains("cannot bind listeners.other") && said.contains("exit code 1"), "{said}");
    goes_on(&proxy, &backend);
    proxy.write(&good);
    proxy.upgrade();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 1000);
}

#[test]
fn the_file_of_the_admin_socket_outlives_a_new_process_that_gives_up() {
    let backend = Backend::new();
    let dir = tempfile::tempdir().unwrap();
    let admin = format!("unix:{}", dir.path().join("admin.sock").display());
    let yaml = file(&backend, "", "").replace("127.0.0.1:0 }", &format!("\"{admin}\" }}"));
    let proxy = Setup::file(yaml.clone()).start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("listeners:\n  other: {{ bind: \"{}\", pool: back }}\n", taken.local_addr().unwrap());
    proxy.write(&yaml.replace("listeners:\n", &other));
    let said = proxy.upgrade_fails(1);
    assert!(said.contains("cannot bind listeners.other"), "{said}");
    assert_eq!(proxy.admin().get("/healthz").status, 200);
    proxy.write(&yaml);
    let new = proxy.upgrade();
    assert_eq!(proxy.admin().get("/healthz").status, 200);
    proxy.signal_to(new, rustix::process::Signal::TERM);
    crate::support::is_gone(new);
    assert!(!dir.path().join("admin.sock").exists());
}

#[test]
fn no_more_old_processes_than_there_may_be() {
    let backend = Backend::new();
    let proxy = proxy(&backend, "upgrade: { max_old: 1 }");
    let (client, mut server) = proxy.session(&backend);
    proxy.upgrade();
    let said = proxy.upgrade_fails(1);
    assert!(said.contains("max_old is 1") && said.contains(&proxy.id().to_string()), "{said}");
    client.close();
    server.hear_end();
    server.close();
    proxy.metric_becomes("peerway_upgrade_old_processes", 0.0);
    proxy.upgrade();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 1000);
}

#[test]
fn an_end_during_an_upgrade_ends_both() {
    let backend = Backend::new();
    let mut proxy = Setup::file(file(&backend, "", "")).own_program().start();
    replace(&proxy, "exec sleep 300");
    proxy.signal(rustix::process::Signal::USR2);
    let started = proxy.logs("a new process is starting");
    let started: serde_json::Value = serde_json::from_str(&started).unwrap();
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.exit_within(Duration::from_secs(15)).code(), Some(0));
    let hung = started["new_pid"].as_u64().unwrap() as u32;
    eventually("it is gone", || (!fs::exists(format!("/proc/{hung}/exe")).unwrap_or(false)).then_some(()));
}
