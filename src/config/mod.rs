//! Configuration: files in, a [`plan::Plan`] or every error at once out.
//!
//! `yaml` parses text into a `tree` that keeps every place, `expand` fills in variables, `files` follows `include` and merges,
//! `check` compares the result with the one table of `keys`, `needs` finds what lies in the file system, `decode` builds the
//! plan.

mod address;
mod check;
mod decode;
pub mod diff;
mod error;
mod expand;
mod files;
#[cfg(test)]
mod fixture;
mod hint;
mod keys;
mod needs;
pub mod plan;
mod reach;
mod reference;
mod regular;
mod scalar;
mod schema;
mod section;
mod settings;
mod show;
mod socket_path;
mod tree;
mod units;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use error::{ConfigError, Errors};
pub use expand::Env;
pub use files::{Known, Source};
pub(crate) use hint::{hint, listing};
pub use reach::{NAMES, Need, Needed, Reach};
pub use regular::{read_regular, read_token};
pub use settings::{Leaf, MASK, Setting, content_hash};
pub use socket_path::is_same_socket;

use error::Report;
use files::{Documents, Streams};
use plan::Plan;

/// What this program can do that the configuration may name. Its modules fill it; `config` knows none of them.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue {
    /// The policies there are.
    pub policies: &'static [PolicyKind],
    /// Who knows files of TLS.
    pub tls: TlsFiles,
}

/// What can be said of files of TLS before they are used. Errors are in words that name the file and the remedy; what is
/// in a file is escaped and cut in them.
#[derive(Debug, Clone, Copy)]
pub struct TlsFiles {
    /// A certificate with its chain, and its key.
    pub pair: fn(&Path, &Path) -> Result<PairFacts, PairFault>,
    /// The same to be shown by a client, which needs no names.
    pub own_pair: fn(&Path, &Path) -> Result<PairFacts, PairFault>,
    /// Whether this system has authorities that it trusts.
    pub system: fn() -> Result<(), String>,
    /// Authorities for certificates.
    pub authorities: fn(&Path) -> Result<(), String>,
    /// Lists of revoked certificates; perhaps with a warning.
    pub revocations: fn(&Path) -> Result<Option<String>, String>,
    /// A secret for session tickets.
    pub ticket_key: fn(&Path) -> Result<(), String>,
}

impl TlsFiles {
    /// Nobody reads them.
    pub const UNREAD: Self = Self {
        pair: |_, _| Ok(PairFacts::default()),
        own_pair: |_, _| Ok(PairFacts::default()),
        system: || Ok(()),
        authorities: |_| Ok(()),
        revocations: |_| Ok(None),
        ticket_key: |_| Ok(()),
    };
}

/// What a certificate and its key say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairFacts {
    /// The host names it is for, in lower case.
    pub names: Vec<String>,
    /// The kind of key, such as `RSA`.
    pub kind: String,
    /// What works but is probably not meant.
    pub warning: Option<String>,
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairFault {
    /// Whose fault it is.
    pub side: Side,
    /// Which file, what is wrong, and what to do.
    pub message: String,
}

/// One of the two files of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The certificate with its chain.
    Cert,
    /// The key.
    Key,
}

/// A policy the configuration may name.
#[derive(Debug, Clone, Copy)]
pub struct PolicyKind {
    /// As in `policy: NAME`.
    pub name: &'static str,
    /// For the manual: what it does, in one line.
    pub summary: &'static str,
    /// The parameters it has.
    pub takes: Takes,
}

/// The parameters of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// None.
    Nothing,
    /// What it hashes and how far it lets load differ: [`plan::HashSpec`].
    Hash,
}

/// A configuration that was read from files.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub plan: Plan,
    /// Every file that was read, in that order.
    pub files: Vec<PathBuf>,
    /// Names their content: see [`content_hash`].
    pub hash: String,
    /// What works but is probably not meant.
    pub warnings: Vec<ConfigError>,
    /// What it names that lies in the file system, and the files that were read.
    pub needs: Vec<Needed>,
    /// With which [`Whereabouts`] are found without parsing them again.
    pub known: Known,
}

/// Reads the files and folders at `paths`, and what they include. Those at `paths` may be streams, such as standard input, and
/// it waits for whoever writes to them.
pub fn load(paths: &[PathBuf], catalogue: &Catalogue, env: Env<'_>) -> Result<Loaded, Errors> {
    let (mut report, reach) = (Report::default(), Reach::default());
    let documents = files::load_all(paths, env, &reach, Streams::Read, &mut report);
    resolve(documents, catalogue, &reach, report)
}

