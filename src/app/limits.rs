//! What this process may have open, and how many sessions that allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::StartError;
use crate::relay::MOST_PIPES;

/// Kept free for the admin endpoint, resolving names, opening log files again.
const RESERVE: usize = 16;
/// With an unlimited descriptor limit something else ends first; this is far beyond it.
const UNLIMITED: u64 = 1 << 20;

/// Raises the soft descriptor limit to the hard one, and says what it is now.
pub fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "cannot raise the descriptor limit");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED).min(UNLIMITED) as usize
}

/// How a descriptor limit is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// Sessions: two descriptors each.
    pub(super) sessions: usize,
    /// Pipes a worker: two descriptors each.
    pub(super) pipes: usize,
}

/// Shares out `limit` descriptors of which `open` are in use already.
pub(super) fn budget(limit: usize, open: usize, workers: usize) -> Budget {
    let pipes = (limit / 32 / workers).clamp(1, MOST_PIPES);
    let spoken_for = open + RESERVE + pipes * workers * 2;
    Budget { sessions: (limit.saturating_sub(spoken_for) / 2).max(1), pipes }
}

/// Descriptors in use now.
pub(super) fn open_descriptors() -> usize {
    // One of them is the directory that is being read.
    std::fs::read_dir("/proc/self/fd").map_or(32, |entries| entries.count().saturating_sub(1))
}

/// Whether a process that has `open` descriptors in use already can serve anybody: with less it would start, and then
/// answer neither clients nor those who ask what is the matter.
///
/// # Errors
/// `limit` is less than that.
pub(super) fn suffices(limit: usize, open: usize, workers: usize) -> Result<(), StartError> {
    let fewest = open + RESERVE + 2 * workers + 2;
    if limit < fewest { Err(StartError::Descriptors { limit, fewest }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_and_pipes_never_need_more_than_there_is() {
        for (limit, open, workers) in [(64, 24, 2), (1024, 40, 4), (20_000, 30, 2), (1 << 20, 5000, 64)] {
            let budget = budget(limit, open, workers);
            assert!(
                budget.sessions * 2 + budget.pipes * workers * 2 + open + RESERVE <= limit,
                "{budget:?} of {limit}"
            );
            assert!(budget.sessions >= limit / 20, "{budget:?} of {limit}");
        }
    }

    #[test]
    fn what_is_enough_has_room_for_a_session() {
        for (open, workers) in [(24, 1), (24, 2), (300, 64)] {
            let enough = |limit: usize| suffices(limit, open, workers).is_ok();
            let fewest = (0..2000).find(|limit| enough(*limit)).unwrap_or_default();
            let Budget { sessions, pipes } = budget(fewest, open, workers);
            assert!(sessions == 1 && open + RESERVE + 2 * (pipes * workers + sessions) <= fewest, "{fewest}");
        }
    }

    #[test]
    fn a_hopeless_limit_still_serves_someone() {
        assert_eq!(budget(10, 20, 2).sessions, 1);
    }
}
