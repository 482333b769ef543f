//! Listening sockets over an upgrade: none is bound anew, no queue is lost, none is left over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::{Admin, Backend, Peer, Setup, TOP, descriptors, eventually, open_files, send_across};

use super::proxy;

#[test]
fn a_unix_sockets_path_is_never_missing() {
    let backend = Backend::new().echo();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("front.sock");
    let admin = dir.path().join("admin.sock");
    let proxy = Setup::file(format!(
        "admin: {{ listen: \"unix:{}\" }}\nlisteners:\n  front: {{ bind: \"unix:{}\", pool: back }}\n\
         pools:\n  back: {{ backends: [ \"{}\" ] }}\n",
        admin.display(),
        path.display(),
        backend.address()
    ))
    .start();
    let stop = Arc::new(AtomicBool::new(false));
    let clients = {
        let (stop, path, admin) = (stop.clone(), path.clone(), admin.clone());
        thread::spawn(move || {
            let mut served = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut client = Peer::connect_unix(&path).seeded(5, 5);
                client.say(500);
                client.hear(500);
                client.finish();
                client.hear_end();
                assert!(admin.exists());
                served += 1;
            }
            served
        })
    };
    for _ in 0..3 {
        proxy.upgrade();
        thread::sleep(Duration::from_millis(100));
    }
    stop.store(true, Ordering::Relaxed);
    assert!(clients.join().expect("a client was not served") > 10);
    let inode = |path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let _: u64 = inode(&path);
}

#[test]
fn who_waits_in_a_queue_is_served_by_the_new_process() {
    let backend = Backend::new().echo();
    let proxy = Setup::to([&backend]).process("workers: { threads: 1 }\nmax_connections: 1\noverflow: wait").start();
    let mut first = proxy.connect().seeded(1, 1);
    first.say(1);
    first.hear(1);
    // One that is accepted and waits for a place, and some that nobody has accepted.
    let mut second = proxy.connect().seeded(2, 2);
    second.say(1);
    thread::sleep(Duration::from_millis(200));
    let mut third = proxy.connect().seeded(3, 3);
    third.say(10);
    let new = proxy.upgrade();
    third.hear(10);
    first.finish();
    first.hear_end();
    second.hear(1);
    assert_ne!(new, proxy.id());
}

#[test]
fn workers_may_become_more_or_fewer() {
    let backend = Backend::new().echo();
    let yaml = |workers: usize| {
        format!(
            "{TOP}workers: {{ threads: {workers} }}\nlisteners:\n  front: {{ bind: \"127.0.0.1:0\", pool: back }}\n\
             pools:\n  back: {{ backends: [ \"{}\" ] }}\n",
            backend.address()
        )
    };
    let proxy = Setup::file(yaml(2)).start();
    for workers in [5, 1, 3] {
        proxy.write(&yaml(workers));
        proxy.upgrade();
        let clients: Vec<_> = (0..40)
            .map(|seed| {
                let mut client = proxy.connect().seeded(seed, seed);
                client.say(100);
                client.hear(100);
                client
            })
            .collect();
        let scrape = proxy.scrape();
        let busy = (0..workers)
            .filter(|worker| scrape.get(&format!("peerway_worker_connections{{worker=\"{worker}\"}}")) > 0.0);
        assert!(busy.count() >= workers.min(2), "{workers} workers");
        for mut client in clients {
            client.finish();
            client.hear_end();
        }
    }
}

#[test]
fn an_address_that_is_no_longer_wanted_is_emptied_and_closed() {
    let backend = Backend::new();
    let yaml = |more: &str| {
        format!(
            "{TOP}listeners:\n  front: {{ bind: \"127.0.0.1:0\", pool: back }}\n{more}\
             pools:\n  back: {{ backends: [ \"{}\" ] }}\n",
            backend.address()
        )
    };
    let proxy = Setup::file(yaml("  other: { bind: \"127.0.0.1:0\", pool: back }\n")).start();
    let other = proxy.address("other");
    let mut client = Peer::connect(other);
    let mut server = backend.accept();
    proxy.write(&yaml("  third: { bind: \"127.0.0.1:0\", pool: back }\n"));
    proxy.upgrade();
    eventually("nobody listens", || Peer::try_connect(other).is_err().then_some(()));
    send_across(&mut client, &mut server, 1000);
    for listener in ["front", "third"] {
        let mut client = Peer::connect(proxy.address(listener));
        let mut server = backend.accept();
        send_across(&mut client, &mut server, 1000);
    }
    let list = proxy.admin().json("/api/v1/connections?listener=other");
    assert_eq!(list["connections"].as_array().unwrap().len(), 1, "{list}");
}

