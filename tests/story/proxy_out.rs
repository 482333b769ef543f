//! What backends are told of the client, and where connections to them come from.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::support::{Backend, Blackhole, Peer, Proxy, Setup, Wait, eventually, send_across};

const V1: &str = "connect: { send_proxy: v1 }";
const V2: &str = "connect: { send_proxy: v2 }";

#[test]
fn version_1_comes_first_and_nothing_else_before_the_clients_bytes() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).pool(V1).start();
    let (mut client, mut server) = proxy.session(&backend);
    let (from, to) = (client.local(), proxy.address("front"));
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), to.port());
    assert_eq!(server.take(expected.len()), expected.as_bytes());
    talk(&mut client, &mut server);
}

#[test]
fn version_2_comes_first_and_nothing_else_before_the_clients_bytes() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).pool(V2).start();
    let (mut client, mut server) = proxy.session(&backend);
    let expected = tcp4(client.local(), proxy.address("front"), &[]);
    assert_eq!(server.take(expected.len()), expected);
    talk(&mut client, &mut server);
}

#[test]
fn ipv6_clients_are_told_in_both_versions() {
    let backend = Backend::at((Ipv6Addr::LOCALHOST, 0).into());
    let proxy = Setup::to([&backend]).bind("[::1]:0").pool(V1).start();
    let (mut client, mut server) = proxy.session(&backend);
    let (from, to) = (client.local(), proxy.address("front"));
    let expected = format!("PROXY TCP6 ::1 ::1 {} {}\r\n", from.port(), to.port());
    assert_eq!(server.take(expected.len()), expected.as_bytes());
    talk(&mut client, &mut server);

    let proxy = Setup::to([&backend]).bind("[::1]:0").pool(V2).start();
    let (mut client, mut server) = proxy.session(&backend);
    let one = Ipv6Addr::LOCALHOST.octets();
    let ports = [client.local().port().to_be_bytes(), proxy.address("front").port().to_be_bytes()];
    let expected = v2(0x21, 0x21, &[&one[..], &one, &ports.concat()].concat());
    assert_eq!(server.take(expected.len()), expected);
    talk(&mut client, &mut server);
}

#[test]
fn a_client_on_a_unix_socket_has_no_address() {
    for (send, expected) in [(V1, b"PROXY UNKNOWN\r\n".to_vec()), (V2, v2(0x20, 0x00, &[]))] {
        let backend = Backend::new();
        let setup = Setup::to([&backend]).pool(send);
        let front = setup.dir().join("front.sock");
        let _proxy = setup.bind(format!("unix:{}", front.display())).start();
        let mut client = Peer::connect_unix(&front);
        let mut server = backend.accept();
        assert_eq!(server.take(expected.len()), expected);
        talk(&mut client, &mut server);
    }
}

#[test]
fn a_backend_on_a_unix_socket_is_told_too() {
    let setup = Setup::to::<String>([]).pool(V2);
    let back = setup.dir().join("back.sock");
    let backend = Backend::unix(&back);
    let proxy = setup.backend(format!("unix:{}", back.display())).start();
    let (mut client, mut server) = proxy.session(&backend);
    let expected = tcp4(client.local(), proxy.address("front"), &[]);
    assert_eq!(server.take(expected.len()), expected);
    talk(&mut client, &mut server);
}

#[test]
fn the_sessions_id_is_the_one_in_the_log_and_the_checksum_is_right() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).pool("connect: { send_proxy: { v2: [unique_id, crc32c] } }").start();
    let (mut client, mut server) = proxy.session(&backend);
    let mut header = server.take(16 + 12 + 3 + 16 + 3 + 4);
    let sum = u32::from_be_bytes(header[50..].try_into().unwrap());
    header[50..].fill(0);
    let id = String::from_utf8(header[31..47].to_vec()).unwrap();
    let fields = [b"\x05\x00\x10", id.as_bytes(), b"\x03\x00\x04\0\0\0\0"].concat();
    assert_eq!(header, tcp4(client.local(), proxy.address("front"), &fields));
    assert_eq!(sum, crc32c::crc32c(&header));
    talk(&mut client, &mut server);
    drop((client, server));
    assert_eq!(proxy.ended()["id"], id.as_str());
}

#[test]
fn the_header_is_in_no_count_of_bytes() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).pool(V2).start();
    let (mut client, mut server) = proxy.session(&backend);
    server.take(28);
    talk(&mut client, &mut server);
    client.close();
    server.hear_end();
    server.close();
    let end = proxy.ended();
    assert_eq!((&end["bytes_up"], &end["bytes_down"]), (&100_000.into(), &100_000.into()));
    assert_eq!(proxy.metric("peerway_session_bytes_total{direction=\"up\"}"), 100_000.0);
    assert_eq!(proxy.metric("peerway_backend_bytes_total{direction=\"up\"}"), 100_000.0);
}

#[test]
fn what_the_client_said_early_arrives_right_behind_the_header() {
    let hole = Blackhole::new();
    let proxy = Setup::to([hole.address()]).pool("connect: { timeout: 20s, deadline: 30s, send_proxy: v2 }").start();
    let mut client = proxy.connect();
    client.say(300_000);
    client.finish();
    let mut server = hole.open().accept();
    let expected = tcp4(client.local(), proxy.address("front"), &[]);
    assert_eq!(server.take(expected.len()), expected);
    server.hear(300_000);
    server.hear_end();
}

