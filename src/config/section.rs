//! Reading a map whose keys may also stand in `defaults`, each with the place it came from.

use super::error::Place;
use super::keys::{self, Key};
use super::tree::{Entry, Node, Value, join};

/// A map, over the maps that supply what it does not say. What [`super::check`] has refused reads as absent.
#[derive(Debug, Clone)]
pub(super) struct Section<'a> {
    keys: &'static [Key],
    layers: Vec<Layer<'a>>,
    /// Where errors about what is missing belong.
    pub(super) path: String,
    pub(super) at: Place,
    /// Its own value is no map, so nothing can be said about what is missing in it.
    pub(super) broken: bool,
}

#[derive(Debug, Clone)]
struct Layer<'a> {
    entries: &'a [Entry],
    path: String,
}

/// A value in one of the layers.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
    pub(super) at: Place,
}

impl<'a> Section<'a> {
    /// A section that says nothing yet; `at` is where it is named.
    pub(super) fn new(keys: &'static [Key], path: &str, at: Place) -> Self {
        Self { keys, layers: Vec::new(), path: path.to_owned(), at, broken: false }
    }

    /// Adds a map below those already there.
    pub(super) fn over(mut self, node: &'a Node, path: &str) -> Self {
        if let Some(entries) = node.entries() {
            self.layers.push(Layer { entries, path: path.to_owned() });
        } else {
            self.broken = true;
        }
        self
    }

    /// Adds the maps of `other` below those already there.
    pub(super) fn over_section(mut self, other: &Self) -> Self {
        self.layers.extend(other.layers.iter().cloned());
        self
    }

    /// The table of this section.
    pub(super) fn keys(&self) -> &'static [Key] {
        self.keys
    }

    /// The keys that its own map has, known or not.
    pub(super) fn own_keys(&self) -> impl Iterator<Item = &'a str> {
        let entries = self.layers.first().map(|layer| layer.entries).unwrap_or_default();
        entries.iter().map(|entry| entry.key.as_str()).filter(|key| !key.starts_with("x-"))
    }

    /// The first layer's word on `name`.
    pub(super) fn find(&self, name: &str) -> Option<Found<'a>> {
        self.all(name).next()
    }

    /// The words of all layers on `name`, the one that counts first, down to one that takes back those below it.
    fn all(&self, name: &str) -> impl Iterator<Item = Found<'a>> {
        let key = keys::find(self.keys, name);
        debug_assert!(key.is_some(), "the table of keys has no {name} in {}", self.path);
        let entries = self.layers.iter().filter_map(move |layer| {
            let entry = layer.entries.iter().find(|entry| entry.key == name)?;
            Some((entry, layer))
        });
        entries
            .take_while(move |(entry, _)| !key.is_some_and(|key| key.is_taken_back(&entry.node)))
            .map(move |(entry, layer)| Found { node: &entry.node, path: join(&layer.path, name), at: entry.key_at })
    }

    /// The map at `name`: this section's over those of its defaults, down to the first that is no map.
    pub(super) fn section(&self, name: &str) -> Section<'a> {
        let keys = keys::find(self.keys, name).and_then(|key| keys::map_of(key.kind)).unwrap_or_default();
        let found: Vec<_> = self.all(name).collect();
        let at = found.first().map_or(self.at, |found| found.at);
        let mut section = Section::new(keys, &join(&self.path, name), at);
        section.broken = found.first().is_some_and(|found| found.node.entries().is_none());
        let maps = found.iter().take_while(|found| found.node.entries().is_some());
        maps.fold(section, |section, found| section.over(found.node, &found.path))
    }

    /// What the files say, read by `read`.
    pub(super) fn given<T, E>(&self, name: &str, read: impl Fn(&Node) -> Result<T, E>) -> Option<T> {
        self.find(name).and_then(|found| read(found.node).ok())
    }

    /// What the files say, or else the default of the table. It is `None` only if there is no default.
    pub(super) fn read<T, E>(&self, name: &str, read: impl Fn(&Node) -> Result<T, E>) -> Option<T> {
        self.given(name, &read).or_else(|| read(&default(keys::find(self.keys, name)?)?).ok())
    }

    /// [`Self::read`] for a key whose default the table states.
    pub(super) fn value<T: Default, E>(&self, name: &str, read: impl Fn(&Node) -> Result<T, E>) -> T {
        let value = self.read(name, read);
        debug_assert!(value.is_some(), "the table of keys gives no valid default for {name} in {}", self.path);
        value.unwrap_or_default()
    }

    /// [`Self::value`] of a key that may be `off` (or `auto`), which is `None`.
    pub(super) fn optional<T, E>(&self, name: &str, read: impl Fn(&Node) -> Result<T, E>) -> Option<T> {
        self.value(name, |node| if is_word(node, &["off", "auto"]) { Ok(None) } else { read(node).map(Some) })
    }

    /// The maps under `plural` (`listeners` or `pools`) of a whole file, by name, in order, each over the `defaults` for
    /// its kind.
    pub(super) fn named(&self, plural: &str, singular: &str, keys: &'static [Key]) -> Vec<(&'a str, Section<'a>)> {
        let defaults = self.section("defaults").section(singular);
        let Some(found) = self.find(plural) else {
            return Vec::new();
        };
        let entries = found.node.entries().unwrap_or_default().iter();
        entries
            .filter(|entry| !entry.key.starts_with("x-"))
            .map(|entry| {
                let path = format!("{plural}.{}", entry.key);
                let own = Section::new(keys, &path, entry.key_at).over(&entry.node, &path);
                (entry.key.as_str(), own.over_section(&defaults))
            })
            .collect()
    }

    /// Does the word that counts say `off`?
    pub(super) fn is_off(&self, name: &str) -> bool {
        self.find(name).is_some_and(|found| is_word(found.node, &["off"]))
    }
}

/// Is `node` one of `words`, alone or as a map with that as its only key?
pub(super) fn is_word(node: &Node, words: &[&str]) -> bool {
    super::check::chosen(node).is_some_and(|(name, ..)| words.contains(&name))
}

/// The default of `key` as a node. Defaults are single values or short lists of words.
pub(super) fn default(key: &Key) -> Option<Node> {
    let text = key.default?;
    let list = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let value = match list {
        Some(items) => {
            let words = items.split(',').map(str::trim).filter(|word| !word.is_empty());
            Value::List(words.map(|word| Node { at: Place::default(), value: scalar(word) }).collect())
        }
        None => scalar(text),
    };
    Some(Node { at: Place::default(), value })
}

fn scalar(text: &str) -> Value {
    if let Some(quoted) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        return Value::Text(quoted.to_owned());
    }
    if let Ok(number) = text.parse() {
        return Value::Int(number);
    }
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => Value::Text(text.to_owned()),
    }
}

/// Reads a choice: the name, if it is one of `words`.
pub(super) fn word<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Node) -> Result<T, ()> {
    move |node| {
        let (name, ..) = super::check::chosen(node).ok_or(())?;
        words.iter().find(|(word, _)| *word == name).map(|(_, value)| *value).ok_or(())
    }
}
