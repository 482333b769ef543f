//! What listeners count, and the sessions that they let in.

use super::reading::OfListener;
use crate::admission::Gate;
use crate::metrics::families as f;
use crate::metrics::{AcceptError, Direction, Page};

pub(super) fn of_listeners(page: &mut Page, listeners: &[OfListener<'_>], gate: &Gate) {
    let mut connections = page.family(f::LISTENER_CONNECTIONS);
    for listener in listeners {
        connections.sample(&listener.labels, &[], listener.census.connections);
    }
    let mut active = page.family(f::LISTENER_ACTIVE);
    for listener in listeners {
        active.sample(&listener.labels, &[], listener.census.active);
    }
    let mut limit = page.family(f::LISTENER_LIMIT);
    for listener in listeners {
        let own = listener.live.entrance.limit().unwrap_or(usize::MAX);
        limit.sample(&listener.labels, &[], own.min(gate.limit()));
    }
    let mut refused = page.family(f::LISTENER_REFUSED);
    for listener in listeners {
        for (reason, count) in &listener.census.refused {
            refused.sample(&listener.labels, &[reason.as_str()], count);
        }
    }
    let mut errors = page.family(f::LISTENER_ACCEPT_ERRORS);
    for listener in listeners {
        for class in AcceptError::ALL {
            let count = listener.live.cells.accept_errors[*class as usize].get();
            errors.sample(&listener.labels, &[class.as_str()], count);
        }
    }
    let paused: f64 = listeners.iter().map(|listener| listener.live.cells.accept_paused.get()).sum();
    page.single(f::ACCEPT_PAUSED, paused);
}

pub(super) fn of_sessions(page: &mut Page, listeners: &[OfListener<'_>]) {
    let mut closed = page.family(f::SESSIONS_CLOSED);
    for listener in listeners {
        for route in &listener.census.routes {
            for ((cause, side, phase), count) in &route.closed {
                let rest = [&*route.pool, cause.as_str(), side.as_str(), phase.as_str()];
                closed.sample(&listener.labels, &rest, count);
            }
        }
    }
    let mut durations = page.family(f::SESSION_DURATION);
    for listener in listeners {
        durations.histogram(&listener.labels, &listener.live.cells.duration);
    }
    let mut bytes = page.family(f::SESSION_BYTES);
    for listener in listeners {
        // A session that has no pool yet has passed nothing on.
        for route in listener.census.routes.iter().filter(|route| !route.pool.is_empty()) {
            for direction in Direction::ALL {
                let rest = [&*route.pool, direction.as_str()];
                bytes.sample(&listener.labels, &rest, route.cells.bytes.total(*direction));
            }
        }
    }
}
