//! Log sinks: lines handed over without waiting, written by a thread of their own.
//!
//! A full disk, a closed pipe or a reader that is stuck costs lines, never time: what does not fit
//! in the queue is dropped and counted, and so is what cannot be written.

mod line;
mod output;
mod short;
mod timestamp;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use line::{Form, Line};
use output::Output;
pub use short::Short;
pub use timestamp::{Rfc3339, rfc3339};

/// Bytes that may wait for a sink, those in its thread's hands included: some 2 000 lines, several
/// tenths of a second of a very busy proxy. Beyond it lines are dropped; a larger queue would only
/// make a stuck sink cost more memory.
const QUEUE: usize = 1024 * 1024;
/// A buffer that has grown past this is given back once it is written.
const KEEP: usize = 64 * 1024;
/// After a failing write, so that a full disk costs a few calls a second and not a processor.
const PAUSE: Duration = Duration::from_millis(20);
/// After a write: lines that come meanwhile are written together, and nobody has to wake the thread for each of them. A line
/// that comes alone is written at once.
const REST: Duration = Duration::from_millis(20);
/// Bytes that wait no longer, so that a rest costs no line.
const URGENT: usize = QUEUE / 8;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
}

/// One sink. Dropping it lets its thread write what waits, and end.
#[derive(Debug)]
pub struct Sink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is something to do for the thread, or something was done by it.
    changed: Condvar,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// The thread rests: lines are not worth waking it for until there are many.
    resting: bool,
    /// Someone waits until all is written.
    hurried: usize,
    /// The thread has taken lines, or a wish to open the file again, and is not done with it.
    busy: bool,
    /// Bytes of the lines that it has taken.
    in_hand: usize,
    reopen: bool,
    closing: bool,
}

impl Sink {
    /// Opens the target and starts its thread. Lines that are lost are added to `dropped`.
    ///
    /// # Errors
    /// The file cannot be opened, or there is no thread to be had.
    pub fn open(target: Target, dropped: Arc<AtomicU64>) -> io::Result<Self> {
        let output = Output::open(target)?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), dropped });
        let of_thread = shared.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || of_thread.write_all(output))?;
        Ok(Self(shared))
    }

    /// Queues one line, which ends with a newline. Never waits for the sink.
    pub fn write(&self, line: &[u8]) {
        let mut state = self.0.lock();
        if state.in_hand + state.waiting.len() + line.len() > QUEUE {
            self.0.dropped.fetch_add(1, Relaxed);
            return;
        }
        let before = state.waiting.len();
        state.waiting.extend_from_slice(line);
        let full = before < URGENT && state.waiting.len() >= URGENT;
        let wakes = if state.resting { full } else { before == 0 };
        drop(state);
        if wakes {
            self.0.changed.notify_all();
        }
    }

    /// Opens a file again by its name, after someone moved it. If that fails the old one stays in use.
    pub fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.changed.notify_all();
    }

    /// Waits until all that was queued is written or given up, at most `within`; says whether it was.
    pub fn flush(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        let mut state = self.0.lock();
        state.hurried += 1;
        self.0.changed.notify_all();
        let is_done = loop {
            if !state.busy && state.waiting.is_empty() && !state.reopen {
                break true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break false;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.hurried -= 1;
        is_done
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.lock().closing = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: takes whatever waits, writes it, until the sink is dropped.
    fn write_all(&self, mut output: Output) {
        let mut batch = Vec::new();
        let mut failing = false;
        while let Some(reopen) = self.take(&mut batch) {
            if reopen {
                self.dropped.fetch_add(output.reopen(), Relaxed);
            }
            let result = output.write(&batch);
            if let Err(lost) = &result {
                self.dropped.fetch_add(lost.lines, Relaxed);
            }
            self.report(&output, &result, &mut failing);
            batch.clear();
            batch.shrink_to(KEEP);
            if failing {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Waits for lines; says whether to open the file again first. `None` is the end.
    fn take(&self, batch: &mut Vec<u8>) -> Option<bool> {
        let mut state = self.lock();
        let has_written = state.busy;
        (state.busy, state.in_hand) = (false, 0);
        if state.hurried > 0 {
            self.changed.notify_all();
        }
        if has_written {
            state = self.rest(state);
        }
        while state.waiting.is_empty() && !state.reopen {
            if state.closing {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.waiting, batch);
        (state.busy, state.in_hand) = (true, batch.len());
        Some(std::mem::take(&mut state.reopen))
    }

    /// Lets lines gather for a while, unless there are many or someone waits for them.
    fn rest<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let end = Instant::now() + REST;
        state.resting = true;
        while state.waiting.len() < URGENT && state.hurried == 0 && !state.reopen && !state.closing {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.resting = false;
        state
    }

    /// Says once that a sink fails, and once that it works again. If it is the program log's own, the
    /// line waits in its queue like any other.
    fn report(&self, output: &Output, result: &Result<(), output::Lost>, failing: &mut bool) {
        let dropped = self.dropped.load(Relaxed);
        match result {
            Err(lost) if !*failing => {
                tracing::warn!(sink = %output.name(), error = %lost.error, "log lines are being dropped");
            }
            Ok(()) if *failing => tracing::info!(sink = %output.name(), dropped, "log lines are written again"),
            _ => {}
        }
        *failing = result.is_err();
    }
}

#[cfg(test)]
mod tests;
