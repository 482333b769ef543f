//! What keeps a worker from sleeping (`workers.busy_poll`): a task of its runtime that work stirs.
//!
//! The runtime looks at its sockets without waiting whenever a task has yielded, after all others that are ready had their
//! turn; so this one, which does nothing but yield, makes of the runtime's sleep a loop of looks. Timers, new sessions and
//! tasks from other threads are met in it as in any other turn.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::yield_now;

use super::spin::{Next, Span, Spin};
use crate::metrics::{BusyPoll, Seconds};

/// Where work and the task meet. All but the sums is used by the worker's thread alone, so no order is needed.
#[derive(Debug)]
pub(super) struct Stir {
    /// How long it looks after work.
    budget: Duration,
    /// There was work since the task had its last turn.
    worked: AtomicBool,
    /// The task waits for work.
    waits: AtomicBool,
    work: Notify,
    /// Time spent looking, by its result.
    looked: [Seconds; BusyPoll::ALL.len()],
}

impl Stir {
    pub(super) fn new(budget: Duration) -> Self {
        Self {
            budget,
            worked: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            work: Notify::new(),
            looked: Default::default(),
        }
    }

    /// There is work. Two stores, but for the first time after a sleep.
    pub(super) fn work(&self) {
        self.worked.store(true, Relaxed);
        if self.waits.load(Relaxed) {
            self.waits.store(false, Relaxed);
            self.work.notify_one();
        }
    }

    /// Seconds spent looking so far that had this result.
    pub(super) fn looked(&self, result: BusyPoll) -> f64 {
        self.looked[result as usize].get()
    }

    /// The task.
    pub(super) async fn keep_looking(&self) {
        let mut spin = Spin::new(self.budget);
        loop {
            self.wait().await;
            while self.turn(&mut spin) == Next::Look {
                yield_now().await;
            }
        }
    }

    async fn wait(&self) {
        self.waits.store(true, Relaxed);
        self.work.notified().await;
    }

    fn turn(&self, spin: &mut Spin) -> Next {
        let worked = self.worked.swap(false, Relaxed);
        let (next, ended) = spin.turn(Instant::now(), worked);
        if let Some(Span { result, took }) = ended {
            self.looked[result as usize].add(took);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test]
    async fn it_looks_after_work_alone_and_says_what_that_brought() {
        let stir = Arc::new(Stir::new(Duration::from_millis(50)));
        let sums = |stir: &Stir| [BusyPoll::Hit, BusyPoll::Miss].map(|result| stir.looked(result));
        let task = tokio::spawn({
            let stir = stir.clone();
            async move { stir.keep_looking().await }
        });
        sleep(Duration::from_millis(100)).await;
        assert_eq!(sums(&stir), [0.0, 0.0], "there was no work yet");
        stir.work();
        sleep(Duration::from_millis(10)).await;
        stir.work();
        let over = async {
            while sums(&stir)[1] == 0.0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), over).await.expect("it gives up");
        let [hit, miss] = sums(&stir);
        assert!(hit > 0.0 && miss >= 0.05, "{hit} s paid, {miss} s did not");
        sleep(Duration::from_millis(200)).await;
        assert_eq!(sums(&stir), [hit, miss], "nor any more after it");
        task.abort();
    }
}
