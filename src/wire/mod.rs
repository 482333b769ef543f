//! Formats of bytes on the wire: bytes in, values out, and the other way round. No I/O.
//!
//! A parser looks at all bytes that have come so far and takes what it needs off their front.

pub mod client_hello;
mod fields;
pub mod grpc;
pub mod mysql;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod x509;

/// What a parser makes of the bytes so far: a value and how many bytes it took, `None` while more are needed, or why
/// they can never become one.
pub type Parsed<T> = Result<Option<(T, usize)>, Malformed>;

/// Bytes that are not what they should be; says why, in words for a log. What a peer sent is escaped and cut in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

/// The longest piece of a peer's words that a message can bear, in bytes before they are escaped.
pub const LONGEST_SHOWN: usize = 120;

/// What a peer sent, for a message: printable, in quotes, and cut.
pub fn quoted(bytes: &[u8]) -> String {
    let shown: String =
        bytes.iter().take(LONGEST_SHOWN).flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
    let more = if bytes.len() > LONGEST_SHOWN { "…" } else { "" };
    format!("`{shown}{more}`")
}

/// Words of a library that may hold a peer's: printable and cut, without quotes.
pub fn legible(words: &str) -> String {
    /// Room for what the library says of its own around them.
    const LONGEST: usize = 2 * LONGEST_SHOWN;
    let mut chars = words.chars();
    let shown: String = chars.by_ref().take(LONGEST).flat_map(escaped).collect();
    let more = if chars.next().is_some() { "…" } else { "" };
    shown + more
}

/// Quotes stay as they are; what is not ASCII may be invisible, or turn the line around.
fn escaped(letter: char) -> impl Iterator<Item = char> {
    let plain = (letter == ' ' || letter.is_ascii_graphic()).then_some(letter);
    plain.into_iter().chain(plain.is_none().then(|| letter.escape_default()).into_iter().flatten())
}
