//! Where to listen, and where to connect to.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Scalar, text};
use crate::config::address::{self, Listen, Target};
use crate::config::tree::{Node, Value};

/// An address and a port.
pub(super) fn ip(node: &Node) -> Result<SocketAddr, String> {
    text(node, Scalar::Ip.noun()).and_then(address::parse_ip)
}

/// Where to listen, with one port.
pub(in crate::config) fn endpoint(node: &Node) -> Result<Listen, String> {
    match &node.value {
        Value::Int(port) => address::parse_endpoint(&port.to_string()),
        _ => text(node, Scalar::Endpoint.noun()).and_then(address::parse_endpoint),
    }
}

/// Where to listen, perhaps with a range of ports.
pub(in crate::config) fn bind(node: &Node) -> Result<Listen, String> {
    match &node.value {
        Value::Int(port) => address::parse_bind(&port.to_string()),
        _ => text(node, Scalar::Bind.noun()).and_then(address::parse_bind),
    }
}

/// Where a backend is.
pub(in crate::config) fn target(node: &Node) -> Result<Target, String> {
    text(node, Scalar::Target.noun()).and_then(address::parse_target)
}

/// Where to connect from.
pub(in crate::config) fn source(node: &Node) -> Result<IpAddr, String> {
    text(node, Scalar::Source.noun()).and_then(address::parse_source)
}

/// A network of peers.
pub(in crate::config) fn network(node: &Node) -> Result<IpNet, String> {
    text(node, Scalar::Network.noun()).and_then(address::parse_network)
}

/// Permission bits.
pub(in crate::config) fn mode(node: &Node) -> Result<u32, String> {
    let bad =
        || format!("expected permission bits as octal digits in quotes, such as `\"0660\"`, found {}", node.describe());
    let text = node.text().ok_or_else(bad)?;
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if digits { u32::from_str_radix(text, 8).map_err(|_| bad()) } else { Err(bad()) }
}
