//! What rustls says, for an operator.

use std::fmt;

use rustls::{AlertDescription, Error};

use super::Unsecured;
use crate::wire::legible;

/// What is wrong, in words. What the peer supplied is escaped and cut in them.
pub(crate) fn words(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => format!("alert: {}", spaced(*alert)),
        Error::InvalidMessage(_) => format!("not TLS: {}", legible(&error.to_string())),
        other => legible(&other.to_string()),
    }
}

impl fmt::Display for Unsecured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => f.write_str(&words(error)),
            Self::Left => f.write_str("it closed the connection during the handshake"),
            Self::Broken(error) => write!(f, "connection lost during the handshake: {error}"),
        }
    }
}

/// `HandshakeFailure` as words.
fn spaced(alert: AlertDescription) -> String {
    let name = format!("{alert:?}");
    if !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return format!("number {}", u8::from(alert));
    }
    let mut spaced = String::new();
    let mut before = ' ';
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
            spaced.push(' ');
        }
        spaced.push(letter.to_ascii_lowercase());
        before = letter;
    }
    spaced
}
