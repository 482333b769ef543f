//! Folders in which files of ours may change, and the kernel's word about them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use crate::config::Whereabouts;

/// However often files change, they are looked at again after so many times the debounce.
const MOST_DEBOUNCES: u32 = 20;

/// Watched folders.
pub(super) struct Folders {
    queue: Option<AsyncFd<OwnedFd>>,
    watched: BTreeSet<PathBuf>,
    names: BTreeSet<PathBuf>,
    /// Knows by which names others may appear.
    whereabouts: Whereabouts,
    /// Which other names in them matter.
    also: fn(&Path) -> bool,
}

impl Folders {
    /// None yet. What has a name that `also` likes matters in each of them.
    pub(super) fn new(also: fn(&Path) -> bool) -> Self {
        #[allow(deprecated, reason = "its successor asks for a promise, which an OwnedFd always keeps")]
        let register = AsyncFd::<OwnedFd>::new;
        let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let queue = queue.map_err(io::Error::from).and_then(register);
        if let Err(error) = &queue {
            tracing::warn!(%error, "cannot watch files; they are looked at every few seconds instead");
        }
        Self {
            queue: queue.ok(),
            watched: BTreeSet::new(),
            names: BTreeSet::new(),
            whereabouts: Whereabouts::default(),
            also,
        }
    }

    /// Watches the folders that hold what `find` finds, which may take its time: files may have been replaced since the
    /// last call, and others may be of interest. A folder among them is watched itself.
    pub(super) async fn watch(&mut self, find: impl FnOnce() -> (Vec<PathBuf>, Whereabouts) + Send + 'static) {
        let Some(queue) = &self.queue else { return };
        let look = || {
            let (paths, whereabouts) = find();
            (places(&paths), paths, whereabouts)
        };
        let Ok(((folders, names), paths, whereabouts)) = tokio::task::spawn_blocking(look).await else { return };
        // Who is still writing to a file of ours is told of by the file, not by its folder: there every line of a log beside
        // it would be told of, too. A file that is not there has nothing to tell.
        for file in paths.iter().filter(|path| !folders.contains(*path)) {
            let _ = inotify::add_watch(queue.get_ref(), file, WatchFlags::MODIFY);
        }
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO;
        for folder in &folders {
            // Adding one again changes nothing, unless it is another folder of that name.
            if let Err(error) = inotify::add_watch(queue.get_ref(), folder, what)
                && self.watched.contains(folder)
            {
                tracing::warn!(folder = %folder.display(), %error, "cannot watch a folder any more");
            }
        }
        (self.watched, self.names, self.whereabouts) = (folders, names, whereabouts);
    }

    /// Waits for a change of something that matters. Cancel safe.
    pub(super) async fn changed(&self) {
        let Some(queue) = &self.queue else { return std::future::pending().await };
        loop {
            let Ok(mut ready) = queue.readable().await else { return std::future::pending().await };
            match self.read(queue.get_ref()) {
                true => return,
                false => ready.clear_ready(),
            }
        }
    }

    /// Reads what there is to read; says whether any of it matters.
    fn read(&self, queue: &OwnedFd) -> bool {
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(queue, &mut room);
        let mut matters = false;
        while let Ok(event) = reader.next() {
            // A file itself has no name in what is told of it. With an overflow there is none either, and everything may have
            // changed.
            let name = event.file_name().map(|name| Path::new(OsStr::from_bytes(name.to_bytes())).to_owned());
            matters |= name.is_none_or(|name| self.matters(&name)) && !event.events().contains(ReadFlags::IGNORED);
        }
        matters
    }

    /// Waits until nothing has changed for `debounce`.
    pub(super) async fn settle(&self, debounce: Duration) {
        let end = Instant::now() + debounce * MOST_DEBOUNCES;
        loop {
            tokio::select! {
                () = sleep(debounce) => return,
                () = self.changed() => if Instant::now() > end { return },
            }
        }
    }

    /// Files of ours, and the link by which Kubernetes swaps a volume. An access log in the same folder is neither.
    fn matters(&self, name: &Path) -> bool {
        let included = name.to_str().is_some_and(|name| self.whereabouts.may_be_included(name));
        included || (self.also)(name) || self.names.contains(name) || name == Path::new("..data")
    }
}

/// The folders to watch, and the names in them that matter.
fn places(paths: &[PathBuf]) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let (mut folders, mut names) = (BTreeSet::new(), BTreeSet::new());
    for path in paths {
        if path.is_dir() {
            folders.insert(path.clone());
            continue;
        }
        // A link may lead elsewhere, and the file there may change as well.
        for path in [Some(path.clone()), path.canonicalize().ok()].into_iter().flatten() {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            folders.insert(folder.to_owned());
            names.extend(path.file_name().map(PathBuf::from));
        }
    }
    (folders, names)
}
