//! HAProxy and nginx behind Peerway, where they read its PROXY headers and tell whom they saw, and in front of it, where
//! they write those it reads.

use std::fs;
use std::path::Path;

use ppp::v2::{Addresses, Header, Type};
use tempfile::TempDir;

use crate::support::{Backend, Peer, Program, Setup, eventually, free_port, program, send_across};

/// A real HAProxy that reads what it is told on `port`, refuses what it cannot, and tells `backend` the same in turn.
fn haproxy(backend: &Backend, bind: &str) -> (Program, u16, TempDir) {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let file = dir.path().join("haproxy.cfg");
    let to = backend.address();
    let configuration = format!(
        "global\n maxconn 100\n\
         defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
         listen l\n bind {bind}:{port} accept-proxy\n unique-id-format %[fc_pp_unique_id]\n\
         \x20server s {to} send-proxy-v2 proxy-v2-options unique-id\n"
    );
    fs::write(&file, configuration).unwrap();
    let mut server = program("haproxy");
    server.args(["-db", "-f"]).arg(&file);
    (Program::start(&mut server), port, dir)
}

/// The next session that reaches `backend`, and the bytes of the header before it.
#[track_caller]
fn heard(backend: &Backend) -> (Peer, Vec<u8>) {
    let mut server = backend.accept();
    let mut header = server.take(16);
    let length = u16::from_be_bytes([header[14], header[15]]);
    header.extend(server.take(length.into()));
    (server, header)
}

#[test]
fn haproxy_sees_the_client_in_every_version_and_family() {
    for send in ["v1", "v2", "{ v2: [unique_id, crc32c] }"] {
        for ip in ["127.0.0.1", "[::1]"] {
            let backend = Backend::new();
            let (_haproxy, port, _dir) = haproxy(&backend, ip);
            let address = format!("{ip}:{port}");
            let connect = format!("connect: {{ send_proxy: {send}, attempts: 100, deadline: 20s }}");
            let proxy = Setup::to([address]).bind(format!("{ip}:0")).pool(&connect).start();
            let mut client = proxy.connect();
            let (mut server, header) = heard(&backend);
            let header = Header::try_from(&header[..]).unwrap();
            let (src, dst) = ends(&header.addresses);
            assert_eq!((src, dst), (client.local(), proxy.address("front")), "{send} {ip}");
            send_across(&mut client, &mut server, 100_000);
            send_across(&mut server, &mut client, 100_000);
            let id = header.tlvs().flatten().find(|field| field.kind == u8::from(Type::UniqueId));
            let id = id.map(|field| String::from_utf8(field.value.to_vec()).unwrap()).unwrap_or_default();
            drop((client, server));
            let expected = proxy.ended()["id"].as_str().unwrap().to_owned();
            assert_eq!(id, if send.contains("unique_id") { expected } else { String::new() });
        }
    }
}

fn ends(addresses: &Addresses) -> (std::net::SocketAddr, std::net::SocketAddr) {
    match addresses {
        Addresses::IPv4(a) => {
            ((a.source_address, a.source_port).into(), (a.destination_address, a.destination_port).into())
        }
        Addresses::IPv6(a) => {
            ((a.source_address, a.source_port).into(), (a.destination_address, a.destination_port).into())
        }
        other => panic!("{other:?}"),
    }
}

/// What an unknown client leaves: HAProxy falls back on the connection's own addresses, and carries the stream.
#[test]
fn haproxy_serves_clients_without_an_address() {
    for send in ["v1", "{ v2: [unique_id, crc32c] }"] {
        let backend = Backend::new();
        let (_haproxy, port, _dir) = haproxy(&backend, "127.0.0.1");
        let connect = format!("connect: {{ send_proxy: {send}, attempts: 100, deadline: 20s }}");
        let setup = Setup::to([format!("127.0.0.1:{port}")]).pool(&connect);
        let front = setup.dir().join("front.sock");
        let _proxy = setup.bind(format!("unix:{}", front.display())).start();
        let mut client = Peer::connect_unix(&front);
        let (mut server, header) = heard(&backend);
        let (_, dst) = ends(&Header::try_from(&header[..]).unwrap().addresses);
        assert_eq!(dst.port(), port);
        send_across(&mut client, &mut server, 100_000);
    }
}

