//! Where to listen, and where to connect to.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::text;
use crate::config::address::{self, Listen, Target};
use crate::config::tree::{Node, Value};

/// An address and a port.
pub(super) fn ip(node: &Node) -> Result<SocketAddr, String> {
    text(node, "an address such as `127.0.0.1:9901`").and_then(address::parse_ip)
}

/// Where to listen, with one port.
pub(in crate::config) fn endpoint(node: &Node) -> Result<Listen, String> {
    match &node.value {
        Value::Int(port) => address::parse_endpoint(&port.to_string()),
        _ => text(node, "an address such as `127.0.0.1:9901` or `unix:/path`").and_then(address::parse_endpoint),
    }
}

/// Where to listen, perhaps with a range of ports.
pub(in crate::config) fn bind(node: &Node) -> Result<Listen, String> {
    match &node.value {
        Value::Int(port) => address::parse_bind(&port.to_string()),
        _ => text(node, "an address such as `0.0.0.0:5432` or `unix:/path`").and_then(address::parse_bind),
    }
}

/// Where a backend is.
pub(in crate::config) fn target(node: &Node) -> Result<Target, String> {
    text(node, "an address such as `10.0.0.1:5432`, `host:5432` or `unix:/path`").and_then(address::parse_target)
}

/// Where to connect from.
pub(in crate::config) fn source(node: &Node) -> Result<IpAddr, String> {
    text(node, "an IP address such as `10.0.0.9`").and_then(address::parse_source)
}

/// A network of peers.
pub(in crate::config) fn network(node: &Node) -> Result<IpNet, String> {
    text(node, "a network such as `10.0.0.0/8`").and_then(address::parse_network)
}

/// Permission bits.
pub(in crate::config) fn mode(node: &Node) -> Result<u32, String> {
    let bad =
        || format!("expected permission bits as octal digits in quotes, such as `\"0660\"`, found {}", node.describe());
    let text = node.text().ok_or_else(bad)?;
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if digits { u32::from_str_radix(text, 8).map_err(|_| bad()) } else { Err(bad()) }
}
