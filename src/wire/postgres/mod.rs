//! PostgreSQL's frontend/backend protocol 3.0, as much of it as it takes to log in, ask one question and leave.
//!
//! As chapter 55 of PostgreSQL's manual defines it (<https://www.postgresql.org/docs/current/protocol.html>).

mod opening;
pub mod scram;

use md5::{Digest, Md5};

use super::fields::Fields;
use super::{Malformed, Parsed, quoted};

pub use opening::{Opening, SSL_REQUEST, UNWILLING, WILLING, answer, opening};

/// No message of a login or of a one-row answer is longer, bytes; libpq expects at most 30 000 of an error.
pub const LONGEST: usize = 32 * 1024;

/// Asks whether the connection is to be encrypted by GSSAPI; the answer is one byte, see [`encryption`]. A length, and
/// in place of a protocol's version one that cannot be: 1234.5680.
pub const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
/// Ends a session that has begun. Not for one that is still logging in: there the server says it is a protocol error.
pub const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// The first message of a session. The texts must have no zero byte; what follows one would be lost.
pub fn startup(user: &str, database: Option<&str>) -> Vec<u8> {
    let mut body = vec![0, 3, 0, 0];
    let database = database.map(|database| ("database", database));
    for (name, value) in [("user", user), ("application_name", "peerway")].into_iter().chain(database) {
        for text in [name, value] {
            body.extend(text.bytes().take_while(|byte| *byte != 0));
            body.push(0);
        }
    }
    body.push(0);
    [length(&body).as_slice(), &body].concat()
}

/// Answers [`Authentication::Cleartext`] with the password, and [`Authentication::Md5`] with [`md5_answer`].
pub fn password(answer: &[u8]) -> Vec<u8> {
    framed(b'p', &[answer, &[0]].concat())
}

/// What [`Authentication::Md5`] wants to see: `md5` and the sum, in hexadecimal, of what the server keeps and its salt.
pub fn md5_answer(user: &str, password: &[u8], salt: [u8; 4]) -> Vec<u8> {
    let hex = |parts: [&[u8]; 2]| -> String {
        let digest = Md5::new().chain_update(parts[0]).chain_update(parts[1]).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let kept = hex([password, user.as_bytes()]);
    format!("md5{}", hex([kept.as_bytes(), &salt])).into_bytes()
}

/// Chooses a SASL mechanism and says its first words.
pub fn sasl_initial(mechanism: &str, words: &[u8]) -> Vec<u8> {
    framed(b'p', &[mechanism.as_bytes(), &[0], &(words.len() as u32).to_be_bytes(), words].concat())
}

/// Goes on with what SASL has begun.
pub fn sasl_response(words: &[u8]) -> Vec<u8> {
    framed(b'p', words)
}

/// Asks in SQL, by the simple protocol.
pub fn query(sql: &str) -> Vec<u8> {
    framed(b'Q', &[sql.as_bytes(), &[0]].concat())
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], length(body).as_slice(), body].concat()
}

/// The length that stands before `body`: it counts itself.
fn length(body: &[u8]) -> [u8; 4] {
    (body.len() as u32 + 4).to_be_bytes()
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// About who we are.
    Authentication(Authentication),
    /// A setting, now and whenever it changes.
    Parameter {
        /// Such as `in_hot_standby`.
        name: Vec<u8>,
        /// Such as `off`.
        value: Vec<u8>,
    },
    /// It will not, or cannot; at any time.
    Error(Refusal),
    /// A row of an answer, of which this is the first column; `None` is NULL, or no column.
    Row(Option<Vec<u8>>),
    /// It waits for a query.
    Ready,
    /// Something that can be passed over.
    Other,
}

/// What a server wants to know of who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Nothing more.
    Ok,
    /// The password itself.
    Cleartext,
    /// [`md5_answer`] to this salt.
    Md5([u8; 4]),
    /// One of these SASL mechanisms, and its first words.
    Sasl(Vec<Vec<u8>>),
    /// What SASL says next.
    SaslContinue(Vec<u8>),
    /// What SASL says last.
    SaslFinal(Vec<u8>),
    /// Kerberos, SSPI or something else that nobody types into a file; the number that stands for it.
    Other(u32),
}

/// Why a server will not, or cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `SQLSTATE`, such as `57P03`; empty from servers that could not even start a process for us.
    pub code: Vec<u8>,
    /// Severity, code and message, escaped and cut.
    pub words: String,
}

