//! Certificates of clients: asked for, verified, and never taken for granted.

use super::{NAME, Site, handshakes};
use crate::support::pki::{Authority, Issued, Wish};
use crate::support::{Backend, Proxy, Service, TlsClient, VERSIONS};

const AUTH: &str = ", client_auth: { ca: ca.pem, crl: c.crl }";

struct Doors {
    proxy: Proxy,
    authority: Authority,
    good: Issued,
    revoked: Issued,
    _backend: Service,
}

impl Doors {
    fn open(backend: Service, auth: &str) -> Self {
        let site = Site::to(&backend);
        let [good, revoked] = [(); 2].map(|()| site.authority.issue(&Wish::names(["c.example"])));
        site.write("c.crl", site.authority.revokes(&[&revoked], 2099));
        let (proxy, authority) = site.start(auth);
        Self { proxy, authority, good, revoked, _backend: backend }
    }

    /// Whether a client with this certificate is served. In TLS 1.3 it learns that only after its own handshake.
    fn serves(&self, own: Option<&Issued>, version: usize) -> bool {
        let client = TlsClient::new(&self.authority, own, &[VERSIONS[version]], &[]);
        let Ok(mut peer) = client.try_connect(self.proxy.address("front"), NAME) else { return false };
        use std::io::{Read, Write};
        let mut heard = [0; 5];
        peer.stream.write_all(b"hello").is_ok() && peer.stream.read_exact(&mut heard).is_ok() && heard == *b"hello"
    }
}

#[test]
fn who_is_not_good_is_not_served_and_the_count_says_why() {
    let doors = Doors::open(Backend::new().echo(), AUTH);
    let wish = Wish::names(["c.example"]);
    let unknown = Authority::new("another").issue(&wish);
    let expired = doors.authority.issue(&wish.until(2021));
    for (version, _) in VERSIONS.iter().enumerate() {
        let times = (version + 1) as f64;
        assert!(doors.serves(Some(&doors.good), version));
        doors.proxy.metric_becomes(&handshakes("ok"), times);
        for (own, result) in [
            (None, "no_certificate"),
            (Some(&unknown), "unknown_ca"),
            (Some(&expired), "expired"),
            (Some(&doors.revoked), "revoked"),
        ] {
            assert!(!doors.serves(own, version), "{result}");
            doors.proxy.metric_becomes(&handshakes(result), times);
        }
    }
    assert_eq!(doors.proxy.metric("peerway_sessions_closed_total{cause=\"handshake_failed\"}"), 8.0);
}

#[test]
fn where_it_is_optional_nobody_may_show_a_bad_one() {
    let doors = Doors::open(Backend::new().echo(), ", client_auth: { ca: ca.pem, mode: optional }");
    let unknown = Authority::new("another").issue(&Wish::names(["c.example"]));
    for (version, _) in VERSIONS.iter().enumerate() {
        assert!(doors.serves(None, version) && doors.serves(Some(&doors.good), version));
        assert!(!doors.serves(Some(&unknown), version));
    }
}

/// The list changes while everything runs: from then on who is on it is out, also with a ticket from before.
#[test]
fn a_certificate_that_is_revoked_is_out_also_for_those_who_resume() {
    let doors = Doors::open(Backend::new().echo(), AUTH);
    let to = doors.proxy.address("front");
    for version in VERSIONS {
        let client = TlsClient::new(&doors.authority, Some(&doors.good), &[version], &[]);
        let again = |resumes: bool| {
            let mut peer = client.connect(to, NAME);
            peer.say(b"hello");
            peer.hear(b"hello");
            assert_eq!(peer.is_resumed(), resumes, "{version:?}");
        };
        again(false);
        again(true);
    }
    let client = TlsClient::new(&doors.authority, Some(&doors.good), &[VERSIONS[1]], &[]);
    let mut peer = client.connect(to, NAME);
    peer.say(b"hello");
    peer.hear(b"hello");
    let both = doors.authority.revokes(&[&doors.good, &doors.revoked], 2099);
    std::fs::write(doors.proxy.dir().join("c.crl"), both).unwrap();
    doors.proxy.logs("files of TLS have changed and are in use");
    assert!(!doors.serves(Some(&doors.good), 0) && !doors.serves(Some(&doors.good), 1));
    let late = client.try_connect(to, NAME).and_then(|mut peer| {
        use std::io::{Read, Write};
        peer.stream.write_all(b"hello")?;
        peer.stream.read_exact(&mut [0; 5])
    });
    late.expect_err("its ticket is not good any more, and its certificate neither");
    // Who is in stays in.
    peer.say(b"again");
    peer.hear(b"again");
}

