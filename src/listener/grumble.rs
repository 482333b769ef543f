//! Complaints about clients, at a bounded rate: whoever can connect could else fill a disk.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Between two complaints of one listener.
const PAUSE: Duration = Duration::from_secs(10);

/// When the next complaint may be said.
#[derive(Debug)]
pub struct Grumble {
    made: Instant,
    /// Milliseconds after `made`.
    quiet_until: AtomicU64,
    unsaid: AtomicU64,
}

impl Grumble {
    /// One that may speak at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { made: now, quiet_until: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }

    /// Whether a complaint may be said `now`; if so, how many were not since the last one.
    pub fn may_say(&self, now: Instant) -> Option<u64> {
        let now = now.saturating_duration_since(self.made).as_millis() as u64;
        let until = self.quiet_until.load(Relaxed);
        let next = now + PAUSE.as_millis() as u64;
        if now >= until && self.quiet_until.compare_exchange(until, next, Relaxed, Relaxed).is_ok() {
            return Some(self.unsaid.swap(0, Relaxed));
        }
        self.unsaid.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_and_a_number() {
        let start = Instant::now();
        let grumble = Grumble::new(start);
        let said: Vec<_> = (0..25).filter_map(|second| grumble.may_say(start + Duration::from_secs(second))).collect();
        assert_eq!(said, [0, 9, 9]);
    }
}
