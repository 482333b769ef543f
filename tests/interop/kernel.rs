//! What the kernel does to connections: it has no port left for them, or somebody has it end one.

use std::fs;
use std::time::Duration;

use crate::network::Network;
use crate::support::{Backend, Peer, Proxy, Setup, Wait, eventually, program, run, send_across};

/// Ports that the kernel may choose for connections there. One port serves one connection to each backend.
const PORTS: usize = 50;

/// Long enough for what should be there at once.
const SOON: Wait = Wait::For(Duration::from_millis(100));

/// A client from a port of its own, which the kernel may not choose.
fn client(proxy: &Proxy, number: usize) -> std::io::Result<Peer> {
    Peer::try_connect_from(([127, 0, 1, 1], 20_000 + number as u16).into(), proxy.address("front"))
}

#[test]
fn no_port_left_is_our_failure_and_those_who_are_served_are_unhurt() {
    let network = Network::new();
    network.run(|| {
        let backends = [2, 3].map(|number| Backend::at(([127, 0, 0, number], 7000).into()));
        let setup = Setup::to(&backends).pool("policy: round_robin").pool("connect: { attempts: 3 }");
        let proxy = setup.pool("health: { passive: { failures: 1, max_ejected: 100% } }").start();
        // Its own listeners have ports by now, which are none of these.
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", format!("30000 {}", 30000 + PORTS - 1)).unwrap();
        let serve = |number: usize| {
            let peer = client(&proxy, number).unwrap();
            let server = backends[number % 2].accept();
            (peer, server)
        };
        let mut served: Vec<_> = (0..2 * PORTS).map(serve).collect();
        for number in 2 * PORTS..2 * PORTS + 10 {
            if let Ok(mut peer) = client(&proxy, number) {
                peer.hear_reset();
            }
            let end = proxy.ended();
            assert_eq!(
                (&end["cause"], &end["side"], &end["phase"]),
                (&"connect_failed".into(), &"proxy".into(), &"connect".into())
            );
            assert_eq!(end["errno"], 99);
            let attempts = end["attempts"].as_array().unwrap();
            assert!(attempts.len() == 3 && attempts.iter().all(|attempt| attempt["result"] == "local"), "{attempts:?}");
        }
        assert!(proxy.logs("no port is free").contains("net.ipv4.ip_local_port_range"));
        assert_eq!(proxy.metric("peerway_backend_connect_failures_total{reason=\"local\"}"), 30.0);
        assert_eq!(proxy.metric("peerway_backend_ejections_total"), 0.0);
        for (peer, server) in &mut served {
            send_across(peer, server, 1000);
            send_across(server, peer, 1000);
        }
        // The backends end first, so that what waits for late packets is theirs and the ports are free.
        for (mut peer, mut server) in served {
            server.finish();
            peer.hear_end();
            peer.finish();
            server.hear_end();
        }
        proxy.metric_becomes("peerway_listener_active_connections", 0.0);
        let mut number = 1000;
        eventually("a session", || {
            number += 1;
            let peer = client(&proxy, number).ok()?;
            let server = backends.iter().find_map(|backend| backend.accept_within(SOON))?;
            Some((peer, server))
        });
    });
}

#[test]
fn a_connection_that_the_kernel_is_told_to_end_is_a_reset_for_both() {
    let network = Network::new();
    network.run(|| {
        let backend = Backend::new();
        let proxy = Setup::to([&backend]).start();
        for who in ["client", "backend"] {
            let (mut client, mut server) = proxy.session(&backend);
            send_across(&mut client, &mut server, 1000);
            let (own, other) = match who {
                "client" => (client.remote(), client.local()),
                _ => (server.remote(), server.local()),
            };
            let told = format!("sport = :{} and dport = :{}", own.port(), other.port());
            assert!(run(program("ss").args(["-K", "-H", "-t"]).args(told.split(' '))).contains("ESTAB"));
            client.hear_reset();
            server.hear_reset();
            assert_eq!(proxy.why(), format!("{who}_reset {who} first_byte"));
        }
    });
}
