//! Formats of bytes on the wire: bytes in, values out, and the other way round. No I/O.
//!
//! A parser looks at all bytes that have come so far and takes what it needs off their front.

mod fields;
pub mod mysql;
pub mod postgres;
pub mod proxy;
pub mod redis;

/// What a parser makes of the bytes so far: a value and how many bytes it took, `None` while more are needed, or why
/// they can never become one.
pub type Parsed<T> = Result<Option<(T, usize)>, Malformed>;

/// Bytes that are not what they should be; says why, in words for a log. What a peer sent is escaped and cut in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

/// What a peer sent, for a message: printable, in quotes, and not longer than a message can bear.
pub fn quoted(bytes: &[u8]) -> String {
    const LONGEST: usize = 120;
    let shown: String =
        bytes.iter().take(LONGEST).flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
    let more = if bytes.len() > LONGEST { "…" } else { "" };
    format!("`{shown}{more}`")
}
