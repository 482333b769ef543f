//! The first message of a TLS client, read without taking part in the handshake: what it wants is said there in clear.
//!
//! As RFC 8446 (section 4.1.2) and those before it lay it out, server names by RFC 6066 (section 3), protocols by RFC 7301
//! (section 3.1). It judges the form alone: a hello of versions or ciphers that nobody should use any more is one, and
//! what to make of it is for the server that gets it. What the form leaves open, so that two readers could take two
//! meanings from it, is malformed. Of a hello that hides another one (ECH) the outer one is read, as is intended there.

mod name;

use std::net::IpAddr;

use super::fields::Fields;
use super::{Malformed, quoted};

pub use name::host_name;

/// A hello ends within so many bytes of the stream, the headers of its records included. Real ones have some hundred
/// bytes, those with keys of ML-KEM below two thousand; without a limit each client could have us keep 16 MiB.
pub const LONGEST: usize = 16 * 1024;
/// Protocols that are taken from one hello; clients have a handful.
pub const MOST_PROTOCOLS: usize = 32;

/// What the bytes so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Glimpse {
    /// The beginning of a hello, or nothing at all. Never said of [`LONGEST`] bytes or more.
    NeedMore,
    /// Not TLS, whatever may follow. SSL 2 is not TLS either, nor is its way of greeting servers of SSL 3.
    NotTls,
    /// A whole hello. What follows it does not change it.
    Hello(Hello),
    /// TLS, and no hello that has one meaning, whatever may follow; or too long.
    Malformed(Malformed),
}

/// What a client says it wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hello {
    /// The host it wants, as [`host_name`] spells it. An IP address is none: RFC 6066 does not allow one.
    pub server_name: Option<Box<str>>,
    /// The application protocols it offers, the preferred one first; at most [`MOST_PROTOCOLS`] of 255 bytes.
    pub alpn: Vec<Box<[u8]>>,
    /// The newest version it offers, as it travels: 0x0304 is TLS 1.3.
    pub version: u16,
}

/// Types of records and of messages.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Of all versions since SSL 3, the high byte.
const MAJOR: u8 = 3;
/// A record's header: type, version, length.
const RECORD_HEADER: usize = 5;
/// What a record may hold in clear (RFC 8446, 5.1).
const LONGEST_RECORD: usize = 1 << 14;
/// A message's header: type, length.
const MESSAGE_HEADER: usize = 4;

/// Types of extensions.
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// Looks at the bytes that a stream begins with, all that have come so far.
///
/// Once it has said anything but [`Glimpse::NeedMore`], more bytes do not change that. The work is one step a record,
/// and a copy of the message once it is whole, so that a client that sends single bytes costs little more than they do.
pub fn client_hello(bytes: &[u8]) -> Glimpse {
    let expected = [HANDSHAKE, MAJOR];
    if expected.iter().zip(bytes).any(|(expected, byte)| expected != byte) {
        return Glimpse::NotTls;
    }
    let within = &bytes[..bytes.len().min(LONGEST)];
    match message(within).and_then(|body| body.map(|body| hello(&body)).transpose()) {
        Ok(Some(hello)) => Glimpse::Hello(hello),
        Ok(None) if bytes.len() < LONGEST => Glimpse::NeedMore,
        Ok(None) => Glimpse::Malformed(too_long()),
        Err(error) => Glimpse::Malformed(error),
    }
}

fn malformed(what: &str) -> Malformed {
    Malformed(format!("a ClientHello with {what}"))
}

fn too_long() -> Malformed {
    Malformed(format!("a ClientHello that does not end within {LONGEST} bytes"))
}

/// The first message, put together from the records that hold it, without its header; None if it is not all there.
fn message(bytes: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let (mut start, mut there) = ([0; MESSAGE_HEADER], 0);
    for fragment in Records(bytes) {
        let fragment = fragment?;
        let wanted = MESSAGE_HEADER.saturating_sub(there).min(fragment.len());
        start[there.min(MESSAGE_HEADER)..][..wanted].copy_from_slice(&fragment[..wanted]);
        there += fragment.len();
        judge(&start[..there.min(MESSAGE_HEADER)])?;
        let whole = MESSAGE_HEADER + length(start);
        if there >= MESSAGE_HEADER && there >= whole {
            let parts: Vec<&[u8]> = Records(bytes).map_while(Result::ok).collect();
            return Ok(parts.concat().get(MESSAGE_HEADER..whole).map(<[u8]>::to_vec));
        }
    }
    Ok(None)
}

/// Says early what cannot become a hello that is short enough.
fn judge(start: &[u8]) -> Result<(), Malformed> {
    match start {
        [kind, ..] if *kind != CLIENT_HELLO => Err(Malformed(format!("TLS begins with a message of type {kind}"))),
        [_, high, ..] if *high > 0 => Err(too_long()),
        [_, high, middle, low] if length([0, *high, *middle, *low]) > LONGEST => Err(too_long()),
        _ => Ok(()),
    }
}

/// The length in a message's header, 24 bits.
fn length([_, high, middle, low]: [u8; MESSAGE_HEADER]) -> usize {
    u32::from_be_bytes([0, high, middle, low]) as usize
}

