//! Who may come in: the gate at accept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::plan::Overflow;

/// The limit of the process on sessions at once. One for all listeners and workers; a reload may change it.
#[derive(Debug)]
pub struct Gate {
    places: Arc<Semaphore>,
    limit: AtomicUsize,
    waits: AtomicBool,
    /// Places that a lower limit took away while sessions sat on them: the next ones to be freed are not given out.
    owed: Arc<AtomicUsize>,
}

/// A session's place under the limit; dropping it frees the place.
#[derive(Debug)]
pub struct Permit {
    /// Taken only by `drop`.
    place: Option<OwnedSemaphorePermit>,
    owed: Arc<AtomicUsize>,
}

impl Gate {
    /// A gate that lets `limit` sessions in at once.
    pub fn new(limit: usize, overflow: Overflow) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(limit)),
            limit: AtomicUsize::new(limit),
            waits: AtomicBool::new(overflow == Overflow::Wait),
            owed: Arc::default(),
        }
    }

    /// Sessions it lets in at once.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Takes over another limit. Sessions beyond a lower one stay; nobody comes in until there are fewer.
    ///
    /// Only reload calls it, one call at a time.
    pub fn follow(&self, limit: usize, overflow: Overflow) {
        self.waits.store(overflow == Overflow::Wait, Ordering::Relaxed);
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let before = self.limit.swap(limit, Ordering::Relaxed);
        if let Some(fewer) = before.checked_sub(limit) {
            let forgotten = self.places.forget_permits(fewer);
            self.owed.fetch_add(fewer - forgotten, Ordering::Relaxed);
            return;
        }
        let more = limit - before;
        let mut forgiven = 0;
        let _ = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| {
            forgiven = owed.min(more);
            Some(owed - forgiven)
        });
        self.places.add_permits(more - forgiven);
    }

    /// A place for a connection that was just accepted; `None` means: refuse it.
    ///
    /// With [`Overflow::Wait`] it waits, and the caller accepts nothing meanwhile.
    pub async fn enter(&self) -> Option<Permit> {
        let place = self.places.clone();
        let place = match self.waits.load(Ordering::Relaxed) {
            false => place.try_acquire_owned().ok(),
            true => place.acquire_owned().await.ok(),
        }?;
        Some(Permit { place: Some(place), owed: self.owed.clone() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let owes = self.owed.load(Ordering::Relaxed) > 0
            && self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| owed.checked_sub(1)).is_ok();
        if let Some(place) = self.place.take().filter(|_| owes) {
            place.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refuses_beyond_the_limit_and_lets_in_again() {
        let gate = Gate::new(1, Overflow::Refuse);
        let first = gate.enter().await;
        assert!(first.is_some());
        assert!(gate.enter().await.is_none());
        drop(first);
        assert!(gate.enter().await.is_some());
    }

    #[tokio::test]
    async fn waits_for_a_place() {
        let gate = Gate::new(1, Overflow::Wait);
        let first = gate.enter().await;
        let mut second = std::pin::pin!(gate.enter());
        assert!(futures_poll(second.as_mut()).await.is_pending());
        drop(first);
        assert!(second.await.is_some());
    }

    #[tokio::test]
    async fn a_lower_limit_holds_as_soon_as_sessions_end() {
        let gate = Gate::new(3, Overflow::Refuse);
        let mut inside = [gate.enter().await, gate.enter().await, gate.enter().await];
        gate.follow(1, Overflow::Refuse);
        assert_eq!(gate.limit(), 1);
        inside[0] = None;
        assert!(gate.enter().await.is_none(), "two are still inside");
        inside[1] = None;
        assert!(gate.enter().await.is_none(), "one is still inside");
        inside[2] = None;
        let last = gate.enter().await;
        assert!(last.is_some() && gate.enter().await.is_none());
    }

    #[tokio::test]
    async fn a_higher_limit_pays_what_is_owed_first() {
        let gate = Gate::new(4, Overflow::Refuse);
        let inside = [gate.enter().await, gate.enter().await, gate.enter().await, gate.enter().await];
        gate.follow(1, Overflow::Wait);
        gate.follow(5, Overflow::Refuse);
        let fifth = gate.enter().await;
        assert!(fifth.is_some() && gate.enter().await.is_none());
        drop((inside, fifth));
        let mut again = Vec::new();
        while let Some(permit) = gate.enter().await {
            again.push(permit);
        }
        assert_eq!(again.len(), 5);
    }

    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await
    }
}
