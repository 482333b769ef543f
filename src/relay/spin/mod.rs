//! When a worker that ran out of work looks at its sockets again, and when it sleeps (`workers.busy_poll`): a pure decision.
//!
//! To sleep and be woken costs a packet the time in which a CPU leaves its idle state, tens of microseconds in a virtual
//! machine, and the worker more CPU time than a dozen looks. Looks in vain cost CPU time for nothing. So the worker goes by
//! what looking brought lately, as halt polling of Linux's KVM does (Documentation/virt/kvm/halt-polling.rst), but counts
//! instead of growing a span: while at least as many spans of looks pay as are in vain it always looks; when more are in vain
//! it gives up, and then tries a single one now and then, ever more seldom.

use std::time::{Duration, Instant};

use crate::metrics::BusyPoll;

/// So many more spans in vain than spans that paid make it give up, after however long a time in which all paid.
const MOST_CREDIT: u32 = 8;
/// Having given up, it rests for so many spans before it tries one: a worker for which nothing ever pays spends a fortieth of
/// a CPU on looking at most.
const REST: u32 = 40;
/// Each try in vain doubles the rest, up to this: so much late it notices at most that it would pay again, or `REST` spans if
/// that is longer.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Look at the sockets without waiting, and come back with what that brought.
    Look,
    /// Come back when there was work.
    Sleep,
}

/// A span of looks that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) result: BusyPoll,
    /// From the last work to the last look that found nothing.
    pub(super) took: Duration,
}

/// One worker's state.
#[derive(Debug)]
pub(super) struct Spin {
    /// How long a span may last.
    budget: Duration,
    /// How many spans in vain it may still have before it gives up.
    credit: u32,
    /// How long it rests next without credit.
    rest: Duration,
    /// When it may try again; matters without credit.
    rested: Option<Instant>,
    /// The span that lasts.
    looks: Option<Looks>,
}

/// A span of looks.
#[derive(Debug, Clone, Copy)]
struct Looks {
    /// When the work before it was done.
    since: Instant,
    /// When the last look that found nothing was over; `since` if there was none.
    until: Instant,
}

impl Spin {
    /// One that looks for `budget` at most after work.
    pub(super) fn new(budget: Duration) -> Self {
        Self { budget, credit: MOST_CREDIT, rest: budget * REST, rested: None, looks: None }
    }

    /// What to do at `now`, after all that could be done is done; `worked` says whether there was any work since the last
    /// call. It looks only within `budget` of work, so a worker without work sleeps. Also tells of a span that ended.
    pub(super) fn turn(&mut self, now: Instant, worked: bool) -> (Next, Option<Span>) {
        match self.looks {
            None if worked && self.may_look(now) => (self.begin(now), None),
            None => (Next::Sleep, None),
            Some(looks) if worked => {
                let span = self.paid(looks);
                (self.begin(now), span)
            }
            Some(looks) if now.saturating_duration_since(looks.since) < self.budget => {
                self.looks = Some(Looks { until: now, ..looks });
                (Next::Look, None)
            }
            Some(looks) => (Next::Sleep, Some(self.in_vain(looks, now))),
        }
    }

    fn may_look(&self, now: Instant) -> bool {
        self.credit > 0 || self.rested.is_none_or(|at| now >= at)
    }

    fn begin(&mut self, now: Instant) -> Next {
        self.looks = Some(Looks { since: now, until: now });
        Next::Look
    }

    /// Work that the first look found was there already: the worker would not have slept, and nothing is learnt.
    fn paid(&mut self, looks: Looks) -> Option<Span> {
        if looks.until == looks.since {
            return None;
        }
        self.credit = (self.credit + 1).min(MOST_CREDIT);
        self.rest = self.budget * REST;
        Some(Span { result: BusyPoll::Hit, took: looks.until - looks.since })
    }

    fn in_vain(&mut self, looks: Looks, now: Instant) -> Span {
        self.looks = None;
        if self.credit == 0 {
            self.rest = (self.rest * 2).min(LONGEST_REST.max(self.budget * REST));
        }
        self.credit = self.credit.saturating_sub(1);
        self.rested = Some(now + self.rest);
        Span { result: BusyPoll::Miss, took: now.saturating_duration_since(looks.since) }
    }
}

#[cfg(test)]
mod tests;
