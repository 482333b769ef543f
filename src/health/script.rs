//! `script`: it says what is expected when told what is sent.

use std::sync::Arc;

use super::line::MOST_SEEN;
use super::{Checking, Line, Probe, ProbeError};
use crate::config::plan::{Pattern, Step};
use crate::wire::{legible, quoted};

/// See the module.
#[derive(Debug)]
pub(super) struct Script(pub(super) Arc<[Step]>);

impl Probe for Script {
    fn check<'a>(&'a self, line: &'a mut Line) -> Checking<'a> {
        Box::pin(async move {
            for (index, step) in self.0.iter().enumerate() {
                let done = match step {
                    Step::Send(bytes) => line.send(bytes).await,
                    Step::Expect(bytes) => expect(line, bytes).await,
                    Step::ExpectMatch(pattern) => expect_match(line, pattern).await,
                };
                done.map_err(|error| ProbeError { words: format!("step {}: {error}", index + 1), ..error })?;
            }
            Ok(())
        })
    }
}

/// What comes next must begin with `expected`; fails at the first byte that differs, without waiting for more.
async fn expect(line: &mut Line, expected: &[u8]) -> Result<(), ProbeError> {
    loop {
        let seen = line.seen();
        let length = seen.len().min(expected.len());
        if seen[..length] != expected[..length] {
            return Err(ProbeError::unexpected(format!("expected {}, got {}", quoted(expected), quoted(seen))));
        }
        if length == expected.len() {
            line.take(length);
            return Ok(());
        }
        if !line.more().await? {
            let closed = line.closed();
            return Err(ProbeError { words: format!("expected {}, but {closed}", quoted(expected)), ..closed });
        }
    }
}

/// What has come must match. A pattern is tried each time that more is there, so one that can match less than it could
/// is content with it.
async fn expect_match(line: &mut Line, pattern: &Pattern) -> Result<(), ProbeError> {
    loop {
        if let Some(found) = pattern.0.find(line.seen()) {
            let end = found.end();
            line.take(end);
            return Ok(());
        }
        if line.seen().len() >= MOST_SEEN {
            let words = format!("{} matches nothing in the first {} KiB of answer", shown(pattern), MOST_SEEN / 1024);
            return Err(ProbeError::unexpected(words));
        }
        if !line.more().await? {
            let closed = line.closed();
            return Err(ProbeError { words: format!("expected {}, but {closed}", shown(pattern)), ..closed });
        }
    }
}

/// A pattern may hold bytes that cannot be shown.
pub(super) fn shown(pattern: &Pattern) -> String {
    legible(&format!("{pattern:?}"))
}

#[cfg(test)]
mod tests;
