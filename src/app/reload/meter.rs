//! What a guard judges by: attempts to reach a backend and how they went, over spans of time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::BackendId;
use crate::metrics::{Cause, ConnectFailure, LATENCY_BOUNDS};
use crate::route::{Listening, Live};

use super::guard::Reading;

/// How far back a reading may begin.
const SPAN: Duration = Duration::from_secs(60);
/// Between two readings that are kept, at least.
const APART: Duration = Duration::from_millis(900);

/// Adds up what all pools and listeners count, also over those that come and go.
#[derive(Debug)]
pub(super) struct Meter {
    total: Reading,
    /// What each counted when it was last looked at, in ascending order of who it is: there may be thousands, each second.
    failures: Vec<(BackendId, u64)>,
    connects: BTreeMap<Arc<str>, Vec<u64>>,
    no_backend: Vec<(Arc<str>, u64)>,
    /// Totals of before, oldest first.
    past: VecDeque<(Instant, Reading)>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            total: Reading::new(LATENCY_BOUNDS),
            failures: Vec::new(),
            connects: BTreeMap::new(),
            no_backend: Vec::new(),
            past: VecDeque::new(),
        }
    }
}

impl Meter {
    /// Looks at all counters. To be called about once a second at least.
    pub(super) fn look(&mut self, live: &Live, now: Instant) {
        let snapshots: Vec<_> = live.pools.values().map(|pool| pool.snapshot()).collect();
        let failures = snapshots.iter().flat_map(|snapshot| &snapshot.members).map(|member| {
            let blamed = ConnectFailure::ALL.iter().filter(|reason| **reason != ConnectFailure::Local);
            (member.backend.id, blamed.map(|reason| member.backend.cells.failures[*reason as usize].get()).sum())
        });
        let mut failures: Vec<_> = failures.collect();
        failures.sort_unstable();
        self.total.failures += grown(&mut self.failures, failures);
        let ended = |(name, listening): (&Arc<str>, &Listening)| (name.clone(), listening.live.ended(Cause::NoBackend));
        let no_backend = live.listeners.iter().map(ended);
        self.total.no_backend += grown(&mut self.no_backend, no_backend.collect());
        for (name, pool) in &live.pools {
            let (cumulative, _) = pool.cells.connect.read();
            let before = self.connects.insert(name.clone(), cumulative.clone()).unwrap_or_default();
            self.total.add_connects(&cumulative, &before);
        }
        self.connects.retain(|name, _| live.pools.contains_key(name));
        self.remember(now);
    }

    /// Keeps a reading each second or so: there is a look before every change too, and those may come in hundreds.
    fn remember(&mut self, now: Instant) {
        if self.past.back().is_none_or(|(at, _)| now.duration_since(*at) >= APART) {
            self.past.push_back((now, self.total.clone()));
        }
        while self.past.front().is_some_and(|(at, _)| now.duration_since(*at) > SPAN) {
            self.past.pop_front();
        }
    }

    /// All that was counted so far.
    pub(super) fn total(&self) -> &Reading {
        &self.total
    }

    /// What was counted in the last minute, or as much of it as there was.
    pub(super) fn last_minute(&self) -> Reading {
        self.past.front().map_or_else(|| Reading::new(LATENCY_BOUNDS), |(_, first)| self.total.since(first))
    }
}

/// How much counters have grown, both lists being in ascending order; one that is new has grown from nothing, one that is
/// gone no more.
fn grown<K: Ord>(before: &mut Vec<(K, u64)>, now: Vec<(K, u64)>) -> u64 {
    let mut earlier = before.iter().peekable();
    let growth = |(key, count): &(K, u64)| {
        while earlier.next_if(|(other, _)| other < key).is_some() {}
        let start = earlier.next_if(|(other, _)| other == key).map_or(0, |(_, start)| *start);
        count.saturating_sub(start)
    };
    let more = now.iter().map(growth).sum();
    *before = now;
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_a_minute_are_kept_however_often_it_looks() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        for millis in (0..120_000).step_by(3) {
            meter.remember(start + Duration::from_millis(millis));
        }
        assert!((60..=68).contains(&meter.past.len()), "{} readings", meter.past.len());
        assert!(meter.past[0].0 >= start + Duration::from_secs(59));
    }

    #[test]
    fn what_comes_and_goes_adds_up() {
        let mut before = Vec::new();
        assert_eq!(grown(&mut before, [("a", 5)].into()), 5);
        assert_eq!(grown(&mut before, [("a", 7), ("b", 1)].into()), 3);
        assert_eq!(grown(&mut before, [("b", 4)].into()), 3, "one that is gone takes nothing back");
        assert_eq!(grown(&mut before, [("a", 2), ("b", 4)].into()), 2, "and begins anew");
        assert_eq!(grown(&mut before, [("c", 1), ("d", 1)].into()), 2);
        assert_eq!(grown(&mut before, [("a", 3), ("d", 8)].into()), 10, "wherever in the order they come and go");
    }
}
