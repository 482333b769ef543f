//! PROXY headers of clients: whose word is taken, what is done with it, and what it takes to be refused.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backend, Peer, Proxy, Setup, Wait, cpu_time, descriptors, eventually, resident_kib, send_across};

const TRUSTED: &str = "accept_proxy: { from: 127.0.0.0/8, timeout: 20s }";
const UNTRUSTED: &str = "accept_proxy: { from: [10.0.0.0/8, unix], timeout: 20s }";

/// Two clients that are not here, in version 1; the port of each is its second word for the log.
const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n";
const CLIENT: &str = "192.0.2.1:4711";

/// A version 2 header: command, family, and what is behind the length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

/// The same client as [`LINE`] says, and these fields.
fn binary(fields: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[&[192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 0x01, 0xbb], fields].concat())
}

fn said(peer: &Peer, bytes: &[u8]) {
    (&peer.socket).write_all(bytes).unwrap();
}

/// A whole session of a client that begins with `header`.
#[track_caller]
fn session(proxy: &Proxy, backend: &Backend, header: &[u8]) -> (Peer, Peer) {
    let client = proxy.connect();
    said(&client, header);
    (client, backend.accept())
}

/// Bytes both ways, each in its place.
#[track_caller]
fn talk(client: &mut Peer, server: &mut Peer) {
    send_across(client, server, 100_000);
    send_across(server, client, 100_000);
}

#[test]
fn both_versions_say_who_the_client_is_and_no_byte_is_lost() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener(TRUSTED).start();
    for header in [LINE.to_vec(), binary(b"")] {
        let (mut client, mut server) = session(&proxy, &backend, &header);
        talk(&mut client, &mut server);
        let listed = proxy.admin().json("/api/v1/connections");
        let peer = client.local().to_string();
        assert_eq!(
            (&listed["connections"][0]["client"], &listed["connections"][0]["peer"]),
            (&CLIENT.into(), &peer.as_str().into())
        );
        client.close();
        server.hear_end();
        server.close();
        let end = proxy.ended();
        assert_eq!((&end["client"], &end["peer"]), (&CLIENT.into(), &peer.as_str().into()));
        assert_eq!(end["local"], proxy.address("front").to_string());
        assert_eq!(
            (&end["bytes_up"], &end["bytes_down"]),
            (&100_000.into(), &100_000.into()),
            "the header is in no count"
        );
    }
}

#[test]
fn a_payload_that_is_glued_to_the_header_arrives_whole() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener(TRUSTED).start();
    let mut twin = Peer::connect(backend.address());
    let mut heard = backend.accept();
    twin.say(10_000);
    let bytes = heard.take(10_000);
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), LINE.to_vec(), binary(b"\xe0\x00\x03abc")] {
        let client = proxy.connect();
        said(&client, &[&header[..], &bytes].concat());
        backend.accept().hear(10_000);
    }
}

#[test]
fn a_header_may_be_split_at_each_byte() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener(TRUSTED).start();
    for header in [LINE.to_vec(), binary(b"\x05\x00\x02id")] {
        let clients: Vec<Peer> = (1..header.len())
            .map(|at| {
                let client = proxy.connect();
                client.socket.set_tcp_nodelay(true).unwrap();
                said(&client, &header[..at]);
                client
            })
            .collect();
        for (at, mut client) in (1..).zip(clients) {
            said(&client, &header[at..]);
            let mut server = backend.accept();
            send_across(&mut client, &mut server, 1000);
            drop((client, server));
            assert_eq!(proxy.ended()["client"], CLIENT, "split at {at}");
        }
    }
    let mut client = proxy.connect();
    for byte in LINE {
        said(&client, &[*byte]);
        thread::sleep(Duration::from_millis(1));
    }
    let mut server = backend.accept();
    talk(&mut client, &mut server);
}

#[test]
fn a_stream_that_ends_in_the_midst_of_a_header_is_refused_and_one_that_never_began_has_left() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener(TRUSTED).start();
    let mut cuts = 0;
    for header in [LINE.to_vec(), binary(b"")] {
        for at in 1..header.len() {
            let mut client = proxy.connect();
            said(&client, &header[..at]);
            client.finish();
            client.hear_reset();
            cuts += 1;
        }
    }
    proxy.refused("proxy_invalid", cuts);
    assert_eq!(proxy.metric("peerway_sessions_closed_total"), 0.0);
    proxy.logs("the stream ended after 1 bytes of a header");
    let mut client = proxy.connect();
    client.finish();
    client.hear_reset();
    assert_eq!(proxy.why(), "client_reset client intake");
    for sent in [&b""[..], &LINE[..10]] {
        let client = proxy.connect();
        said(&client, sent);
        client.reset();
        let end = proxy.ended();
        assert_eq!(
            (&end["cause"], &end["phase"], &end["errno"]),
            (&"client_reset".into(), &"intake".into(), &104.into())
        );
    }
    proxy.refused("proxy_invalid", cuts);
    assert!(backend.accept_within(Wait::For(Duration::from_millis(50))).is_none());
    proxy.scrape().adds_up();
}

