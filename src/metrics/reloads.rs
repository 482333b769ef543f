//! What is counted of configurations that were loaded.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Counter, ReloadResult};

/// Reloads since start. The configuration of the start is not a reload, but is one that was loaded.
#[derive(Debug)]
pub struct Reloads {
    results: [Counter; ReloadResult::ALL.len()],
    failed_last: AtomicBool,
    loaded_at: AtomicU64,
}

impl Reloads {
    /// Nothing reloaded yet, in a process whose configuration was loaded at `at`.
    pub fn new(at: SystemTime) -> Self {
        Self { results: Default::default(), failed_last: AtomicBool::new(false), loaded_at: AtomicU64::new(unix(at)) }
    }

    /// Counts a reload that ended at `at`.
    pub fn count(&self, result: ReloadResult, at: SystemTime) {
        self.results[result as usize].inc();
        self.failed_last.store(result != ReloadResult::Ok, Relaxed);
        if result == ReloadResult::Ok {
            self.loaded_at.store(unix(at), Relaxed);
        }
    }

    /// Notes that the files hold what is in force again, so that nothing is left of a reload that failed. It is no reload.
    pub fn settle(&self) {
        self.failed_last.store(false, Relaxed);
    }

    /// Reloads with this result.
    pub fn of(&self, result: ReloadResult) -> u64 {
        self.results[result as usize].get()
    }

    /// Whether the last configuration that was tried is in force, or the files hold again the one that is.
    pub fn last_succeeded(&self) -> bool {
        !self.failed_last.load(Relaxed)
    }

    /// When the configuration in force was loaded, seconds since 1970.
    pub fn loaded_at(&self) -> u64 {
        self.loaded_at.load(Relaxed)
    }
}

fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_rejected_configuration_leaves_the_time_of_the_good_one() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let reloads = Reloads::new(at(5));
        reloads.count(ReloadResult::Rejected, at(9));
        assert_eq!((reloads.last_succeeded(), reloads.loaded_at(), reloads.of(ReloadResult::Rejected)), (false, 5, 1));
        reloads.settle();
        assert_eq!((reloads.last_succeeded(), reloads.loaded_at(), reloads.of(ReloadResult::Ok)), (true, 5, 0));
        reloads.count(ReloadResult::Ok, at(12));
        assert_eq!((reloads.last_succeeded(), reloads.loaded_at(), reloads.of(ReloadResult::Ok)), (true, 12, 1));
    }
}
