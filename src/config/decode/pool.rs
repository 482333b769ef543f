//! Pools and their backends.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::Takes;
use super::super::address::Target;
use super::super::check::chosen;
use super::super::error::Place;
use super::super::hint::quote;
use super::super::keys::{BACKEND, HASH, POOL};
use super::super::plan::{Backend, BackendAddress, Failback, HashKey, HashSpec, Listener, PolicySpec, Pool, Queue};
use super::super::scalar;
use super::super::section::{Section, word};
use super::super::tree::{Node, Value};
use super::health::on_change;
use super::{Decoder, off_or_duration, size, small, stream_tcp, zone};

/// A seat in a pool's snapshot is a 16-bit number.
const MOST_BACKENDS: usize = 65_535;

impl<'a> Decoder<'a, '_> {
    pub(super) fn pools(&mut self) -> Vec<Pool> {
        let named = self.root.named("pools", "pool", POOL);
        named.into_iter().map(|(name, section)| self.pool(name, &section)).collect()
    }

    fn pool(&mut self, name: &str, section: &Section<'a>) -> Pool {
        let backends = self.backends(section);
        let single_active = section.value("single_active", scalar::boolean);
        self.check_single(section, single_active);
        Pool {
            name: name.into(),
            policy: self.policy(section),
            connect: self.connect(&section.section("connect"), &backends),
            tls: self.pool_tls(section, &backends),
            starttls: self.pool_starttls(section),
            queue: self.queue(name, section, &backends),
            health: self.health(section, &backends, single_active),
            failback: section.read("failback", word(FAILBACKS)).unwrap_or(Failback::Auto),
            on_failback: self.on_leaving(section, "on_failback", single_active),
            single_active,
            backends,
            tier_spill_below: section.value("tier_spill_below", scalar::share),
            slow_start: section.value("slow_start", scalar::duration),
            idle: section.section("timeouts").given("idle", off_or_duration),
            tcp: stream_tcp(&section.section("tcp")),
            on_remove: on_change(section, "on_remove"),
        }
    }

    /// The policy; if there is none of that name, that has been reported.
    fn policy(&self, section: &Section<'a>) -> PolicySpec {
        let find = |node: &Node| {
            let (name, ..) = chosen(node)?;
            self.catalogue.policies.iter().find(|policy| policy.name == name)
        };
        let kind = section.read("policy", |node| find(node).ok_or(()));
        let takes_hash = kind.is_some_and(|kind| kind.takes == Takes::Hash);
        PolicySpec {
            name: kind.map_or("", |kind| kind.name),
            hash: takes_hash.then(|| hash(&self.policy_parameters(section))),
        }
    }

    fn policy_parameters(&self, section: &Section<'a>) -> Section<'a> {
        let parameters = Section::new(HASH, &section.path, section.at);
        let Some(found) = section.find("policy") else { return parameters };
        match chosen(found.node) {
            Some((_, _, Some(value))) => parameters.over(value, &found.path),
            _ => parameters,
        }
    }

    fn backends(&mut self, section: &Section<'a>) -> Vec<Backend> {
        let Some(found) = section.find("backends") else {
            self.report.warn(section.at, &section.path, "the pool has no backends");
            return Vec::new();
        };
        let defaults = section.section("backend").over_section(&self.root.section("defaults").section("backend"));
        let mut names = HashMap::new();
        let mut backends = Vec::new();
        for (item, path) in found.node.items_at(&found.path) {
            backends.extend(self.backend(item, &path, &defaults, &mut names));
        }
        if found.node.items().len() > MOST_BACKENDS {
            let message =
                format!("{} backends are more than a pool may have, {MOST_BACKENDS}", found.node.items().len());
            self.report.error(found.at, &found.path, message);
        }
        if found.node.items().is_empty() {
            self.report.warn(found.at, &found.path, "the pool has no backends");
        }
        backends
    }

    /// One backend, in the short or the long form.
    fn backend(
        &mut self,
        item: &'a Node,
        path: &str,
        defaults: &Section<'a>,
        names: &mut HashMap<Arc<str>, Place>,
    ) -> Option<Backend> {
        let mut section = Section::new(BACKEND, path, item.at);
        let (mut address_node, mut address_path) = (item, path.to_owned());
        let (mut name_node, mut name_path) = (item, path.to_owned());
        if let Value::Map(_) = item.value {
            section = section.over(item, path);
            self.require(&section, "address");
            let address = section.find("address")?;
            (address_node, address_path) = (address.node, address.path);
            (name_node, name_path) =
                section.find("name").map_or((address_node, address_path.clone()), |found| (found.node, found.path));
        }
        let section = section.over_section(defaults);
        let name: Arc<str> = name_node.text()?.into();
        if let Some(first) = names.insert(name.clone(), name_node.at) {
            let first = self.report.show(first);
            let message = format!("there is a backend `{name}` already at {first}; a `name` tells them apart");
            self.report.error(name_node.at, &name_path, message);
        }
        let zone = zone(&section);
        if zone.is_some() && self.zoned.is_none() {
            self.zoned = section.find("zone");
        }
        Some(Backend {
            name,
            address: self.target(address_node, &address_path)?,
            weight: section.value("weight", small),
            tier: section.value("tier", |node| small(node).map(|tier| tier as u8)),
            zone,
            max_connections: section.optional("max_connections", small),
            disabled: section.value("disabled", scalar::boolean),
        })
    }

    pub(super) fn target(&mut self, node: &Node, path: &str) -> Option<BackendAddress> {
        Some(match scalar::target(node).ok()? {
            Target::Ip(address) => BackendAddress::Ip(address),
            Target::Unix(socket) => BackendAddress::Unix(self.unix_path(node.at, path, &socket)),
            Target::Host(host, port) => BackendAddress::Host(host, port),
        })
    }

    /// `queue`; without a backend that can be full nobody ever waits in it.
    fn queue(&mut self, name: &str, section: &Section<'a>, backends: &[Backend]) -> Option<Queue> {
        let found = section.find("queue")?;
        if section.is_off("queue") {
            return None;
        }
        if !backends.is_empty() && backends.iter().all(|backend| backend.max_connections.is_none()) {
            let message = format!(
                "nothing will ever wait: no backend of the pool {} has a limit; give them `max_connections`",
                quote(name)
            );
            self.report.warn(found.at, &found.path, message);
        }
        let queue = section.section("queue");
        Some(Queue { max: queue.value("max", size), timeout: queue.value("timeout", scalar::duration) })
    }

    /// A second attempt at the same time would be on a second backend.
    fn check_single(&mut self, section: &Section<'a>, single_active: bool) {
        let connect = section.section("connect");
        if let Some(found) = connect.find("hedge_after").filter(|_| single_active && !connect.is_off("hedge_after")) {
            let message = "`hedge_after` and `single_active` exclude each other: a hedge goes to a second backend";
            self.report.error(found.at, &found.path, message);
        }
    }

    /// Zones of backends say nothing to a process that has none. Said once, not for each of many backends.
    pub(super) fn warn_zones(&mut self, zone: Option<&str>) {
        if let (None, Some(found)) = (zone, self.zoned.take()) {
            let message =
                "zones of backends do not matter until this instance has one: set `zone` at the top of the file";
            self.report.warn(found.at, &found.path, message);
        }
    }

    /// Pools that nothing leads to are probably a slip.
    pub(super) fn warn_unused(&mut self, listeners: &[Listener], pools: &[Pool]) {
        let used: std::collections::HashSet<&str> =
            listeners.iter().flat_map(Listener::pools).map(|pool| &**pool).collect();
        let named = self.root.named("pools", "pool", POOL);
        let unused = pools.iter().zip(named).filter(|(pool, _)| !used.contains(&*pool.name));
        for (_, (_, section)) in unused {
            self.report.warn(section.at, &section.path, "no listener uses this pool");
        }
    }
}

