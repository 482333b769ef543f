//! What a tree names that lies in the file system: the table says which values are paths, and what they are there for.

use std::path::{Component, Path, PathBuf};

use super::address::{Listen, Target};
use super::check::{chosen, looks_like};
use super::error::{Place, Report};
use super::keys::{self, Key, Kind};
use super::reach::{NAMES, Need, Needed, Reach};
use super::scalar::{self, Scalar};
use super::tree::{Node, join};

/// Everything below `root` that lies in the file system, also what stands in `defaults` and is not used. What `reach` does
/// not have is an error at its place.
pub(super) fn needs(root: &Node, reach: &Reach, report: &mut Report) -> Vec<Needed> {
    let mut named = Vec::new();
    Walk { report, named: &mut named }.map(keys::ROOT, root, "");
    for Named { at, path, needed } in &named {
        demand(needed, reach, *at, path, report);
    }
    named.into_iter().map(|named| named.needed).collect()
}

/// Reports what is out of reach; says whether it is within.
pub(super) fn demand(needed: &Needed, reach: &Reach, at: Place, path: &str, report: &mut Report) -> bool {
    let within = reach.has(needed);
    if !within {
        let whole = std::path::absolute(&needed.path).unwrap_or_else(|_| needed.path.clone());
        report.out_of_reach(at, path, &whole, needed.need.explain());
    }
    within
}

/// The folder of the files that a pattern means: as far as there is no wildcard.
pub(super) fn folder_of(pattern: &Path) -> PathBuf {
    let is_plain = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?']);
    let folder: PathBuf = pattern.components().take_while(is_plain).collect();
    if folder.as_os_str().is_empty() { ".".into() } else { folder }
}

struct Named {
    at: Place,
    path: String,
    needed: Needed,
}

struct Walk<'a> {
    report: &'a Report,
    named: &'a mut Vec<Named>,
}

impl Walk<'_> {
    fn map(&mut self, keys: &'static [Key], node: &Node, path: &str) {
        for entry in node.entries().unwrap_or_default() {
            if let Some(key) = keys::find(keys, &entry.key) {
                self.value(key, key.kind, &entry.node, &join(path, &entry.key));
            }
        }
    }

    fn value(&mut self, key: &'static Key, kind: Kind, node: &Node, path: &str) {
        match kind {
            Kind::Scalar(scalar) => self.scalar(key, scalar, node, path),
            Kind::Map(keys) => self.map(keys, node, path),
            Kind::Named(keys) => self.each(key, Kind::Map(keys), node, path),
            Kind::Values(kind) => self.each(key, *kind, node, path),
            Kind::List(item) => {
                node.items_at(path).for_each(|(item_node, path)| self.value(key, *item, item_node, &path));
            }
            Kind::Either(kinds) => {
                if let Some(kind) = kinds.iter().find(|kind| looks_like(**kind, node)) {
                    self.value(key, *kind, node, path);
                }
            }
            Kind::Choice(choices) => {
                let Some((name, _, Some(value))) = chosen(node) else { return };
                let choice = choices.iter().find(|choice| choice.name == name);
                if let Some(kind) = choice.and_then(|choice| choice.value) {
                    self.value(key, kind, value, &join(path, name));
                }
            }
            // What policies take are numbers and names.
            Kind::Policy => {}
        }
    }

    fn each(&mut self, key: &'static Key, kind: Kind, node: &Node, path: &str) {
        for entry in node.entries().unwrap_or_default() {
            self.value(key, kind, &entry.node, &join(path, &entry.key));
        }
    }

    fn scalar(&mut self, key: &'static Key, scalar: Scalar, node: &Node, path: &str) {
        let needed = match scalar {
            Scalar::Path => match scalar::text(node, "a path") {
                // As if it were absent.
                Ok("off") | Err(_) => None,
                Ok(text) => Some((text.to_owned(), need_of(key))),
            },
            Scalar::Bind | Scalar::Endpoint => match scalar::bind(node) {
                Ok(Listen::Unix(socket)) => Some((socket, Need::Listen)),
                _ => None,
            },
            Scalar::Target => match scalar::target(node) {
                Ok(Target::Host(..)) => Some((NAMES.to_owned(), Need::Names)),
                _ => None,
            },
            _ => None,
        };
        if let Some((text, need)) = needed {
            let resolved = self.report.resolve(node.at, &text);
            let file = if key.name == "include" { folder_of(&resolved) } else { resolved };
            self.named.push(Named { at: node.at, path: path.to_owned(), needed: Needed { path: file, need } });
        }
    }
}

fn need_of(key: &Key) -> Need {
    match key.name {
        "state_file" => Need::Keep,
        // Of an access log.
        "to" => Need::Append,
        _ => Need::Read,
    }
}

#[cfg(test)]
mod tests;
