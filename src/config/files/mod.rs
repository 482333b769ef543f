//! From the command line to one tree: reading, `include`, folders, and the merge of all files.

mod glob;
mod known;
mod merge;
mod read;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::error::{Place, Report};
use super::expand::{Env, expand};
use super::needs;
use super::reach::{Need, Needed, Reach};
use super::scalar;
use super::tree::{Entry, Node, Value};
use super::yaml;

pub(in crate::config) use glob::{is_name, places};
pub use known::Known;
pub(super) use merge::merge;
pub(super) use read::Streams;

/// One file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is; relative paths in it begin at its folder.
    pub path: PathBuf,
    /// What it holds.
    pub text: String,
}

/// One file, parsed and expanded: the root is a map.
pub(super) struct Document {
    pub(super) start: Place,
    pub(super) root: Node,
}

/// Reads what is named on the command line and all that it includes, in order.
pub(super) fn load_all(
    paths: &[PathBuf],
    env: Env<'_>,
    reach: &Reach,
    streams: Streams,
    report: &mut Report,
) -> Documents {
    let (surveys, found) = (false, Documents::new());
    let mut loader = Loader { env, reach, streams, report, surveys, found, seen: HashSet::new() };
    paths.iter().for_each(|path| loader.argument(path));
    let mut found = loader.found;
    found.refuse_nothing(report);
    found
}

/// Finds and reads the same files, but parses only those whose text is not `known`, and gives no document. What is known
/// of other texts is forgotten.
pub(super) fn survey(paths: &[PathBuf], env: Env<'_>, known: &mut Known) -> Documents {
    let (reach, mut report) = (Reach::default(), Report::default());
    let found = Documents { known: std::mem::take(known), ..Documents::new() };
    let (surveys, streams) = (true, Streams::Refused);
    let mut loader = Loader { env, reach: &reach, streams, report: &mut report, surveys, found, seen: HashSet::new() };
    paths.iter().for_each(|path| loader.argument(path));
    let mut found = loader.found;
    found.known.keep(found.sources.iter().map(|source| source.text.as_str()));
    *known = std::mem::take(&mut found.known);
    found
}

/// Reads a document that is already in memory, and stands alone.
pub(super) fn parse_one(name: &str, text: &str, env: Env<'_>, report: &mut Report) -> Documents {
    let start = report.open(Path::new(name));
    let mut found = Documents::new();
    found.add(parse(text, start, env, report));
    found.sources.push(Source { path: name.into(), text: text.to_owned() });
    for document in &found.list {
        refuse_include(document, "a configuration in memory may not include files", report);
    }
    found.refuse_nothing(report);
    found
}

/// Reads documents that are already in memory, and have been included by one another.
pub(super) fn parse_all(sources: &[Source], env: Env<'_>, report: &mut Report) -> Documents {
    let mut found = Documents::new();
    for source in sources {
        let start = report.open(&source.path);
        found.add(parse(&source.text, start, env, report));
        found.sources.push(source.clone());
    }
    found.refuse_nothing(report);
    found
}

/// The documents that could be read.
pub(super) struct Documents {
    pub(super) list: Vec<Document>,
    /// Their texts, those that could not be parsed included.
    pub(super) sources: Vec<Source>,
    /// What could not be read, and why.
    pub(super) unread: Vec<String>,
    /// What `include` says, as whole paths.
    pub(super) includes: Vec<PathBuf>,
    /// There are no others: what is not here does not exist.
    pub(super) complete: bool,
    /// What files that may include others say of that.
    pub(super) known: Known,
}

impl Documents {
    fn new() -> Self {
        Self {
            list: Vec::new(),
            sources: Vec::new(),
            unread: Vec::new(),
            includes: Vec::new(),
            complete: true,
            known: Known::default(),
        }
    }

    fn add(&mut self, document: Option<Document>) {
        self.complete &= document.is_some();
        self.list.extend(document);
    }

