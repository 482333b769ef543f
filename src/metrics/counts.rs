//! What other processes of this one's generations have counted: their pages, read back and added up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::families::{self, Family, Kind};

/// Samples by family and series, of those families that add up over processes: whatever only rises, and numbers of
/// things that live.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts(BTreeMap<String, BTreeMap<String, Number>>);

/// A sample's value. Sums are exact, whatever their order: a sum of floats could fall by its last digit when another
/// process ends, and whoever reads a counter would take that for a new beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Number {
    /// A count.
    Whole(u64),
    /// Seconds, mostly: in billionths.
    Billionths(u64),
}

/// Names of things that are there now, as labels: samples of a process that has ended are kept for these.
#[derive(Debug, Default)]
pub struct Known(BTreeSet<String>);

impl Number {
    /// Digits behind the point.
    pub(super) const DECIMALS: usize = 9;

    /// Reads what a page has; `None` if it is no number that can be added.
    pub fn read(text: &str) -> Option<Self> {
        let good = |number: &f64| number.is_finite() && *number >= 0.0;
        let broken = || text.parse().ok().filter(good).map(|number| Self::Billionths((number * 1e9).round() as u64));
        text.parse().ok().map(Self::Whole).or_else(broken)
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Self::Whole(one.saturating_add(other)),
            (one, other) => Self::Billionths(one.billionths().saturating_add(other.billionths())),
        }
    }

    /// As a float.
    pub fn value(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Billionths(billionths) => billionths as f64 / 1e9,
        }
    }

    fn billionths(self) -> u64 {
        match self {
            Self::Whole(whole) => whole.saturating_mul(1_000_000_000),
            Self::Billionths(billionths) => billionths,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Billionths(billionths) => {
                let (whole, rest) = (billionths / 1_000_000_000, billionths % 1_000_000_000);
                let rest = format!("{rest:09}");
                match rest.trim_end_matches('0') {
                    "" => whole.fmt(f),
                    rest => write!(f, "{whole}.{rest}"),
                }
            }
        }
    }
}

impl Known {
    /// Adds what these labels name: a listener, a pool, or a pool's backend.
    pub fn add(&mut self, labels: &super::Labels) {
        self.0.insert(labels.text().to_owned());
    }

    fn has(&self, family: &Family, series: &str) -> bool {
        let named = match family.labels {
            ["listener", ..] => 1,
            ["pool", "backend", ..] => 2,
            ["pool", ..] => 1,
            _ => return true,
        };
        first_labels(series, named).is_some_and(|labels| self.0.contains(labels))
    }
}

impl Counts {
    /// Reads a page in Prometheus text. What it does not know it leaves out.
    pub fn read(page: &str) -> Self {
        let mut counts = Self::default();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Some(family) = family_of(series).filter(|family| adds_up(family)) else { continue };
            if let Some(number) = Number::read(value) {
                counts.add_one(family.name, series, number);
            }
        }
        counts
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        for (family, samples) in &other.0 {
            samples.iter().for_each(|(series, number)| self.add_one(family, series, *number));
        }
    }

    /// What is left of it when its process has ended: nothing lives there any more. Sessions that did when it was last
    /// heard of ended with it, by a defect as far as anyone knows, so that what came and what went still add up.
    #[must_use]
    pub fn ended(mut self) -> Self {
        let active = self.0.remove(families::LISTENER_ACTIVE.name).unwrap_or_default();
        self.0.retain(|family, _| !families::LIVING.iter().any(|living| living.name == family));
        for (series, number) in active {
            let Some(listener) = first_labels(&series, 1).filter(|_| number.value() > 0.0) else { continue };
            let closed = families::SESSIONS_CLOSED.name;
            let series = format!("{closed}{{{listener},pool=\"\",cause=\"internal\",side=\"proxy\",phase=\"data\"}}");
            self.add_one(closed, &series, number);
        }
        self
    }

    /// Leaves out what is about listeners, pools and backends that are not there any more.
    pub fn keep_known(&mut self, known: &Known) {
        for (name, samples) in &mut self.0 {
            if let Some(family) = families::ALL.iter().find(|family| family.name == name) {
                samples.retain(|series, _| known.has(family, series));
            }
        }
    }

    /// The sum over a family.
    pub fn total(&self, family: &Family) -> f64 {
        self.0.get(family.name).map_or(0.0, |samples| samples.values().map(|number| number.value()).sum())
    }

    /// The sum over those series of a family that begin with these labels, all of them or the first ones.
    pub fn total_of(&self, family: &Family, labels: &super::Labels) -> u64 {
        let begin = format!("{}{{{}", family.name, labels.text());
        let samples = self.0.get(family.name).map(|samples| samples.range(begin.clone()..));
        let alike = samples.into_iter().flatten().take_while(|(series, _)| series.starts_with(&begin));
        // A label ends where the next begins, or all do: its quotes close it, also where its value holds others.
        let numbers =
            alike.filter(|(series, _)| series[begin.len()..].starts_with([',', '}'])).map(|(_, number)| *number);
        numbers.fold(Number::Whole(0), Number::plus).value() as u64
    }

    /// Takes one series out.
    pub(super) fn take(&mut self, family: &Family, series: &str) -> Option<Number> {
        self.0.get_mut(family.name)?.remove(series)
    }

    /// Takes all that is left of a family.
    pub(super) fn take_all(&mut self, family: &Family) -> BTreeMap<String, Number> {
        self.0.remove(family.name).unwrap_or_default()
    }

    fn add_one(&mut self, family: &str, series: &str, number: Number) {
        if !self.0.contains_key(family) {
            self.0.insert(family.to_owned(), BTreeMap::new());
        }
        let Some(samples) = self.0.get_mut(family) else { return };
        match samples.get_mut(series) {
            Some(sum) => *sum = sum.plus(number),
            None => drop(samples.insert(series.to_owned(), number)),
        }
    }
}

