//! Medians as a table.

use std::fmt::Write as _;

use super::{Report, Row, short};
use crate::figures::COSTS;
use crate::loads::PANELS;
use crate::proxies::OURS;

impl Report {
    pub(super) fn table(&self) -> String {
        let mut out = String::from("| load | figure |");
        for proxy in &self.proxies {
            let _ = write!(out, " {} |", proxy.name);
        }
        let _ = writeln!(out, " {OURS} / best rival |\n|---|---|{}---:|", "---:|".repeat(self.proxies.len()));
        for row in self.rows() {
            for (figure, more) in self.names(&row.name) {
                let value = |proxy: &str| self.median(&row.name, figure, proxy).map_or("–".into(), short);
                let ratio = self.ratio(&row.name, figure, more).map_or("–".into(), |ratio| format!("{ratio:.2}"));
                self.line(&mut out, row, figure, value, &ratio);
                if row.base.is_some() && COSTS.contains(&figure) {
                    let value = |proxy: &str| {
                        self.growth(row, figure, proxy).map_or("–".into(), |more| format!("{more:+.0} %"))
                    };
                    self.line(&mut out, row, "more than the least of this kind", value, "");
                }
            }
        }
        out
    }

    fn line(&self, out: &mut String, row: &Row, figure: &str, value: impl Fn(&str) -> String, last: &str) {
        let _ = write!(out, "| {} | {figure} |", row.title);
        for proxy in &self.proxies {
            let _ = write!(out, " {} |", value(&proxy.name));
        }
        let _ = writeln!(out, " {last} |");
    }

    /// Loads in the order of their panels.
    fn rows(&self) -> impl Iterator<Item = &Row> {
        PANELS.iter().flat_map(|(panel, _)| self.loads.iter().filter(move |row| row.panel == *panel))
    }

    /// How much more than its base it costs, per cent.
    pub(super) fn growth(&self, row: &Row, figure: &str, proxy: &str) -> Option<f64> {
        let base = self.median(row.base.as_ref()?, figure, proxy)?;
        Some((self.median(&row.name, figure, proxy)? / base - 1.0) * 100.0)
    }

    /// Ours over the best of the others.
    fn ratio(&self, load: &str, figure: &str, more_is_better: bool) -> Option<f64> {
        let rivals = self.proxies.iter().filter(|proxy| proxy.name != OURS);
        let rivals =
            rivals.filter_map(|proxy| self.median(load, figure, &proxy.name)).filter(|value| value.is_finite());
        let best = if more_is_better { rivals.fold(f64::NAN, f64::max) } else { rivals.fold(f64::NAN, f64::min) };
        self.median(load, figure, OURS).map(|ours| ours / best).filter(|ratio| ratio.is_finite())
    }
}
