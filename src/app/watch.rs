//! Watching the configuration's files: the kernel tells of changes in their folders, and now and then they are looked at all
//! the same, for network file systems that tell nothing. Their content is read if a look shows a change, and once a minute,
//! for file systems whose times are not to be believed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::time::sleep;

use super::folders::Folders;
use super::marks::Marks;
use crate::admin::{Attempt, Author, Desk, Origin, Verdict};
use crate::balance::CATALOGUE;
use crate::config::{self, Whereabouts};
use crate::route::Live;

/// Between looks at the files when nothing is told.
const POLL: Duration = Duration::from_secs(5);
/// Between readings of the content when looks show nothing.
const REREAD: Duration = Duration::from_secs(60);

/// Asks for a reload whenever the files hold something that was not tried yet, or that was found wrong and no longer is;
/// keeps the drift current.
pub(super) async fn run(desk: Arc<Desk>, live: Arc<ArcSwap<Live>>) {
    let mut folders = Folders::new(is_yaml);
    let mut reading = Reading::default();
    loop {
        if !reading.watched {
            watch(&mut folders, &desk).await;
            reading.watched = true;
        }
        let reload = live.load().plan.reload;
        tokio::select! {
            () = folders.changed() => {
                // A file that is new may still be written to.
                watch(&mut folders, &desk).await;
                folders.settle(reload.debounce).await;
                // Before the files are read: one that comes later, in a folder that is new, is told of then.
                watch(&mut folders, &desk).await;
                reading = Reading::default();
            }
            () = sleep(POLL) => {}
        }
        let Some(newer) = look(reading, &desk).await else {
            reading = Reading::default();
            continue;
        };
        reading = newer;
        if reading.content != desk.in_force().hash && !reading.confirmed {
            // A poll meets files half written, too.
            sleep(reload.debounce).await;
            match look(Reading::default(), &desk).await {
                Some(again) if again.content == reading.content => reading = Reading { confirmed: true, ..again },
                _ => {
                    reading = Reading::default();
                    continue;
                }
            }
        }
        let content = &reading.content;
        // By now it may have been tried by someone else.
        let differs = *content != desk.in_force().hash;
        desk.set_drift(differs);
        if !differs || !live.load().plan.reload.watch {
            continue;
        }
        let last = desk.history().into_iter().next().filter(|last| last.hash.as_ref() == Some(content));
        if is_worth_trying(last, desk.origin()).await {
            match desk.ask(Author::File, None) {
                // One at a time: what comes of it says whether there is anything left to try.
                Ok((_, answer)) => drop(answer.await),
                Err(_) => tracing::warn!("files have changed, but too many reloads wait already"),
            }
        }
    }
}

/// Watches the folders that hold files now, and those in which others may appear that `include` means.
async fn watch(folders: &mut Folders, desk: &Arc<Desk>) {
    let Origin { paths, env, .. } = desk.origin().clone();
    let find = move || {
        let found = Whereabouts::of(&paths, &env);
        ([&*paths, &*found.files, &*found.folders].concat(), found)
    };
    folders.watch(find).await;
}

/// What the files held when they were read.
#[derive(Debug, Default)]
struct Reading {
    content: String,
    /// By which it can be told that they still do; None if that cannot be told.
    marks: Option<Marks>,
    at: Option<Instant>,
    /// Whether it was read twice, with some time between.
    confirmed: bool,
    /// Whether their folders were looked up since.
    watched: bool,
}

impl Reading {
    /// Reads them. Their marks are made before that, of files that are found out before that: what changes meanwhile shows.
    fn take(Origin { paths, env, .. }: &Origin, at: SystemTime) -> Self {
        let found = Whereabouts::of(paths, env);
        let marks = Marks::of([&**paths, &*found.files, &*found.folders].into_iter().flatten());
        let now = Whereabouts::of(paths, env);
        let is_sure = now == found && now.complete && marks.are_settled(at);
        let marks = is_sure.then_some(marks);
        Self { content: now.content, marks, at: Some(Instant::now()), confirmed: false, watched: false }
    }

    fn holds(&self) -> bool {
        self.at.is_some_and(|at| at.elapsed() < REREAD) && self.marks.as_ref().is_some_and(Marks::hold)
    }
}

/// The last reading, or another one if that may be outdated; `None` if that cannot be found out.
async fn look(last: Reading, desk: &Arc<Desk>) -> Option<Reading> {
    let origin = desk.origin().clone();
    let look = move || if last.holds() { last } else { Reading::take(&origin, SystemTime::now()) };
    tokio::task::spawn_blocking(look).await.ok()
}

/// Whether there is something to try, if `last` is what came of the same content. It is no longer wrong if what it names
/// has changed: a certificate, a password.
async fn is_worth_trying(last: Option<Attempt>, origin: &Origin) -> bool {
    match last {
        None => true,
        Some(last) if last.result == Verdict::Rejected && !last.errors.is_empty() => {
            let Origin { paths, env, reach } = origin.clone();
            let load = move || config::load_within(&reach, &paths, &CATALOGUE, &env).is_ok();
            tokio::task::spawn_blocking(load).await.unwrap_or(false)
        }
        Some(_) => false,
    }
}

/// What may be included, or be in a folder that is.
fn is_yaml(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Reach;

    #[test]
    fn a_reading_holds_until_something_shows_that_it_may_not() {
        let dir = tempfile::tempdir().unwrap();
        let (main, part) = (dir.path().join("main.yaml"), dir.path().join("parts/a.yaml"));
        fs::create_dir(dir.path().join("parts")).unwrap();
        fs::write(&main, "include: parts/*.yaml\n").unwrap();
        fs::write(&part, "pools: {}\n").unwrap();
        let origin = Origin { paths: vec![main.clone()], env: |_| None, reach: Reach::default() };
        let take = || Reading::take(&origin, SystemTime::now() + Duration::from_secs(60));
        assert!(!Reading::take(&origin, SystemTime::now()).holds(), "it may be changed again within the same tick");
        let changes: [&dyn Fn(); 5] = [
            &|| fs::write(&part, "pools: { p: { backends: [] } }\n").unwrap(),
            &|| fs::write(dir.path().join("parts/b.yaml"), "listeners: {}\n").unwrap(),
            &|| fs::remove_file(&part).unwrap(),
            &|| fs::write(&main, "include: [ parts/*.yaml, more.yaml ]\n").unwrap(),
            &|| fs::write(dir.path().join("more.yaml"), "# nothing\n").unwrap(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let reading = take();
            // What an `include` names is not there in the last step but one.
            assert_eq!(reading.holds(), number != 4, "{number}");
            assert_eq!(reading.content, take().content);
            std::thread::sleep(Duration::from_millis(50)); // longer than a tick of the file system's clock
            change();
            assert!(!reading.holds() && reading.content != take().content, "{number}");
        }
        let old = Reading { at: Instant::now().checked_sub(REREAD), ..take() };
        assert!(!old.holds(), "times may lie");
    }
}
