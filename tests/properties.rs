//! What holds of every parser, tried on some bytes: the fuzz targets in `tests/fuzz` try many more.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use proptest::collection::vec;
use proptest::prelude::*;

#[path = "fuzz/properties.rs"]
mod properties;

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
