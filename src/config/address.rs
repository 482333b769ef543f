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
    if let Some(message) = scheme(text) {
        return Err(message);
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

/// What is wrong with an address that is written like that of a web site.
fn scheme(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split('/').next().unwrap_or_default();
    let example = if authority.contains(':') { authority } else { "host:port" };
    Some(format!("`{text}`: an address has no scheme such as `{scheme}://`: write `{example}`"))
}

fn bad_listen(text: &str) -> String {
    if let Some(message) = scheme(text) {
        return message;
    }
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
mod tests;
