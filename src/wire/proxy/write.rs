//! Headers as bytes.

use std::net::Ipv6Addr;

use super::tlv::{CRC32C, CRC32C_FIELD};
use super::{FIXED, Header, SIGNATURE, Tlvs, UnixPath};

/// Version 2 in the high half; who speaks in the low one (2.2).
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// The address family in the high half, stream sockets in the low one (2.2).
const UNSPECIFIED: u8 = 0x00;
pub(super) const TCP4: u8 = 0x11;
pub(super) const TCP6: u8 = 0x21;
pub(super) const UNIX_STREAM: u8 = 0x31;

impl Header {
    /// Version 1 (2.1): one line, at most [`super::LONGEST_V1`] bytes. It has TCP addresses, or says that it has none.
    pub fn v1(&self) -> Vec<u8> {
        match self {
            Self::V4 { src, dst } => line("TCP4", src.ip(), dst.ip(), src.port(), dst.port()),
            Self::V6 { src, dst } => line("TCP6", hex(src.ip()), hex(dst.ip()), src.port(), dst.port()),
            Self::Local | Self::Unknown | Self::Unix { .. } => "PROXY UNKNOWN\r\n".to_owned(),
        }
        .into_bytes()
    }

    /// Version 2 (2.2), with these fields and, if wanted, a checksum over all of it (2.2.3).
    pub fn v2(&self, tlvs: &Tlvs, checksum: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + 2 * UnixPath::LENGTH + tlvs.as_bytes().len() + CRC32C_FIELD);
        out.extend(SIGNATURE);
        out.extend([self.command(), self.family(), 0, 0]);
        self.addresses(&mut out);
        out.extend(tlvs.as_bytes());
        if checksum {
            out.extend([CRC32C, 0, 4, 0, 0, 0, 0]);
        }
        // `Tlvs` keeps room for the longest addresses and the checksum, so this never cuts.
        let length = (out.len() - FIXED) as u16;
        out[FIXED - 2..FIXED].copy_from_slice(&length.to_be_bytes());
        if checksum {
            let sum = crc32c::crc32c(&out);
            let end = out.len();
            out[end - 4..].copy_from_slice(&sum.to_be_bytes());
        }
        out
    }

    fn command(&self) -> u8 {
        match self {
            Self::Local => LOCAL,
            Self::Unknown | Self::V4 { .. } | Self::V6 { .. } | Self::Unix { .. } => PROXY,
        }
    }

    fn family(&self) -> u8 {
        match self {
            Self::Local | Self::Unknown => UNSPECIFIED,
            Self::V4 { .. } => TCP4,
            Self::V6 { .. } => TCP6,
            Self::Unix { .. } => UNIX_STREAM,
        }
    }

    /// The addresses of version 2: source, destination, and their ports where there are ports.
    fn addresses(&self, out: &mut Vec<u8>) {
        match self {
            Self::Local | Self::Unknown => {}
            Self::V4 { src, dst } => {
                out.extend(src.ip().octets());
                out.extend(dst.ip().octets());
                out.extend(src.port().to_be_bytes());
                out.extend(dst.port().to_be_bytes());
            }
            Self::V6 { src, dst } => {
                out.extend(src.ip().octets());
                out.extend(dst.ip().octets());
                out.extend(src.port().to_be_bytes());
                out.extend(dst.port().to_be_bytes());
            }
            Self::Unix { src, dst } => {
                out.extend(src.as_bytes());
                out.extend(dst.as_bytes());
            }
        }
    }
}

fn line(family: &str, src: impl ToString, dst: impl ToString, from: u16, to: u16) -> String {
    format!("PROXY {family} {} {} {from} {to}\r\n", src.to_string(), dst.to_string())
}

/// In hexadecimal groups alone: the text of version 1 knows no dotted tail.
fn hex(ip: &Ipv6Addr) -> String {
    match (ip.to_ipv4_mapped(), ip.segments()) {
        (Some(_), [.., high, low]) => format!("::ffff:{high:x}:{low:x}"),
        _ => ip.to_string(),
    }
}
