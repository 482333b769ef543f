//! What sessions show of a backend, for those who judge it. Written by all workers, without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Counts of good and bad sessions. Each session counts at most once; those that show nothing do not.
#[derive(Debug, Default)]
pub struct Evidence {
    in_a_row: AtomicU32,
    good: AtomicU64,
    bad: AtomicU64,
}

impl Evidence {
    /// It served a session.
    pub fn good(&self) {
        self.good.fetch_add(1, Relaxed);
        // Nearly always zero already: a read costs the other workers nothing.
        if self.in_a_row.load(Relaxed) > 0 {
            self.in_a_row.store(0, Relaxed);
        }
    }

    /// It failed a session.
    pub fn bad(&self) {
        self.bad.fetch_add(1, Relaxed);
        self.in_a_row.fetch_add(1, Relaxed);
    }

    /// Failures since the last success, and all good and bad sessions.
    pub fn read(&self) -> (u32, u64, u64) {
        (self.in_a_row.load(Relaxed), self.good.load(Relaxed), self.bad.load(Relaxed))
    }

    /// Starts the row of failures anew: behind the name is another address.
    pub fn forget(&self) {
        self.in_a_row.store(0, Relaxed);
    }
}
