//! Who starts the next process: this one, or a helper that was left outside when this one entered its sandbox.
//!
//! A sandbox is passed on to whatever is started in it, and a process in one may execute nothing. So before it enters, it
//! starts its own program as a helper, which waits at the other end of a socket. The helper knows the command line from its
//! own: whoever takes over this process can have the program started as it was started before, and nothing else. It holds
//! no descriptor of this process, and ends with it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::process::Child as Started;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};

use super::heir::inherited_socket;
use super::program::{Ends, Program};
use super::trial::{Process, Trial, words};
use super::words::{hear, say};
use crate::app::signals::{Signals, Standing};
use crate::net::inherit::{FrameReader, FrameWriter, channel, frames};

/// The command of the program that makes a helper of it; the rest of its line is what to start.
pub const HELPER: &str = "starter";
/// This program's file, also when it has been replaced or removed by now.
const MYSELF: &str = "/proc/self/exe";
/// Words that wait for whoever has started a process.
const WAITING: usize = 4;

/// What starts the next process.
#[derive(Debug)]
pub(in crate::app) enum Starter {
    /// This process.
    Here(Program),
    /// Its helper.
    Outside(Helper),
}

/// A helper, seen from the process that it serves.
#[derive(Debug)]
pub(in crate::app) struct Helper {
    process: Child,
    link: std::sync::Mutex<Option<OwnedFd>>,
    /// Made of the link by the first who wants something.
    talk: Arc<Mutex<Option<Talk>>>,
}

#[derive(Debug)]
struct Talk {
    told: mpsc::Receiver<Told>,
    writes: FrameWriter,
}

/// To the helper.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// Start the program; with three descriptors, its standard input, output and error.
    Start,
    /// Kill what was started last.
    Kill,
}

/// From the helper.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Started {
        id: u32,
    },
    Failed {
        why: String,
    },
    /// As wait(2) has it.
    Ended {
        status: i32,
    },
}

impl Starter {
    /// This process starts the program itself.
    pub(in crate::app) fn here(program: Program) -> Self {
        Self::Here(program)
    }

    /// A helper does, and is started now.
    ///
    /// # Errors
    /// It cannot be started.
    pub(in crate::app) fn outside(program: &Program) -> io::Result<Self> {
        let (ours, theirs) = channel()?;
        let mut command = Command::new(MYSELF);
        command.arg0("peerway").args([HELPER, "--"]).arg(&program.path).args(&program.arguments);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let link = std::sync::Mutex::new(Some(ours.into()));
        Ok(Self::Outside(Helper { process: command.spawn()?, link, talk: Arc::default() }))
    }

    /// Starts a process that is to take over; its standard input is the socket to this one.
    ///
    /// # Errors
    /// In words: it cannot be started.
    pub(super) async fn start(&self, link: OwnedFd) -> Result<Trial, String> {
        let (stderr, hears) = words().map_err(|error| error.to_string())?;
        let process = match self {
            Self::Here(program) => Process::Ours(program.start(Ends { link, stdout: None, stderr })?),
            Self::Outside(helper) => Process::Helped(helper.start(&link, &stderr).await?),
        };
        Ok(Trial::new(process, hears))
    }

    /// Nothing more is to be started.
    pub(super) fn dismiss(self) {
        if let Self::Outside(Helper { mut process, link, talk }) = self {
            drop((link, talk));
            // It ends at once. What it has started is the system's child then.
            tokio::task::spawn_blocking(move || process.wait());
        }
    }
}

impl Helper {
    async fn start(&self, link: &OwnedFd, stderr: &OwnedFd) -> Result<Helped, String> {
        let mut talk = self.talk.clone().lock_owned().await;
        if talk.is_none() {
            let end = self.link.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            *talk = Some(Talk::on(end.ok_or_else(gone)?).map_err(|error| error.to_string())?);
        }
        let Some(of) = talk.as_mut() else { return Err(gone()) };
        let stdout = rustix::stdio::stdout();
        let ends = [link.as_fd(), stdout, stderr.as_fd()];
        say(&mut of.writes, &Order::Start, &ends).await.map_err(|_| gone())?;
        match of.told.recv().await {
            Some(Told::Started { id }) => Ok(Helped { id, talk, ended: None }),
            Some(Told::Failed { why }) => Err(why),
            Some(Told::Ended { .. }) | None => Err(gone()),
        }
    }
}

