//! The client/server protocol of MySQL and MariaDB, as much of it as it takes to log in, ask one question and leave.
//!
//! As the MySQL Internals manual defines it (<https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>).

mod login;

pub use login::{Login, Plugin, answer_to_switch, handshake_response, login, native_scramble, sha2_scramble};

use super::fields::Fields;
use super::{Malformed, Parsed, quoted};

/// No packet of a login or of a one-row answer is longer, bytes.
pub const LONGEST: usize = 32 * 1024;
/// Ends a session that has begun.
pub const QUIT: [u8; 5] = [1, 0, 0, 0, 1];

/// A nonce of the server's, part of each proof of a password.
pub type Nonce = [u8; 20];

/// A packet, and its place in the exchange: the answer to it has the next number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// 0 for the first one of either side.
    pub sequence: u8,
    /// At least one byte.
    pub body: Vec<u8>,
}

/// The next packet.
///
/// # Errors
/// It is empty, or longer than [`LONGEST`].
pub fn packet(bytes: &[u8]) -> Parsed<Packet> {
    let Some(&[a, b, c, sequence]) = bytes.first_chunk() else { return Ok(None) };
    let length = u32::from_le_bytes([a, b, c, 0]) as usize;
    if !(1..=LONGEST).contains(&length) {
        return Err(Malformed(format!("not MySQL: {}", quoted(bytes))));
    }
    let body = bytes.get(4..4 + length);
    Ok(body.map(|body| (Packet { sequence, body: body.to_vec() }, 4 + length)))
}

/// `body` as a packet. It must be shorter than 16 MiB.
pub fn framed(sequence: u8, body: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = (body.len() as u32).to_le_bytes();
    [&[a, b, c, sequence], body].concat()
}

/// Asks in SQL.
pub fn query(sql: &str) -> Vec<u8> {
    framed(0, &[&[3], sql.as_bytes()].concat())
}

/// What a server says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Such as `8.4.3`, or `5.5.5-10.11.6-MariaDB`.
    pub version: Vec<u8>,
    /// For the proof of a password.
    pub nonce: Nonce,
    /// How it would like that to be done.
    pub plugin: Vec<u8>,
}

/// Why a server will not, or cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Such as 1045.
    pub code: u16,
    /// Code, state and message, escaped and cut.
    pub words: String,
}

/// The first packet: a greeting, or why there is none.
///
/// # Errors
/// It is neither, or the server is older than MySQL 5.5 and MariaDB 5.2.
pub fn greeting(body: &[u8]) -> Result<Result<Greeting, Refusal>, Malformed> {
    match body.first() {
        Some(0xff) => refusal(body).map(Err),
        Some(10) => match greeting_of(Fields(&body[1..])) {
            Some(greeting) => Ok(Ok(greeting)),
            None => Err(Malformed(format!("a greeting of MySQL that is cut short, or too old: {}", quoted(body)))),
        },
        _ => Err(Malformed(format!("not a greeting of MySQL: {}", quoted(body)))),
    }
}

fn greeting_of(mut body: Fields<'_>) -> Option<Greeting> {
    let version = body.until_nul()?.to_vec();
    let _thread = body.take(4)?;
    let salt: [u8; 8] = body.array()?;
    let _filler = body.byte()?;
    let low: [u8; 2] = body.array()?;
    let _character_set_and_status = body.take(3)?;
    let high: [u8; 2] = body.array()?;
    let _salt_length_and_reserved = body.take(11)?;
    let rest: [u8; 12] = body.array()?;
    let _zero = body.byte()?;
    let able = u32::from_le_bytes([low[0], low[1], high[0], high[1]]);
    if able & login::NEEDED != login::NEEDED {
        return None;
    }
    // Some versions of 5.5 and 5.6 forgot the zero.
    let plugin = body.until_nul().unwrap_or(body.0).to_vec();
    let mut nonce = [0; 20];
    nonce[..8].copy_from_slice(&salt);
    nonce[8..].copy_from_slice(&rest);
    Some(Greeting { version, nonce, plugin })
}

/// A packet that begins with 255.
fn refusal(body: &[u8]) -> Result<Refusal, Malformed> {
    let mut fields = Fields(&body[1..]);
    let Some(code) = fields.array().map(u16::from_le_bytes) else {
        return Err(Malformed(format!("an error of MySQL that is cut short: {}", quoted(body))));
    };
    // Before the login there is no state.
    let words = match fields.0.strip_prefix(b"#").and_then(|rest| rest.split_at_checked(5)) {
        Some((state, message)) => [format!("{code} ").as_bytes(), state, b": ", message].concat(),
        None => [format!("{code}: ").as_bytes(), fields.0].concat(),
    };
    Ok(Refusal { code, words: quoted(&words) })
}

/// The one value of a query that has one column and one row; `None` is NULL. Takes the whole answer.
///
/// # Errors
/// There are other columns or rows, or none.
pub fn value(bytes: &[u8]) -> Parsed<Result<Option<Vec<u8>>, Refusal>> {
    let mut rest = bytes;
    let mut next = || -> Parsed<Packet> {
        let found = packet(rest)?;
        rest = found.as_ref().map_or(rest, |(_, taken)| &rest[*taken..]);
        Ok(found)
    };
    let strange = |body: &[u8]| Malformed(format!("not an answer of one value: {}", quoted(body)));
    let Some((count, taken)) = next()? else { return Ok(None) };
    match count.body[..] {
        [0xff, ..] => return Ok(Some((Err(refusal(&count.body)?), taken))),
        [1] => {}
        _ => return Err(strange(&count.body)),
    }
    // The column's name and type, an end, the row, an end.
    let Some((_column, _)) = next()? else { return Ok(None) };
    let Some((end, _)) = next()? else { return Ok(None) };
    let Some((row, _)) = next()? else { return Ok(None) };
    if !is_end(&end.body) || is_end(&row.body) {
        return Err(strange(&row.body));
    }
    if row.body[0] == 0xff {
        return Ok(Some((Err(refusal(&row.body)?), bytes.len() - rest.len())));
    }
    let Some((end, _)) = next()? else { return Ok(None) };
    match (text(&row.body), is_end(&end.body)) {
        (Some(value), true) => Ok(Some((Ok(value), bytes.len() - rest.len()))),
        _ => Err(strange(&row.body)),
    }
}

/// Whether this packet ends columns or rows.
fn is_end(body: &[u8]) -> bool {
    body[0] == 0xfe && body.len() < 9
}

/// A row of one column that is shorter than 251 bytes, or NULL.
fn text(row: &[u8]) -> Option<Option<Vec<u8>>> {
    match row.split_first()? {
        (0xfb, []) => Some(None),
        (length, text) if usize::from(*length) == text.len() && *length < 0xfb => Some(Some(text.to_vec())),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
