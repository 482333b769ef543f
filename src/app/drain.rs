//! Living, and ending without lying to anyone.

use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};

use super::signals::{Signals, Wish};
use super::{Ended, Running};
use crate::admin::Author;
use crate::drain::{Stage, due};
use crate::metrics::Cause;

/// Between looks at who is left.
const LOOK: Duration = Duration::from_millis(50);
/// A session without a byte for so long is idle: ending it early costs the least.
const QUIET: Duration = Duration::from_secs(5);
/// How long sessions that were told to end may take to write their line.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Serves until a signal, then drains. A second signal ends it at once.
pub(super) async fn live_and_drain(mut running: Running, signals: &mut Signals) -> Ended {
    next_end(&running, signals).await;
    let started = Instant::now();
    let at_start: usize = running.ledger.active().iter().sum();
    tracing::info!(sessions = at_start, "draining; a second signal ends it at once");
    let ended = tokio::select! {
        () = drain(&running) => Ended::Drained,
        () = next_end(&running, signals) => Ended::Forced,
    };
    stop_accepting(&running);
    let left = end_all(&running).await;
    for worker in &mut running.workers {
        worker.stop();
    }
    running.ledger.access().flush(LAST_LINES);
    tracing::info!(
        sessions = at_start,
        finished = at_start.saturating_sub(left),
        reset = left,
        seconds = started.elapsed().as_secs_f64(),
        "stopped"
    );
    ended
}

/// Waits for SIGTERM or SIGINT, and acts on all other signals meanwhile.
async fn next_end(running: &Running, signals: &mut Signals) {
    loop {
        match signals.next().await {
            Wish::End => return,
            Wish::ReopenLogs => running.ledger.access().reopen(),
            Wish::Reload if running.desk.ask(Author::Signal, None).is_err() => {
                tracing::warn!("SIGHUP: too many reloads wait already");
            }
            Wish::Reload => {}
            Wish::Upgrade => tracing::warn!("SIGUSR2: upgrade is not supported yet; this process stays"),
        }
    }
}

/// `/readyz` fails, then nobody new is accepted, then sessions get their time.
async fn drain(running: &Running) {
    running.life.enter(Stage::Leaving);
    let shutdown = running.live.load().plan.shutdown;
    sleep(shutdown.delay).await;
    stop_accepting(running);
    let grace = shutdown.grace;
    let began = Instant::now();
    let mut quiet_ended = 0;
    while began.elapsed() < grace && (running.acceptors.running() > 0 || someone_left(running)) {
        if let Some(elapsed) = began.elapsed().checked_sub(grace / 2) {
            quiet_ended += end_quiet(running, quiet_ended, elapsed, grace / 2);
        }
        look().await;
    }
}

/// Removes the files of unix listeners, then has the accept loops empty their queues and close.
///
/// In this order: while we listen nobody else takes the path, so the file is ours; once we have closed
/// it may be our successor's. And a path that is gone lets nobody new into the queue.
fn stop_accepting(running: &Running) {
    if running.life.stage() >= Stage::Draining {
        return;
    }
    for path in &running.sockets.unix_paths() {
        // Gone already, or not ours to remove: either way there is nothing to do about it.
        let _ = std::fs::remove_file(path);
    }
    running.life.enter(Stage::Draining);
}

fn look() -> Sleep {
    sleep(LOOK)
}

fn someone_left(running: &Running) -> bool {
    running.ledger.active().iter().any(|count| *count > 0)
}

/// Resets idle sessions, longest idle first, at the pace that spreads them over `span`.
fn end_quiet(running: &Running, ended: usize, elapsed: Duration, span: Duration) -> usize {
    let mut quiet = running.ledger.list(None, usize::MAX, |record| record.idle_for() >= QUIET);
    let now_due = due(ended + quiet.len(), elapsed, span).saturating_sub(ended);
    quiet.sort_unstable_by_key(|record| std::cmp::Reverse(record.idle_for()));
    quiet.iter().take(now_due).for_each(|record| record.stop.ask(Cause::Shutdown));
    now_due
}

/// Resets all sessions that are left, gives them a moment to write their lines, and counts them.
async fn end_all(running: &Running) -> usize {
    let left = running.ledger.list(None, usize::MAX, |_| true);
    left.iter().for_each(|record| record.stop.ask(Cause::Shutdown));
    let began = Instant::now();
    while someone_left(running) && began.elapsed() < LAST_LINES {
        sleep(Duration::from_millis(5)).await;
    }
    left.len()
}
