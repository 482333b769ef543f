//! Compares a tree with the table of keys and reports all that does not fit, each at its place.

use super::error::{Place, Report};
use super::hint::{self, hint, listing, quote, unknown_key};
use super::keys::{self, Choice, HASH, Key, Kind};
use super::scalar;
use super::tree::{Entry, Node, Value, join};
use super::{Catalogue, PolicyKind, Takes};

const LATER: &str = "not supported yet";

/// Reports everything below `root` that the table does not allow.
pub(super) fn check(root: &Node, catalogue: &Catalogue, report: &mut Report) {
    Checker { catalogue, report }.map(keys::ROOT, root, "");
}

struct Checker<'a> {
    catalogue: &'a Catalogue,
    report: &'a mut Report,
}

impl Checker<'_> {
    fn value(&mut self, kind: Kind, node: &Node, path: &str) {
        if node.value == Value::Failed {
            return;
        }
        match kind {
            Kind::Scalar(scalar) => {
                if let Err(message) = scalar.check(node) {
                    self.report.error(node.at, path, message);
                }
            }
            Kind::Map(keys) => self.map(keys, node, path),
            Kind::Named(keys) => self.named(&Kind::Map(keys), node, path),
            Kind::Values(kind) => self.named(kind, node, path),
            Kind::List(item) => self.list(*item, node, path),
            Kind::Choice(choices) => self.choice(choices, node, path),
            Kind::Either(kinds) => self.either(kinds, node, path),
            Kind::Policy => self.policy(node, path),
        }
    }

    fn map(&mut self, keys: &'static [Key], node: &Node, path: &str) {
        let Some(entries) = node.entries() else {
            let names = listing(keys.iter().filter(|key| !key.later).map(|key| key.name), "or");
            return self.report.error(node.at, path, format!("expected a map with {names}, found {}", node.describe()));
        };
        for entry in entries.iter().filter(|entry| !entry.key.starts_with("x-")) {
            let path = join(path, &entry.key);
            match keys::find(keys, &entry.key) {
                Some(key) if key.later => self.report.error(entry.key_at, &path, LATER),
                Some(Key { instead_of_off: Some(remedy), .. }) if entry.node.text() == Some("off") => {
                    self.report.error(entry.node.at, &path, format!("there is no `off` here: {remedy}"));
                }
                Some(Key { never: Some((word, why)), .. })
                    if chosen(&entry.node).is_some_and(|(name, ..)| name == *word) =>
                {
                    self.report.error(entry.node.at, &path, format!("`{word}` cannot be: {why}"));
                }
                Some(key) if key.is_taken_back(&entry.node) => {}
                Some(key) => self.value(key.kind, &entry.node, &path),
                None => self.report.error(entry.key_at, &path, unknown_key(&entry.key, keys)),
            }
        }
    }

    fn named(&mut self, kind: &Kind, node: &Node, path: &str) {
        let Some(entries) = node.entries() else {
            return self.report.error(
                node.at,
                path,
                format!("expected a map from names to settings, found {}", node.describe()),
            );
        };
        for entry in entries.iter().filter(|entry| !entry.key.starts_with("x-")) {
            let path = join(path, &entry.key);
            if let Err(message) = scalar::check_name(&entry.key) {
                self.report.error(entry.key_at, &path, message);
            }
            self.value(*kind, &entry.node, &path);
        }
    }

    fn list(&mut self, item: Kind, node: &Node, path: &str) {
        match &node.value {
            Value::List(items) => {
                for (i, node) in items.iter().enumerate() {
                    self.value(item, node, &format!("{path}[{i}]"));
                }
            }
            Value::Null => {
                self.report.error(node.at, path, "expected a list, found nothing (write `[]` for an empty one)")
            }
            _ => self.value(item, node, path),
        }
    }

    fn choice(&mut self, choices: &'static [Choice], node: &Node, path: &str) {
        let names = || choices.iter().map(|choice| choice.name);
        let Some((name, at, value)) = chosen(node) else {
            let number = match node.value {
                Value::Int(number) => number.to_string(),
                Value::Float(number) => number.to_string(),
                _ => String::new(),
            };
            let remedy = if names().any(|name| name == number) { ": write it in quotes" } else { "" };
            return self.report.error(
                node.at,
                path,
                format!("expected {}, found {}{remedy}", listing(names(), "or"), node.describe()),
            );
        };
        match choices.iter().find(|choice| choice.name == name) {
            Some(choice) => self.choice_value(choice, value, at, path),
            None => {
                let hint = hint(name, names());
                self.report.error(
                    at,
                    path,
                    format!("expected {}, found {}{hint}", listing(names(), "or"), quote(name)),
                );
            }
        }
    }

    fn choice_value(&mut self, choice: &Choice, value: Option<&Node>, at: Place, path: &str) {
        let name = choice.name;
        match (choice.value, value) {
            (Some(kind), Some(value)) => self.value(kind, value, &join(path, name)),
            (None, Some(value)) if value.entries().is_none_or(|entries| !entries.is_empty()) => {
                self.report.error(value.at, &join(path, name), format!("`{name}` takes no value"));
            }
            (Some(_), None) if choice.needs_value => {
                self.report.error(at, path, format!("`{name}` needs a value: `{{ {name}: … }}`"));
            }
            _ => {}
        }
    }

    fn either(&mut self, kinds: &'static [Kind], node: &Node, path: &str) {
        let Some(kind) = kinds.iter().find(|kind| looks_like(**kind, node)) else {
            return self.report.error(node.at, path, none_of(kinds, node));
        };
        match kind {
            Kind::Scalar(scalar) => {
                if let Err(message) = scalar.check(node) {
                    let off = choices_of(kinds).any(|name| name == "off");
                    let words = || listing(choices_of(kinds), "or");
                    let message = if off { format!("{message} (or {})", words()) } else { message };
                    self.report.error(node.at, path, message);
                }
            }
            kind => self.value(*kind, node, path),
        }
    }

    fn policy(&mut self, node: &Node, path: &str) {
        let built = || self.catalogue.policies.iter().map(|policy| policy.name);
        let Some((name, at, value)) = chosen(node) else {
            return self.report.error(
                node.at,
                path,
                format!("expected {}, found {}", listing(built(), "or"), node.describe()),
            );
        };
        match (self.catalogue.policies.iter().find(|policy| policy.name == name), value) {
            (Some(policy), Some(value)) => self.policy_parameters(policy, value, &join(path, name)),
            (Some(_), None) => {}
            (None, _) => self.report.error(at, path, format!("unknown policy {}{}", quote(name), hint(name, built()))),
        }
    }

    fn policy_parameters(&mut self, policy: &PolicyKind, value: &Node, path: &str) {
        let message = || format!("`{}` has no parameters", policy.name);
        match (policy.takes, value.entries()) {
            (Takes::Hash, _) => self.map(HASH, value, path),
            (Takes::Nothing, None) => self.report.error(value.at, path, message()),
            (Takes::Nothing, Some(entries)) => {
                for Entry { key, key_at, .. } in entries {
                    self.report.error(*key_at, &join(path, key), message());
                }
            }
        }
    }
}

