//! `routes`: where a listener's sessions go, by what they show.

use super::super::hint::quote;
use super::super::keys::{self, ROUTE};
use super::super::plan::{
    BadPattern, Bind, BindAddress, Destination, HeadPattern, Match, NamePattern, Route, Split, Words,
};
use super::super::scalar;
use super::super::section::{Section, word};
use super::super::tree::{Node, Value, join};
use super::super::units::{format_size, parse_size};
use super::{Decoder, PoolNames, small};
use crate::wire::client_hello::host_name;

/// More of a stream's first bytes are compared with no pattern.
const LONGEST_HEAD: u64 = 4096;

/// What is wrong with an item; `None` has been reported by the checks.
type Unfit = Option<String>;

impl<'a> Decoder<'a, '_> {
    /// The routes of a listener, in their order.
    pub(super) fn routes(&mut self, listener: &Section<'a>, binds: &[Bind], pools: &PoolNames) -> Vec<Route> {
        let Some(found) = listener.find("routes") else { return Vec::new() };
        let mut routes: Vec<(usize, Route)> = Vec::new();
        for (index, (item, path)) in found.node.items_at(&found.path).enumerate() {
            let section = Section::new(ROUTE, &path, item.at).over(item, &path);
            let Some(route) = self.route(&section, listener, binds, pools) else { continue };
            if let Some((first, _)) = routes.iter().find(|(_, earlier)| earlier.when.covers(&route.when)) {
                let message = format!(
                    "this route is never reached: `routes[{first}]` takes every session that it would; move it before that one"
                );
                self.report.error(item.at, &path, message);
            }
            routes.push((index, route));
        }
        routes.into_iter().map(|(_, route)| route).collect()
    }

    fn route(
        &mut self,
        section: &Section<'a>,
        listener: &Section<'a>,
        binds: &[Bind],
        pools: &PoolNames,
    ) -> Option<Route> {
        if section.broken {
            return None;
        }
        self.require(section, "match");
        let to = self.destination(section, pools);
        section.find("match")?;
        let when = self.matching(&section.section("match"), listener, binds);
        Some(Route { when: when?, to: to? })
    }

    /// One of `pool`, `split` and `action`, and no more than one.
    fn destination(&mut self, section: &Section<'a>, pools: &PoolNames) -> Option<Destination> {
        let ways = ["pool", "split", "action"].into_iter().filter_map(|way| Some((way, section.find(way)?)));
        match ways.collect::<Vec<_>>().as_slice() {
            [] => {
                let message = "the route leads nowhere: give it a `pool`, a `split` or an `action`";
                self.report.error(section.at, &section.path, message);
                None
            }
            [("pool", found)] => self.pool_name(found.node, &found.path, pools).map(Destination::Pool),
            [("split", _)] => self.split(&section.section("split"), pools).map(Destination::Split),
            [_] => {
                let drop = section.given("action", word(&[("reject", false), ("drop", true)]))?;
                Some(if drop { Destination::Drop } else { Destination::Reject })
            }
            [(first, _), rest @ ..] => {
                for (way, found) in rest {
                    let message = format!("a route leads to one place: remove `{way}`, or `{first}`");
                    self.report.error(found.at, &found.path, message);
                }
                None
            }
        }
    }

    fn split(&mut self, section: &Section<'a>, pools: &PoolNames) -> Option<Split> {
        self.require(section, "to");
        let found = section.find("to")?;
        let mut to = Vec::new();
        let mut sound = true;
        for entry in found.node.entries()?.iter().filter(|entry| !entry.key.starts_with("x-")) {
            let name = Node { at: entry.key_at, value: Value::Text(entry.key.clone()) };
            let pool = self.pool_name(&name, &join(&found.path, &entry.key), pools);
            match pool.zip(small(&entry.node).ok()) {
                Some(share) => to.push(share),
                None => sound = false,
            }
        }
        if sound && to.iter().all(|(_, share)| *share == 0) {
            let message = "nobody gets a session: give some pool a share above 0, such as `{ blue: 90, green: 10 }`";
            self.report.error(found.node.at, &found.path, message);
        }
        let sticky = section.find("sticky").is_some() && !section.is_off("sticky");
        Some(Split { to, sticky }).filter(|_| sound)
    }

    /// What must be shown; None if something about it is wrong, as then it would seem to ask for less than is meant.
    fn matching(&mut self, section: &Section<'a>, listener: &Section<'a>, binds: &[Bind]) -> Option<Match> {
        if section.broken {
            return None;
        }
        self.check_known(section, listener);
        let sni = self.items(section, "sni", name_pattern);
        let alpn = self.items(section, "alpn", protocol);
        let source = self.items(section, "source", |node| scalar::network(node).map_err(|_| None));
        let port = self.ports(section, binds);
        let prefix = self.prefix(section);
        let regex = self.regex(section);
        let authority = self.items(section, "authority", name_pattern);
        let text = |node: &Node| scalar::text(node, "text").map(|text| Words(text.into())).map_err(|_| None);
        let client_san = self.items(section, "client_san", text);
        let strange = section.own_keys().any(|key| keys::find(section.keys(), key).is_none());
        let when = Match {
            sni: sni?,
            alpn: alpn?,
            source: source?,
            port: port?,
            prefix: prefix?,
            regex: regex?,
            authority: authority?,
            client_san: client_san?,
        };
        Some(when).filter(|_| !strange)
    }

    /// Refuses to ask for what this listener never gets to know.
    fn check_known(&mut self, section: &Section<'a>, listener: &Section<'a>) {
        let is_on = |name: &str| listener.find(name).is_some() && !listener.is_off(name);
        if let Some(found) = section.find("authority").filter(|_| !is_on("accept_proxy")) {
            let message = "nobody says for whom a session is: `authority` is a field of PROXY protocol, which this \
                           listener reads with `accept_proxy` alone";
            self.report.error(found.at, &found.path, message);
        }
        let tls = listener.section("tls");
        if let Some(found) = section.find("client_san").filter(|_| !is_on("tls") || tls.find("client_auth").is_none()) {
            let message = "clients show no certificate here: ask them for one with `tls.client_auth` of this listener";
            self.report.error(found.at, &found.path, message);
        }
        if let Some(found) = section.find("alpn").filter(|_| is_on("tls")) {
            let agreed: Vec<&str> = tls
                .find("alpn")
                .map(|offer| offer.node.items())
                .unwrap_or_default()
                .iter()
                .filter_map(Node::text)
                .collect();
            for (item, path) in found.node.items_at(&found.path) {
                if let Some(name) = item.text().filter(|name| !agreed.contains(name)) {
                    let message = format!("{} is never agreed on: add it to `tls.alpn` of this listener", quote(name));
                    self.report.error(item.at, &path, message);
                }
            }
        }
    }

    /// The items at `name`, as `read` reads them; none if it is absent, None if one of them is wrong.
    fn items<T>(
        &mut self,
        section: &Section<'a>,
        name: &str,
        read: impl Fn(&Node) -> Result<T, Unfit>,
    ) -> Option<Vec<T>> {
        let Some(found) = section.find(name) else { return Some(Vec::new()) };
        if found.node.items().is_empty() {
            let message = format!("an empty list takes nobody: leave out `{name}` to take everybody");
            self.report.error(found.node.at, &found.path, message);
            return None;
        }
        let mut items = Vec::new();
        for (item, path) in found.node.items_at(&found.path) {
            match read(item) {
                Ok(value) => items.push(value),
                Err(unfit) => {
                    unfit.into_iter().for_each(|message| self.report.error(item.at, &path, message));
                    return None;
                }
            }
        }
        Some(items)
    }

    fn ports(&mut self, section: &Section<'a>, binds: &[Bind]) -> Option<Vec<u16>> {
        let bound = |bind: &Bind| match bind.address {
            BindAddress::Ip(address) => Some(address.port()),
            BindAddress::Unix(..) => None,
        };
        self.items(section, "port", |node| {
            let port = small(node).ok().and_then(|port| u16::try_from(port).ok()).ok_or(None)?;
            // The kernel chooses for port 0.
            let is_bound = binds.is_empty() || binds.iter().filter_map(bound).any(|own| own == port || own == 0);
            if is_bound { Ok(port) } else { Err(Some(format!("nobody arrives there: `bind` has no port {port}"))) }
        })
    }

    fn prefix(&mut self, section: &Section<'a>) -> Option<Option<Box<[u8]>>> {
        let Some(found) = section.find("prefix") else { return Some(None) };
        let text = scalar::text(found.node, "text").ok()?;
        if text.len() as u64 > LONGEST_HEAD {
            let message = format!("{} bytes are more than are compared, {LONGEST_HEAD}", text.len());
            self.report.error(found.node.at, &found.path, message);
            return None;
        }
        Some(Some(text.as_bytes().into()))
    }

    fn regex(&mut self, section: &Section<'a>) -> Option<Option<HeadPattern>> {
        let limit = section.value("regex_limit", |node| scalar::text(node, "a size").and_then(parse_size));
        if let Some(found) = section.find("regex_limit") {
            if section.find("regex").is_none() {
                let message = "there is no `regex` that could look at so many bytes: add one, or remove this";
                self.report.error(found.at, &found.path, message);
            }
            if !(1..=LONGEST_HEAD).contains(&limit) {
                let message = format!(
                    "{} is out of range: 1B to {}, as all of it is kept for each session and looked at again when more comes",
                    format_size(limit),
                    format_size(LONGEST_HEAD)
                );
                self.report.error(found.node.at, &found.path, message);
                return None;
            }
        }
        let Some(found) = section.find("regex") else { return Some(None) };
        let text = scalar::text(found.node, "a regular expression").ok()?;
        match HeadPattern::new(text, limit as usize) {
            Ok(pattern) => Some(Some(pattern)),
            Err(unfit) => {
                self.report.error(found.node.at, &found.path, unfit_pattern(unfit));
                None
            }
        }
    }
}

