//! The limits of the process: sessions at once, and new connections a second.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::rate::Rate;
use crate::config::plan::Overflow;
use crate::metrics::Refused;

/// The limits of the process. One for all listeners and workers; a reload may change them.
#[derive(Debug)]
pub struct Gate {
    waits: AtomicBool,
    rate: Rate,
    inside: Arc<Inside>,
}

/// What places know of their gate.
#[derive(Debug)]
struct Inside {
    places: Semaphore,
    limit: AtomicUsize,
    /// Places that a lower limit took away while sessions sat on them: the next ones to be freed are not given out.
    owed: AtomicUsize,
    /// Places of those who are held in silence.
    held: AtomicUsize,
}

/// A session's place under the limit; dropping it frees the place. One word, since every session has it: the semaphore's own
/// permit is forgotten, and `drop` puts it back.
#[derive(Debug)]
pub(super) struct Place {
    inside: Arc<Inside>,
}

/// The place of a client that is held in silence, one of few.
#[derive(Debug)]
pub struct Held {
    place: Place,
}

impl Gate {
    /// A gate that lets `limit` sessions in at once, at any rate.
    pub fn new(limit: usize, overflow: Overflow) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let inside = Inside {
            places: Semaphore::new(limit),
            limit: limit.into(),
            owed: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        };
        Self {
            waits: AtomicBool::new(overflow == Overflow::Wait),
            rate: Rate::new(Instant::now()),
            inside: Arc::new(inside),
        }
    }

    /// Sessions it lets in at once.
    pub fn limit(&self) -> usize {
        self.inside.limit.load(Relaxed)
    }

    /// Takes over another limit. Sessions beyond a lower one stay; nobody comes in until there are fewer.
    ///
    /// Only reload calls it, one call at a time.
    pub fn follow(&self, limit: usize, overflow: Overflow) {
        self.waits.store(overflow == Overflow::Wait, Relaxed);
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let before = self.inside.limit.swap(limit, Relaxed);
        if let Some(fewer) = before.checked_sub(limit) {
            let forgotten = self.inside.places.forget_permits(fewer);
            self.inside.owed.fetch_add(fewer - forgotten, Relaxed);
            return;
        }
        let more = limit - before;
        let mut forgiven = 0;
        let _ = self.inside.owed.fetch_update(Relaxed, Relaxed, |owed| {
            forgiven = owed.min(more);
            Some(owed - forgiven)
        });
        self.inside.places.add_permits(more - forgiven);
    }

    /// Takes over another rate, in connections a second; `None` is any.
    pub fn follow_rate(&self, rate: Option<NonZeroU64>) {
        self.rate.follow(rate);
    }

    /// A place for a connection that was accepted at `at`.
    ///
    /// With [`Overflow::Wait`] it waits for one, and the caller accepts nothing meanwhile. Rates never wait.
    ///
    /// # Errors
    /// Refuse it; nothing is taken.
    pub(super) async fn enter(&self, at: Instant) -> Result<Place, Refused> {
        if !self.rate.take(at) {
            return Err(Refused::RateProcess);
        }
        let places = &self.inside.places;
        let permit = match self.waits.load(Relaxed) {
            false => places.try_acquire().ok(),
            true => places.acquire().await.ok(),
        };
        match permit {
            Some(permit) => Ok(self.place(permit)),
            None => {
                self.rate.give_back();
                Err(Refused::MaxConnectionsProcess)
            }
        }
    }

    /// A place for a client that is to be held in silence, if there is one to spare.
    pub fn hold(&self) -> Option<Held> {
        self.inside.places.try_acquire().ok().and_then(|permit| self.place(permit).hold())
    }

    fn place(&self, permit: SemaphorePermit<'_>) -> Place {
        permit.forget();
        Place { inside: self.inside.clone() }
    }
}