fn gone() -> String {
    "the helper that starts new processes from outside of the sandbox is gone; only a restart brings it back".into()
}

impl Talk {
    fn on(link: OwnedFd) -> io::Result<Self> {
        let (reads, writes) = frames(link)?;
        let (tell, told) = mpsc::channel(WAITING);
        tokio::spawn(pass_on(reads, tell));
        Ok(Self { told, writes })
    }
}

/// Frames cannot be waited for beside something else; what comes through a channel can.
async fn pass_on(mut reads: FrameReader, tell: mpsc::Sender<Told>) {
    while let Ok((told, _)) = hear(&mut reads).await {
        if tell.send(told).await.is_err() {
            return;
        }
    }
}

/// A child of the helper.
#[derive(Debug)]
pub(super) struct Helped {
    id: u32,
    /// Nobody else starts anything meanwhile.
    talk: OwnedMutexGuard<Option<Talk>>,
    ended: Option<ExitStatus>,
}

impl Helped {
    /// Its process id, while it has not ended.
    pub(super) fn id(&self) -> Option<u32> {
        self.ended.is_none().then_some(self.id)
    }

    /// Waits until it has ended. Cancel safe.
    ///
    /// # Errors
    /// The helper is gone, and nobody knows.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        while self.ended.is_none() {
            let told = match self.talk.as_mut() {
                Some(talk) => talk.told.recv().await,
                None => None,
            };
            match told {
                Some(Told::Ended { status }) => self.ended = Some(ExitStatus::from_raw(status)),
                Some(Told::Started { .. } | Told::Failed { .. }) => {}
                None => return Err(io::Error::other(gone())),
            }
        }
        self.ended.ok_or_else(|| io::Error::other(gone()))
    }

    /// Kills it, and waits for its end.
    ///
    /// # Errors
    /// As for [`Self::wait`].
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        if let Some(talk) = self.talk.as_mut() {
            say(&mut talk.writes, &Order::Kill, &[]).await.map_err(io::Error::other)?;
        }
        self.wait().await.map(drop)
    }
}

/// Is the helper: starts the program whenever it is asked to, until whoever asks is gone.
///
/// # Errors
/// Standard input is not a socket to a process that asks, or threads or signals are not to be had.
pub fn start_on_request(program: &Program) -> io::Result<()> {
    let link = inherited_socket()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // They are for the process that is served: it may share a terminal or a service with its helper.
        let _deaf = Signals::install(Standing::install()?)?;
        let (reads, mut writes) = frames(link)?;
        let (order, mut orders) = mpsc::channel(WAITING);
        tokio::spawn(take_orders(reads, order));
        while let Some((order, ends)) = orders.recv().await {
            if let Order::Start = order {
                obey(program, ends, &mut writes, &mut orders).await;
            }
        }
        Ok(())
    })
}

async fn take_orders(mut reads: FrameReader, order: mpsc::Sender<(Order, Vec<OwnedFd>)>) {
    while let Ok(heard) = hear(&mut reads).await {
        if order.send(heard).await.is_err() {
            return;
        }
    }
}

/// Starts the program, and tells how it goes until it has ended. Who does not hear it any more is gone, which shows when
/// the next order is waited for.
async fn obey(
    program: &Program,
    ends: Vec<OwnedFd>,
    writes: &mut FrameWriter,
    orders: &mut mpsc::Receiver<(Order, Vec<OwnedFd>)>,
) {
    let started = match <[OwnedFd; 3]>::try_from(ends) {
        Ok([link, stdout, stderr]) => program.start(Ends { link, stdout: Some(stdout), stderr }),
        Err(_) => Err("descriptors are missing".into()),
    };
    let mut child = match started {
        Ok(child) => child,
        Err(why) => return drop(say(writes, &Told::Failed { why }, &[]).await),
    };
    let _ = say(writes, &Told::Started { id: child.id().unwrap_or_default() }, &[]).await;
    if let Some(status) = watch(&mut child, orders).await {
        let _ = say(writes, &Told::Ended { status: status.into_raw() }, &[]).await;
    }
}

/// What it left with; nothing if whoever asked for it was gone before.
async fn watch(child: &mut Started, orders: &mut mpsc::Receiver<(Order, Vec<OwnedFd>)>) -> Option<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return status.ok(),
            order = orders.recv() => {
                // One that is killed ends, and is waited for above.
                let Order::Kill = order?.0 else { continue };
                let _ = child.start_kill();
            }
        }
    }
}
