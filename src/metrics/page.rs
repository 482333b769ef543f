//! The page that a scraper reads: samples straight into a string, as Prometheus text or OpenMetrics.

use std::fmt::{Display, Write};

use super::families::{Family, Kind};
use super::{Counts, Format, Histogram, Number};

/// The first labels of many samples, escaped once.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    text: String,
    names: Vec<&'static str>,
}

impl Labels {
    /// Labels by name and value, in the order of the family's.
    pub fn new(pairs: &[(&'static str, &str)]) -> Self {
        let mut labels = Self::default();
        for (name, value) in pairs {
            if !labels.text.is_empty() {
                labels.text.push(',');
            }
            pair(&mut labels.text, name, value);
            labels.names.push(name);
        }
        labels
    }

    /// As they stand on a page.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// A page under construction. Families come one after the other, each whole.
#[derive(Debug)]
pub struct Page {
    format: Format,
    out: String,
    written: Vec<&'static str>,
    /// What other processes have counted, until it is on the page.
    others: Counts,
    /// The family whose samples are being written.
    current: Option<&'static Family>,
}

impl Page {
    /// An empty page, with room for `capacity` bytes.
    pub fn new(format: Format, capacity: usize) -> Self {
        Self::beside(format, capacity, Counts::default())
    }

    /// The same, of several processes: what `others` have counted is added sample by sample.
    pub fn beside(format: Format, capacity: usize, others: Counts) -> Self {
        let out = String::with_capacity(capacity);
        Self { format, out, written: Vec::with_capacity(64), others, current: None }
    }

    /// Begins a family. All its samples go through what is returned, so they stand together.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        debug_assert!(super::families::ALL.contains(&family), "{} is not in the table", family.name);
        debug_assert!(!self.written.contains(&family.name), "{} is written twice", family.name);
        self.end_family();
        self.written.push(family.name);
        self.current = Some(family);
        let open = self.format == Format::OpenMetrics;
        let name = if open { family.stem() } else { family.name };
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
            Kind::Info if open => "info",
            Kind::Gauge | Kind::Info => "gauge",
        };
        put(&mut self.out, format_args!("# HELP {name} {}\n# TYPE {name} {kind}\n", family.help));
        if let Some(unit) = family.unit().filter(|_| open) {
            put(&mut self.out, format_args!("# UNIT {name} {unit}\n"));
        }
        Samples { page: self, family }
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, family: &'static Family, value: impl Display) {
        self.family(family).sample(&Labels::default(), &[], value);
    }

    /// The names of all families on the page.
    pub fn written(&self) -> &[&'static str] {
        &self.written
    }

    /// Writes series of the family that only other processes have.
    fn end_family(&mut self) {
        let Some(family) = self.current.take() else { return };
        for (series, number) in self.others.take_all(family) {
            match self.format {
                Format::OpenMetrics => put(&mut self.out, format_args!("{} {number}\n", with_point(&series))),
                Format::Text => put(&mut self.out, format_args!("{series} {number}\n")),
            }
        }
    }

    /// Writes the value behind a series that stands at the end of the page, and what others have of it.
    fn value(&mut self, family: &Family, begins: usize, value: impl Display) {
        let more = self.others.take(family, &self.out[begins..]);
        self.put_value(more, value);
    }

    fn put_value(&mut self, more: Option<Number>, value: impl Display) {
        match more {
            None => self.put_own(value),
            Some(more) => match Number::read(&value.to_string()) {
                Some(own) => put(&mut self.out, format_args!(" {}\n", own.plus(more))),
                None => put(&mut self.out, format_args!(" {value}\n")),
            },
        }
    }

    /// A value of ours alone, in no more digits than a sum would have: else the sum might be less.
    fn put_own(&mut self, value: impl Display) {
        self.out.push(' ');
        let begins = self.out.len();
        put(&mut self.out, format_args!("{value}"));
        let text = &self.out[begins..];
        let decimals = text.bytes().rev().position(|byte| byte == b'.').unwrap_or(0);
        if let Some(number) = Number::read(text).filter(|_| decimals > Number::DECIMALS) {
            self.out.truncate(begins);
            put(&mut self.out, format_args!("{number}"));
        }
        self.out.push('\n');
    }

    /// The finished page.
    pub fn finish(mut self) -> String {
        self.end_family();
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

/// Writes the samples of one family.
#[derive(Debug)]
pub struct Samples<'a> {
    page: &'a mut Page,
    family: &'static Family,
}

impl Samples<'_> {
    /// One sample: `labels` hold its first label values, `rest` the others.
    pub fn sample(&mut self, labels: &Labels, rest: &[&str], value: impl Display) {
        self.check(labels, rest.len());
        let names = &self.family.labels[labels.names.len()..];
        let begins = self.page.out.len();
        let out = &mut self.page.out;
        out.push_str(self.family.name);
        if !self.family.labels.is_empty() {
            out.push('{');
            out.push_str(&labels.text);
            let mut comma = !labels.text.is_empty();
            for (name, value) in names.iter().zip(rest) {
                if std::mem::replace(&mut comma, true) {
                    out.push(',');
                }
                pair(out, name, value);
            }
            out.push('}');
        }
        self.page.value(self.family, begins, value);
    }

    /// The samples of one histogram.
    pub fn histogram(&mut self, labels: &Labels, histogram: &Histogram) {
        self.check(labels, 0);
        let (counts, sum) = histogram.read();
        let (name, text) = (self.family.name, &labels.text);
        let open = self.page.format == Format::OpenMetrics;
        for (bound, count) in histogram.bounds().iter().zip(&counts) {
            let begins = self.page.out.len();
            put(&mut self.page.out, format_args!("{name}_bucket{{{text},le=\"{bound}\"}}"));
            let more = self.page.others.take(self.family, &self.page.out[begins..]);
            if open {
                // OpenMetrics wants to see that a bound is not an integer: 1.0.
                self.page.out.truncate(begins);
                put(&mut self.page.out, format_args!("{name}_bucket{{{text},le=\"{bound:?}\"}}"));
            }
            self.page.put_value(more, count);
        }
        let all = counts.last().copied().unwrap_or_default();
        self.part(format_args!("{name}_bucket{{{text},le=\"+Inf\"}}"), all);
        self.part(format_args!("{name}_sum{{{text}}}"), sum);
        self.part(format_args!("{name}_count{{{text}}}"), all);
    }

    fn part(&mut self, series: std::fmt::Arguments<'_>, value: impl Display) {
        let begins = self.page.out.len();
        put(&mut self.page.out, series);
        self.page.value(self.family, begins, value);
    }

    fn check(&self, labels: &Labels, rest: usize) {
        let family = self.family;
        debug_assert!(family.labels.starts_with(&labels.names), "{}: {:?}", family.name, labels.names);
        debug_assert_eq!(family.labels.len(), labels.names.len() + rest, "{}", family.name);
    }
}

fn pair(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str("=\"");
    match value.contains(['\\', '"', '\n']) {
        false => out.push_str(value),
        true => out.push_str(&value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")),
    }
    out.push('"');
}

/// A bucket's series with a bound that is no integer, as OpenMetrics wants it.
fn with_point(series: &str) -> String {
    match series.strip_suffix("\"}").and_then(|start| start.rsplit_once("le=\"")) {
        Some((start, bound)) if bound.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{start}le=\"{bound}.0\"}}")
        }
        _ => series.to_owned(),
    }
}

