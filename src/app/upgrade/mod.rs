//! Upgrade: the program's file, as it is now, is started with this process's listening sockets and takes over.
//!
//! Nothing is given up before the new process serves: until then its end, whatever the reason, changes nothing here.
//! Afterwards this process accepts no more, and lives until its last session has ended.

mod heir;
mod program;
mod starter;
mod trial;
mod words;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::sockets::Sockets;
use super::systemd::Manager;
use crate::admin::{self, Attendance, Door, UpgradeResult, UpgradeView, UpgradeWish};
use crate::drain::Stage;
use crate::net::inherit::{FrameReader, FrameWriter, channel, frames};
use crate::pool::Verdicts;

pub(super) use heir::{Estate, Heir, Inheritance, inherited_link};
pub use program::Program;
pub(super) use starter::Starter;
pub use starter::{HELPER, start_on_request};
use trial::Trial;
pub(super) use words::EndpointOffer;
use words::{Address, GoAhead, Offer, Reply, VERSION, hear, say};

/// How long a change of the configuration is waited for; one that is on trial takes longer.
const TURN: Duration = Duration::from_secs(2);
/// A new process that is not ready by then hangs.
const READY: Duration = Duration::from_secs(30);
/// Once it is, nothing is left that could take long.
const SERVING: Duration = Duration::from_secs(10);
/// How long a process that has given up may take to end.
const PARTING: Duration = Duration::from_secs(2);
/// Its exit code for a configuration that is wrong.
const BAD_CONFIG: i32 = 78;
/// How much of its last words is told in one line of the log, in bytes.
const TOLD: usize = 1024;

/// Asks whoever keeps the pools what is known of backends.
pub(super) type Exports = mpsc::Sender<oneshot::Sender<std::collections::BTreeMap<String, Verdicts>>>;

/// What upgrades are made with.
pub(super) struct Upgrader {
    pub(super) state: Arc<admin::State>,
    pub(super) sockets: Arc<Sockets>,
    pub(super) starter: Starter,
    /// Of the endpoints; each has its socket once more here.
    pub(super) doors: watch::Sender<Door>,
    pub(super) endpoints: Vec<(EndpointOffer, OwnedFd)>,
    pub(super) exports: Exports,
    /// Held while something changes: a reload, its trial, an upgrade.
    pub(super) turn: Arc<Mutex<()>>,
    pub(super) attendance: Arc<Attendance>,
    pub(super) manager: Arc<Manager>,
    /// Told when another process serves.
    pub(super) replaced: oneshot::Sender<()>,
}

/// Why this process goes on.
struct Failure {
    result: UpgradeResult,
    exit_code: Option<i32>,
    detail: String,
}

impl From<String> for Failure {
    fn from(detail: String) -> Self {
        Self { result: UpgradeResult::Failed, exit_code: None, detail }
    }
}

/// A new process that serves, and what it has taken.
struct Successor {
    trial: Trial,
    reads: FrameReader,
    writes: FrameWriter,
    taken: Vec<usize>,
}

impl Upgrader {
    /// Carries out one upgrade after another, until one succeeds.
    pub(super) async fn run(self, mut wishes: mpsc::Receiver<UpgradeWish>) {
        while let Some(UpgradeWish { by, answer }) = wishes.recv().await {
            let last = self.state.upgrades.last().map_or(0, |last| last.id);
            let mut view = UpgradeView::new(last + 1, by);
            let replaced = match self.upgrade(&mut view).await {
                Ok(successor) => Some(successor),
                Err(failure) => {
                    tell(&failure, &view);
                    let Failure { result, exit_code, detail } = failure;
                    view = UpgradeView { result, exit_code, detail: Some(detail), ..view };
                    None
                }
            };
            self.state.upgrades.note(view.clone());
            // Whoever asked may be gone.
            let _ = answer.send(view);
            if let Some(successor) = replaced {
                self.retire(successor);
                return;
            }
        }
    }

