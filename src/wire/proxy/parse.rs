//! Bytes as headers: strict, incremental, and never a byte beyond the header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use super::super::{Malformed, Parsed, quoted};
use super::tlv::{self, Tlvs};
use super::{FIXED, Header, LONGEST_V1, MOST_V2, SIGNATURE, UnixPath};

/// What version 1 starts with (2.1).
const PREFIX: &[u8] = b"PROXY ";

/// Reads the header that `bytes` begin with, of either version: whose connection it is, and the fields that are kept
/// ([`Tlvs::get`] tells which).
///
/// `None` means that all of `bytes` belong to the header, and that more of it is to come; so whoever takes them off a
/// socket then takes no byte of what follows. That is never said of [`super::LONGEST`] bytes.
///
/// # Errors
/// No byte that could follow would make this a header of version 1 or 2, or it is longer than [`super::LONGEST`].
pub fn parse(bytes: &[u8]) -> Parsed<(Header, Tlvs)> {
    let begins_like = |start: &[u8]| start.iter().zip(bytes).all(|(start, byte)| start == byte);
    match (begins_like(PREFIX), begins_like(&SIGNATURE)) {
        (true, false) => line(bytes),
        (false, true) => binary(bytes),
        (true, true) => Ok(None), // nothing at all yet
        (false, false) => Err(Malformed(format!("no PROXY header begins with {}", quoted(bytes)))),
    }
}

/// Version 1 (2.1).
fn line(bytes: &[u8]) -> Parsed<(Header, Tlvs)> {
    let within = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        let open = bytes.len() < LONGEST_V1;
        let too_long = || Malformed(format!("no line end within {LONGEST_V1} bytes: {}", quoted(within)));
        return if open { Ok(None) } else { Err(too_long()) };
    };
    let header = within[..end].strip_suffix(b"\r").and_then(words);
    let bad = || Malformed(format!("not a line of PROXY protocol: {}", quoted(&within[..=end])));
    Ok(Some(((header.ok_or_else(bad)?, Tlvs::default()), end + 1)))
}

/// A line without its end, in its words. What follows UNKNOWN is to be ignored, whatever it is.
fn words(line: &[u8]) -> Option<Header> {
    let words = line.strip_prefix(PREFIX)?;
    if words == b"UNKNOWN" || words.starts_with(b"UNKNOWN ") {
        return Some(Header::Unknown);
    }
    let words: Vec<&str> = std::str::from_utf8(words).ok()?.split(' ').collect();
    let [family, src, dst, from, to] = words.as_slice() else { return None };
    let (from, to) = (port(from)?, port(to)?);
    match *family {
        "TCP4" => {
            let address = |ip: &str, port| Some(SocketAddrV4::new(ip.parse::<Ipv4Addr>().ok()?, port));
            Some(Header::V4 { src: address(src, from)?, dst: address(dst, to)? })
        }
        "TCP6" => {
            let address = |ip: &str, port| Some(SocketAddrV6::new(ip.parse::<Ipv6Addr>().ok()?, port, 0, 0));
            Some(Header::V6 { src: address(src, from)?, dst: address(dst, to)? })
        }
        _ => None,
    }
}

/// A port in plain digits: no sign, and no zero before another digit.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Version 2 (2.2).
fn binary(bytes: &[u8]) -> Parsed<(Header, Tlvs)> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else { return Ok(None) };
    let (version, command) = (fixed[12] >> 4, fixed[12] & 0x0f);
    let (family, transport) = (fixed[13] >> 4, fixed[13] & 0x0f);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    // What the text has not defined must be refused (2.2): it may mean anything.
    if version != 2 || command > 1 {
        return Err(Malformed(format!("unknown version or command of PROXY protocol: {:#04x}", fixed[12])));
    }
    if length > MOST_V2 {
        return Err(Malformed(format!("a PROXY header of {length} bytes; {MOST_V2} are taken at most")));
    }
    // Of a LOCAL one all that follows is to be ignored, the family included.
    let local = command == 0;
    let addresses = if local { Some(0) } else { addresses_length(family, transport) };
    let Some(addresses) = addresses else {
        return Err(Malformed(format!("unknown family or transport in a PROXY header: {:#04x}", fixed[13])));
    };
    if !local && length < addresses {
        return Err(Malformed(format!("{length} bytes for {addresses} bytes of addresses in a PROXY header")));
    }
    let Some(block) = rest.get(..length) else { return Ok(None) };
    if local {
        return Ok(Some(((Header::Local, Tlvs::default()), FIXED + length)));
    }
    let (addresses, fields) = block.split_at(addresses);
    let fields = tlv::kept(&bytes[..FIXED + length], fields)?;
    Ok(Some(((header(fixed[13], addresses), fields), FIXED + length)))
}

/// How many bytes of addresses there are, whatever is transported between them.
fn addresses_length(family: u8, transport: u8) -> Option<usize> {
    const LENGTHS: [usize; 4] = [0, 2 * 4 + 2 * 2, 2 * 16 + 2 * 2, 2 * UnixPath::LENGTH];
    LENGTHS.get(usize::from(family)).copied().filter(|_| transport <= 2)
}

/// The addresses of a stream. Those of anything else say nothing about the stream that carries them.
fn header(family: u8, addresses: &[u8]) -> Header {
    let of_stream = match family {
        super::write::TCP4 => ips(addresses, |bytes| <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok()),
        super::write::TCP6 => ips(addresses, |bytes| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok()),
        super::write::UNIX_STREAM => paths(addresses),
        _ => None,
    };
    of_stream.unwrap_or(Header::Unknown)
}

/// Two addresses of equal length, then two ports.
fn ips(bytes: &[u8], ip: impl Fn(&[u8]) -> Option<IpAddr>) -> Option<Header> {
    let (ips, ports) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    let (src, dst) = ips.split_at(ips.len() / 2);
    let port = |at: usize| Some(u16::from_be_bytes([*ports.get(at)?, *ports.get(at + 1)?]));
    match (ip(src)?, ip(dst)?) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            Some(Header::V4 { src: SocketAddrV4::new(src, port(0)?), dst: SocketAddrV4::new(dst, port(2)?) })
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Header::V6 {
            src: SocketAddrV6::new(src, port(0)?, 0, 0),
            dst: SocketAddrV6::new(dst, port(2)?, 0, 0),
        }),
        _ => None,
    }
}

fn paths(bytes: &[u8]) -> Option<Header> {
    let (src, dst) = bytes.split_at_checked(UnixPath::LENGTH)?;
    Some(Header::Unix { src: UnixPath::new(src)?, dst: UnixPath::new(dst)? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests;
