//! Handshakes: what they show, what they may cost, and what becomes of clients that do not complete one.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{NAME, Site, handshakes};
use crate::support::{Backend, Peer, Proxy, TlsClient, VERSIONS, cpu_time, descriptors, eventually, resident_kib};

/// Ten thousand bytes that are not all the same.
fn payload() -> Vec<u8> {
    (0..10_000_u32).map(|n| (n % 251) as u8).collect()
}

#[test]
fn what_is_inside_goes_both_ways_and_the_log_tells_of_the_rest() {
    for version in VERSIONS {
        let backend = Backend::new();
        let (proxy, authority) = Site::to(&backend).start(", alpn: [h2, x]");
        let client = TlsClient::new(&authority, None, &[version], &["x", "y"]);
        let mut client = client.connect(proxy.address("front"), NAME);
        let mut server = backend.accept();
        client.say(&payload());
        assert_eq!(server.take(10_000), payload());
        (&server.socket).write_all(&payload()).unwrap();
        client.hear(&payload());
        client.finish();
        server.hear_end();
        server.close();
        let end = proxy.ended();
        assert_eq!((&end["sni"], &end["alpn"]), (&NAME.into(), &"x".into()));
        assert_eq!((&end["bytes_up"], &end["bytes_down"]), (&10_000.into(), &10_000.into()), "without what TLS adds");
        assert!(end["seconds"]["handshake"].as_f64().unwrap() > 0.0, "{end}");
        assert_eq!(end["cause"], "finished");
        proxy.metric_becomes(&handshakes("ok"), 1.0);
    }
}

#[test]
fn a_certificate_is_chosen_by_name() {
    let backend = Backend::new().echo();
    let site = Site::to(&Backend::new());
    site.certify("b", &["b.example", "*.b.example"]);
    let file = format!(
        "listeners:\n  front:\n    bind: 127.0.0.1:0\n    pool: back\n    tls: {{ certificates: [ {{ cert: {dir}/a.pem, key: {dir}/a.key }}, \
         {{ cert: {dir}/b.pem, key: {dir}/b.key }} ] }}\npools: {{ back: {{ backends: [ '{}' ] }} }}\n",
        backend.address(),
        dir = site.setup.dir().display(),
    );
    let proxy = crate::support::Setup::file(file).start();
    let client = TlsClient::trusting(&site.authority);
    for name in [NAME, "b.example", "x.b.example", "B.EXAMPLE"] {
        let mut peer = client.connect(proxy.address("front"), name);
        peer.say(b"hello");
        peer.hear(b"hello");
    }
    for name in ["c.example", "y.x.b.example"] {
        client.try_connect(proxy.address("front"), name).err().expect("the first certificate is not for it");
    }
}

/// What a stranger hears: an alert, which tells a browser or a log what is wrong, and then a reset.
#[track_caller]
fn hears_an_alert_and_a_reset(mut stranger: TcpStream) {
    stranger.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let mut heard = Vec::new();
    let error = stranger.read_to_end(&mut heard).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!((heard.first(), heard.len()), (Some(&21), 7), "an alert");
}

#[test]
fn who_does_not_speak_tls_is_told_and_reset() {
    let (proxy, _) = Site::to(&Backend::new()).start("");
    let words: [&[u8]; 3] = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-x\r\n", &[0; 100]];
    for (nth, word) in words.into_iter().enumerate() {
        let mut stranger = TcpStream::connect(proxy.address("front")).unwrap();
        stranger.write_all(word).unwrap();
        hears_an_alert_and_a_reset(stranger);
        assert_eq!(proxy.why(), "handshake_failed client intake");
        proxy.metric_becomes(&handshakes("protocol"), (nth + 1) as f64);
    }
    assert!(proxy.logs("no TLS handshake").contains("not TLS"));
    let lines = proxy.log().iter().filter(|line| line.contains("no TLS handshake")).count();
    assert_eq!(lines, 1, "and the log is not theirs to fill");
}

