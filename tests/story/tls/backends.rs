//! TLS with backends: the one is met that should be, or none; ends are passed on as they are.

use super::{NAME, Site};
use crate::support::pki::{Authority, Wish};
use crate::support::{Backend, MB, Proxy, Setup, eventually, send_across};

/// Two proxies with TLS between them: plain streams go in at the one and come out at the other.
pub(crate) struct Bridge {
    pub(crate) near: Proxy,
    pub(crate) far: Proxy,
}

impl Bridge {
    pub(crate) fn to(backend: &Backend) -> Self {
        Self::with(backend, "", "")
    }

    /// With more keys of `tls` at the far end, and at the near one.
    fn with(backend: &Backend, far: &str, near: &str) -> Self {
        let (far, authority) = Site::to(backend).start(far);
        let tls = format!("tls: {{ server_name: {NAME}, ca: ca.pem{near} }}");
        let near = Setup::to([far.address("front")]).pool(&tls);
        std::fs::write(near.dir().join("ca.pem"), authority.pem()).unwrap();
        authority.issue(&Wish::names::<&str>([])).save(near.dir(), "me");
        Self { near: near.start(), far }
    }
}

#[test]
fn bytes_go_both_ways_and_each_end_is_told_by_itself() {
    let backend = Backend::new();
    let bridge = Bridge::to(&backend);
    let (mut client, mut server) = bridge.near.session(&backend);
    send_across(&mut client, &mut server, 20 * MB);
    send_across(&mut server, &mut client, 20 * MB);
    client.finish();
    server.hear_end();
    send_across(&mut server, &mut client, 5 * MB);
    server.finish();
    client.hear_end();
    for proxy in [&bridge.near, &bridge.far] {
        let end = proxy.ended();
        assert_eq!(end["cause"], "finished");
        assert_eq!(end["side"], "client");
        assert_eq!(end["bytes_up"], 20 * MB);
        assert_eq!(end["bytes_down"], 25 * MB);
    }
}

/// A backend with several names or protocols goes by what the hello says.
#[test]
fn the_backend_is_asked_by_name_and_offered_the_protocols() {
    let backend = Backend::new();
    for (offered, agreed) in [("", serde_json::Value::Null), (", alpn: [y, x]", "x".into())] {
        let bridge = Bridge::with(&backend, ", alpn: [x, z]", offered);
        let (mut client, mut server) = bridge.near.session(&backend);
        send_across(&mut client, &mut server, 10);
        client.reset();
        server.hear_reset();
        let end = bridge.far.ended();
        assert_eq!((&end["sni"], &end["alpn"]), (&NAME.into(), &agreed));
    }
}

#[test]
fn both_directions_are_full_at_once() {
    let backend = Backend::new();
    let bridge = Bridge::to(&backend);
    let (client, server) = bridge.near.session(&backend);
    let ((mut client_says, mut client_hears), (mut server_says, mut server_hears)) = (client.split(), server.split());
    std::thread::scope(|scope| {
        scope.spawn(|| client_says.say(30 * MB));
        scope.spawn(|| server_says.say(30 * MB));
        scope.spawn(|| client_hears.hear(30 * MB));
        server_hears.hear(30 * MB);
    });
}

#[test]
fn a_reset_goes_through() {
    let backend = Backend::new();
    let bridge = Bridge::to(&backend);
    let (mut client, mut server) = bridge.near.session(&backend);
    send_across(&mut client, &mut server, 1000);
    client.reset();
    server.hear_reset();
    let (mut client, mut server) = bridge.near.session(&backend);
    send_across(&mut server, &mut client, 1000);
    server.reset();
    client.hear_reset();
}

/// A backend that shakes hands and reads no more: what it does not take is kept in records, all of it.
#[test]
fn a_client_that_resets_is_heard_while_the_backend_does_not_read() {
    let backend = Backend::new().reads_little();
    let bridge = Bridge::to(&backend);
    let (mut client, mut server) = bridge.near.session(&backend);
    client.say_until_stalled();
    client.reset();
    assert_eq!(bridge.near.why(), "client_reset client first_byte");
    server.feel_reset();
    assert_eq!(bridge.far.why(), "client_reset client first_byte");
}

#[test]
fn who_kills_either_proxy_is_heard_as_a_reset_at_both_ends() {
    for far in [false, true] {
        let backend = Backend::new();
        let bridge = Bridge::to(&backend);
        let (mut client, mut server) = bridge.near.session(&backend);
        send_across(&mut client, &mut server, 1000);
        let killed = if far { &bridge.far } else { &bridge.near };
        killed.signal(rustix::process::Signal::KILL);
        client.hear_reset();
        server.hear_reset();
    }
}

#[test]
fn a_stranger_is_no_backend() {
    let backend = Backend::new().echo();
    let (far, _) = Site::to(&backend).start("");
    let near = Setup::to([far.address("front")]).pool(&format!("tls: {{ server_name: {NAME}, ca: ca.pem }}"));
    std::fs::write(near.dir().join("ca.pem"), Authority::new("another").pem()).unwrap();
    let near = near.start();
    near.connect().hear_reset();
    let end = near.ended();
    assert_eq!((&end["cause"], &end["attempts"][0]["result"]), (&"connect_failed".into(), &"tls".into()));
    assert!(near.metric("peerway_backend_connect_failures_total{pool=\"back\",reason=\"tls\"}") >= 1.0);
    near.logs("UnknownIssuer");
}

