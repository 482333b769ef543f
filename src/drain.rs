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

/// Spreads `total` endings evenly over `span`: how many are due when `elapsed` has passed.
///
/// The last is due a little before the end, the first right at the start, so that a herd of
/// clients does not come back as one.
pub fn due(total: usize, elapsed: Duration, span: Duration) -> usize {
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
            let mut last = 0;
            for part in 0..=parts {
                let now = due(total, span * part / parts, span);
                prop_assert!(now >= last && now <= total);
                prop_assert!(now - last <= total / parts as usize + 2, "a herd of {}", now - last);
                last = now;
            }
            prop_assert_eq!(last, total);
            prop_assert_eq!(due(total, span, span), total);
        }
    }
}
