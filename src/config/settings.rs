//! A resolved configuration as a tree of keys, for people: what is compared, planned and shown.
//!
//! It holds what the files say with every default filled in, in one spelling of each value, so that two files that
//! mean the same give the same tree. Secrets are in it, to be compared; nothing that writes it out shows them.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};
use xxhash_rust::xxh3::xxh3_64;

/// What is shown instead of a secret.
pub const MASK: &str = "***";

/// One value, or a tree of them.
#[derive(Clone, PartialEq, Eq)]
pub enum Setting {
    /// A single value.
    Leaf(Leaf),
    /// Values in an order that matters.
    List(Vec<Setting>),
    /// Settings by key.
    Map(BTreeMap<String, Setting>),
    /// Settings by name, in an order that matters; names are unique.
    Members(Vec<(String, Setting)>),
}

/// A single value.
#[derive(Clone, PartialEq, Eq)]
pub enum Leaf {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Number(u64),
    /// Anything else, in the one spelling there is of it here.
    Text(String),
    /// A text that is never shown.
    Secret {
        /// What it is.
        value: String,
        /// What is shown.
        shown: String,
    },
}

impl Default for Setting {
    fn default() -> Self {
        Self::Map(BTreeMap::new())
    }
}

impl Setting {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Leaf(Leaf::Text(text.into()))
    }

    /// A text that is never shown.
    pub fn secret(value: impl Into<String>) -> Self {
        Self::Leaf(Leaf::Secret { value: value.into(), shown: MASK.into() })
    }

    /// What stands at a key or name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.get(name),
            Self::Members(members) => members.iter().find(|(member, _)| member == name).map(|(_, setting)| setting),
            _ => None,
        }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Secret { shown, .. } => f.write_str(shown),
        }
    }
}

impl fmt::Display for Setting {
    /// On one line, like YAML in flow style.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf(leaf) => leaf.fmt(f),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => write_pairs(f, entries.iter()),
            Self::Members(members) => write_pairs(f, members.iter().map(|(name, setting)| (name, setting))),
        }
    }
}

fn write_pairs<'a>(f: &mut fmt::Formatter<'_>, pairs: impl Iterator<Item = (&'a String, &'a Setting)>) -> fmt::Result {
    f.write_str("{")?;
    for (index, (name, setting)) in pairs.enumerate() {
        write!(f, "{} {name}: {setting}", if index > 0 { "," } else { "" })?;
    }
    f.write_str(" }")
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Leaf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => serializer.serialize_u64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Secret { shown, .. } => serializer.serialize_str(shown),
        }
    }
}

impl Serialize for Setting {
    /// Members become an object in their order.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Leaf(leaf) => leaf.serialize(serializer),
            Self::List(items) => items.serialize(serializer),
            Self::Map(entries) => entries.serialize(serializer),
            Self::Members(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, setting) in members {
                    map.serialize_entry(name, setting)?;
                }
                map.end()
            }
        }
    }
}

/// Names the content of configuration files: 16 hex digits, the same on every machine.
pub fn content_hash<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut whole = Vec::new();
    for text in texts {
        whole.extend_from_slice(&xxh3_64(text.as_bytes()).to_le_bytes());
    }
    format!("{:016x}", xxh3_64(&whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_writing_it_out_shows_a_secret() {
        let tree = Setting::Map([("send".to_owned(), Setting::List(vec![Setting::secret("hunter2")]))].into());
        for written in [tree.to_string(), format!("{tree:?}"), serde_json::to_string(&tree).expect("plain")] {
            assert!(!written.contains("hunter2") && written.contains(MASK), "{written}");
        }
        let other = Setting::Map([("send".to_owned(), Setting::List(vec![Setting::secret("hunter3")]))].into());
        assert_ne!(tree, other, "but a changed one is a change");
    }

    #[test]
    fn content_has_one_name_and_boundaries_count() {
        assert_eq!(content_hash(["a: 1\n"]), content_hash(["a: 1\n"]));
        assert_ne!(content_hash(["ab", "c"]), content_hash(["a", "bc"]));
    }
}
