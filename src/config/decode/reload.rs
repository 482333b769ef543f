//! `reload`: how changes take effect.

use std::time::Duration;

use super::super::plan::{Guard, Reload};
use super::super::scalar;
use super::super::section::Section;
use super::Decoder;

impl Decoder<'_, '_> {
    pub(super) fn reload(&self) -> Reload {
        let reload = self.root.section("reload");
        Reload {
            watch: reload.value("watch", scalar::boolean),
            debounce: reload.value("debounce", scalar::duration),
            guard: guard(&reload),
        }
    }
}

/// `guard`: off, a span, or all of it.
fn guard(reload: &Section<'_>) -> Option<Guard> {
    let found = reload.find("guard").filter(|_| !reload.is_off("guard"))?;
    if found.node.entries().is_none() {
        return scalar::duration(found.node).ok().map(|span| Guard { span, ..Guard::default() });
    }
    let guard = reload.section("guard");
    Some(Guard {
        span: guard.value::<Duration, _>("for", scalar::duration),
        failures_over: guard.value("failures_over", scalar::factor),
        p99_over: guard.value("p99_over", scalar::factor),
        min_events: guard.value("min_events", scalar::count),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::super::parse;
    use super::*;
    use crate::config::fixture::CATALOGUE;

    fn reload(text: &str) -> Reload {
        let text = format!(
            "{text}\nlisteners: {{ l: {{ bind: '127.0.0.1:1', pool: p }} }}\npools: {{ p: {{ backends: 'h:1' }} }}\n"
        );
        parse("t.yaml", &text, &CATALOGUE, &|_| None).unwrap().reload
    }

    #[test]
    fn a_guard_has_a_short_form_and_a_long_one() {
        let silent = Reload { watch: true, debounce: Duration::from_millis(500), guard: None };
        assert_eq!((reload(""), reload("reload: { guard: off }")), (silent, silent));
        let ten = Guard { span: Duration::from_secs(10), ..Guard::default() };
        assert_eq!(reload("reload: { guard: 10s }").guard, Some(ten));
        assert_eq!(reload("reload: { guard: {} }").guard, Some(Guard::default()));
        let all = reload("reload: { guard: { for: 5s, failures_over: 1.5x, p99_over: 3x, min_events: 7 } }").guard;
        let expected = Guard { span: Duration::from_secs(5), failures_over: 1.5, p99_over: 3.0, min_events: 7 };
        assert_eq!(all, Some(expected));
    }

    #[test]
    fn watching_can_be_turned_off() {
        assert!(!reload("reload: { watch: false, debounce: 2s }").watch);
    }
}