/// Writing into a string cannot fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::super::families;
    use super::*;
    use std::time::Duration;

    #[test]
    fn values_are_escaped() {
        let mut page = Page::new(Format::Text, 0);
        page.family(families::BACKEND_UP).sample(&Labels::new(&[("pool", "a\"b\\")]), &["c\nd"], 1);
        let text = page.finish();
        assert!(text.ends_with("\npeerway_backend_up{pool=\"a\\\"b\\\\\",backend=\"c\\nd\"} 1\n"), "{text}");
    }

    #[test]
    fn the_two_forms_differ_where_they_must() {
        let of = |format| {
            let mut page = Page::new(format, 0);
            page.single(families::PROCESS_CPU, 1.5);
            let histogram = Histogram::new(&[0.5, 1.0]);
            histogram.observe(Duration::from_millis(750));
            page.family(families::SESSION_DURATION).histogram(&Labels::new(&[("listener", "l")]), &histogram);
            page.finish()
        };
        let text = of(Format::Text);
        assert!(text.contains("# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.5\n"), "{text}");
        assert!(text.contains("_bucket{listener=\"l\",le=\"1\"} 1\n") && !text.contains("UNIT"), "{text}");
        let open = of(Format::OpenMetrics);
        assert!(open.contains("# TYPE process_cpu_seconds counter\n# UNIT process_cpu_seconds seconds\n"), "{open}");
        assert!(open.contains("\nprocess_cpu_seconds_total 1.5\n"), "{open}");
        assert!(open.contains("_bucket{listener=\"l\",le=\"1.0\"} 1\n"), "{open}");
        assert!(open.contains("_sum{listener=\"l\"} 0.75\n") && open.ends_with("# EOF\n"), "{open}");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "twice")]
    fn a_family_is_written_once() {
        let mut page = Page::new(Format::Text, 0);
        page.single(families::PANICS, 1);
        page.single(families::PANICS, 1);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "peerway_backend_up")]
    fn labels_are_those_of_the_table() {
        Page::new(Format::Text, 0).family(families::BACKEND_UP).sample(&Labels::default(), &["x"], 1);
    }
}