/// Whether samples of several processes make one by adding them.
fn adds_up(family: &Family) -> bool {
    matches!(family.kind, Kind::Counter | Kind::Histogram) || families::LIVING.contains(&family)
}

fn family_of(series: &str) -> Option<&'static Family> {
    let name = series.split('{').next()?;
    let named = |name: &str| families::ALL.iter().find(|family| family.name == name).copied();
    let histogram = || {
        let stem = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix))?;
        named(stem).filter(|family| family.kind == Kind::Histogram)
    };
    named(name).or_else(histogram)
}

/// The text of a series' first `count` labels.
fn first_labels(series: &str, count: usize) -> Option<&str> {
    let (_, labels) = series.split_once('{')?;
    let (mut quotes, mut escaped) = (0, false);
    for (at, byte) in labels.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quotes += 1,
            _ => {}
        }
        if quotes == 2 * count {
            return Some(&labels[..=at]);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use super::super::{Format, Labels, Page};
    use super::*;

    const OLD: &str = "# TYPE x counter\n\
        peerway_listener_connections_total{listener=\"a,\\\"b\"} 7\n\
        peerway_listener_active_connections{listener=\"a,\\\"b\"} 2\n\
        peerway_backend_up{pool=\"p\",backend=\"b\"} 1\n\
        peerway_accept_paused_seconds_total 1.5\n\
        peerway_session_duration_seconds_bucket{listener=\"gone\",le=\"1\"} 3\n\
        peerway_unheard_of_total 4\nnonsense\npeerway_panics_total NaN\n";

    fn page(format: Format, others: Counts) -> String {
        let mut page = Page::beside(format, 0, others);
        let labels = Labels::new(&[("listener", "a,\"b")]);
        page.family(families::LISTENER_CONNECTIONS).sample(&labels, &[], 3);
        page.family(families::LISTENER_ACTIVE).sample(&labels, &[], 1);
        page.single(families::ACCEPT_PAUSED, 0.25);
        page.family(families::SESSION_DURATION);
        page.family(families::BACKEND_UP);
        page.finish()
    }

    #[test]
    fn what_is_counted_of_a_thing_is_not_that_of_one_with_a_longer_name() {
        let page = "peerway_backend_active_connections{pool=\"p\",backend=\"b\"} 1\n\
            peerway_backend_active_connections{pool=\"p\",backend=\"b\\\"}\"} 2\n\
            peerway_backend_active_connections{pool=\"p\",backend=\"bc\"} 4\n\
            peerway_backend_active_connections{pool=\"p2\",backend=\"b\"} 8\n";
        let counts = Counts::read(page);
        let of = |pairs: &[(&'static str, &str)]| counts.total_of(families::BACKEND_ACTIVE, &Labels::new(pairs));
        assert_eq!(of(&[("pool", "p"), ("backend", "b")]), 1);
        assert_eq!(of(&[("pool", "p"), ("backend", "b\"}")]), 2);
        assert_eq!((of(&[("pool", "p")]), of(&[("pool", "p2")]), of(&[("pool", "q")])), (7, 8, 0));
    }

    #[test]
    fn sums_are_the_same_in_every_order() {
        let numbers = ["0.1", "0.2", "0.98", "7", "0.000000001", "12.5"].map(|text| Number::read(text).unwrap());
        let sum = |numbers: &mut dyn Iterator<Item = Number>| numbers.reduce(Number::plus).unwrap().to_string();
        assert_eq!(sum(&mut numbers.into_iter()), "20.780000001");
        assert_eq!(sum(&mut numbers.into_iter().rev()), "20.780000001");
        assert_eq!(
            ["0.9800000000000001", "3.0", "0"].map(|text| Number::read(text).unwrap().to_string()),
            ["0.98", "3", "0"]
        );
        assert_eq!(Number::read("NaN").or(Number::read("-1")).or(Number::read("x")), None);
    }

    #[test]
    fn pages_add_up_series_by_series() {
        let mut others = Counts::read(OLD);
        others.add(&Counts::read(OLD));
        let text = page(Format::Text, others.clone());
        for line in [
            "peerway_listener_connections_total{listener=\"a,\\\"b\"} 17",
            "peerway_listener_active_connections{listener=\"a,\\\"b\"} 5",
            "peerway_accept_paused_seconds_total 3.25",
            "peerway_session_duration_seconds_bucket{listener=\"gone\",le=\"1\"} 6",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!text.contains("backend=") && !text.contains("unheard"), "{text}");
        let open = page(Format::OpenMetrics, others);
        assert!(open.contains("_bucket{listener=\"gone\",le=\"1.0\"} 6\n"), "{open}");
    }

    #[test]
    fn who_ended_with_sessions_has_ended_them() {
        let text = page(Format::Text, Counts::read(OLD).ended());
        assert!(text.contains("peerway_listener_active_connections{listener=\"a,\\\"b\"} 1\n"), "{text}");
        let ended = Counts::read(OLD).ended();
        assert_eq!(ended.total(families::SESSIONS_CLOSED), 2.0);
        assert_eq!(ended.total(families::LISTENER_CONNECTIONS), 7.0);
    }

    #[test]
    fn what_is_no_longer_there_goes() {
        let mut known = Known::default();
        known.add(&Labels::new(&[("listener", "a,\"b")]));
        let mut ended = Counts::read(OLD).ended();
        ended.keep_known(&known);
        assert_eq!(ended.total(families::LISTENER_CONNECTIONS), 7.0);
        assert_eq!((ended.total(families::SESSION_DURATION), ended.total(families::ACCEPT_PAUSED)), (0.0, 1.5));
    }
}
