//! Keepalive of the sockets to backends: of those sessions that last, however their bytes are moved, and of those that could
//! be silent for too long before that is known.

use std::fs::read_to_string;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::support::{Backend, MB, Proxy, Setup, TOP, eventually, send_across};
use crate::tls::Bridge;

const SECOND: Duration = Duration::from_secs(1);

/// In how long the kernel probes the peer of a socket that is connected to `to`, if that is the timer that runs for it. There
/// is one such socket, the proxy's.
fn probes_in(to: SocketAddr) -> Option<Duration> {
    const TICKS_A_SECOND: f64 = 100.0;
    const ESTABLISHED: &str = "01";
    let SocketAddr::V4(to) = to else { panic!("{to} is not in the table") };
    let to = format!("{:08X}:{:04X}", u32::from_ne_bytes(to.ip().octets()), to.port());
    let sockets = read_to_string("/proc/net/tcp").unwrap();
    let mut sockets = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // Of whoever had the backend's port before it there may still be some that have ended.
    let socket = sockets.find(|socket| socket[2] == to && socket[3] == ESTABLISHED)?;
    let ticks = u64::from_str_radix(socket[5].strip_prefix("02:")?, 16).unwrap();
    Some(Duration::from_secs_f64(ticks as f64 / TICKS_A_SECOND))
}

#[track_caller]
fn is_probed_within(longest: Duration, to: SocketAddr) -> Duration {
    let left = eventually(&format!("{to} is to be probed"), || probes_in(to));
    assert!(left <= longest, "{to} is probed in {left:?} only");
    left
}

fn front(backend: &Backend, listener: &str, pool: &str) -> Proxy {
    Setup::to([backend]).listener(listener).pool(pool).start()
}

#[test]
fn sessions_that_last_are_probed_however_their_bytes_are_moved() {
    let setups = ["relay: auto", "relay: copy", "relay: splice", "bandwidth: { per_connection: 1KiB/s }"];
    thread::scope(|scope| {
        for listener in setups {
            scope.spawn(move || {
                let backend = Backend::new();
                let proxy = front(&backend, listener, "");
                let (mut client, mut server) = proxy.session(&backend);
                if listener.starts_with("relay") {
                    send_across(&mut server, &mut client, 20 * MB);
                } else {
                    // The session waits for its share all the time.
                    server.say(100_000);
                }
                is_probed_within(60 * SECOND, backend.address());
            });
        }
    });
}

#[test]
fn a_session_that_had_to_show_something_first_is_probed() {
    let backend = Backend::new();
    let proxy = front(&backend, "routes: [ { match: { prefix: GET }, pool: back } ]", "");
    let mut client = proxy.connect();
    thread::sleep(3 * SECOND / 2);
    client.say(100);
    let _server = backend.accept();
    is_probed_within(60 * SECOND, backend.address());
}

#[test]
fn a_silent_session_is_probed_and_can_be_ended() {
    let backend = Backend::new();
    let proxy = front(&backend, "relay: auto", "");
    let (mut client, mut server) = proxy.session(&backend);
    let left = is_probed_within(60 * SECOND, backend.address());
    // As long after the last packet as if it had been set at once.
    assert!(left <= 59 * SECOND, "in {left:?}");
    let id = proxy.admin().json("/api/v1/connections")["connections"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(proxy.admin().ask("DELETE", &format!("/api/v1/connections/{id}"), "").status, 204);
    client.hear_reset();
    server.hear_reset();
}

#[test]
fn sessions_inside_tls_are_probed_on_both_sides() {
    let backend = Backend::new();
    let bridge = Bridge::to(&backend);
    let (mut client, mut server) = bridge.near.session(&backend);
    send_across(&mut client, &mut server, 100_000);
    is_probed_within(60 * SECOND, bridge.far.address("front"));
    is_probed_within(60 * SECOND, backend.address());
}

#[test]
fn a_session_that_may_be_silent_for_a_short_time_only_is_probed_in_that_time() {
    let backend = Backend::new();
    let proxy = front(&backend, "relay: auto", "tcp: { keepalive: { idle: 3s } }");
    let (_client, _server) = proxy.session(&backend);
    is_probed_within(3 * SECOND, backend.address());
}

#[test]
fn whoever_wants_no_probes_has_none_and_a_reload_leaves_those_who_last() {
    let backends = [Backend::new(), Backend::new()];
    let yaml = |probed: &str| {
        let [quiet, other] = backends.each_ref().map(Backend::address);
        format!(
            "{TOP}listeners:
  quiet: {{ bind: 127.0.0.1:0, pool: quiet }}
  front: {{ bind: 127.0.0.1:0, pool: back }}
pools:
  quiet: {{ backends: '{quiet}', tcp: {{ keepalive: off }} }}
  back: {{ backends: '{other}', tcp: {{ keepalive: {{ idle: {probed} }} }} }}"
        )
    };
    let proxy = Setup::file(yaml("1h")).start();
    let _quiet = (crate::support::Peer::connect(proxy.address("quiet")), backends[0].accept());
    let _session = proxy.session(&backends[1]);
    is_probed_within(3600 * SECOND, backends[1].address());
    proxy.change_to(&yaml("9s"));
    thread::sleep(3 * SECOND);
    assert!(is_probed_within(3600 * SECOND, backends[1].address()) > 60 * SECOND);
    assert_eq!(probes_in(backends[0].address()), None);
}
