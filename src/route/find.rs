//! Facts to route: which of a listener's routes takes a session. Pure.

use std::net::IpAddr;

use crate::config::plan::{Match, NamePattern, Route};
use crate::intake::Facts;

/// What is known of a session when its route is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The client's address, if it has one.
    pub client: Option<IpAddr>,
    /// The port of this machine that it arrived at, if it did so by TCP.
    pub port: Option<u16>,
    /// What it says in TLS; None while it may still say it. A client that does not speak TLS says nothing.
    pub facts: Option<&'a Facts>,
    /// The first bytes of its stream that have come.
    pub head: &'a [u8],
    /// The host name that a PROXY header says it asked for, as all names are spelled.
    pub authority: Option<&'a str>,
}

/// The route that takes a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// This one, counted from 0.
    Route(usize),
    /// None of them, for certain.
    Nowhere,
    /// Not known until more has come.
    Undecided,
}

/// The first route that matches what is `shown`. One that may still match hides those behind it.
///
/// More bytes never change what is not undecided.
pub(super) fn find(routes: &[Route], shown: &Shown<'_>) -> Found {
    for (index, route) in routes.iter().enumerate() {
        match matches(&route.when, shown) {
            Some(true) => return Found::Route(index),
            Some(false) => {}
            None => return Found::Undecided,
        }
    }
    Found::Nowhere
}

/// Whether all that `when` asks for is there; None while that is not known. One thing that is certainly not there is
/// enough to know, whatever else is not.
fn matches(when: &Match, shown: &Shown<'_>) -> Option<bool> {
    let name = |patterns: &[NamePattern], name: Option<&str>| {
        name.is_some_and(|name| patterns.iter().any(|pattern| pattern.takes(name)))
    };
    let in_tls = |fits: &dyn Fn(&Facts) -> bool| shown.facts.map(fits);
    let answers = [
        asked(&when.source, || Some(shown.client.is_some_and(|ip| when.source.iter().any(|net| net.contains(&ip))))),
        asked(&when.port, || Some(shown.port.is_some_and(|port| when.port.contains(&port)))),
        asked(&when.authority, || Some(name(&when.authority, shown.authority))),
        asked(&when.sni, || in_tls(&|facts| name(&when.sni, facts.sni.as_deref()))),
        asked(&when.alpn, || in_tls(&|facts| facts.alpn.iter().any(|offer| when.alpn.contains(offer)))),
        asked(&when.client_san, || {
            in_tls(&|facts| facts.client_sans.iter().any(|san| when.client_san.iter().any(|words| words.takes(san))))
        }),
        when.prefix.as_deref().map_or(Some(true), |prefix| begins(shown.head, prefix)),
        when.regex.as_ref().map_or(Some(true), |pattern| pattern.judge(shown.head)),
    ];
    match (answers.contains(&Some(false)), answers.contains(&None)) {
        (true, _) => Some(false),
        (false, unknown) => (!unknown).then_some(true),
    }
}

/// What `answer` says, if anything is asked for at all.
fn asked<T>(wanted: &[T], answer: impl FnOnce() -> Option<bool>) -> Option<bool> {
    if wanted.is_empty() { Some(true) } else { answer() }
}

/// Whether a stream of which `head` has come begins with `prefix`.
fn begins(head: &[u8], prefix: &[u8]) -> Option<bool> {
    let alike = head.iter().zip(prefix).all(|(byte, wanted)| byte == wanted);
    if alike && head.len() < prefix.len() { None } else { Some(alike) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests;