#[test]
fn what_is_no_header_is_reset_at_once_counted_once_and_logged_escaped() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener(TRUSTED).start();
    let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 64 * 1024]].concat();
    let overrun = [binary(b"\x01\x00\x05abc"), vec![b'd'; 1000]].concat();
    let bad: [&[u8]; 12] = [
        b"\x16\x03\x01\x02\x00\x1b[31m a TLS hello\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 65536\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 4711 443\r\n",
        &endless,
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", // length 65 535
        &overrun,
        &v2(0x21, 0x11, b"short"),
        &v2(0x22, 0x11, &[0; 12]),
        &v2(0x21, 0x41, &[0; 12]),
        &binary(b"\x03\x00\x04\x00\x00\x00\x00"), // a checksum that is wrong
    ];
    for (number, bytes) in (1..).zip(bad) {
        let mut client = proxy.connect();
        let _ = (&client.socket).write_all(bytes);
        client.hear_reset();
        proxy.refused("proxy_invalid", number);
    }
    let line = proxy.logs("no valid PROXY header");
    assert!(line.contains("\\\\x16\\\\x03\\\\x01") && line.contains("\\\\x1b[31m"), "{line}");
    let said = proxy.log().iter().filter(|line| line.contains("no valid PROXY header")).count();
    assert!(said <= 2, "{said} lines; a flood of clients must not flood the log");
    assert!(proxy.access().is_empty(), "a refusal is no session: {:?}", proxy.access());
    assert_eq!((proxy.metric("peerway_sessions_closed_total"), proxy.active()), (0.0, 0.0));
    proxy.scrape().adds_up();
}

#[test]
fn whoever_is_not_trusted_is_reset_and_counted_or_taken_as_it_is() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener(UNTRUSTED).start();
    for _ in 0..3 {
        proxy.is_turned_away();
    }
    proxy.refused("proxy_untrusted", 3);
    assert_eq!((proxy.metric("peerway_sessions_closed_total"), proxy.active()), (0.0, 0.0));
    proxy.scrape().adds_up();
    assert!(proxy.logs("not in accept_proxy.from").contains("127.0.0.1:"));

    let proxy = Setup::to([&backend]).listener("accept_proxy: { from: 10.0.0.0/8, others: plain }").start();
    let (mut client, mut server) = session(&proxy, &backend, LINE);
    assert_eq!(server.take(LINE.len()), LINE, "a header that nobody asked for is payload");
    talk(&mut client, &mut server);
    let peer = client.local().to_string();
    drop((client, server));
    assert_eq!(proxy.ended()["client"], peer.as_str());
}

/// Trust is a matter of the socket's peer: a header cannot talk its way in.
#[test]
fn a_header_that_names_a_trusted_address_changes_nothing() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener(UNTRUSTED).start();
    match Peer::try_connect(proxy.address("front")) {
        Ok(mut client) => {
            let _ = (&client.socket).write_all(b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n");
            client.hear_reset();
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    proxy.refused("proxy_untrusted", 1);
}

#[test]
fn peers_on_a_unix_socket_are_trusted_when_that_is_said() {
    let backend = Backend::new();
    let setup = Setup::to([&backend]).listener("accept_proxy: { from: unix, timeout: 20s }");
    let front = setup.dir().join("front.sock");
    let proxy = setup.bind(format!("unix:{}", front.display())).start();
    let mut client = Peer::connect_unix(&front);
    said(&client, LINE);
    let mut server = backend.accept();
    talk(&mut client, &mut server);
    drop((client, server));
    let end = proxy.ended();
    assert_eq!((&end["client"], &end["peer"]), (&CLIENT.into(), &"unix:".into()));
}

#[test]
fn a_header_that_names_nobody_leaves_the_peer_the_client() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener(TRUSTED).pool("connect: { send_proxy: v1 }").start();
    let nobody: [&[u8]; 6] = [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN 192.0.2.1 198.51.100.2 4711 443\r\n",
        &v2(0x20, 0x00, b""),
        &v2(0x20, 0x11, &[9; 12]),
        &v2(0x21, 0x00, b""),
        &v2(0x21, 0x12, &[9; 12]),
    ];
    for header in nobody {
        let (mut client, mut server) = session(&proxy, &backend, header);
        let (from, to) = (client.local(), proxy.address("front"));
        let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), to.port());
        assert_eq!(server.take(expected.len()), expected.as_bytes());
        talk(&mut client, &mut server);
        drop((client, server));
        assert_eq!(proxy.ended()["client"], from.to_string());
    }
}

