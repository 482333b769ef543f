//! Addresses, as people write them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

/// The kernel's `sun_path` holds 108 bytes, the last of them zero.
pub(super) const LONGEST_UNIX_PATH: usize = 107;

/// Where something listens, before paths are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listen {
    /// The first port of one address, and the last.
    Ip(SocketAddr, u16),
    Unix(String),
}

/// Where a backend is, before paths are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Ip(SocketAddr),
    Unix(String),
    Host(Arc<str>, u16),
}

/// `IP:port`; port 0 lets the kernel choose.
pub(super) fn parse_ip(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| bad_listen(text))
}

/// `IP:port` or `unix:PATH`.
pub(super) fn parse_endpoint(text: &str) -> Result<Listen, String> {
    match parse_bind(text)? {
        Listen::Ip(first, last) if first.port() != last => {
            Err(format!("`{text}` is a range of ports; one is needed here"))
        }
        listen => Ok(listen),
    }
}

/// `IP:port`, `IP:first-last` or `unix:PATH`.
pub(super) fn parse_bind(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path(path).map(Listen::Unix);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return checked_family(address).map(|address| Listen::Ip(address, address.port()));
    }
    let (start, last) = text.rsplit_once('-').ok_or_else(|| bad_listen(text))?;
    let first = start.parse::<SocketAddr>().map_err(|_| bad_listen(text))?;
    let last = parse_port(last).ok_or_else(|| bad_listen(text))?;
    if first.port() == 0 {
        return Err(format!("`{text}`: a range starts at port 1 or higher"));
    }
    if first.port() > last {
        return Err(format!("`{text}` is an inverted range: write `{}:{last}-{}`", show(first.ip()), first.port()));
    }
    checked_family(first).map(|first| Listen::Ip(first, last))
}

/// IPv6 sockets are v6only here, so an IPv4 address in IPv6 clothes could never be bound.
fn checked_family(address: SocketAddr) -> Result<SocketAddr, String> {
    match address.ip() {
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(v4) => Err(format!("`{address}` is an IPv4 address: write `{v4}:{}`", address.port())),
            None => Ok(address),
        },
        IpAddr::V4(_) => Ok(address),
    }
}

/// `IP:port`, `unix:PATH` or `host:port`.
pub(super) fn parse_target(text: &str) -> Result<Target, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path(path).map(Target::Unix);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 {
            Err(format!("`{text}`: a backend has a port from 1 to 65535"))
        } else {
            Ok(Target::Ip(address))
        };
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| bad_target(text))?;
    let port = parse_port(port).filter(|port| *port != 0).ok_or_else(|| bad_target(text))?;
    if host.contains(':') {
        return Err(format!("`{text}`: put an IPv6 address in brackets, as in `[2001:db8::1]:5432`"));
    }
    if is_host_name(host) { Ok(Target::Host(host.into(), port)) } else { Err(bad_target(text)) }
}

/// An IP address of this machine to connect from, without a port.
pub(super) fn parse_source(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = text.parse().map_err(|_| bad_source(text))?;
    if ip.to_canonical() != ip {
        return Err(format!("`{ip}` is an IPv4 address: write `{}`", ip.to_canonical()));
    }
    if ip.is_unspecified() {
        return Err(format!("`{ip}` is no machine's address; to leave the choice to the kernel, write `off`"));
    }
    if ip.is_multicast() || ip == IpAddr::from(Ipv4Addr::BROADCAST) {
        return Err(format!("`{ip}` is the address of many machines, and nothing can connect from it"));
    }
    Ok(ip)
}

fn bad_source(text: &str) -> String {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    match text.parse::<SocketAddr>().map(|address| address.ip()).ok().or_else(bracketed) {
        Some(ip) => format!("`{text}`: write the IP address alone, `{ip}`"),
        None => format!("`{text}` is not an IP address: write one such as `10.0.0.9` or `2001:db8::9`"),
    }
}