#[test]
fn nothing_is_inherited_that_was_not_meant_to_be() {
    let backend = Backend::new();
    let mut proxy = proxy(&backend, "");
    thread::sleep(Duration::from_millis(500)); // it opens the last ones after it is ready
    let first = descriptors(proxy.id());
    let (mut client, mut server) = proxy.session(&backend);
    let new = proxy.upgrade();
    // One more: the socket to the old process.
    eventually("no more than it needs", || (descriptors(new) <= first + 1).then_some(()));
    let address = proxy.address("front");
    let (client_port, old) = (client.local(), proxy.id());
    assert!(
        is_held(old, client_port, address) && !is_held(new, client_port, address),
        "sessions are the old one's alone"
    );
    let listens = |id| open_files(id).iter().filter(|link| link.to_string_lossy().starts_with("socket:")).count();
    assert!(listens(old) < listens(new) + 8, "of {address}");
    send_across(&mut client, &mut server, 1000);
    drop((client, server));
    assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
    eventually("none is left over", || (descriptors(new) <= first).then_some(()));
    for _ in 0..3 {
        let next = proxy.upgrade();
        proxy.metric_becomes("peerway_upgrade_old_processes", 0.0);
        eventually("none is left over", || (descriptors(next) <= first).then_some(()));
    }
}

/// Whether a process has the accepted end of the connection from `client` to `front`.
fn is_held(id: u32, client: std::net::SocketAddr, front: std::net::SocketAddr) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let [front, client] = [front, client].map(|address| format!("0100007F:{:04X}", address.port()));
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let mut rows = rows.filter(|row| row.get(1) == Some(&&*front) && row.get(2) == Some(&&*client));
    let inode = rows.next().expect("a connection")[9].to_owned();
    open_files(id).iter().any(|link| link.to_string_lossy() == format!("socket:[{inode}]"))
}

#[test]
fn a_second_process_is_still_told_that_the_port_is_taken() {
    let backend = Backend::new();
    let first = proxy(&backend, "");
    first.upgrade();
    let (code, said) = Setup::to([&backend]).bind(first.address("front")).fails();
    assert!(code == Some(1) && said.contains("cannot bind"), "{said}");
    let free = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    assert!(free.bind(&SockAddr::from(first.address("front"))).is_err());
}

#[test]
fn scrapes_of_both_endpoints_never_fail() {
    let backend = Backend::new();
    let yaml = super::file(&backend, "metrics: { listen: 127.0.0.1:0 }", "");
    let proxy = Setup::file(yaml).start();
    let stop = Arc::new(AtomicBool::new(false));
    let endpoints = ["admin", "metrics", "metrics"].map(|name| proxy.addresses(name)[0].clone());
    let scrapers = endpoints.map(|address| {
        let stop = stop.clone();
        thread::spawn(move || {
            let (admin, mut scrapes) = (Admin { address }, 0);
            while !stop.load(Ordering::Relaxed) {
                let answer = admin.get("/metrics");
                assert!(answer.status == 200 && answer.body.contains("peerway_build_info"), "{}", answer.head);
                assert_eq!(admin.get("/readyz").status, 200);
                scrapes += 1;
            }
            scrapes
        })
    });
    for _ in 0..4 {
        let new = proxy.upgrade();
        let build = || proxy.admin().json("/api/v1/upgrade")["pid"] == new;
        eventually("the new one answers", || build().then_some(()));
    }
    stop.store(true, Ordering::Relaxed);
    for scraper in scrapers {
        assert!(scraper.join().expect("a scrape failed") > 20);
    }
    let addresses: std::collections::BTreeSet<_> = proxy.addresses("metrics").into_iter().collect();
    assert_eq!(addresses.len(), 1, "the port stays");
}
