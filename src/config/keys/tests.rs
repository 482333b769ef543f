//! The table itself: complete, consistent, and honest about what is not supported.
#![allow(clippy::unwrap_used)]

use super::super::{Catalogue, PolicyKind, Takes, TlsFiles, parse, section, tree};
use super::*;

/// Every key that is known and refused. It may only shrink: a feature that is built takes its lines away.
const NOT_SUPPORTED: &[&str] = &["pools.discover"];

const CATALOGUE: Catalogue = Catalogue {
    policies: &[PolicyKind { name: "round_robin", summary: "", takes: Takes::Nothing }],
    tls: TlsFiles::UNREAD,
};

/// Calls `visit` with every key below `keys` and its path.
fn walk(keys: &'static [Key], path: &str, visit: &mut dyn FnMut(&'static Key, &str)) {
    for key in keys {
        let path = tree::join(path, key.name);
        visit(key, &path);
        walk_kind(key.kind, &path, visit);
    }
}

fn walk_kind(kind: Kind, path: &str, visit: &mut dyn FnMut(&'static Key, &str)) {
    match kind {
        // What `defaults` may hold is what listeners and pools may hold.
        Kind::Map(keys) if !path.starts_with("defaults.") => walk(keys, path, visit),
        Kind::Named(keys) => walk(keys, path, visit),
        Kind::List(kind) | Kind::Values(kind) => walk_kind(*kind, path, visit),
        Kind::Either(kinds) => kinds.iter().for_each(|kind| walk_kind(*kind, path, visit)),
        Kind::Choice(choices) => choices.iter().for_each(|choice| {
            choice.value.into_iter().for_each(|kind| walk_kind(kind, &format!("{path}.{}", choice.name), visit));
        }),
        Kind::Map(_) | Kind::Scalar(_) | Kind::Policy => {}
    }
}

#[test]
fn the_list_of_what_is_not_supported_is_complete() {
    let mut later = Vec::new();
    walk(ROOT, "", &mut |key, path| {
        let inside = later.iter().any(|outer: &String| path.starts_with(&format!("{outer}.")));
        if key.later && !inside {
            later.push(path.to_owned());
        }
    });
    later.sort();
    let mut expected = NOT_SUPPORTED.to_vec();
    expected.sort_unstable();
    assert_eq!(later, expected);
}

/// In block style, at its own key, whatever it holds.
#[test]
fn what_is_not_supported_is_refused_at_its_key() {
    for path in NOT_SUPPORTED {
        let mut text = String::new();
        let mut shown = String::new();
        let mut indent = 0;
        for part in path.split('.') {
            text += &format!("{:indent$}{part}:\n", "");
            shown = tree::join(&shown, part);
            indent += 2;
            if matches!(part, "listeners" | "pools") {
                text += &format!("{:indent$}x:\n", "");
                shown = tree::join(&shown, "x");
                indent += 2;
            }
        }
        let line = text.lines().count();
        let errors = parse("t.yaml", &text, &CATALOGUE, &|_| None).unwrap_err().to_string();
        let column = indent - 1;
        let expected = format!("t.yaml:{line}:{column}: {shown}: not supported yet");
        assert!(errors.lines().any(|error| error == expected), "{expected}\n{errors}");
    }
}

#[test]
fn defaults_and_examples_are_what_their_keys_accept() {
    walk(ROOT, "", &mut |key, path| {
        let default = key.default.filter(|_| section::default(key).is_some());
        for text in default.into_iter().chain(key.example).filter(|text| *text != "{}") {
            let items = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            for item in
                items.map_or_else(|| vec![text], |items| items.split(", ").filter(|item| !item.is_empty()).collect())
            {
                accepts(key.kind, item, path);
            }
        }
    });
}

fn accepts(kind: Kind, text: &str, path: &str) {
    let quoted = Key { default: Some(Box::leak(text.to_owned().into_boxed_str())), ..ROOT[0] };
    let node = section::default(&quoted).unwrap();
    let fits = |kind: Kind| match kind {
        Kind::Scalar(scalar) => scalar.check(&node).is_ok(),
        Kind::Choice(choices) => choices.iter().any(|choice| node.text() == Some(choice.name) && !choice.needs_value),
        Kind::Policy | Kind::Values(_) => true,
        _ => false,
    };
    let mut kinds = vec![kind];
    while let Some(outer) = kinds.iter().position(|kind| matches!(kind, Kind::List(_) | Kind::Either(_))) {
        match kinds.swap_remove(outer) {
            Kind::List(item) => kinds.push(*item),
            Kind::Either(inner) => kinds.extend(inner),
            _ => {}
        }
    }
    assert!(kinds.into_iter().any(fits), "{path}: {text}");
}

/// The manual is only as good as its entries.
#[test]
fn every_key_is_documented_and_can_be_shown() {
    walk(ROOT, "", &mut |key, path| {
        assert!(key.doc.ends_with('.') && key.doc.len() > 5, "{path}: {}", key.doc);
        assert!(!key.doc.contains("  "), "{path}: {}", key.doc);
        let shown = key.default.is_some() || key.example.is_some();
        let tells = map_of(key.kind).is_some() || matches!(key.kind, Kind::Named(_) | Kind::Choice(_));
        let list = matches!(key.kind, Kind::List(item) if map_of(*item).is_some());
        assert!(shown || tells || list, "{path} has neither default nor example");
        assert!(!(key.required && key.default.is_some()), "{path} is required and has a default");
    });
}

#[test]
fn names_are_unique_and_in_the_table_once() {
    let mut paths = std::collections::HashSet::new();
    walk(ROOT, "", &mut |_, path| assert!(paths.insert(path.to_owned()), "{path} twice"));
    assert!(paths.len() > 150, "{}", paths.len());
}

/// Whoever writes `off` for what may be absent must be understood; `match: { sni: off }` must not take everybody.
#[test]
fn off_takes_back_whatever_can_be_absent_and_nothing_in_lists_and_choices() {
    let mut taken_back = Vec::new();
    walk(ROOT, "", &mut |key, path| {
        if key.can_be_taken_back() {
            taken_back.push(path.to_owned());
        }
    });
    for path in ["include", "state_file", "admin", "admin.tls", "admin.token_file", "metrics", "metrics.listen"]
        .into_iter()
        .chain(["listeners.routes", "listeners.pool", "listeners.tls.client_auth", "listeners.tls.client_auth.crl"])
        .chain(["listeners.tls.alpn", "listeners.tls.ticket_keys", "pools.tls.ca", "pools.tls.server_name"])
        .chain(["pools.health.port", "pools.health.address"])
    {
        assert!(taken_back.iter().any(|taken| taken == path), "{path}: {taken_back:?}");
    }
    for path in
        ["tcp", "timeouts", "connect", "log", "match", "sni", "send", "expect", "body_regex", "name", "user", "mode"]
    {
        assert!(!taken_back.iter().any(|taken| taken.ends_with(&format!(".{path}"))), "{path}: {taken_back:?}");
    }
    assert!(!taken_back.iter().any(|taken| ["shutdown", "upgrade", "reload", "log", "defaults"].contains(&&**taken)));
}
