//! Sessions that go where what they show says: by name, protocol, first bytes, network and port; and those that show
//! too little.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Backend, Peer, Proxy, Setup, TOP, Wait, cpu_time, descriptors, eventually, hello, hello_message, records,
    resident_kib, send_across,
};

/// A file in which `front` has these lines, before the pools `a`, `b` and `rest`.
fn file(front: &str, pools: [&Backend; 3]) -> String {
    let pools: String = ["a", "b", "rest"]
        .iter()
        .zip(pools)
        .map(|(name, backend)| format!("  {name}: {{ backends: [ \"{}\" ] }}\n", backend.address()))
        .collect();
    format!("{TOP}listeners:\n  front:\n    bind: 127.0.0.1:0\n{front}pools:\n{pools}")
}

struct Stage {
    proxy: Proxy,
    a: Backend,
    b: Backend,
    rest: Backend,
}

/// A proxy whose listener `front` has these lines.
fn stage(front: &str) -> Stage {
    let (a, b, rest) = (Backend::new(), Backend::new(), Backend::new());
    let proxy = Setup::file(file(front, [&a, &b, &rest])).start();
    Stage { proxy, a, b, rest }
}

const BY_NAME: &str = "    pool: rest
    routes:
      - { match: { sni: [ a.example, '*.a.example' ] }, pool: a }
      - { match: { sni: b.example, alpn: [ h2, x ] }, pool: b }
      - { match: { sni: gone.example }, action: reject }
";

impl Stage {
    /// A client that has said this.
    fn client(&self, says: &[u8]) -> Peer {
        let client = self.proxy.connect();
        (&client.socket).write_all(says).unwrap();
        client
    }

    /// A client that says this comes to that backend, which hears all of it, and they talk on.
    #[track_caller]
    fn comes_to(&self, backend: &Backend, says: &[u8]) -> (Peer, Peer) {
        let mut client = self.client(says);
        let mut server = backend.accept();
        assert_eq!(server.take(says.len()), says);
        send_across(&mut client, &mut server, 100_000);
        send_across(&mut server, &mut client, 100_000);
        (client, server)
    }

    /// The end of a session, after its client has left.
    #[track_caller]
    fn end_of(&self, session: (Peer, Peer)) -> Value {
        let (client, mut server) = session;
        client.close();
        server.hear_end();
        server.close();
        self.proxy.ended()
    }

    /// Nobody has come anywhere.
    #[track_caller]
    fn nobody_came(&self) {
        for backend in [&self.a, &self.b, &self.rest] {
            assert!(backend.accept_within(Wait::For(Duration::from_millis(50))).is_none());
        }
    }
}

#[test]
fn a_session_goes_where_its_hello_says() {
    let stage = stage(BY_NAME);
    let h2 = records(&hello_message(Some("B.Example."), &["http/1.1", "h2"]), 16_384);
    let none = records(&hello_message(None, &["h2"]), 16_384);
    for (says, backend, route, sni) in [
        (hello("a.example"), &stage.a, Some("routes[0]"), Some("a.example")),
        (hello("x.a.example"), &stage.a, Some("routes[0]"), Some("x.a.example")),
        (hello("x.y.a.example"), &stage.rest, None, Some("x.y.a.example")),
        (h2, &stage.b, Some("routes[1]"), Some("b.example")),
        (hello("b.example"), &stage.rest, None, Some("b.example")),
        (none, &stage.rest, None, None),
        (b"plain text".to_vec(), &stage.rest, None, None),
    ] {
        let length = says.len() as u64;
        let session = stage.comes_to(backend, &says);
        let end = stage.end_of(session);
        assert_eq!((end["route"].as_str(), end["sni"].as_str()), (route, sni), "{end}");
        assert_eq!((&end["cause"], &end["bytes_up"]), (&"finished".into(), &(length + 100_000).into()));
    }
}

