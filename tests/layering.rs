//! House rules that a reader may rely on: who may import whom, where unsafe code lives, no hidden state.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. A module imports only from lower rows; modules in a row do not import one another.
/// A row, or a module in one, is added here with its reason.
const ROWS: &[&[&str]] = &[
    // Values and pure decisions: they know nobody. `sink` only moves finished lines to a thread.
    &["wire"],
    // `config` spells names of hosts as `wire` does.
    &["backoff", "drain", "metrics", "config", "sink"],
    &["net", "backend"],
    &["tls", "connect"],
    &["balance", "health", "discover"],
    &["admission", "pool"],
    &["listener"],
    &["intake", "upstream", "relay"],
    &["route"],
    &["ledger"],
    &["session", "admin"],
    &["app"],
    &["main", "cli"],
];

/// The only files with unsafe code, each with its reason.
const UNSAFE: &[&str] = &[
    "src/net/raw.rs", // calls on sockets that no safe wrapper knows; descriptors that are known by number only
];

/// State that outlives its owner, or that tests cannot replace.
const HIDDEN_STATE: &[&str] = &["static mut ", "OnceLock", "LazyLock", "lazy_static", "thread_local!", "OnceCell"];

#[test]
fn modules_import_only_from_lower_rows() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        if module == "lib" {
            continue;
        }
        let row = row_of(&module).unwrap_or_else(|| panic!("{module} ({path:?}) has no row"));
        for (number, line) in text.lines().enumerate() {
            for imported in imports(line) {
                if imported == module {
                    continue;
                }
                let other = row_of(imported).unwrap_or_else(|| panic!("{path:?} imports {imported}, which has no row"));
                if other >= row {
                    wrong.push(format!("{}:{}: {module} imports {imported}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_lives_in_named_files() {
    for (path, text) in sources() {
        let found = code(&text).any(|line| line.contains("unsafe ") || line.contains("allow(unsafe_code"));
        let named = UNSAFE.iter().any(|name| path.ends_with(name));
        assert_eq!(found, named, "{path:?}");
    }
}

#[test]
fn no_state_is_hidden() {
    for (path, text) in sources() {
        for word in HIDDEN_STATE {
            assert!(!code(&text).any(|line| line.contains(word)), "{path:?} has {word}");
        }
    }
}

/// Sockets are touched only where the design says; everything else stays pure or works on what it is given.
#[test]
fn pure_modules_do_no_io() {
    let io = ["tokio::net", "std::net::Tcp", "std::net::Udp", "std::fs", "Instant::now", "SystemTime::now", "fastrand"];
    for (path, text) in sources() {
        if !["balance", "backoff", "wire", "drain"].contains(&module_of(&path).as_str()) {
            continue;
        }
        for word in io {
            assert!(!code(&text).any(|line| line.contains(word)), "{path:?} uses {word}");
        }
    }
}

/// Lines of code proper: without comments, and without the tests, which stand in files of their own or at a file's end.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let lines: Vec<&str> = text.lines().collect();
    // `#[cfg(test)]` before `mod name;` is one line about another file; before anything else the rest is tests.
    let begins_tests = |at: &usize| {
        let rest_is_tests = lines[*at].starts_with("#![cfg(test)]");
        let here = lines[*at].starts_with("#[cfg(test)]");
        rest_is_tests || here && !lines.get(at + 1).is_some_and(|next| next.starts_with("mod ") && next.ends_with(';'))
    };
    let end = (0..lines.len()).find(begins_tests).unwrap_or(lines.len());
    lines.into_iter().take(end).filter(|line| !line.trim_start().starts_with("//"))
}

/// The top-level modules that a line names after `crate::`, in plain and in grouped imports.
fn imports(line: &str) -> Vec<&str> {
    let line = line.trim_start();
    if line.starts_with("//") {
        return Vec::new();
    }
    let names = |rest: &str| rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(
                group.split(',').map(|part| &part.trim()[..names(part.trim())]).filter(|name| !name.is_empty()),
            );
        } else {
            found.push(&rest[..names(rest)]);
        }
    }
    found
}

fn row_of(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// The top-level module that a file belongs to.
fn module_of(path: &Path) -> String {
    let below = path.strip_prefix("src").unwrap().components().next().unwrap();
    Path::new(&below).file_stem().unwrap().to_str().unwrap().to_owned()
}

fn sources() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path.clone(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(found.len() > 20, "run from the package's root");
    found
}
