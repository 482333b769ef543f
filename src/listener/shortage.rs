//! Accepts that fail: of what kind they are, and how long to wait before the next one.

use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::time::sleep;

use super::ListenerLive;
use crate::metrics::AcceptError;

/// The pause after the first failing accept; doubled while it goes on failing.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// Long enough not to spin, short enough to accept within a second of relief.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// After an accept that failed for the client's reasons.
const ABORTED_PAUSE: Duration = Duration::from_millis(1);
/// Between warnings of one loop: a shortage fails many accepts, with successes between them.
const WARNINGS: Duration = Duration::from_secs(10);

/// What one accept loop remembers of accepts that failed.
#[derive(Debug)]
pub(super) struct Shortage {
    pause: Duration,
    warned: Option<Instant>,
}

impl Default for Shortage {
    fn default() -> Self {
        Self { pause: SHORTEST_PAUSE, warned: None }
    }
}

impl Shortage {
    /// An accept has succeeded.
    pub(super) fn is_over(&mut self) {
        self.pause = SHORTEST_PAUSE;
    }

    /// Counts a failing accept, and waits if waiting helps.
    pub(super) async fn wait(&mut self, listener: &ListenerLive, error: &io::Error) {
        let class = classify(error);
        let cells = &listener.cells;
        cells.accept_errors[class as usize].inc();
        if class == AcceptError::Aborted {
            // A client that left costs nothing. But a machine that forbids accepting says the same,
            // again and again, and that must not spin.
            sleep(ABORTED_PAUSE).await;
            self.pause = SHORTEST_PAUSE;
            return;
        }
        if self.warned.is_none_or(|at| at.elapsed() > WARNINGS) {
            self.warned = Some(Instant::now());
            tracing::warn!(listener = %listener.name, class = class.as_str(), %error, "cannot accept; trying again");
        }
        sleep(self.pause).await;
        cells.accept_paused.add(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// Tells a shortage of ours from a client that left.
pub(crate) fn classify(error: &io::Error) -> AcceptError {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => AcceptError::Descriptors,
        Some(Errno::NOBUFS | Errno::NOMEM) => AcceptError::Memory,
        // accept(2) passes on pending network errors of the new socket; all of these are the client's.
        Some(
            Errno::CONNABORTED
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::PERM
            | Errno::INTR,
        ) => AcceptError::Aborted,
        _ => AcceptError::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_left_is_not_a_shortage() {
        let class = |errno: Errno| classify(&io::Error::from(errno));
        assert_eq!(class(Errno::MFILE), AcceptError::Descriptors);
        assert_eq!(class(Errno::NOBUFS), AcceptError::Memory);
        assert_eq!(class(Errno::CONNABORTED), AcceptError::Aborted);
        assert_eq!(class(Errno::INVAL), AcceptError::Other);
    }
}
