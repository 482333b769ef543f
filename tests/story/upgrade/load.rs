//! Upgrades under load: every connect succeeds, every byte arrives, no counter goes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::{Admin, Backend, Peer, Setup, eventually, is_gone};

/// Clients, one after another, of a backend that echoes; each must be served to the last byte.
fn newcomers(to: std::net::SocketAddr, stop: &Arc<AtomicBool>, served: &Arc<AtomicU64>, seed: u64) -> JoinHandle<()> {
    let (stop, served) = (stop.clone(), served.clone());
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let mut client = Peer::connect(to).seeded(seed, seed);
            client.say(3000);
            client.hear(3000);
            client.finish();
            client.hear_end();
            served.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(2));
        }
    })
}

/// Scrapes without a pause: what counts only rises, and what came is what went and what is there.
fn watcher(admin: Admin, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let stop = stop.clone();
    thread::spawn(move || {
        let (mut before, mut scrapes) = (BTreeMap::<String, f64>::new(), 0);
        while !stop.load(Ordering::Relaxed) {
            let scrape = admin.scrape();
            let now = scrape.all();
            for (series, value) in &before {
                let name = series.split('{').next().unwrap();
                let rises = ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end));
                if rises {
                    let now = now.get(series).unwrap_or_else(|| panic!("{series} is gone"));
                    assert!(now >= value, "{series} went from {value} to {now}");
                }
            }
            super::counts::adds_up(&scrape);
            (before, scrapes) = (now, scrapes + 1);
        }
        scrapes
    })
}

#[test]
fn five_upgrades_under_load_are_seen_by_nobody() {
    let backend = Backend::new().echo();
    let proxy = Setup::to([&backend]).process("workers: { threads: 2 }\nupgrade: { max_old: 8 }").start();
    let to = proxy.address("front");
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (1..=4).map(|seed| newcomers(to, &stop, &served, seed)).collect();
    let watching = watcher(proxy.admin(), &stop);
    let mut long = Vec::new();
    for round in 0..5 {
        for seed in 0..4 {
            long.push(Peer::connect(to).seeded(1000 + seed + 10 * round, 1000 + seed + 10 * round));
        }
        for client in &mut long {
            client.say(10_000);
            client.hear(10_000);
        }
        let before = served.load(Ordering::Relaxed);
        proxy.upgrade();
        for client in &mut long {
            client.say(10_000);
            client.hear(10_000);
        }
        eventually("newcomers are served", || (served.load(Ordering::Relaxed) > before + 20).then_some(()));
    }
    proxy.metric_becomes("peerway_upgrade_old_processes", 5.0);
    assert_eq!(proxy.metric("peerway_upgrade_old_sessions"), 20.0);
    for mut client in long {
        client.say(10_000);
        client.hear(10_000);
        client.finish();
        client.hear_end();
    }
    proxy.metric_becomes("peerway_upgrade_old_processes", 0.0);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client was not served as it should be");
    }
    let scrapes = watching.join().expect("a page was not as it should be");
    assert!(scrapes > 20, "{scrapes} scrapes");
    let served = served.load(Ordering::Relaxed) as f64 + 20.0;
    proxy.metric_becomes("peerway_sessions_closed_total{cause=\"finished\"}", served);
    assert_eq!(proxy.metric("peerway_listener_connections_total"), served);
    let generations = proxy.generations();
    assert_eq!(generations.len(), 6);
    // The first is this test's own child.
    generations[1..5].iter().for_each(|id| is_gone(*id));
}
