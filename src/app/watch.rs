//! Watching the configuration's files: the kernel tells of changes in their folders, and now and then they are looked at all
//! the same, for network file systems that tell nothing. Their content is read if a look shows a change, and once a minute,
//! for file systems whose times are not to be believed. It is parsed only if it is another one: a large configuration takes
//! longer to parse than all else that a quiet process does in that minute.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;

use super::folders::Folders;
use super::marks::Marks;
use crate::admin::{Attempt, Author, Desk, Origin, State, Verdict};
use crate::balance::CATALOGUE;
use crate::config::{self, Known, Need, Needed, Whereabouts};

/// Between looks at the files when nothing is told.
const POLL: Duration = Duration::from_secs(5);
/// Between readings of the content when looks show nothing.
const REREAD: Duration = Duration::from_secs(60);

/// Asks for a reload whenever the files hold something that was not tried yet, or that was found wrong and no longer is;
/// keeps the drift current. What the files say is `known` from the start.
pub(super) async fn run(state: Arc<State>, known: Known) {
    let (desk, live) = (&state.desk, &state.live);
    let files = Files { origin: desk.origin().clone(), known: Arc::new(Mutex::new(known)) };
    let mut folders = Folders::new(is_yaml);
    let mut refused = None;
    let mut reading = Reading::default();
    loop {
        if !reading.watched {
            watch(&mut folders, &files).await;
            reading.watched = true;
        }
        let reload = live.load().plan.reload;
        tokio::select! {
            () = folders.changed() => {
                // A file that is new may still be written to.
                watch(&mut folders, &files).await;
                folders.settle(reload.debounce).await;
                // Before the files are read: one that comes later, in a folder that is new, is told of then.
                watch(&mut folders, &files).await;
                reading = Reading::default();
            }
            () = sleep(POLL) => {}
        }
        let before = last_attempt(desk);
        let Some(newer) = look(reading, &files).await else {
            reading = Reading::default();
            continue;
        };
        reading = newer;
        if reading.content != desk.in_force().hash && !reading.confirmed {
            // A poll meets files half written, too.
            sleep(reload.debounce).await;
            match look(Reading::default(), &files).await {
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
        if !differs && before.is_some_and(|tried| tried.hash.as_ref() != Some(content) && is_last(desk, &tried)) {
            state.reloads.settle();
        }
        if !differs || !live.load().plan.reload.watch {
            continue;
        }
        let last = last_attempt(desk).filter(|last| last.hash.as_ref() == Some(content));
        if is_worth_trying(last, desk.origin(), &mut refused).await {
            match desk.ask(Author::File, None) {
                // One at a time: what comes of it says whether there is anything left to try.
                Ok((_, answer)) => drop(answer.await),
                Err(_) => tracing::warn!("files have changed, but too many reloads wait already"),
            }
        }
    }
}

fn last_attempt(desk: &Desk) -> Option<Attempt> {
    desk.history().into_iter().next()
}

/// Whether nothing was tried since.
fn is_last(desk: &Desk, tried: &Attempt) -> bool {
    last_attempt(desk).is_some_and(|last| last.id == tried.id)
}

/// Watches the folders that hold files now, and those in which others may appear that `include` means.
async fn watch(folders: &mut Folders, files: &Files) {
    let files = files.clone();
    let find = move || {
        let found = files.find();
        ([&*files.origin.paths, &*found.files, &*found.folders].concat(), found)
    };
    folders.watch(find).await;
}

/// Where the files are to be found, and what is known of them.
#[derive(Debug, Clone)]
struct Files {
    origin: Origin,
    /// Of one who looks at a time.
    known: Arc<Mutex<Known>>,
}

impl Files {
    fn find(&self) -> Whereabouts {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Whereabouts::of(&self.origin.paths, &self.origin.env, &mut known)
    }
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
    fn take(files: &Files, at: SystemTime) -> Self {
        let found = files.find();
        let marks = Marks::of([&*files.origin.paths, &*found.files, &*found.folders].into_iter().flatten());
        let now = files.find();
        let is_sure = now == found && now.complete && marks.are_settled(at);
        let marks = is_sure.then_some(marks);
        Self { content: now.content, marks, at: Some(Instant::now()), confirmed: false, watched: false }
    }

    fn holds(&self) -> bool {
        self.at.is_some_and(|at| at.elapsed() < REREAD) && self.marks.as_ref().is_some_and(Marks::hold)
    }
}

/// The last reading, or another one if that may be outdated; `None` if that cannot be found out.
async fn look(last: Reading, files: &Files) -> Option<Reading> {
    let files = files.clone();
    let look = move || if last.holds() { last } else { Reading::take(&files, SystemTime::now()) };
    tokio::task::spawn_blocking(look).await.ok()
}

/// Whether there is something to try, if `last` is what came of the same content. It is no longer wrong if what it names
/// has changed: a certificate, a password. It was `refused` when that was last looked at.
async fn is_worth_trying(last: Option<Attempt>, origin: &Origin, refused: &mut Option<Refusal>) -> bool {
    let Some(last) = last else { return true };
    if last.result != Verdict::Rejected || last.errors.is_empty() {
        return false;
    }
    let (origin, earlier) = (origin.clone(), refused.take());
    let judge = move || match earlier {
        Some(refusal) if refusal.holds(&last.hash) => Some(refusal),
        _ => Refusal::find(&origin, last.hash, SystemTime::now()),
    };
    let Ok(judged) = tokio::task::spawn_blocking(judge).await else { return false };
    *refused = judged;
    refused.is_none()
}

/// What shows a change of something that files need.
fn mark_of(needed: &Needed) -> Option<PathBuf> {
    match needed.need {
        Need::Read => Some(needed.path.clone()),
        // What is kept there comes later: its folder has to be there.
        Need::Keep => std::path::absolute(&needed.path).ok()?.parent().map(Path::to_owned),
        _ => None,
    }
}

/// Files that were found wrong.
#[derive(Debug)]
struct Refusal {
    /// As the attempt names it.
    content: Option<String>,
    /// By which it can be told that files it names are as they were; None if that cannot be told.
    marks: Option<Marks>,
    at: Instant,
}

impl Refusal {
    /// None if nothing is wrong. Marks are made of what is named the first time, and hold for what was found the second time:
    /// what changes meanwhile shows.
    fn find(origin: &Origin, content: Option<String>, at: SystemTime) -> Option<Self> {
        let wrong = || config::load_within(&origin.reach, &origin.paths, &CATALOGUE, &origin.env).err();
        let errors = wrong()?;
        let marked: Vec<PathBuf> = errors.needs().iter().filter_map(mark_of).collect();
        let marks = Marks::of(marked.iter());
        let is_sure = marks.are_settled(at) && wrong()?.needs() == errors.needs();
        Some(Self { content, marks: is_sure.then_some(marks), at: Instant::now() })
    }

    /// Whether the same content must still be wrong. After a while it may be otherwise: not all that a file depends on has a
    /// mark, as what the system trusts.
    fn holds(&self, content: &Option<String>) -> bool {
        self.content == *content && self.at.elapsed() < REREAD && self.marks.as_ref().is_some_and(Marks::hold)
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
        let files = Files { origin, known: Arc::default() };
        let take = || Reading::take(&files, SystemTime::now() + Duration::from_secs(60));
        assert!(!Reading::take(&files, SystemTime::now()).holds(), "it may be changed again within the same tick");
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

    #[test]
    fn what_was_refused_is_judged_again_when_what_it_names_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (main, cert) = (dir.path().join("main.yaml"), dir.path().join("a.pem"));
        let listener = "{ bind: '127.0.0.1:0', pool: p, tls: { certificates: { cert: a.pem, key: a.key } } }";
        fs::write(&main, format!("listeners: {{ l: {listener} }}\npools: {{ p: {{ backends: [] }} }}\n")).unwrap();
        fs::write(dir.path().join("a.key"), "no key").unwrap();
        let origin = Origin { paths: vec![main.clone()], env: |_| None, reach: Reach::default() };
        let content = Some("content".to_owned());
        let find = |at| Refusal::find(&origin, content.clone(), at).expect("there is no certificate");
        let later = || SystemTime::now() + Duration::from_secs(60);
        assert!(!find(SystemTime::now()).holds(&content), "the key may be changed again within the same tick");
        let refusal = find(later());
        assert!(refusal.holds(&content) && !refusal.holds(&Some("another".to_owned())) && !refusal.holds(&None));
        let old = Refusal { at: Instant::now().checked_sub(REREAD).unwrap(), ..find(later()) };
        assert!(!old.holds(&content), "times may lie");
        fs::write(&cert, "no certificate").unwrap();
        assert!(!refusal.holds(&content) && find(later()).holds(&content));
        let listener = "{ bind: '127.0.0.1:0', pool: p }";
        fs::write(&main, format!("listeners: {{ l: {listener} }}\npools: {{ p: {{ backends: [] }} }}\n")).unwrap();
        assert!(Refusal::find(&origin, content.clone(), later()).is_none());
    }
}
