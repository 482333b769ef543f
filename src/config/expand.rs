//! `${VAR}`, `${VAR:-default}` and `$$` in scalar values. What a variable holds is never expanded again.

use std::ffi::OsString;

use super::error::Report;
use super::tree::{Node, Value, join};

/// Looks up a variable; the caller decides where variables come from. One that is not text is an error where it is used.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Expands every scalar below `node`, reporting each failure at its place.
pub(super) fn expand(node: &mut Node, path: &str, env: Env<'_>, report: &mut Report) {
    match &mut node.value {
        Value::Text(text) if text.contains('$') => match expand_text(text, env) {
            Ok(Expansion { text, used_variable: true }) => node.value = Value::Expanded(text),
            Ok(Expansion { text, used_variable: false }) => node.value = Value::Text(text),
            Err(message) => {
                report.error(node.at, path, message);
                node.value = Value::Failed;
            }
        },
        Value::List(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                expand(item, &format!("{path}[{i}]"), env, report);
            }
        }
        Value::Map(entries) => {
            for entry in entries.iter_mut().filter(|entry| !entry.key.starts_with("x-")) {
                expand(&mut entry.node, &join(path, &entry.key), env, report);
            }
        }
        _ => {}
    }
}

#[derive(Debug, PartialEq)]
struct Expansion {
    text: String,
    used_variable: bool,
}

fn expand_text(text: &str, env: Env<'_>) -> Result<Expansion, String> {
    let mut out = Expansion { text: String::with_capacity(text.len()), used_variable: false };
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.text.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.text.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (inside, after) =
                after.split_once('}').ok_or("`${` without `}` (a dollar sign itself is written `$$`)")?;
            out.text.push_str(&variable(inside, env)?);
            out.used_variable = true;
            rest = after;
        } else {
            out.text.push('$');
        }
    }
    out.text.push_str(rest);
    Ok(out)
}

/// The value of what stands between the braces.
fn variable(inside: &str, env: Env<'_>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        return Err(format!("`{name}` is not a variable name (a dollar sign itself is written `$$`)"));
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(format!("the default of `${{{name}}}` may not contain another variable"));
    }
    let not_text = |_| format!("the environment variable `{name}` is not UTF-8 text");
    match (env(name).map(OsString::into_string).transpose().map_err(not_text)?, default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            Err(format!("the environment variable `{name}` is not set (`${{{name}:-default}}` gives it a default)"))
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::ffi::OsStringExt as _;

    use proptest::prelude::*;

    use super::*;

    fn env(name: &str) -> Option<OsString> {
        match name {
            "A" => Some("${B}$$".into()),
            "EMPTY" => Some(OsString::new()),
            "BYTES" => Some(OsString::from_vec(vec![0xff])),
            _ => None,
        }
    }

    fn text(text: &str) -> Result<String, String> {
        expand_text(text, &env).map(|expansion| expansion.text)
    }

    #[test]
    fn what_is_expanded_and_what_is_not() {
        for (from, to) in [
            ("", ""),
            ("plain", "plain"),
            ("$", "$"),
            ("a$b", "a$b"),
            ("$$", "$"),
            ("$$$$", "$$"),
            ("$${A}", "${A}"),
            ("${A}", "${B}$$"),
            ("<${A}>${A}", "<${B}$$>${B}$$"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${UNSET:-}", ""),
            ("${UNSET:-a:-b$c}", "a:-b$c"),
            ("${_9:-x}", "x"),
        ] {
            assert_eq!(text(from).as_deref(), Ok(to), "{from}");
        }
        for from in ["${BYTES}", "${BYTES:-x}"] {
            assert_eq!(text(from).unwrap_err(), "the environment variable `BYTES` is not UTF-8 text");
        }
        for from in ["${", "${A", "${}", "${ A}", "${A-x}", "${9}", "${UNSET}", "${UNSET:-${A}}", "${UNSET:=x}"] {
            assert!(text(from).is_err(), "{from}");
        }
    }

    proptest! {
        #[test]
        fn it_ends_and_keeps_what_has_no_dollar(from in "[a-z${}:-]{0,40}") {
            let expanded = text(&from);
            if !from.contains('$') {
                prop_assert_eq!(expanded, Ok(from));
            }
        }

        #[test]
        fn doubled_dollars_give_back_any_text(original in any::<String>()) {
            prop_assert_eq!(text(&original.replace('$', "$$")), Ok(original));
        }
    }
}
