//! Who of those that are well serves: all if too few are, one tier, or one backend.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use super::Keeper;
use crate::backend::Backend;
use crate::config::plan::{self, Failback};
use crate::metrics::BackendState;
use crate::pool::seat::Seat;
use crate::pool::tiers::Moved;

impl Keeper {
    /// Whether so few are up that all are used; says when that changes.
    pub(super) fn fails_open(&self, settings: &plan::Pool) -> bool {
        let counted = self.seats.iter().filter(|seat| !seat.is_out_of_service());
        // Those that were not probed yet speak neither against themselves nor against the probes.
        let may_be_up = |seat: &Seat| matches!(seat.state, BackendState::Up | BackendState::Unknown);
        let (all, up) = counted.fold((0, 0), |(all, up), seat| (all + 1, up + usize::from(may_be_up(seat))));
        let opens = (up as f64) < settings.health.fail_open_below * f64::from(all);
        if self.pool.fail_open.swap(opens, Relaxed) != opens {
            match opens {
                true => tracing::warn!(pool = %self.pool.name, up, of = all, "too few backends are up: all are used"),
                false => {
                    tracing::info!(pool = %self.pool.name, up, of = all, "enough backends are up again: only those are used")
                }
            }
        }
        opens
    }

    /// Takes the use from tiers that are better than the one that serves: they stand by until failback.
    pub(super) fn serve_one_tier(&mut self, settings: &plan::Pool, mut usable: Vec<bool>) -> Vec<bool> {
        let tiers = self.fit_tiers(settings, &usable);
        let best = tiers.first().copied();
        let before = self.tiers.serving();
        let still = before.is_some_and(|serving| tiers.contains(&serving));
        let moved = match self.go_back.take().filter(|tier| before.is_some_and(|serving| *tier < serving)) {
            Some(_) => self.tiers.go_back(best),
            None => self.tiers.look(best, still, settings.failback),
        };
        let failed_back = moved.is_some_and(Moved::is_failback);
        if let Some(Moved { from, to }) = moved {
            match failed_back {
                true => tracing::info!(pool = %self.pool.name, from, to, "a better tier serves again"),
                false => {
                    tracing::warn!(pool = %self.pool.name, from, to, "a worse tier serves: nothing better is usable")
                }
            }
        }
        let Some(serving) = self.tiers.serving() else { return usable };
        for (seat, usable) in self.seats.iter_mut().zip(&mut usable) {
            seat.relieved = seat.spec.tier > serving && (seat.relieved || failed_back);
            // One that is on trial in a better tier gets the sessions that it is tried with.
            let tried = settings.failback == Failback::Auto && seat.outlier.is_on_trial();
            *usable &= seat.spec.tier >= serving || tried;
        }
        usable
    }

    /// The tiers that could serve: those with a backend that is up. Where none is, those with one that gets sessions
    /// all the same; a tier that is down or on trial does not take over from one that works.
    fn fit_tiers(&self, settings: &plan::Pool, usable: &[bool]) -> BTreeSet<u8> {
        // With `single_active` a trial needs the whole of the pool's sessions.
        let sound =
            |seat: &Seat| seat.state == BackendState::Up || settings.single_active && seat.outlier.is_on_trial();
        let seats = || self.seats.iter().zip(usable).filter(|(_, usable)| **usable).map(|(seat, _)| seat);
        let fit: BTreeSet<u8> = seats().filter(|seat| sound(seat)).map(|seat| seat.spec.tier).collect();
        if fit.is_empty() { seats().map(|seat| seat.spec.tier).collect() } else { fit }
    }

    /// With `single_active`: takes the use from all but one, which keeps it for as long as it can.
    pub(super) fn serve_one_backend(&mut self, settings: &plan::Pool, usable: Vec<bool>) -> Vec<bool> {
        if !settings.single_active {
            self.active = None;
            return usable;
        }
        let serving = self.tiers.serving();
        let fits = |seat: &Seat| Some(seat.spec.tier) == serving;
        let candidates = || {
            self.seats
                .iter()
                .zip(&usable)
                .filter(|(seat, usable)| **usable && fits(seat))
                .map(|(seat, _)| &seat.backend)
        };
        let stays = self.active.as_ref().filter(|active| candidates().any(|backend| backend.id == active.id));
        let next = stays.or_else(|| candidates().next()).cloned();
        if let (Some(before), Some(next)) = (&self.active, &next)
            && before.id != next.id
        {
            tracing::warn!(pool = %self.pool.name, from = %before.name, to = %next.name, "another backend is to have the sessions");
        }
        self.tell_rivals(settings, next.as_deref());
        // While nobody is usable the last one is remembered: its sessions may go on.
        self.active = next.or(self.active.take());
        let id = self.active.as_ref().map(|active| active.id);
        self.seats.iter().zip(usable).map(|(seat, usable)| usable && Some(seat.backend.id) == id).collect()
    }

    /// Two that claim to be primary is an error of theirs; the one that has the sessions keeps them.
    fn tell_rivals(&mut self, settings: &plan::Pool, active: Option<&Backend>) {
        let primary = settings.health.probe.as_ref().and_then(plan::Probe::role) == Some(plan::Role::Primary);
        let claims = |seat: &&Seat| primary && seat.state == BackendState::Up;
        let names: Vec<&str> = self.seats.iter().filter(claims).map(|seat| &*seat.spec.name).collect();
        let rivals = names.len() > 1;
        if rivals && !self.rivals {
            let uses = active.map_or("none", |active| &*active.name);
            tracing::error!(pool = %self.pool.name, claim = names.join(" "), uses, "more than one backend claims to be the primary; only one is used");
        } else if self.rivals && !rivals {
            tracing::info!(pool = %self.pool.name, "no longer more than one backend claims to be the primary");
        }
        self.rivals = rivals;
    }
}
