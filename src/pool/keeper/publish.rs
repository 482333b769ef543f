//! Publishing: from what is known of each backend to what sessions choose from.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Keeper;
use crate::balance::Member;
use crate::config::plan::{self, Failback};
use crate::connect::Secure;
use crate::metrics::BackendState;
use crate::pool::orders::Order;
use crate::pool::seat::Seat;
use crate::pool::treatment::{Treatment, treatment};
use crate::pool::{SeatFacts, ramp};

impl Keeper {
    /// Makes what is known what sessions choose from, and says what has changed.
    pub(super) fn publish(&mut self) {
        let settings = self.pool.settings();
        (self.judged, self.stale) = (false, false);
        self.seats.iter_mut().for_each(|seat| settle(&self.pool.name, seat));
        let fail_open = self.fails_open(&settings);
        let usable: Vec<bool> = self.seats.iter().map(|seat| may_serve(seat, fail_open)).collect();
        let usable = self.serve_one_tier(&settings, usable);
        let usable = self.serve_one_backend(&settings, usable);
        let (members, facts) =
            self.seats.iter().zip(&usable).map(|(seat, usable)| self.seat(seat, *usable, &settings)).unzip();
        // Who is accepted from here on may have chosen from the new snapshot.
        let since = Instant::now();
        self.pool.publish(facts, members);
        self.order(&settings, fail_open, since);
    }

    /// A seat as sessions and operators see it.
    fn seat(&self, seat: &Seat, usable: bool, settings: &plan::Pool) -> (Member, SeatFacts) {
        let weight = match settings.policy.hash {
            // A table of keys is made of configured weights alone, so that it moves only with them.
            Some(_) => seat.weight(),
            None => {
                let up_for = seat.recovered.map_or(Duration::MAX, |at| at.elapsed());
                ramp::weight(seat.weight(), up_for, settings.slow_start)
            }
        };
        let trial = seat.outlier.is_on_trial().then(|| seat.backend.active() + 1);
        let limits = seat.spec.max_connections.into_iter().chain(trial);
        let member = Member { backend: seat.backend.clone(), weight, usable, max_connections: limits.min() };
        let (_, reason) = seat.judge();
        let facts = SeatFacts {
            address: seat.spec.address.to_string(),
            // Each seat's own: two of one host name ask apart, and one may have an answer and the other none.
            targets: seat.targets(),
            secure: self.secure(seat, settings),
            state: seat.state,
            since: seat.since,
            reason: self.standing_by(seat, usable, settings).unwrap_or(reason),
            weight: seat.weight(),
            tier: seat.spec.tier,
            zone: seat.spec.zone.clone(),
            local: self.tools.zone.is_none() || seat.spec.zone == self.tools.zone,
            over: seat.over.clone(),
        };
        (member, facts)
    }

    /// How TLS is spoken with it, if it is.
    pub(super) fn secure(&self, seat: &Seat, settings: &plan::Pool) -> Option<Arc<Secure>> {
        let tls = settings.tls.as_ref()?;
        self.pool.tls.secure(tls.server_name.as_ref(), &seat.spec.address)
    }

    /// Why one that is up gets no sessions all the same.
    fn standing_by(&self, seat: &Seat, usable: bool, settings: &plan::Pool) -> Option<String> {
        if usable || seat.state != BackendState::Up {
            return None;
        }
        let waits = self.tiers.serving().is_some_and(|serving| seat.spec.tier < serving);
        if waits && settings.failback == Failback::Manual {
            return Some("standing by: `failback` is manual, so enable it to go back".into());
        }
        let active = self.active.as_ref().map_or("another one", |active| &*active.name);
        Some(match self.rivals {
            true => format!("claims to be the primary as well; {active} has the sessions"),
            false => format!("standing by: {active} has the sessions"),
        })
    }

    /// Orders what is to happen to sessions, of those backends where that has changed.
    fn order(&mut self, settings: &plan::Pool, fail_open: bool, since: Instant) {
        for seat in self.seats.iter_mut() {
            let treatment = treatment(seat, settings, fail_open);
            if treatment == std::mem::replace(&mut seat.treated, treatment) {
                continue;
            }
            let Treatment { how, cause, spares_newcomers } = treatment;
            // Nobody obeys any more when the process is ending.
            let backend = seat.backend.clone();
            let _ = self.tools.orders.send(Order { backend, how, cause, spares_newcomers, since });
        }
    }
}

/// Makes a backend what all that is known of it amounts to. Each change is one line and one count.
fn settle(pool: &str, seat: &mut Seat) {
    let (state, reason) = seat.judge();
    if state == seat.state {
        return;
    }
    let (from, first) = (seat.state, !seat.settled);
    let seconds = seat.changed.elapsed().as_secs_f64();
    let came_up = state == BackendState::Up && !first;
    seat.settled = true;
    seat.recovered = came_up.then(Instant::now);
    (seat.state, seat.since, seat.changed) = (state, SystemTime::now(), Instant::now());
    if first && state == BackendState::Up {
        return;
    }
    seat.backend.cells.transitions[state as usize].inc();
    let (backend, address) = (&*seat.spec.name, seat.spec.address.to_string());
    let probe = seat.backend.last_probe();
    let probe_seconds = probe.map(|probe| probe.took.as_secs_f64());
    match state {
        BackendState::Down | BackendState::Ejected => {
            tracing::warn!(pool, backend, address, %from, to = %state, reason, probe_seconds, seconds_before = seconds, "backend changed");
        }
        _ => {
            tracing::info!(pool, backend, address, %from, to = %state, reason, probe_seconds, seconds_before = seconds, "backend changed");
        }
    }
}

/// Whether sessions may go there, as far as it is about this one alone.
fn may_serve(seat: &Seat, fail_open: bool) -> bool {
    let dialable = !seat.targets().is_empty();
    match seat.state {
        BackendState::Up => dialable,
        BackendState::Ejected => dialable && (seat.outlier.is_on_trial() || fail_open),
        BackendState::Down | BackendState::Unknown => dialable && fail_open,
        BackendState::Draining | BackendState::Disabled => false,
    }
}
