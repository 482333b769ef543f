//! Files that change under a running proxy, in all the ways in which files change.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Backend, Proxy, Setup, TOP, eventually};

use super::file;

/// Watched, with a short debounce.
fn watched(listener: &str, backend: &Backend) -> String {
    file(&[backend.address()], listener, "").replace("watch: false", "watch: true, debounce: 200ms")
}

#[track_caller]
fn idle_becomes(proxy: &Proxy, idle: &str) {
    eventually(idle, || (proxy.config()["config"]["listeners"]["front"]["timeouts"]["idle"] == idle).then_some(()));
}

#[test]
fn an_editor_s_rename_is_noticed() {
    let backend = Backend::new();
    let proxy = Setup::file(watched("", &backend)).start();
    // Written beside it, the old one moved away, the new one moved in.
    fs::write(proxy.dir().join(".peerway.yaml.swp"), watched(", timeouts: { idle: 9s }", &backend)).unwrap();
    fs::rename(proxy.file(), proxy.dir().join("peerway.yaml~")).unwrap();
    thread::sleep(Duration::from_millis(20));
    fs::rename(proxy.dir().join(".peerway.yaml.swp"), proxy.file()).unwrap();
    idle_becomes(&proxy, "9s");
    let config = proxy.config();
    assert_eq!((&config["generation"], &config["last_attempt"]["by"]), (&2.into(), &"file".into()));
    assert_eq!(proxy.metric("peerway_config_reloads_total"), 1.0, "nobody has seen it half done");
}

#[test]
fn a_file_written_in_place_is_read_when_it_is_whole() {
    let backend = Backend::new();
    let proxy = Setup::file(watched("", &backend)).start();
    let next = watched(", timeouts: { idle: 9s }", &backend);
    let (head, tail) = next.split_at(next.len() / 2);
    let mut file = fs::File::create(proxy.file()).unwrap();
    file.write_all(head.as_bytes()).unwrap();
    thread::sleep(Duration::from_millis(50));
    file.write_all(tail.as_bytes()).unwrap();
    drop(file);
    idle_becomes(&proxy, "9s");
    assert_eq!(proxy.metric("peerway_config_reloads_total{result=\"rejected\"}"), 0.0);
}

