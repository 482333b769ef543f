//! The secrets of a process that has been given none: they take turns, and go with the process that takes over.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::{KEY, random};

/// A secret of the process's own makes tickets for so long, and is good for as long again: the life of a ticket.
const TURN: Duration = Duration::from_secs(6 * 60 * 60);

/// The secrets of a process that has been given none. A listener keeps them for as long as it lives.
pub struct OwnSecrets(Mutex<Option<Turns>>);

impl OwnSecrets {
    /// None before the first ticket.
    pub fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// For the process that takes over; None if there was no ticket yet.
    pub fn hand_over(&self, now: Instant) -> Option<HandedSecrets> {
        let turns = self.lock();
        let Turns { since, current, before } = turns.as_ref()?;
        let age_seconds = now.saturating_duration_since(*since).as_secs();
        Some(HandedSecrets { current: current.bytes, before: before.as_ref().map(|own| own.bytes), age_seconds })
    }

    /// Goes on with what the process before has made tickets with.
    pub fn take_over(&self, handed: &HandedSecrets, now: Instant) {
        // Before the machine was started there was no turn.
        let since = now.checked_sub(Duration::from_secs(handed.age_seconds)).unwrap_or(now);
        let (current, before) = (OwnSecret::new(handed.current), handed.before.map(OwnSecret::new));
        *self.lock() = Some(Turns { since, current, before });
    }

    /// Those to use at `now`, the one that makes tickets first.
    pub(super) fn at(&self, now: Instant) -> Vec<Secret> {
        let mut turns = self.lock();
        *turns = turns.take().map_or_else(|| Turns::first(now), |turns| turns.go_on(now));
        let all = turns.iter().flat_map(|turns| std::iter::once(&turns.current).chain(&turns.before));
        all.map(|own| own.secret.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Turns>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for OwnSecrets {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for OwnSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnSecrets")
    }
}

/// The same on their way to another process, over a socket that only those two have.
#[derive(Clone, Serialize, Deserialize)]
pub struct HandedSecrets {
    current: [u8; KEY],
    before: Option<[u8; KEY]>,
    /// For how long the current one has made tickets.
    age_seconds: u64,
}

impl fmt::Debug for HandedSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandedSecrets").field("age_seconds", &self.age_seconds).finish_non_exhaustive()
    }
}

/// The secret of this turn, and that of the turn before.
struct Turns {
    since: Instant,
    current: OwnSecret,
    before: Option<OwnSecret>,
}

impl Turns {
    fn first(now: Instant) -> Option<Self> {
        Some(Self { since: now, current: OwnSecret::random()?, before: None })
    }

    fn go_on(self, now: Instant) -> Option<Self> {
        let age = now.saturating_duration_since(self.since);
        if age < TURN {
            return Some(self);
        }
        let next = Self::first(now)?;
        Some(Self { before: (age < 2 * TURN).then_some(self.current), ..next })
    }
}

/// A secret, and the bytes it is made of, which can be handed over.
struct OwnSecret {
    bytes: [u8; KEY],
    secret: Secret,
}

impl OwnSecret {
    fn new(bytes: [u8; KEY]) -> Self {
        Self { bytes, secret: Secret::new(&bytes) }
    }

    /// From the system's randomness, if there is any.
    fn random() -> Option<Self> {
        random().map(Self::new)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use super::super::Binding;
    use super::*;

    #[test]
    fn own_secrets_take_turns() {
        let (own, start) = (OwnSecrets::new(), Instant::now());
        let names = |after: Duration| -> Vec<_> {
            own.at(start + after).iter().map(|secret| secret.name(&Binding::new([])).unwrap()).collect()
        };
        let first = names(Duration::ZERO);
        assert_eq!(first.len(), 1);
        assert_eq!(names(TURN - Duration::from_secs(1)), first);
        let second = names(TURN);
        assert_eq!((second.len(), second[1]), (2, first[0]));
        assert_eq!(names(2 * TURN)[1], second[0]);
        assert_eq!(names(4 * TURN).len(), 1, "nobody came for two turns");
    }

    #[test]
    fn what_is_handed_over_goes_on_where_it_was() {
        let (own, start) = (OwnSecrets::new(), Instant::now());
        assert!(own.hand_over(start).is_none());
        let names = |own: &OwnSecrets, at: Instant| -> Vec<_> {
            own.at(at).iter().map(|secret| secret.name(&Binding::new([])).unwrap()).collect()
        };
        names(&own, start);
        let turn = start + TURN;
        let known = names(&own, turn);
        let later = turn + TURN / 2;
        let handed = own.hand_over(later).unwrap();
        assert_eq!(format!("{handed:?}"), format!("HandedSecrets {{ age_seconds: {}, .. }}", TURN.as_secs() / 2));
        let handed = serde_json::from_str(&serde_json::to_string(&handed).unwrap()).unwrap();
        let heir = OwnSecrets::new();
        heir.take_over(&handed, later);
        assert_eq!(names(&heir, later), known);
        let next = names(&heir, turn + TURN);
        assert_eq!((next.len(), next[1]), (2, known[0]), "its turn ends when it would have");
    }
}
