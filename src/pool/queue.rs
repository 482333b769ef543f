//! The queue: sessions that wait for a place, oldest first.
//!
//! A place that becomes free is claimed for the oldest waiter and handed to it; so nobody overtakes,
//! and `max_connections` stays exact. A waiter that leaves, even with the place already in its hand,
//! gives it on by dropping it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Waiters for things of type `T`, each with a key of type `K` that what it gets is chosen by.
#[derive(Debug)]
pub(super) struct Queue<K, T> {
    waiting: Mutex<Waiting<K, T>>,
    /// Of `waiting`, readable without its lock: nearly always nobody waits.
    length: AtomicUsize,
}

#[derive(Debug)]
struct Waiting<K, T> {
    next: u64,
    /// By rising number.
    line: VecDeque<Waiter<K, T>>,
}

#[derive(Debug)]
struct Waiter<K, T> {
    number: u64,
    key: K,
    hand: oneshot::Sender<T>,
}

impl<K, T> Default for Queue<K, T> {
    fn default() -> Self {
        Self { waiting: Mutex::new(Waiting { next: 0, line: VecDeque::new() }), length: AtomicUsize::new(0) }
    }
}

/// There is no room to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

impl<K: Copy, T> Queue<K, T> {
    /// Waiters now.
    pub(super) fn len(&self) -> usize {
        self.length.load(Ordering::SeqCst)
    }

    /// Joins the end of the line, if fewer than `max` stand in it.
    ///
    /// The caller then calls [`Queue::serve`]: a place may have become free since it last looked.
    pub(super) fn join(&self, key: K, max: usize) -> Result<Ticket<'_, K, T>, QueueFull> {
        let mut waiting = self.lock();
        if waiting.line.len() >= max {
            return Err(QueueFull);
        }
        let (hand, receiver) = oneshot::channel();
        let number = waiting.next;
        waiting.next += 1;
        waiting.line.push_back(Waiter { number, key, hand });
        self.length.store(waiting.line.len(), Ordering::SeqCst);
        Ok(Ticket { queue: self, number, receiver })
    }

    /// Hands out what `offer` gives for a waiter's key, to the oldest first, until nobody waits or it
    /// gives nothing.
    pub(super) fn serve(&self, mut offer: impl FnMut(K) -> Option<T>) {
        // With the same fence in whoever frees a place and in whoever has just joined, one of them sees
        // the other: no place stays free beside a waiter.
        fence(Ordering::SeqCst);
        while self.len() > 0 {
            // Claimed and dropped outside the lock: both may come back here.
            let Some(thing) = self.oldest().and_then(&mut offer) else { return };
            let unwanted = self.hand_to_oldest(thing);
            drop(unwanted);
        }
    }

    fn oldest(&self) -> Option<K> {
        self.lock().line.front().map(|waiter| waiter.key)
    }

    fn hand_to_oldest(&self, mut thing: T) -> Option<T> {
        let mut waiting = self.lock();
        while let Some(waiter) = waiting.line.pop_front() {
            self.length.store(waiting.line.len(), Ordering::SeqCst);
            match waiter.hand.send(thing) {
                Ok(()) => return None,
                Err(back) => thing = back,
            }
        }
        Some(thing)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<K, T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One waiter's place in the line; dropping it leaves the line.
#[derive(Debug)]
pub(super) struct Ticket<'a, K: Copy, T> {
    queue: &'a Queue<K, T>,
    number: u64,
    receiver: oneshot::Receiver<T>,
}

impl<K: Copy, T> Ticket<'_, K, T> {
    /// Waits for its turn. Cancel safe.
    pub(super) async fn turn(&mut self) -> Option<T> {
        (&mut self.receiver).await.ok()
    }
}

impl<K: Copy, T> Drop for Ticket<'_, K, T> {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        if let Ok(place) = waiting.line.binary_search_by_key(&self.number, |waiter| waiter.number) {
            waiting.line.remove(place);
            self.queue.length.store(waiting.line.len(), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn the_oldest_is_served_first_and_who_left_is_not() {
        let queue = Queue::default();
        let mut first = queue.join((), 3).expect("room");
        let second = queue.join((), 3).expect("room");
        let mut third = queue.join((), 3).expect("room");
        assert_eq!(queue.join((), 3).err(), Some(QueueFull));
        drop(second);
        let mut places = vec!["two", "one"];
        queue.serve(|()| places.pop());
        assert_eq!((first.turn().await, third.turn().await), (Some("one"), Some("two")));
        assert_eq!(queue.len(), 0);
    }

    /// A place that is given back when it is dropped, like a lease.
    struct Place(Arc<AtomicUsize>);

    impl Drop for Place {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Join,
        Leave(usize),
        Free,
        TakeAndKeep(usize),
    }

    proptest! {
        /// Whatever happens in whatever order: no place is lost, and nobody waits while one is free.
        #[test]
        fn no_place_is_lost(steps in prop::collection::vec(prop_oneof![
            3 => Just(Step::Join),
            1 => (0usize..8).prop_map(Step::Leave),
            2 => Just(Step::Free),
            2 => (0usize..8).prop_map(Step::TakeAndKeep),
        ], 0..100)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let free = Arc::new(AtomicUsize::new(2));
            let queue: Queue<(), Place> = Queue::default();
            let claim = |()| free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).ok().map(|_| Place(free.clone()));
            let mut tickets: Vec<Ticket<'_, (), Place>> = Vec::new();
            let mut kept = Vec::new();
            for step in steps {
                match step {
                    Step::Join => tickets.extend(queue.join((), 5)),
                    Step::Leave(i) if i < tickets.len() => drop(tickets.remove(i)),
                    Step::TakeAndKeep(i) if i < tickets.len() => {
                        if let Ok(place) = tickets[i].receiver.try_recv() {
                            kept.push(place);
                            tickets.remove(i);
                        }
                    }
                    Step::Free => drop(kept.pop()),
                    _ => {}
                }
                queue.serve(claim);
                let in_hand = tickets.iter().filter(|ticket| !ticket.receiver.is_empty()).count();
                prop_assert_eq!(free.load(Ordering::SeqCst) + in_hand + kept.len(), 2);
                prop_assert!(queue.len() == 0 || free.load(Ordering::SeqCst) == 0, "someone waits beside a free place");
            }
            drop(runtime);
        }
    }

    /// Many threads free places while many join: all are served in the end.
    #[test]
    fn wake_ups_are_not_lost_between_threads() {
        let free = Arc::new(AtomicUsize::new(1));
        let queue: Arc<Queue<(), Place>> = Arc::default();
        let claim = |free: &Arc<AtomicUsize>| {
            let claimed = free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            claimed.ok().map(|_| Place(free.clone()))
        };
        let worker = |_| {
            let (queue, free) = (queue.clone(), free.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
                runtime.block_on(async {
                    for _ in 0..2000 {
                        let mut ticket = queue.join((), 100).expect("room");
                        queue.serve(|()| claim(&free));
                        let turn = tokio::time::timeout(std::time::Duration::from_secs(20), ticket.turn());
                        let place = turn.await.expect("a wake-up was lost").expect("a place");
                        drop(place);
                        queue.serve(|()| claim(&free));
                    }
                });
            })
        };
        let threads: Vec<_> = (0..4).map(worker).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(free.load(Ordering::SeqCst), 1);
    }
}
