//! Pools and their backends.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::Takes;
use super::super::address::Target;
use super::super::check::chosen;
use super::super::error::Place;
use super::super::keys::{BACKEND, HASH, POOL};
use super::super::plan::{Backend, BackendAddress, Backoff, Connect, HashKey, HashSpec, Listener, PolicySpec, Pool};
use super::super::scalar;
use super::super::section::{Section, word};
use super::super::tree::{Node, Value};
use super::super::units::format_duration;
use super::{Decoder, off_or_duration, small, stream_tcp};

/// A seat in a pool's snapshot is a 16-bit number.
const MOST_BACKENDS: usize = 65_535;

impl<'a> Decoder<'a, '_> {
    pub(super) fn pools(&mut self) -> Vec<Pool> {
        let named = self.named("pools", "pool", POOL);
        named.into_iter().map(|(name, section)| self.pool(name, &section)).collect()
    }

    fn pool(&mut self, name: &str, section: &Section<'a>) -> Pool {
        Pool {
            name: name.into(),
            policy: self.policy(section),
            backends: self.backends(section),
            connect: self.connect(&section.section("connect")),
            idle: section.section("timeouts").given("idle", off_or_duration),
            tcp: stream_tcp(&section.section("tcp")),
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
        Some(Backend {
            name,
            address: self.target(address_node, &address_path)?,
            weight: section.value("weight", small),
            disabled: section.value("disabled", scalar::boolean),
        })
    }

    fn target(&mut self, node: &Node, path: &str) -> Option<BackendAddress> {
        Some(match scalar::target(node).ok()? {
            Target::Ip(address) => BackendAddress::Ip(address),
            Target::Unix(socket) => BackendAddress::Unix(self.unix_path(node.at, path, &socket)),
            Target::Host(host, port) => BackendAddress::Host(host, port),
        })
    }

    fn connect(&mut self, section: &Section<'a>) -> Connect {
        let backoff = section.section("backoff");
        let (base, max) = (backoff.value("base", scalar::duration), backoff.value("max", scalar::duration));
        if base > max {
            let found = backoff.find("base").or_else(|| backoff.find("max"));
            let (at, path) = found.map_or((backoff.at, backoff.path.clone()), |found| (found.node.at, found.path));
            let show = format_duration;
            self.report.error(at, &path, format!("`base`, {}, is longer than `max`, {}", show(base), show(max)));
        }
        Connect {
            timeout: section.value("timeout", scalar::duration),
            attempts: section.value("attempts", small),
            deadline: section.value("deadline", scalar::duration),
            backoff: Backoff { base, max },
        }
    }

    /// Pools that nothing leads to are probably a slip.
    pub(super) fn warn_unused(&mut self, listeners: &[Listener], pools: &[Pool]) {
        let used: std::collections::HashSet<&str> = listeners.iter().map(|listener| &*listener.pool).collect();
        let named = self.named("pools", "pool", POOL);
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

const HASH_KEYS: &[(&str, HashKey)] = &[
    (HashKey::ClientIp.as_str(), HashKey::ClientIp),
    (HashKey::ClientIpPort.as_str(), HashKey::ClientIpPort),
    (HashKey::Destination.as_str(), HashKey::Destination),
];
