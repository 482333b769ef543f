//! What a client shows of what it wants.

use std::fmt;
use std::time::Duration;

use crate::tls::Session;
use crate::wire::proxy::Ssl;

/// What a client shows before its session is routed: in its TLS ClientHello, or in a handshake that ended here.
///
/// Everything in it is a peer's word, bounded by whoever reads it; a log escapes and cuts it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The host name it asks for: lower-cased, without a trailing dot, at most 253 bytes of letters, digits, `-`, `_`
    /// and dots.
    pub sni: Option<Box<str>>,
    /// The application protocols it offers, the preferred one first; of a handshake that ended here the one that was
    /// agreed on.
    pub alpn: Vec<Box<[u8]>>,
    /// Names in the certificate it has shown, and that was verified here: URIs, DNS names, mail addresses.
    pub client_sans: Vec<Box<str>>,
    /// The TLS that ends here, if it does.
    pub secure: Option<Secure>,
}

/// TLS between a client and this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secure {
    /// What is spoken.
    pub session: Session,
    /// Whether the client has shown a certificate. One that could not be verified has ended the handshake.
    pub verified: bool,
    /// The common name in it; nothing to rely on.
    pub common_name: Option<Box<str>>,
    /// From accept to the end of the handshake.
    pub took: Duration,
}

impl Secure {
    /// What a PROXY header tells of it.
    pub fn told(&self) -> Vec<u8> {
        let Session { version, cipher, resumed } = self.session;
        let common_name = self.common_name.as_deref();
        Ssl { version, cipher, verified: self.verified, resumed, common_name }.value()
    }
}

impl Facts {
    /// The one protocol that is in use for certain, if there is one.
    pub fn protocol(&self) -> Option<&[u8]> {
        match self.alpn.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The protocols for a log, with commas between; None if there are none.
    pub fn protocols(&self) -> Option<impl fmt::Display + use<'_>> {
        (!self.alpn.is_empty()).then_some(Protocols(&self.alpn))
    }
}

struct Protocols<'a>(&'a [Box<[u8]>]);

impl fmt::Display for Protocols<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, protocol) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}", protocol.escape_ascii())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_shown_in_order_and_only_a_single_one_is_certain() {
        let facts = |alpn: &[&[u8]]| Facts { alpn: alpn.iter().map(|one| (*one).into()).collect(), ..Facts::default() };
        let two = facts(&[b"h2", b"\x1b[2J"]);
        assert_eq!(two.protocols().map(|shown| shown.to_string()).as_deref(), Some("h2,\\x1b[2J"));
        assert_eq!((two.protocol(), facts(&[b"h2"]).protocol()), (None, Some(b"h2".as_slice())));
        assert!(facts(&[]).protocols().is_none());
    }
}
