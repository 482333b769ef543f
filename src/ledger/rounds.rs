//! The rounds: a worker looks over its sessions a few times a second and ends those past a limit.
//!
//! This is all the timing a living session costs: no timer of its own, nothing to re-arm when bytes move. Whoever is looked at
//! is told when it may be past something at the earliest, and until then a round only passes it by. A reload may change that,
//! and then all are looked at.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval};

use super::{Kind, Ledger, Record, SessionId, Shard};
use crate::metrics::{Cause, Direction};
use crate::net::LASTING;
use crate::relay::Workbench;

/// Between rounds: limits act at most this much late, and idle ones up to [`crate::relay::IdleClock::LONGEST_STEP`] more.
const ROUND: Duration = Duration::from_millis(250);

/// Looks over the sessions of `worker` for as long as the process lives.
pub async fn rounds(ledger: Arc<Ledger>, bench: Arc<Workbench>) {
    let shard = &ledger.shards[bench.worker()];
    let clock = bench.idle_clock();
    // One worker makes its rounds once.
    let _ = shard.clock.set(clock.clone().into());
    let mut ticks = interval(ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut revision, mut since_tidy) = (Instant::now(), 0, 0);
    loop {
        ticks.tick().await;
        let at = Instant::now();
        bench.look(at);
        let (is_whole, rest) = clock.advance(at.duration_since(before));
        before = at - rest;
        let revised = ledger.revision.load(Acquire);
        // Where time was left out, what was due by another clock came nearer.
        if std::mem::replace(&mut revision, revised) != revised || !is_whole {
            shard.lock().set_all_due();
        }
        let round = Round { ledger: &ledger, shard, now: clock.now(), on_time: !bench.was_held_up(at) };
        round.make().await;
        since_tidy = (since_tidy + 1) % 4;
        if since_tidy == 0 {
            bench.tidy();
        }
    }
}

/// One look over all.
struct Round<'a> {
    ledger: &'a Ledger,
    shard: &'a Shard,
    now: u64,
    /// Whether the worker was not held up, so that what seems to have taken long has.
    on_time: bool,
}

impl Round<'_> {
    async fn make(self) {
        let mut after: Option<SessionId> = None;
        if !self.shard.lock().is_due(self.now) {
            return;
        }
        loop {
            let (due, last) = self.shard.lock().due(after, self.now);
            if last.is_none() {
                return;
            }
            after = last;
            let next: Vec<_> = due.iter().map(|record| (record.id, self.due_after(self.look(record)))).collect();
            self.shard.lock().set_due(next);
            yield_now().await;
        }
    }

    /// Rounds do not come to the millisecond; one too early does no harm.
    fn due_after(&self, left: Duration) -> u64 {
        let left = left.saturating_sub(ROUND / 2);
        self.now.saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    /// Ends one session if it is past a limit, and writes its interval line if one is due. Gives how long there can be
    /// nothing else to do about it.
    fn look(&self, record: &Record) -> Duration {
        if record.tally.is_paced() {
            // Whoever waits for us to move its bytes is not idle.
            record.tally.stir(self.now);
        }
        let left = self.left(record).unwrap_or_else(|cause| {
            record.stop.ask(cause);
            ROUND
        });
        let line = until_line(self.ledger, record, self.now);
        left.min(line).min(until_lasting(record)).min(if self.on_time { until_blamed(record) } else { ROUND })
    }

    /// How long until a session may pass a limit. While a backend is being reached, only the session's own counts; and what
    /// would count from now on counts for its whole length.
    ///
    /// # Errors
    /// The limit that it has passed.
    fn left(&self, record: &Record) -> Result<Duration, Cause> {
        let limits = &record.listener.timeouts;
        let session = within(limits.session(), record.started().elapsed(), Cause::SessionLimit)?;
        if record.tally.connected().is_none() {
            return Ok(session.min(ROUND));
        }
        let idle_for = self.ledger.idle_for(record);
        let closing = record.tally.has_finished(Direction::Up) || record.tally.has_finished(Direction::Down);
        let half_closed_for = if closing { idle_for } else { Duration::ZERO };
        let half_closed = within(limits.half_closed(), half_closed_for, Cause::HalfClosedTimeout)?;
        let idle = match &record.progress().pool {
            Some(pool) => pool.idle(limits.idle()),
            None => limits.idle(),
        };
        Ok(session.min(half_closed).min(within(idle, idle_for, Cause::Idle)?))
    }
}

/// What is left of a limit; without one, more than there is.
///
/// # Errors
/// It is passed.
fn within(limit: Option<Duration>, spent: Duration, cause: Cause) -> Result<Duration, Cause> {
    match limit {
        Some(limit) if spent >= limit => Err(cause),
        Some(limit) => Ok(limit - spent),
        None => Ok(Duration::MAX),
    }
}

/// Writes the session's interval line if one is due; gives the time until the next one.
fn until_line(ledger: &Ledger, record: &Record, now: u64) -> Duration {
    let Some(every) = ledger.access.interval(record) else { return Duration::MAX };
    let logged_at = &record.logged_at;
    let last = logged_at.load(Relaxed);
    let since = Duration::from_millis(now.saturating_sub(last));
    if last > 0 && since < every {
        return every - since;
    }
    logged_at.store(now, Relaxed);
    if last != 0 {
        ledger.access.write(Kind::Interval, record, None, record.started().elapsed());
    }
    every
}

/// Tells a session that it lasts, once it does; gives how long it does not yet.
fn until_lasting(record: &Record) -> Duration {
    let Some(age) = record.tally.connected_for() else { return ROUND };
    if age < LASTING {
        return LASTING - age;
    }
    if record.tally.lasts() {
        record.stop.nudge();
    }
    Duration::MAX
}

/// Holds it against a backend that it leaves a client without an answer for too long, while it does; gives how long it
/// cannot be blamed for that.
fn until_blamed(record: &Record) -> Duration {
    let (pool, backend) = {
        let progress = record.progress();
        (progress.pool.clone(), progress.backend.clone())
    };
    let (Some(pool), Some(backend)) = (pool, backend) else { return ROUND };
    let Some(within) = pool.first_byte_within() else { return Duration::MAX };
    match record.tally.unanswered_for() {
        Some(silent) if silent <= within => within - silent,
        Some(_) => {
            if record.tally.witness() {
                pool.witness(&backend, false);
            }
            Duration::MAX
        }
        None if record.tally.bytes(Direction::Down) > 0 => Duration::MAX,
        // It may be asked from now on.
        None => within,
    }
}