/// What a policy that hashes is to hash.
fn hash(section: &Section<'_>) -> HashSpec {
    HashSpec {
        key: section.value("key", word(HASH_KEYS)),
        prefix_v6: section.value("prefix_v6", |node| small(node).map(|bits| bits as u8)),
        bounded_load: section.optional("bounded_load", scalar::ratio),
    }
}

const FAILBACKS: &[(&str, Failback)] = &[("auto", Failback::Auto), ("manual", Failback::Manual)];

const HASH_KEYS: &[(&str, HashKey)] = &[
    (HashKey::ClientIp.as_str(), HashKey::ClientIp),
    (HashKey::ClientIpPort.as_str(), HashKey::ClientIpPort),
    (HashKey::ServerName.as_str(), HashKey::ServerName),
    (HashKey::Destination.as_str(), HashKey::Destination),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::super::super::parse;
    use super::*;
    use crate::config::fixture::CATALOGUE;

    fn pool(text: &str) -> Pool {
        let text = format!("listeners: {{ l: {{ bind: '127.0.0.1:1', pool: p }} }}\npools: {{ p: {{ {text} }} }}\n");
        parse("t.yaml", &text, &CATALOGUE, &|_| None).unwrap().pools.remove(0)
    }

    #[test]
    fn a_queue_is_there_when_it_is_named() {
        let queue = |text: &str| pool(&format!("backends: {{ address: 'h:1', max_connections: 1 }}, {text}")).queue;
        assert_eq!((queue(""), queue("queue: off"), queue("queue: { off: }")), (None, None, None));
        let silent = Queue { max: 1000, timeout: Duration::from_secs(5) };
        assert_eq!(queue("queue: {}"), Some(silent));
        assert_eq!(queue("queue: { max: 1 }"), Some(Queue { max: 1, ..silent }));
        assert_eq!(queue("queue: { timeout: 1ms }"), Some(Queue { timeout: Duration::from_millis(1), ..silent }));
    }

    #[test]
    fn what_one_backend_says_beats_what_the_pool_says() {
        let backend = |own: &str| {
            let text =
                format!("backend: {{ tier: 7, zone: b, max_connections: 9 }}, backends: {{ address: 'h:1', {own} }}");
            let backend = pool(&text).backends.remove(0);
            (backend.tier, backend.zone, backend.max_connections)
        };
        assert_eq!(backend(""), (7, Some("b".into()), Some(9)));
        assert_eq!(backend("tier: 255, zone: 'a c', max_connections: 1"), (255, Some("a c".into()), Some(1)));
        assert_eq!(backend("tier: 0, zone: off, max_connections: off"), (0, None, None));
        assert_eq!(backend("zone: { off: }, max_connections: { off: }"), (7, None, None));
        assert_eq!(backend("zone: auto").1, Some("auto".into()));
    }
}
