//! Whether a new configuration makes things worse: a pure comparison of two readings.

use std::time::Duration;

use crate::config::plan::Guard;

/// A share of failures so small that it proves nothing, whatever it was before: one in a hundred.
const FEW: f64 = 0.01;
/// Fewer failures than these are a coincidence, however few attempts there were.
const LEAST_FAILURES: u64 = 5;
/// With nothing to compare with, this share of failures is worse than anything.
const MOST: f64 = 0.5;
/// A connect time that grew by less is not worth a return.
const UNNOTICED: Duration = Duration::from_millis(5);

/// What was counted in some span of time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    bounds: &'static [f64],
    /// Connections that succeeded, by the bound of their time that they were within; the last are beyond all bounds.
    connects: Vec<u64>,
    /// Attempts that failed by a backend's fault.
    pub(super) failures: u64,
    /// Sessions that no backend could be found for.
    pub(super) no_backend: u64,
}

/// What the comparison says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Judgement {
    /// No worse than allowed.
    Good,
    /// Worse; why, in words.
    Worse(String),
    /// Too little happened.
    TooFew,
}

impl Reading {
    /// Nothing yet, with connect times counted by these bounds.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, connects: vec![0; bounds.len() + 1], failures: 0, no_backend: 0 }
    }

    /// Adds what a histogram's cumulative counts have grown by.
    pub(super) fn add_connects(&mut self, now: &[u64], before: &[u64]) {
        let grown = |index: usize| now[index].saturating_sub(before.get(index).copied().unwrap_or_default());
        let mut below = 0;
        for index in 0..self.connects.len().min(now.len()) {
            let upto = grown(index);
            self.connects[index] += upto.saturating_sub(below);
            below = upto.max(below);
        }
    }

    /// What was counted since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let connects = self.connects.iter().zip(&earlier.connects).map(|(now, then)| now.saturating_sub(*then));
        Self {
            bounds: self.bounds,
            connects: connects.collect(),
            failures: self.failures.saturating_sub(earlier.failures),
            no_backend: self.no_backend.saturating_sub(earlier.no_backend),
        }
    }

    /// Attempts and sessions that could not make one.
    pub(super) fn events(&self) -> u64 {
        self.connects.iter().sum::<u64>() + self.failed()
    }

    fn failed(&self) -> u64 {
        self.failures + self.no_backend
    }

    fn share_failed(&self) -> f64 {
        self.failed() as f64 / self.events().max(1) as f64
    }

    /// The time that 99 of 100 connections took at most: the upper bound of its bucket, and twice the last bound beyond.
    fn p99(&self) -> Option<Duration> {
        let total: u64 = self.connects.iter().sum();
        let rank = (total as f64 * 0.99).ceil() as u64;
        let mut upto = 0;
        let place = self.connects.iter().position(|count| {
            upto += count;
            total > 0 && upto >= rank
        })?;
        let beyond = self.bounds.last().copied().unwrap_or_default() * 2.0;
        Some(Duration::from_secs_f64(self.bounds.get(place).copied().unwrap_or(beyond)))
    }
}