    /// A file may be empty, but not all of them.
    fn refuse_nothing(&mut self, report: &mut Report) {
        let is_empty = |document: &Document| document.root.entries().is_some_and(<[Entry]>::is_empty);
        if let [first, ..] = &*self.list
            && self.complete
            && self.list.iter().all(is_empty)
        {
            report.error(first.start, "", "the file is empty: a configuration has at least `listeners` and `pools`");
            self.complete = false;
        }
    }
}

struct Loader<'a> {
    env: Env<'a>,
    reach: &'a Reach,
    /// What is done with those on the command line.
    streams: Streams,
    report: &'a mut Report,
    /// Whether only files are looked for, and not what they say.
    surveys: bool,
    found: Documents,
    /// Canonical paths, so that a file is read once however many ways lead to it.
    seen: HashSet<PathBuf>,
}

impl Loader<'_> {
    /// A file or a folder after `-c`.
    fn argument(&mut self, path: &Path) {
        if !path.is_dir() {
            return self.with_includes(path);
        }
        match read::yaml_files(path) {
            Ok(files) if files.is_empty() => self.unusable(path, "the folder holds no *.yaml or *.yml file"),
            Ok(files) => {
                // A stream is named, and not met by chance.
                let streams = std::mem::replace(&mut self.streams, Streams::Refused);
                files.iter().for_each(|file| self.with_includes(file));
                self.streams = streams;
            }
            Err(message) => self.unusable(path, &message),
        }
    }

    fn unusable(&mut self, folder: &Path, message: &str) {
        let at = self.report.open(folder);
        self.report.error(at, "", message);
        self.found.unread.push(format!("{}: {message}", folder.display()));
        self.found.complete = false;
    }

    fn with_includes(&mut self, path: &Path) {
        if !self.first_time(path) {
            return;
        }
        let start = self.report.open(path);
        let Some(text) = self.read(path, start, None) else { return };
        let patterns = if self.surveys { self.patterns_of(&text, start) } else { self.take(&text, start) };
        self.found.sources.push(Source { path: path.to_owned(), text });
        for (at, path, pattern) in patterns {
            self.include(at, &path, &pattern);
        }
    }

    /// Parses a file that may include others; gives their patterns.
    fn take(&mut self, text: &str, start: Place) -> Vec<Pattern> {
        let root = if is_blank(text, start, self.report) { None } else { yaml::parse(text, start, self.report) };
        self.found.known.learn(text, root.as_ref());
        let document = root.and_then(|root| document(root, start, self.env, self.report));
        let patterns = document.as_ref().and_then(|document| include_of(&document.root)).map(patterns);
        self.found.add(document);
        patterns.unwrap_or_default()
    }

    /// The patterns of a file that may include others.
    fn patterns_of(&mut self, text: &str, start: Place) -> Vec<Pattern> {
        if self.found.known.include_of(text).is_none() {
            let root = yaml::parse(text, start, self.report);
            self.found.known.learn(text, root.as_ref());
        }
        let Some(Some(include)) = self.found.known.include_of(text) else { return Vec::new() };
        let mut include = include.clone();
        // Variables may hold something else by now.
        expand(&mut include, "include", self.env, self.report);
        let here = |at: Place| Place { file: start.file, ..at };
        patterns(&include).into_iter().map(|(at, path, pattern)| (here(at), path, pattern)).collect()
    }

    /// One pattern of `include`, at its place.
    fn include(&mut self, at: Place, path: &str, pattern: &str) {
        let full = self.report.resolve(at, pattern);
        self.found.includes.push(full.clone());
        let needed = Needed { path: needs::folder_of(&full), need: Need::Read };
        if !needs::demand(&needed, self.reach, at, path, self.report) {
            // What could be there must not be taken for missing.
            self.found.complete = false;
            return;
        }
        let wild = pattern.contains(['*', '?']);
        let files = if wild { glob::matches(&full) } else { vec![full] };
        for file in files {
            if !self.first_time(&file) {
                if !wild {
                    self.report.error(at, path, format!("`{pattern}` is already part of the configuration"));
                }
                continue;
            }
            let start = self.report.open(&file);
            let Some(text) = self.read(&file, start, Some((at, path))) else { continue };
            if !self.surveys {
                let document = parse(&text, start, self.env, self.report);
                if let Some(document) = &document {
                    refuse_include(document, "an included file may not include others", self.report);
                }
                self.found.add(document);
            }
            self.found.sources.push(Source { path: file, text });
        }
    }

    /// Reads one file. That it cannot be read is an error of whoever named it.
    fn read(&mut self, path: &Path, start: Place, named_by: Option<(Place, &str)>) -> Option<String> {
        // Nobody writes a stream for an `include`.
        let streams = if named_by.is_some() { Streams::Refused } else { self.streams };
        let read = read::text(path, streams);
        self.found.complete &= read.is_ok();
        match read {
            Ok(text) => Some(text),
            Err(read::Unreadable::NotUtf8 { line, column }) => {
                let at = Place { line, column, ..start };
                self.found.unread.push(format!("{}: not UTF-8 text at {line}:{column}", path.display()));
                self.report.error(at, "", "not UTF-8 text");
                None
            }
            Err(read::Unreadable::Other(message)) => {
                self.found.unread.push(format!("{}: {message}", path.display()));
                match named_by {
                    Some((at, key)) => self.report.error(at, key, format!("{}: {message}", path.display())),
                    None => self.report.error(start, "", message),
                }
                None
            }
        }
    }

    fn first_time(&mut self, path: &Path) -> bool {
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.seen.insert(canonical)
    }
}

