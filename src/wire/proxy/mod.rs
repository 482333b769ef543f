//! PROXY protocol, versions 1 (text) and 2 (binary): who the client is, said before its first byte.
//!
//! As `proxy-protocol.txt` of HAProxy defines it (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>);
//! section numbers in this folder are that text's. A header is a value: reading gives one, and writing is total over it.

mod parse;
mod tlv;
mod write;

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

pub use parse::parse;
pub use tlv::{ALPN, AUTHORITY, SSL, Ssl, Tlvs, TooLong, UNIQUE_ID};

/// What version 2 starts with (2.2); no other protocol does.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its line end included (2.1).
pub const LONGEST_V1: usize = 107;
/// Of version 2: signature, command, family, length.
const FIXED: usize = SIGNATURE.len() + 4;
/// What may follow them in a header that is read, bytes. Addresses take 216 at most and the fields of real senders
/// some hundreds; a limit is needed because the length alone would allow 64 KiB of a peer's choice in each session.
pub const MOST_V2: usize = 4096;
/// The longest header that is read, of either version.
pub const LONGEST: usize = FIXED + MOST_V2;

/// Whom a connection comes from and where it went to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// Nobody: the proxy itself connects, to see whether the server is well.
    Local,
    /// Someone whose addresses are not known, or mean nothing elsewhere.
    Unknown,
    /// TCP over IPv4.
    V4 {
        /// The client.
        src: SocketAddrV4,
        /// Where it connected to.
        dst: SocketAddrV4,
    },
    /// TCP over IPv6. Flow labels and scopes do not travel.
    V6 {
        /// The client.
        src: SocketAddrV6,
        /// Where it connected to.
        dst: SocketAddrV6,
    },
    /// A unix stream socket.
    Unix {
        /// The client's path, mostly empty.
        src: UnixPath,
        /// The path it connected to.
        dst: UnixPath,
    },
}

impl Header {
    /// A TCP connection from `src` to `dst`.
    ///
    /// IPv4 in IPv6 clothes is IPv4, unless the other end is really IPv6: a header has one family, so the IPv4 end
    /// is mapped then.
    pub fn tcp(src: SocketAddr, dst: SocketAddr) -> Self {
        match (canonical(src), canonical(dst)) {
            (SocketAddr::V4(src), SocketAddr::V4(dst)) => Self::V4 { src, dst },
            (src, dst) => Self::V6 { src: widened(src), dst: widened(dst) },
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn widened(address: SocketAddr) -> SocketAddrV6 {
    match address {
        SocketAddr::V4(address) => SocketAddrV6::new(address.ip().to_ipv6_mapped(), address.port(), 0, 0),
        SocketAddr::V6(address) => SocketAddrV6::new(*address.ip(), address.port(), 0, 0),
    }
}

/// A unix socket's path as it travels: 108 bytes, zeros after its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UnixPath([u8; Self::LENGTH]);

impl UnixPath {
    /// What a path takes up in a header, bytes.
    pub const LENGTH: usize = 108;

    /// `path`, or None if it is too long for any socket.
    pub fn new(path: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::LENGTH];
        bytes.get_mut(..path.len())?.copy_from_slice(path);
        Some(Self(bytes))
    }

    /// All 108 bytes.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

impl fmt::Debug for UnixPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        write!(f, "UnixPath({})", self.0[..end].escape_ascii())
    }
}

#[cfg(test)]
mod tests;
