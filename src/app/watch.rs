//! Watching the configuration's files: the kernel tells of changes in their folders, and now and then their content is
//! read all the same, for network file systems that tell nothing.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use crate::admin::{Author, Desk};
use crate::config::{fingerprint, sources_of};
use crate::route::Live;

/// Between readings of the content when nothing is told.
const POLL: Duration = Duration::from_secs(5);
/// However often files change, they are looked at again after so many times the debounce.
const MOST_DEBOUNCES: u32 = 20;

/// Asks for a reload whenever the files hold something that was not tried yet; keeps the drift current.
pub(super) async fn run(desk: Arc<Desk>, live: Arc<ArcSwap<Live>>) {
    let mut folders = Folders::new();
    loop {
        folders.watch(&desk).await;
        let reload = live.load().plan.reload;
        tokio::select! {
            () = folders.changed() => settle(&folders, reload.debounce).await,
            () = sleep(POLL) => {}
        }
        let Some(mut content) = content(&desk).await else { continue };
        if content != desk.in_force().hash {
            // A poll meets files half written, too.
            sleep(reload.debounce).await;
            content = match self::content(&desk).await {
                Some(again) if again == content => again,
                _ => continue,
            };
        }
        // By now it may have been tried by someone else.
        let differs = content != desk.in_force().hash;
        desk.set_drift(differs);
        let tried = desk.history().first().and_then(|attempt| attempt.hash.clone()) == Some(content);
        if differs && !tried && live.load().plan.reload.watch {
            match desk.ask(Author::File, None) {
                // One at a time: what comes of it says whether there is anything left to try.
                Ok((_, answer)) => drop(answer.await),
                Err(_) => tracing::warn!("files have changed, but too many reloads wait already"),
            }
        }
    }
}

/// Waits until nothing has changed for `debounce`.
async fn settle(folders: &Folders, debounce: Duration) {
    let end = Instant::now() + debounce * MOST_DEBOUNCES;
    loop {
        tokio::select! {
            () = sleep(debounce) => return,
            () = folders.changed() => if Instant::now() > end { return },
        }
    }
}

/// Names what the files hold now; `None` if that cannot be found out.
async fn content(desk: &Arc<Desk>) -> Option<String> {
    let origin = desk.origin().clone();
    tokio::task::spawn_blocking(move || fingerprint(&origin.paths, &origin.env)).await.ok()
}

/// The folders that hold the files, and the kernel's word about them.
struct Folders {
    queue: Option<AsyncFd<OwnedFd>>,
    watched: BTreeSet<PathBuf>,
    names: BTreeSet<PathBuf>,
}

impl Folders {
    fn new() -> Self {
        #[allow(deprecated, reason = "its successor asks for a promise, which an OwnedFd always keeps")]
        let register = AsyncFd::<OwnedFd>::new;
        let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let queue = queue.map_err(io::Error::from).and_then(register);
        if let Err(error) = &queue {
            tracing::warn!(%error, "cannot watch files; their content is read every few seconds instead");
        }
        Self { queue: queue.ok(), watched: BTreeSet::new(), names: BTreeSet::new() }
    }

    /// Watches the folders that hold files now: they may have been replaced, and others included.
    async fn watch(&mut self, desk: &Arc<Desk>) {
        let Some(queue) = &self.queue else { return };
        let origin = desk.origin().clone();
        let find = move || places(&origin.paths, &sources_of(&origin.paths, &origin.env));
        let Ok((folders, names)) = tokio::task::spawn_blocking(find).await else { return };
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::MODIFY
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
        (self.watched, self.names) = (folders, names);
    }

    /// Waits for a change of something that matters. Cancel safe.
    async fn changed(&self) {
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
            // With an overflow there is no name, and everything may have changed.
            let name = event.file_name().map(|name| Path::new(OsStr::from_bytes(name.to_bytes())).to_owned());
            matters |= name.is_none_or(|name| self.matters(&name)) && !event.events().contains(ReadFlags::IGNORED);
        }
        matters
    }

    /// Files of ours, files that may be included, and the link by which Kubernetes swaps a volume. An access log in the
    /// same folder is none of these.
    fn matters(&self, name: &Path) -> bool {
        let yaml = name.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        yaml || self.names.contains(name) || name == Path::new("..data")
    }
}

/// The folders to watch, and the names in them that matter.
fn places(paths: &[PathBuf], files: &[PathBuf]) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let (mut folders, mut names) = (BTreeSet::new(), BTreeSet::new());
    for path in paths.iter().chain(files) {
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
