//! One probe from dialling to goodbye, in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;
use tower::ServiceExt;

use super::{Line, Probe, ProbeError};
use crate::connect::{ConnectError, Connector, Dial};
use crate::metrics::{ConnectFailure, ProbeResult};

/// The probes that run in the whole process, to keep them below a limit.
#[derive(Debug, Default)]
pub struct Places {
    running: AtomicUsize,
    freed: Notify,
}

/// A probe's place; dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Place(Arc<Places>);

impl Places {
    /// Waits until fewer than `limit` probes run.
    pub(super) async fn enter(self: &Arc<Self>, limit: usize) -> Place {
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
    let started = Instant::now();
    let mut line = None;
    let asking = async {
        let stream = connector.oneshot(dial).await.map_err(unreachable)?;
        probe.check(line.insert(Line::new(stream, address))).await
    };
    let result = match timeout(limit, asking).await {
        Ok(result) => result,
        Err(_) => Err(late(limit)),
    };
    let took = started.elapsed();
    let timed_out = matches!(&result, Err(error) if error.result == ProbeResult::Timeout);
    match line {
        // One that does not answer would not hear a goodbye.
        Some(line) if !timed_out => drop(tokio::spawn(line.hang_up())),
        _ => {}
    }
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
        let _more = places.enter(3).await;
        drop(first);
        assert!(timeout(Duration::from_millis(10), third.as_mut()).await.is_err(), "two of three are left");
    }

    #[test]
    fn a_timeout_noticed_late_is_our_own() {
        let held_up = |took, limit| was_held_up(Duration::from_millis(took), Duration::from_millis(limit));
        assert!(!held_up(1000, 1000) && !held_up(1400, 1000) && held_up(1600, 1000));
        assert!(!held_up(510, 50) && held_up(600, 50), "a short limit has slack all the same");
    }
}
