//! Where a listener's sessions go, by what they show.

mod pattern;

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

pub use pattern::{BadPattern, HeadPattern, Words};

/// One of a listener's `routes`.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// What a session must show; all of it.
    pub when: Match,
    /// Where it goes then.
    pub to: Destination,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To a pool.
    Pool(Arc<str>),
    /// To one of several.
    Split(Split),
    /// Nowhere: it is reset.
    Reject,
    /// Nowhere: it is held in silence, and reset in the end.
    Drop,
}

/// `split`: pools that share sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Each pool's name and its share relative to the others; some share is not 0, and no name is there twice.
    pub to: Vec<(Arc<str>, u32)>,
    /// Whether clients of one address stay with one pool.
    pub sticky: bool,
}

/// What a session must show. A list that is empty asks for nothing; of one that is not, any item will do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Match {
    /// Names of hosts in the TLS hello.
    pub sni: Vec<NamePattern>,
    /// Application protocols offered in it.
    pub alpn: Vec<Box<[u8]>>,
    /// Networks of the client's address.
    pub source: Vec<IpNet>,
    /// Ports of this machine that it arrived at.
    pub port: Vec<u16>,
    /// The first bytes; not empty.
    pub prefix: Option<Box<[u8]>>,
    /// What they match.
    pub regex: Option<HeadPattern>,
    /// Names of hosts that a PROXY header says the client asked for.
    pub authority: Vec<NamePattern>,
    /// Names in the client's certificate, `*` for anything.
    pub client_san: Vec<Words>,
}

/// A host name, or a set of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamePattern {
    /// `*`: any name at all, but a name.
    Any,
    /// `*.example.com`: this parent with exactly one label before it, as in certificates (RFC 6125, section 6.4.3).
    Child(Box<str>),
    /// This name, in the spelling of [`crate::wire::client_hello::host_name`].
    Name(Box<str>),
}

impl Route {
    /// The pools it may lead to.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<str>> {
        let (one, several) = match &self.to {
            Destination::Pool(pool) => (Some(pool), [].as_slice()),
            Destination::Split(split) => (None, split.to.as_slice()),
            Destination::Reject | Destination::Drop => (None, [].as_slice()),
        };
        one.into_iter().chain(several.iter().map(|(pool, _)| pool))
    }
}

impl Match {
    /// Whether every session that shows `other` shows this as well, as far as the words alone tell. Then a route of
    /// `other` that comes later is never reached.
    pub fn covers(&self, other: &Self) -> bool {
        let prefix = match (&self.prefix, &other.prefix) {
            (None, _) => true,
            (Some(short), Some(long)) => long.starts_with(short),
            (Some(_), None) => false,
        };
        prefix
            && (self.regex.is_none() || self.regex == other.regex)
            && all_within(&self.sni, &other.sni, NamePattern::covers)
            && all_within(&self.authority, &other.authority, NamePattern::covers)
            && all_within(&self.source, &other.source, |outer, inner| outer.contains(inner))
            && all_within(&self.alpn, &other.alpn, PartialEq::eq)
            && all_within(&self.port, &other.port, PartialEq::eq)
            && all_within(&self.client_san, &other.client_san, PartialEq::eq)
    }
}

/// Whether whatever one of `inner` takes, one of `outer` does; an empty list takes everything.
fn all_within<T>(outer: &[T], inner: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    outer.is_empty() || !inner.is_empty() && inner.iter().all(|inner| outer.iter().any(|outer| covers(outer, inner)))
}

impl NamePattern {
    /// Whether `name`, spelled as they all are, is one of those meant.
    pub fn takes(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Child(parent) => name.split_once('.').is_some_and(|(_, rest)| *rest == **parent),
            Self::Name(own) => *name == **own,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Name(name) => self.takes(name),
            Self::Child(_) | Self::Any => *self == Self::Any || self == other,
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Child(parent) => write!(f, "*.{parent}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(parent: &str) -> NamePattern {
        NamePattern::Child(parent.into())
    }

    fn name(name: &str) -> NamePattern {
        NamePattern::Name(name.into())
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let takes = |pattern: NamePattern| ["x", "a.x", "b.a.x", "ax"].map(|name| pattern.takes(name));
        assert_eq!(takes(NamePattern::Any), [true; 4]);
        assert_eq!(takes(child("x")), [false, true, false, false]);
        assert_eq!(takes(child("a.x")), [false, false, true, false]);
        assert_eq!(takes(name("a.x")), [false, true, false, false]);
    }

    #[test]
    fn what_takes_no_less_covers() {
        let names = |sni: &[NamePattern]| Match { sni: sni.to_vec(), ..Match::default() };
        let wide = names(&[child("x"), name("y")]);
        assert!(wide.covers(&names(&[name("a.x")])) && wide.covers(&names(&[name("y"), child("x")])));
        assert!(!wide.covers(&names(&[name("a.x"), name("z")])) && !wide.covers(&names(&[name("a.b.x")])));
        assert!(!wide.covers(&Match::default()) && Match::default().covers(&wide));
        assert!(names(&[NamePattern::Any]).covers(&wide) && !wide.covers(&names(&[NamePattern::Any])));
        // More that must be shown is less that is taken.
        let narrow = Match { port: vec![1], ..wide.clone() };
        assert!(wide.covers(&narrow) && !narrow.covers(&wide));
        let net = |text: &str| Match { source: vec![text.parse().expect("a network")], ..Match::default() };
        assert!(net("10.0.0.0/8").covers(&net("10.1.0.0/16")) && !net("10.1.0.0/16").covers(&net("10.0.0.0/8")));
        let prefix = |text: &str| Match { prefix: Some(text.as_bytes().into()), ..Match::default() };
        assert!(prefix("S").covers(&prefix("SSH")) && !prefix("SSH").covers(&prefix("S")));
        assert!(!prefix("S").covers(&Match::default()));
    }
}
