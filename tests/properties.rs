//! What holds of every parser, tried on some bytes: the fuzz targets in `tests/fuzz` try many more.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use proptest::collection::vec;
use proptest::prelude::*;

#[path = "fuzz/properties.rs"]
mod properties;
#[path = "fuzz/records.rs"]
mod records;

/// Beginnings that parsers know, so that not all end at the first byte.
const SEEDS: &[&[u8]] = &[
    b"",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x20\xc0\0\x02\x01\xc0\0\x02\x02\0\x01\0\x02\x01\0\x02h2\x03\0\x04abcd",
    b"\x16\x03\x01\0\x50\x01\0\0\x4c\x03\x03",
    b"R\0\0\0\x08\0\0\0\0S\0\0\0\x09a\0b\0ZEDN",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0",
    b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
    b"\0\0\0\0\x02\x08\x01",
    b"listeners: { l: { bind: '127.0.0.1:1', pool: p, routes: [ { match: { sni: '*.x' }, pool: p } ] } }\n",
    b"pools: { p: { backends: [ h:1 ], policy: { maglev: { key: server_name } } } }\n",
    b"/api/v1/pools/p/backends/b/drain?within=5m",
    b"/api/v1/connections?limit=1&after=%41",
    b"/api/v1/connections/..",
];

/// One or two of these with some bytes changed, and some more.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let seeds = vec(prop::sample::select(SEEDS), 0..3);
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (seeds, changes, vec(any::<u8>(), 0..120)).prop_map(|(seeds, changes, more)| {
        let mut bytes = [seeds.concat(), more].concat();
        for (at, to) in changes.into_iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        bytes
    })
}

/// A chunk of a script for a peer inside TLS.
fn chunk() -> impl Strategy<Value = Vec<u8>> {
    let what = prop_oneof![6 => 0u8..4, 2 => Just(4u8), 1 => Just(5u8), 1 => any::<u8>()];
    (what, vec(any::<u8>(), 0..200), any::<u8>())
        .prop_map(|(what, body, times)| [&[what, body.len() as u8, times][..], &body].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_of_a_peer_inside_tls(how in 0u8..2, chunks in vec(chunk(), 0..20)) {
        records::tls_records(&[vec![how], chunks.concat()].concat());
    }

    #[test]
    fn data_alone_is_heard_to_the_last_byte(how in 0u8..2, chunks in vec((vec(any::<u8>(), 1..200), any::<u8>()), 0..20)) {
        let chunk = |(body, times): (Vec<u8>, u8)| [&[0, body.len() as u8, times][..], &body].concat();
        records::tls_records(&[vec![how], chunks.into_iter().flat_map(chunk).collect()].concat());
    }

    #[test]
    fn bytes_instead_of_a_handshake(how in 2u8..4, bytes in bytes(), hello in any::<bool>()) {
        let hello: &[u8] = if hello { SEEDS[3] } else { b"" };
        records::tls_records(&[&[how], hello, &bytes].concat());
    }
}

/// A server may send tickets without end, each good for nothing: others have their turn meanwhile.
#[test]
fn records_that_carry_nothing_keep_nobody_busy() {
    // Its lifetime, what its age is hidden by, a nonce, itself, and no extensions.
    const TICKET: &[u8] = &[4, 0, 0, 15, 0, 0, 0, 9, 0, 0, 0, 0, 1, 7, 0, 1, 7, 0, 0];
    records::run(async {
        let mut pair = records::pair(records::Ours::Client).await;
        let forge = &mut pair.forge;
        let mut wire: Vec<u8> = (0..50_000).flat_map(|_| forge.record(22, TICKET)).collect();
        wire.extend(forge.record(records::DATA, b"at last"));
        let (mut left, mut turns, mut room) = (&wire[..], 0, vec![0; 64 * 1024]);
        let heard = loop {
            let before = left.len();
            match pair.ours.read(&mut room, |room| std::io::Read::read(&mut left, room)) {
                Ok(heard) => break heard,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            assert!(before - left.len() < 400_000, "{} bytes in one turn", before - left.len());
            turns += 1;
            let look = |cx: &mut std::task::Context<'_>| std::task::Poll::Ready(pair.ours.poll_read_ready(cx));
            assert!(std::future::poll_fn(look).await.is_pending(), "the others' turn");
        };
        assert_eq!((&room[..heard], turns > 5), (&b"at last"[..], true), "{turns} turns");
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn headers_of_proxy_protocol(bytes in bytes()) {
        properties::proxy_header(&bytes);
    }

    #[test]
    fn hellos_of_tls(bytes in bytes()) {
        properties::tls_hello(&bytes);
    }

    #[test]
    fn greetings_of_servers(bytes in bytes()) {
        properties::greetings(&bytes);
    }

    #[test]
    fn configurations(bytes in bytes()) {
        properties::configuration(&bytes);
    }

    #[test]
    fn paths_of_the_admin_endpoint(bytes in bytes()) {
        properties::admin_path(&bytes);
    }
}
