//! The old process's side: answering the newest one, which shows and steers what lives here.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::time::timeout;

use super::words::{Answer, Ask, Departures, Question, Told, Turn};
use crate::admin::scrape::scrape_alone;
use crate::admin::{Process, State, api};
use crate::backend::Backend;
use crate::ledger::SessionId;
use crate::metrics::{Cause, Counts, Format};
use crate::net::inherit::{Frame, FrameReader, FrameWriter, frames};
use crate::pool::Orders;

/// How long the end of the process waits until its last counts are taken.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the newest process wants of an old one as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bidding {
    /// End, with so long for the sessions.
    Drain(Duration),
    /// End now.
    End,
}

/// Where it goes what the newest process wants.
#[derive(Debug)]
pub struct Heeds {
    /// Of the process as a whole.
    pub biddings: mpsc::UnboundedSender<Bidding>,
    /// Of sessions of what it has removed.
    pub departures: mpsc::Sender<Departures>,
    /// Of sessions of backends.
    pub orders: Orders,
}

/// Whoever is answered: the newest process, and during an upgrade the one that is to be the newest.
#[derive(Debug)]
pub struct Attendance {
    state: Arc<State>,
    process: Process,
    heeds: Heeds,
    leaders: Mutex<Vec<Arc<AsyncMutex<FrameWriter>>>>,
}

impl Attendance {
    /// For this process.
    pub fn new(state: Arc<State>, heeds: Heeds) -> Arc<Self> {
        Arc::new(Self { state, process: Process::default(), heeds, leaders: Mutex::default() })
    }

    /// Answers whoever has the other end.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn meet(self: &Arc<Self>, end: OwnedFd) -> io::Result<()> {
        let (reads, writes) = frames(end)?;
        self.answer_all(reads, writes);
        Ok(())
    }

    /// The same, of an end that has been talked on already.
    pub fn answer_all(self: &Arc<Self>, reads: FrameReader, writes: FrameWriter) {
        let writes = Arc::new(AsyncMutex::new(writes));
        self.lock().push(writes.clone());
        let attendance = self.clone();
        tokio::spawn(async move {
            attendance.converse(reads, &writes).await;
            attendance.lock().retain(|other| !Arc::ptr_eq(other, &writes));
        });
    }

    /// Tells all of them what was counted to the end. The process may exit then.
    pub async fn farewell(&self) {
        let page = self.page();
        let leaders = self.lock().clone();
        for leader in leaders {
            let told = Answer { id: 0, told: Told::Page(page.clone()) };
            // A leader that does not take it has what it heard last.
            let _ = timeout(FAREWELL, send(&leader, &told)).await;
        }
    }

    async fn converse(self: &Arc<Self>, mut reads: FrameReader, writes: &AsyncMutex<FrameWriter>) {
        while let Ok(Some(Frame { bytes, descriptors })) = reads.next().await {
            let Ok(Question { id, ask }) = serde_json::from_slice(&bytes) else { continue };
            let told = self.answer(ask, descriptors).await;
            if send(writes, &Answer { id, told }).await.is_err() {
                return;
            }
        }
    }

    async fn answer(self: &Arc<Self>, ask: Ask, descriptors: Vec<OwnedFd>) -> Told {
        match ask {
            Ask::Page => Told::Page(self.page()),
            Ask::Connections(wanted) => Told::Connections(api::own_connections(&self.state, &wanted)),
            Ask::Kill(id) => Told::Done(self.state.ledger.end(SessionId(id), Cause::Killed)),
            Ask::Drain(grace) => self.bid(Bidding::Drain(Duration::from_millis(grace))),
            Ask::End => self.bid(Bidding::End),
            Ask::Heed { pool, backend, over } => {
                self.state.overrides.adopt(&pool, &backend, over.clone());
                let pool = self.state.live.load().pools.get(&*pool).cloned();
                let known = pool.is_some();
                // Not here: the next question may be for counts that a scraper waits for.
                pool.into_iter().for_each(|pool| {
                    let (backend, over) = (backend.clone(), over.clone());
                    tokio::spawn(async move { pool.heed(&backend, over.as_ref()).await });
                });
                Told::Done(known)
            }
            Ask::Yield(turns) => Told::Yielded(turns.iter().map(|turn| self.yields(turn)).collect()),
            Ask::Part(departures) => Told::Done(self.heeds.departures.try_send(departures).is_ok()),
            Ask::Obey(commands) => {
                let live = self.state.live.load();
                let orders = commands.iter().filter_map(|command| command.order(&live));
                orders.for_each(|order| drop(self.heeds.orders.send(order)));
                Told::Done(true)
            }
            Ask::Meet => {
                let met = descriptors.into_iter().next().map(|end| self.meet(end));
                Told::Done(matches!(met, Some(Ok(()))))
            }
        }
    }

    /// Has newcomers of a pool go where the newest process says; says whether no session is anywhere else.
    fn yields(&self, turn: &Turn) -> bool {
        let live = self.state.live.load();
        let alone = live.pools.get(&*turn.pool).is_none_or(|pool| pool.stand_back(&turn.backend, turn.open));
        let elsewhere = |backend: &Arc<Backend>| *backend.pool == *turn.pool && *backend.name != *turn.backend;
        alone && !live.departed.iter().any(|backend| elsewhere(backend) && backend.active() > 0)
    }

    fn bid(&self, bidding: Bidding) -> Told {
        Told::Done(self.heeds.biddings.send(bidding).is_ok())
    }

    /// What this process alone has counted.
    fn page(&self) -> String {
        scrape_alone(&self.state, &self.process, Format::Text)
    }

    /// The same, to be added to others.
    pub fn counts(&self) -> Counts {
        Counts::read(&self.page())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<AsyncMutex<FrameWriter>>>> {
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(writes: &AsyncMutex<FrameWriter>, answer: &Answer) -> io::Result<()> {
    let bytes = serde_json::to_vec(answer)?;
    writes.lock().await.send(&bytes, &[]).await
}