/// What a backend is told of a client's TLS, as HAProxy tells it.
#[test]
fn a_backend_is_told_of_the_client_s_tls() {
    let backend = Backend::new();
    let site = Site::to(&backend);
    let own = site.authority.issue(&Wish::names(["c.example"]).common_name("me"));
    let setup = site.setup.pool("connect: { send_proxy: { v2: [ssl, authority, alpn] } }");
    let auth = ", alpn: x, client_auth: { ca: ca.pem, mode: optional }";
    let (proxy, authority) = Site { setup, ..site }.start(auth);
    for (shown, expected) in [
        (Some(&own), &b"\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x02me\x23\0\x16TLS_AES_256_GCM_SHA384"[..]),
        (None, b"\x01\0\0\0\x01\x21\0\x07TLSv1.3\x23\0\x16TLS_AES_256_GCM_SHA384"),
    ] {
        let client = TlsClient::new(&authority, shown, &VERSIONS, &["x"]);
        let _client = client.connect(proxy.address("front"), NAME);
        let mut server = backend.accept();
        let length = server.take(16)[15];
        let fields = server.take(length.into()).split_off(12);
        let ssl = [&[0x20, 0, expected.len() as u8], expected].concat();
        assert_eq!(fields, [b"\x02\0\x09a.example\x01\0\x01x", &ssl[..]].concat());
    }
}

/// Who may go where is a matter of what was verified, not of what is said.
#[test]
fn routes_follow_the_names_in_a_verified_certificate() {
    let (public, internal) = (Backend::new().named("public"), Backend::new().named("internal"));
    let site = Site::to(&public);
    let wish = Wish::names(["c.example"]).uri("spiffe://prod/web");
    let (own, forged) = (site.authority.issue(&wish), Authority::new("another").issue(&wish));
    let dir = site.setup.dir().display();
    let file = format!(
        "listeners:\n  front:\n    bind: 127.0.0.1:0\n    pool: public\n    tls: {{ certificates: {{ cert: {dir}/a.pem, key: {dir}/a.key }}, \
         client_auth: {{ ca: {dir}/ca.pem, mode: optional }}, alpn: [x, y] }}\n    routes:\n      \
         - {{ match: {{ client_san: \"spiffe://prod/*\" }}, pool: internal }}\n      - {{ match: {{ sni: \"no.example\" }}, action: reject }}\n      \
         - {{ match: {{ alpn: y }}, pool: internal }}\n\
         pools: {{ public: {{ backends: [ '{}' ] }}, internal: {{ backends: [ '{}' ] }} }}\n",
        public.address(),
        internal.address(),
    );
    let proxy = crate::support::Setup::file(file).start();
    let meets = |own: Option<&Issued>, protocol: &str| {
        let client = TlsClient::new(&site.authority, own, &VERSIONS, &[protocol]);
        let mut peer = client.try_connect(proxy.address("front"), NAME).ok()?;
        let mut heard = String::new();
        let mut reader = std::io::BufReader::new(&mut peer.stream);
        std::io::BufRead::read_line(&mut reader, &mut heard).ok()?;
        Some(heard.trim().to_owned())
    };
    assert_eq!(meets(None, "x").as_deref(), Some("public"));
    assert_eq!(meets(Some(&own), "x").as_deref(), Some("internal"));
    assert_eq!(meets(None, "y").as_deref(), Some("internal"));
    assert_eq!(meets(Some(&forged), "x"), None);
}