#[test]
fn a_client_on_a_far_unix_socket_has_no_address() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener(TRUSTED).pool("connect: { send_proxy: v1 }").start();
    let (mut client, mut server) = session(&proxy, &backend, &v2(0x21, 0x31, &[b'x'; 216]));
    assert_eq!(server.take(15), b"PROXY UNKNOWN\r\n");
    talk(&mut client, &mut server);
    drop((client, server));
    assert_eq!(proxy.ended()["client"], "unix:");
}

#[test]
fn a_client_that_waits_for_the_server_to_speak_first_is_served() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener(TRUSTED).start();
    for header in [LINE.to_vec(), binary(b"")] {
        let (mut client, mut server) = session(&proxy, &backend, &header);
        send_across(&mut server, &mut client, 1000);
        server.hear_nothing(Duration::from_millis(50));
        talk(&mut client, &mut server);
    }
}

/// The one client address is in the header that goes out, with the address it wanted and the id it came with.
#[test]
fn what_came_in_a_header_goes_out_in_one() {
    let backend = Backend::new();
    let connect = "connect: { send_proxy: { v2: [unique_id] } }";
    let proxy = Setup::to([&backend]).listener(TRUSTED).pool(connect).start();
    let (mut client, mut server) =
        session(&proxy, &backend, &binary(b"\x02\x00\x04a\x1b\"b\x05\x00\x06a\x00b\xffcd\x01\x00\x02h2"));
    assert_eq!(server.take(28 + 9), binary(b"\x05\x00\x06a\x00b\xffcd"));
    talk(&mut client, &mut server);
    drop((client, server));
    let end = proxy.ended();
    assert_eq!(
        (&end["unique_id"], &end["sni"], &end["alpn"]),
        (&"a\\x00b\\xffcd".into(), &"a\\x1b\\\"b".into(), &"h2".into())
    );

    let (mut client, mut server) = session(&proxy, &backend, LINE);
    let header = server.take(28 + 19);
    assert_eq!(header[16..28], binary(b"")[16..]);
    talk(&mut client, &mut server);
    drop((client, server));
    let end = proxy.ended();
    assert_eq!(header[31..], *end["id"].as_str().unwrap().as_bytes());
    assert!(end["unique_id"].is_null());
}

/// One client comes through whichever connections of the balancer in front, and always meets the same backend.
#[test]
fn hashing_follows_the_client_and_explain_knows_whom_it_gets() {
    let backends: Vec<Backend> = (0..5).map(|_| Backend::new()).collect();
    let proxy = Setup::to(&backends).listener(TRUSTED).pool("policy: maglev").start();
    let mut met = std::collections::BTreeSet::new();
    for number in 1..=20 {
        let explained = proxy.admin().json(&format!("/api/v1/explain?listener=front&client=192.0.2.{number}:1"));
        for port in [1, 2] {
            let client = proxy.connect();
            said(&client, format!("PROXY TCP4 192.0.2.{number} 198.51.100.2 {port} 443\r\n").as_bytes());
            let server = eventually("a session", || {
                backends.iter().find_map(|backend| backend.accept_within(Wait::For(Duration::from_millis(20))))
            });
            let got = server.socket.local_addr().unwrap().as_socket().unwrap().to_string();
            assert_eq!(explained["backend"], got, "192.0.2.{number}:{port}");
            met.insert(got);
        }
    }
    assert!(met.len() > 1, "all clients were taken for one");
}

/// From accept, not from the last byte: nothing extends it.
#[test]
fn a_header_that_does_not_come_in_time_ends_the_session_however_it_trickles() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("accept_proxy: { from: 127.0.0.0/8, timeout: 500ms }").start();
    let mut silent = proxy.connect();
    let start = Instant::now();
    silent.hear_reset_within(Duration::from_secs(10));
    let took = start.elapsed();
    assert!((Duration::from_millis(400)..Duration::from_millis(2500)).contains(&took), "{took:?}");
    assert_eq!(proxy.why(), "handshake_timeout proxy intake");
    let trickling = proxy.connect();
    let start = Instant::now();
    let mut bytes = LINE[..20].iter().cycle();
    // Version 1 may be 107 bytes long: at this pace it would take five seconds to get there.
    while (&trickling.socket).write_all(&[*bytes.next().unwrap()]).is_ok() && start.elapsed() < Duration::from_secs(4) {
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(proxy.why(), "handshake_timeout proxy intake");
    proxy.refused("proxy_invalid", 0);
    proxy.scrape().adds_up();
}

