//! A strict reader of metric pages: it takes nothing that Prometheus would not.

use std::collections::{BTreeMap, BTreeSet};

/// A page that was found to be well formed.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Type by family.
    pub(crate) kinds: BTreeMap<String, String>,
    pub(crate) samples: BTreeMap<String, f64>,
}

impl Page {
    #[track_caller]
    pub(crate) fn get(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.samples))
    }

    /// The sum over the series of a name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|(series, _)| series.split('{').next() == Some(name)).map(|(_, value)| value).sum()
    }
}

/// Reads a page, or says at which line it is wrong.
pub(crate) fn read(text: &str, open: bool) -> Result<Page, String> {
    let mut page = Page::default();
    let mut current: Option<Family> = None;
    let mut ended = false;
    for line in text.split_inclusive('\n') {
        let wrong = |what: &str| format!("{what}: {line:?}");
        let line = line.strip_suffix('\n').ok_or_else(|| wrong("no end of line"))?;
        if ended {
            return Err(wrong("after the end"));
        }
        match line.strip_prefix("# ").map(|rest| rest.splitn(3, ' ').collect::<Vec<_>>()) {
            Some(words) if words == ["EOF"] && open => ended = true,
            Some(words) if words[0] == "HELP" && words.len() == 3 => {
                close(&mut page, current.take())?;
                if page.kinds.contains_key(words[1]) {
                    return Err(wrong("a second time"));
                }
                current = Some(Family { name: words[1].into(), ..Family::default() });
            }
            Some(words) => {
                let family = current.as_mut().filter(|family| words.get(1) == Some(&&*family.name));
                let family = family.filter(|family| family.histograms.is_empty() && family.samples == 0);
                let family = family.ok_or_else(|| wrong("metadata out of place"))?;
                match (words[0], words.get(2)) {
                    ("TYPE", Some(kind)) if family.kind.is_empty() => family.kind = (*kind).into(),
                    ("UNIT", Some(unit)) if open && family.name.ends_with(&format!("_{unit}")) => {}
                    _ => return Err(wrong("metadata")),
                }
            }
            None => sample(line, open, current.as_mut().ok_or_else(|| wrong("no family"))?, &mut page)?,
        }
    }
    close(&mut page, current)?;
    if open && !ended { Err("no end".into()) } else { Ok(page) }
}

#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    samples: usize,
    /// By labels without `le`.
    histograms: BTreeMap<String, Buckets>,
}

/// One histogram's bounds with their counts, its sum, and its count.
#[derive(Default)]
struct Buckets(Vec<(f64, f64)>, Option<f64>, Option<f64>);

fn sample(line: &str, open: bool, family: &mut Family, page: &mut Page) -> Result<(), String> {
    let wrong = |what: &str| format!("{what}: {line:?}");
    let (series, value) = line.rsplit_once(' ').ok_or_else(|| wrong("no value"))?;
    let value: f64 = value.parse().map_err(|_| wrong("value"))?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').ok_or_else(|| wrong("labels"))?),
        None => (series, ""),
    };
    let labels = read_labels(labels).ok_or_else(|| wrong("labels"))?;
    let suffix = name.strip_prefix(&*family.name).ok_or_else(|| wrong("not of its family"))?;
    let right = match (&*family.kind, open) {
        ("counter", true) => suffix == "_total",
        ("counter", false) => suffix.is_empty() && name.ends_with("_total"),
        ("info", true) => suffix == "_info" && value == 1.0,
        ("histogram", _) => ["_bucket", "_sum", "_count"].contains(&suffix),
        ("gauge", _) => suffix.is_empty(),
        _ => false,
    };
    if !right {
        return Err(wrong("name for its type"));
    }
    if (family.kind == "counter" || family.kind == "histogram") && !(value >= 0.0 && value.is_finite()) {
        return Err(wrong("a count"));
    }
    if family.kind == "histogram" {
        count(suffix, labels, value, family).ok_or_else(|| wrong("histogram"))?;
    }
    family.samples += 1;
    match page.samples.insert(series.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(wrong("twice")),
    }
}

fn count(suffix: &str, mut labels: Vec<(String, String)>, value: f64, family: &mut Family) -> Option<()> {
    let bound = labels.pop_if(|(name, _)| name == "le").map(|(_, bound)| bound);
    let histogram = family.histograms.entry(format!("{labels:?}")).or_default();
    match (suffix, bound) {
        ("_bucket", Some(bound)) => histogram.0.push((bound.replace('+', "").parse().ok()?, value)),
        ("_sum", None) => histogram.1 = Some(value),
        ("_count", None) => histogram.2 = Some(value),
        _ => return None,
    }
    Some(())
}

fn close(page: &mut Page, family: Option<Family>) -> Result<(), String> {
    let Some(family) = family else { return Ok(()) };
    if family.kind.is_empty() {
        return Err(format!("{} has no type", family.name));
    }
    for (labels, Buckets(buckets, sum, all)) in &family.histograms {
        let rises = buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
        let last = buckets.last().copied();
        if !rises || sum.is_none() || last != all.map(|all| (f64::INFINITY, all)) {
            return Err(format!("{} {labels}: {buckets:?} {sum:?} {all:?}", family.name));
        }
    }
    page.kinds.insert(family.name, family.kind);
    Ok(())
}

/// `a="b",c="d"` with escapes, names not repeated.
fn read_labels(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    let mut names = BTreeSet::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let is_name = name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_') && !name.is_empty();
        if !is_name || !names.insert(name.to_owned()) {
            return None;
        }
        let (value, rest) = read_value(rest)?;
        labels.push((name.to_owned(), value));
        text = match rest.strip_prefix(',') {
            Some(rest) if !rest.is_empty() => rest,
            None if rest.is_empty() => rest,
            _ => return None,
        };
    }
    Some(labels)
}

fn read_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                _ => return None,
            },
            c => value.push(c),
        }
    }
    None
}

#[test]
fn the_reader_is_strict() {
    let good = "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"c\\\"\"} 1\n";
    assert!(read(good, false).is_ok());
    let h = "# HELP h x\n# TYPE h histogram\n";
    for bad in [
        "a 1\n",
        "# HELP a x\na 1\n",
        "# HELP a x\n# TYPE a gauge\na 1",
        "# HELP a x\n# TYPE a gauge\na 1\na 1\n",
        "# HELP a x\n# TYPE a gauge\nb 1\n",
        "# HELP a x\n# TYPE a counter\na 1\n",
        "# HELP a x\n# TYPE a gauge\na{b=\"c} 1\n",
        "# HELP a x\n# TYPE a gauge\na{b=\"c\",b=\"d\"} 1\n",
        "# HELP a x\n# TYPE a gauge\n# HELP a x\n# TYPE a gauge\n",
        &format!("{h}h_bucket{{le=\"1\"}} 2\nh_bucket{{le=\"+Inf\"}} 1\nh_sum 1\nh_count 1\n"),
        &format!("{h}h_bucket{{le=\"+Inf\"}} 1\nh_sum 1\nh_count 2\n"),
        &format!("{good}# EOF\n"),
    ] {
        assert!(read(bad, false).is_err(), "{bad}");
    }
    assert!(read("# HELP a x\n# TYPE a counter\na_total 1\n# EOF\n", true).is_ok());
    assert!(read("# HELP a x\n# TYPE a counter\na_total 1\n", true).is_err());
}
