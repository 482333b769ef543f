//! The service manager's watchdog (sd_watchdog_enabled(3)): it hears of this process only while every worker takes turns.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::systemd::Manager;
use crate::admin::State;

/// How often the manager wants to hear that this process is well.
fn period() -> Option<Duration> {
    let mine = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid.parse() == Ok(std::process::id()));
    let period = std::env::var("WATCHDOG_USEC").ok()?.parse().ok().filter(|_| mine)?;
    Some(Duration::from_micros(period)).filter(|period| !period.is_zero())
}

/// Tells the manager's watchdog that this process is well, for as long as it is.
pub(super) async fn be_watched(manager: Arc<Manager>, state: Arc<State>) {
    if let Some(period) = period().filter(|_| manager.is_there()) {
        beat(period, &state.runtimes, || manager.say("WATCHDOG=1")).await;
    }
}

/// Beats twice in a period, when every worker has taken a turn. That this task has one shows that the control thread
/// turns as well.
async fn beat(period: Duration, workers: &[Handle], mut say: impl FnMut()) {
    let mut beats = interval(period / 2);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        match timeout(period / 2, every_one_turns(workers)).await {
            Ok(()) => say(),
            Err(_) => tracing::error!("a worker does not answer; the watchdog is not told that all is well"),
        }
    }
}

async fn every_one_turns(workers: &[Handle]) {
    for worker in workers {
        // One that is gone is at the end of the process.
        let _ = worker.spawn(std::future::ready(())).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::sync::mpsc;
    use std::thread;

    use tokio::sync::oneshot;
    use tokio::time::sleep;

    use super::*;

    /// A worker on a thread of its own, until the sender is dropped.
    fn worker() -> (Handle, oneshot::Sender<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (handle, (stop, stopped)) = (runtime.handle().clone(), oneshot::channel());
        thread::spawn(move || runtime.block_on(stopped));
        (handle, stop)
    }

    #[tokio::test]
    async fn one_worker_that_hangs_silences_it_until_it_turns_again() {
        const PERIOD: Duration = Duration::from_millis(400);
        let ((first, _first), (second, _second)) = (worker(), worker());
        let beats = Arc::new(AtomicUsize::new(0));
        let (heard, workers) = (beats.clone(), vec![first, second.clone()]);
        let beating = async move { beat(PERIOD, &workers, || _ = heard.fetch_add(1, Relaxed)).await };
        let watching = async {
            let since = |before: usize| {
                let beats = &beats;
                async move {
                    while beats.load(Relaxed) <= before {
                        sleep(PERIOD / 20).await;
                    }
                }
            };
            timeout(20 * PERIOD, since(1)).await.expect("beats while all is well");
            let (go_on, hang) = mpsc::channel::<()>();
            let hanging = second.spawn(async move { _ = hang.recv() });
            // One may be on its way.
            sleep(PERIOD).await;
            let before = beats.load(Relaxed);
            sleep(3 * PERIOD).await;
            assert_eq!(beats.load(Relaxed), before, "one of two workers hangs");
            drop(go_on);
            hanging.await.unwrap();
            timeout(20 * PERIOD, since(before)).await.expect("beats again");
        };
        tokio::select! {
            () = beating => {}
            () = watching => {}
        }
    }
}
