//! The program as it is to be started again, and a process of it that is on trial.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::heir::MARK;
use super::words::VERSION;

/// What is kept of what a process on trial says: its last lines.
const KEPT: usize = 4 * 1024;
/// How long its last words may take once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Set by the service manager for the process that it started, and for no other.
const NOT_FOR_HEIRS: &[&str] = &["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// How this process was started.
#[derive(Debug)]
pub(in crate::app) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// As the command line has it. A name without a folder is looked up now, as the shell has done; what the file holds
    /// is another matter: it may be replaced meanwhile, which is what upgrades are for.
    ///
    /// # Errors
    /// The working directory is gone.
    pub(in crate::app) fn of_this_process() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let name = PathBuf::from(arguments.next().unwrap_or_default());
        let path = match name.as_os_str().as_bytes().contains(&b'/') {
            true => std::path::absolute(&name)?,
            false => look_up(&name).map_or_else(std::env::current_exe, Ok)?,
        };
        Ok(Self { path, arguments: arguments.collect() })
    }

    /// Starts it anew, to take over; its standard input is the socket to this process.
    ///
    /// # Errors
    /// The file cannot be executed, or there is no room for another process.
    pub(super) fn start(&self, link: OwnedFd) -> Result<Trial, String> {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env(MARK, VERSION.to_string());
        command.stdin(link).stderr(Stdio::piped());
        for name in NOT_FOR_HEIRS {
            command.env_remove(name);
        }
        let failed = |error: io::Error| format!("cannot start {}: {error}", self.path.display());
        let mut child = command.spawn().map_err(failed)?;
        let words: Arc<Mutex<VecDeque<u8>>> = Arc::default();
        let listening = child.stderr.take().map(|stderr| tokio::spawn(listen(stderr, words.clone())));
        Ok(Trial { child, words, listening })
    }
}

/// The first file of that name in `PATH`.
fn look_up(name: &Path) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Keeps the end of what it says, until it says it elsewhere or has ended.
async fn listen(mut stderr: ChildStderr, words: Arc<Mutex<VecDeque<u8>>>) {
    let mut room = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut room).await {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.extend(&room[..read]);
        let excess = words.len().saturating_sub(KEPT);
        words.drain(..excess);
    }
}

/// A new process that does not serve yet.
#[derive(Debug)]
pub(super) struct Trial {
    child: Child,
    words: Arc<Mutex<VecDeque<u8>>>,
    listening: Option<JoinHandle<()>>,
}

impl Trial {
    /// Its process id.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has ended. Cancel safe.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it if it has not ended by itself, and gives what it left with, and its last words.
    pub(super) async fn end(mut self, patience: Duration) -> (Option<ExitStatus>, String) {
        let status = match timeout(patience, self.child.wait()).await {
            Ok(status) => status.ok(),
            // There is nothing in it that would be lost.
            Err(_) => self.child.kill().await.err().and(None),
        };
        if let Some(listening) = self.listening.take() {
            // A process that it has left behind may have its standard error.
            let _ = timeout(LAST_WORDS, listening).await;
        }
        (status, self.words())
    }

    /// It serves: it is waited for when it ends, and what it has said by now is passed on.
    pub(super) fn acquit(mut self) {
        tokio::spawn(async move {
            if let Some(listening) = self.listening.take() {
                let _ = timeout(LAST_WORDS, listening).await;
            }
            let words = self.words();
            words.lines().for_each(|line| tracing::warn!(line, "the new process has said"));
            let _ = self.child.wait().await;
        });
    }

    /// Its last lines.
    fn words(&self) -> String {
        let words: Vec<u8> = self.words.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        String::from_utf8_lossy(&words).trim().to_owned()
    }
}