    async fn upgrade(&self, view: &mut UpgradeView) -> Result<Successor, Failure> {
        let _turn = self.obstacles().await.map_err(Failure::from)?;
        self.state.upgrades.note(view.clone());
        let (ours, theirs) = channel().map_err(|error| error.to_string())?;
        let (mut reads, mut writes) = frames(ours.into()).map_err(|error| error.to_string())?;
        let mut trial = self.starter.start(theirs.into()).await?;
        view.new_pid = trial.id();
        self.state.upgrades.note(view.clone());
        tracing::info!(new_pid = view.new_pid, "upgrade: a new process is starting");
        let talked = tokio::select! {
            biased;
            talked = self.talk(&mut reads, &mut writes, view) => talked,
            _ = trial.ended() => Err("it has ended".into()),
            () = self.state.life.reached(Stage::Leaving) => Err("this process is ending".into()),
        };
        match talked {
            Ok(taken) => Ok(Successor { trial, reads, writes, taken }),
            Err(why) => {
                // Whatever it was told, it goes no further.
                self.state.elders.thaw().await;
                self.doors.send_replace(Door::Open);
                let leaves = self.state.life.stage() >= Stage::Leaving;
                // This process may be gone before the other has had its time.
                let patience = if leaves { Duration::ZERO } else { PARTING };
                let (status, words) = trial.end(patience).await;
                Err(Failure::of(why, status, &words))
            }
        }
    }

    /// What stands in the way; the turn, if nothing does.
    async fn obstacles(&self) -> Result<tokio::sync::OwnedMutexGuard<()>, String> {
        let max_old = self.state.live.load().plan.upgrade.max_old;
        let old = self.state.elders.ids();
        if self.state.desk.origin().paths.is_empty() {
            return Err("this process was not started from files, so another one could not be started like it".into());
        }
        if old.len() >= max_old {
            let ids: Vec<_> = old.iter().map(ToString::to_string).collect();
            return Err(format!(
                "upgrade.max_old is {max_old}, and so many old processes still have sessions: {}; end one with SIGTERM, \
                 or give them an upgrade.grace",
                ids.join(", ")
            ));
        }
        let turn = timeout(TURN, self.turn.clone().lock_owned()).await;
        turn.map_err(|_| "the configuration is being changed, or on trial; try again when it is not".to_owned())
    }

    /// Offers all there is, lets the new process go ahead, and hears that it serves; gives the addresses it has taken.
    async fn talk(
        &self,
        reads: &mut FrameReader,
        writes: &mut FrameWriter,
        view: &UpgradeView,
    ) -> Result<Vec<usize>, String> {
        let late = |_| format!("it was not ready within {} seconds", READY.as_secs());
        let taken = timeout(READY, self.offer(reads, writes)).await.map_err(late)??;
        // From here on no page of counts comes from this process, so that none is followed by one that knows less.
        self.doors.send_replace(Door::Shut);
        let late = |_| format!("it was ready, and did not serve within {} seconds", SERVING.as_secs());
        self.state.upgrades.last_answers().await;
        timeout(SERVING, self.let_go_ahead(reads, writes, view)).await.map_err(late)??;
        Ok(taken)
    }

    async fn offer(&self, reads: &mut FrameReader, writes: &mut FrameWriter) -> Result<Vec<usize>, String> {
        let addresses = self.sockets.offer().map_err(|error| error.to_string())?;
        let endpoints = self.endpoints.iter().map(|(endpoint, _)| endpoint.clone()).collect();
        let offer = Offer { version: VERSION, addresses: addresses.iter().map(Address::of).collect(), endpoints };
        let stderr = rustix::stdio::stderr();
        let listening = addresses.iter().flat_map(|address| &address.sockets).map(AsFd::as_fd);
        let endpoints = self.endpoints.iter().map(|(_, socket)| socket.as_fd());
        let descriptors: Vec<BorrowedFd<'_>> = [stderr].into_iter().chain(listening).chain(endpoints).collect();
        say(writes, &offer, &descriptors).await?;
        match hear(reads).await?.0 {
            Reply::Ready { taken } => Ok(taken),
            Reply::Failed { detail } => Err(detail),
            Reply::Serving => Err("it serves without being asked to".into()),
        }
    }

