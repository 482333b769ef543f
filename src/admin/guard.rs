//! Who may ask: no page of a foreign site, and for what needs it, only who knows the token.

use std::fmt;
use std::hint::black_box;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use hyper::http::request::Parts;
use hyper::{StatusCode, Version};

use super::answer::Refusal;
use crate::config::plan::{Admin, AdminAddress, Protect};
use crate::config::read_token;
use crate::tls::Server;

/// What a request does, as far as protection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Health: always answered.
    Open,
    /// Shows something.
    Read,
    /// Changes something.
    Write,
}

/// The rules of one endpoint.
#[derive(Debug)]
pub(super) struct Guard {
    reach: Reach,
    protect: Protect,
    token: Option<Token>,
}

/// Who can connect at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Whom the file's mode lets; no browser.
    Unix,
    /// This machine.
    Loopback,
    /// Anyone the network lets through.
    Network,
    /// The same, and there is nothing here but numbers to read.
    Metrics,
}

impl Guard {
    /// The rules of the admin endpoint; reads the token.
    ///
    /// # Errors
    /// The token cannot be read, or is empty.
    pub(super) fn admin(settings: &Admin) -> io::Result<Self> {
        let reach = match &settings.listen {
            AdminAddress::Unix(_) => Reach::Unix,
            AdminAddress::Ip(address) if address.ip().to_canonical().is_loopback() => Reach::Loopback,
            AdminAddress::Ip(_) => Reach::Network,
        };
        let token = settings.token_file.as_deref().map(Token::read).transpose()?;
        Ok(Self { reach, protect: settings.protect, token })
    }

    /// The rules of the metrics endpoint: scrapers know it by whatever name they were given.
    pub(super) fn metrics() -> Self {
        Self { reach: Reach::Metrics, protect: Protect::Writes, token: None }
    }

    /// Refuses requests that a page of another site made a browser send: those to a name (which that
    /// site may have pointed at this address), and those that say they come from elsewhere.
    ///
    /// With TLS, names of our own certificate are ours: a browser has verified that we have it, and sends nothing to a
    /// foreign name that leads here. A wildcard proves less: someone else may have a name under it.
    pub(super) fn check_site(&self, head: &Parts, tls: Option<&Server>) -> Result<(), Refusal> {
        let host = host(head)?;
        if let Some(host) = host.filter(|_| matches!(self.reach, Reach::Loopback | Reach::Network)) {
            let certified = tls.is_some_and(|server| server.is_called(without_port(host)));
            let detail = match tls {
                None => "the Host header must be an IP address or localhost",
                Some(_) => {
                    "the Host header must be an IP address, localhost, or a whole name of this endpoint's certificate"
                }
            };
            if !is_our_name(host) && !certified {
                return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, detail));
            }
        }
        let scheme = if tls.is_some() { "https://" } else { "http://" };
        let same = |origin: &str| host.is_some_and(|host| origin.strip_prefix(scheme) == Some(host));
        match head.headers.get_all(ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(same)) {
            true => Ok(()),
            false => Err(Refusal::new(StatusCode::FORBIDDEN, "requests of other sites are refused")),
        }
    }

    /// Asks for the token where it is needed.
    pub(super) fn check_token(&self, headers: &HeaderMap, access: Access) -> Result<(), Refusal> {
        if !self.needs_token(access) {
            return Ok(());
        }
        let Some(token) = &self.token else {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "this needs a token, and none is configured: set admin.token_file, or let admin.listen be loopback or unix:",
            ));
        };
        let given = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        match given {
            Some(given) if token.is(given) => Ok(()),
            Some(_) => Err(Refusal::unauthorized("this is not the token")),
            None => Err(Refusal::unauthorized("this needs the token: Authorization: Bearer TOKEN")),
        }
    }

    fn needs_token(&self, access: Access) -> bool {
        match (access, self.protect) {
            (Access::Open, _) => false,
            (_, Protect::All) => true,
            (Access::Read, Protect::Writes) => false,
            (Access::Write, Protect::Writes) => matches!(self.reach, Reach::Network | Reach::Metrics),
        }
    }
}

/// The one host that a request names, if it names one.
fn host(head: &Parts) -> Result<Option<&str>, Refusal> {
    let bad = |detail: &'static str| Err(Refusal::bad(detail));
    let mut hosts = head.headers.get_all(HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return bad("more than one Host header"),
        (Some(host), None) => match host.to_str() {
            Ok(host) => Some(host),
            Err(_) => return bad("the Host header is not text"),
        },
        // Only browsers can be tricked, and all of them send it.
        (None, _) if head.version < Version::HTTP_11 => None,
        (None, _) => return bad("no Host header"),
    };
    match head.uri.authority() {
        Some(authority) if named != Some(authority.as_str()) => bad("the Host header is not that of the request line"),
        _ => Ok(named),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Names that no foreign site can have pointed at us.
fn is_our_name(host: &str) -> bool {
    let name = without_port(host);
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// The token in `Bearer TOKEN`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// A secret. It is not shown, and comparing it takes as long whatever is wrong.
struct Token(Box<[u8]>);

impl Token {
    fn read(path: &Path) -> io::Result<Self> {
        Ok(Self(read_token(path)?.into()))
    }

    fn is(&self, given: &[u8]) -> bool {
        let differs = self.0.iter().zip(given).fold(0, |differs, (ours, theirs)| black_box(differs | (ours ^ theirs)));
        self.0.len() == given.len() && differs == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_our_names() {
        for ours in ["127.0.0.1", "127.0.0.1:9901", "[::1]:9901", "[::1]", "localhost", "LOCALHOST:1", "10.0.0.1:80"] {
            assert!(is_our_name(ours), "{ours}");
        }
        for foreign in
            ["evil.example", "evil.example:9901", "localhost.evil.example", "127.0.0.1.evil.example", "", ":80", "a@b"]
        {
            assert!(!is_our_name(foreign), "{foreign}");
        }
    }

    #[test]
    fn tokens_compare_whole() {
        let token = Token(b"secret".as_slice().into());
        assert!(token.is(b"secret"));
        for wrong in [b"secreT".as_slice(), b"secre", b"secrets", b""] {
            assert!(!token.is(wrong));
        }
        assert_eq!(bearer(b"Bearer  x "), Some(b"x".as_slice()));
        assert_eq!(bearer(b"Basic eDp5"), None);
    }

    #[test]
    fn the_token_is_needed_where_it_should_be() {
        use Access::{Open, Read, Write};
        let needs = |reach, protect| {
            let guard = Guard { reach, protect, token: None };
            [Open, Read, Write].map(|access| guard.needs_token(access))
        };
        assert_eq!(needs(Reach::Loopback, Protect::Writes), [false, false, false]);
        assert_eq!(needs(Reach::Unix, Protect::Writes), [false, false, false]);
        assert_eq!(needs(Reach::Network, Protect::Writes), [false, false, true]);
        assert_eq!(needs(Reach::Loopback, Protect::All), [false, true, true]);
        assert_eq!(needs(Reach::Network, Protect::All), [false, true, true]);
    }
}
