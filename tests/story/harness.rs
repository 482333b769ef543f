//! The harness itself, with no proxy between its peers: it must see what it claims to see.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::support::{Backend, Blackhole, MB, Peer, RESET_WITHIN, Scrape, Wait, send_across, socket_pair_direct};

#[test]
fn bytes_arrive_in_their_places() {
    let (mut client, mut server) = socket_pair_direct();
    send_across(&mut client, &mut server, MB + 3);
    send_across(&mut server, &mut client, MB + 5);
    client.finish();
    server.hear_end();
}

#[test]
fn a_byte_too_many_or_too_few_is_noticed() {
    for offset in [7, 9] {
        let (client, mut server) = socket_pair_direct();
        let mut other = client.seeded(1, 2);
        other.say(8);
        let mut skewed = Peer::new(other.socket.try_clone().unwrap(), 1, 2);
        skewed.skip(offset);
        skewed.say(8);
        server.hear(8);
        assert!(fails(|| server.hear(8)), "a stream that goes on at {offset} instead of 8");
    }
}

#[test]
fn an_end_and_a_reset_are_told_apart() {
    let (client, mut server) = socket_pair_direct();
    client.close();
    assert!(fails(|| server.hear_reset_within(RESET_WITHIN / 5)));
    let (client, mut server) = socket_pair_direct();
    client.reset();
    server.hear_reset();
    let (client, mut server) = socket_pair_direct();
    client.reset();
    assert!(fails(|| server.hear_end()));
}

#[test]
fn a_reset_after_an_end_is_noticed() {
    let (mut client, mut server) = socket_pair_direct();
    client.finish();
    server.hear_end();
    assert!(fails(|| server.hear_reset_after_end()));
    client.reset();
    server.hear_reset_after_end();
}

#[test]
fn a_reset_behind_unread_bytes_is_noticed() {
    let (mut client, mut server) = socket_pair_direct();
    client.say(1000);
    client.reset();
    server.hear_reset();
}

#[test]
fn a_peer_that_does_not_read_stalls_its_sender() {
    let backend = Backend::new().reads_little();
    let mut client = Peer::connect(backend.address());
    let mut server = backend.accept();
    let sent = client.say_until_stalled();
    assert!(sent > 0);
    server.hear(sent);
}

#[test]
fn a_blackhole_answers_nobody_until_it_is_opened() {
    let hole = Blackhole::new();
    let to = hole.address();
    let waiting = std::thread::spawn(move || Peer::connect(to));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waiting.is_finished());
    let backend = hole.open();
    let mut server = backend.accept();
    let mut client = waiting.join().unwrap();
    send_across(&mut client, &mut server, 1000);
    assert!(backend.accept_within(Wait::For(Duration::from_millis(50))).is_none());
}

#[test]
fn scripted_backends_echo_and_name_themselves() {
    let (echo, named) = (Backend::new().echo(), Backend::new().named("alpha"));
    let mut client = Peer::connect(echo.address()).seeded(9, 9);
    client.say(100_000);
    client.hear(100_000);
    (&client.socket).write_all(b"").unwrap();
    client.finish();
    client.hear_end();
    assert_eq!(Peer::connect(named.address()).line().unwrap(), "alpha");
    assert_eq!((echo.accepted(), named.accepted()), (1, 1));
}

#[test]
fn counts_that_go_back_or_do_not_add_up_are_noticed() {
    let page = |came: u32, refused: u32, closed: u32, active: u32| {
        Scrape::read(&format!(
            "peerway_listener_connections_total{{listener=\"l\"}} {came}\n\
             peerway_listener_refused_total{{listener=\"l\",reason=\"denied\"}} {refused}\n\
             peerway_sessions_closed_total{{listener=\"l\"}} {closed}\n\
             peerway_listener_active_connections{{listener=\"l\"}} {active}\n"
        ))
    };
    let before = page(10, 2, 5, 3);
    before.adds_up();
    assert!(fails(|| page(10, 2, 5, 4).adds_up()));
    page(11, 2, 9, 0).goes_on_from(&before, |_| true);
    assert!(fails(|| page(11, 2, 4, 5).goes_on_from(&before, |_| true)), "fewer have ended");
    page(11, 2, 4, 5).goes_on_from(&before, |series| !series.contains("sessions"));
    assert!(fails(|| Scrape::read("").goes_on_from(&before, |_| true)), "what was counted is gone");
}

/// Whether this assertion would fail a test.
fn fails(assertion: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(assertion)).is_err()
}