#[test]
fn who_has_another_name_is_no_backend() {
    let backend = Backend::new().echo();
    let (far, authority) = Site::to(&backend).start("");
    // Without `server_name` a backend must prove its address, which this one cannot.
    let near = Setup::to([far.address("front")]).pool("tls: { ca: ca.pem }");
    std::fs::write(near.dir().join("ca.pem"), authority.pem()).unwrap();
    let near = near.start();
    near.connect().hear_reset();
    assert_eq!(near.ended()["cause"], "connect_failed");
    near.logs("127.0.0.1");
}

#[test]
fn anybody_is_a_backend_if_so_desired_and_that_is_said() {
    let backend = Backend::new().echo();
    let (far, _) = Site::to(&backend).start("");
    let near = Setup::to([far.address("front")]).pool("tls: { verify: false }").start();
    let mut client = near.connect().seeded(1, 1);
    client.say(1000);
    client.hear(1000);
    near.logs("can pass for one");
}

#[test]
fn backends_that_ask_are_shown_a_certificate() {
    let backend = Backend::new();
    let ask = ", client_auth: { ca: ca.pem }";
    let bridge = Bridge::with(&backend, ask, ", cert: me.pem, key: me.key");
    let (mut client, mut server) = bridge.near.session(&backend);
    send_across(&mut client, &mut server, MB);
    let expiry = "peerway_tls_certificate_expiry_timestamp_seconds{owner=\"pool/back\"}";
    assert_eq!(bridge.near.metric(expiry), 4_070_908_800.0);

    let bridge = Bridge::with(&backend, ask, "");
    bridge.near.connect().hear_reset();
    let refused = || bridge.far.metric(&super::handshakes("no_certificate"));
    eventually("a handshake that was refused", || (refused() >= 1.0).then_some(()));
}

#[test]
fn probes_are_made_inside_tls_and_tell_what_is_wrong() {
    let backend = Backend::new().echo();
    let (far, authority) = Site::to(&backend).start("");
    let near = Setup::to([far.address("front")])
        .process("reload: { debounce: 20ms }")
        .pool(&format!("tls: {{ server_name: {NAME}, ca: ca.pem }}"))
        .pool(
            "health: { probe: { script: [ { send: ping }, { expect: ping } ] }, interval: 50ms, fast_interval: 20ms }",
        );
    let ca = near.dir().join("ca.pem");
    std::fs::write(&ca, Authority::new("another").pem()).unwrap();
    let near = near.start();
    let down = near.backend_becomes(0, "down");
    assert!(down["last_probe"]["error"].as_str().unwrap().contains("UnknownIssuer"), "{down}");
    assert_eq!(down["last_probe"]["result"], "tls");
    // New content of a file is used without a reload, by probes and by sessions.
    std::fs::write(&ca, authority.pem()).unwrap();
    near.backend_becomes(0, "up");
    let mut client = near.connect().seeded(1, 1);
    client.say(1000);
    client.hear(1000);
    assert_eq!(near.generation(), 1);
    // What cannot be used is not.
    std::fs::write(&ca, "nothing").unwrap();
    near.metric_becomes("peerway_tls_files_current{owner=\"pool/back\"}", 0.0);
    near.logs("holds no certificate");
    client.say(1000);
    client.hear(1000);
    near.connect().seeded(1, 1).say(10);
}

#[test]
fn a_probe_may_ask_where_no_tls_is() {
    let backend = Backend::new().echo();
    let (far, authority) = Site::to(&backend).start("");
    let health = Backend::new().echo();
    let near = Setup::to([far.address("front")])
        .pool(&format!("tls: {{ server_name: {NAME}, ca: ca.pem }}"))
        .pool(&format!(
            "health: {{ probe: {{ script: [ {{ send: ping }}, {{ expect: ping }} ] }}, start: down, tls: false, address: '{}' }}",
            health.address()
        ));
    std::fs::write(near.dir().join("ca.pem"), authority.pem()).unwrap();
    let near = near.start();
    near.backend_becomes(0, "up");
    let mut client = near.connect().seeded(1, 1);
    client.say(1000);
    client.hear(1000);
}

#[test]
fn tls_comes_and_goes_with_a_reload_and_sessions_stay() {
    let backend = Backend::new().echo();
    let (far, authority) = Site::to(&backend).start("");
    let plain = Backend::new().echo();
    let near = Setup::to([plain.address()]).start();
    std::fs::write(near.dir().join("ca.pem"), authority.pem()).unwrap();
    let mut before = near.connect().seeded(1, 1);
    before.say(10);
    before.hear(10);
    let yaml = std::fs::read_to_string(near.file()).unwrap();
    let tls = |ca: &str| {
        let pools = format!("pools:\n  back:\n    tls: {{ server_name: {NAME}, ca: {ca} }}\n    on_remove: keep\n");
        yaml.replace(&plain.address().to_string(), &far.address("front").to_string())
            .replace("pools:\n  back:\n", &pools)
    };
    assert!(near.refuses(&tls("missing.pem")).contains("cannot read"));
    near.change_to(&tls("ca.pem"));
    let mut after = near.connect().seeded(1, 1);
    after.say(1000);
    after.hear(1000);
    near.change_to(&yaml);
    eventually("plain again", || {
        let mut last = near.connect().seeded(1, 1);
        last.say(1000);
        last.hear(1000);
        Some(())
    });
    after.say(1000);
    after.hear(1000);
    before.say(10);
    before.hear(10);
}
