//! What the newest process and one before it say to each other: questions one way, answers the other, one JSON value a
//! frame. Words are only ever added, since the two may be of different versions.

use serde::{Deserialize, Serialize};

use crate::admin::api::ConnectionView;
use crate::pool::Override;

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
