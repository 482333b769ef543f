//! The rounds: a worker looks over its sessions a few times a second and ends those past a limit.
//!
//! This is all the timing a living session costs: no timer of its own, nothing to re-arm when bytes
//! move, and limits that were changed by a reload hold within a second.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval};

use super::{Kind, Ledger, Record, SessionId};
use crate::metrics::{Cause, Direction};
use crate::relay::{HELD_UP, Workbench};

/// Between rounds: limits act at most this much late, twice over for idle ones.
const ROUND: Duration = Duration::from_millis(250);
/// Between closer looks at a session that does not stir: what a reload makes of its limits acts at most this much late.
const LONGEST: Duration = Duration::from_secs(1);
/// Sessions looked at before others run: some tens of microseconds.
const STEP: usize = 512;

/// Looks over the sessions of `worker` for as long as the process lives.
pub async fn rounds(ledger: Arc<Ledger>, bench: Arc<Workbench>) {
    let mut ticks = interval(ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clock = RoundsClock { now: 1, read_at: Instant::now() };
    let mut since_tidy = 0;
    loop {
        ticks.tick().await;
        let at = Instant::now();
        bench.look(at);
        let on_time = !bench.was_held_up(at);
        let now = clock.advance(at);
        round(&ledger, bench.worker(), now, on_time).await;
        since_tidy = (since_tidy + 1) % 4;
        if since_tidy == 0 {
            bench.tidy();
        }
    }
}

/// Milliseconds that leave out the time in which no round could be made: bytes that came meanwhile are not read yet, so
/// that time is nobody's idleness.
struct RoundsClock {
    now: u64,
    read_at: Instant,
}

impl RoundsClock {
    fn advance(&mut self, at: Instant) -> u64 {
        self.now += at.duration_since(self.read_at).min(HELD_UP).as_millis() as u64;
        self.read_at = at;
        self.now
    }
}

async fn round(ledger: &Ledger, worker: usize, now: u64, on_time: bool) {
    let mut after: Option<SessionId> = None;
    loop {
        let step = ledger.shards[worker].list(after, STEP, &mut |_| true);
        let Some(last) = step.last() else { return };
        after = Some(last.id);
        for record in &step {
            look(ledger, record, now);
            if on_time {
                blame_silence(record);
            }
        }
        yield_now().await;
    }
}

/// Ends one session if it is past a limit, and writes its interval line if one is due.
///
/// One that has not stirred since the last look is only looked at more closely when it may be past something, and now and
/// then because a reload may have changed that.
fn look(ledger: &Ledger, record: &Record, now: u64) {
    let seen = &record.rounds;
    let pulse = record.tally.pulse();
    // Whoever waits for us to move its bytes is not idle.
    let stirs = seen.pulse.load(Relaxed) != pulse || record.tally.is_paced() || seen.changed_at.load(Relaxed) == 0;
    seen.looked_at.store(now, Relaxed);
    if stirs {
        seen.pulse.store(pulse, Relaxed);
        seen.changed_at.store(now, Relaxed);
    } else if now < seen.due_at.load(Relaxed) {
        return;
    }
    let left = left(record).unwrap_or_else(|cause| {
        record.stop.ask(cause);
        Duration::ZERO
    });
    let due = left.min(LONGEST).min(until_line(ledger, record, now));
    // Rounds do not come to the millisecond; one too early does no harm.
    seen.due_at.store((now + due.as_millis() as u64).saturating_sub(ROUND.as_millis() as u64 / 2), Relaxed);
}

/// Writes the session's interval line if one is due; gives the time until the next one.
fn until_line(ledger: &Ledger, record: &Record, now: u64) -> Duration {
    let Some(every) = ledger.access.interval(record) else { return Duration::MAX };
    let logged_at = &record.rounds.logged_at;
    let last = logged_at.load(Relaxed);
    let since = Duration::from_millis(now.saturating_sub(last));
    if last > 0 && since < every {
        return every - since;
    }
    logged_at.store(now, Relaxed);
    if last != 0 {
        ledger.access.write(Kind::Interval, record, None);
    }
    every
}

/// Holds it against a backend that it leaves a client without an answer for too long, while it does.
fn blame_silence(record: &Record) {
    let Some(silent) = record.tally.unanswered_for() else { return };
    let (pool, backend) = {
        let progress = record.progress();
        (progress.pool.clone(), progress.backend.clone())
    };
    if let (Some(pool), Some(backend)) = (pool, backend)
        && pool.first_byte_within().is_some_and(|within| silent > within)
        && record.tally.witness()
    {
        pool.witness(&backend, false);
    }
}

/// How long until a session may pass a limit. While a backend is being reached, only the session's own counts.
///
/// # Errors
/// The limit that it has passed.
fn left(record: &Record) -> Result<Duration, Cause> {
    let limits = &record.listener.timeouts;
    let within = |limit: Option<Duration>, spent: Duration, cause| match limit {
        Some(limit) if spent >= limit => Err(cause),
        Some(limit) => Ok(limit - spent),
        None => Ok(Duration::MAX),
    };
    let session = within(limits.session(), record.started().elapsed(), Cause::SessionLimit)?;
    if record.tally.connected().is_none() {
        return Ok(session);
    }
    let idle_for = record.idle_for();
    let closing = record.tally.has_finished(Direction::Up) || record.tally.has_finished(Direction::Down);
    let half_closed = within(limits.half_closed().filter(|_| closing), idle_for, Cause::HalfClosedTimeout)?;
    let idle = match &record.progress().pool {
        Some(pool) => pool.idle(limits.idle()),
        None => limits.idle(),
    };
    Ok(session.min(half_closed).min(within(idle, idle_for, Cause::Idle)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_process_makes_nobody_idle() {
        let start = Instant::now();
        let mut clock = RoundsClock { now: 1, read_at: start };
        assert_eq!(clock.advance(start + Duration::from_millis(250)), 251);
        assert_eq!(clock.advance(start + Duration::from_secs(30)), 1251);
    }
}