/// `IP/prefix`: all addresses that share so many leading bits.
pub(super) fn parse_network(text: &str) -> Result<IpNet, String> {
    let network: IpNet = text.parse().map_err(|_| bad_network(text))?;
    if let IpAddr::V6(ip) = network.addr()
        && let Some(v4) = ip.to_ipv4_mapped()
    {
        let prefix = network.prefix_len().saturating_sub(96);
        return Err(format!("`{text}` are IPv4 addresses: write `{v4}/{prefix}`"));
    }
    let whole = network.trunc();
    if whole != network {
        return Err(format!(
            "`{text}` has bits set behind its first {}: write `{whole}` for the network, `{}/{}` for that one address",
            network.prefix_len(),
            network.addr(),
            network.max_prefix_len()
        ));
    }
    Ok(network)
}

fn bad_network(text: &str) -> String {
    let length = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
    if let Ok(ip) = text.parse::<IpAddr>() {
        return format!("`{text}` has no prefix length: write `{ip}/{}` for that one address", length(ip));
    }
    if text == "unix:" {
        return "`unix:`: for peers on unix sockets, write `unix`".to_owned();
    }
    let prefix = text.split_once('/').and_then(|(ip, prefix)| Some((ip.parse::<IpAddr>().ok()?, prefix)));
    match prefix {
        Some((ip, prefix)) => {
            format!("`{text}`: the prefix length of such an address is 0 to {}, not `{prefix}`", length(ip))
        }
        None => format!("`{text}` is not a network: write `IP/prefix`, such as `10.0.0.0/8` or `2001:db8::/32`"),
    }
}

fn bad_listen(text: &str) -> String {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port_range = port.split('-').all(|port| parse_port(port).is_some());
    if port_range && (host.is_empty() || host == "*") {
        return format!(
            "`{text}` has no address: write `127.0.0.1:{port}` for this machine alone, `0.0.0.0:{port}` for every IPv4 \
             address or `[::]:{port}` for every IPv6 address"
        );
    }
    if port_range && host == "localhost" {
        return format!("`{text}`: listening needs an address, not a name: write `127.0.0.1:{port}`");
    }
    if host.contains(':') && !host.starts_with('[') {
        return format!("`{text}`: put an IPv6 address in brackets, as in `[::1]:{port}`");
    }
    format!("`{text}` is not an address to listen on: write `IP:port`, such as `127.0.0.1:8080`, or `unix:/path`")
}

fn bad_target(text: &str) -> String {
    format!("`{text}` is not an address: write `IP:port`, `host:port` or `unix:/path`, with a port from 1 to 65535")
}

fn unix_path(path: &str) -> Result<String, String> {
    if path.is_empty() || path.contains('\0') {
        return Err("`unix:` needs a path, as in `unix:/run/peerway.sock`".to_owned());
    }
    Ok(path.to_owned())
}

fn parse_port(text: &str) -> Option<u16> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Letters, digits, `-` and `_` in labels; not something that was meant to be an IPv4 address.
fn is_host_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last_is_number = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    host.len() <= 253 && host.split('.').all(label) && !last_is_number
}

fn show(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
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
        for text in ["", "h", "10.0.0.9:80", "[::1]", "[::1]:80", "10.0.0.0/8", "0.0.0.0", "::", "224.0.0.1", "ff02::1"]
        {
            assert!(parse_source(text).is_err(), "{text}");
        }
        assert!(parse_source("::ffff:10.0.0.9").unwrap_err().ends_with("write `10.0.0.9`"));
    }

    #[test]
    fn networks() {
        for text in ["10.0.0.0/8", "192.0.2.7/32", "0.0.0.0/0", "::/0", "2001:db8::/32", "fe80::1/128"] {
            assert_eq!(parse_network(text).unwrap().to_string(), text);
        }
        for text in
            ["", "h", "/8", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "10.0.0.1/8", "unix:"]
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
}
