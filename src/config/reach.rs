//! What a process in a sandbox can still reach, and what a configuration needs it to.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a path is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A file is read.
    Read,
    /// Lines are appended to a file, which is begun anew when it was moved away.
    Append,
    /// A file is read, and swapped for another one beside it.
    Keep,
    /// A socket is created, and removed.
    Listen,
    /// Names of hosts are looked up with what is there.
    Names,
}

/// Where the system keeps what looking up names of hosts takes.
pub const NAMES: &str = "/etc";

/// A path, and what it is there for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needed {
    /// As the process would open it. The files of a pattern are named by the folder that they are in, or below.
    pub path: PathBuf,
    /// What it is there for.
    pub need: Need,
}

/// The folders that this process can reach, each with all below it. The default is everything.
///
/// A folder is known by its identity: one that takes its place under the same name was never opened to the process.
#[derive(Debug, Clone, Default)]
pub struct Reach(Option<Arc<BTreeSet<(Need, Identity)>>>);

/// Device and inode.
type Identity = (u64, u64);

impl Reach {
    /// Nothing but these files and folders. What is not there cannot be reached later either.
    pub fn of<'a>(opened: impl IntoIterator<Item = &'a Needed>) -> Self {
        let known = |Needed { path, need }: &'a Needed| {
            let folder = identity(path);
            need.brings().iter().filter_map(move |need| Some((*need, folder?)))
        };
        Self(Some(Arc::new(opened.into_iter().flat_map(known).collect())))
    }

    /// Whether what is needed lies in one of them.
    pub(super) fn has(&self, Needed { path, need }: &Needed) -> bool {
        let Some(opened) = &self.0 else { return true };
        let real = real(path, *need);
        real.ancestors().filter_map(identity).any(|folder| opened.contains(&(*need, folder)))
    }
}

impl Need {
    /// What else can be done where it can be had.
    fn brings(&self) -> &'static [Need] {
        match self {
            Self::Read => &[Self::Read],
            Self::Append => &[Self::Append],
            Self::Keep => &[Self::Keep, Self::Append, Self::Read],
            Self::Listen => &[Self::Listen],
            Self::Names => &[Self::Names, Self::Read],
        }
    }

    /// Why it cannot be had, for whoever has just read that it needs a restart.
    pub(super) fn explain(self) -> &'static str {
        match self {
            Self::Read => "it lies in no folder that the sandbox lets this process read",
            Self::Append | Self::Keep => "it lies in no folder in which the sandbox lets this process write",
            Self::Listen => "it lies in no folder in which the sandbox lets this process create sockets",
            Self::Names => {
                "with no host name to look up at the start, the sandbox keeps this process from what that takes"
            }
        }
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let about = fs::metadata(path).ok()?;
    Some((about.dev(), about.ino()))
}

/// Where the path leads to, as far as it leads. A socket is made where the path says, and not where a link leads.
fn real(path: &Path, need: Need) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let skipped = usize::from(need == Need::Listen);
    whole.ancestors().skip(skipped).find_map(|part| part.canonicalize().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;

    fn needed(path: &Path, need: Need) -> Needed {
        Needed { path: path.to_owned(), need }
    }

    #[test]
    fn what_lies_in_an_open_folder_is_within_reach() {
        let dir = tempfile::tempdir().unwrap();
        let (open, closed) = (dir.path().join("open"), dir.path().join("closed"));
        [&open, &open.join("deep"), &closed].iter().for_each(|folder| fs::create_dir(folder).unwrap());
        [open.join("a"), open.join("deep/b"), closed.join("c")].iter().for_each(|file| fs::write(file, "").unwrap());
        let reach = Reach::of([&needed(&open, Need::Read)]);
        let reads = |path: &str| reach.has(&needed(&dir.path().join(path), Need::Read));
        assert!(reads("open/a") && reads("open/deep/b") && reads("open"));
        assert!(reads("open/missing") && reads("open/not/there/yet"), "that is for whoever opens it to say");
        assert!(!reads("closed/c") && !reads("closed/missing") && !reads("open/../closed/c"));
        symlink(closed.join("c"), open.join("link")).unwrap();
        symlink(&open, closed.join("back")).unwrap();
        assert!(!reads("open/link") && reads("closed/back/a"), "what counts is the file at the end of links");
        assert!(!reach.has(&needed(&open.join("log"), Need::Append)), "reading is not writing");
        assert!(Reach::default().has(&needed(&closed, Need::Keep)));
    }

    #[test]
    fn a_socket_is_made_beside_the_link_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        symlink(dir.path().join("elsewhere"), open.join("x.sock")).unwrap();
        fs::write(dir.path().join("elsewhere"), "").unwrap();
        let reach = Reach::of([&needed(&open, Need::Listen)]);
        assert!(reach.has(&needed(&open.join("x.sock"), Need::Listen)));
    }

    #[test]
    fn another_folder_of_the_same_name_is_another_folder() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        let reach = Reach::of([&needed(&open, Need::Read)]);
        fs::rename(&open, dir.path().join("moved")).unwrap();
        fs::create_dir(&open).unwrap();
        assert!(!reach.has(&needed(&open.join("a"), Need::Read)));
        assert!(reach.has(&needed(&dir.path().join("moved/a"), Need::Read)));
    }
}