#[test]
fn a_hello_in_single_bytes_or_tiny_records_goes_where_it_says() {
    let stage = stage(BY_NAME);
    for size in [1, 7] {
        let says = records(&hello_message(Some("a.example"), &[]), size);
        let client = stage.proxy.connect();
        for byte in &says {
            (&client.socket).write_all(&[*byte]).unwrap();
        }
        assert_eq!(stage.a.accept().take(says.len()), says);
    }
}

/// Before it is routed nothing has been said to anyone, and afterwards all of it.
#[test]
fn the_rest_of_a_hello_is_waited_for() {
    let stage = stage(BY_NAME);
    let says = hello("a.example");
    for cut in [1, 5, 9, 40, says.len() - 1] {
        let client = stage.client(&says[..cut]);
        assert!(stage.a.accept_within(Wait::For(Duration::from_millis(30))).is_none());
        (&client.socket).write_all(&says[cut..]).unwrap();
        assert_eq!(stage.a.accept().take(says.len()), says, "{cut}");
    }
}

#[test]
fn what_stays_undecided_is_reset_and_never_falls_through() {
    let stage = stage(&format!("{BY_NAME}    timeouts: {{ sniff: 1s }}\n"));
    let says = hello("a.example");
    let long = records(&[&[1, 1, 0, 0][..], &[0; 60_000]].concat(), 16_384);
    for (says, finish) in [(&b""[..], false), (&says[..3], false), (&says[..30], true), (&long[..4], false)] {
        let mut client = stage.client(says);
        if finish {
            client.finish();
        }
        client.hear_reset_within(Duration::from_secs(5));
        let end = stage.proxy.ended();
        let how = [&end["cause"], &end["side"], &end["phase"], &end["pool"]];
        assert_eq!(how, [&"sniff_undecided".into(), &"proxy".into(), &"intake".into(), &Value::Null], "{says:?}");
        assert_eq!((&end["bytes_up"], &end["route"]), (&0.into(), &Value::Null));
    }
    stage.nobody_came();
    stage.proxy.logs("decides no route");
}

/// Nothing that could still come would make it one: nobody waits for it, whatever time there is.
#[test]
fn a_malformed_hello_is_closed_at_once() {
    let stage = stage(&format!("{BY_NAME}    timeouts: {{ sniff: 10m }}\n"));
    let says = hello("a.example");
    let empty_record = [&[22, 3, 1, 0, 0][..], &says].concat();
    let no_hello = records(&[2, 0, 0, 4, 0, 0, 0, 0], 16_384);
    let long = records(&[&[1, 1, 0, 0][..], &[0; 20_000]].concat(), 16_384);
    let no_host = hello("a_.example/");
    for says in [&empty_record, &no_hello, &long, &no_host] {
        let mut client = stage.client(says);
        client.hear_reset_within(Duration::from_secs(5));
        assert_eq!(stage.proxy.ended()["cause"], "sniff_undecided");
    }
    stage.nobody_came();
}

/// Who says nothing and leaves has left, by an end or by a reset, whatever is waited for; the kernel's word tells which.
#[test]
fn a_client_that_leaves_without_a_byte_has_left() {
    let header = "    pool: rest\n    accept_proxy: { from: 127.0.0.0/8, timeout: 20s }\n";
    for front in [BY_NAME, header, "    pool: rest\n    starttls: postgres\n"] {
        let stage = stage(front);
        stage.proxy.connect().finish();
        let ended = |errno: Value| {
            let end = stage.proxy.ended();
            assert_eq!([&end["cause"], &end["side"], &end["phase"]], ["client_reset", "client", "intake"], "{front}");
            assert_eq!(end["errno"], errno, "{front}");
        };
        ended(Value::Null);
        let client = stage.proxy.connect();
        stage.proxy.metric_becomes("peerway_listener_active_connections{listener=\"front\"}", 1.0);
        client.reset();
        ended(104.into());
        stage.nobody_came();
    }
}