#[test]
fn who_leaves_without_a_word_has_begun_nothing() {
    let (proxy, _) = Site::to(&Backend::new()).start("");
    drop(TcpStream::connect(proxy.address("front")).unwrap());
    assert_eq!(proxy.why(), "client_reset client intake");
    proxy.connect().reset();
    assert_eq!(proxy.why(), "client_reset client intake");
    let mut half = TcpStream::connect(proxy.address("front")).unwrap();
    half.write_all(&[22, 3, 1]).unwrap();
    drop(half);
    assert_eq!(proxy.why(), "handshake_failed client intake");
    proxy.metric_becomes(&handshakes("protocol"), 1.0);
    assert_eq!(proxy.metric("peerway_tls_handshakes_total{listener=\"front\"}"), 1.0);
}

/// In one-byte segments it is a hello like any other; half of it is nobody's.
#[test]
fn a_hello_may_come_slowly_and_must_come_whole() {
    let backend = Backend::new().echo();
    let (proxy, authority) = Site::to(&backend).listener("timeouts: { handshake: 2s }").start("");
    let client = TlsClient::trusting(&authority);
    let hello = client.hello(NAME);
    let stalled: Vec<_> = (0..hello.len()).step_by(37).collect();
    let start = Instant::now();
    let clients: Vec<TcpStream> = stalled
        .iter()
        .map(|cut| {
            let mut socket = TcpStream::connect(proxy.address("front")).unwrap();
            socket.write_all(&hello[..*cut]).unwrap();
            socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
            socket
        })
        .collect();
    let busy = cpu_time(proxy.id());
    for mut socket in clients {
        let error = socket.read_to_end(&mut Vec::new()).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(proxy.why(), "handshake_timeout proxy intake");
    }
    assert!(start.elapsed() >= Duration::from_millis(1900));
    assert!(cpu_time(proxy.id()) - busy < Duration::from_secs(1), "nobody spins meanwhile");
    // All but the one that said nothing.
    proxy.metric_becomes(&handshakes("timeout"), (stalled.len() - 1) as f64);
    let socket = TcpStream::connect(proxy.address("front")).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut peer = client.over(Dribble::through(socket), NAME).unwrap();
    peer.say(b"hello");
    peer.hear(b"hello");
}

/// Sends what a client says one byte at a time.
struct Dribble;

impl Dribble {
    /// The client's end of a pair of sockets, whose other end is joined to `to`.
    fn through(to: TcpStream) -> TcpStream {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let (mut back, mut forth) = (far.try_clone().unwrap(), to.try_clone().unwrap());
        let mut to = to;
        std::thread::spawn(move || {
            let mut byte = [0];
            while far.read_exact(&mut byte).is_ok() && forth.write_all(&byte).is_ok() {}
        });
        std::thread::spawn(move || drop(std::io::copy(&mut to, &mut back)));
        near
    }
}

