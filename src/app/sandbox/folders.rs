//! Which folders a process in the sandbox needs: those that its configuration names, and those of the system that libraries
//! read behind its back.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::config::{NAMES, Need, Needed};

/// Where systems keep the authorities that they trust; read anew whenever a pool needs them. The keys that some keep beside
/// are not among them.
const AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
    "/var/lib/ca-certificates",
];
/// Environment variables that name others.
const MORE_AUTHORITIES: &[&str] = &["SSL_CERT_FILE", "SSL_CERT_DIR"];
/// What the kernel says about this process, and when it was booted.
pub(super) const PROCESS: &[&str] = &["/proc/self", "/proc/stat"];
/// Modules by which the C library looks names up (nsswitch.conf(5)), and what they need.
const MODULES: &[&str] = &["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];
/// Often a link into a folder in which it is replaced whenever the network changes.
const RESOLVER: &str = "/etc/resolv.conf";
/// As many links as the kernel follows in one path.
const MOST_LINKS: usize = 40;

/// What is opened to a process with these needs, each once. What is not there is left out: it cannot be opened.
pub(super) fn opened(needs: &[Needed]) -> BTreeSet<Needed> {
    let mut all = BTreeSet::new();
    let mut open = |path: PathBuf, need| _ = all.insert(Needed { path, need });
    for Needed { path, need } in needs {
        match need {
            Need::Read | Need::Append | Need::Keep => {
                follow(path).into_iter().for_each(|folder| open(folder, *need));
            }
            Need::Listen => holder(path).into_iter().for_each(|folder| open(folder, *need)),
            Need::Names => {
                open(NAMES.into(), *need);
                MODULES.iter().for_each(|folder| open(folder.into(), Need::Read));
                follow(Path::new(RESOLVER)).into_iter().for_each(|folder| open(folder, Need::Read));
            }
        }
    }
    let more = MORE_AUTHORITIES.iter().filter_map(std::env::var_os);
    let system = AUTHORITIES.iter().chain(PROCESS).map(PathBuf::from).chain(more.map(PathBuf::from));
    system.for_each(|path| open(path, Need::Read));
    let real = |Needed { path, need }: Needed| Some(Needed { path: path.canonicalize().ok()?, need });
    all.into_iter().filter_map(real).collect()
}

/// The folder in which a socket of this path is made.
fn holder(path: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(path).ok()?;
    whole.parent().filter(|folder| !is_root(folder)).map(Path::to_owned)
}

/// The folders through which a path leads to its file: that of the file, those of links to it, and those in which a link to
/// a neighbour says which one counts, such as `current -> v1`, so that it may be turned to another one. A folder leads to
/// itself.
fn follow(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let Ok(whole) = std::path::absolute(path) else { return folders };
    let (mut real, mut links) = (PathBuf::from("/"), 0);
    let mut rest: VecDeque<OsString> = parts(&whole).collect();
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&part);
        let Some(target) = fs::read_link(&next).ok().filter(|_| links < MOST_LINKS) else {
            real = next;
            continue;
        };
        links += 1;
        if rest.is_empty() || is_neighbour(&real, &target) {
            folders.insert(real.clone());
        }
        if target.is_absolute() {
            real = "/".into();
        }
        parts(&target).rev().for_each(|part| rest.push_front(part));
    }
    folders.insert(if real.is_dir() { real.clone() } else { real.parent().unwrap_or(&real).to_owned() });
    // Whoever has `/` has everything: there it is the file alone.
    folders.into_iter().map(|folder| if is_root(&folder) { real.clone() } else { folder }).collect()
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(named).map(|part| part.as_os_str().to_owned())
}

/// Whether a link in `folder` leads to something else in it.
fn is_neighbour(folder: &Path, target: &Path) -> bool {
    let holder = folder.join(target).parent().and_then(|holder| holder.canonicalize().ok());
    holder.is_some_and(|holder| holder == folder)
}

fn is_root(folder: &Path) -> bool {
    folder.parent().is_none()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;

    /// Below a folder of the test's own, without links on the way to it.
    struct Place {
        _dir: tempfile::TempDir,
        root: PathBuf,
    }

    impl Place {
        fn new(folders: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().canonicalize().unwrap();
            folders.iter().for_each(|folder| fs::create_dir_all(root.join(folder)).unwrap());
            Self { _dir: dir, root }
        }

        fn leads(&self, path: &str) -> Vec<String> {
            let below = |folder: PathBuf| folder.strip_prefix(&self.root).unwrap().display().to_string();
            follow(&self.root.join(path)).into_iter().map(below).collect()
        }
    }

    #[test]
    fn a_file_leads_to_its_folder_and_a_folder_to_itself() {
        let place = Place::new(&["a/b"]);
        fs::write(place.root.join("a/b/x.pem"), "").unwrap();
        assert_eq!(place.leads("a/b/x.pem"), ["a/b"]);
        assert_eq!(place.leads("a/b"), ["a/b"]);
        assert_eq!(place.leads("a/b/../b/x.pem"), ["a/b"]);
        assert_eq!(place.leads("a/b/missing.pem"), ["a/b"]);
    }

    #[test]
    fn certbot_s_links_lead_to_both_folders() {
        let place = Place::new(&["live/x", "archive/x", "own"]);
        fs::write(place.root.join("archive/x/cert1.pem"), "").unwrap();
        symlink("../../archive/x/cert1.pem", place.root.join("live/x/cert.pem")).unwrap();
        symlink(place.root.join("live/x/cert.pem"), place.root.join("own/a.pem")).unwrap();
        assert_eq!(place.leads("live/x/cert.pem"), ["archive/x", "live/x"]);
        assert_eq!(place.leads("own/a.pem"), ["archive/x", "live/x", "own"]);
    }

    #[test]
    fn a_link_that_is_turned_to_a_neighbour_may_be_turned_again() {
        let place = Place::new(&["volume/..v1", "deep/certs/v1", "own"]);
        symlink("..v1", place.root.join("volume/..data")).unwrap();
        fs::write(place.root.join("volume/..v1/tls.crt"), "").unwrap();
        symlink("..data/tls.crt", place.root.join("volume/tls.crt")).unwrap();
        assert_eq!(place.leads("volume/tls.crt"), ["volume", "volume/..v1"]);
        symlink("v1", place.root.join("deep/certs/current")).unwrap();
        fs::write(place.root.join("deep/certs/v1/a.pem"), "").unwrap();
        assert_eq!(place.leads("deep/certs/current/a.pem"), ["deep/certs", "deep/certs/v1"]);
        // One that leads elsewhere opens nothing where it is: `/var/run` must not open `/var`.
        symlink(place.root.join("deep/certs"), place.root.join("own/run")).unwrap();
        assert_eq!(place.leads("own/run/v1/a.pem"), ["deep/certs/v1"]);
    }

    #[test]
    fn links_in_a_circle_come_to_an_end() {
        let place = Place::new(&["a"]);
        symlink("two", place.root.join("a/one")).unwrap();
        symlink("one", place.root.join("a/two")).unwrap();
        assert_eq!(place.leads("a/one"), ["a"]);
    }

    #[test]
    fn nothing_opens_everything() {
        assert_eq!(follow(Path::new("/peerway.yaml")), [PathBuf::from("/peerway.yaml")].into());
        let named = opened(&[Needed { path: NAMES.into(), need: Need::Names }]);
        let more = opened(&[Needed { path: "/x.sock".into(), need: Need::Listen }]);
        assert!(named.iter().chain(&more).all(|opened| !is_root(&opened.path)));
    }
}
