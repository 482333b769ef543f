//! What is wrong with a configuration, and where: gathered, sorted, one a line.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::reach::Needed;

/// One thing that is wrong, at its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ConfigError {
    /// The file, as it was named on the command line or found by `include`.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in characters.
    pub column: u32,
    /// Where in the tree, such as `listeners.postgres.bind[1]`; empty for the whole file.
    pub path: String,
    /// What is wrong and what to do about it, on one line.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong, sorted by file, line and column; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Errors {
    all: Vec<ConfigError>,
    #[serde(skip)]
    out_of_reach: Vec<String>,
    #[serde(skip)]
    needs: Vec<Needed>,
}

impl Errors {
    /// In the order of their places.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.all.iter()
    }

    /// The paths that a restart would bring within reach, if nothing else is wrong: see [`super::Reach`].
    pub fn needs_restart(&self) -> &[String] {
        &self.out_of_reach
    }

    /// What the files name that lies in the file system. When that has changed, what they say may no longer be wrong.
    pub fn needs(&self) -> &[Needed] {
        &self.needs
    }

    /// The same errors of files that name this.
    pub(super) fn of_needs(self, needs: Vec<Needed>) -> Self {
        Self { needs, ..self }
    }
}

impl IntoIterator for Errors {
    type Item = ConfigError;
    type IntoIter = std::vec::IntoIter<ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Errors {
    /// One error a line, without a newline after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.all.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// A place in one of the files of a [`Report`]; line and column count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Place {
    pub(super) file: u32,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// Gathers what is wrong while files are read, checked and decoded.
#[derive(Debug, Default)]
pub(super) struct Report {
    files: Vec<PathBuf>,
    errors: Vec<ConfigError>,
    warnings: Vec<ConfigError>,
    seen: HashSet<(Place, String)>,
    /// Paths that this process cannot reach, each once, and how many of the errors are about them.
    out_of_reach: BTreeSet<String>,
    about_reach: usize,
}

impl Report {
    /// Makes `path` known; the place returned is its beginning.
    pub(super) fn open(&mut self, path: &Path) -> Place {
        self.files.push(path.to_owned());
        let file = u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX);
        Place { file, line: 1, column: 1 }
    }

    /// The file a place is in.
    pub(super) fn file(&self, at: Place) -> &Path {
        self.files.get(at.file as usize).map_or(Path::new(""), PathBuf::as_path)
    }

    /// `path` as the file at `at` means it: relative to the folder of that file.
    pub(super) fn resolve(&self, at: Place, path: &str) -> PathBuf {
        self.file(at).parent().unwrap_or(Path::new("")).join(path)
    }

    /// Records an error. The same words about the same place are recorded once: an alias or a default is used
    /// in many places but wrong in one.
    pub(super) fn error(&mut self, at: Place, path: &str, message: impl Into<String>) {
        let message = message.into();
        if self.seen.insert((at, message.clone())) {
            let error = self.located(at, path, &message);
            self.errors.push(error);
        }
    }

    /// Records a file or folder that cannot be reached without a restart, and why.
    pub(super) fn out_of_reach(&mut self, at: Place, path: &str, file: &Path, why: &str) {
        let file = one_line(&file.display().to_string());
        let before = self.errors.len();
        self.error(at, path, format!("needs restart: {file}: {why}"));
        self.about_reach += self.errors.len() - before;
        self.out_of_reach.insert(file);
    }

    /// Whether all that is named can be reached.
    pub(super) fn is_within_reach(&self) -> bool {
        self.out_of_reach.is_empty()
    }

    /// Records something that works but is probably not meant.
    pub(super) fn warn(&mut self, at: Place, path: &str, message: impl Into<String>) {
        let warning = self.located(at, path, &message.into());
        self.warnings.push(warning);
    }

    /// Whether nothing wrong was found yet.
    pub(super) fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// A place in words, for errors that involve two: `FILE:LINE:COLUMN`.
    pub(super) fn show(&self, at: Place) -> String {
        format!("{}:{}:{}", one_line(&self.file(at).display().to_string()), at.line, at.column)
    }

    /// The warnings of a run without errors, or all its errors.
    pub(super) fn finish(mut self) -> Result<(Vec<PathBuf>, Vec<ConfigError>), Errors> {
        self.errors.sort();
        self.warnings.sort();
        if self.errors.is_empty() {
            return Ok((self.files, self.warnings));
        }
        let only_reach = self.about_reach == self.errors.len();
        let out_of_reach = if only_reach { self.out_of_reach.into_iter().collect() } else { Vec::new() };
        Err(Errors { all: self.errors, out_of_reach, needs: Vec::new() })
    }

    fn located(&self, at: Place, path: &str, message: &str) -> ConfigError {
        ConfigError {
            file: one_line(&self.file(at).display().to_string()),
            line: at.line,
            column: at.column,
            path: one_line(path),
            message: one_line(message),
        }
    }
}

/// Names and values come from files: escape what would break "one error a line" or a terminal.
fn one_line(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn errors_are_sorted_once_each_on_one_line() {
        let mut report = Report::default();
        let b = report.open(Path::new("b.yaml"));
        let a = report.open(Path::new("a\n.yaml"));
        report.error(Place { line: 10, ..b }, "x", "late");
        report.error(Place { line: 9, column: 7, ..b }, "x.y", "early");
        report.error(Place { line: 9, column: 7, ..b }, "another.path", "early");
        report.error(a, "", "a\u{1b}[31m\nb");
        let errors = report.finish().unwrap_err();
        assert_eq!(errors.to_string(), "a\\n.yaml:1:1: a\\u{1b}[31m\\nb\nb.yaml:9:7: x.y: early\nb.yaml:10:1: x: late");
        let json = serde_json::to_value(&errors).unwrap();
        assert_eq!(
            json[1],
            serde_json::json!({"file": "b.yaml", "line": 9, "column": 7, "path": "x.y", "message": "early"})
        );
    }

    #[test]
    fn paths_are_relative_to_the_file_that_names_them() {
        let mut report = Report::default();
        let here = report.open(Path::new("main.yaml"));
        let there = report.open(Path::new("/etc/peerway/conf.d/a.yaml"));
        assert_eq!(report.resolve(here, "token"), Path::new("token"));
        assert_eq!(report.resolve(there, "../token"), Path::new("/etc/peerway/conf.d/../token"));
        assert_eq!(report.resolve(there, "/run/x"), Path::new("/run/x"));
    }
}
