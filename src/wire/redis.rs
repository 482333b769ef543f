//! Redis' protocol (RESP 2), and what it says about roles.
//!
//! As <https://redis.io/docs/latest/develop/reference/protocol-spec/> defines it.

use super::{Malformed, Parsed, quoted};

/// No answer to a probe's commands is longer, bytes. A primary names each replica in 50 bytes or so.
pub const LONGEST: usize = 48 * 1024;
/// No answer to a probe's commands has longer arrays …
const MOST_ITEMS: usize = 1024;
/// … or deeper ones: `ROLE` of a primary has two levels.
const DEEPEST: usize = 4;

/// A reply of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(Vec<u8>),
    /// `-ERR no`
    Error(Vec<u8>),
    /// `:1`
    Integer(i64),
    /// A text with its length; `None` is null.
    Bulk(Option<Vec<u8>>),
    /// Replies; `None` is null.
    Array(Option<Vec<Reply>>),
}

/// A command with its arguments.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend_from_slice(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// The next reply.
///
/// # Errors
/// It is none, or larger than answers to a probe are.
pub fn reply(bytes: &[u8]) -> Parsed<Reply> {
    // What is longer needs not be looked at, however its parts are arranged.
    let seen = &bytes[..bytes.len().min(LONGEST)];
    match reply_at(seen, DEEPEST)? {
        None if bytes.len() > LONGEST => Err(Malformed(format!("a reply longer than {} KiB", LONGEST / 1024))),
        found => Ok(found),
    }
}

fn reply_at(bytes: &[u8], levels: usize) -> Parsed<Reply> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    if !b"+-:$*".contains(kind) {
        return Err(Malformed(format!("not Redis: {}", quoted(bytes))));
    }
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let (line, taken) = (&bytes[1..end], end + 2);
    let rest = &bytes[taken..];
    let found = match kind {
        b'+' => Some((Reply::Simple(line.to_vec()), 0)),
        b'-' => Some((Reply::Error(line.to_vec()), 0)),
        b':' => Some((Reply::Integer(number(line)?), 0)),
        b'$' => match length(line, LONGEST)? {
            None => Some((Reply::Bulk(None), 0)),
            Some(length) => bulk(rest, length)?,
        },
        _ => match length(line, MOST_ITEMS)? {
            None => Some((Reply::Array(None), 0)),
            Some(_) if levels == 0 => return Err(Malformed("a reply too deep".to_owned())),
            Some(count) => array(rest, count, levels - 1)?,
        },
    };
    Ok(found.map(|(reply, more)| (reply, taken + more)))
}

fn bulk(rest: &[u8], length: usize) -> Parsed<Reply> {
    match rest.get(..length + 2) {
        None => Ok(None),
        Some(bytes) if bytes.ends_with(b"\r\n") => Ok(Some((Reply::Bulk(Some(bytes[..length].to_vec())), bytes.len()))),
        Some(bytes) => Err(Malformed(format!("a text longer than it says: {}", quoted(bytes)))),
    }
}

fn array(rest: &[u8], count: usize, levels: usize) -> Parsed<Reply> {
    let (mut items, mut taken) = (Vec::new(), 0);
    for _ in 0..count {
        let Some((item, more)) = reply_at(&rest[taken..], levels)? else { return Ok(None) };
        items.push(item);
        taken += more;
    }
    Ok(Some((Reply::Array(Some(items)), taken)))
}

/// A length up to `most`; -1 is null.
fn length(line: &[u8], most: usize) -> Result<Option<usize>, Malformed> {
    match number(line)? {
        -1 => Ok(None),
        number => match usize::try_from(number) {
            Ok(length) if length <= most => Ok(Some(length)),
            _ => Err(Malformed(format!("a length of {number}"))),
        },
    }
}

fn number(line: &[u8]) -> Result<i64, Malformed> {
    let number = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Malformed(format!("not a number: {}", quoted(line))))
}

/// What a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows a primary.
    Replica {
        /// Whether it has its primary's data and hears of every change.
        follows: bool,
        /// `connect`, `connecting`, `sync` or `connected`; from `INFO`, `up` or `down`.
        link: Vec<u8>,
    },
    /// `sentinel`, or what nobody has thought of yet.
    Other(Vec<u8>),
}

/// What a reply to `ROLE` says.
///
/// # Errors
/// Not that.
pub fn role(reply: &Reply) -> Result<Role, Malformed> {
    let strange = || Malformed("not an answer to ROLE".to_owned());
    let Reply::Array(Some(items)) = reply else { return Err(strange()) };
    let text = |at: usize| match items.get(at) {
        Some(Reply::Bulk(Some(text)) | Reply::Simple(text)) => Ok(text.clone()),
        _ => Err(strange()),
    };
    Ok(match &text(0)?[..] {
        b"master" => Role::Primary,
        b"slave" => {
            let link = text(3)?;
            Role::Replica { follows: link == b"connected", link }
        }
        other => Role::Other(other.to_vec()),
    })
}

/// The same from the lines of `INFO replication`, where `ROLE` is not known or not allowed.
///
/// # Errors
/// There is no role in them.
pub fn role_from_info(lines: &[u8]) -> Result<Role, Malformed> {
    let field = |name: &[u8]| {
        let mut found = lines.split(|byte| *byte == b'\n').filter_map(|line| line.trim_ascii_end().strip_prefix(name));
        found.next().map(<[u8]>::to_vec)
    };
    Ok(match field(b"role:").as_deref() {
        Some(b"master") => Role::Primary,
        Some(b"slave") => {
            let link = field(b"master_link_status:").unwrap_or_default();
            Role::Replica { follows: link == b"up", link }
        }
        Some(other) => Role::Other(other.to_vec()),
        None => return Err(Malformed(format!("no role in {}", quoted(lines)))),
    })
}

#[cfg(test)]
mod tests;
