//! Where an upgrade is asked for, and what became of the last one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::State;
use super::answer::{self, Answer, Refusal};
use super::desk::Author;
use crate::sink::rfc3339;

/// How long a request waits for its upgrade. Then it is told the id, to ask for.
const REPLY: Duration = Duration::from_secs(8);

/// How an upgrade stands, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeView {
    /// Rises, over the processes too.
    pub id: u64,
    /// When it began, RFC 3339.
    pub at: String,
    /// `api` or `signal`.
    pub by: String,
    /// How it stands.
    pub result: UpgradeResult,
    /// Why it failed, in words.
    pub detail: Option<String>,
    /// What the new process left with, if it did.
    pub exit_code: Option<i32>,
    /// The process before.
    pub old_pid: u32,
    /// The new process, once there is one.
    pub new_pid: Option<u32>,
}

/// How an upgrade stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpgradeResult {
    /// The new process is not ready yet.
    UnderWay,
    /// The new process serves.
    Ok,
    /// The old one goes on.
    Failed,
    /// The old one goes on: the new one found its configuration wrong.
    BadConfig,
}

impl UpgradeView {
    /// One that begins now.
    pub fn new(id: u64, by: Author) -> Self {
        Self {
            id,
            at: rfc3339(SystemTime::now()),
            by: by.to_string(),
            result: UpgradeResult::UnderWay,
            detail: None,
            exit_code: None,
            old_pid: std::process::id(),
            new_pid: None,
        }
    }
}

/// A wish to be replaced.
#[derive(Debug)]
pub struct UpgradeWish {
    /// Whose it is.
    pub by: Author,
    /// Who waits for the answer may be gone.
    pub answer: oneshot::Sender<UpgradeView>,
}

/// The desk of upgrades.
#[derive(Debug)]
pub struct Upgrades {
    wishes: mpsc::Sender<UpgradeWish>,
    last: Mutex<Option<UpgradeView>>,
    replaced: AtomicBool,
    /// Clients of the endpoints whose answer is still to come.
    open: Arc<AtomicUsize>,
}

/// A client that waits for its answer, or has not said yet what it wants.
#[derive(Debug)]
pub(super) struct OpenQuestion(Arc<AtomicUsize>);

impl Drop for OpenQuestion {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Upgrades {
    /// A desk, and the wishes that come in.
    pub fn new() -> (Self, mpsc::Receiver<UpgradeWish>) {
        let (wishes, come_in) = mpsc::channel(1);
        (Self { wishes, last: Mutex::default(), replaced: AtomicBool::new(false), open: Arc::default() }, come_in)
    }

    /// Asks to be replaced; the answer comes when it is decided.
    ///
    /// # Errors
    /// In words: one is under way, or the process cannot be replaced any more.
    pub fn ask(&self, by: Author) -> Result<oneshot::Receiver<UpgradeView>, &'static str> {
        let under_way = "an upgrade is under way already";
        if self.last().is_some_and(|last| last.result == UpgradeResult::UnderWay) {
            return Err(under_way);
        }
        let (answer, comes) = oneshot::channel();
        match self.wishes.try_send(UpgradeWish { by, answer }) {
            Ok(()) => Ok(comes),
            Err(mpsc::error::TrySendError::Full(_)) => Err(under_way),
            Err(mpsc::error::TrySendError::Closed(_)) => Err("the process is ending, or another one has taken over"),
        }
    }

    /// Notes how one stands.
    pub fn note(&self, view: UpgradeView) {
        *self.lock() = Some(view);
    }

    /// Notes that a client waits for an answer.
    pub(super) fn open_question(&self) -> OpenQuestion {
        self.open.fetch_add(1, Relaxed);
        OpenQuestion(self.open.clone())
    }

    /// Waits until all clients have their answers, those apart that wait for an upgrade; not for long: a client that
    /// asks for nothing is not worth it.
    pub async fn last_answers(&self) {
        const PATIENCE: Duration = Duration::from_millis(500);
        let answered = async {
            while self.open.load(Relaxed) > 0 {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = timeout(PATIENCE, answered).await;
    }

    /// Notes that another process has taken over: what this one has counted is no longer all.
    pub fn set_replaced(&self) {
        self.replaced.store(true, Relaxed);
    }

    /// Whether another process has taken over.
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Relaxed)
    }

    /// The last one.
    pub fn last(&self) -> Option<UpgradeView> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<UpgradeView>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /api/v1/upgrade`
pub(super) fn last(state: &State) -> Answer {
    answer::as_json(
        &json!({ "upgrade": state.upgrades.last(), "pid": std::process::id(), "old_pids": state.elders.ids() }),
    )
}

/// `POST /api/v1/upgrade`
pub(super) async fn upgrade(state: &State) -> Result<Answer, Refusal> {
    let comes = state.upgrades.ask(Author::Api).map_err(|why| Refusal::new(StatusCode::CONFLICT, why))?;
    match timeout(REPLY, comes).await {
        Ok(Ok(view)) => Ok(outcome(&view)),
        Ok(Err(_)) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the process is ending")),
        Err(_) => {
            let last = state.upgrades.last();
            Ok(last.map_or_else(|| answer::empty(StatusCode::ACCEPTED), |last| outcome(&last)))
        }
    }
}

fn outcome(view: &UpgradeView) -> Answer {
    let status = match view.result {
        UpgradeResult::Ok => return answer::as_json(view),
        UpgradeResult::UnderWay => return answer::with_status(StatusCode::ACCEPTED, view),
        UpgradeResult::Failed => StatusCode::CONFLICT,
        UpgradeResult::BadConfig => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "detail": view.detail,
        "id": view.id, "result": view.result, "exit_code": view.exit_code,
    });
    answer::with(status, HeaderValue::from_static("application/problem+json"), body.to_string())
}
