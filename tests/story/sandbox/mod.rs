//! The sandbox: what a process in it cannot reach it cannot have, and all that it is there for goes on as without.
//!
//! The kernel here must know Landlock, as Linux 6.12 and later does.

mod files;
mod threads;
mod upgrade;

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Address, Proxy, Setup, TOP};

/// A file in the sandbox: `front` on a free port, with more lines at the top, and more of the listener and the pool.
fn file(backend: impl Address, top: &str, listener: &str, pool: &str) -> String {
    format!(
        "{TOP}sandbox: strict\n{top}\nlisteners:\n  front: {{ bind: \"127.0.0.1:0\", pool: back{listener} }}\n\
         pools:\n  back: {{ backends: [ \"{}\" ]{pool} }}\n",
        backend.text()
    )
}

/// The same, started.
#[track_caller]
fn proxy(backend: impl Address) -> Proxy {
    Setup::file(file(backend, "", "", "")).start()
}

/// A folder outside of everything that the proxy is told of.
struct Outside(tempfile::TempDir);

impl Outside {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    /// A file there.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

/// What the kernel says of a process or one of its threads, on the line that begins so.
fn status(of: impl AsRef<Path>, line: &str) -> String {
    let status = fs::read_to_string(of.as_ref().join("status")).unwrap_or_default();
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    found.unwrap_or_default().trim().to_owned()
}

/// The children of a process.
fn children(id: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|child: &u32| status(format!("/proc/{child}"), "PPid:") == id.to_string()).collect()
}

/// The helper of a process, which has no other child.
#[track_caller]
fn helper(id: u32) -> u32 {
    let children = children(id);
    assert_eq!(children.len(), 1, "{children:?}");
    children[0]
}