impl Place {
    /// The same place for someone who is held in silence: at most 1 % of all, and at least one.
    pub(super) fn hold(self) -> Option<Held> {
        let most = (self.inside.limit.load(Relaxed) / 100).max(1);
        let held = self.inside.held.fetch_update(Relaxed, Relaxed, |held| (held < most).then_some(held + 1)).is_ok();
        held.then(|| Held { place: self })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let owes = self.inside.owed.load(Relaxed) > 0
            && self.inside.owed.fetch_update(Relaxed, Relaxed, |owed| owed.checked_sub(1)).is_ok();
        if !owes {
            self.inside.places.add_permits(1);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.place.inside.held.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn enter(gate: &Gate) -> Result<Place, Refused> {
        gate.enter(Instant::now()).await
    }

    #[tokio::test]
    async fn refuses_beyond_the_limit_and_lets_in_again() {
        let gate = Gate::new(1, Overflow::Refuse);
        let first = enter(&gate).await;
        assert!(first.is_ok());
        assert_eq!(enter(&gate).await.err(), Some(Refused::MaxConnectionsProcess));
        drop(first);
        assert!(enter(&gate).await.is_ok());
    }

    #[tokio::test]
    async fn waits_for_a_place() {
        let gate = Gate::new(1, Overflow::Wait);
        let first = enter(&gate).await;
        let mut second = std::pin::pin!(enter(&gate));
        assert!(futures_poll(second.as_mut()).await.is_pending());
        drop(first);
        assert!(second.await.is_ok());
    }

    #[tokio::test]
    async fn a_rate_refuses_where_places_are_waited_for() {
        let gate = Gate::new(10, Overflow::Wait);
        gate.follow_rate(NonZeroU64::new(2));
        let inside = [enter(&gate).await, enter(&gate).await];
        assert!(inside.iter().all(Result::is_ok));
        assert_eq!(enter(&gate).await.err(), Some(Refused::RateProcess));
        gate.follow_rate(None);
        assert!(enter(&gate).await.is_ok());
    }

    #[tokio::test]
    async fn whoever_finds_no_place_leaves_the_rate_to_others() {
        let gate = Gate::new(1, Overflow::Refuse);
        gate.follow_rate(NonZeroU64::new(2));
        let first = enter(&gate).await;
        let at = Instant::now();
        for _ in 0..10 {
            assert_eq!(gate.enter(at).await.err(), Some(Refused::MaxConnectionsProcess));
        }
        drop(first);
        assert!(gate.enter(at).await.is_ok());
    }

    #[tokio::test]
    async fn a_lower_limit_holds_as_soon_as_sessions_end() {
        let gate = Gate::new(3, Overflow::Refuse);
        let mut inside = [enter(&gate).await.ok(), enter(&gate).await.ok(), enter(&gate).await.ok()];
        gate.follow(1, Overflow::Refuse);
        assert_eq!(gate.limit(), 1);
        inside[0] = None;
        assert!(enter(&gate).await.is_err(), "two are still inside");
        inside[1] = None;
        assert!(enter(&gate).await.is_err(), "one is still inside");
        inside[2] = None;
        let last = enter(&gate).await;
        assert!(last.is_ok() && enter(&gate).await.is_err());
    }

    #[tokio::test]
    async fn a_higher_limit_pays_what_is_owed_first() {
        let gate = Gate::new(4, Overflow::Refuse);
        let inside = [enter(&gate).await, enter(&gate).await, enter(&gate).await, enter(&gate).await];
        gate.follow(1, Overflow::Wait);
        gate.follow(5, Overflow::Refuse);
        let fifth = enter(&gate).await;
        assert!(fifth.is_ok() && enter(&gate).await.is_err());
        drop((inside, fifth));
        let again =
            [enter(&gate).await, enter(&gate).await, enter(&gate).await, enter(&gate).await, enter(&gate).await];
        assert!(again.iter().all(Result::is_ok) && enter(&gate).await.is_err());
    }

    #[tokio::test]
    async fn one_place_in_a_hundred_is_for_those_held_in_silence() {
        let gate = Gate::new(300, Overflow::Refuse);
        let held: Vec<_> = (0..10).filter_map(|_| gate.hold()).collect();
        assert_eq!(held.len(), 3);
        drop(held);
        assert!(enter(&gate).await.expect("a place").hold().is_some());
        let small = Gate::new(1, Overflow::Refuse);
        let one = small.hold();
        assert!(one.is_some() && enter(&small).await.is_err() && small.hold().is_none(), "it is a place like others");
        drop(one);
        assert!(enter(&small).await.is_ok());
    }

    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await
    }
}
