//! The processes before this one that still have sessions: what they count and serve is shown and steered from here.
//!
//! The newest process holds a socket to each of them. It asks for their counts every second, and before it shows any, so
//! that next to nothing is lost when one of them is killed; what an ended one had counted stays in the sums.

mod attend;
mod turns;
mod words;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::api::ConnectionView;
use crate::metrics::{Counts, families};
use crate::net::inherit::{FrameReader, FrameWriter, channel, frames};
use crate::pool::{Order, Override};
use turns::Turns;
use words::{Answer, Ask, Command, Question, Told};

pub use attend::{Attendance, Bidding, Heeds};
pub(super) use words::Wanted;
pub use words::{Departure, Departures, Thing};

/// Between looks at what they count.
const LOOK: Duration = Duration::from_secs(1);
/// One that does not answer by then is stopped or very busy; what it said last is good enough.
const PATIENCE: Duration = Duration::from_millis(500);
/// Counts of that age are fresh: a storm of scrapes must not become one of questions.
const FRESH: Duration = Duration::from_millis(20);
/// Questions that wait to be written to one of them.
const WAITING: usize = 64;

/// All of them.
#[derive(Debug, Default)]
pub struct Elders {
    inner: Mutex<Inner>,
    /// Held while they are asked about pools with `single_active`.
    turns: AsyncMutex<Turns>,
}

#[derive(Debug, Default)]
struct Inner {
    living: Vec<Living>,
    /// What those that have ended had counted.
    ended: Counts,
}

#[derive(Debug)]
struct Living {
    elder: Arc<Elder>,
    heard: Counts,
    /// When that was.
    at: Option<Instant>,
}

/// One of them.
#[derive(Debug)]
struct Elder {
    id: u32,
    asks: mpsc::Sender<Asked>,
    /// It owes its counts for longer than anybody waits: it is stopped, or very busy. It is asked no more what is asked
    /// again and again, or there would be no room for orders, until it has given them.
    silent: AtomicBool,
}

#[derive(Debug)]
struct Asked {
    ask: Ask,
    descriptor: Option<OwnedFd>,
    answer: oneshot::Sender<Told>,
}

/// An old process as it is handed from one newer process to the next.
#[derive(Debug)]
pub struct Handed {
    /// Its process id.
    pub id: u32,
    /// What it had counted when it was last heard of.
    pub heard: Counts,
    /// A socket to it.
    pub link: OwnedFd,
}

impl Elders {
    /// Takes over what ended processes had counted.
    pub fn remember(&self, ended: &Counts) {
        self.lock().ended.add(ended);
    }

