//! From a checked tree of files to the resolved [`Setting`]s: the one table of keys says what there is, the files say
//! what it is, and its defaults say the rest.

use std::collections::BTreeMap;

use super::address::{self, Listen, Target};
use super::check::{chosen, looks_like};
use super::error::Report;
use super::keys::{self, BACKEND, HASH, Key, Kind, LISTENER, POOL};
use super::scalar::{self, Scalar};
use super::section::{self, Section};
use super::settings::{Leaf, MASK, Setting};
use super::tree::{Node, Value};
use super::units::{format_duration, format_size};
use super::{Catalogue, Takes};

/// How files are put together is not part of what they say.
const ABOUT_FILES: [&str; 3] = ["version", "include", "defaults"];

/// What the tree at `root`, which has passed the checks, says.
pub(super) fn show(root: &Node, catalogue: &Catalogue, report: &Report) -> Setting {
    let root = Section::new(keys::ROOT, "", root.at).over(root, "");
    let show = Show { root, catalogue, report };
    let mut whole = show.map(&show.root, Defaults::Shown);
    whole.retain(|key, _| !ABOUT_FILES.contains(&key.as_str()));
    whole.insert("listeners".into(), Setting::Map(show.listeners()));
    whole.insert("pools".into(), Setting::Map(show.pools()));
    Setting::Map(whole)
}

/// Parts that may be `off` and are not when they are absent.
const ON_WHEN_ABSENT: [&str; 2] = ["keepalive", "access"];

/// Whether keys that are not given show their defaults.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Defaults {
    Shown,
    Hidden,
}

struct Show<'a> {
    root: Section<'a>,
    catalogue: &'a Catalogue,
    report: &'a Report,
}

impl<'a> Show<'a> {
    fn listeners(&self) -> BTreeMap<String, Setting> {
        let one = |(name, section): (&str, Section<'a>)| {
            let mut settings = self.map(&section, Defaults::Shown);
            // What it leaves out is the process's, not the table's.
            let log = self.map(&section.section("log"), Defaults::Hidden);
            match log.is_empty() {
                true => settings.remove("log"),
                false => settings.insert("log".into(), Setting::Map(log)),
            };
            (name.to_owned(), Setting::Map(settings))
        };
        self.root.named("listeners", "listener", LISTENER).into_iter().map(one).collect()
    }

    fn pools(&self) -> BTreeMap<String, Setting> {
        let one = |(name, section): (&str, Section<'a>)| {
            let mut settings = self.map(&section, Defaults::Shown);
            // Each backend shows what it has of it; those found elsewhere have nobody else to say it.
            if section.find("discover").is_none() {
                settings.remove("backend");
            }
            settings.insert("backends".into(), self.backends(&section));
            (name.to_owned(), Setting::Map(settings))
        };
        self.root.named("pools", "pool", POOL).into_iter().map(one).collect()
    }

    /// Backends by name: they are what a plan is about, and a pool is not another one because one more is listed.
    fn backends(&self, pool: &Section<'a>) -> Setting {
        let defaults = pool.section("backend").over_section(&self.root.section("defaults").section("backend"));
        let items = pool.find("backends").map(|found| found.node.items()).unwrap_or_default();
        let members = items.iter().map(|item| {
            let mut section = Section::new(BACKEND, "", item.at);
            let mut address = item;
            if let Value::Map(_) = item.value {
                section = section.over(item, "");
                address = section.find("address").map_or(item, |found| found.node);
            }
            let name = section.find("name").map_or(address, |found| found.node).text().unwrap_or_default().to_owned();
            let mut settings = self.map(&section.over_section(&defaults), Defaults::Shown);
            settings.remove("name");
            settings.insert("address".into(), self.scalar(Scalar::Target, address));
            (name, Setting::Map(settings))
        });
        Setting::Members(members.collect())
    }

    fn map(&self, section: &Section<'_>, defaults: Defaults) -> BTreeMap<String, Setting> {
        let live = section.keys().iter().filter(|key| !key.later && !matches!(key.kind, Kind::Named(_)));
        live.filter_map(|key| Some((key.name.to_owned(), self.key(section, key, defaults)?))).collect()
    }

    fn key(&self, section: &Section<'_>, key: &'static Key, defaults: Defaults) -> Option<Setting> {
        let found = section.find(key.name);
        let map = keys::map_of(key.kind);
        if key.default.is_none() && section.is_off(key.name) && !ON_WHEN_ABSENT.contains(&key.name) {
            // As if it were absent.
            return None;
        }
        let setting = match (found, map) {
            (Some(found), Some(_)) if found.node.entries().is_some() && !section.is_off(key.name) => {
                Setting::Map(self.map(&section.section(key.name), defaults))
            }
            (Some(found), _) => self.value(key.kind, found.node),
            // A part that nobody asks for, but whose keys have defaults all the same.
            (None, Some(keys)) if is_implied(key, keys) => {
                let inside = self.map(&section.section(key.name), defaults);
                (!inside.is_empty()).then_some(Setting::Map(inside))?
            }
            (None, _) if defaults == Defaults::Shown => self.value(key.kind, &section::default(key)?),
            (None, _) => return None,
        };
        Some(if key.secret { Setting::secret(setting.to_string()) } else { setting })
    }

