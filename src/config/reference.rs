//! `config/reference.yaml`: the table of keys as a file that is its own manual.

use super::keys::{self, Choice, HASH, Key, Kind};
use super::scalar::Scalar;
use super::units::format_duration;
use super::{Catalogue, Takes};

/// Comments are wrapped so that lines end before this column.
const WIDTH: usize = 100;

const HEADER: &str = "\
Every key of a Peerway configuration, with its meaning and its default. This file is generated from the table that \
the program itself reads keys by, and `peerway check` accepts it as it is. Nearly every key may be left out; \
peerway.yaml shows how little is needed.

A value shown without a word about its default is an example of a key that is off when absent. What stands behind `#` \
without a space is a key that is not live here: remove that one `#` from each of its lines to use it. Keys marked \
`(not supported yet)` are refused for now.

`off` stands for a thing that is not there: a key without a default, which may be left out, is as if it were not \
written, and what `defaults` say of it does not count. Where `off` means something else its key says so; in what is \
compared or sent, such as `match` of a route and the parameters of a probe, it is a word like any other.

Durations are whole numbers with units, longest first: 250ms, 5s, 1m30s. Sizes are like 64KiB, rates like 50/s, \
shares like 20%. A list with one item may be written as that item alone. A choice is a name, or a map with that name \
as its only key: `policy: random` or `policy: { random: {} }`. Paths are relative to the file that names them.

`${VAR}` in a value is an environment variable, `${VAR:-default}` one that may be unset or empty, `$$` a dollar sign. \
Inside `{ }` and `[ ]` put such values in quotes. Keys that start with `x-` are ignored: a place for YAML anchors and \
notes of your own.";

/// The whole file.
pub(super) fn render(catalogue: &Catalogue) -> String {
    let mut writer = Writer { catalogue, lines: Vec::new() };
    writer.prose(HEADER, 0);
    writer.keys(keys::ROOT, 0);
    let mut text = writer.lines.join("\n");
    text.push('\n');
    text
}

struct Writer<'a> {
    catalogue: &'a Catalogue,
    lines: Vec<String>,
}

