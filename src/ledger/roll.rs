//! The roll of a worker's living sessions: in the order of their ids, each with the time when it is to be looked at next.
//!
//! A sorted list with gaps. Ids rise, so a newcomer stands at the end; whoever leaves, leaves a gap; when half of the list is
//! gaps it is closed up. That is denser than a tree, and walking over those who are not due costs a few nanoseconds each.

use std::sync::Arc;

use super::{Record, SessionId};
use crate::metrics::Cause;

/// More room than is needed is never taken than this part of it, and a little.
const SPARE: usize = 4;
/// Sessions that are looked at before others run: some tens of microseconds.
const LOOKS: usize = 512;
/// Those that are passed by take as long when they are so many.
const PASSED: usize = 16 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Roll {
    places: Vec<Place>,
    gaps: usize,
    /// When the first of them is due, or earlier.
    next: u64,
    /// Those who were here before.
    departures: Departures,
}

/// How many sessions have ended, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Departures {
    /// Those whose both ends of stream were delivered.
    pub finished: u64,
    /// All others.
    pub otherwise: u64,
}

#[derive(Debug)]
struct Place {
    id: SessionId,
    /// By the worker's clock of idleness.
    due: u64,
    /// None is a gap.
    record: Option<Arc<Record>>,
}

impl Roll {
    /// Sessions that live.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.gaps
    }

    /// One more, to be looked at as soon as possible.
    pub(super) fn insert(&mut self, record: Arc<Record>) {
        if self.places.len() == self.places.capacity() {
            self.places.reserve_exact(self.places.len() / SPARE + 32);
        }
        let place = Place { id: record.id, due: 0, record: Some(record) };
        let is_last = self.places.last().is_none_or(|last| last.id < place.id);
        let at = if is_last { self.places.len() } else { self.places.partition_point(|other| other.id < place.id) };
        self.places.insert(at, place);
        self.next = 0;
    }

    /// One of them has ended.
    pub(super) fn remove(&mut self, id: SessionId) -> Option<Arc<Record>> {
        let at = self.find(id)?;
        let record = self.places[at].record.take()?;
        self.gaps += 1;
        if self.gaps * 2 > self.places.len() {
            self.close_up();
        }
        Some(record)
    }

    /// Counts how a session ended.
    pub(super) fn count(&mut self, cause: Cause) {
        match cause {
            Cause::Finished => self.departures.finished += 1,
            _ => self.departures.otherwise += 1,
        }
    }

    /// How those ended who were here.
    pub(super) fn departures(&self) -> Departures {
        self.departures
    }

    /// One of them.
    pub(super) fn get(&self, id: SessionId) -> Option<&Arc<Record>> {
        self.places[self.find(id)?].record.as_ref()
    }

    /// Those behind `after`, at most so many.
    pub(super) fn behind(&self, after: Option<SessionId>, most: usize) -> Vec<Arc<Record>> {
        self.from(after).iter().filter_map(|place| place.record.clone()).take(most).collect()
    }

    /// Whether anyone may be to be looked at. The roll is looked through then, which says when there is someone next.
    pub(super) fn is_due(&mut self, now: u64) -> bool {
        let is_due = self.next <= now;
        if is_due {
            self.next = u64::MAX;
        }
        is_due
    }

    /// Behind `after` the first few of those who are to be looked at, and where to go on; None is the end.
    pub(super) fn due(&mut self, after: Option<SessionId>, now: u64) -> (Vec<Arc<Record>>, Option<SessionId>) {
        let (mut due, mut last, mut next) = (Vec::new(), None, self.next);
        for place in self.from(after).iter().take(PASSED) {
            last = Some(place.id);
            let Some(record) = &place.record else { continue };
            if place.due > now {
                next = next.min(place.due);
                continue;
            }
            due.push(record.clone());
            if due.len() == LOOKS {
                break;
            }
        }
        self.next = next;
        (due, last)
    }

    /// When some of them are to be looked at next.
    pub(super) fn set_due(&mut self, next: impl IntoIterator<Item = (SessionId, u64)>) {
        for (id, due) in next {
            if let Some(at) = self.find(id) {
                self.places[at].due = due;
                self.next = self.next.min(due);
            }
        }
    }

    /// All are to be looked at as soon as possible.
    pub(super) fn set_all_due(&mut self) {
        self.places.iter_mut().for_each(|place| place.due = 0);
        self.next = 0;
    }

    fn from(&self, after: Option<SessionId>) -> &[Place] {
        let at = after.map_or(0, |after| self.places.partition_point(|place| place.id <= after));
        &self.places[at..]
    }

    fn find(&self, id: SessionId) -> Option<usize> {
        self.places.binary_search_by_key(&id, |place| place.id).ok()
    }

    fn close_up(&mut self) {
        self.places.retain(|place| place.record.is_some());
        self.gaps = 0;
        self.places.shrink_to(self.places.len() + self.places.len() / SPARE + 32);
    }
}

#[cfg(test)]
pub(super) mod tests;
