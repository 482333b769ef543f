//! YAML text into a [`Node`], within limits that no honest file meets.

mod raw;

use std::collections::HashMap;

use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_yaml::{Budget, Location, MessageFormatter, Options, Spanned};

use super::error::{Place, Report};
use super::tree::{Entry, Node, Value, join};
use raw::{Pair, Raw};

/// Nesting beyond this is no configuration a person wrote; the deepest key is some ten levels down.
const MAX_DEPTH: usize = 32;
/// Small files may grow to so many nodes through aliases; long files are bounded by their own length.
const MIN_NODES: usize = 20_000;
/// A file of a few lines with more aliases than this is a bomb, or should be written with `defaults`.
const MAX_ALIASES: usize = 100;
const SECOND_DOCUMENT: &str = "a second document starts here (`---`); one file holds one document";

/// Parses one document. A syntax error is reported and gives `None`; duplicate keys are reported and dropped.
pub(super) fn parse(text: &str, start: Place, report: &mut Report) -> Option<Node> {
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(text, options(text.len())) {
        Ok(raw) => Some(Settler { start, report }.node(raw, "", false)),
        Err(error) => {
            let at = error.location().map_or(start, |location| place(location, start));
            let mut message = syntax_message(&error, text.len());
            let line = text.lines().nth(at.line as usize - 1).unwrap_or_default();
            if line.contains("${") {
                message.push_str(" (inside `{ }` and `[ ]`, variables need quotes: `\"${VAR}\"`)");
            }
            report.error(at, "", message);
            None
        }
    }
}

/// More nodes than half its bytes a file can only have through aliases.
fn max_nodes(bytes: usize) -> usize {
    MIN_NODES.max(bytes / 2)
}

fn options(bytes: usize) -> Options {
    let nodes = max_nodes(bytes);
    let mut budget = Budget::default();
    budget.max_depth = MAX_DEPTH;
    budget.flow_nesting_limit = MAX_DEPTH;
    budget.max_nodes = nodes;
    // Every node is at most two events; the stream and its one document add a few.
    budget.max_events = nodes.saturating_mul(2).saturating_add(8);
    budget.max_aliases = MAX_ALIASES;
    budget.max_anchors = MAX_ALIASES;
    budget.max_merge_keys = MAX_ALIASES;
    budget.enforce_alias_anchor_ratio = false;
    budget.max_documents = 1;

    let mut options = Options::default();
    options.budget = Some(budget);
    options.alias_limits.max_total_replayed_events = nodes.saturating_mul(2);
    options.alias_limits.max_replay_stack_depth = MAX_DEPTH;
    options.alias_limits.max_alias_expansions_per_anchor = MAX_ALIASES;
    // Our own check names both places and does not end the run.
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.merge_keys = MergeKeyPolicy::Merge;
    // Else `off` would arrive as `false`, `0660` as 660 and `1_000` as a thousand.
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    options.emit_comments = false;
    options.with_snippet = false;
    options
}

fn syntax_message(error: &serde_yaml::Error, bytes: usize) -> String {
    use serde_yaml::budget::BudgetBreach as Breach;
    let nodes = max_nodes(bytes);
    match original(error) {
        serde_yaml::Error::Budget { breach, .. } => match breach {
            Breach::Depth { .. } => too_deep(),
            Breach::Aliases { .. } => {
                format!("more than {MAX_ALIASES} aliases (`*name`); use `defaults` instead")
            }
            Breach::Anchors { .. } => format!("more than {MAX_ALIASES} anchors (`&name`)"),
            Breach::MergeKeys { .. } => {
                format!("more than {MAX_ALIASES} merge keys (`<<`); use `defaults` instead")
            }
            Breach::Nodes { .. } | Breach::Events { .. } => {
                format!("more than {nodes} values, the limit for a file of {bytes} bytes")
            }
            Breach::Documents { .. } => SECOND_DOCUMENT.to_owned(),
            _ => "too large to be a configuration".to_owned(),
        },
        serde_yaml::Error::AliasReplayLimitExceeded { .. } => {
            format!("aliases unfold to more than {nodes} values, the limit for a file of {bytes} bytes")
        }
        serde_yaml::Error::AliasExpansionLimitExceeded { .. } => {
            format!("more than {MAX_ALIASES} uses of one alias; use `defaults` instead")
        }
        serde_yaml::Error::MultipleDocuments { .. } => SECOND_DOCUMENT.to_owned(),
        error => match serde_yaml::UserMessageFormatter.format_message(error).as_ref() {
            // The scanner's word for brackets within brackets; it has no variant of its own.
            "recursion limit exceeded" => too_deep(),
            message => format!("not valid YAML: {message}"),
        },
    }
}

fn too_deep() -> String {
    format!("nested deeper than {MAX_DEPTH} levels")
}

