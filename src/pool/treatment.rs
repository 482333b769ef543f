//! What is to happen to the sessions of a backend, given what it is now. Pure.
//!
//! It follows from the state alone, and not from the way there: whatever changes, a backend that is used like any
//! other has nobody ending its sessions.

use super::overrides::Forced;
use super::seat::Seat;
use crate::config::plan::{self, OnChange};
use crate::metrics::{BackendState, Cause};
use std::time::Duration;

/// What happens to sessions, and what they end of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Treatment {
    pub(super) how: OnChange,
    pub(super) cause: Cause,
    /// Those that begin later are left alone.
    pub(super) spares_newcomers: bool,
}

impl Treatment {
    /// Sessions go on.
    pub(super) const KEEP: Self = Self { how: OnChange::Keep, cause: Cause::BackendDown, spares_newcomers: false };

    fn new(how: OnChange, cause: Cause) -> Self {
        match how {
            OnChange::Keep => Self::KEEP,
            how => Self { how, cause, spares_newcomers: false },
        }
    }
}

/// What happens to the sessions of the backend of `seat`; `fail_open` is whether all backends are used.
pub(super) fn treatment(seat: &Seat, settings: &plan::Pool, fail_open: bool) -> Treatment {
    let on_down = settings.health.on_down;
    match seat.state {
        // Who says that probes may be wrong must not believe them here: those that are down get sessions too.
        BackendState::Down if fail_open => Treatment::KEEP,
        BackendState::Down => Treatment::new(on_down, Cause::BackendDown),
        BackendState::Draining => Treatment::new(drained_by_hand(seat), Cause::Killed),
        // It will not have sessions while another has some.
        BackendState::Disabled if settings.single_active => Treatment::new(on_down, Cause::Removed),
        BackendState::Ejected if settings.single_active && !seat.outlier.is_on_trial() => {
            Treatment::new(on_down, Cause::BackendDown)
        }
        // It may still be spilled over to, and those sessions belong there; with `single_active` it may not.
        _ if seat.relieved && settings.on_failback != OnChange::Keep => {
            Treatment { how: settings.on_failback, cause: Cause::Removed, spares_newcomers: !settings.single_active }
        }
        _ => Treatment::KEEP,
    }
}

fn drained_by_hand(seat: &Seat) -> OnChange {
    match seat.over.as_ref().and_then(|over| over.forced) {
        Some(Forced::Drain { within_ms: Some(millis) }) => OnChange::Drain(Duration::from_millis(millis)),
        Some(Forced::Drain { within_ms: None } | Forced::Enable) | None => OnChange::Keep,
    }
}
