//! A new process that does not serve yet.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{self, Receiver};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::starter::Helped;

/// What is kept of what a process on trial says: its last lines.
const KEPT: usize = 4 * 1024;
/// How long its last words may take once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A new process on trial.
#[derive(Debug)]
pub(super) struct Trial {
    process: Process,
    words: Arc<Mutex<VecDeque<u8>>>,
    listening: Option<JoinHandle<()>>,
}

/// Whose child it is.
#[derive(Debug)]
pub(super) enum Process {
    /// This process's.
    Ours(Child),
    /// The helper's.
    Helped(Helped),
}

impl Process {
    fn id(&self) -> Option<u32> {
        match self {
            Self::Ours(child) => child.id(),
            Self::Helped(child) => child.id(),
        }
    }

    /// Cancel safe.
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        match self {
            Self::Ours(child) => child.wait().await,
            Self::Helped(child) => child.wait().await,
        }
    }

    async fn kill(&mut self) -> io::Result<()> {
        match self {
            Self::Ours(child) => child.kill().await,
            Self::Helped(child) => child.kill().await,
        }
    }
}

/// Two ends of a pipe: one for a process on trial, and one for [`Trial::new`].
///
/// # Errors
/// Descriptors are short.
pub(super) fn words() -> io::Result<(OwnedFd, Receiver)> {
    let (says, hears) = pipe::pipe()?;
    Ok((says.into_blocking_fd()?, hears))
}

impl Trial {
    pub(super) fn new(process: Process, hears: Receiver) -> Self {
        let words: Arc<Mutex<VecDeque<u8>>> = Arc::default();
        Self { process, words: words.clone(), listening: Some(tokio::spawn(listen(hears, words))) }
    }

    /// Its process id.
    pub(super) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Waits until it has ended. Cancel safe.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Ends it if it has not ended by itself, and gives what it left with, and its last words.
    pub(super) async fn end(mut self, patience: Duration) -> (Option<ExitStatus>, String) {
        let status = match timeout(patience, self.process.wait()).await {
            Ok(status) => status.ok(),
            // There is nothing in it that would be lost.
            Err(_) => self.process.kill().await.err().and(None),
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
            // The helper's children are waited for by the helper, or by the system once that has ended.
            if let Process::Ours(mut child) = self.process {
                let _ = child.wait().await;
            }
        });
    }

    /// Its last lines.
    fn words(&self) -> String {
        let words: Vec<u8> = self.words.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        String::from_utf8_lossy(&words).trim().to_owned()
    }
}

/// Keeps the end of what it says, until it says it elsewhere or has ended.
async fn listen(mut hears: Receiver, words: Arc<Mutex<VecDeque<u8>>>) {
    let mut room = [0; 1024];
    while let Ok(read @ 1..) = hears.read(&mut room).await {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.extend(&room[..read]);
        let excess = words.len().saturating_sub(KEPT);
        words.drain(..excess);
    }
}