fn refuse_include(document: &Document, message: &str, report: &mut Report) {
    let mut entries = document.root.entries().unwrap_or_default().iter();
    if let Some(entry) = entries.find(|entry| entry.key == "include" && entry.node.text() != Some("off")) {
        report.error(entry.key_at, "include", message);
    }
}

/// Refuses a file without a word in it: so is one that is about to be written, and one for which the disk was full.
fn is_blank(text: &str, start: Place, report: &mut Report) -> bool {
    let is_blank = text.trim().is_empty();
    if is_blank {
        report.error(
            start,
            "",
            "the file is empty: a configuration has at least `listeners` and `pools`, a part of one at least a comment",
        );
    }
    is_blank
}

fn parse(text: &str, start: Place, env: Env<'_>, report: &mut Report) -> Option<Document> {
    if is_blank(text, start, report) {
        return None;
    }
    document(yaml::parse(text, start, report)?, start, env, report)
}

fn document(mut root: Node, start: Place, env: Env<'_>, report: &mut Report) -> Option<Document> {
    match root.value {
        Value::Map(_) => {
            expand(&mut root, "", env, report);
            Some(Document { start, root })
        }
        Value::Null => Some(Document { start, root: Node { at: start, value: Value::Map(Vec::new()) } }),
        _ => {
            report.error(
                root.at,
                "",
                format!("expected a map with `listeners` and `pools`, found {}", root.describe()),
            );
            None
        }
    }
}

/// What stands at `include`.
fn include_of(root: &Node) -> Option<&Node> {
    root.entries()?.iter().find(|entry| entry.key == "include").map(|entry| &entry.node)
}

/// A pattern of `include`: its place, its path in the tree, and itself.
type Pattern = (Place, String, String);

/// The patterns that are text; anything else is left for the checks to refuse. `off` is as if there were none.
fn patterns(include: &Node) -> Vec<Pattern> {
    if include.text() == Some("off") {
        return Vec::new();
    }
    let items = include.items_at("include");
    items.filter_map(|(item, path)| Some((item.at, path, scalar::text(item, "a path").ok()?.to_owned()))).collect()
}
