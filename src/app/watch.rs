//! Watching the configuration's files: the kernel tells of changes in their folders, and now and then their content is
//! read all the same, for network file systems that tell nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::sleep;

use super::folders::Folders;
use crate::admin::{Attempt, Author, Desk, Origin, Verdict};
use crate::balance::CATALOGUE;
use crate::config::{self, Whereabouts, fingerprint};
use crate::route::Live;

/// Between readings of the content when nothing is told.
const POLL: Duration = Duration::from_secs(5);

/// Asks for a reload whenever the files hold something that was not tried yet, or that was found wrong and no longer is;
/// keeps the drift current.
pub(super) async fn run(desk: Arc<Desk>, live: Arc<ArcSwap<Live>>) {
    let mut folders = Folders::new(is_yaml);
    loop {
        watch(&mut folders, &desk).await;
        let reload = live.load().plan.reload;
        tokio::select! {
            () = folders.changed() => {
                // A file that is new may still be written to.
                watch(&mut folders, &desk).await;
                folders.settle(reload.debounce).await;
                // Before the files are read: one that comes later, in a folder that is new, is told of then.
                watch(&mut folders, &desk).await;
            }
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
        if !differs || !live.load().plan.reload.watch {
            continue;
        }
        let last = desk.history().into_iter().next().filter(|last| last.hash.as_ref() == Some(&content));
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

/// Names what the files hold now; `None` if that cannot be found out.
async fn content(desk: &Arc<Desk>) -> Option<String> {
    let origin = desk.origin().clone();
    tokio::task::spawn_blocking(move || fingerprint(&origin.paths, &origin.env)).await.ok()
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
