//! Paths of unix sockets: two that look different may name one file.

use std::path::{Component, Path, PathBuf};

/// Whether two paths are of one unix socket, as far as the folders that are there tell.
pub fn is_same_socket(one: &Path, other: &Path) -> bool {
    one == other || one.file_name() == other.file_name() && real_socket(one) == real_socket(other)
}

/// The whole path of a unix socket, without links on the way to it. What its name leads to does not matter: a socket is made
/// beside it. Where its folder is not there yet, only dots are taken out.
pub(super) fn real_socket(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (Some(folder), Some(name)) = (whole.parent(), whole.file_name()) else { return plain(&whole) };
    folder.canonicalize().map_or_else(|_| plain(&whole), |folder| folder.join(name))
}

fn plain(whole: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_file_has_many_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("real/deep")).unwrap();
        std::os::unix::fs::symlink(at("real/deep"), at("alias")).unwrap();
        let same = |one: &str, other: &str| is_same_socket(&at(one), &at(other));
        for (one, other) in [
            ("x", "./x"),
            ("real/deep/x", "alias/x"),
            ("real/x", "alias/../x"),
            ("missing/x", "missing/./x"),
            ("missing/x", "missing/y/../x"),
        ] {
            assert!(same(one, other) && same(other, one), "{one} {other}");
        }
        assert!(is_same_socket(Path::new("x"), Path::new("./x")));
        for (one, other) in [("x", "y"), ("real/x", "alias/x"), ("x", "alias/../x"), ("missing/x", "other/x")] {
            assert!(!same(one, other) && !same(other, one), "{one} {other}");
        }
    }
}