    async fn let_go_ahead(
        &self,
        reads: &mut FrameReader,
        writes: &mut FrameWriter,
        view: &UpgradeView,
    ) -> Result<(), String> {
        // What is said from here on of who has the sessions of a pool must stay so.
        self.state.elders.freeze().await;
        let (told, exported) = oneshot::channel();
        let _ = self.exports.send(told).await;
        let verdicts = exported.await.unwrap_or_default();
        let (ended, elders) = self.state.elders.hand_over().await;
        let go_ahead = GoAhead {
            upgrade: UpgradeView { result: UpgradeResult::Ok, ..view.clone() },
            verdicts,
            overrides: self.state.overrides.all(),
            tickets: super::tls::ticket_secrets(&self.state.live.load()),
            next_id: self.state.ledger.next_ids(),
            ended,
            elders: elders.iter().map(|elder| (elder.id, elder.heard.clone())).collect(),
            id: std::process::id(),
            heard: self.attendance.counts(),
        };
        let links: Vec<BorrowedFd<'_>> = elders.iter().map(|elder| elder.link.as_fd()).collect();
        say(writes, &go_ahead, &links).await?;
        match hear(reads).await?.0 {
            Reply::Serving => Ok(()),
            Reply::Failed { detail } => Err(detail),
            Reply::Ready { .. } => Err("it is ready once more".into()),
        }
    }

    /// Another process serves: leaves everything to it but the sessions.
    fn retire(self, successor: Successor) {
        let Successor { trial, reads, writes, taken } = successor;
        self.state.upgrades.set_replaced();
        self.manager.fall_silent();
        self.doors.send_replace(Door::Left);
        self.sockets.hand_over(&taken);
        self.state.elders.let_go();
        self.attendance.answer_all(reads, writes);
        tracing::info!(
            new_pid = trial.id(),
            sessions = self.state.ledger.active().iter().sum::<usize>(),
            "another process has taken over; this one lives until its last session has ended"
        );
        trial.acquit();
        self.starter.dismiss();
        self.state.life.enter(Stage::Leaving);
        // Nothing changes here any more: a process that leaves takes no other configuration.
        let _ = self.replaced.send(());
    }
}

impl Failure {
    /// Puts what is known into words: what went wrong, what it left with, what it said last.
    fn of(why: String, status: Option<ExitStatus>, words: &str) -> Self {
        let exit_code = status.and_then(|status| status.code());
        let left = match status {
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!(" (exit code {code})"),
                (None, Some(signal)) => format!(" (signal {signal})"),
                (None, None) => String::new(),
            },
            None => String::new(),
        };
        let said = if words.is_empty() { String::new() } else { format!(": {words}") };
        let bad = exit_code == Some(BAD_CONFIG);
        let result = if bad { UpgradeResult::BadConfig } else { UpgradeResult::Failed };
        let detail = match bad {
            true => words.to_owned(),
            false => format!("the new process: {why}{left}{said}"),
        };
        Self { result, exit_code, detail }
    }
}

fn tell(failure: &Failure, view: &UpgradeView) {
    let detail = &failure.detail;
    // The end of it: there it says why.
    let from = (detail.len().saturating_sub(TOLD)..detail.len()).find(|at| detail.is_char_boundary(*at)).unwrap_or(0);
    let (exit_code, new_pid) = (failure.exit_code, view.new_pid);
    tracing::error!(by = view.by, new_pid, exit_code, detail = &detail[from..], "upgrade failed; this process goes on");
}
