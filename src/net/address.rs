//! Addresses of peers as sessions see them.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
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
        Some(self.tcp()?.ip())
    }

    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        Some(self.tcp()?.port())
    }
}

/// As the standard library writes it, for IPv4 in a tenth of the instructions: each session's line has five.
fn short(address: SocketAddrV4) -> Short {
    let mut text = Short::new();
    for (octet, after) in address.ip().octets().into_iter().zip(*b"...:") {
        text.decimal(octet.into());
        text.push(after);
    }
    text.decimal(address.port().into());
    text
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

impl Target {
    /// Reads what is shown of one.
    pub fn read(shown: &str) -> Option<Self> {
        match shown.strip_prefix("unix:") {
            Some(path) => Some(Self::Unix(Path::new(path).into())),
            None => shown.parse().ok().map(Self::Ip),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => show(*address, f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn show(address: SocketAddr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match address {
        SocketAddr::V4(address) => f.pad(short(address).as_str()),
        SocketAddr::V6(_) => fmt::Display::fmt(&address, f),
    }
}

/// An address of one of the two kinds that sockets have.
pub trait Address: Clone + From<SocketAddr> + fmt::Display {
    /// It, if it is of TCP.
    fn tcp(&self) -> Option<SocketAddr>;

    /// It, if it is of IPv4.
    fn v4(&self) -> Option<SocketAddrV4> {
        match self.tcp()? {
            SocketAddr::V4(address) => Some(address),
            SocketAddr::V6(_) => None,
        }
    }

    /// Its text, if it is of IPv4 and that text therefore short.
    fn short(&self) -> Option<Short> {
        self.v4().map(short)
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl Address for Peer {
    fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix => None,
        }
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl Address for Target {
    fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

/// The two addresses of a socket, to be held for as long as a session lives: two of IPv4 in two words, others in a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair<Far>(Held<Far>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Held<Far> {
    V4 { near: SocketAddrV4, far: SocketAddrV4 },
    Other(Box<(Peer, Far)>),
}

impl<Far: Address> Pair<Far> {
    /// Of our side's address and the other side's.
    pub fn new(near: Peer, far: Far) -> Self {
        Self(match (near.v4(), far.v4()) {
            (Some(near), Some(far)) => Held::V4 { near, far },
            _ => Held::Other(Box::new((near, far))),
        })
    }

    /// Our side's.
    pub fn near(&self) -> Peer {
        match &self.0 {
            Held::V4 { near, .. } => Peer::Ip((*near).into()),
            Held::Other(pair) => pair.0,
        }
    }

    /// The other side's.
    pub fn far(&self) -> Far {
        match &self.0 {
            Held::V4 { far, .. } => SocketAddr::V4(*far).into(),
            Held::Other(pair) => pair.1.clone(),
        }
    }
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
            prop_assert_eq!(Target::read(&address.to_string()), Some(Target::Ip(address)));
        }
    }

    #[test]
    fn a_pair_gives_back_what_it_was_made_of() {
        let ip = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let peers = [Peer::Ip(ip("10.0.0.1:1")), Peer::Ip(ip("[2001:db8::1%7]:65535")), Peer::Unix];
        let targets = [Target::Ip(ip("10.0.0.2:2")), Target::Ip(ip("[::1]:3")), Target::Unix(Path::new("/x").into())];
        for near in peers {
            for far in peers {
                let pair = Pair::new(near, far);
                assert_eq!((pair.near(), pair.far()), (near, far));
            }
            for far in &targets {
                let pair = Pair::new(near, far.clone());
                assert_eq!((pair.near(), pair.far()), (near, far.clone()));
            }
        }
    }

    #[test]
    fn a_session_s_four_addresses_are_four_words() {
        assert_eq!((size_of::<Pair<Peer>>(), size_of::<Option<Pair<Target>>>()), (16, 16));
    }
}