#[test]
fn a_listener_that_needs_no_byte_reads_none() {
    let front = "    routes:
      - { match: { source: 10.0.0.0/8 }, pool: a }
      - { match: { source: 127.0.0.0/8 }, pool: b }
      - { match: { sni: never.reached }, pool: rest }
";
    let stage = stage(front);
    // The server speaks first, and the client waits for it.
    let mut client = stage.proxy.connect();
    let mut server = stage.b.accept();
    send_across(&mut server, &mut client, 1000);
    send_across(&mut client, &mut server, 1000);
    assert_eq!(stage.end_of((client, server))["route"], "routes[1]");
}

#[test]
fn first_bytes_decide_as_soon_as_they_can() {
    let front = "    routes:
      - { match: { prefix: 'SSH-' }, pool: a }
      - { match: { regex: '^(GET|PUT) /' }, pool: b }
";
    let stage = stage(front);
    drop(stage.comes_to(&stage.a, b"SSH-2.0-x\r\n"));
    drop(stage.comes_to(&stage.b, b"PUT /"));
    stage.client(b"SMTP").hear_reset();
    eventually("no route", || stage.proxy.ended()["cause"].eq("no_route").then_some(()));
}

#[test]
fn a_route_may_turn_sessions_away() {
    let stage = stage(BY_NAME);
    let mut client = stage.client(&hello("gone.example"));
    client.hear_reset();
    let end = stage.proxy.ended();
    let how = [&end["cause"], &end["side"], &end["phase"], &end["route"], &end["sni"]];
    assert_eq!(how, ["rejected", "proxy", "intake", "routes[2]", "gone.example"]);
    let series = "peerway_sessions_closed_total{listener=\"front\",pool=\"\",cause=\"rejected\",side=\"proxy\",phase=\"intake\"}";
    stage.proxy.metric_becomes(series, 1.0);
    stage.nobody_came();
}

#[test]
fn a_route_may_hold_sessions_in_silence_for_a_while() {
    let front = "    routes: [ { match: {}, action: drop } ]\n    timeouts: { handshake: 1s }\n";
    let stage = stage(front);
    let mut client = stage.client(b"anyone?");
    client.hear_nothing(Duration::from_millis(300));
    client.hear_reset_within(Duration::from_secs(5));
    let end = stage.proxy.ended();
    assert_eq!((&end["cause"], &end["route"]), (&"rejected".into(), &"routes[0]".into()));
    // Who leaves is not held any longer.
    stage.client(b"").reset();
    stage.proxy.metric_becomes("peerway_listener_active_connections{listener=\"front\"}", 0.0);
}

#[test]
fn a_port_leads_where_it_says() {
    let (a, b) = (Backend::new(), Backend::new());
    let ports = [crate::support::free_port(), crate::support::free_port()];
    let yaml = format!(
        "{TOP}listeners:\n  front:\n    bind: [ '127.0.0.1:{}', '127.0.0.1:{}' ]\n    pool: b\n    routes: \
         [ {{ match: {{ port: {} }}, pool: a }} ]\npools:\n  a: {{ backends: '{}' }}\n  b: {{ backends: '{}' }}\n",
        ports[0],
        ports[1],
        ports[0],
        a.address(),
        b.address()
    );
    let proxy = Setup::file(yaml).start();
    let to = |port: u16| Peer::connect(SocketAddr::from(([127, 0, 0, 1], port)));
    let (_one, _two) = (to(ports[0]), to(ports[1]));
    drop((a.accept(), b.accept()));
    assert_eq!(proxy.metric("peerway_listener_connections_total{listener=\"front\"}"), 2.0);
}