/// Whether things are worse after than before, by more than `guard` allows.
pub(super) fn judge(before: &Reading, after: &Reading, guard: &Guard) -> Judgement {
    if after.events() < guard.min_events {
        return Judgement::TooFew;
    }
    let comparable = before.events() >= guard.min_events;
    let (was, is) = (before.share_failed(), after.share_failed());
    let allowed = if comparable { (was * guard.failures_over).max(FEW) } else { MOST };
    if is > allowed && after.failed() >= LEAST_FAILURES {
        let percent = |share: f64| (share * 1000.0).round() / 10.0;
        let compared =
            if comparable { format!("{}% before", percent(was)) } else { "too little to compare with before".into() };
        return Judgement::Worse(format!("{}% of attempts to reach a backend fail, {compared}", percent(is)));
    }
    match (before.p99().filter(|_| comparable), after.p99()) {
        (Some(was), Some(is)) if is > was.mul_f64(guard.p99_over) && is - was > UNNOTICED => {
            Judgement::Worse(format!("99% of connections take up to {is:?}, {was:?} before"))
        }
        _ => Judgement::Good,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: &[f64] = &[0.001, 0.01, 0.1, 1.0];

    fn reading(connects: [u64; 5], failures: u64, no_backend: u64) -> Reading {
        Reading { connects: connects.into(), failures, no_backend, ..Reading::new(BOUNDS) }
    }

    fn guard() -> Guard {
        Guard::default()
    }

    fn is_worse(before: &Reading, after: &Reading) -> bool {
        matches!(judge(before, after, &guard()), Judgement::Worse(_))
    }

    #[test]
    fn failures_beyond_the_threshold_are_worse() {
        let before = reading([990, 0, 0, 0, 0], 10, 0);
        assert_eq!(judge(&before, &reading([980, 0, 0, 0, 0], 20, 0), &guard()), Judgement::Good);
        assert!(is_worse(&before, &reading([970, 0, 0, 0, 0], 20, 10)));
        let dead = judge(&before, &reading([0; 5], 60, 0), &guard());
        assert_eq!(dead, Judgement::Worse("100% of attempts to reach a backend fail, 1% before".into()));
    }

    #[test]
    fn a_few_failures_of_few_are_a_coincidence() {
        let before = reading([1000, 0, 0, 0, 0], 0, 0);
        assert!(!is_worse(&before, &reading([46, 0, 0, 0, 0], 4, 0)));
        assert!(is_worse(&before, &reading([45, 0, 0, 0, 0], 5, 0)));
        assert!(!is_worse(&before, &reading([2000, 0, 0, 0, 0], 20, 0)), "one in a hundred");
    }

    #[test]
    fn slow_connects_are_worse_when_one_notices() {
        let before = reading([100, 0, 0, 0, 0], 0, 0);
        assert!(is_worse(&before, &reading([90, 0, 10, 0, 0], 0, 0)));
        assert!(is_worse(&before, &reading([90, 0, 0, 0, 10], 0, 0)));
        assert!(!is_worse(&before, &reading([1000, 0, 0, 0, 1], 0, 0)), "one in a thousand");
        let fine = [0.001, 0.002, 0.004, 0.005];
        let fine: &'static [f64] = Box::leak(Box::new(fine));
        let of = |connects: [u64; 5]| Reading { connects: connects.into(), ..Reading::new(fine) };
        assert!(!is_worse(&of([100, 0, 0, 0, 0]), &of([0, 0, 0, 100, 0])), "five times, but only by four milliseconds");
    }

    #[test]
    fn with_nothing_to_compare_only_the_plain_case_is_worse() {
        let nothing = reading([0; 5], 0, 0);
        assert!(is_worse(&nothing, &reading([10, 0, 0, 0, 0], 60, 0)));
        assert!(!is_worse(&nothing, &reading([60, 0, 0, 0, 40], 40, 0)));
    }

    #[test]
    fn histograms_are_taken_apart() {
        let mut reading = Reading::new(BOUNDS);
        reading.add_connects(&[1, 3, 3, 6, 10], &[0, 1, 1, 1, 2]);
        assert_eq!(reading.connects, [1, 1, 0, 3, 3]);
        assert_eq!(reading.events(), 8);
    }

    fn readings() -> impl Strategy<Value = Reading> {
        (prop::array::uniform5(0u64..500), 0u64..200, 0u64..200).prop_map(|(c, f, n)| reading(c, f, n))
    }

    proptest! {
        #[test]
        fn the_same_again_is_never_worse(reading in readings()) {
            prop_assert!(!is_worse(&reading, &reading));
        }

        #[test]
        fn more_failures_never_make_it_better(before in readings(), after in readings(), more in 0u64..100) {
            let further = Reading { failures: after.failures + more, ..after.clone() };
            // Slow connects may be outvoted by nothing: they stay as slow.
            prop_assert!(!is_worse(&before, &after) || is_worse(&before, &further));
        }

        #[test]
        fn too_little_is_too_little(before in readings(), after in readings()) {
            let few = after.events() < guard().min_events;
            prop_assert_eq!(judge(&before, &after, &guard()) == Judgement::TooFew, few);
        }

        #[test]
        fn a_laxer_guard_never_finds_it_worse(before in readings(), after in readings(), lax in 1.0f64..10.0) {
            let laxer = Guard { failures_over: 2.0 * lax, p99_over: 2.0 * lax, ..guard() };
            let worse = matches!(judge(&before, &after, &laxer), Judgement::Worse(_));
            prop_assert!(!worse || is_worse(&before, &after));
        }

        #[test]
        fn what_was_counted_since_adds_up(first in readings(), more in readings()) {
            let connects: Vec<u64> = first.connects.iter().zip(&more.connects).map(|(a, b)| a + b).collect();
            let failures = first.failures + more.failures;
            let second = Reading { connects, failures, no_backend: first.no_backend + more.no_backend, ..first.clone() };
            prop_assert_eq!(second.since(&first), more);
        }
    }
}
