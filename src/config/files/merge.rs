//! Many documents, one tree.

use std::collections::HashMap;

use super::super::error::{Place, Report};
use super::super::tree::{Entry, Node, Value, join};
use super::Documents;

/// Joins `listeners` and `pools` of all documents. Anything else may be said in one document only.
pub(in super::super) fn merge(documents: Documents, report: &mut Report) -> Node {
    let at = documents.list.first().map_or(Place::default(), |document| document.start);
    let mut merged = Merged::default();
    for document in documents.list {
        let Value::Map(entries) = document.root.value else {
            continue;
        };
        for entry in entries {
            merged.add(entry, report);
        }
    }
    Node { at, value: Value::Map(merged.entries) }
}

#[derive(Default)]
struct Merged {
    entries: Vec<Entry>,
    /// The names in `listeners` and `pools`, by path.
    names: HashMap<String, Place>,
}

impl Merged {
    fn add(&mut self, entry: Entry, report: &mut Report) {
        let earlier = self.entries.iter_mut().position(|earlier| earlier.key == entry.key);
        let joined = matches!(entry.key.as_str(), "listeners" | "pools");
        match earlier {
            _ if joined && matches!(entry.node.value, Value::Map(_)) => self.join(entry, earlier, report),
            // An empty section adds nothing.
            Some(_) if joined && entry.node.value == Value::Null => {}
            None => self.entries.push(entry),
            // Each file may state its version and its own includes.
            Some(_) if matches!(entry.key.as_str(), "version" | "include") || entry.key.starts_with("x-") => {
                self.entries.push(entry);
            }
            Some(earlier) => {
                let first = report.show(self.entries[earlier].key_at);
                let message = format!("already said at {first}; only `listeners` and `pools` may be in several files");
                report.error(entry.key_at, &entry.key, message);
            }
        }
    }

    fn join(&mut self, entry: Entry, earlier: Option<usize>, report: &mut Report) {
        let Value::Map(named) = entry.node.value else {
            return;
        };
        let mut fresh = Vec::with_capacity(named.len());
        for item in named {
            let path = join(&entry.key, &item.key);
            match self.names.get(&path) {
                Some(first) if !item.key.starts_with("x-") => {
                    let first = report.show(*first);
                    report.error(item.key_at, &path, format!("already defined at {first}"));
                }
                _ => {
                    self.names.insert(path, item.key_at);
                    fresh.push(item);
                }
            }
        }
        let earlier = earlier.map(|index| &mut self.entries[index].node.value);
        match earlier {
            Some(Value::Map(entries)) => entries.extend(fresh),
            Some(value @ Value::Null) => *value = Value::Map(fresh),
            // Something else than a map there is an error of its own.
            Some(_) => {}
            None => {
                let node = Node { at: entry.node.at, value: Value::Map(fresh) };
                self.entries.push(Entry { node, ..entry });
            }
        }
    }
}
