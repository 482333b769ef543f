//! Lines that a child writes, collected by a thread and waited for.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What one pipe of a child has said so far.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<(Mutex<Heard>, Condvar)>);

#[derive(Default)]
struct Heard {
    lines: Vec<String>,
    closed: bool,
}

impl Lines {
    /// Collects `from` until it ends.
    pub(super) fn of(from: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let shared = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                shared.0.0.lock().unwrap().lines.push(line);
                shared.0.1.notify_all();
            }
            shared.0.0.lock().unwrap().closed = true;
            shared.0.1.notify_all();
        });
        lines
    }

    /// All lines so far.
    pub(super) fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    /// Waits until `look` finds what it looks for; `None` when time is up or the pipe ended without it.
    pub(super) fn wait<T>(&self, within: Duration, mut look: impl FnMut(&[String]) -> Option<T>) -> Option<T> {
        let end = Instant::now() + within;
        let mut heard = self.0.0.lock().unwrap();
        loop {
            if let Some(found) = look(&heard.lines) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if heard.closed || left.is_zero() {
                return None;
            }
            heard = self.0.1.wait_timeout(heard, left).unwrap().0;
        }
    }
}