#[test]
fn shares_are_met_to_the_session_over_a_reload_too() {
    let front = |rest: &str| {
        format!(
            "    log: {{ access: off }}\n    routes: [ {{ match: {{}}, split: {{ to: {{ a: 7, b: 3 }} }} }} ]\n{rest}"
        )
    };
    let stage = stage(&front(""));
    let count = |pool: &str| stage.proxy.scrape().get(&format!("peerway_sessions_closed_total{{pool=\"{pool}\"}}"));
    for n in 0..30 {
        if n == 13 {
            stage.proxy.change_to(&file(&front("    timeouts: { idle: 5m }\n"), [&stage.a, &stage.b, &stage.rest]));
        }
        let client = stage.client(b"x");
        let server = eventually("a backend", || {
            [&stage.a, &stage.b]
                .into_iter()
                .find_map(|backend| backend.accept_within(Wait::For(Duration::from_millis(5))))
        });
        let mut server = server;
        server.take(1);
        client.reset();
        server.hear_reset();
        let ended = f64::from(n + 1);
        eventually("its end", || (count("a") + count("b") >= ended).then_some(()));
    }
    assert_eq!((count("a"), count("b")), (21.0, 9.0));
}

#[test]
fn a_client_that_is_stuck_to_a_pool_stays_there() {
    let front = "    routes: [ { match: {}, split: { to: { a: 1, b: 1 }, sticky: client_ip } } ]\n";
    let stage = stage(front);
    let by = |n: u8| {
        let client = Peer::try_connect_from(([127, 0, 1, n], 0).into(), stage.proxy.address("front")).unwrap();
        let found = eventually("a backend", || {
            [&stage.a, &stage.b]
                .into_iter()
                .position(|one| one.accept_within(Wait::For(Duration::from_millis(5))).is_some())
        });
        drop(client);
        found
    };
    let first: Vec<usize> = (1..20).map(by).collect();
    assert_eq!(first, (1..20).map(by).collect::<Vec<_>>());
    assert!(first.contains(&0) && first.contains(&1), "{first:?}");
}

#[test]
fn routes_follow_a_reload_and_those_who_are_under_way_do_not() {
    let stage = stage(BY_NAME);
    let (mut client, mut server) = stage.comes_to(&stage.a, &hello("a.example"));
    let changed = BY_NAME.replace("pool: a }", "pool: b }").replace("pool: rest", "pool: a");
    let pools = [&stage.a, &stage.b, &stage.rest];
    stage.proxy.change_to(&file(&changed, pools));
    drop(stage.comes_to(&stage.b, &hello("a.example")));
    drop(stage.comes_to(&stage.a, b"plain"));
    send_across(&mut client, &mut server, 1000);
    let refused = stage.proxy.refuses(&file(&changed.replace("pool: b }", "pool: c }"), pools));
    assert!(refused.contains("there is no pool `c`"), "{refused}");
    drop(stage.comes_to(&stage.b, &hello("a.example")));
}

#[test]
fn a_policy_may_go_by_the_name_that_is_asked_for() {
    let (a, b) = (Backend::new(), Backend::new());
    let proxy = Setup::to([&a, &b]).pool("policy: { maglev: { key: server_name } }").start();
    let by = |name: &str| {
        let client = proxy.connect();
        (&client.socket).write_all(&hello(name)).unwrap();
        eventually("a backend", || {
            [&a, &b].into_iter().position(|one| one.accept_within(Wait::For(Duration::from_millis(5))).is_some())
        })
    };
    let names: Vec<String> = (0..20).map(|n| format!("n{n}.example")).collect();
    let first: Vec<usize> = names.iter().map(|name| by(name)).collect();
    assert_eq!(first, names.iter().map(|name| by(name)).collect::<Vec<_>>());
    assert!(first.contains(&0) && first.contains(&1), "{first:?}");
}

