//! Limits and lists that a reload changes, for those who live as for those who come.

use super::*;
use crate::support::{Setup, TOP, eventually};

fn file(backend: &Backend, process: &str, admission: &str) -> String {
    format!(
        "{TOP}{process}\nlisteners:\n  front: {{ bind: \"127.0.0.1:0\", pool: back, admission: {admission} }}\n\
         pools:\n  back: {{ backends: [ \"{}\" ] }}\n",
        backend.address()
    )
}

#[test]
fn a_lower_limit_ends_nobody_and_admits_nobody_until_there_are_fewer() {
    let backend = Backend::new();
    let proxy = Setup::file(file(&backend, "", "off")).start();
    let mut inside: Vec<_> = (0..4).map(|_| is_served(&proxy, &backend, 1)).collect();
    for (limits, reason) in
        [("{ max_connections: 2 }", "listener"), ("{ per_client: { max_connections: 2 } }", "client")]
    {
        proxy.change_to(&file(&backend, "", limits));
        is_reset(&proxy, 1);
        proxy.refused(&format!("max_connections_{reason}"), 1);
        for (client, server) in &mut inside {
            send_across(client, server, 1000);
            send_across(server, client, 1000);
        }
    }
    inside.truncate(2);
    proxy.metric_becomes("peerway_listener_active_connections", 2.0);
    is_reset(&proxy, 1);
    inside.truncate(1);
    proxy.metric_becomes("peerway_listener_active_connections", 1.0);
    inside.push(is_served(&proxy, &backend, 1));
    is_reset(&proxy, 1);
    proxy.change_to(&file(&backend, "", "off"));
    inside.extend((0..5).map(|_| is_served(&proxy, &backend, 1)));
    drop(inside);
    is_over(&proxy);
}

#[test]
fn lists_and_manners_follow() {
    let backend = Backend::new();
    let proxy = Setup::file(file(&backend, "", "{ deny: 127.0.0.2/32 }")).start();
    let (mut client_end, mut server) = is_served(&proxy, &backend, 1);
    is_reset(&proxy, 2);
    proxy.change_to(&file(&backend, "", "{ deny: 127.0.0.1/32, refuse_with: close }"));
    client(&proxy, 1).hear_end();
    is_served(&proxy, &backend, 2);
    send_across(&mut client_end, &mut server, 1000);
    let plan = proxy.admin().json("/api/v1/config");
    assert_eq!(plan["config"]["listeners"]["front"]["admission"]["deny"][0], "127.0.0.1/32");
}

#[test]
fn rates_follow() {
    let backend = Backend::new();
    let proxy = Setup::file(file(&backend, "", "off")).start();
    for (process, admission, reason) in [
        ("max_rate: 1/s", "off", "rate_process"),
        ("", "{ max_rate: 1/s }", "rate_listener"),
        ("", "{ per_client: { rate: 1/s } }", "rate_client"),
    ] {
        proxy.change_to(&file(&backend, process, admission));
        let series = format!("peerway_listener_refused_total{{reason=\"{reason}\"}}");
        eventually("one that came too soon", || {
            drop(from(proxy.address("front"), 1));
            (proxy.metric(&series) > 0.0).then_some(())
        });
    }
    proxy.change_to(&file(&backend, "", "off"));
    let before = proxy.metric("peerway_listener_refused_total");
    (0..10).for_each(|_| drop(client(&proxy, 1)));
    proxy.scrape().adds_up();
    assert_eq!(proxy.metric("peerway_listener_refused_total"), before);
}