#[test]
fn a_config_map_is_swapped_by_its_link() {
    let backend = Backend::new();
    let dir = tempfile::tempdir().unwrap();
    let volume = |name: &str, idle: &str| {
        fs::create_dir(dir.path().join(name)).unwrap();
        let text = watched(&format!(", timeouts: {{ idle: {idle} }}"), &backend);
        fs::write(dir.path().join(name).join("pools.yaml"), text).unwrap();
    };
    volume("..1", "7s");
    symlink("..1", dir.path().join("..data")).unwrap();
    symlink("..data/pools.yaml", dir.path().join("pools.yaml")).unwrap();
    // The proxy's own file is a link to the mounted one.
    let setup = Setup::file("unused");
    let proxy = setup.linked_to(&dir.path().join("pools.yaml")).start();
    idle_becomes(&proxy, "7s");
    for (number, idle) in [(2, "8s"), (3, "9s")] {
        volume(&format!("..{number}"), idle);
        symlink(format!("..{number}"), dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
        fs::remove_dir_all(dir.path().join(format!("..{}", number - 1))).unwrap();
        idle_becomes(&proxy, idle);
    }
    assert_eq!(proxy.generation(), 3);
}

#[test]
fn a_deleted_file_changes_nothing_and_may_come_back() {
    let backend = Backend::new();
    let proxy = Setup::file(watched("", &backend)).start();
    fs::remove_file(proxy.file()).unwrap();
    eventually("drift", || (proxy.metric("peerway_config_drift") == 1.0).then_some(()));
    eventually("it is told", || (proxy.config()["last_attempt"]["result"] == "rejected").then_some(()));
    proxy.session(&backend);
    proxy.write(&watched(", timeouts: { idle: 9s }", &backend));
    idle_becomes(&proxy, "9s");
    assert_eq!(proxy.metric("peerway_config_drift"), 0.0);
}

#[test]
fn a_bad_file_is_tried_once() {
    let backend = Backend::new();
    let proxy = Setup::file(watched("", &backend)).start();
    proxy.write("listeners: [");
    eventually("it is refused", || {
        (proxy.metric("peerway_config_reloads_total{result=\"rejected\"}") == 1.0).then_some(())
    });
    for name in ["a.yaml", "b.yaml", "c.yaml"] {
        fs::write(proxy.dir().join(name), "x").unwrap();
        thread::sleep(Duration::from_millis(400));
    }
    assert_eq!(proxy.metric("peerway_config_reloads_total{result=\"rejected\"}"), 1.0);
    assert_eq!(proxy.metric("peerway_config_drift"), 1.0);
    // Back to what is in force: nothing to do but to say so.
    proxy.write(&watched("", &backend));
    eventually("no drift", || (proxy.metric("peerway_config_drift") == 0.0).then_some(()));
    assert_eq!(proxy.generation(), 1);
}

#[test]
fn a_bad_file_that_is_put_back_is_no_trouble_any_more() {
    let backend = Backend::new();
    let good = watched("", &backend);
    let proxy = Setup::file(good.clone()).start();
    let succeeded = || proxy.metric("peerway_config_last_reload_success") == 1.0;
    proxy.write("listeners: [");
    eventually("it is refused", || (!succeeded()).then_some(()));
    proxy.write(&good);
    eventually("what runs is on disk again", || succeeded().then_some(()));
    assert_eq!(proxy.metric("peerway_config_drift"), 0.0);
    assert_eq!(proxy.metric("peerway_config_reloads_total{result=\"ok\"}"), 0.0);
    assert_eq!(proxy.generation(), 1);
}

#[test]
fn included_files_are_watched_too() {
    let backend = Backend::new();
    let listener = |idle: &str| {
        format!("listeners: {{ front: {{ bind: '127.0.0.1:0', pool: back, timeouts: {{ idle: {idle} }} }} }}\n")
    };
    let top = TOP.replace("watch: false", "debounce: 100ms");
    let main = format!("{top}include: conf.d/*.yaml\npools: {{ back: {{ backends: [ '{}' ] }} }}\n", backend.address());
    let setup = Setup::file(main);
    fs::create_dir(setup.dir().join("conf.d")).unwrap();
    fs::write(setup.dir().join("conf.d/a.yaml"), listener("7s")).unwrap();
    let proxy = setup.start();
    fs::write(proxy.dir().join("conf.d/a.yaml"), listener("8s")).unwrap();
    idle_becomes(&proxy, "8s");
    fs::write(proxy.dir().join("conf.d/b.yaml"), "pools: { more: { backends: [] } }\n").unwrap();
    eventually("another pool", || proxy.config()["config"]["pools"].get("more").map(drop));
}

#[test]
fn a_signal_reloads_also_when_nobody_watches() {
    let backend = Backend::new();
    let proxy = Setup::file(file(&[backend.address()], "", "")).start();
    proxy.write(&file(&[backend.address()], ", timeouts: { idle: 9s }", ""));
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(proxy.generation(), 1, "watch: false");
    proxy.signal(Signal::HUP);
    idle_becomes(&proxy, "9s");
    assert_eq!(proxy.config()["last_attempt"]["by"], "signal");
}

#[test]
fn drift_is_seen_without_watching() {
    let backend = Backend::new();
    let proxy = Setup::file(file(&[backend.address()], "", "")).start();
    assert_eq!(proxy.metric("peerway_config_drift"), 0.0);
    proxy.write(&file(&[backend.address()], ", timeouts: { idle: 9s }", ""));
    eventually("drift", || (proxy.metric("peerway_config_drift") == 1.0).then_some(()));
    assert_eq!(proxy.config()["drift"], true);
    proxy.signal(Signal::HUP);
    eventually("no drift", || (proxy.metric("peerway_config_drift") == 0.0).then_some(()));
}

#[test]
fn a_file_in_a_folder_that_was_empty_or_not_there_is_noticed() {
    let backend = Backend::new();
    let top = TOP.replace("watch: false", "debounce: 100ms");
    let main = format!(
        "{top}include: [ empty/*.conf, new/*.yaml ]\nlisteners: {{ front: {{ bind: '127.0.0.1:0', pool: back }} }}\n\
         pools: {{ back: {{ backends: [ '{}' ] }} }}\n",
        backend.address()
    );
    let setup = Setup::file(main);
    fs::create_dir(setup.dir().join("empty")).unwrap();
    let proxy = setup.start();
    // The slow look at the content every few seconds would find them, too.
    for (folder, name) in [("empty", "a.conf"), ("new", "b.yaml")] {
        let pool = name.replace('.', "-");
        let _ = fs::create_dir(proxy.dir().join(folder));
        let found = (0..5).any(|attempt| {
            let start = std::time::Instant::now();
            let pool = format!("{pool}-{attempt}");
            fs::write(proxy.dir().join(folder).join(name), format!("pools: {{ {pool}: {{ backends: [] }} }}\n"))
                .unwrap();
            eventually("another pool", || proxy.config()["config"]["pools"].get(&pool).map(drop));
            let told = start.elapsed() < Duration::from_secs(2);
            fs::remove_file(proxy.dir().join(folder).join(name)).unwrap();
            eventually("no other pool", || proxy.config()["config"]["pools"].get(&pool).is_none().then_some(()));
            told
        });
        assert!(found, "{folder} is not watched");
    }
}