/// What the records in some bytes hold, the last one as far as it is there, and an error last if what follows is no
/// record of a handshake.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let expected = [HANDSHAKE, MAJOR];
        if expected.iter().zip(self.0).any(|(expected, byte)| expected != byte) {
            self.0 = &[];
            return Some(Err(malformed("something else between its records")));
        }
        let (header, rest) = self.0.split_first_chunk::<RECORD_HEADER>()?;
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 || length > LONGEST_RECORD {
            self.0 = &[];
            return Some(Err(malformed("a record that is empty or longer than 16 KiB")));
        }
        let (fragment, rest) = rest.split_at(length.min(rest.len()));
        self.0 = rest;
        Some(Ok(fragment))
    }
}

/// The body of the message (RFC 8446, 4.1.2).
fn hello(body: &[u8]) -> Result<Hello, Malformed> {
    let mut body = Fields(body);
    let (version, [session, ciphers, compression]) = front(&mut body).ok_or_else(|| malformed("too few bytes"))?;
    if session > 32 || ciphers == 0 || ciphers % 2 == 1 || compression == 0 {
        return Err(malformed("a session id, ciphers or compression methods of a length that cannot be"));
    }
    let mut hello = Hello { version, ..Hello::default() };
    // Before TLS 1.2 nothing need follow.
    if !body.0.is_empty() {
        let extensions = body.prefixed_16().filter(|_| body.0.is_empty());
        hello.read(extensions.ok_or_else(|| malformed("extensions that do not end where it does"))?)?;
    }
    Ok(hello)
}

/// What stands before the extensions: the version, and the lengths of session id, ciphers and compression methods.
fn front(body: &mut Fields<'_>) -> Option<(u16, [usize; 3])> {
    let version = body.number()?;
    body.take(32)?; // random
    let lists = [body.prefixed_8()?, body.prefixed_16()?, body.prefixed_8()?];
    Some((version, lists.map(|list| list.0.len())))
}

impl Hello {
    fn read(&mut self, mut extensions: Fields<'_>) -> Result<(), Malformed> {
        let mut seen = Vec::new();
        while !extensions.0.is_empty() {
            let extension = extensions.number().zip(extensions.prefixed_16());
            let (kind, value) = extension.ok_or_else(|| malformed("an extension that is cut"))?;
            seen.push(kind);
            match kind {
                SERVER_NAME => self.server_name = server_name(value)?,
                ALPN => self.alpn = protocols(value)?,
                SUPPORTED_VERSIONS => self.version = newest(value)?.unwrap_or(self.version),
                _ => {}
            }
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        // Of two, each reader could take another.
        if seen.len() == count { Ok(()) } else { Err(malformed("the same extension twice")) }
    }
}

/// The one host name of the list (RFC 6066, section 3).
fn server_name(mut value: Fields<'_>) -> Result<Option<Box<str>>, Malformed> {
    const HOST_NAME: u8 = 0;
    let cut = || malformed("a list of names that is cut");
    let mut names = value.prefixed_16().filter(|names| value.0.is_empty() && !names.0.is_empty()).ok_or_else(cut)?;
    let mut found = None;
    while !names.0.is_empty() {
        let (kind, name) = names.byte().zip(names.prefixed_16()).ok_or_else(cut)?;
        if kind == HOST_NAME && found.replace(name.0).is_some() {
            return Err(malformed("two host names"));
        }
    }
    found.map_or(Ok(None), host)
}

fn host(name: &[u8]) -> Result<Option<Box<str>>, Malformed> {
    let text = str::from_utf8(name).unwrap_or_default();
    match (text.strip_suffix('.').unwrap_or(text).parse::<IpAddr>(), host_name(text)) {
        (Ok(_), _) => Ok(None),
        (_, Some(name)) => Ok(Some(name.into())),
        (_, None) => Err(Malformed(format!("a ClientHello for {}, which is no host name", quoted(name)))),
    }
}

/// The protocols in their order (RFC 7301, section 3.1).
fn protocols(mut value: Fields<'_>) -> Result<Vec<Box<[u8]>>, Malformed> {
    let cut = || malformed("a list of protocols that is cut");
    let mut names = value.prefixed_16().filter(|names| value.0.is_empty() && !names.0.is_empty()).ok_or_else(cut)?;
    let mut found = Vec::new();
    while !names.0.is_empty() {
        let name = names.prefixed_8().filter(|name| !name.0.is_empty()).ok_or_else(cut)?;
        found.push(name.0.into());
        if found.len() > MOST_PROTOCOLS {
            return Err(malformed("more protocols than any client speaks"));
        }
    }
    Ok(found)
}

/// The newest of the versions that are offered, without those that are there to keep servers tolerant (RFC 8701).
fn newest(mut value: Fields<'_>) -> Result<Option<u16>, Malformed> {
    let list = value.prefixed_8().filter(|list| value.0.is_empty() && list.0.len() % 2 == 0);
    let list = list.ok_or_else(|| malformed("a list of versions that is cut"))?;
    let versions = list.0.as_chunks::<2>().0.iter().map(|version| u16::from_be_bytes(*version));
    Ok(versions.filter(|version| version >> 8 == u16::from(MAJOR)).max())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests;
