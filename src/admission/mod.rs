//! Who may come in: the gate at accept.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::plan::Overflow;

/// The limit of the process on sessions at once. One for all listeners and workers.
#[derive(Debug)]
pub struct Gate {
    places: Arc<Semaphore>,
    limit: usize,
    overflow: Overflow,
}

/// A session's place under the limit; dropping it frees the place.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "held for its Drop")] OwnedSemaphorePermit);

impl Gate {
    /// A gate that lets `limit` sessions in at once.
    pub fn new(limit: usize, overflow: Overflow) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(limit)), limit, overflow }
    }

    /// Sessions it lets in at once.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// A place for a connection that was just accepted; `None` means: refuse it.
    ///
    /// With [`Overflow::Wait`] it waits, and the caller accepts nothing meanwhile.
    pub async fn enter(&self) -> Option<Permit> {
        let place = self.places.clone();
        match self.overflow {
            Overflow::Refuse => place.try_acquire_owned().ok(),
            Overflow::Wait => place.acquire_owned().await.ok(),
        }
        .map(Permit)
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

    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await
    }
}
