//! Listeners.

use super::super::address::Listen;
use super::super::keys::{BIND, LISTENER};
use super::super::plan::{AccessLog, Bind, BindAddress, Listener, ListenerTcp, RelayMode, Timeouts};
use super::super::scalar;
use super::super::section::{Section, word};
use super::super::tree::{Node, Value};
use super::admission::bandwidth;
use super::health::on_change;
use super::{Decoder, PoolNames, small, stream_tcp};

impl<'a> Decoder<'a, '_> {
    pub(super) fn listeners(&mut self, pools: &PoolNames, access: &AccessLog) -> Vec<Listener> {
        let named = self.root.named("listeners", "listener", LISTENER);
        if named.is_empty()
            && self.complete
            && self.root.find("listeners").is_none_or(|found| found.node.entries().is_some())
        {
            self.report.error(self.root.at, "", "no listeners: say where clients arrive under `listeners`");
        }
        named.into_iter().map(|(name, section)| self.listener(name, &section, pools, access)).collect()
    }

    fn listener(&mut self, name: &str, section: &Section<'a>, pools: &PoolNames, access: &AccessLog) -> Listener {
        self.require(section, "bind");
        if section.find("routes").is_none_or(|found| found.node.items().is_empty()) {
            self.require(section, "pool");
        }
        let pool = section.find("pool").and_then(|found| self.pool_name(found.node, &found.path, pools));
        let bind = self.binds(section);
        let words = [("auto", RelayMode::Auto), ("copy", RelayMode::Copy), ("splice", RelayMode::Splice)];
        Listener {
            name: name.into(),
            pool,
            routes: self.routes(section, &bind, pools),
            accept_proxy: self.accept_proxy(section, &bind),
            bind,
            admission: self.admission(&section.section("admission")),
            bandwidth: bandwidth(&section.section("bandwidth")),
            tls: self.listener_tls(section),
            starttls: self.listener_starttls(section),
            timeouts: timeouts(&section.section("timeouts")),
            relay: section.read("relay", word(&words)).unwrap_or(RelayMode::Auto),
            on_remove: on_change(section, "on_remove"),
            tcp: tcp(&section.section("tcp")),
            access: self.access(&section.section("log"), Some(access)),
        }
    }

    fn binds(&mut self, section: &Section<'a>) -> Vec<Bind> {
        let Some(found) = section.find("bind") else {
            return Vec::new();
        };
        let mut binds = Vec::new();
        for (item, path) in found.node.items_at(&found.path) {
            self.bind(item, &path, &mut binds);
        }
        if found.node.items().is_empty() {
            let message = "a listener needs an address, such as `127.0.0.1:8080`";
            self.report.error(found.node.at, &found.path, message);
        }
        binds
    }

    /// One item of `bind`, in the short or the long form.
    fn bind(&mut self, item: &'a Node, path: &str, binds: &mut Vec<Bind>) {
        let Value::Map(_) = item.value else {
            return self.bind_address(item, path, None, binds);
        };
        let long = Section::new(BIND, path, item.at).over(item, path);
        self.require(&long, "address");
        let Some(address) = long.find("address") else {
            return;
        };
        let mode = long.given("mode", scalar::mode);
        if let Some(found) = long.find("mode")
            && matches!(scalar::bind(address.node), Ok(Listen::Ip(..)))
        {
            self.report.error(found.at, &found.path, "only a unix socket has permission bits");
        }
        self.bind_address(address.node, &address.path, mode, binds);
    }

    fn bind_address(&mut self, node: &Node, path: &str, mode: Option<u32>, binds: &mut Vec<Bind>) {
        let spread: Vec<BindAddress> = match scalar::bind(node) {
            Ok(Listen::Ip(first, last)) => (first.port()..=last)
                .map(|port| {
                    let mut address = first;
                    address.set_port(port);
                    BindAddress::Ip(address)
                })
                .collect(),
            Ok(Listen::Unix(socket)) => vec![BindAddress::Unix(self.unix_path(node.at, path, &socket), mode)],
            Err(_) => return,
        };
        // One word about a range is enough.
        let _ = spread.iter().all(|address| self.bound.claim(address, node.at, path, self.report));
        binds.extend(spread.into_iter().map(|address| Bind { address }));
    }
}

fn timeouts(section: &Section<'_>) -> Timeouts {
    Timeouts {
        handshake: section.value("handshake", scalar::duration),
        sniff: section.value("sniff", scalar::duration),
        idle: section.optional("idle", scalar::duration),
        half_closed: section.optional("half_closed", scalar::duration),
        session: section.optional("session", scalar::duration),
    }
}

fn tcp(section: &Section<'_>) -> ListenerTcp {
    ListenerTcp {
        backlog: section.value("backlog", small),
        fast_open: section.optional("fast_open", small),
        defer_accept: section.optional("defer_accept", scalar::duration),
        freebind: section.value("freebind", scalar::boolean),
        stream: stream_tcp(section),
    }
}
