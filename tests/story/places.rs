//! Where peers may be: IPv4 and IPv6, unix sockets, ranges of ports, several addresses of one listener.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use crate::support::{Backend, MB, Peer, Setup, send_across};

#[test]
fn ipv6_on_both_sides() {
    let backend = Backend::at((Ipv6Addr::LOCALHOST, 0).into());
    let proxy = Setup::to([&backend]).bind("[::1]:0").start();
    let (mut client, mut server) = proxy.session(&backend);
    send_across(&mut client, &mut server, MB);
    client.close();
    server.hear_end();
}

#[test]
fn a_unix_listener_in_front_of_a_unix_backend() {
    for engine in ["relay: copy", "relay: splice", "relay: auto"] {
        let setup = Setup::to::<String>([]);
        let (front, back) = (setup.dir().join("front.sock"), setup.dir().join("back.sock"));
        let backend = Backend::unix(&back);
        let setup = setup.listener(engine).bind(format!("unix:{}", front.display()));
        let proxy = setup.backend(format!("unix:{}", back.display())).start();
        let mut client = Peer::connect_unix(&front);
        let mut server = backend.accept();
        send_across(&mut client, &mut server, 10 * MB);
        client.finish();
        server.hear_end();
        send_across(&mut server, &mut client, 10 * MB);
        server.finish();
        client.hear_end();
        assert_eq!(proxy.why(), "finished client closing", "{engine}");
    }
}

#[test]
fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
    let backend = Backend::new().named("first");
    let setup = Setup::to([&backend]);
    let path = setup.dir().join("front.sock");
    drop(Backend::unix(&path));
    assert!(path.exists());
    let _proxy = setup.bind(format!("unix:{}", path.display())).start();
    assert_eq!(Peer::connect_unix(&path).line().unwrap(), "first");
    let (code, log) = Setup::to([Backend::refusing()]).bind(format!("unix:{}", path.display())).fails();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("front.sock"), "{log}");
    assert_eq!(Peer::connect_unix(&path).line().unwrap(), "first");
}

#[test]
fn every_port_of_a_range_is_served() {
    let backend = Backend::new();
    let first = three_free_ports();
    let proxy = Setup::to([&backend]).bind(format!("127.0.0.1:{first}-{}", first + 2)).start();
    assert_eq!(proxy.addresses("front").len(), 3);
    for port in first..=first + 2 {
        let mut client = Peer::connect(SocketAddr::from(([127, 0, 0, 1], port)));
        send_across(&mut client, &mut backend.accept(), 1000);
    }
}

#[test]
fn listeners_of_one_process_lead_to_their_own_pools() {
    let (left, right) = (Backend::new().named("left"), Backend::new().named("right"));
    let proxy = Setup::file(format!(
        "listeners:\n  a: {{ bind: [127.0.0.1:0, 127.0.0.2:0], pool: left }}\n  b: {{ bind: 127.0.0.1:0, pool: right }}\n\
         pools:\n  left: {{ backends: {} }}\n  right: {{ backends: {} }}\n",
        left.address(),
        right.address()
    ));
    let proxy = proxy.start();
    assert_eq!(proxy.addresses("a").len(), 2);
    for address in proxy.addresses("a") {
        assert_eq!(Peer::connect(address.parse().unwrap()).line().unwrap(), "left");
    }
    assert_eq!(Peer::connect(proxy.address("b")).line().unwrap(), "right");
}

#[test]
fn round_robin_gives_each_backend_its_share() {
    let named = [Backend::new().named("a"), Backend::new().named("b"), Backend::new().named("c")];
    let proxy = Setup::to(&named).start();
    for _ in 0..90 {
        proxy.connect().line().unwrap();
    }
    assert_eq!(named.each_ref().map(|backend| backend.accepted()), [30, 30, 30]);
}

/// The first of three free ports in a row, below those the kernel hands out by itself.
fn three_free_ports() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let start = 20_000 + (std::process::id() % 4000) as u16;
    (start..32_000).step_by(3).find(|&port| (port..=port + 2).all(free)).unwrap()
}