#[test]
fn slow_clients_hurt_nobody_and_cost_nothing() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("accept_proxy: { from: 127.0.0.0/8, timeout: 5s }").start();
    let (mut client, mut server) = session(&proxy, &backend, LINE);
    talk(&mut client, &mut server);
    let (open, memory, cpu) = (descriptors(proxy.id()), resident_kib(proxy.id()), cpu_time(proxy.id()));
    let start = Instant::now();
    let mut slow: Vec<Peer> = (0..200).map(|_| proxy.connect()).collect();
    slow.iter().for_each(|peer| said(peer, &LINE[..LINE.len() - 1]));
    talk(&mut client, &mut server);
    let (mut other, mut its) = session(&proxy, &backend, &binary(b""));
    talk(&mut other, &mut its);
    proxy.metric_becomes("peerway_listener_active_connections", 202.0);
    thread::sleep(Duration::from_secs(1));
    let grown = resident_kib(proxy.id()).saturating_sub(memory);
    assert!(grown < 200 * 16 + 4096, "{grown} KiB for 200 that send nothing");
    let busy = cpu_time(proxy.id()) - cpu;
    assert!(busy < start.elapsed() / 2, "{busy:?} of CPU in {:?}", start.elapsed());
    slow.iter_mut().for_each(|peer| peer.hear_reset_within(Duration::from_secs(25)));
    for _ in 0..200 {
        assert_eq!(proxy.why(), "handshake_timeout proxy intake");
    }
    talk(&mut client, &mut server);
    drop((other, its));
    eventually("their descriptors are free", || (descriptors(proxy.id()) <= open).then_some(()));
    proxy.scrape().adds_up();
}

/// A client that has not said who it is holds up no shutdown, and may be ended by hand.
#[test]
fn those_who_are_still_to_say_who_they_are_are_listed_and_can_be_ended() {
    let backend = Backend::new();
    let mut proxy = Setup::to([&backend]).listener(TRUSTED).process("shutdown: { grace: 1s }").start();
    let mut killed = proxy.connect();
    let listed = eventually("a listing", || {
        let listed = proxy.admin().json("/api/v1/connections")["connections"][0].clone();
        (!listed.is_null()).then_some(listed)
    });
    assert_eq!((&listed["phase"], &listed["client"]), (&"intake".into(), &killed.local().to_string().into()));
    let path = format!("/api/v1/connections/{}", listed["id"].as_str().unwrap());
    assert_eq!(proxy.admin().ask("DELETE", &path, "").status, 204);
    killed.hear_reset();
    assert_eq!(proxy.why(), "killed proxy intake");
    let mut waiting = proxy.connect();
    eventually("a session", || (proxy.active() == 1.0).then_some(()));
    proxy.signal(rustix::process::Signal::TERM);
    waiting.hear_reset_within(Duration::from_secs(10));
    assert_eq!(proxy.exit_within(Duration::from_secs(20)).code(), Some(0));
}

/// Whatever is sent, the sum is right at every scrape.
#[test]
fn every_connection_is_refused_closed_or_active_at_every_scrape() {
    let backend = Backend::new().echo();
    let proxy = Setup::to([&backend]).listener("accept_proxy: { from: 127.0.0.0/8, timeout: 50ms }").start();
    let to = proxy.address("front");
    thread::scope(|scope| {
        for seed in 0..8 {
            scope.spawn(move || churn(to, seed));
        }
        for _ in 0..100 {
            proxy.scrape().adds_up();
        }
    });
    assert!(proxy.metric("peerway_listener_refused_total{reason=\"proxy_invalid\"}") > 0.0);
    assert!(proxy.metric("peerway_sessions_closed_total{phase=\"intake\"}") > 0.0);
}

fn churn(to: SocketAddr, seed: usize) {
    for turn in 0..100 {
        let Ok(client) = Peer::try_connect(to) else { continue };
        let bytes = [LINE, &LINE[..20], b"nonsense", b""][(turn + seed) % 4];
        let _ = (&client.socket).write_all(bytes);
        match turn % 3 {
            0 => client.reset(),
            1 => client.close(),
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
}
