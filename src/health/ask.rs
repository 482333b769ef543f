//! One probe from dialling to goodbye, in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use super::{Line, Probe, ProbeError};
use crate::connect::{ConnectError, Connector, Dial};
use crate::metrics::{ConnectFailure, ProbeResult};

/// The probes that run in the whole process, to keep them below a limit.
///
/// Whoever waits is served in order, whatever the limits of the others: where they differ, one with a small limit would
/// otherwise wait for ever while others keep more running than that.
#[derive(Debug, Default)]
pub struct Places {
    running: AtomicUsize,
    /// Held by the first in line; those behind wait for it, in order.
    turn: Mutex<()>,
    freed: Notify,
}

/// A probe's place; dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Place(Arc<Places>);

impl Places {
    /// Waits until fewer than `limit` probes run.
    pub(super) async fn enter(self: &Arc<Self>, limit: usize) -> Place {
        let _turn = self.turn.lock().await;
        loop {
            let freed = self.freed.notified();
            let one_more = |running| (running < limit).then_some(running + 1);
            if self.running.fetch_update(Relaxed, Relaxed, one_more).is_ok() {
                return Place(self.clone());
            }
            freed.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
        self.0.freed.notify_one();
    }
}

/// Dials and asks, within `dial.timeout` for both; says how it went and how long it took.
pub(super) async fn ask(connector: Connector, dial: Dial, probe: Arc<dyn Probe>) -> (Result<(), ProbeError>, Duration) {
    let (limit, address) = (dial.timeout, dial.target.to_string());
    let verified = dial.secure.as_ref().is_some_and(|secure| secure.verifies);
    let (started, now) = (Instant::now(), tokio::time::Instant::now());
    let finished_late = probe.is_finished_late();
    let mut asking = Box::pin(async move {
        let stream = connector.dial(&dial, now).await.map_err(unreachable)?.stream;
        let mut line = Line::new(stream, address);
        line.verified = verified;
        let found = probe.check(&mut line).await;
        tokio::spawn(line.hang_up());
        found
    });
    let result = timeout(limit, &mut asking).await;
    let took = started.elapsed();
    let result = match result {
        Ok(result) => result,
        Err(_) => {
            if finished_late {
                // As much time again and no more, so that two at most are under way for a backend.
                tokio::spawn(timeout(limit, asking));
            }
            // Otherwise the line is reset: one that does not answer would not hear a goodbye.
            Err(late(limit))
        }
    };
    let timed_out = matches!(&result, Err(error) if error.result == ProbeResult::Timeout);
    if timed_out && was_held_up(took, limit) {
        return (Err(ProbeError::local("this process was held up for longer than the timeout")), took);
    }
    (result, took)
}

fn late(limit: Duration) -> ProbeError {
    ProbeError { result: ProbeResult::Timeout, words: format!("no answer within {limit:?}") }
}

/// Whether a timeout that was noticed after `took` tells of this process and not of the backend: it was stopped, or
/// starved, and the answer may well be waiting.
pub fn was_held_up(took: Duration, limit: Duration) -> bool {
    const SLACK: Duration = Duration::from_millis(500);
    took > limit + (limit / 2).max(SLACK)
}

fn unreachable(error: ConnectError) -> ProbeError {
    let result = match error.reason {
        ConnectFailure::Refused | ConnectFailure::Unreachable | ConnectFailure::Reset => ProbeResult::Refused,
        ConnectFailure::Timeout => ProbeResult::Timeout,
        ConnectFailure::Tls => ProbeResult::Tls,
        ConnectFailure::Proxy => ProbeResult::Unexpected,
        ConnectFailure::Local | ConnectFailure::Dns => ProbeResult::Local,
    };
    let words = match (error.reason, error.errno) {
        _ if error.words.is_some() => error.words.unwrap_or_default().into(),
        (ConnectFailure::Timeout, None) => "no connection in time".to_owned(),
        (_, Some(errno)) => format!("cannot connect: {}", std::io::Error::from_raw_os_error(errno)),
        (reason, None) => format!("cannot connect: {reason}"),
    };
    ProbeError { result, words }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn no_more_run_at_once_than_may() {
        let places = Arc::new(Places::default());
        let first = places.enter(2).await;
        let _second = places.enter(2).await;
        let mut third = pin!(places.enter(2));
        assert!(timeout(Duration::from_millis(10), third.as_mut()).await.is_err());
        drop(first);
        timeout(Duration::from_secs(10), third).await.expect("there is room again");
    }

    /// A probe that waits for its place and says so when it has it.
    fn waits(places: &Arc<Places>, limit: usize, log: &Log) -> tokio::task::JoinHandle<Place> {
        let (places, log) = (places.clone(), log.clone());
        tokio::spawn(async move {
            let place = places.enter(limit).await;
            log.lock().expect("sound").push(limit);
            place
        })
    }

    type Log = Arc<std::sync::Mutex<Vec<usize>>>;

    #[tokio::test(start_paused = true)]
    async fn who_came_first_is_served_first_whatever_the_limits() {
        let (places, log) = (Arc::new(Places::default()), Log::default());
        let tick = || tokio::time::sleep(Duration::from_millis(1));
        let mut busy = Vec::new();
        for _ in 0..3 {
            busy.push(places.enter(3).await);
        }
        let mut waiting = Vec::new();
        for limit in [1, 3, 1, 3] {
            waiting.push(waits(&places, limit, &log));
            tick().await;
        }
        // There is room for those with the larger limit, again and again, and still it is not their turn.
        for _ in 0..2 {
            busy.pop();
            tick().await;
            assert!(log.lock().expect("sound").is_empty());
        }
        busy.pop();
        for task in waiting {
            let place = task.await.expect("no panic");
            tick().await;
            drop(place);
        }
        assert_eq!(*log.lock().expect("sound"), [1, 3, 1, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_leaves_no_gap() {
        let (places, log) = (Arc::new(Places::default()), Log::default());
        let only = places.enter(1).await;
        let [first, second] = [(); 2].map(|()| waits(&places, 1, &log));
        tokio::time::sleep(Duration::from_millis(1)).await;
        first.abort();
        drop(only);
        timeout(Duration::from_secs(10), second).await.expect("its turn").expect("no panic");
    }

    #[test]
    fn a_timeout_noticed_late_is_our_own() {
        let held_up = |took, limit| was_held_up(Duration::from_millis(took), Duration::from_millis(limit));
        assert!(!held_up(1000, 1000) && !held_up(1400, 1000) && held_up(1600, 1000));
        assert!(!held_up(510, 50) && held_up(600, 50), "a short limit has slack all the same");
    }
}
