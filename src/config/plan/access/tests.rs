#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn list(networks: &[&str]) -> Networks {
    let unix = networks.contains(&"unix");
    Networks {
        networks: networks.iter().filter(|text| **text != "unix").map(|text| text.parse().unwrap()).collect(),
        unix,
    }
}

fn allows(allow: &[&str], deny: &[&str], client: &str) -> bool {
    AccessList::new(&list(allow), &list(deny)).allows(client.parse().ok())
}

#[test]
fn the_longest_prefix_decides_and_deny_wins_a_tie() {
    let (allow, deny) = (["10.0.0.0/8", "10.1.2.0/24"], ["10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32"]);
    let asked = ["10.0.0.1", "10.1.0.1", "10.1.2.4", "10.1.2.3", "10.2.0.0", "9.255.255.255", "11.0.0.0"];
    let said = asked.map(|client| allows(&allow, &deny, client));
    assert_eq!(said, [true, false, false, false, true, false, false]);
    assert!(allows(&["10.1.2.3/32"], &["10.0.0.0/8"], "10.1.2.3"), "a hole in what is denied");
}

#[test]
fn whoever_is_in_neither_list_comes_in_unless_there_is_one_of_those_that_may() {
    assert!(allows(&[], &[], "192.0.2.1") && allows(&[], &["10.0.0.0/8"], "192.0.2.1"));
    assert!(!allows(&["2001:db8::/32"], &[], "192.0.2.1"), "of the other family");
    assert!(allows(&["2001:db8::/32"], &[], "2001:db8::7"));
}

#[test]
fn a_mapped_address_is_one_of_ipv4() {
    assert!(!allows(&[], &["10.0.0.0/8"], "::ffff:10.0.0.1"));
    assert!(allows(&["10.0.0.0/8"], &["::/0"], "::ffff:10.0.0.1"));
}

#[test]
fn a_unix_socket_is_a_word_of_its_own() {
    for (allow, deny, expected) in [
        (&[][..], &[][..], true),
        (&[], &["0.0.0.0/0", "::/0"], true),
        (&["0.0.0.0/0", "::/0"], &[], false),
        (&["unix"], &[], true),
        (&["unix"], &["unix"], false),
    ] {
        assert_eq!(allows(allow, deny, "unix"), expected, "{allow:?} {deny:?}");
    }
    assert!(!allows(&["unix"], &[], "10.0.0.1"), "with any `allow`");
}

#[test]
fn the_first_and_the_last_address_are_addresses_too() {
    for (first, last, whole) in
        [("0.0.0.0", "255.255.255.255", "0.0.0.0/0"), ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0")]
    {
        let host = |ip: &str| format!("{ip}/{}", if ip.contains(':') { 128 } else { 32 });
        assert!(!allows(&[], &[&host(first)], first) && allows(&[], &[&host(first)], last));
        assert!(!allows(&[], &[&host(last)], last) && allows(&[], &[&host(last)], first));
        assert!(!allows(&[], &[whole], first) && !allows(&[], &[whole], last));
    }
}

/// What the table must say, in as many words.
fn slowly(allow: &[IpNet], deny: &[IpNet], client: IpAddr) -> bool {
    let longest = |list: &[IpNet]| list.iter().filter(|net| net.contains(&client)).map(IpNet::prefix_len).max();
    match (longest(allow), longest(deny)) {
        (None, None) => allow.is_empty(),
        (allowed, denied) => allowed > denied,
    }
}

/// Networks that nest, touch and repeat: few bits, and all lengths.
fn networks() -> impl Strategy<Value = Vec<IpNet>> {
    let v4 = (any::<u8>(), 0..=32u8, any::<bool>()).prop_map(|(bits, length, low)| {
        let ip = Ipv4Addr::from_bits(if low { u32::from(bits) } else { u32::from(bits) << 24 });
        IpNet::new(ip.into(), length).unwrap().trunc()
    });
    let v6 = (any::<u8>(), 0..=128u8, any::<bool>()).prop_map(|(bits, length, low)| {
        let ip = Ipv6Addr::from_bits(if low { u128::from(bits) } else { u128::from(bits) << 120 });
        IpNet::new(ip.into(), length).unwrap().trunc()
    });
    prop::collection::vec(prop_oneof![v4, v6], 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn the_table_says_what_the_lists_say(allow in networks(), deny in networks(), some in any::<[u8; 8]>()) {
        let table = AccessList::new(
            &Networks { networks: allow.clone(), unix: false },
            &Networks { networks: deny.clone(), unix: false },
        );
        let edges = allow.iter().chain(&deny).flat_map(|net| [net.network(), net.broadcast()]);
        let others = some.iter().flat_map(|bits| {
            let (low, high) = (u32::from(*bits), u32::from(*bits) << 24);
            let v6 = [u128::from(*bits), u128::from(*bits) << 120].map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits)));
            [low, high, low.wrapping_sub(1)].map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))).into_iter().chain(v6)
        });
        for client in edges.chain(others) {
            prop_assert_eq!(table.allows(Some(client)), slowly(&allow, &deny, client.to_canonical()), "{}", client);
        }
    }
}

/// So many networks that no two of them are one range.
fn table(count: u32) -> AccessList {
    let apart = (u32::MAX / count) & !0xff;
    let networks = (0..count).map(|n| IpNet::new(Ipv4Addr::from_bits(n * apart).into(), 24).unwrap());
    AccessList::new(&Networks::default(), &Networks { networks: networks.collect(), unix: false })
}

#[test]
fn a_search_among_a_hundred_thousand_takes_a_few_steps() {
    assert_eq!(table(10).v4.layers.len(), 2);
    let large = table(100_000);
    assert_eq!(large.v4.layers.len(), 5, "nodes of 16, for 200 000 ranges");
    let bytes: usize = large.v4.layers.iter().map(|layer| size_of_val(&**layer)).sum();
    assert!(bytes < 1_000_000, "{bytes}");
}
