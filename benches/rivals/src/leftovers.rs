//! What must not be left behind: processes and folders, also when the run is broken off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::measure;

/// What there is to be taken away.
#[derive(Debug, Clone, Default)]
pub struct Leftovers(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    children: Vec<u32>,
    folders: Vec<PathBuf>,
}

impl Leftovers {
    /// From now on an interrupt takes everything away and ends this program.
    pub fn watch() -> std::io::Result<Self> {
        let leftovers = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let watched = leftovers.clone();
        std::thread::spawn(move || {
            let Some(signal) = signals.forever().next() else { return };
            // Nothing is added any more: whoever wants to waits for this lock.
            let inner = watched.inner();
            inner.children.iter().for_each(|id| kill(*id));
            for folder in &inner.folders {
                let _ = fs::remove_dir_all(folder);
            }
            eprintln!("rivals: ended by signal {signal}; nothing is written");
            std::process::exit(128 + signal);
        });
        Ok(leftovers)
    }

    /// Starts a child under watch: there is no moment in which an interrupt would miss it.
    pub fn child(&self, start: impl FnOnce() -> std::io::Result<Child>) -> std::io::Result<Child> {
        let mut inner = self.inner();
        let child = start()?;
        inner.children.push(child.id());
        Ok(child)
    }

    /// Ends a child with those it has started.
    pub fn end(&self, child: &mut Child) {
        let mut inner = self.inner();
        // One that has been waited for has no id any more.
        if matches!(child.try_wait(), Ok(None)) {
            kill(child.id());
        }
        let _ = child.wait();
        inner.children.retain(|id| *id != child.id());
    }

    /// A folder to be removed.
    pub fn folder(&self, path: &Path) {
        self.inner().folders.push(path.to_owned());
    }

    /// It is removed.
    pub fn forget_folder(&self, path: &Path) {
        self.inner().folders.retain(|folder| folder != path);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills it and those it has started, the last ones first.
fn kill(id: u32) {
    for id in measure::family(id).into_iter().rev() {
        if let Some(id) = Pid::from_raw(id as i32) {
            let _ = kill_process(id, Signal::KILL);
        }
    }
}