/// The next message of a server.
///
/// # Errors
/// It is none, or longer than [`LONGEST`].
pub fn message(bytes: &[u8]) -> Parsed<Message> {
    let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
    if !b"RSENKvZTDCIA".contains(&kind) {
        return Err(Malformed(format!("not PostgreSQL: {}", quoted(bytes))));
    }
    let Some(length) = rest.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) else { return Ok(None) };
    if !(4..=LONGEST).contains(&length) {
        return match kind {
            b'E' => wordless(rest),
            _ => Err(Malformed(format!("not PostgreSQL: {}", quoted(bytes)))),
        };
    }
    let Some(body) = rest.get(4..length) else { return Ok(None) };
    match body_of(kind, Fields(body)) {
        Some(message) => Ok(Some((message, 1 + length))),
        None => Err(Malformed(format!("PostgreSQL's message `{}` makes no sense: {}", char::from(kind), quoted(body)))),
    }
}

/// An error as protocol 2 had it, text and a zero: from a server that has no process to speak protocol 3 with.
fn wordless(rest: &[u8]) -> Parsed<Message> {
    match rest.iter().position(|byte| *byte == 0) {
        Some(end) => {
            let words = quoted(rest[..end].trim_ascii());
            Ok(Some((Message::Error(Refusal { code: Vec::new(), words }), 1 + end + 1)))
        }
        None if rest.len() > LONGEST => Err(Malformed(format!("not PostgreSQL: {}", quoted(rest)))),
        None => Ok(None),
    }
}

fn body_of(kind: u8, mut body: Fields<'_>) -> Option<Message> {
    Some(match kind {
        b'R' => Message::Authentication(authentication(body)?),
        b'S' => Message::Parameter { name: body.until_nul()?.to_vec(), value: body.until_nul()?.to_vec() },
        b'E' => Message::Error(refusal(body)?),
        b'D' => Message::Row(first_column(body)?),
        b'Z' => Message::Ready,
        _ => Message::Other,
    })
}

fn authentication(mut body: Fields<'_>) -> Option<Authentication> {
    Some(match u32::from_be_bytes(body.array()?) {
        0 => Authentication::Ok,
        3 => Authentication::Cleartext,
        5 => Authentication::Md5(body.array()?),
        10 => Authentication::Sasl(mechanisms(body)?),
        11 => Authentication::SaslContinue(body.0.to_vec()),
        12 => Authentication::SaslFinal(body.0.to_vec()),
        other => Authentication::Other(other),
    })
}

/// Names that each end with a zero, and an empty one.
fn mechanisms(mut body: Fields<'_>) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    loop {
        match body.until_nul()? {
            [] => return Some(found),
            name => found.push(name.to_vec()),
        }
    }
}

/// Fields that each begin with a letter and end with a zero, and a zero.
fn refusal(mut body: Fields<'_>) -> Option<Refusal> {
    let (mut severity, mut code, mut message): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
    loop {
        match body.byte()? {
            0 => break,
            b'S' if severity.is_empty() => severity = body.until_nul()?,
            // The same, and never translated; since 9.6.
            b'V' => severity = body.until_nul()?,
            b'C' => code = body.until_nul()?,
            b'M' => message = body.until_nul()?,
            _ => drop(body.until_nul()?),
        }
    }
    let words = quoted(&[severity, b" ", code, b": ", message].concat());
    Some(Refusal { code: code.to_vec(), words })
}

fn first_column(mut body: Fields<'_>) -> Option<Option<Vec<u8>>> {
    if u16::from_be_bytes(body.array()?) == 0 {
        return Some(None);
    }
    match i32::from_be_bytes(body.array()?) {
        -1 => Some(None),
        length => Some(Some(body.take(usize::try_from(length).ok()?)?.to_vec())),
    }
}

/// The answer to [`GSSENC_REQUEST`]: one byte, or an error of a server that does not know it.
///
/// # Errors
/// Neither `G`, `N` nor an error.
pub fn encryption(bytes: &[u8]) -> Parsed<Result<(), Refusal>> {
    match bytes.first() {
        None => Ok(None),
        Some(b'G' | b'N') => Ok(Some((Ok(()), 1))),
        Some(b'E') => Ok(message(bytes)?.and_then(|(message, taken)| match message {
            Message::Error(refusal) => Some((Err(refusal), taken)),
            _ => None,
        })),
        Some(_) => Err(Malformed(format!("not PostgreSQL: {}", quoted(bytes)))),
    }
}

#[cfg(test)]
mod tests;