/// The name a choice is given by, its place, and what follows it.
pub(super) fn chosen(node: &Node) -> Option<(&str, Place, Option<&Node>)> {
    match &node.value {
        Value::Text(name) | Value::Expanded(name) => Some((name, node.at, None)),
        Value::Map(entries) => match entries.as_slice() {
            [Entry { key, key_at, node }] => Some((key, *key_at, Some(node))),
            _ => None,
        },
        _ => None,
    }
}

/// Is `node` meant as a `kind`? It may still be a wrong one.
pub(super) fn looks_like(kind: Kind, node: &Node) -> bool {
    match (kind, &node.value) {
        (Kind::Map(_) | Kind::Named(_) | Kind::Values(_), value) => matches!(value, Value::Map(_)),
        (Kind::List(_), Value::List(_)) => true,
        (Kind::List(item), _) => looks_like(*item, node),
        (Kind::Choice(choices), _) => {
            chosen(node).is_some_and(|(name, ..)| choices.iter().any(|choice| choice.name == name))
        }
        (Kind::Either(kinds), _) => kinds.iter().any(|kind| looks_like(*kind, node)),
        (Kind::Policy, _) => chosen(node).is_some(),
        (Kind::Scalar(scalar), _) => scalar.check(node).is_ok() || shaped_like(scalar, &node.value),
    }
}

/// A wrong value that still tells better what is wrong than "expected this or that".
fn shaped_like(scalar: scalar::Scalar, value: &Value) -> bool {
    use scalar::Scalar;
    match (scalar, value) {
        (Scalar::Bool, Value::Bool(_)) => true,
        (Scalar::Bool, _) => false,
        (_, Value::Int(_)) | (Scalar::Ratio, Value::Float(_)) => true,
        (Scalar::Count { .. }, Value::Text(text)) => text.bytes().all(|b| b.is_ascii_digit()),
        (Scalar::Count { .. }, _) => false,
        (_, Value::Text(text) | Value::Expanded(text)) => !text.bytes().all(|b| b.is_ascii_alphabetic()),
        _ => false,
    }
}

/// A value that is like none of `kinds`.
fn none_of(kinds: &'static [Kind], node: &Node) -> String {
    let mut names = Vec::new();
    kinds.iter().for_each(|kind| nouns(*kind, &mut names));
    let names = hint::join(&names, "or");
    let hint = hint(node.text().unwrap_or_default(), choices_of(kinds));
    let keys = kinds.iter().find_map(|kind| keys::map_of(*kind)).unwrap_or_default();
    let meant = keys.iter().find(|key| matches!(node.value, Value::Int(_)) && looks_like(key.kind, node));
    let remedy = meant.map_or_else(String::new, |key| format!("; did you mean `{{ {}: … }}`?", key.name));
    format!("expected {names}, found {}{hint}{remedy}", node.describe())
}

fn choices_of(kinds: &'static [Kind]) -> impl Iterator<Item = &'static str> {
    kinds
        .iter()
        .flat_map(|kind| match kind {
            Kind::Choice(choices) => *choices,
            _ => &[],
        })
        .map(|choice| choice.name)
}

fn nouns(kind: Kind, out: &mut Vec<String>) {
    match kind {
        Kind::Scalar(scalar) => out.push(scalar.noun().to_owned()),
        Kind::Map(_) | Kind::Named(_) | Kind::Values(_) => out.push("a map".to_owned()),
        Kind::List(item) => nouns(*item, out),
        Kind::Choice(choices) => out.extend(choices.iter().map(|choice| format!("`{}`", choice.name))),
        Kind::Either(kinds) => kinds.iter().for_each(|kind| nouns(*kind, out)),
        Kind::Policy => out.push("a policy".to_owned()),
    }
}