    fn value(&self, kind: Kind, node: &Node) -> Setting {
        match kind {
            Kind::Scalar(scalar) => self.scalar(scalar, node),
            Kind::Map(keys) | Kind::Named(keys) => {
                Setting::Map(self.map(&Section::new(keys, "", node.at).over(node, ""), Defaults::Shown))
            }
            Kind::Values(kind) => {
                let entries = node.entries().unwrap_or_default().iter();
                Setting::Map(entries.map(|entry| (entry.key.clone(), self.value(*kind, &entry.node))).collect())
            }
            Kind::List(item) => Setting::List(node.items().iter().map(|node| self.value(*item, node)).collect()),
            Kind::Choice(choices) => {
                let value =
                    |name: &str| choices.iter().find(|choice| choice.name == name).and_then(|choice| choice.value);
                self.choice(node, value)
            }
            Kind::Either(kinds) => match kinds.iter().find(|kind| looks_like(**kind, node)) {
                Some(kind) => self.value(*kind, node),
                None => as_written(node),
            },
            Kind::Policy => self.choice(node, |name| self.parameters(name)),
        }
    }

    /// `name`, or `{ name: value }` where there is a value to show.
    fn choice(&self, node: &Node, value: impl Fn(&str) -> Option<Kind>) -> Setting {
        let Some((name, _, given)) = chosen(node) else { return as_written(node) };
        let shown = match (value(name), given) {
            (Some(Kind::Map(keys)), given) => {
                let section = Section::new(keys, "", node.at);
                let section = given.into_iter().fold(section, |section, node| section.over(node, ""));
                Some(Setting::Map(self.map(&section, Defaults::Shown)))
            }
            (Some(kind), Some(given)) => Some(self.value(kind, given)),
            _ => None,
        };
        match shown {
            Some(shown) => Setting::Map([(name.to_owned(), shown)].into()),
            None => Setting::text(name),
        }
    }

    /// What the policy `name` takes.
    fn parameters(&self, name: &str) -> Option<Kind> {
        let policy = self.catalogue.policies.iter().find(|policy| policy.name == name)?;
        (policy.takes == Takes::Hash).then_some(Kind::Map(HASH))
    }

    /// The one spelling of a value.
    fn scalar(&self, scalar: Scalar, node: &Node) -> Setting {
        // From the root, so that a file read from another folder names the same thing.
        let path = |path: &str| {
            let resolved = self.report.resolve(node.at, path);
            std::path::absolute(&resolved).unwrap_or(resolved).display().to_string()
        };
        let text = node.text();
        let spelled = match scalar {
            Scalar::Bool => {
                return scalar::boolean(node).map_or_else(|_| as_written(node), |v| Setting::Leaf(Leaf::Bool(v)));
            }
            Scalar::Count { .. } | Scalar::Weight => {
                return scalar::count(node).map_or_else(|_| as_written(node), |n| Setting::Leaf(Leaf::Number(n)));
            }
            Scalar::Duration { .. } => scalar::duration(node).ok().map(format_duration),
            Scalar::Size => text.and_then(|text| super::units::parse_size(text).ok()).map(format_size),
            Scalar::ByteRate => text
                .and_then(|text| super::units::parse_byte_rate(text).ok())
                .map(|rate| format!("{}/s", format_size(rate))),
            Scalar::Rate { .. } => scalar::rate(node).ok().map(|rate| format!("{rate}/s")),
            Scalar::Share => text.and_then(|text| Some(format!("{}%", text.strip_suffix('%')?.parse::<f64>().ok()?))),
            Scalar::Ratio => scalar::ratio(node).ok().map(|ratio| ratio.to_string()),
            Scalar::Path => text.map(path),
            Scalar::Endpoint | Scalar::Bind | Scalar::Ip => scalar::bind(node).ok().map(|listen| match listen {
                Listen::Unix(socket) => format!("unix:{}", path(&socket)),
                Listen::Ip(first, last) if first.port() == last => first.to_string(),
                Listen::Ip(first, last) => format!("{first}-{last}"),
            }),
            Scalar::Target => text.and_then(|text| address::parse_target(text).ok()).map(|target| match target {
                Target::Unix(socket) => format!("unix:{}", path(&socket)),
                Target::Ip(address) => address.to_string(),
                Target::Host(host, port) => format!("{host}:{port}"),
            }),
            // What a query holds is often a key of the server's.
            Scalar::HttpPath => {
                let Some((before, _)) = text.and_then(|text| text.split_once('?')) else { return as_written(node) };
                let (value, shown) = (text.unwrap_or_default().to_owned(), format!("{before}?{MASK}"));
                return Setting::Leaf(Leaf::Secret { value, shown });
            }
            _ => None,
        };
        spelled.map_or_else(|| as_written(node), Setting::text)
    }
}

/// Whether a part that is absent still says something.
fn is_implied(key: &Key, inside: &[Key]) -> bool {
    let implied = matches!(key.kind, Kind::Map(_)) || ON_WHEN_ABSENT.contains(&key.name);
    implied && !inside.iter().any(|key| key.required)
}

/// As the file spells it.
fn as_written(node: &Node) -> Setting {
    Setting::Leaf(match &node.value {
        Value::Bool(value) => Leaf::Bool(*value),
        Value::Int(number) => match u64::try_from(*number) {
            Ok(number) => Leaf::Number(number),
            Err(_) => Leaf::Text(number.to_string()),
        },
        Value::Float(number) => Leaf::Text(number.to_string()),
        Value::Text(text) | Value::Expanded(text) => Leaf::Text(text.clone()),
        Value::Null | Value::Failed | Value::List(_) | Value::Map(_) => Leaf::Text(String::new()),
    })
}

#[cfg(test)]
mod tests;
