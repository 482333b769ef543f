//! Who may come in: limits of the process, of a listener and of each client, and how those beyond are turned away.

mod clients;
mod flood;
mod lists;
mod manners;
mod rates;
mod reload;

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr};

use crate::support::{Backend, Peer, Proxy, send_across};

/// A client of `front` that connects from 127.0.0.`number`.
#[track_caller]
fn client(proxy: &Proxy, number: u8) -> Peer {
    from(proxy.address("front"), number).unwrap_or_else(|error| panic!("connect: {error}"))
}

fn from(to: SocketAddr, number: u8) -> std::io::Result<Peer> {
    Peer::try_connect_from(([127, 0, 0, number], 0).into(), to)
}

/// It is let in, and served.
#[track_caller]
fn is_served(proxy: &Proxy, backend: &Backend, number: u8) -> (Peer, Peer) {
    let mut client = client(proxy, number);
    let mut server = backend.accept();
    send_across(&mut client, &mut server, 1000);
    send_across(&mut server, &mut client, 1000);
    (client, server)
}

/// It is reset: the reset may be there before its connect returns.
#[track_caller]
fn is_reset(proxy: &Proxy, number: u8) {
    match from(proxy.address("front"), number) {
        Ok(mut client) => client.hear_reset(),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// A client that another load balancer, here, introduces.
#[track_caller]
fn introduced(proxy: &Proxy, client: &str) -> Peer {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let to = if client.contains(':') { "2001:db8::ffff" } else { "198.51.100.2" };
    let peer = proxy.connect();
    (&peer.socket).write_all(format!("PROXY {family} {client} {to} 4711 443\r\n").as_bytes()).unwrap();
    peer
}

/// It is let in, and served.
#[track_caller]
fn introduced_is_served(proxy: &Proxy, backend: &Backend, who: &str) -> (Peer, Peer) {
    let mut client = introduced(proxy, who);
    let mut server = backend.accept();
    send_across(&mut client, &mut server, 1000);
    (client, server)
}

/// Nobody is left, and everything that was taken is given back.
#[track_caller]
fn is_over(proxy: &Proxy) {
    proxy.metric_becomes("peerway_listener_active_connections", 0.0);
    proxy.scrape().adds_up();
}
