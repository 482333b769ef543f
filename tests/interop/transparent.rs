//! Clients' addresses at the backend, and listeners for addresses of others: three networks in a row, the routes and rules
//! of `deploy/transparent.sh` on the one in the middle.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::network::Network;
use crate::support::{Backend, Peer, Setup, TOP, program, run, send_across};

/// Clients at 10.1.0.2 and a backend at 10.2.0.2 (fd01::2 and fd02::2), which know each other's networks only through the
/// one in the middle, 10.1.0.1 and 10.2.0.1.
struct Row {
    clients: Network,
    middle: Network,
    backends: Network,
}

impl Row {
    fn new() -> Self {
        let row = Self { clients: Network::new(), middle: Network::new(), backends: Network::new() };
        for (number, end) in [(1, &row.clients), (2, &row.backends)] {
            row.middle.ip(&format!("link add side{number} type veth peer name eth netns {}", end.id()));
            row.middle.ip(&format!("address add 10.{number}.0.1/24 dev side{number}"));
            row.middle.ip(&format!("address add fd0{number}::1/64 dev side{number} nodad"));
            row.middle.ip(&format!("link set side{number} up"));
            end.ip(&format!("address add 10.{number}.0.2/24 dev eth"));
            end.ip(&format!("address add fd0{number}::2/64 dev eth nodad"));
            end.ip("link set eth up");
            end.ip(&format!("route add default via 10.{number}.0.1"));
            end.ip(&format!("-6 route add default via fd0{number}::1"));
        }
        row
    }

    /// The script, in the middle.
    fn script(&self, words: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/transparent.sh");
        self.middle.run(|| run(program("sh").arg(script).args(words)));
    }
}

fn to(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_backend_sees_the_client_s_own_address() {
    let row = Row::new();
    row.script(&["up"]);
    for (front, backend, client) in
        [("10.1.0.1:7000", "10.2.0.2:6000", "10.1.0.2"), ("[fd01::1]:7000", "[fd02::2]:6000", "fd01::2")]
    {
        let backend = row.backends.run(|| Backend::at(to(backend)));
        let setup = Setup::to([&backend]).bind(front).pool("connect: { source: client }");
        let proxy = row.middle.run(|| setup.start());
        // Two at once: the port is not the client's.
        for _ in 0..2 {
            let mut peer = row.clients.run(|| Peer::connect(to(front)));
            let mut server = backend.accept();
            assert_eq!(server.remote().ip(), client.parse::<std::net::IpAddr>().unwrap());
            send_across(&mut peer, &mut server, 300_000);
            send_across(&mut server, &mut peer, 300_000);
            peer.close();
            server.hear_end();
            server.close();
        }
        assert!(proxy.ended()["upstream_local"].as_str().unwrap().contains(client));
    }
    row.script(&["down"]);
    let rules = row.middle.run(|| run(program("ip").args(["rule"])));
    assert!(!rules.contains("fwmark"), "{rules}");
}

/// Those of the other network's addresses come to the proxy, which connects to where they wanted to go.
#[test]
fn a_listener_accepts_for_addresses_of_others() {
    let row = Row::new();
    row.script(&["up", "5432", "7001"]);
    let backend = row.backends.run(|| Backend::at(to("10.2.0.2:6000")));
    let yaml = "admin: { listen: 127.0.0.1:0 }\nlisteners:\n  front:\n    pool: back\n    \
                bind: [ { address: 0.0.0.0:7001, transparent: true }, { address: \"[::]:7001\", transparent: true } ]\n\
                pools:\n  back: { backends: [ 10.2.0.2:6000 ], connect: { source: client, send_proxy: v1 } }\n";
    let proxy = row.middle.run(|| Setup::file(yaml).start());
    let mut peer = row.clients.run(|| Peer::connect(to("10.2.0.77:5432")));
    let mut server = backend.accept();
    assert_eq!(server.remote().ip(), Ipv4Addr::new(10, 1, 0, 2), "the client's");
    let header = server.line().unwrap();
    let wanted = format!("PROXY TCP4 10.1.0.2 10.2.0.77 {} 5432\r", peer.local().port());
    assert_eq!(header, wanted, "and where it wanted to go");
    send_across(&mut peer, &mut server, 100_000);
    send_across(&mut server, &mut peer, 100_000);
    peer.close();
    server.hear_end();
    server.close();
    let end = proxy.ended();
    assert_eq!((&end["local"], &end["cause"]), (&"10.2.0.77:5432".into(), &"finished".into()));
    // Nobody of the other family can be served under its own address there.
    let mut other = row.clients.run(|| Peer::connect(to("[fd02::77]:5432")));
    other.hear_reset_within(Duration::from_secs(10));
    proxy.logs("has no address of the backend's family");
    assert_eq!(proxy.ended()["cause"], "connect_failed");
}

/// Started without the capability, and with it taken away before a reload.
#[test]
fn without_the_capability_it_is_refused_with_the_remedy() {
    let without = ["setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-all"];
    let backend = Backend::new();
    let (code, said) = Setup::to([&backend]).pool("connect: { source: client }").wrapped(&without).fails();
    let remedy = "CAP_NET_RAW or CAP_NET_ADMIN; with systemd, add CAP_NET_RAW to AmbientCapabilities";
    assert_eq!(code, Some(1));
    assert!(said.contains("pools.back.connect.source: ") && said.contains(remedy), "{said}");
    let file = |more: &str, pool: &str| {
        format!(
            "{TOP}listeners:\n  front: {{ pool: back, bind: [ {{ address: 127.0.0.1:0{more} }} ] }}\n\
             pools:\n  back: {{ backends: [ \"{}\" ]{pool} }}\n",
            backend.address()
        )
    };
    let (code, said) = Setup::file(file(", transparent: true", "")).wrapped(&without).fails();
    assert_eq!(code, Some(1));
    assert!(said.contains("listeners.front: 127.0.0.1:0") && said.contains(remedy), "{said}");
    let proxy = Setup::file(file("", "")).wrapped(&without).start();
    for refused in [file(", transparent: true", ""), file("", ", connect: { source: client }")] {
        let why = proxy.refuses(&refused);
        assert!(why.contains(remedy), "{why}");
    }
    proxy.session(&backend);
}
