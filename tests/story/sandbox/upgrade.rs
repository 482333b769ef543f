//! Upgrades: the next process is started from outside, so that it is in its own sandbox and no other.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use super::{Outside, file, helper, proxy, status};
use crate::support::pki::{Authority, Wish};
use crate::support::{Backend, PATIENCE, Proxy, Setup, is_gone, send_across};

#[test]
fn twenty_upgrades_in_a_row_with_sessions_that_outlive_them_all() {
    let backend = Backend::new();
    let top = "workers: { threads: 1 }\nupgrade: { max_old: 32 }";
    let proxy = Setup::file(file(&backend, top, "", "")).start();
    let mut living = vec![proxy.session(&backend)];
    for round in 1..=20 {
        let new = proxy.upgrade();
        assert_eq!(status(format!("/proc/{new}"), "NoNewPrivs:"), "1");
        if round % 5 == 0 {
            living.push(proxy.session(&backend));
        }
        for (client, server) in &mut living {
            send_across(client, server, 1000);
            send_across(server, client, 1000);
        }
    }
    assert_eq!(proxy.generations().len(), 21);
    proxy.metric_becomes("peerway_upgrade_old_sessions", 4.0);
    for (client, mut server) in living {
        client.close();
        server.hear_end();
        server.close();
    }
    proxy.metric_becomes("peerway_upgrade_old_processes", 0.0);
    proxy.generations()[1..20].iter().for_each(|id| is_gone(*id));
}

#[test]
fn an_upgrade_opens_what_a_reload_cannot() {
    let backend = Backend::new();
    let outside = Outside::new();
    let [cert, key] = Authority::new("authority").issue(&Wish::names(["a.example"])).save(&outside.path(), "a");
    let proxy = proxy(&backend);
    let tls = format!(", tls: {{ certificates: {{ cert: {}, key: {} }} }}", cert.display(), key.display());
    let yaml = file(&backend, "", &tls, "");
    assert!(proxy.refuses(&yaml).contains("needs restart"));
    proxy.upgrade();
    assert_eq!(proxy.reload().status, 200);
    // And closes what is not needed any more, as a restart would.
    proxy.write(&file(&backend, "", "", ""));
    proxy.upgrade();
    assert!(proxy.refuses(&yaml).contains("needs restart"));
}

#[test]
fn the_helper_of_a_process_that_was_replaced_is_gone() {
    let backend = Backend::new();
    let proxy = proxy(&backend);
    let (mut client, mut server) = proxy.session(&backend);
    let first = helper(proxy.id());
    let new = proxy.upgrade();
    is_gone(first);
    assert_ne!(helper(new), first);
    send_across(&mut client, &mut server, 10);
}

/// Puts a script in the program's place.
fn replace(proxy: &Proxy, script: &str) {
    let (beside, program) = (proxy.dir().join("script"), proxy.dir().join("program"));
    fs::write(&beside, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(beside, program).unwrap();
}

#[test]
fn a_new_process_that_does_not_come_to_serve_is_told_of_as_without_a_sandbox() {
    let backend = Backend::new();
    let proxy = Setup::file(file(&backend, "", "", "")).own_program().start();
    let (mut client, mut server) = proxy.session(&backend);
    replace(&proxy, "echo 'cannot open shared object' >&2; exit 127");
    let said = proxy.upgrade_fails(1);
    assert!(said.contains("exit code 127") && said.contains("cannot open shared object"), "{said}");
    replace(&proxy, "kill -SEGV $$");
    assert!(proxy.upgrade_fails(1).contains("signal 11"));
    // One that closes its socket and stays is killed.
    replace(&proxy, "exec </dev/null; exec sleep 300");
    proxy.upgrade_fails(1);
    let hung = proxy.admin().json("/api/v1/upgrade")["upgrade"]["new_pid"].as_u64().unwrap() as u32;
    is_gone(hung);
    fs::remove_file(proxy.dir().join("program")).unwrap();
    assert!(proxy.upgrade_fails(1).contains("cannot start"));
    let good = fs::read_to_string(proxy.file()).unwrap();
    fs::copy(crate::support::binary(), proxy.dir().join("program")).unwrap();
    proxy.write(&format!("{good}nonsense: 1\n"));
    let said = proxy.upgrade_fails(78);
    assert!(said.contains("peerway.yaml:") && said.contains("nonsense"), "{said}");
    proxy.write(&good);
    proxy.upgrade();
    send_across(&mut client, &mut server, 1000);
}

#[test]
fn a_process_that_lost_its_helper_goes_on_and_says_what_it_cannot_do() {
    let backend = Backend::new();
    let proxy = proxy(&backend);
    let id = rustix::process::Pid::from_raw(helper(proxy.id()) as i32).unwrap();
    rustix::process::kill_process(id, Signal::KILL).unwrap();
    for _ in 0..2 {
        let said = proxy.upgrade_fails(1);
        assert!(said.contains("the helper that starts new processes") && said.contains("restart"), "{said}");
    }
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 1000);
}

#[test]
fn the_service_manager_hears_which_process_is_the_main_one() {
    let backend = Backend::new();
    let setup = Setup::file(file(&backend, "", "", ""));
    let manager = UnixDatagram::bind(setup.dir().join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let path = setup.dir().join("notify");
    let proxy = setup.variable("NOTIFY_SOCKET", path.display()).start();
    let hears = |begin: &str| {
        let mut room = [0; 4096];
        loop {
            let length = manager.recv(&mut room).unwrap_or_else(|error| panic!("{begin}: {error}"));
            let words = String::from_utf8_lossy(&room[..length]);
            if words.starts_with(begin) {
                return;
            }
        }
    };
    hears("READY=1");
    for _ in 0..2 {
        let new = proxy.upgrade();
        hears(&format!("MAINPID={new}\nREADY=1"));
    }
}