#[test]
fn what_another_proxy_says_leads_and_is_passed_on() {
    let front = "    accept_proxy: { from: 127.0.0.0/8 }
    pool: rest
    routes: [ { match: { authority: '*.a.example', source: 192.0.2.0/24 }, pool: a } ]
";
    let (a, b, rest) = (Backend::new(), Backend::new(), Backend::new());
    let yaml = file(front, [&a, &b, &rest])
        .replace("\" ] }\n", "\" ], connect: { send_proxy: { v2: [authority, alpn] } } }\n");
    let stage = Stage { proxy: Setup::file(yaml).start(), a, b, rest };
    let fields = [&b"\x02\x00\x0bX.A.example"[..], b"\x01\x00\x02h2"].concat();
    let header = |fields: &[u8]| {
        let ends = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 0x01, 0xbb];
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &((12 + fields.len()) as u16).to_be_bytes()[..], &ends, fields].concat()
    };
    let client = stage.client(&[&header(&fields)[..], b"payload"].concat());
    let mut server = stage.a.accept();
    let expected = header(&fields.to_ascii_lowercase());
    assert_eq!(server.take(expected.len()), expected);
    assert_eq!(server.take(7), b"payload");
    client.reset();
    let _client = stage.client(&header(b""));
    assert_eq!(stage.rest.accept().take(28), header(b""));
}

/// Many who never say enough hold little, cost nothing, and are gone in time.
#[test]
fn a_thousand_half_hellos_are_cheap_and_end_in_time() {
    const CLIENTS: usize = 1000;
    let stage = stage(&format!("    log: {{ access: off }}\n{BY_NAME}    timeouts: {{ sniff: 4s }}\n"));
    let id = stage.proxy.id();
    let (files, memory) = (descriptors(id), resident_kib(id));
    let says = hello("a.example");
    let clients: Vec<Peer> = (0..CLIENTS).map(|_| stage.client(&says[..says.len() / 2])).collect();
    eventually("all are there", || (stage.proxy.active() >= CLIENTS as f64 * 0.9).then_some(()));
    let held = resident_kib(id).saturating_sub(memory);
    assert!(held < CLIENTS as u64 * 20, "{held} KiB for {CLIENTS} clients");
    let before = cpu_time(id);
    std::thread::sleep(Duration::from_millis(500));
    let spent = cpu_time(id) - before;
    assert!(spent < Duration::from_millis(400), "{spent:?} while nothing came");
    // And who says all of it is served meanwhile.
    drop(stage.comes_to(&stage.a, &says));
    eventually("all are gone", || (stage.proxy.active() == 0.0).then_some(()));
    let series = "peerway_sessions_closed_total{listener=\"front\",pool=\"\",cause=\"sniff_undecided\",side=\"proxy\",phase=\"intake\"}";
    stage.proxy.metric_becomes(series, CLIENTS as f64);
    drop(clients);
    eventually("descriptors are back", || (descriptors(id) <= files + 5).then_some(()));
}

/// One byte now and then extends nothing.
#[test]
fn a_slow_client_has_no_more_time_than_others() {
    let stage = stage(&format!("{BY_NAME}    timeouts: {{ sniff: 1s }}\n"));
    let client = stage.proxy.connect();
    let started = std::time::Instant::now();
    for byte in hello("a.example").iter().take(60) {
        if (&client.socket).write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(started.elapsed() < Duration::from_secs(5), "it was closed on the way");
    assert_eq!(stage.proxy.ended()["cause"], "sniff_undecided");
}

#[test]
fn explain_follows_routes() {
    let stage = stage(BY_NAME);
    let ask =
        |more: &str| stage.proxy.admin().json(&format!("/api/v1/explain?listener=front&client=192.0.2.7:4711{more}"));
    let of = |found: &Value| (found["route"].as_str().map(str::to_owned), found["pool"].as_str().map(str::to_owned));
    let (route, pool) = of(&ask("&sni=X.a.example"));
    assert_eq!((route.as_deref(), pool.as_deref()), (Some("routes[0]"), Some("a")));
    let (route, pool) = of(&ask("&sni=b.example&alpn=y&alpn=x"));
    assert_eq!((route.as_deref(), pool.as_deref()), (Some("routes[1]"), Some("b")));
    assert_eq!(of(&ask("")), (None, Some("rest".to_owned())));
    let gone = ask("&sni=gone.example");
    assert_eq!((&gone["route"], &gone["pool"]), (&"routes[2]".into(), &Value::Null));
    assert!(gone["why"].as_str().unwrap().contains("reset"), "{gone}");
}
