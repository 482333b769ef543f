//! Living, and ending without lying to anyone.

use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};

use super::signals::{Signals, Wish};
use super::{Ended, Running, Succession};
use crate::admin::{Author, Bidding, State};
use crate::drain::{Pace, Stage};
use crate::metrics::Cause;
use crate::net::SocketFile;

/// Between looks at who is left.
const LOOK: Duration = Duration::from_millis(50);
/// A session without a byte for so long is idle: ending it early costs the least.
const QUIET: Duration = Duration::from_secs(5);
/// How long old processes, whose time is up as well, may take to end.
const LAST_ELDERS: Duration = Duration::from_secs(3);
/// How long sessions that were told to end may take to write their line.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Serves until a signal, or until another process has taken over, then drains. A second signal ends it at once.
pub(super) async fn live_and_drain(mut running: Running, mut succession: Succession, signals: &mut Signals) -> Ended {
    let replaced = tokio::select! {
        () = next_end(&running.state, signals) => false,
        Ok(()) = &mut succession.replaced => true,
    };
    let started = Instant::now();
    let before = running.state.ledger.departures();
    let ended = match replaced {
        true => outlive(&running, &mut succession, signals).await,
        false => leave(&running, signals).await,
    };
    stop_accepting(&running);
    end_all(&running).await;
    running.attendance.farewell().await;
    for worker in &mut running.workers {
        worker.stop();
    }
    running.state.ledger.access().flush(LAST_LINES);
    let after = running.state.ledger.departures();
    let finished = after.finished - before.finished;
    // Who has not gone by now is reset with the process.
    let reset = after.otherwise - before.otherwise + living(&running) as u64;
    tracing::info!(sessions = finished + reset, finished, reset, seconds = started.elapsed().as_secs_f64(), "stopped");
    ended
}

/// Waits for SIGTERM or SIGINT, and acts on all other signals meanwhile.
async fn next_end(state: &State, signals: &mut Signals) {
    loop {
        match signals.next().await {
            Wish::End => return,
            Wish::ReopenLogs => state.ledger.access().reopen(),
            Wish::Reload if state.desk.ask(Author::Signal, None).is_err() => {
                tracing::warn!("SIGHUP: too many reloads wait already");
            }
            Wish::Reload => {}
            Wish::Upgrade => {
                if let Err(why) = state.upgrades.ask(Author::Signal) {
                    tracing::warn!(why, "SIGUSR2: no upgrade");
                }
            }
        }
    }
}

/// The service ends: this process, and those before it that still have sessions.
async fn leave(running: &Running, signals: &mut Signals) -> Ended {
    let state = &running.state;
    tracing::info!(sessions = living(running), "draining; a second signal ends it at once");
    let ended = tokio::select! {
        () = drain(running) => Ended::Drained,
        () = next_end(state, signals) => Ended::Forced,
    };
    if ended == Ended::Forced {
        state.elders.end().await;
    }
    ended
}

/// Another process serves: the sessions here have `upgrade.grace`, unless someone says otherwise. A signal to this
/// process ends it alone.
async fn outlive(running: &Running, succession: &mut Succession, signals: &mut Signals) -> Ended {
    let plan = running.state.live.load().plan.clone();
    let (mut grace, mut asked) = (plan.upgrade.grace, false);
    loop {
        tokio::select! {
            () = wind_down(running, grace) => return Ended::Drained,
            () = next_end(&running.state, signals) => match std::mem::replace(&mut asked, true) {
                false => grace = Some(plan.shutdown.grace),
                true => return Ended::Forced,
            },
            Some(bidding) = succession.biddings.recv() => match bidding {
                Bidding::Drain(span) => grace = Some(span),
                Bidding::End => return Ended::Forced,
            },
        }
    }
}

/// `/readyz` fails, then nobody new is accepted, then sessions get their time.
async fn drain(running: &Running) {
    running.state.life.enter(Stage::Leaving);
    running.manager.stopping();
    let shutdown = running.state.live.load().plan.shutdown;
    sleep(shutdown.delay).await;
    stop_accepting(running);
    let began = Instant::now();
    running.state.elders.drain(shutdown.grace).await;
    wind_down(running, Some(shutdown.grace)).await;
    // Whoever started this process may end all that is left once it has ended.
    while running.state.elders.census().0 > 0 && began.elapsed() < shutdown.grace + LAST_ELDERS {
        look().await;
    }
}

/// Waits until nobody is left, or nobody may be.
async fn wind_down(running: &Running, grace: Option<Duration>) {
    let began = Instant::now();
    // The first half is theirs.
    let mut pace = grace.map(|grace| Pace::over(grace / 2));
    let is_over = || grace.is_some_and(|grace| began.elapsed() >= grace);
    while !is_over() && (running.acceptors.running() > 0 || someone_left(running)) {
        if let Some(pace) = &mut pace
            && let Some(elapsed) = began.elapsed().checked_sub(pace.span())
        {
            end_quiet(running, pace, elapsed);
        }
        look().await;
    }
}

/// Removes the files of unix listeners, then has the accept loops empty their queues and close.
///
/// In this order: while we have a socket open no other file can be taken for its own. And a path that is gone lets nobody
/// new into the queue.
fn stop_accepting(running: &Running) {
    if running.state.life.stage() >= Stage::Draining {
        return;
    }
    running.sockets.listeners().iter().for_each(|listener| running.manager.forget(listener));
    running.sockets.files().iter().for_each(SocketFile::remove);
    // Else the last duplicate of a socket would keep it open, and newcomers waiting.
    running.sockets.keep_none();
    running.state.life.enter(Stage::Draining);
}

fn look() -> Sleep {
    sleep(LOOK)
}

fn living(running: &Running) -> usize {
    running.state.ledger.active().iter().sum()
}

fn someone_left(running: &Running) -> bool {
    living(running) > 0
}

/// Resets those idle sessions that are due.
fn end_quiet(running: &Running, pace: &mut Pace, elapsed: Duration) {
    let ledger = &running.state.ledger;
    let quiet = ledger.list(None, usize::MAX, |record| ledger.idle_for(record) >= QUIET);
    let due = pace.due(quiet.len(), elapsed);
    ledger.end_idlest(quiet, due, Cause::Shutdown);
}

/// Resets all sessions that are left, and gives them a moment to write their lines.
async fn end_all(running: &Running) {
    let left = running.state.ledger.list(None, usize::MAX, |_| true);
    left.iter().for_each(|record| record.stop.ask(Cause::Shutdown));
    let began = Instant::now();
    while someone_left(running) && began.elapsed() < LAST_LINES {
        sleep(Duration::from_millis(5)).await;
    }
}
