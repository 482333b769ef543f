//! What many short things have come to.

use std::io;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub struct Tally {
    pub done: u64,
    pub failed: u64,
    pub span: Duration,
    nanos: Vec<u32>,
}

impl Tally {
    pub fn note(&mut self, since: Instant) {
        self.done += 1;
        self.nanos.push(since.elapsed().as_nanos().min(u128::from(u32::MAX)) as u32);
    }

    /// Done a second.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.span.as_secs_f64()
    }

    /// The time that this share of them took at most, microseconds.
    pub fn percentile(&mut self, share: f64) -> f64 {
        if self.nanos.is_empty() {
            return f64::NAN;
        }
        let at = ((self.nanos.len() - 1) as f64 * share) as usize;
        let (_, nanos, _) = self.nanos.select_nth_unstable(at);
        f64::from(*nanos) / 1000.0
    }

    /// Figures of nothing are none.
    pub fn of_something(self) -> io::Result<Self> {
        match self.done {
            0 => Err(io::Error::other(format!("not one was answered, {} failed", self.failed))),
            _ => Ok(self),
        }
    }
}

/// What askers have come to, once they are warm: a quarter second has passed, and each has had an answer.
pub struct Count<F> {
    pub tally: Tally,
    began: Instant,
    counted: Option<Instant>,
    /// Called when it begins to count.
    counting: Option<F>,
    /// Those who have had no answer.
    cold: usize,
    span: Duration,
}

impl<F: FnOnce()> Count<F> {
    /// Of so many askers, for so long.
    pub fn new(askers: usize, span: Duration, counting: F) -> Self {
        let tally = Tally::default();
        Self { tally, began: Instant::now(), counted: None, counting: Some(counting), cold: askers, span }
    }

    /// Somebody who asked at `since` has the answer, the `first` one or another.
    pub fn note(&mut self, since: Instant, first: bool) {
        self.cold -= usize::from(first);
        if self.counted.is_some() {
            self.tally.note(since);
        }
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// Some have waited too long for their first answer.
    pub fn goes_on(&mut self) -> io::Result<bool> {
        if let Some(counted) = self.counted {
            self.tally.span = counted.elapsed();
            return Ok(self.tally.span < self.span);
        }
        let warm = self.cold == 0 && self.began.elapsed() >= Duration::from_millis(250);
        if warm && let Some(counting) = self.counting.take() {
            counting();
            self.counted = Some(Instant::now());
        } else if self.began.elapsed() > super::PATIENCE {
            return Err(io::Error::other(format!("{} sessions had no answer for {:?}", self.cold, super::PATIENCE)));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn nothing_counts_before_each_has_had_an_answer() {
        let counting = Cell::new(false);
        let mut count = Count::new(2, Duration::ZERO, || counting.set(true));
        let then = Instant::now();
        std::thread::sleep(Duration::from_millis(300));
        count.note(then, true);
        assert!(count.goes_on().expect("in time") && !counting.get(), "one is cold");
        count.note(then, true);
        assert!(count.goes_on().expect("in time") && counting.get());
        count.note(then, false);
        assert!(!count.goes_on().expect("in time"), "its span is over");
        assert_eq!(count.tally.done, 1);
    }

    #[test]
    fn a_share_of_spans_is_not_longer_than_its_percentile() {
        let mut tally = Tally { nanos: (1..=1000).rev().map(|micros| micros * 1000).collect(), ..Tally::default() };
        assert_eq!((tally.percentile(0.5), tally.percentile(0.99)), (500.0, 990.0));
        assert!(Tally::default().of_something().is_err());
    }
}
