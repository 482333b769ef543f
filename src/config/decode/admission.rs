//! `admission`: who may come in.

use std::sync::Arc;

use super::super::plan::{AccessList, Admission, Bandwidth, Networks, PerClient, RefuseWith};
use super::super::scalar;
use super::super::section::{Section, is_word, word};
use super::{Decoder, size, small, some_rate};

impl<'a> Decoder<'a, '_> {
    pub(super) fn admission(&mut self, section: &Section<'a>) -> Admission {
        let words = [("reset", RefuseWith::Reset), ("close", RefuseWith::Close), ("drop", RefuseWith::Drop)];
        Admission {
            access: self.access_list(section),
            max_connections: section.given("max_connections", size),
            max_rate: section.given("max_rate", some_rate),
            per_client: per_client(&section.section("per_client")),
            refuse_with: section.read("refuse_with", word(&words)).unwrap_or(RefuseWith::Reset),
        }
    }

    fn access_list(&mut self, section: &Section<'a>) -> Option<Arc<AccessList>> {
        let (allow, deny) = (self.networks(section, "allow"), self.networks(section, "deny"));
        (!allow.is_empty() || !deny.is_empty()).then(|| Arc::new(AccessList::new(&allow, &deny)))
    }

    /// Networks; the same one twice is no harm, for such lists are often put together from others.
    fn networks(&mut self, section: &Section<'a>, name: &str) -> Networks {
        let mut networks = Networks::default();
        let Some(found) = section.find(name).filter(|_| !section.is_off(name)) else { return networks };
        for item in found.node.items() {
            match scalar::network(item) {
                Ok(network) => networks.networks.push(network),
                Err(_) => networks.unix |= is_word(item, &["unix"]),
            }
        }
        if name == "allow" && found.node.items().is_empty() {
            // It could mean nobody as well as anybody.
            let message = "an empty list lets nobody in, or everybody: name networks, or write `deny: [0.0.0.0/0, ::/0]`, or \
                           leave the key out";
            self.report.error(found.node.at, &found.path, message);
        }
        networks
    }
}

fn per_client(section: &Section<'_>) -> PerClient {
    PerClient {
        max_connections: section.given("max_connections", small),
        rate: section.given("rate", some_rate),
        prefix_v6: section.value("prefix_v6", |node| small(node).map(|bits| bits as u8)),
    }
}

/// `bandwidth`: what those who are in may move.
pub(super) fn bandwidth(section: &Section<'_>) -> Bandwidth {
    let rate = |name| section.given(name, scalar::byte_rate);
    Bandwidth { per_connection: rate("per_connection"), per_client: rate("per_client") }
}
