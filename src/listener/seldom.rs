//! A future that is seldom woken, beside others that often are.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Release},
};
use std::task::{Context, Poll, Wake, Waker};

use atomic_waker::AtomicWaker;

/// A future that is polled only when it was woken itself, and not each time its task is: until then it costs a look at a flag.
pub(super) struct Seldom<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
}

/// What wakes the task, and says for whom.
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl<F: Future> Seldom<F> {
    pub(super) fn new(future: F) -> Self {
        // Rung, since nobody can wake what was never polled.
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { future: Box::pin(future), waker: bell.clone().into(), bell }
    }

    /// As of any future; not to be called again once it was ready.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<F::Output> {
        // In this order: whoever rings after the look finds the task.
        self.bell.task.register(cx.waker());
        if !self.bell.rung.swap(false, AcqRel) {
            return Poll::Pending;
        }
        self.future.as_mut().poll(&mut Context::from_waker(&self.waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_when_it_was_woken_and_not_when_its_task_was() {
        let (notify, polls) = (Arc::new(Notify::new()), Cell::new(0));
        let mut notified = Box::pin(notify.notified());
        let mut seldom = Seldom::new(poll_fn(|cx| {
            polls.set(polls.get() + 1);
            notified.as_mut().poll(cx)
        }));
        for _ in 0..10 {
            assert!(poll_fn(|cx| Poll::Ready(seldom.poll(cx))).await.is_pending());
        }
        assert_eq!(polls.get(), 1);
        let later = notify.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            later.notify_waiters();
        });
        tokio::time::timeout(Duration::from_secs(5), poll_fn(|cx| seldom.poll(cx))).await.expect("its task is woken");
        assert_eq!(polls.get(), 2);
        thread.join().expect("it ends");
    }
}