impl Writer<'_> {
    fn keys(&mut self, keys: &[Key], indent: usize) {
        for (i, key) in keys.iter().enumerate() {
            if i > 0 || indent == 0 {
                self.lines.push(String::new());
            }
            self.key(key, indent);
        }
    }

    fn key(&mut self, key: &Key, indent: usize) {
        let mark = if key.later { "(not supported yet) " } else { "" };
        self.prose(&format!("{mark}{}", key.doc), indent);
        if let Some(takes) = takes(key) {
            self.prose(&takes, indent);
        }
        self.choices(key.kind, indent);
        let start = self.lines.len();
        self.value(key, indent);
        if key.later || key.dormant {
            self.comment_out(start, indent);
        }
    }

    /// The key itself, with what it holds.
    fn value(&mut self, key: &Key, indent: usize) {
        let name = key.name;
        if let (None, Some(long)) = (key.default, keys::map_of(key.kind)) {
            self.line(indent, &format!("{name}:"));
            return self.keys(long, indent + 2);
        }
        match key.kind {
            Kind::Named(keys) => {
                self.line(indent, &format!("{name}:"));
                self.line(indent + 2, "web:");
                self.keys(keys, indent + 4);
            }
            Kind::List(item) if keys::map_of(*item).is_some() => self.long_list(key, *item, indent),
            kind => {
                let value = key.example.or(key.default).or_else(|| first_word(kind)).unwrap_or_default();
                self.line(indent, &format!("{name}: {value}"));
                self.long_form(kind, name, indent);
            }
        }
    }

    /// A list whose items may be maps: the short items of the example, then one in the long form.
    fn long_list(&mut self, key: &Key, item: Kind, indent: usize) {
        self.line(indent, &format!("{}:", key.name));
        for short in key.example.into_iter().flat_map(list_items) {
            self.line(indent + 2, &format!("- {short}"));
        }
        self.line(indent + 2, "-");
        self.keys(keys::map_of(item).unwrap_or_default(), indent + 4);
    }

    /// A key that is shown with a single value may be a map too, or a choice with keys of its own.
    fn long_form(&mut self, kind: Kind, name: &str, indent: usize) {
        if let (Kind::Either(_), Some(keys)) = (kind, keys::map_of(kind)) {
            self.alternative(indent, |writer| {
                writer.line(indent, &format!("{name}:"));
                writer.keys(keys, indent + 2);
            });
        }
        if let Kind::Policy = kind {
            self.policies_that_hash(name, indent);
        }
        let Kind::Choice(choices) = kind else { return };
        for choice in choices {
            let Some(value) = choice.value else { continue };
            let (keys, list) = match value {
                Kind::Map(keys) => (keys, false),
                Kind::List(Kind::Map(keys)) => (*keys, true),
                _ => continue,
            };
            self.alternative(indent, |writer| {
                writer.line(indent, &format!("{name}:"));
                writer.line(indent + 2, &format!("{}:", choice.name));
                if list {
                    writer.line(indent + 4, "-");
                }
                writer.keys(keys, indent + if list { 6 } else { 4 });
            });
        }
    }

    /// Policies that hash all have the same parameters, so one of them is shown with them.
    fn policies_that_hash(&mut self, name: &str, indent: usize) {
        let hashing = || self.catalogue.policies.iter().filter(|policy| policy.takes == Takes::Hash);
        let Some(shown) = hashing().next() else { return };
        let names: Vec<_> = hashing().map(|policy| format!("`{}`", policy.name)).collect();
        self.prose(&format!("The parameters of {}:", super::hint::join(&names, "and")), indent);
        let start = self.lines.len();
        self.line(indent, &format!("{name}:"));
        self.line(indent + 2, &format!("{}:", shown.name));
        self.keys(HASH, indent + 4);
        self.comment_out(start, indent);
    }

    /// What `write` writes, as a form that is not live.
    fn alternative(&mut self, indent: usize, write: impl FnOnce(&mut Self)) {
        self.prose("Or in the long form:", indent);
        let start = self.lines.len();
        write(self);
        self.comment_out(start, indent);
    }

    /// What each word of a choice means, and the keys that may follow it.
    fn choices(&mut self, kind: Kind, indent: usize) {
        match kind {
            Kind::Choice(choices) if !plain(choices) => {
                for choice in choices {
                    self.item(choice.name, choice.doc, indent);
                    choice.value.into_iter().for_each(|kind| self.fields(kind, indent));
                }
            }
            Kind::Policy => self.policies(indent),
            Kind::List(item) => self.choices(*item, indent),
            Kind::Either(kinds) => kinds.iter().for_each(|kind| self.choices(*kind, indent)),
            _ => {}
        }
    }

    /// What may stand in the list that follows a word.
    fn fields(&mut self, kind: Kind, indent: usize) {
        let Kind::List(Kind::Choice(choices)) = kind else { return };
        for choice in *choices {
            self.wrapped(&format!("{}: {}", choice.name, choice.doc), indent, "#     ", "#       ");
        }
    }

    fn policies(&mut self, indent: usize) {
        for policy in self.catalogue.policies {
            self.item(policy.name, policy.summary, indent);
        }
    }

    fn item(&mut self, name: &str, doc: &str, indent: usize) {
        self.wrapped(&format!("{name}: {doc}"), indent, "#   ", "#     ");
    }

    /// Text as comments; an empty line parts paragraphs.
    fn prose(&mut self, text: &str, indent: usize) {
        for (i, paragraph) in text.split("\n\n").enumerate() {
            if i > 0 {
                self.line(indent, "#");
            }
            self.wrapped(paragraph, indent, "# ", "# ");
        }
    }

    fn wrapped(&mut self, text: &str, indent: usize, first: &str, next: &str) {
        let mut line = first.to_owned();
        let mut fresh = true;
        for word in text.split_whitespace() {
            if !fresh && indent + line.chars().count() + 1 + word.chars().count() >= WIDTH {
                self.line(indent, &line);
                line = next.to_owned();
                fresh = true;
            }
            if !fresh {
                line.push(' ');
            }
            line.push_str(word);
            fresh = false;
        }
        self.line(indent, &line);
    }

    fn line(&mut self, indent: usize, text: &str) {
        self.lines.push(format!("{:indent$}{text}", ""));
    }

    fn comment_out(&mut self, start: usize, indent: usize) {
        for line in &mut self.lines[start..] {
            *line = match line.get(indent..) {
                Some(rest) if !rest.is_empty() => format!("{:indent$}#{rest}", ""),
                _ => format!("{:indent$}#", ""),
            };
        }
    }
}

