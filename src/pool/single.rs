//! `single_active`: sessions on one backend at a time, held by one atomic that all workers share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use crate::backend::BackendId;

/// Who has the sessions of a pool, and how many there are.
///
/// The snapshot says which backend should have them; this says which one has. A backend gets its first session only
/// when the last one of another has ended, whatever each worker believes.
#[derive(Debug)]
pub(super) struct Single {
    held: Arc<AtomicU64>,
    /// [`FREE`], [`SHUT`], or the backend that may be joined.
    confined: AtomicU64,
}

/// Which backend newcomers may join while other processes have sessions of the same pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confined {
    /// Any, one at a time: there are no other processes.
    Free,
    /// None: another process has sessions that have to end first.
    Shut,
    /// This one alone, as all processes have agreed.
    To(BackendId),
}

/// A session's part in the hold; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Hold(Arc<AtomicU64>);

/// The low half counts sessions, the high half says whose they are; with a count of 0 it says nothing.
const COUNT: u64 = u32::MAX as u64;
/// Beyond all ids of backends.
const FREE: u64 = u64::MAX;
const SHUT: u64 = u64::MAX - 1;

impl Default for Single {
    fn default() -> Self {
        Self { held: Arc::default(), confined: AtomicU64::new(FREE) }
    }
}

impl Single {
    /// Joins the sessions of `backend`, unless another has some, or it may not be joined.
    pub(super) fn join(&self, backend: BackendId) -> Option<Hold> {
        let whose = u64::from(backend.0) << 32;
        let one_more = |held: u64| match held & COUNT {
            0 => Some(whose | 1),
            COUNT => None,
            _ => (held & !COUNT == whose).then_some(held + 1),
        };
        let hold = self.held.fetch_update(SeqCst, SeqCst, one_more).ok().map(|_| Hold(self.held.clone()))?;
        // In this order, and [`Self::confine`] in the other: either this sees what is confined, or whoever confines it
        // sees this session.
        match self.confined() {
            Confined::Free => Some(hold),
            Confined::To(other) if other == backend => Some(hold),
            Confined::To(_) | Confined::Shut => None,
        }
    }

    /// Whose the sessions are, if there are any.
    pub(super) fn holder(&self) -> Option<BackendId> {
        let held = self.held.load(SeqCst);
        (held & COUNT > 0).then_some(BackendId((held >> 32) as u32))
    }

    /// Which backend may be joined from now on. Sessions that live stay: ask [`Self::holder`] afterwards.
    pub(super) fn confine(&self, to: Confined) {
        let word = match to {
            Confined::Free => FREE,
            Confined::Shut => SHUT,
            Confined::To(backend) => u64::from(backend.0),
        };
        self.confined.store(word, SeqCst);
    }

    /// Which backend may be joined now.
    pub(super) fn confined(&self) -> Confined {
        match self.confined.load(SeqCst) {
            FREE => Confined::Free,
            SHUT => Confined::Shut,
            backend => Confined::To(BackendId(backend as u32)),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
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
    fn who_is_confined_joins_that_one_alone_and_keeps_what_it_has() {
        let single = Single::default();
        let (a, b) = (BackendId(0), BackendId(7));
        let held = single.join(a).expect("free");
        single.confine(Confined::To(b));
        assert_eq!((single.holder(), single.confined()), (Some(a), Confined::To(b)));
        assert!(single.join(a).is_none() && single.join(b).is_none());
        assert_eq!(single.holder(), Some(a), "who was turned away is not counted");
        drop(held);
        assert_eq!(single.holder(), None);
        assert!(single.join(a).is_none());
        let held = single.join(b).expect("agreed");
        single.confine(Confined::Shut);
        assert!(single.join(b).is_none());
        drop(held);
        single.confine(Confined::Free);
        assert!(single.join(a).is_some());
    }

    /// What other processes are told of who may be joined, and has sessions, holds.
    #[test]
    fn once_confined_no_thread_slips_past_whoever_looks() {
        let single = Single::default();
        let (a, inside) = (BackendId(1), AtomicU64::new(0));
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(SeqCst) {
                        let Some(hold) = single.join(a) else { continue };
                        inside.fetch_add(1, SeqCst);
                        (0..50).for_each(|_| std::hint::spin_loop());
                        inside.fetch_sub(1, SeqCst);
                        drop(hold);
                    }
                });
            }
            for _ in 0..5000 {
                single.confine(Confined::To(a));
                single.confine(Confined::Shut);
                if single.holder().is_none() {
                    assert!((0..50).all(|_| inside.load(SeqCst) == 0));
                }
            }
            stop.store(true, SeqCst);
        });
    }

    #[test]
    fn threads_never_hold_two_at_once() {
        let single = Single::default();
        let held = [AtomicU64::new(0), AtomicU64::new(0)];
        let run = |me: usize| {
            for _ in 0..20_000 {
                let Some(hold) = single.join(BackendId(me as u32)) else { continue };
                held[me].fetch_add(1, SeqCst);
                assert_eq!(held[1 - me].load(SeqCst), 0);
                held[me].fetch_sub(1, SeqCst);
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