fn nginx(port: u16, dir: &Path) -> Program {
    let file = dir.join("nginx.conf");
    let seen = "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port";
    let configuration = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         daemon off; user root; worker_processes 1; pid {0}/pid; error_log stderr;\n\
         events {{ worker_connections 512; }}\n\
         stream {{ server {{ listen 127.0.0.1:{port} proxy_protocol; listen [::1]:{port} proxy_protocol;\n\
         return \"{seen}\\n\"; }} }}\n",
        dir.display()
    );
    fs::write(&file, configuration).unwrap();
    let mut server = program("nginx");
    server.arg("-p").arg(dir).arg("-c").arg(&file).arg("-e").arg("stderr");
    Program::start(&mut server).listening(port)
}

#[test]
fn nginx_sees_the_client_in_every_version_and_family() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let _nginx = nginx(port, dir.path());
    for send in ["v1", "v2", "{ v2: [unique_id, crc32c] }"] {
        for ip in ["127.0.0.1", "[::1]"] {
            let connect = format!("connect: {{ send_proxy: {send} }}");
            let proxy = Setup::to([format!("{ip}:{port}")]).bind(format!("{ip}:0")).pool(&connect).start();
            let mut client = proxy.connect();
            let (from, to) = (client.local(), proxy.address("front"));
            let expected = format!("{} {} {} {}", from.ip(), from.port(), to.ip(), to.port());
            assert_eq!(client.line().unwrap(), expected, "{send} {ip}");
        }
    }
}

/// A real HAProxy in front of `to`, which tells it of its clients as `says`.
fn haproxy_before(to: std::net::SocketAddr, bind: &str, says: &str) -> (Program, u16, TempDir) {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let file = dir.path().join("haproxy.cfg");
    let configuration = format!(
        "global\n maxconn 100\n\
         defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
         listen l\n bind {bind}:{port}\n unique-id-format id-%[src_port]\n server s {to} {says}\n"
    );
    fs::write(&file, configuration).unwrap();
    let mut server = program("haproxy");
    server.args(["-db", "-f"]).arg(&file);
    (Program::start(&mut server), port, dir)
}

/// The client of whoever is in front, once it is there.
fn client_of(ip: &str, port: u16) -> Peer {
    let to = format!("{ip}:{port}").parse().unwrap();
    eventually("someone in front", || Peer::try_connect(to).ok())
}

const TRUSTING: &str = "accept_proxy: { from: [127.0.0.0/8, \"::1/128\"] }";

#[test]
fn peerway_sees_the_client_of_haproxy_in_every_version_and_family() {
    for (says, has_id) in [
        ("send-proxy", false),
        ("send-proxy-v2", false),
        ("send-proxy-v2 proxy-v2-options unique-id,crc32c", true),
        ("send-proxy-v2-ssl-cn proxy-v2-options unique-id", true),
    ] {
        for ip in ["127.0.0.1", "[::1]"] {
            let backend = Backend::new();
            let proxy = Setup::to([&backend]).listener(TRUSTING).pool("connect: { send_proxy: { v2: [unique_id] } }");
            let proxy = proxy.bind("127.0.0.1:0").start();
            let (_haproxy, port, _dir) = haproxy_before(proxy.address("front"), ip, says);
            let mut client = client_of(ip, port);
            let (mut server, header) = heard(&backend);
            let header = Header::try_from(&header[..]).unwrap();
            let (from, to) = (client.local(), client.remote());
            assert_eq!(ends(&header.addresses), (from, to), "{says} {ip}");
            let id = header.tlvs().flatten().find(|field| field.kind == u8::from(Type::UniqueId));
            let id = String::from_utf8(id.unwrap().value.to_vec()).unwrap();
            send_across(&mut client, &mut server, 100_000);
            send_across(&mut server, &mut client, 100_000);
            drop((client, server));
            let end = proxy.ended();
            assert_eq!(end["client"], from.to_string(), "{says} {ip}");
            let given = format!("id-{}", from.port());
            let expected = if has_id { &given } else { end["id"].as_str().unwrap() };
            assert_eq!((id.as_str(), end["unique_id"].as_str()), (expected, has_id.then_some(&*given)), "{says} {ip}");
        }
    }
}

/// Its health checks say LOCAL, or UNKNOWN in version 1: they are served, and are those of HAProxy itself.
#[test]
fn health_checks_of_haproxy_are_served_as_its_own() {
    for version in ["send-proxy", "send-proxy-v2"] {
        let backend = Backend::new();
        let proxy = Setup::to([&backend]).listener(TRUSTING).start();
        let says = format!("{version} check inter 100ms");
        let (_haproxy, _port, _dir) = haproxy_before(proxy.address("front"), "127.0.0.1", &says);
        drop(backend.accept());
        let end = proxy.ended();
        assert_eq!(end["client"], end["peer"], "{version}");
        assert_eq!(proxy.metric("peerway_listener_refused_total"), 0.0, "{version}");
    }
}

#[test]
fn peerway_sees_the_client_of_nginx() {
    for ip in ["127.0.0.1", "[::1]"] {
        let backend = Backend::new();
        let proxy = Setup::to([&backend]).listener(TRUSTING).pool("connect: { send_proxy: v2 }").start();
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let _nginx = nginx_before(proxy.address("front"), ip, port, dir.path());
        let mut client = client_of(ip, port);
        let (mut server, header) = heard(&backend);
        let (from, to) = (client.local(), client.remote());
        assert_eq!(ends(&Header::try_from(&header[..]).unwrap().addresses), (from, to));
        send_across(&mut client, &mut server, 100_000);
        send_across(&mut server, &mut client, 100_000);
        drop((client, server));
        assert_eq!(proxy.ended()["client"], from.to_string());
    }
}

/// It writes version 1 only.
fn nginx_before(to: std::net::SocketAddr, ip: &str, port: u16, dir: &Path) -> Program {
    let file = dir.join("nginx.conf");
    let configuration = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         daemon off; user root; worker_processes 1; pid {0}/pid; error_log stderr;\n\
         events {{ worker_connections 512; }}\n\
         stream {{ server {{ listen {ip}:{port}; proxy_pass {to}; proxy_protocol on; }} }}\n",
        dir.display()
    );
    fs::write(&file, configuration).unwrap();
    let mut server = program("nginx");
    server.arg("-p").arg(dir).arg("-c").arg(&file).arg("-e").arg("stderr");
    Program::start(&mut server)
}
