//! Who is inside, and who is not.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use super::{Outside, helper, proxy, status};
use crate::support::{Backend, Setup, eventually, is_gone, open_files, send_across};

/// What a thread that has entered, or was started by one that had, can no longer do without: both come at once.
const INSIDE: &str = "NoNewPrivs:";

#[test]
fn every_thread_is_inside_and_the_helper_is_not() {
    let backend = Backend::new();
    let log = Outside::new();
    let proxy = Setup::to([&backend])
        .process("sandbox: strict\nworkers: { threads: 3 }")
        .process(&format!("log: {{ access: {{ to: {} }} }}", log.path().join("access").display()))
        .start();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 1000);
    let tasks = fs::read_dir(format!("/proc/{}/task", proxy.id())).unwrap();
    let tasks: Vec<PathBuf> = tasks.map(|entry| entry.unwrap().path()).collect();
    let names: Vec<String> = tasks.iter().map(|task| status(task, "Name:")).collect();
    for name in ["worker-0", "worker-1", "worker-2", "log"] {
        assert!(names.iter().any(|other| other == name), "no {name} among {names:?}");
    }
    for task in tasks {
        assert_eq!(status(&task, INSIDE), "1", "{} is outside", status(&task, "Name:"));
    }
    assert_eq!(status(format!("/proc/{}", helper(proxy.id())), INSIDE), "0");
}

#[test]
fn without_a_sandbox_there_is_no_helper() {
    let proxy = Setup::to([&Backend::new()]).start();
    assert!(super::children(proxy.id()).is_empty());
    assert_eq!(status(format!("/proc/{}", proxy.id()), INSIDE), "0");
}

#[test]
fn the_helper_holds_nothing_and_ends_with_its_process() {
    let ends = |id| {
        let open = open_files(id).into_iter().map(|path| path.display().to_string());
        open.filter(|path| path.starts_with("socket:") || path.starts_with("pipe:")).collect::<BTreeSet<_>>()
    };
    // What the tests were started with is everybody's.
    let all = ends(std::process::id());
    let backend = Backend::new();
    let proxy = proxy(&backend);
    let (client, _server) = proxy.session(&backend);
    let helper = helper(proxy.id());
    let ours: BTreeSet<_> = &ends(proxy.id()) - &all;
    let shared: Vec<String> = ends(helper).intersection(&ours).cloned().collect();
    assert!(ours.len() > 4 && shared.is_empty(), "{shared:?} of {ours:?}");
    proxy.signal(Signal::KILL);
    is_gone(helper);
    client.close();
}

#[test]
fn signals_for_the_process_do_not_end_its_helper() {
    let backend = Backend::new();
    let proxy = proxy(&backend);
    let helper = helper(proxy.id());
    let id = rustix::process::Pid::from_raw(helper as i32).unwrap();
    eventually("the helper listens to signals", || {
        let caught = status(format!("/proc/{helper}"), "SigCgt:");
        (u64::from_str_radix(&caught, 16).unwrap() & (1 << (Signal::USR2.as_raw() - 1)) != 0).then_some(())
    });
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::USR1, Signal::USR2] {
        rustix::process::kill_process(id, signal).unwrap();
    }
    proxy.upgrade();
}

#[test]
fn what_the_kernel_says_about_the_process_is_still_told() {
    let proxy = proxy(&Backend::new());
    let scrape = proxy.scrape();
    assert!(scrape.get("process_open_fds") > 5.0 && scrape.get("process_threads") > 2.0);
    assert!(scrape.get("process_resident_memory_bytes") > 1e6);
    assert!(scrape.get("process_start_time_seconds") > 1.7e9);
}
