//! What the newest process and one before it say to each other: questions one way, answers the other, one JSON value a
//! frame. Words are only ever added, since the two may be of different versions.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::admin::api::ConnectionView;
use crate::config::plan::OnChange;
use crate::metrics::Cause;
use crate::pool::{Order, Override};
use crate::route::Live;

/// A question or a wish of the newest process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question {
    /// Comes back with the answer; never 0.
    pub(super) id: u64,
    pub(super) ask: Ask,
}

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// All it has counted, as a page in Prometheus text.
    Page,
    /// Its sessions.
    Connections(Wanted),
    /// End this session of its.
    Kill(u64),
    /// End, with so many milliseconds for the sessions.
    Drain(u64),
    /// End now.
    End,
    /// An operator has spoken of a backend: what that amounts to.
    Heed { pool: String, backend: String, over: Option<Override> },
    /// With `single_active` all processes are to send newcomers to one backend: what that comes to for each of these pools.
    Yield(Vec<Turn>),
    /// A reload has removed these, or brought them back.
    Part(Departures),
    /// What is to happen to sessions of these backends.
    Obey(Vec<Command>),
    /// The socket that comes with this is that of another process, which is to be answered as well.
    Meet,
}

/// Which sessions are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::admin) struct Wanted {
    /// At most so many.
    pub(in crate::admin) limit: usize,
    /// Those with greater ids.
    pub(in crate::admin) after: Option<u64>,
    /// Of one listener.
    pub(in crate::admin) listener: Option<String>,
    /// Of one pool.
    pub(in crate::admin) pool: Option<String>,
    /// Of one backend.
    pub(in crate::admin) backend: Option<String>,
}

/// Of a pool, with `single_active`: which backend is to have the sessions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Turn {
    pub(super) pool: String,
    pub(super) backend: String,
    /// Whether newcomers may join it; until then they join none.
    pub(super) open: bool,
}

/// What a reload has removed and what it has brought back.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Departures {
    /// What is gone, and what becomes of its sessions.
    pub gone: Vec<Departure>,
    /// What is there again, or is new: nobody's sessions end for it.
    pub back: BTreeSet<Thing>,
}

/// Something that is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Departure {
    /// What.
    pub what: Thing,
    /// Over how many milliseconds its sessions are ended; nothing lets them go on.
    pub within_ms: Option<u64>,
}

/// A thing that has sessions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thing {
    /// A listener of that name.
    Listener(String),
    /// A backend of those names.
    Backend {
        /// Its pool's name.
        pool: String,
        /// Its own.
        name: String,
        /// Where, if it is only about what is there: behind the name is another address now.
        at: Option<Vec<String>>,
    },
}

/// An order of a pool of the newest process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Command {
    pool: String,
    backend: String,
    /// Over how many milliseconds sessions are ended; nothing takes earlier orders back.
    within_ms: Option<u64>,
    cause: String,
    spares_newcomers: bool,
}

impl Command {
    pub(super) fn of(order: &Order) -> Self {
        Self {
            pool: order.backend.pool.to_string(),
            backend: order.backend.name.to_string(),
            within_ms: order.how.span().map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
            cause: order.cause.as_str().to_owned(),
            spares_newcomers: order.spares_newcomers,
        }
    }

    /// The order as it is here; `None` if there is no such backend, or a newer version has causes of its own.
    pub(super) fn order(&self, live: &Live) -> Option<Order> {
        let backend = live.backend(&self.pool, &self.backend)?;
        let cause = *Cause::ALL.iter().find(|cause| cause.as_str() == self.cause)?;
        let how = match self.within_ms {
            None => OnChange::Keep,
            Some(0) => OnChange::Reset,
            Some(millis) => OnChange::Drain(Duration::from_millis(millis)),
        };
        Some(Order { backend, how, cause, spares_newcomers: self.spares_newcomers, since: Instant::now() })
    }
}

/// An answer, or, with the id 0, what is said unasked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) id: u64,
    pub(super) told: Told,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Told {
    Page(String),
    Connections(Vec<ConnectionView>),
    /// Whether it was so, or is being done.
    Done(bool),
    /// For each pool that was asked about, whether no session is at any other backend.
    Yielded(Vec<bool>),
}
