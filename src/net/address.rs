//! Addresses of peers as sessions see them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use crate::sink::Short;

/// The far end of an accepted socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// TCP; an IPv4-mapped address is already IPv4.
    Ip(SocketAddr),
    /// Someone on this machine; unix peers have no address of their own.
    Unix,
}

impl Peer {
    /// The peer of a TCP socket. Mapped addresses are unfolded, so that one client has one spelling.
    pub fn tcp(address: SocketAddr) -> Self {
        Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// The IP address, if it has one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }

    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(address) => Some(address.port()),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => show(*address, f),
            Self::Unix => f.write_str("unix:"),
        }
    }
}

/// One address a backend can be dialled at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// TCP.
    Ip(SocketAddr),
    /// A unix socket.
    Unix(Arc<Path>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => show(*address, f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// As the standard library writes it, for IPv4 in a tenth of the instructions: each session's line has five.
fn show(address: SocketAddr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let SocketAddr::V4(address) = address else { return fmt::Display::fmt(&address, f) };
    let mut text = Short::new();
    for (octet, after) in address.ip().octets().into_iter().zip(*b"...:") {
        text.decimal(octet.into());
        text.push(after);
    }
    text.decimal(address.port().into());
    f.pad(text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn addresses_read_as_everywhere(ip: IpAddr, port: u16) {
            let address = SocketAddr::new(ip, port);
            prop_assert_eq!(format!("{:>24}|", Peer::Ip(address)), format!("{address:>24}|"));
            prop_assert_eq!(Target::Ip(address).to_string(), address.to_string());
        }
    }
}
