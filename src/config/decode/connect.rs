//! `connect`: how a backend is reached.

use std::net::IpAddr;
use std::time::Duration;

use super::super::check::chosen;
use super::super::plan::{Backend, BackendAddress, Backoff, Connect, Hedge, RetryBudget, SendProxy};
use super::super::scalar;
use super::super::section::{Found, Section, is_word};
use super::super::tree::Node;
use super::super::units::format_duration;
use super::{Decoder, small};

impl<'a> Decoder<'a, '_> {
    pub(super) fn connect(&mut self, section: &Section<'a>, backends: &[Backend]) -> Connect {
        let timeout = section.value("timeout", scalar::duration);
        let attempts = section.value("attempts", small);
        Connect {
            timeout,
            attempts,
            deadline: section.value("deadline", scalar::duration),
            retry_budget: retry_budget(&section.section("retry_budget")),
            backoff: self.backoff(&section.section("backoff")),
            hedge_after: self.hedge_after(section, timeout, attempts),
            source: self.source(section, backends).into(),
            transparent: self.transparent(section, backends),
            send_proxy: section.given("send_proxy", send_proxy).flatten(),
        }
    }

    fn backoff(&mut self, backoff: &Section<'a>) -> Backoff {
        let (base, max) = (backoff.value("base", scalar::duration), backoff.value("max", scalar::duration));
        if base > max {
            let found = backoff.find("base").or_else(|| backoff.find("max"));
            let (at, path) = found.map_or((backoff.at, backoff.path.clone()), |found| (found.node.at, found.path));
            let show = format_duration;
            self.report.error(at, &path, format!("`base`, {}, is longer than `max`, {}", show(base), show(max)));
        }
        Backoff { base, max }
    }

    /// `hedge_after`, refused where no hedge would ever start.
    fn hedge_after(&mut self, section: &Section<'a>, timeout: Duration, attempts: u32) -> Option<Hedge> {
        let found = section.find("hedge_after")?;
        let hedge = section.optional("hedge_after", hedge)?;
        // Both may come from `defaults`, and only one of the two be wrong there.
        let place = |name| section.find(name).map(|found| found.node.at);
        if attempts < 2 {
            let at = place("attempts").map_or_else(String::new, |at| format!(" at {}", self.report.show(at)));
            let message = format!(
                "a hedge is a second attempt, and `attempts`{at} is {attempts}: make it at least 2, or this `off`"
            );
            self.report.error(found.node.at, &found.path, message);
        }
        if let Hedge::After(after) = hedge
            && after >= timeout
        {
            let at = place("timeout").map_or_else(String::new, |at| format!(" at {}", self.report.show(at)));
            let message = format!(
                "a hedge after {} would never start: an attempt ends at its `timeout`{at}, {}; make this shorter, or `off`",
                format_duration(after),
                format_duration(timeout)
            );
            self.report.error(found.node.at, &found.path, message);
        }
        Some(hedge)
    }

    /// Whether sessions connect from their client's address.
    fn transparent(&mut self, section: &Section<'a>, backends: &[Backend]) -> bool {
        let Some(found) = section.find("source").filter(is_client) else { return false };
        let unix = |backend: &&Backend| matches!(backend.address, BackendAddress::Unix(_));
        if let Some(backend) = backends.iter().find(unix) {
            let message = format!(
                "backend `{}` is a unix socket, and nobody connects to one from an address: use `send_proxy` to tell it who \
                 the client is",
                backend.name
            );
            self.report.error(found.node.at, &found.path, message);
        }
        true
    }

    /// The addresses to connect from: each once, and some for every family that is known to be needed.
    fn source(&mut self, section: &Section<'a>, backends: &[Backend]) -> Vec<IpAddr> {
        let Some(found) = section.find("source").filter(|_| !section.is_off("source")) else {
            return Vec::new();
        };
        let mut addresses = Vec::new();
        if is_client(&found) {
            return Vec::new();
        }
        for (item, path) in found.node.items_at(&found.path) {
            if is_word(item, &["client"]) {
                let message = "`client` stands alone: with addresses beside it nobody could say which of them is meant";
                self.report.error(item.at, &path, message);
                return Vec::new();
            }
            // What is no address has been reported, and what it would have been is not known.
            let Ok(address) = scalar::source(item) else { return Vec::new() };
            if addresses.contains(&address) {
                self.report.error(item.at, &path, format!("`{address}` is in the list already"));
            }
            addresses.push(address);
        }
        if addresses.is_empty() {
            let message = "expected at least one address; to leave the choice to the kernel, write `off`";
            self.report.error(found.node.at, &found.path, message);
        } else if let Some((backend, family)) = backends.iter().find_map(|backend| unreachable(backend, &addresses)) {
            let message = format!("backend `{backend}` needs an {family} address here, and there is none");
            self.report.error(found.node.at, &found.path, message);
        }
        addresses
    }
}