/// The same for a running process, which waits for nobody: a stream is an error. What it cannot reach is not tried, and is an
/// error, too: see [`Errors::needs_restart`].
pub fn load_within(reach: &Reach, paths: &[PathBuf], catalogue: &Catalogue, env: Env<'_>) -> Result<Loaded, Errors> {
    let mut report = Report::default();
    let documents = files::load_all(paths, env, reach, Streams::Refused, &mut report);
    resolve(documents, catalogue, reach, report)
}

/// Reads one document from memory; `name` stands for its file in errors, and its folder is where relative paths
/// begin. It may not include files.
pub fn parse(name: &str, text: &str, catalogue: &Catalogue, env: Env<'_>) -> Result<Plan, Errors> {
    let mut report = Report::default();
    let documents = files::parse_one(name, text, env, &mut report);
    resolve(documents, catalogue, &Reach::default(), report).map(|loaded| loaded.plan)
}

/// Reads documents from memory that together are one configuration: what [`read`] gives, with nothing more to include. Files
/// that they name are read as by [`load_within`].
pub fn parse_all(reach: &Reach, sources: &[Source], catalogue: &Catalogue, env: Env<'_>) -> Result<Loaded, Errors> {
    let mut report = Report::default();
    let documents = files::parse_all(sources, env, &mut report);
    resolve(documents, catalogue, reach, report)
}

/// The text of the files and folders at `paths` and of what they include, without a judgement on what it says.
///
/// # Errors
/// A file cannot be read, or is no YAML.
pub fn read(paths: &[PathBuf], env: Env<'_>) -> Result<Vec<Source>, Errors> {
    let mut report = Report::default();
    let documents = files::load_all(paths, env, &Reach::default(), Streams::Read, &mut report);
    if documents.complete { Ok(documents.sources) } else { report.finish().map(|_| documents.sources) }
}

/// Names what the files at `paths` and those they include hold now, whether it is good or not; of files that are all good
/// it is their [`Loaded::hash`]. What cannot be read is part of it, too.
pub fn fingerprint(paths: &[PathBuf], env: Env<'_>) -> String {
    Whereabouts::of(paths, env, &mut Known::default()).content
}

/// Where files are that a configuration is read from, and where others may come to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Names what they hold: see [`fingerprint`].
    pub content: String,
    /// Whether all of them could be read.
    pub complete: bool,
    /// The files, as far as they can be read.
    pub files: Vec<PathBuf>,
    /// Folders in which a file may appear that `include` means.
    pub folders: Vec<PathBuf>,
    /// Its name, or that of a folder on the way to it.
    names: Vec<String>,
}

impl Whereabouts {
    /// Of the files at `paths` and those they include. What is `known` of their texts saves parsing them, and is brought
    /// up to date.
    pub fn of(paths: &[PathBuf], env: Env<'_>, known: &mut Known) -> Self {
        let documents = files::survey(paths, env, known);
        let unread = documents.unread.iter().map(String::as_str);
        let content = content_hash(documents.sources.iter().map(|source| source.text.as_str()).chain(unread));
        let mut found = Self { content, complete: documents.unread.is_empty(), ..Self::default() };
        for (folders, names) in documents.includes.iter().map(|pattern| files::places(pattern)) {
            found.folders.extend(folders);
            found.names.extend(names);
        }
        found.files.extend(documents.sources.into_iter().map(|source| source.path));
        found
    }

    /// Whether a file or folder of this name in one of the folders may be, or hold, what `include` means.
    pub fn may_be_included(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| files::is_name(pattern, name))
    }
}

/// A duration as the configuration spells it: `250ms`, `1m30s`.
///
/// # Errors
/// It is no such text, in words that say what to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    units::parse_duration(text)
}

/// The JSON Schema of a configuration file, draft 2020-12.
pub fn schema(catalogue: &Catalogue) -> String {
    schema::render(catalogue)
}

/// An annotated configuration with every key there is. It is valid as it stands.
pub fn reference(catalogue: &Catalogue) -> String {
    reference::render(catalogue)
}

fn resolve(
    mut documents: Documents,
    catalogue: &Catalogue,
    reach: &Reach,
    mut report: Report,
) -> Result<Loaded, Errors> {
    let (complete, known) = (documents.complete, std::mem::take(&mut documents.known));
    let hash = content_hash(documents.sources.iter().map(|source| source.text.as_str()));
    let root = files::merge(documents, &mut report);
    check::check(&root, catalogue, &mut report);
    let mut needs = needs::needs(&root, reach, &mut report);
    let mut plan = decode::plan(&root, complete, catalogue, &mut report);
    if report.is_clean() {
        plan.settings = Arc::new(show::show(&root, catalogue, &report));
    }
    let (files, warnings) = match report.finish() {
        Ok(found) => found,
        Err(errors) => return Err(errors.of_needs(needs)),
    };
    needs.extend(files.iter().map(|file| Needed { path: file.clone(), need: Need::Read }));
    Ok(Loaded { plan, files, hash, warnings, needs, known })
}
