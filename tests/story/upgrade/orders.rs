//! What is ordered of the newest process happens to sessions of old ones, too.

use std::time::Duration;

use crate::support::{Backend, Proxy, Setup, TOP, send_across};

/// Listeners and backends in one pool, with more in the pool.
fn file(listeners: &[&str], backends: &[(&str, &Backend)], pool: &str) -> String {
    let listeners =
        listeners.iter().map(|name| format!("  {name}: {{ bind: \"127.0.0.1:0\", pool: back, on_remove: reset }}\n"));
    let backends =
        backends.iter().map(|(name, backend)| format!("{{ name: {name}, address: \"{}\" }}", backend.address()));
    let (listeners, backends): (String, Vec<String>) = (listeners.collect(), backends.collect());
    format!(
        "{TOP}listeners:\n{listeners}pools:\n  back: {{ backends: [ {} ], policy: first{pool} }}\n",
        backends.join(", ")
    )
}

/// Upgraded twice.
fn upgraded(proxy: &Proxy) {
    proxy.upgrade();
    proxy.upgrade();
}

#[test]
fn a_removed_backend_takes_sessions_of_old_processes_along() {
    let (a, b) = (Backend::new(), Backend::new());
    for (how, ends) in [("reset", true), ("{ drain: 1s }", true), ("keep", false)] {
        let pool = format!(", on_remove: {how}");
        let proxy = Setup::file(file(&["front"], &[("a", &a), ("b", &b)], &pool)).start();
        let mut on_a = [proxy.session(&a), proxy.session(&a)];
        assert_eq!(proxy.said(&["drain", "back/a"]).0, Some(0));
        let mut on_b = proxy.session(&b);
        upgraded(&proxy);
        proxy.change_to(&file(&["front"], &[("b", &b)], &pool));
        if !ends {
            // Long enough for an end that nobody has asked for.
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        for (client, server) in &mut on_a {
            match ends {
                true => {
                    client.hear_reset_within(Duration::from_secs(10));
                    server.hear_reset();
                    assert!(proxy.why().starts_with("removed proxy"), "{how}");
                }
                false => send_across(client, server, 1000),
            }
        }
        send_across(&mut on_b.0, &mut on_b.1, 1000);
    }
}

#[test]
fn a_backend_that_is_back_in_time_keeps_its_sessions() {
    let (a, b) = (Backend::new(), Backend::new());
    let pool = ", on_remove: { drain: 20s }";
    let with_both = file(&["front"], &[("a", &a), ("b", &b)], pool);
    let proxy = Setup::file(with_both.clone()).start();
    let mut sessions = [proxy.session(&a), proxy.session(&a)];
    proxy.upgrade();
    proxy.change_to(&file(&["front"], &[("b", &b)], pool));
    // The one that is idle for longest, at once; the other after half the time.
    assert!(proxy.why().starts_with("removed proxy"));
    proxy.change_to(&with_both);
    std::thread::sleep(Duration::from_secs(12));
    let lives = |peer: &mut (crate::support::Peer, crate::support::Peer)| {
        peer.0.try_say(10).is_ok() && peer.1.try_hear(10).is_ok()
    };
    assert_eq!(sessions.iter_mut().filter_map(|one| lives(one).then_some(())).count(), 1);
}

#[test]
fn a_removed_listener_takes_sessions_of_old_processes_along() {
    let backend = Backend::new();
    let proxy = Setup::file(file(&["front", "other"], &[("a", &backend)], "")).start();
    let mut front = proxy.session(&backend);
    let mut client = crate::support::Peer::connect(proxy.address("other"));
    let mut server = backend.accept();
    proxy.upgrade();
    proxy.change_to(&file(&["front"], &[("a", &backend)], ""));
    client.hear_reset_within(Duration::from_secs(10));
    server.hear_reset();
    assert!(proxy.why().starts_with("removed proxy"));
    send_across(&mut front.0, &mut front.1, 1000);
}

/// The old process has not heard of what the reload says of those that are down.
#[test]
fn sessions_that_the_newest_process_moves_are_moved_in_old_ones() {
    let (a, b) = (Backend::new(), Backend::new());
    let yaml = file(&["front"], &[("a", &a), ("b", &b)], ", single_active: true, queue: { max: 10, timeout: 5m }");
    let proxy = Setup::file(yaml.clone()).start();
    let mut old = proxy.session(&a);
    proxy.upgrade();
    let out = format!("{}\", disabled: true", a.address());
    let yaml = yaml.replace(&format!("{}\"", a.address()), &out);
    proxy.change_to(&yaml.replace("policy: first", "policy: first, health: { on_down: reset }"));
    old.0.hear_reset_within(Duration::from_secs(10));
    old.1.hear_reset();
    assert!(proxy.why().starts_with("removed proxy"));
    let (mut client, mut server) = proxy.session(&b);
    send_across(&mut client, &mut server, 1000);
}
