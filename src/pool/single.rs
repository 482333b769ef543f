//! `single_active`: sessions on one backend at a time, held by one atomic that all workers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::BackendId;

/// Who has the sessions of a pool, and how many there are.
///
/// The snapshot says which backend should have them; this says which one has. A backend gets its first session only
/// when the last one of another has ended, whatever each worker believes.
#[derive(Debug, Default)]
pub(super) struct Single(Arc<AtomicU64>);

/// A session's part in the hold; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Hold(Arc<AtomicU64>);

/// The low half counts sessions, the high half says whose they are; with a count of 0 it says nothing.
const COUNT: u64 = u32::MAX as u64;

impl Single {
    /// Joins the sessions of `backend`, unless another has some.
    pub(super) fn join(&self, backend: BackendId) -> Option<Hold> {
        let whose = u64::from(backend.0) << 32;
        let one_more = |held: u64| match held & COUNT {
            0 => Some(whose | 1),
            COUNT => None,
            _ => (held & !COUNT == whose).then_some(held + 1),
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok().map(|_| Hold(self.0.clone()))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_waits_for_the_last_session_of_the_one_before() {
        let single = Single::default();
        let (a, b) = (BackendId(0), BackendId(7));
        let held = [single.join(a), single.join(a)];
        assert!(held.iter().all(Option::is_some));
        assert!(single.join(b).is_none());
        let [first, second] = held;
        drop(first);
        assert!(single.join(b).is_none());
        drop(second);
        let other = single.join(b);
        assert!(other.is_some() && single.join(a).is_none());
    }

    #[test]
    fn threads_never_hold_two_at_once() {
        let single = Single::default();
        let held = [AtomicU64::new(0), AtomicU64::new(0)];
        let run = |me: usize| {
            for _ in 0..20_000 {
                let Some(hold) = single.join(BackendId(me as u32)) else { continue };
                held[me].fetch_add(1, Ordering::SeqCst);
                assert_eq!(held[1 - me].load(Ordering::SeqCst), 0);
                held[me].fetch_sub(1, Ordering::SeqCst);
                drop(hold);
            }
        };
        std::thread::scope(|scope| {
            (0..4).for_each(|n| {
                drop(scope.spawn({
                    let run = &run;
                    move || run(n % 2)
                }))
            })
        });
    }
}