#[test]
fn a_backend_that_speaks_first_gets_its_header_all_the_same() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).pool(V2).start();
    let (mut client, mut server) = proxy.session(&backend);
    let expected = tcp4(client.local(), proxy.address("front"), &[]);
    assert_eq!(server.take(expected.len()), expected);
    send_across(&mut server, &mut client, 1000);
    server.hear_nothing(Duration::from_millis(50));
}

/// A connection that is used after attempts that failed has one header, not one for each.
#[test]
fn each_attempt_sends_exactly_one_header() {
    let (hole, good) = (Blackhole::new(), Backend::new());
    let setup = Setup::to([hole.address(), Backend::refusing(), good.address()]);
    let connect = "connect: { timeout: 300ms, send_proxy: v1 }";
    let proxy = setup.pool("policy: round_robin").pool(connect).start();
    for _ in 0..3 {
        let (mut client, mut server) = proxy.session(&good);
        let header = v1_header(&mut server);
        assert!(header.ends_with(&format!(" {} {}\r\n", client.local().port(), proxy.address("front").port())));
        talk(&mut client, &mut server);
    }
    assert!(proxy.metric("peerway_pool_retries_total") >= 2.0);
}

#[test]
fn sources_are_used_in_turn_for_each_backend() {
    let backends = [Backend::new(), Backend::new()];
    let proxy = Setup::to(&backends).pool("connect: { source: [127.0.0.3, 127.0.0.5] }").start();
    for expected in [3, 3, 5, 5, 3, 3] {
        let client = proxy.connect();
        let server = eventually("a session", || backends.iter().find_map(|b| b.accept_within(Wait::For(SOON))));
        assert_eq!(server.remote().ip(), Ipv4Addr::new(127, 0, 0, expected));
        let seen = server.remote().to_string();
        drop((client, server));
        assert_eq!(proxy.ended()["upstream_local"], seen.as_str());
    }
}

#[test]
fn a_source_of_each_family_serves_its_family() {
    let (four, six) = (Backend::new(), Backend::at((Ipv6Addr::LOCALHOST, 0).into()));
    let setup = Setup::to([&four, &six]).pool("connect: { source: [\"::1\", 127.0.0.7] }");
    let back = setup.dir().join("back.sock");
    let unix = Backend::unix(&back);
    let proxy = setup.backend(format!("unix:{}", back.display())).start();
    let clients: Vec<Peer> = (0..3).map(|_| proxy.connect()).collect();
    assert_eq!(four.accept().remote().ip(), Ipv4Addr::new(127, 0, 0, 7));
    assert_eq!(six.accept().remote().ip(), Ipv6Addr::LOCALHOST);
    unix.accept();
    drop(clients);
}

/// 192.0.2.0/24 is for documentation: no machine has it.
#[test]
fn a_source_that_is_not_ours_is_our_failure_and_the_log_says_so() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).pool("connect: { source: 192.0.2.7, attempts: 2 }").start();
    proxy.is_turned_away();
    is_local_failure(&proxy, 2.0);
    let line = proxy.logs("connect.source");
    assert!(line.contains(&backend.address().to_string()), "{line}");
    assert!(line.contains("Cannot assign requested address"), "{line}");
    proxy.is_turned_away();
    let said = proxy.log().iter().filter(|line| line.contains("connect.source")).count();
    assert_eq!(said, 1, "an outage must not flood the log");
    assert!(backend.accept_within(Wait::For(SOON)).is_none());
}

#[test]
fn a_host_name_without_an_address_of_the_sources_family_is_a_local_failure() {
    let backend = Backend::new();
    let name = format!("localhost:{}", backend.address().port());
    let proxy = Setup::to([name]).pool("connect: { source: \"2001:db8::7\", attempts: 1 }").start();
    proxy.is_turned_away();
    is_local_failure(&proxy, 1.0);
    proxy.logs("`connect.source` has no IPv4 address");
}

#[track_caller]
fn is_local_failure(proxy: &Proxy, times: f64) {
    assert_eq!(proxy.ended()["attempts"][0]["result"], "local");
    assert_eq!(proxy.metric("peerway_backend_connect_failures_total{reason=\"local\"}"), times);
}

/// Long enough for what should be there at once.
const SOON: Duration = Duration::from_millis(100);

/// Bytes both ways, each in its place.
#[track_caller]
fn talk(client: &mut Peer, server: &mut Peer) {
    send_across(client, server, 100_000);
    send_across(server, client, 100_000);
}

/// A version 2 header: command, family, and what is behind the length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

fn tcp4(from: SocketAddr, to: SocketAddr, fields: &[u8]) -> Vec<u8> {
    let ip = |address: SocketAddr| match address {
        SocketAddr::V4(address) => address.ip().octets(),
        SocketAddr::V6(_) => panic!("{address} is not IPv4"),
    };
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    v2(0x21, 0x11, &[&ip(from)[..], &ip(to), &ports, fields].concat())
}

fn v1_header(server: &mut Peer) -> String {
    let line = server.line().unwrap() + "\n";
    assert!(line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{line:?}");
    line
}
