//! A tree in which every key and value knows its place.

use super::error::Place;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    /// Text that came out of `${VAR}`: it may also stand for a number or a boolean.
    Expanded(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something was wrong here and has been reported: it is neither judged nor used any further.
    Failed,
}

/// One key of a map; keys are unique within it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Place,
    pub(super) node: Node,
}

impl Node {
    /// The entries of a map; an empty value counts as an empty map.
    pub(super) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            Value::Null => Some(&[]),
            _ => None,
        }
    }

    /// The items of a list; anything else is a list of itself.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// The items of a list, each with its path; anything else is its only item.
    pub(super) fn items_at(&self, path: &str) -> impl Iterator<Item = (&Node, String)> {
        let list = matches!(self.value, Value::List(_));
        let items = self.items().iter().enumerate();
        items.map(move |(i, item)| (item, if list { format!("{path}[{i}]") } else { path.to_owned() }))
    }

    /// The text of a scalar that is text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Expanded(text) => Some(text),
            _ => None,
        }
    }

    /// What stands here, for "expected X, found Y".
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(b) => format!("`{b}`"),
            Value::Int(n) => format!("the number {n}"),
            Value::Float(n) => format!("the number {n}"),
            Value::Text(text) | Value::Expanded(text) if text.is_empty() => "empty text".to_owned(),
            Value::Text(text) | Value::Expanded(text) => format!("`{}`", shorten(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(entries) if entries.len() > 1 => format!("a map with {} keys", entries.len()),
            Value::Map(_) => "a map".to_owned(),
            Value::Failed => "an error".to_owned(),
        }
    }
}

/// Long values are cut: an error is one readable line.
pub(super) fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `parent.key`.
pub(super) fn join(parent: &str, key: &str) -> String {
    let key = if key.is_empty() { "\"\"" } else { key };
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}