/// Whether the source is the word `client`, alone or as the only one of a list.
fn is_client(found: &Found<'_>) -> bool {
    matches!(found.node.items(), [only] if is_word(only, &["client"]))
}

/// A backend that has a fixed address of a family that `sources` do not have: its name and the family.
fn unreachable<'b>(backend: &'b Backend, sources: &[IpAddr]) -> Option<(&'b str, &'static str)> {
    let BackendAddress::Ip(address) = backend.address else { return None };
    let missing = sources.iter().all(|source| source.is_ipv4() != address.is_ipv4());
    missing.then_some((&*backend.name, if address.is_ipv4() { "IPv4" } else { "IPv6" }))
}

fn send_proxy(node: &Node) -> Result<Option<SendProxy>, ()> {
    let (name, _, fields) = chosen(node).ok_or(())?;
    let fields = || fields.map(Node::items).unwrap_or_default().iter().filter_map(chosen);
    let has = |field| fields().any(|(name, ..)| name == field);
    match name {
        "off" => Ok(None),
        "v1" => Ok(Some(SendProxy::V1)),
        "v2" => Ok(Some(SendProxy::V2 {
            authority: has("authority"),
            alpn: has("alpn"),
            ssl: has("ssl"),
            unique_id: has("unique_id"),
            crc32c: has("crc32c"),
        })),
        _ => Err(()),
    }
}

fn retry_budget(section: &Section<'_>) -> RetryBudget {
    RetryBudget {
        share: section.value("share", scalar::share),
        min_per_second: section.value("min", scalar::rate) as f64,
    }
}

/// When a hedge starts, if not `off`.
fn hedge(node: &Node) -> Result<Hedge, String> {
    if is_word(node, &["p95"]) { Ok(Hedge::P95) } else { scalar::duration(node).map(Hedge::After) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::super::plan::Pool;
    use super::super::super::{Errors, parse};
    use super::*;
    use crate::config::fixture::CATALOGUE;

    fn connect(text: &str) -> Result<Connect, Errors> {
        let text = format!(
            "listeners: {{ l: {{ bind: '127.0.0.1:1', pool: p }} }}
pools: {{ p: {{ backends: 'h:1', connect: {{ {text} }} }} }}
"
        );
        parse("t.yaml", &text, &CATALOGUE, &|_| None).map(|plan| pool(plan.pools).connect)
    }

    fn pool(pools: Vec<Pool>) -> Pool {
        pools.into_iter().next().unwrap()
    }

    #[test]
    fn when_a_hedge_starts() {
        let after = |ms| Some(Hedge::After(Duration::from_millis(ms)));
        for (text, expected) in [
            ("", None),
            ("hedge_after: off", None),
            ("hedge_after: { off: }", None),
            ("hedge_after: p95", Some(Hedge::P95)),
            ("hedge_after: { p95: {} }", Some(Hedge::P95)),
            ("hedge_after: 50ms", after(50)),
            ("hedge_after: 50ms, attempts: 2", after(50)),
            ("hedge_after: 1999ms", after(1999)),
            ("hedge_after: 5s, timeout: 6s", after(5000)),
            ("hedge_after: p95, timeout: 1ms", Some(Hedge::P95)),
            ("hedge_after: off, attempts: 1", None),
        ] {
            assert_eq!(connect(text).unwrap().hedge_after, expected, "{text}");
        }
    }

    #[test]
    fn a_hedge_that_would_never_start_is_refused() {
        for text in [
            "hedge_after: 50ms, attempts: 1",
            "hedge_after: p95, attempts: 1",
            "hedge_after: 2s",
            "hedge_after: 3s",
            "hedge_after: 1s, timeout: 1s",
        ] {
            let errors = connect(text).unwrap_err();
            assert!(errors.iter().all(|error| error.path == "pools.p.connect.hedge_after"), "{errors}");
            assert_eq!(errors.iter().count(), 1, "{errors}");
        }
    }

    #[test]
    fn each_part_of_the_retry_budget_has_a_default() {
        let budget = |text: &str| connect(text).unwrap().retry_budget;
        let silent = RetryBudget { share: 0.2, min_per_second: 10.0 };
        assert_eq!(budget(""), silent);
        assert_eq!(budget("retry_budget: {}"), silent);
        assert_eq!(budget("retry_budget: { share: 0.5% }"), RetryBudget { share: 0.005, ..silent });
        assert_eq!(budget("retry_budget: { min: 0/s }"), RetryBudget { min_per_second: 0.0, ..silent });
    }
}
