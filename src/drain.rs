//! How the process ends: its stages, and the pace at which sessions are asked to leave.

use std::time::Duration;

use tokio::sync::watch;

/// The stages of a process's life, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not everything is bound yet.
    Starting,
    /// Serving.
    Ready,
    /// Still accepting, but `/readyz` says no, so that balancers in front look elsewhere.
    Leaving,
    /// No longer accepting; sessions finish.
    Draining,
}

/// The current stage; many may wait for a later one.
#[derive(Debug)]
pub struct Lifecycle(watch::Sender<Stage>);

impl Default for Lifecycle {
    fn default() -> Self {
        Self(watch::Sender::new(Stage::Starting))
    }
}

impl Lifecycle {
    /// The stage now.
    pub fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    /// Enters a stage. Stages are never left backwards: an earlier one is ignored.
    pub fn enter(&self, stage: Stage) {
        self.0.send_if_modified(|now| {
            let later = stage > *now;
            *now = (*now).max(stage);
            later
        });
    }

    /// Waits until the stage is `stage` or a later one.
    pub async fn reached(&self, stage: Stage) {
        // Only fails when the sender is gone, and the sender is `self`.
        let _ = self.0.subscribe().wait_for(|now| *now >= stage).await;
    }
}

/// Spreads the endings of sessions evenly over a span, so that a herd of clients does not come back as one. Those that
/// come while it lasts are spread over what is left of it, and after it they end at once.
#[derive(Debug)]
pub struct Pace {
    span: Duration,
    ended: usize,
}

impl Pace {
    /// Over so long; zero is at once.
    pub fn over(span: Duration) -> Self {
        Self { span, ended: 0 }
    }

    /// Over how long.
    pub fn span(&self) -> Duration {
        self.span
    }

    /// How many of those `left` are to end now, when `elapsed` has passed since the first could. They count as ended.
    pub fn due(&mut self, left: usize, elapsed: Duration) -> usize {
        let now = due(self.ended + left, elapsed, self.span).saturating_sub(self.ended);
        self.ended += now;
        now
    }
}

/// How many of `total` endings are due when `elapsed` of `span` has passed: the first right at the start, the last a
/// little before the end.
fn due(total: usize, elapsed: Duration, span: Duration) -> usize {
    if elapsed >= span {
        return total;
    }
    let share = elapsed.as_secs_f64() / span.as_secs_f64();
    ((total as f64 * share) as usize + 1).min(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stages_only_move_forward() {
        let life = Lifecycle::default();
        life.enter(Stage::Leaving);
        life.enter(Stage::Ready);
        assert_eq!(life.stage(), Stage::Leaving);
    }

    proptest! {
        #[test]
        fn endings_are_spread_and_complete(total in 0usize..10_000, span_ms in 1u64..100_000, parts in 1u32..50) {
            let span = Duration::from_millis(span_ms);
            let (mut pace, mut left) = (Pace::over(span), total);
            for part in 0..=parts {
                let now = pace.due(left, span * part / parts);
                prop_assert!(now <= left);
                prop_assert!(now <= total / parts as usize + 2, "a herd of {now}");
                left -= now;
            }
            prop_assert_eq!(left, 0);
        }

        #[test]
        fn whoever_comes_or_leaves_meanwhile_is_spread_too(steps in proptest::collection::vec((0usize..50, 0usize..50), 1..50)) {
            let span = Duration::from_secs(60);
            let (mut pace, mut left) = (Pace::over(span), 1000);
            let count = steps.len() as u32;
            for (step, (come, leave)) in steps.into_iter().enumerate() {
                left = (left + come).saturating_sub(leave);
                let now = pace.due(left, span * step as u32 / count);
                prop_assert!(now <= left);
                left -= now;
            }
            prop_assert_eq!(pace.due(left, span), left);
            prop_assert_eq!(pace.due(7, span * 2), 7, "after the span at once");
        }
    }

    #[test]
    fn no_span_is_at_once() {
        let mut pace = Pace::over(Duration::ZERO);
        assert_eq!((pace.due(5, Duration::ZERO), pace.due(3, Duration::ZERO), pace.due(0, Duration::MAX)), (5, 3, 0));
    }

    #[test]
    fn the_first_ends_right_at_the_start() {
        let span = Duration::from_secs(10);
        let mut pace = Pace::over(span);
        assert_eq!((pace.due(0, Duration::ZERO), pace.due(10, Duration::ZERO), pace.due(9, Duration::ZERO)), (0, 1, 0));
        assert_eq!((pace.due(9, span / 2), pace.due(4, span)), (5, 4));
    }
}
