//! `connect`: how a backend is reached.

use std::time::Duration;

use super::super::plan::{Backoff, Connect, Hedge, RetryBudget};
use super::super::scalar;
use super::super::section::{Section, is_word};
use super::super::tree::Node;
use super::super::units::format_duration;
use super::{Decoder, small};

impl<'a> Decoder<'a, '_> {
    pub(super) fn connect(&mut self, section: &Section<'a>) -> Connect {
        let timeout = section.value("timeout", scalar::duration);
        let attempts = section.value("attempts", small);
        Connect {
            timeout,
            attempts,
            deadline: section.value("deadline", scalar::duration),
            retry_budget: retry_budget(&section.section("retry_budget")),
            backoff: self.backoff(&section.section("backoff")),
            hedge_after: self.hedge_after(section, timeout, attempts),
        }
    }

    fn backoff(&mut self, backoff: &Section<'a>) -> Backoff {
        let (base, max) = (backoff.value("base", scalar::duration), backoff.value("max", scalar::duration));
        if base > max {
            let found = backoff.find("base").or_else(|| backoff.find("max"));
            let (at, path) = found.map_or((backoff.at, backoff.path.clone()), |found| (found.node.at, found.path));
            let show = format_duration;
            self.report.error(at, &path, format!("`base`, {}, is longer than `max`, {}", show(base), show(max)));
        }
        Backoff { base, max }
    }

    /// `hedge_after`, refused where no hedge would ever start.
    fn hedge_after(&mut self, section: &Section<'a>, timeout: Duration, attempts: u32) -> Option<Hedge> {
        let found = section.find("hedge_after")?;
        let hedge = section.optional("hedge_after", hedge)?;
        // Both may come from `defaults`, and only one of the two be wrong there.
        let place = |name| section.find(name).map(|found| found.node.at);
        if attempts < 2 {
            let at = place("attempts").map_or_else(String::new, |at| format!(" at {}", self.report.show(at)));
            let message = format!(
                "a hedge is a second attempt, and `attempts`{at} is {attempts}: make it at least 2, or this `off`"
            );
            self.report.error(found.node.at, &found.path, message);
        }
        if let Hedge::After(after) = hedge
            && after >= timeout
        {
            let at = place("timeout").map_or_else(String::new, |at| format!(" at {}", self.report.show(at)));
            let message = format!(
                "a hedge after {} would never start: an attempt ends at its `timeout`{at}, {}; make this shorter, or `off`",
                format_duration(after),
                format_duration(timeout)
            );
            self.report.error(found.node.at, &found.path, message);
        }
        Some(hedge)
    }
}

fn retry_budget(section: &Section<'_>) -> RetryBudget {
    RetryBudget {
        share: section.value("share", scalar::share),
        min_per_second: section.value("min", scalar::rate) as f64,
    }
}

/// When a hedge starts, if not `off`.
fn hedge(node: &Node) -> Result<Hedge, String> {
    if is_word(node, &["p95"]) { Ok(Hedge::P95) } else { scalar::duration(node).map(Hedge::After) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::super::plan::Pool;
    use super::super::super::{Catalogue, Errors, PolicyKind, Takes, parse};
    use super::*;

    const CATALOGUE: Catalogue =
        Catalogue { policies: &[PolicyKind { name: "round_robin", summary: "", takes: Takes::Nothing }] };

    fn connect(text: &str) -> Result<Connect, Errors> {
        let text = format!(
            "listeners: {{ l: {{ bind: '127.0.0.1:1', pool: p }} }}
pools: {{ p: {{ backends: 'h:1', connect: {{ {text} }} }} }}
"
        );
        parse("t.yaml", &text, &CATALOGUE, &|_| None).map(|plan| pool(plan.pools).connect)
    }

    fn pool(pools: Vec<Pool>) -> Pool {
        pools.into_iter().next().unwrap()
    }

    #[test]
    fn when_a_hedge_starts() {
        let after = |ms| Some(Hedge::After(Duration::from_millis(ms)));
        for (text, expected) in [
            ("", None),
            ("hedge_after: off", None),
            ("hedge_after: { off: }", None),
            ("hedge_after: p95", Some(Hedge::P95)),
            ("hedge_after: { p95: {} }", Some(Hedge::P95)),
            ("hedge_after: 50ms", after(50)),
            ("hedge_after: 50ms, attempts: 2", after(50)),
            ("hedge_after: 1999ms", after(1999)),
            ("hedge_after: 5s, timeout: 6s", after(5000)),
            ("hedge_after: p95, timeout: 1ms", Some(Hedge::P95)),
            ("hedge_after: off, attempts: 1", None),
        ] {
            assert_eq!(connect(text).unwrap().hedge_after, expected, "{text}");
        }
    }

    #[test]
    fn a_hedge_that_would_never_start_is_refused() {
        for text in [
            "hedge_after: 50ms, attempts: 1",
            "hedge_after: p95, attempts: 1",
            "hedge_after: 2s",
            "hedge_after: 3s",
            "hedge_after: 1s, timeout: 1s",
        ] {
            let errors = connect(text).unwrap_err();
            assert!(errors.iter().all(|error| error.path == "pools.p.connect.hedge_after"), "{errors}");
            assert_eq!(errors.iter().count(), 1, "{errors}");
        }
    }

    #[test]
    fn each_part_of_the_retry_budget_has_a_default() {
        let budget = |text: &str| connect(text).unwrap().retry_budget;
        let silent = RetryBudget { share: 0.2, min_per_second: 10.0 };
        assert_eq!(budget(""), silent);
        assert_eq!(budget("retry_budget: {}"), silent);
        assert_eq!(budget("retry_budget: { share: 0.5% }"), RetryBudget { share: 0.005, ..silent });
        assert_eq!(budget("retry_budget: { min: 0/s }"), RetryBudget { min_per_second: 0.0, ..silent });
    }
}
