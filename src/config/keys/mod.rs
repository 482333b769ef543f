//! The one table of keys. It drives the checks, the hints, the defaults, the reference file and the JSON Schema:
//! a key that is not here does not exist, and its `doc` is its manual.

mod admission;
mod health;
mod listener;
mod pool;
mod process;
mod route;
mod shared;
#[cfg(test)]
mod tests;
mod tls;

use std::time::Duration;

use super::scalar::Scalar;
use super::tree::Node;
use super::units::LONGEST;

pub(super) use health::{HEALTH, STEP, probe_keys};
pub(super) use listener::{BIND, LISTENER};
use pool::BACKEND_DEFAULTS;
pub(super) use pool::{BACKEND, HASH, POOL};
pub(super) use process::ROOT;
pub(super) use route::ROUTE;
pub(super) use tls::CERTIFICATE;

/// One key of a map.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// For users: meaning, unit, what happens without it.
    pub(super) doc: &'static str,
    /// What an absent key means, as YAML; `None` if absent means off.
    pub(super) default: Option<&'static str>,
    /// What the reference file shows, as YAML on one line or, from the second line on, indented as written.
    pub(super) example: Option<&'static str>,
    /// Must be given.
    pub(super) required: bool,
    /// The example needs something a stranger does not have, so the reference file shows it as a comment.
    pub(super) dormant: bool,
    /// Its values are compared or sent as they stand: `off` is a text like any other.
    pub(super) literal: bool,
    /// A map that says nothing when it is absent, though its keys have defaults.
    pub(super) silent: bool,
    /// A word that one may expect here, and why it cannot be.
    pub(super) never: Option<(&'static str, &'static str)>,
    /// What to do instead of writing `off`, for a key of which one may expect that it has that.
    pub(super) instead_of_off: Option<&'static str>,
    /// Its value is compared and never shown.
    pub(super) secret: bool,
    /// A running process cannot take over another value.
    pub(super) restart: bool,
    /// Known, documented, and refused for now.
    pub(super) later: bool,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            doc,
            default: None,
            example: None,
            required: false,
            dormant: false,
            literal: false,
            silent: false,
            never: None,
            instead_of_off: None,
            secret: false,
            restart: false,
            later: false,
        }
    }

    const fn default(mut self, yaml: &'static str) -> Self {
        self.default = Some(yaml);
        self
    }

    const fn example(mut self, yaml: &'static str) -> Self {
        self.example = Some(yaml);
        self
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn dormant(mut self) -> Self {
        self.dormant = true;
        self
    }

    const fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    const fn never(mut self, word: &'static str, why: &'static str) -> Self {
        self.never = Some((word, why));
        self
    }

    const fn instead_of_off(mut self, remedy: &'static str) -> Self {
        self.instead_of_off = Some(remedy);
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn restart(mut self) -> Self {
        self.restart = true;
        self
    }

    const fn later(mut self) -> Self {
        self.later = true;
        self
    }

    /// Whether `node` takes back what `defaults` say here, and is as if it were not there: `off`, where that has no meaning
    /// of its own.
    pub(super) fn is_taken_back(&self, node: &Node) -> bool {
        node.text() == Some("off") && self.can_be_taken_back()
    }

    /// Whether it can be absent, and absent means that the thing is not there.
    pub(super) fn can_be_taken_back(&self) -> bool {
        let can_be_absent = self.default.is_none() && !self.required && self.instead_of_off.is_none() && !self.later;
        let means_nothing = match self.kind {
            Kind::Map(keys) => self.silent || keys.iter().any(|key| key.required),
            Kind::Named(_) | Kind::Values(_) => false,
            kind => !has_its_off(kind),
        };
        can_be_absent && means_nothing && !self.literal
    }
}

/// Whether `off` means something of its own here.
fn has_its_off(kind: Kind) -> bool {
    match kind {
        Kind::Choice(choices) => choices.iter().any(|choice| choice.name == "off"),
        Kind::Either(kinds) => kinds.iter().any(|kind| has_its_off(*kind)),
        _ => false,
    }
}

/// Keys of what stands in a list, or behind a choice, and is filled by no `defaults`: each value is taken as it stands.
const fn literal<const N: usize>(mut keys: [Key; N]) -> [Key; N] {
    let mut index = 0;
    while index < N {
        keys[index].literal = true;
        index += 1;
    }
    keys
}

/// What a key may hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Scalar(Scalar),
    /// A map with these keys.
    Map(&'static [Key]),
    /// A map from names of the user's choice to such maps.
    Named(&'static [Key]),
    /// A map from names of the user's choice to such values.
    Values(&'static Kind),
    /// A list; a single item may stand alone.
    List(&'static Kind),
    /// A name, or a map with that name as its only key.
    Choice(&'static [Choice]),
    /// The first of these that the value looks like.
    Either(&'static [Kind]),
    /// A name from the catalogue, or a map with that name as its only key.
    Policy,
}

/// One name a choice offers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    /// What may follow in the form of a map: `{ drain: 5m }`.
    pub(super) value: Option<Kind>,
    /// Means nothing without its value.
    pub(super) needs_value: bool,
}

impl Choice {
    const fn word(name: &'static str, doc: &'static str) -> Self {
        Self { name, doc, value: None, needs_value: false }
    }

    const fn with(name: &'static str, value: Kind, doc: &'static str) -> Self {
        Self { name, doc, value: Some(value), needs_value: true }
    }

    const fn bare_too(mut self) -> Self {
        self.needs_value = false;
        self
    }
}

/// The entry of `name` in `keys`.
pub(super) fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// The keys of the map that `kind` may be.
pub(super) fn map_of(kind: Kind) -> Option<&'static [Key]> {
    match kind {
        Kind::Map(keys) => Some(keys),
        Kind::Either(kinds) => kinds.iter().find_map(|kind| map_of(*kind)),
        _ => None,
    }
}

/// Whether what stands at `path`, counted from the top level, can only be changed by a restart: the shortest part of it
/// that can, in words.
pub(super) fn restart_key(path: &[&str]) -> Option<String> {
    let mut keys = ROOT;
    for (depth, name) in path.iter().enumerate() {
        let key = find(keys, name)?;
        if key.restart {
            return Some(path[..=depth].join("."));
        }
        keys = map_of(key.kind)?;
    }
    None
}

const BOOL: Kind = Kind::Scalar(Scalar::Bool);
const TEXT: Kind = Kind::Scalar(Scalar::Text);
const TEXTS: Kind = Kind::List(&TEXT);
const NAME: Kind = Kind::Scalar(Scalar::Name);
const PATH: Kind = Kind::Scalar(Scalar::Path);
const PATHS: Kind = Kind::List(&PATH);
const SHARE: Kind = Kind::Scalar(Scalar::Share);
const RATE: Kind = Kind::Scalar(Scalar::Rate { min: 0 });
/// A rate that lets someone through.
const SOME_RATE_OR_OFF: Kind = Kind::Either(&[shared::OFF, Kind::Scalar(Scalar::Rate { min: 1 })]);
const BYTE_RATE_OR_OFF: Kind = Kind::Either(&[shared::OFF, Kind::Scalar(Scalar::ByteRate)]);
const FACTOR: Kind = Kind::Scalar(Scalar::Factor);
const PORT: Kind = count(1, 65_535);
/// As many of anything as nobody will ever have.
pub(super) const MANY: u64 = 1_000_000_000;

/// A duration that may be zero.
const SPAN: Kind = duration(Duration::ZERO, LONGEST);
/// A duration that means nothing when it is zero.
const TIMEOUT: Kind = duration(Duration::from_millis(1), LONGEST);
const TIMEOUT_OR_OFF: Kind = Kind::Either(&[shared::OFF, TIMEOUT]);

const fn count(min: u64, max: u64) -> Kind {
    Kind::Scalar(Scalar::Count { min, max })
}

const fn duration(min: Duration, max: Duration) -> Kind {
    Kind::Scalar(Scalar::Duration { min, max, whole_seconds: false })
}

const fn seconds(max: u64) -> Kind {
    Kind::Scalar(Scalar::Duration { min: Duration::from_secs(1), max: Duration::from_secs(max), whole_seconds: true })
}
