//! Files of unix sockets: the one that a process has bound is its own, and not whatever stands at its path by now.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file, whatever its name: its device and inode. No other file has them while a socket that is bound to it is open.
pub type FileId = (u64, u64);

/// The file of a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFile {
    /// Where it was made.
    pub path: PathBuf,
    /// Which file it is.
    pub id: FileId,
}

impl SocketFile {
    /// What stands at `path` now, itself and not what a link leads to; `None` if there is nothing.
    pub fn at(path: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok()?;
        Some(Self { path: path.to_owned(), id: (found.dev(), found.ino()) })
    }

    /// Removes it, unless it is gone or something else has taken its place.
    pub fn remove(&self) {
        if Self::at(&self.path).is_some_and(|now| now.id == self.id) {
            // Gone in the meantime, or in a folder that is not ours: there is nothing to do about it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_has_taken_its_place_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        assert_eq!(SocketFile::at(&path), None);
        let _ours = UnixListener::bind(&path).unwrap();
        let file = SocketFile::at(&path).unwrap();
        fs::remove_file(&path).unwrap();
        file.remove();
        let theirs = UnixListener::bind(&path).unwrap();
        file.remove();
        assert!(path.exists());
        SocketFile::at(&path).unwrap().remove();
        assert!(!path.exists());
        drop(theirs);
    }
}