fn unfit_pattern(unfit: BadPattern) -> String {
    match unfit {
        BadPattern::Syntax(reason) => format!("not a regular expression: {reason}"),
        BadPattern::LooksAhead => {
            "`$`, `\\z` and `\\b` depend on bytes that may not have come yet: write out what must \
                                   follow, such as `\\r\\n`"
                .to_owned()
        }
        BadPattern::TooLarge => "the regular expression is too large when compiled: classes such as `\\w` hold all of \
                                 Unicode, `[a-z]` or `(?-u:\\w)` does not"
            .to_owned(),
    }
}

/// `db.example.com`, `*.example.com` or `*`.
fn name_pattern(node: &Node) -> Result<NamePattern, Unfit> {
    let text = scalar::text(node, "text").map_err(|_| None)?;
    let unfit = || {
        Some(format!(
            "{} is no host name: write one such as `db.example.com`, `*.example.com` for any that \
                                 has one label more, or `*` for any name at all",
            quote(text)
        ))
    };
    if text == "*" {
        return Ok(NamePattern::Any);
    }
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    match text.strip_prefix("*.") {
        Some(parent) => host_name(parent).map(|name| NamePattern::Child(name.into())),
        None => host_name(text).filter(|_| !is_address).map(|name| NamePattern::Name(name.into())),
    }
    .ok_or_else(unfit)
}

/// The name of a protocol, as ALPN bears it.
fn protocol(node: &Node) -> Result<Box<[u8]>, Unfit> {
    let text = scalar::text(node, "text").map_err(|_| None)?;
    if text.len() > 255 {
        Err(Some("no protocol has a name of more than 255 bytes".to_owned()))
    } else {
        Ok(text.as_bytes().into())
    }
}
