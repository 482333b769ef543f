//! Judging backends: by what probes and sessions have shown of them, and by what operators say.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time;

use super::{GATHER, Keeper, LOOK};
use crate::backend::LastProbe;
use crate::health::outlier::{Change, Reading, has_room};
use crate::health::{Report, Standing};
use crate::metrics::{BackendState, ProbeResult};
use crate::pool::overrides::{Forced, Override};
use crate::pool::seat::Seat;

impl Keeper {
    /// Has what has come in taken into account soon.
    pub(super) fn gather(&mut self) {
        self.due.get_or_insert_with(|| time::Instant::now() + GATHER);
    }

    /// Takes in what operators have said and what probes and sessions have shown.
    pub(super) fn take_news(&mut self) {
        self.due = None;
        let said = self.read_overrides();
        let shown = self.judge_sessions() | self.judged;
        if shown || said {
            self.publish();
        }
        if said {
            self.watch();
        }
    }

    /// Takes over what operators say of the backends; says whether that changed.
    pub(super) fn read_overrides(&mut self) -> bool {
        let mut changed = false;
        for seat in self.seats.iter_mut() {
            let over = self.tools.overrides.of(&self.pool.name, &seat.spec.name);
            if over == seat.over {
                continue;
            }
            changed = true;
            let enables = |over: &Override| over.forced == Some(Forced::Enable);
            if over.as_ref().is_some_and(enables) {
                // Enabling one is also how an operator goes back to its tier, and forgives what sessions have shown.
                self.go_back = Some(self.go_back.map_or(seat.spec.tier, |tier| tier.min(seat.spec.tier)));
                seat.outlier.pardon();
                seat.backend.evidence.forget();
            }
            seat.over = over;
        }
        changed
    }

    pub(super) fn look(&mut self) {
        let (counts, _) = self.pool.cells.connect.read();
        let p95 = self.connect_times.next(self.pool.cells.connect.bounds(), &counts, 0.95);
        self.pool.connect_p95.store(p95.map_or(0, |span| span.as_nanos() as u64), Relaxed);
        // Suspicion ends by itself, and then there may be room.
        self.pool.serve_queue();
        let judged = self.judge_sessions();
        // A trial lets in one more each time, so that one session that says nothing does not hold it up.
        let on_trial = self.seats.iter().any(|seat| seat.outlier.is_on_trial());
        if judged || on_trial || self.stale || self.is_rising() {
            self.publish();
        }
    }

    /// Whether a slow start goes on.
    fn is_rising(&self) -> bool {
        let settings = self.pool.settings();
        // The weights of a table of keys do not rise, and it is dear.
        let slow_start = if settings.policy.hash.is_some() { Duration::ZERO } else { settings.slow_start };
        // One more look than there is left to rise, so that the last step is to the whole.
        let rising = |seat: &Seat| seat.recovered.is_some_and(|at| at.elapsed() < slow_start + 2 * LOOK);
        !slow_start.is_zero() && self.seats.iter().any(rising)
    }

    /// Judges backends by what sessions have shown of them; says whether a verdict has changed.
    fn judge_sessions(&mut self) -> bool {
        let settings = self.pool.settings();
        let Some(passive) = &settings.health.passive else { return false };
        let (now, all) = (self.epoch.elapsed(), self.seats.len());
        let mut ejected = self.seats.iter().filter(|seat| seat.outlier.is_ejected()).count();
        let mut up = self.seats.iter().filter(|seat| seat.state == BackendState::Up).count();
        let mut changed = false;
        for seat in self.seats.iter_mut() {
            let (in_a_row, good, bad) = seat.backend.evidence.read();
            let (was_up, was_out) = (seat.state == BackendState::Up, seat.outlier.is_ejected());
            // One that is down or drained gets no sessions anyway, and would only take the room of one that does.
            let may_eject = was_out || was_up && up > 1 && has_room(ejected, all, passive.max_ejected);
            let change = seat.outlier.look(Reading { in_a_row, good, bad }, passive, now, may_eject);
            changed |= change.is_some();
            match change {
                Some(Change::Ejected { span, why }) => {
                    ejected += usize::from(!was_out);
                    up -= usize::from(was_up);
                    seat.backend.cells.ejections.inc();
                    seat.ejected_for = format!("{why}; ejected for {span:?}");
                    if seat.state == BackendState::Ejected {
                        tracing::warn!(pool = %self.pool.name, backend = %seat.spec.name, reason = seat.ejected_for, "backend ejected again");
                    }
                }
                Some(Change::OnTrial) => {
                    tracing::info!(pool = %self.pool.name, backend = %seat.spec.name, "ejected backend is on trial");
                }
                Some(Change::Returned) | None => {}
            }
        }
        changed
    }

    /// Takes in how a probe went.
    pub(super) fn take_report(&mut self, report: Report) {
        let settings = self.pool.settings();
        let health = &settings.health;
        let Some(seat) = self.seats.of(report.id) else { return };
        let Some(tracker) = &mut seat.tracker else { return };
        let last = Arc::new(last_probe(&report));
        seat.backend.cells.probes[last.result as usize].inc();
        seat.backend.cells.probe_duration.store(last.took.as_nanos() as u64, Relaxed);
        // What this machine lacks shows nothing of the backend.
        let changed = match last.result {
            ProbeResult::Local => None,
            result => tracker.observe(result == ProbeResult::Ok, health.rise, health.fall),
        };
        if changed == Some(Standing::Up) {
            // What was held against a server that was down says nothing about one that is up.
            seat.backend.observe_success();
            seat.backend.evidence.forget();
            seat.outlier.absolve();
        }
        let in_transition = tracker.in_transition();
        self.stale |= seat.backend.last_probe().and_then(|before| before.error.clone()) != last.error;
        seat.backend.note_probe(Some(last));
        self.monitor.again(report.id, in_transition);
        if changed.is_some() {
            self.judged = true;
            self.gather();
        }
    }
}

fn last_probe(report: &Report) -> LastProbe {
    let (result, error) = match &report.result {
        Ok(()) => (ProbeResult::Ok, None),
        Err(error) => (error.result, Some(error.words.as_str().into())),
    };
    LastProbe { result, error, took: report.took, at: report.at }
}
