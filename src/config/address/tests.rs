//! Addresses as people write them, and what they are told.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

#[test]
fn binds() {
    let ip = |text: &str, last| Ok(Listen::Ip(text.parse().unwrap(), last));
    assert_eq!(parse_bind("127.0.0.1:80"), ip("127.0.0.1:80", 80));
    assert_eq!(parse_bind("[::]:8000-8010"), ip("[::]:8000", 8010));
    assert_eq!(parse_bind("[::]:80-80"), ip("[::]:80", 80));
    assert_eq!(parse_bind("[fe80::1%2]:80"), ip("[fe80::1%2]:80", 80));
    assert_eq!(parse_bind("unix:a-b:1"), Ok(Listen::Unix("a-b:1".to_owned())));
    for text in [
        "",
        ":",
        "80",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:80-",
        "1.2.3.4:-80",
        "1.2.3.4:+80",
        "1.2.3.4:2-1",
        "h:1",
        "::1:80",
        "unix:",
    ] {
        assert!(parse_bind(text).is_err(), "{text}");
    }
}

#[test]
fn targets() {
    assert_eq!(parse_target("10.0.0.1:80"), Ok(Target::Ip("10.0.0.1:80".parse().unwrap())));
    assert_eq!(parse_target("my_host.example.:80"), Ok(Target::Host("my_host.example.".into(), 80)));
    assert_eq!(parse_target("unix:x"), Ok(Target::Unix("x".to_owned())));
    for text in [
        "",
        "h",
        "h:",
        "h:0",
        "h:65536",
        "h:+1",
        ":80",
        "a b:80",
        "10.0.0:80",
        "10.0.0.256:80",
        "h/x:80",
        "é:80",
        "-h:1",
        "h-:1",
        ".:1",
        "a..b:1",
    ] {
        assert!(parse_target(text).is_err(), "{text}");
    }
    assert!(parse_target(&format!("{}:1", "a".repeat(64))).is_err());
}

#[test]
fn sources() {
    for text in ["10.0.0.9", "127.0.0.1", "::1", "2001:db8::9", "fe80::1"] {
        assert_eq!(parse_source(text), Ok(text.parse().unwrap()));
    }
    for text in ["", "h", "10.0.0.9:80", "[::1]", "[::1]:80", "10.0.0.0/8", "0.0.0.0", "::", "224.0.0.1", "ff02::1"] {
        assert!(parse_source(text).is_err(), "{text}");
    }
    assert!(parse_source("::ffff:10.0.0.9").unwrap_err().ends_with("write `10.0.0.9`"));
}

#[test]
fn networks() {
    for text in ["10.0.0.0/8", "192.0.2.7/32", "0.0.0.0/0", "::/0", "2001:db8::/32", "fe80::1/128"] {
        assert_eq!(parse_network(text).unwrap().to_string(), text);
    }
    for text in ["", "h", "/8", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "10.0.0.1/8", "unix:"]
    {
        assert!(parse_network(text).is_err(), "{text}");
    }
    assert!(parse_network("10.1.2.3/8").unwrap_err().contains("`10.0.0.0/8`"));
    assert!(parse_network("::ffff:10.0.0.0/104").unwrap_err().ends_with("write `10.0.0.0/8`"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-z0-9.:%/*\\[\\]-]{0,24}|\\PC*") {
        let _ = (parse_bind(&text), parse_endpoint(&text), parse_ip(&text), parse_target(&text), parse_source(&text));
        let _ = parse_network(&text);
    }

    #[test]
    fn addresses_survive_the_round_trip(ip in any::<IpAddr>(), port in 1..=u16::MAX) {
        let address = SocketAddr::new(ip, port);
        prop_assert_eq!(parse_target(&address.to_string()), Ok(Target::Ip(address)));
    }
}
