//! Upgrades under load: every connect succeeds, every byte arrives, no counter goes back.

use std::time::Duration;

use crate::support::{Backend, Newcomers, Peer, Setup, Watcher, is_gone};

#[test]
fn five_upgrades_under_load_are_seen_by_nobody() {
    let backend = Backend::new().echo();
    let proxy = Setup::to([&backend]).process("workers: { threads: 2 }\nupgrade: { max_old: 8 }").start();
    let to = proxy.address("front");
    let newcomers = Newcomers::of(to, 4, Duration::from_millis(2));
    let watching = Watcher::of(proxy.admin(), Duration::ZERO, |_| true);
    let mut long = Vec::new();
    for round in 0..5 {
        for seed in 0..4 {
            long.push(Peer::connect(to).seeded(1000 + seed + 10 * round, 1000 + seed + 10 * round));
        }
        for client in &mut long {
            client.say(10_000);
            client.hear(10_000);
        }
        let before = newcomers.served();
        proxy.upgrade();
        for client in &mut long {
            client.say(10_000);
            client.hear(10_000);
        }
        newcomers.come_beyond(before + 20);
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
    let served = newcomers.stop() as f64 + 20.0;
    let scrapes = watching.stop();
    assert!(scrapes > 20, "{scrapes} scrapes");
    proxy.metric_becomes("peerway_sessions_closed_total{cause=\"finished\"}", served);
    assert_eq!(proxy.metric("peerway_listener_connections_total"), served);
    let generations = proxy.generations();
    assert_eq!(generations.len(), 6);
    // The first is this test's own child.
    generations[1..5].iter().for_each(|id| is_gone(*id));
}