#[test]
fn there_may_be_so_many_at_once() {
    let backend = Backend::new().echo();
    let (proxy, authority) = Site::to(&backend).start(", max_handshakes: 2");
    let client = TlsClient::trusting(&authority);
    let half = &client.hello(NAME)[..100];
    let mut slow = Vec::new();
    // Whoever comes first has the places, so that several slow ones may be needed.
    let refused = eventually("an overload", || {
        slow.push(TcpStream::connect(proxy.address("front")).unwrap());
        slow.last_mut()?.write_all(half).unwrap();
        client.try_connect(proxy.address("front"), NAME).err()
    });
    // A reset that is there before the client has said all of its hello is told by the write.
    assert!(matches!(refused.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{refused:?}");
    assert!(proxy.metric(&handshakes("overload")) >= 1.0);
    let why = eventually("its end", || Some(proxy.why()).filter(|why| why.starts_with("handshake_failed")));
    assert_eq!(why, "handshake_failed proxy intake");
    drop(slow);
    let mut peer = eventually("room again", || client.try_connect(proxy.address("front"), NAME).ok());
    peer.say(b"hello");
    peer.hear(b"hello");
}

#[test]
fn a_proxy_header_stands_before_the_hello() {
    let backend = Backend::new();
    let (proxy, authority) = Site::to(&backend).listener("accept_proxy: { from: 127.0.0.0/8, timeout: 20s }").start("");
    let client = TlsClient::trusting(&authority);
    let mut socket = TcpStream::connect(proxy.address("front")).unwrap();
    socket.write_all(b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n").unwrap();
    let mut peer = client.over(socket, NAME).unwrap();
    let mut server = backend.accept();
    peer.say(b"hello");
    assert_eq!(server.take(5), b"hello");
    drop(peer);
    server.hear_reset();
    let end = proxy.ended();
    assert_eq!((&end["client"], &end["sni"]), (&"192.0.2.1:4711".into(), &NAME.into()));
    let mut stranger = TcpStream::connect(proxy.address("front")).unwrap();
    stranger.write_all(b"PROXY TCP4 192.0.2.2 198.51.100.2 4711 443\r\nGET / HTTP/1.1\r\n\r\n").unwrap();
    hears_an_alert_and_a_reset(stranger);
    let end = proxy.ended();
    assert_eq!((&end["client"], &end["cause"]), (&"192.0.2.2:4711".into(), &"handshake_failed".into()));
}

/// What a client says before the handshake is complete is never taken for what it says inside.
#[test]
fn no_byte_from_before_the_end_of_the_handshake_is_passed_on() {
    let backend = Backend::new();
    let (proxy, authority) = Site::to(&backend).start("");
    let mut hello = TlsClient::trusting(&authority).hello(NAME);
    // An early record of application data, in the clear.
    hello.extend([23, 3, 3, 0, 5]);
    hello.extend(b"smugg");
    let mut socket = TcpStream::connect(proxy.address("front")).unwrap();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    socket.write_all(&hello).unwrap();
    let error = socket.read_to_end(&mut Vec::new()).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.why(), "handshake_failed client intake");
    assert!(backend.accept_within(crate::support::Wait::For(Duration::from_millis(100))).is_none());
}

#[test]
fn a_thousand_half_hellos_cost_little_and_go() {
    let backend = Backend::new().echo();
    let site = Site::to(&backend).listener("timeouts: { handshake: 5s }");
    let (proxy, authority) = site.start(", max_handshakes: 2000");
    let client = TlsClient::trusting(&authority);
    let half = &client.hello(NAME)[..200];
    let (before, open) = (resident_kib(proxy.id()), descriptors(proxy.id()));
    let crowd: Vec<_> = (0..1000)
        .map(|_| {
            let mut socket = TcpStream::connect(proxy.address("front")).unwrap();
            socket.write_all(half).unwrap();
            socket
        })
        .collect();
    let mut peer = client.connect(proxy.address("front"), NAME);
    peer.say(b"hello");
    peer.hear(b"hello");
    let grown = resident_kib(proxy.id()).saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB");
    proxy.metric_becomes(&handshakes("timeout"), 1000.0);
    drop((crowd, peer));
    eventually("descriptors", || (descriptors(proxy.id()) <= open + 2).then_some(()));
}

#[test]
fn a_listener_without_tls_is_as_it_was() {
    let backend = Backend::new();
    let proxy: Proxy = crate::support::Setup::to([&backend]).start();
    let (mut client, mut server): (Peer, Peer) = proxy.session(&backend);
    client.say(100);
    server.hear(100);
    client.finish();
    server.hear_end();
    server.finish();
    client.hear_end();
    let end = proxy.ended();
    assert_eq!(end["seconds"]["handshake"], serde_json::Value::Null);
    assert_eq!(proxy.metric("peerway_tls_handshakes_total"), 0.0);
}