/// The error behind the places that led to it.
fn original(mut error: &serde_yaml::Error) -> &serde_yaml::Error {
    while let serde_yaml::Error::AliasError { error: inner, .. } = error.without_snippet() {
        error = inner;
    }
    error.without_snippet()
}

/// Turns what the parser gave into our own tree and looks for duplicate keys.
struct Settler<'a> {
    start: Place,
    report: &'a mut Report,
}

impl Settler<'_> {
    /// `ignored`: below a key that starts with `x-`, where nothing is judged.
    fn node(&mut self, raw: Spanned<Raw>, path: &str, ignored: bool) -> Node {
        let at = place(raw.defined, self.start);
        let value = match raw.value {
            Raw::Scalar(value) => value,
            Raw::List(items) => {
                let items = items.into_iter().enumerate();
                Value::List(items.map(|(i, item)| self.node(item, &format!("{path}[{i}]"), ignored)).collect())
            }
            Raw::Map(pairs) => Value::Map(self.entries(pairs, path, ignored)),
        };
        Node { at, value }
    }

    fn entries(&mut self, pairs: Vec<Pair>, path: &str, ignored: bool) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(pairs.len());
        // The parser has settled `<<` already: what it brings in yields to the map's own keys.
        let mut lines = HashMap::with_capacity(pairs.len());
        for (key, value) in pairs {
            let (path, key_at) = (join(path, &key.value), place(key.defined, self.start));
            let node = self.node(value, &path, ignored || key.value.starts_with("x-"));
            match lines.get(&key.value) {
                None => {
                    lines.insert(key.value.clone(), key_at.line);
                    entries.push(Entry { key: key.value, key_at, node });
                }
                Some(_) if ignored => {}
                Some(line) => self.report.error(key_at, &path, format!("duplicate key, first at line {line}")),
            }
        }
        entries
    }
}

fn place(location: Location, start: Place) -> Place {
    let at = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    Place { file: start.file, line: at(location.line()), column: at(location.column()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parsed(text: &str) -> (Option<Node>, Vec<String>) {
        let mut report = Report::default();
        let start = report.open(std::path::Path::new("t"));
        let node = parse(text, start, &mut report);
        (node, report.finish().err().into_iter().flatten().map(|error| error.to_string()).collect())
    }

    /// `path=line:column` of every node, in order.
    fn places(node: &Node, path: &str, out: &mut Vec<String>) {
        out.push(format!("{path}={}:{}", node.at.line, node.at.column));
        match &node.value {
            Value::List(items) => {
                items.iter().enumerate().for_each(|(i, item)| places(item, &format!("{path}[{i}]"), out))
            }
            Value::Map(entries) => entries.iter().for_each(|entry| {
                out.push(format!("{path}.{}@{}:{}", entry.key, entry.key_at.line, entry.key_at.column));
                places(&entry.node, &format!("{path}.{}", entry.key), out);
            }),
            _ => {}
        }
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let (node, errors) = parsed("a:\n  - 1\n  - {b: x, \"é\":  [y]}\n# note\nc: |\n  text\n");
        let mut found = Vec::new();
        places(&node.unwrap(), "", &mut found);
        assert_eq!(errors, Vec::<String>::new());
        let expected = "=1:1 .a@1:1 .a=2:3 .a[0]=2:5 .a[1]=3:5 .a[1].b@3:6 .a[1].b=3:9 .a[1].é@3:12 .a[1].é=3:18 .a[1].é[0]=3:19 \
                        .c@5:1 .c=6:3";
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn scalars_keep_what_was_meant() {
        let value = |text: &str| match parsed(&format!("k: {text}")).0.unwrap().value {
            Value::Map(mut entries) => entries.remove(0).node.value,
            other => other,
        };
        let text = |text: &str| Value::Text(text.to_owned());
        for word in ["off", "on", "yes", "no", "0660", "1_000", "1.2.3.4:80", "1:30", "5s"] {
            assert_eq!(value(word), text(word), "{word}");
        }
        assert_eq!(value("'5'"), text("5"));
        assert_eq!((value("5"), value("-5"), value("0x10")), (Value::Int(5), Value::Int(-5), Value::Int(16)));
        assert_eq!(
            (value("true"), value("null"), value("~"), value("")),
            (Value::Bool(true), Value::Null, Value::Null, Value::Null)
        );
        assert_eq!(value("1.5"), Value::Float(1.5));
    }

    #[test]
    fn a_duplicate_key_is_reported_and_the_first_one_stays() {
        let (node, errors) = parsed("a: 1\nb: 2\na: 3\na: 4\n");
        assert_eq!(errors, ["t:3:1: a: duplicate key, first at line 1", "t:4:1: a: duplicate key, first at line 1"]);
        assert_eq!(node.unwrap().entries().unwrap()[0].node.value, Value::Int(1));
    }
}
