//! `single_active` over processes: while older ones of this program have sessions, all of them together send newcomers to
//! one backend.
//!
//! Each is confined to a backend. The newest moves all of them on: it shuts itself, has the others shut themselves and
//! say whether they have sessions anywhere else, and when nobody has, all open for the next backend.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use serde::{Deserialize, Serialize};

use super::single::Confined;
use super::{Pool, Snapshot};
use crate::backend::{Backend, BackendId};

/// What a process is confined to, as it is told to the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// To none.
    Nobody,
    /// To the backend of that name.
    One(String),
}

/// How often [`Pool::settle`] looks again whether a session has come between.
const LOOKS: usize = 8;

impl Pool {
    /// Whether only one backend may have sessions.
    pub fn is_single(&self) -> bool {
        self.single_active.load(SeqCst)
    }

    /// With `single_active`: the backend that newcomers are to go to.
    pub fn next_active(&self) -> Option<Arc<Backend>> {
        self.snapshot.load().members.iter().find(|member| member.usable).map(|member| member.backend.clone())
    }

    /// Which backend newcomers may join, besides that there is only one at a time.
    pub fn confined(&self) -> Confined {
        self.single.confined()
    }

    /// Has newcomers join only this backend, and serves who waits for it.
    pub fn confine(self: &Arc<Self>, to: Confined) {
        self.single.confine(to);
        self.serve_queue();
    }

    /// Whether sessions are held at another backend than this one.
    pub fn holds_other(&self, than: Option<BackendId>) -> bool {
        self.single.holder().is_some_and(|holder| Some(holder) != than)
    }

    /// Before another process takes over: confines this one to the backend that has the sessions, or else is to have them,
    /// and says which that is. `None` without `single_active`.
    pub(super) fn settle(&self) -> Option<Held> {
        if !self.is_single() {
            return None;
        }
        let next = || self.single.holder().or_else(|| self.next_active().map(|backend| backend.id));
        let confined = self.single.confined();
        let mut to = match confined {
            Confined::Free => next().map_or(Confined::Shut, Confined::To),
            confined => confined,
        };
        for _ in 0..LOOKS {
            self.single.confine(to);
            match (self.single.holder(), to) {
                // One came in between. Where there are older processes it was turned away, and is about to go.
                (Some(holder), Confined::To(id)) if holder != id && confined == Confined::Free => {
                    to = Confined::To(holder)
                }
                (_, Confined::To(id)) => match named(&self.snapshot.load(), id) {
                    Some(name) => return Some(Held::One(name)),
                    None => break,
                },
                _ => break,
            }
        }
        self.single.confine(Confined::Shut);
        Some(Held::Nobody)
    }

    /// Is confined as the process before was.
    pub(super) fn take_hold(&self, held: &Held) {
        let to = match held {
            Held::Nobody => None,
            Held::One(name) => id_of(&self.snapshot.load(), name),
        };
        self.single.confine(to.map_or(Confined::Shut, Confined::To));
    }

    /// A newer process asks: newcomers here join `backend` if it is `open` and nobody otherwise, whatever this one's own
    /// configuration says. Says whether no session is anywhere else.
    pub fn stand_back(self: &Arc<Self>, backend: &str, open: bool) -> bool {
        let snapshot = self.snapshot.load();
        let to = id_of(&snapshot, backend);
        self.single_active.store(true, SeqCst);
        self.confine(to.filter(|_| open).map_or(Confined::Shut, Confined::To));
        // Also those that came before this pool was one of a single backend.
        let other = |backend: &Backend| backend.active() > 0 && Some(backend.id) != to;
        !self.holds_other(to) && !snapshot.members.iter().any(|member| other(&member.backend))
    }
}

fn named(snapshot: &Snapshot, id: BackendId) -> Option<String> {
    snapshot.members.iter().find(|member| member.backend.id == id).map(|member| member.backend.name.to_string())
}

fn id_of(snapshot: &Snapshot, name: &str) -> Option<BackendId> {
    snapshot.members.iter().find(|member| *member.backend.name == *name).map(|member| member.backend.id)
}