/// `Value: off or a duration. Default: 1h.`
fn takes(key: &Key) -> Option<String> {
    let mut forms = Vec::new();
    add_forms(key.kind, &mut forms);
    let forms = or(&forms)?;
    Some(match key.default {
        Some(default) => format!("Value: {forms}. Default: {default}."),
        None if key.required => format!("Value: {forms}. Required."),
        None => format!("Value: {forms}."),
    })
}

/// The forms a value may have, in words; a key that is only a map speaks for itself.
fn add_forms(kind: Kind, out: &mut Vec<String>) {
    match kind {
        Kind::Scalar(scalar) => out.push(form(scalar)),
        Kind::List(item) => {
            let mut items = Vec::new();
            add_forms(*item, &mut items);
            let items = or(&items).unwrap_or_else(|| "a map".to_owned());
            out.push(format!("{items}; one, or a list of them"));
        }
        Kind::Choice(choices) => out.extend(choices.iter().flat_map(spellings)),
        Kind::Either(kinds) => {
            for kind in kinds {
                match kind {
                    Kind::Map(_) => out.push("a map".to_owned()),
                    kind => add_forms(*kind, out),
                }
            }
        }
        Kind::Values(_) => out.push("a map from names to numbers".to_owned()),
        Kind::Policy => out.push("one of these names".to_owned()),
        Kind::Map(_) | Kind::Named(_) => {}
    }
}

fn or(forms: &[String]) -> Option<String> {
    let (last, head) = forms.split_last()?;
    Some(if head.is_empty() { last.clone() } else { format!("{} or {last}", head.join(", ")) })
}

fn form(scalar: Scalar) -> String {
    match scalar {
        Scalar::Count { min, max } if min == max => min.to_string(),
        Scalar::Count { min, max: keys::MANY } => format!("a whole number, at least {min}"),
        Scalar::Count { min, max } => format!("a whole number from {min} to {max}"),
        Scalar::Duration { min, max, whole_seconds: true } => {
            format!("a duration in whole seconds, {} to {}s", format_duration(min), max.as_secs())
        }
        Scalar::Duration { .. } => "a duration".to_owned(),
        other => other.noun().replace('`', ""),
    }
}

/// How a choice may be written.
fn spellings(choice: &Choice) -> impl Iterator<Item = String> + use<> {
    let word = (!choice.needs_value).then(|| choice.name.to_owned());
    let long = choice.value.map(|_| format!("{{ {}: … }}", choice.name));
    word.into_iter().chain(long)
}

/// Words that say all there is to say.
fn plain(choices: &[Choice]) -> bool {
    matches!(choices, [only] if matches!(only.name, "off" | "auto"))
}

fn first_word(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Choice(choices) => choices.first().map(|choice| choice.name),
        Kind::Either(kinds) => kinds.iter().find_map(|kind| first_word(*kind)),
        Kind::List(item) => first_word(*item),
        _ => None,
    }
}

/// The items of a list in flow style that holds no commas but those between items.
fn list_items(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.trim_matches(['[', ']'].as_slice()).split(", ")
}