    /// Takes over a living one, until it ends.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn adopt(self: &Arc<Self>, handed: Handed) -> io::Result<()> {
        let Handed { id, heard, link } = handed;
        let (reads, writes) = frames(link)?;
        self.adopt_link(id, heard, reads, writes);
        Ok(())
    }

    /// The same, of a socket that has been talked on already.
    pub fn adopt_link(self: &Arc<Self>, id: u32, heard: Counts, reads: FrameReader, writes: FrameWriter) {
        let (asks, asked) = mpsc::channel(WAITING);
        let elder = Arc::new(Elder { id, asks, silent: AtomicBool::new(false) });
        self.lock().living.push(Living { elder, heard, at: None });
        // The task does not hold the elder: when it is let go nobody asks any more, and the task ends.
        tokio::spawn(converse(Arc::downgrade(self), id, reads, writes, asked));
    }

    /// Asks for counts every second, for as long as the process lives.
    pub async fn watch(self: Arc<Self>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.refresh().await;
        }
    }

    /// Hears what they count now.
    pub async fn refresh(&self) {
        let old = |living: &&Living| living.at.is_none_or(|at| at.elapsed() > FRESH);
        let elders: Vec<_> = self.lock().living.iter().filter(old).map(|living| living.elder.clone()).collect();
        let mut asking = JoinSet::new();
        for elder in elders {
            // What is answered is taken in where answers arrive, in their order.
            asking.spawn(async move { drop(elder.ask(Ask::Page).await) });
        }
        asking.join_all().await;
    }

    /// What all of them have counted, the ended ones too: by now, and by [`Self::refresh`].
    pub fn counts(&self) -> (Counts, Counts) {
        let inner = self.lock();
        let mut living = Counts::default();
        inner.living.iter().for_each(|one| living.add(&one.heard));
        (living, inner.ended.clone())
    }

    /// All that they have counted, as it was last heard, in one sum.
    pub(super) fn sum(&self) -> Counts {
        let (mut sum, ended) = self.counts();
        sum.add(&ended);
        sum
    }

    /// How many there are, and the sessions that live there.
    pub fn census(&self) -> (usize, u64) {
        let inner = self.lock();
        let sessions: f64 = inner.living.iter().map(|one| one.heard.total(families::LISTENER_ACTIVE)).sum();
        (inner.living.len(), sessions as u64)
    }

    /// Their process ids, the oldest first.
    pub fn ids(&self) -> Vec<u32> {
        self.lock().living.iter().map(|living| living.elder.id).collect()
    }

    /// Sessions of theirs.
    pub(super) async fn connections(&self, wanted: &Wanted) -> Vec<ConnectionView> {
        let told = self.ask_all(Ask::Connections(wanted.clone())).await;
        let lists =
            told.into_iter().filter_map(|told| if let Told::Connections(list) = told { Some(list) } else { None });
        lists.flatten().collect()
    }

    /// Ends a session of theirs; false if none has it.
    pub(super) async fn kill(&self, id: u64) -> bool {
        self.ask_all(Ask::Kill(id)).await.iter().any(|told| matches!(told, Told::Done(true)))
    }

    /// Tells them what an operator's words about a backend amount to.
    pub(super) async fn heed(&self, pool: &str, backend: &str, over: Option<&Override>) {
        let (pool, backend) = (pool.to_owned(), backend.to_owned());
        self.ask_all(Ask::Heed { pool, backend, over: over.cloned() }).await;
    }

    /// Tells them what a reload has removed and brought back.
    pub async fn part(&self, departures: Departures) {
        self.ask_all(Ask::Part(departures)).await;
    }

    /// Tells them what is to happen to sessions of backends.
    pub async fn obey(&self, orders: &[Order]) {
        self.ask_all(Ask::Obey(orders.iter().map(Command::of).collect())).await;
    }

    /// Has them end, with so long for their sessions.
    pub async fn drain(&self, grace: Duration) {
        self.ask_all(Ask::Drain(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX))).await;
    }

    /// Has them end now.
    pub async fn end(&self) {
        self.ask_all(Ask::End).await;
    }

    /// Prepares to hand them all to the next process, of which each is told: what ended ones had counted, and those that
    /// live. They stay here as well, until [`Self::let_go`].
    pub async fn hand_over(&self) -> (Counts, Vec<Handed>) {
        self.refresh().await;
        let elders: Vec<_> = self.lock().living.iter().map(|living| living.elder.clone()).collect();
        let mut links = BTreeMap::new();
        for elder in elders {
            let Ok((ours, theirs)) = channel() else { continue };
            // Its answer is not waited for: a busy one takes the socket later, and of one that is gone it says so.
            let (answer, _) = oneshot::channel();
            let asked = Asked { ask: Ask::Meet, descriptor: Some(theirs.into()), answer };
            if elder.asks.try_send(asked).is_ok() {
                links.insert(elder.id, OwnedFd::from(ours));
            }
        }
        let inner = self.lock();
        let mut ended = inner.ended.clone();
        let mut handed = Vec::new();
        for living in &inner.living {
            match links.remove(&living.elder.id) {
                Some(link) => handed.push(Handed { id: living.elder.id, heard: living.heard.clone(), link }),
                // It has not answered for long, and will not be heard of again.
                None => ended.add(&living.heard.clone().ended()),
            }
        }
        // One that ended meanwhile is among the ended already, and so is what it had counted.
        (ended, handed)
    }

    /// Forgets them all: they are another process's now.
    pub fn let_go(&self) {
        *self.lock() = Inner::default();
    }

    async fn ask_all(&self, ask: Ask) -> Vec<Told> {
        self.ask_each(ask).await.into_iter().flatten().collect()
    }

    /// One answer of each; `None` of those that have none in time.
    async fn ask_each(&self, ask: Ask) -> Vec<Option<Told>> {
        let elders: Vec<_> = self.lock().living.iter().map(|living| living.elder.clone()).collect();
        let mut asking = JoinSet::new();
        for elder in elders {
            let ask = ask.clone();
            asking.spawn(async move { elder.ask(ask).await });
        }
        asking.join_all().await
    }

    fn heard(&self, id: u32, page: &str) {
        let heard = Counts::read(page);
        if let Some(living) = self.lock().living.iter_mut().find(|living| living.elder.id == id) {
            (living.heard, living.at) = (heard, Some(Instant::now()));
            living.elder.silent.store(false, Relaxed);
        }
    }

    fn ended(&self, id: u32) {
        let mut inner = self.lock();
        let Some(at) = inner.living.iter().position(|living| living.elder.id == id) else { return };
        let living = inner.living.remove(at);
        let sessions = living.heard.total(families::LISTENER_ACTIVE);
        inner.ended.add(&living.heard.ended());
        drop(inner);
        match sessions {
            0.0 => tracing::info!(pid = id, "an old process has ended"),
            _ => tracing::warn!(pid = id, sessions, "an old process has ended, with sessions"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Elder {
    /// One answer; `None` if there is none in time.
    async fn ask(&self, ask: Ask) -> Option<Told> {
        let asks_for_counts = matches!(ask, Ask::Page);
        if self.silent.load(Relaxed) && (asks_for_counts || matches!(ask, Ask::Yield(_))) {
            return None;
        }
        let (answer, comes) = oneshot::channel();
        self.asks.try_send(Asked { ask, descriptor: None, answer }).ok()?;
        let told = timeout(PATIENCE, comes).await;
        // Each version knows this question, so that the answer comes, however late.
        if asks_for_counts && told.is_err() {
            self.silent.store(true, Relaxed);
        }
        told.ok()?.ok()
    }
}

/// Answers that are awaited, by the question's id.
type Pending = Mutex<BTreeMap<u64, oneshot::Sender<Told>>>;

fn expect(pending: &Pending, id: u64, answer: oneshot::Sender<Told>) {
    let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
    // Those that nobody waits for any more.
    pending.retain(|_, answer| !answer.is_closed());
    pending.insert(id, answer);
}

/// Carries questions to one process and its answers back, until it ends.
async fn converse(
    elders: std::sync::Weak<Elders>,
    process: u32,
    mut reads: FrameReader,
    mut writes: FrameWriter,
    mut asked: mpsc::Receiver<Asked>,
) {
    let pending = Pending::default();
    let asking = async {
        let mut id = 0;
        while let Some(Asked { ask, descriptor, answer }) = asked.recv().await {
            id += 1;
            expect(&pending, id, answer);
            let bytes = serde_json::to_vec(&Question { id, ask }).unwrap_or_default();
            let descriptor: Vec<BorrowedFd<'_>> = descriptor.iter().map(AsFd::as_fd).collect();
            if writes.send(&bytes, &descriptor).await.is_err() {
                // What it said before is still to be read.
                std::future::pending::<()>().await;
            }
        }
    };
    let hearing = async {
        while let Ok(Some(frame)) = reads.next().await {
            let Ok(Answer { id, told }) = serde_json::from_slice(&frame.bytes) else { continue };
            let Some(elders) = elders.upgrade() else { return };
            if let Told::Page(page) = &told {
                elders.heard(process, page);
            }
            let waiting = pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            if let Some(answer) = waiting {
                // Who asked may have given up.
                let _ = answer.send(told);
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = hearing => {}
    }
    if let Some(elders) = elders.upgrade() {
        elders.ended(process);
    }
}
