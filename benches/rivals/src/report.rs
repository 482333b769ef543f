//! What came of it: every figure of every round as JSON, medians as a table, and a picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::loads::{self, Better, Figures};
use crate::proxies::Proxy;

/// The one whose ratios are shown.
const OURS: &str = "peerway";

pub struct Report {
    pub proxies: Vec<(&'static str, String, &'static str)>,
    rounds: usize,
    span: Duration,
    /// By load, figure and proxy.
    figures: BTreeMap<(&'static str, &'static str, &'static str), (Better, Vec<f64>)>,
}

/// The figures of one load as a line.
pub fn line(figures: &Figures) -> String {
    figures.iter().map(|(name, value, _)| format!("{} {name}", short(*value))).collect::<Vec<_>>().join(", ")
}

impl Report {
    pub fn new(proxies: &[Proxy], rounds: usize, span: Duration) -> Self {
        let proxies = proxies.iter().map(|proxy| (proxy.name(), proxy.version.clone(), proxy.kind.features));
        Self { proxies: proxies.collect(), rounds, span, figures: BTreeMap::new() }
    }

    pub fn add(&mut self, load: &'static str, proxy: &'static str, figures: &Figures) {
        for (name, value, better) in figures {
            self.figures.entry((load, name, proxy)).or_insert((*better, Vec::new())).1.push(*value);
        }
    }

    pub fn write(&self, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to)?;
        fs::write(to.join("rivals.json"), format!("{:#}\n", self.json()))?;
        let table = self.table();
        print!("\n{table}");
        fs::write(to.join("rivals.md"), table)?;
        fs::write(to.join("rivals.svg"), self.picture())
    }

    fn json(&self) -> Value {
        let proxies = self
            .proxies
            .iter()
            .map(|(name, version, features)| json!({ "name": name, "version": version, "features": features }));
        let figures = self.figures.iter().map(|((load, figure, proxy), (better, values))| {
            json!({ "load": load, "figure": figure, "proxy": proxy, "better": format!("{better:?}").to_lowercase(),
                    "median": median(values), "values": values })
        });
        json!({
            "machine": machine(), "rounds": self.rounds, "seconds": self.span.as_secs_f64(),
            "proxies": proxies.collect::<Vec<_>>(), "figures": figures.collect::<Vec<_>>(),
        })
    }

    fn median(&self, load: &'static str, figure: &'static str, proxy: &'static str) -> Option<f64> {
        self.figures.get(&(load, figure, proxy)).map(|(_, values)| median(values))
    }

    /// The figures of a load, in the order in which it gives them.
    fn names(&self, load: &'static str) -> Vec<(&'static str, Better)> {
        const ORDER: [&str; 2] = ["Gb/s", "a second"];
        let mut names: Vec<_> = Vec::new();
        for ((of, figure, _), (better, _)) in &self.figures {
            if *of == load && !names.contains(&(*figure, *better)) {
                names.push((*figure, *better));
            }
        }
        names.sort_by_key(|(name, _)| !ORDER.contains(name));
        names
    }

    fn table(&self) -> String {
        let mut out = String::new();
        let _ = write!(out, "| load | figure |");
        for (name, ..) in &self.proxies {
            let _ = write!(out, " {name} |");
        }
        let _ = writeln!(out, " {OURS} / best rival |");
        let _ = writeln!(out, "|---|---|{}---:|", "---:|".repeat(self.proxies.len()));
        for load in loads::ALL {
            for (figure, better) in self.names(load.name) {
                let _ = write!(out, "| {} | {figure} |", load.title);
                for (proxy, ..) in &self.proxies {
                    let shown = self.median(load.name, figure, proxy).map_or("–".into(), short);
                    let _ = write!(out, " {shown} |");
                }
                let ratio = self.ratio(load.name, figure, better);
                let _ = writeln!(out, " {} |", ratio.map_or("–".into(), |ratio| format!("{ratio:.2}")));
            }
        }
        out
    }

    /// Ours over the best of the others.
    fn ratio(&self, load: &'static str, figure: &'static str, better: Better) -> Option<f64> {
        let rivals = self.proxies.iter().filter(|(name, ..)| *name != OURS);
        let rivals = rivals.filter_map(|(name, ..)| self.median(load, figure, name)).filter(|value| value.is_finite());
        let best = match better {
            Better::More => rivals.fold(f64::NAN, f64::max),
            Better::Less => rivals.fold(f64::NAN, f64::min),
        };
        self.median(load, figure, OURS).map(|ours| ours / best).filter(|ratio| ratio.is_finite())
    }

    /// Bars: CPU time of each load for each proxy, ours being one.
    fn picture(&self) -> String {
        const COLOURS: [&str; 5] = ["#0b6e4f", "#8d99ae", "#b8c0cc", "#6c757d", "#ced4da"];
        const BAR: f64 = 12.0;
        const GAP: f64 = 14.0;
        const LEFT: f64 = 330.0;
        const WIDE: f64 = 360.0;
        let mut rows = Vec::new();
        for load in loads::ALL {
            for (figure, _) in self.names(load.name).into_iter().filter(|(figure, _)| is_cost(figure)) {
                let Some(ours) = self.median(load.name, figure, OURS).filter(|ours| *ours > 0.0) else { continue };
                let of = |name| self.median(load.name, figure, name).map(|value| value / ours);
                rows.push((
                    format!("{}: {figure}", load.title),
                    self.proxies.iter().map(|(name, ..)| of(name)).collect::<Vec<_>>(),
                ));
            }
        }
        let most = rows.iter().flat_map(|(_, bars)| bars).flatten().fold(1.0_f64, |most, bar| most.max(*bar)).min(8.0);
        let height = rows.len() as f64 * (BAR * self.proxies.len() as f64 + GAP) + 70.0;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"20\" font-size=\"14\">Cost of each load, {OURS} = 1; shorter is better</text>\n"
        );
        for (index, (name, ..)) in self.proxies.iter().enumerate() {
            let x = 10 + index * 90;
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"32\" width=\"10\" height=\"10\" fill=\"{}\"/><text x=\"{}\" y=\"41\">{name}</text>",
                COLOURS[index % 5],
                x + 14
            );
        }
        let mut y = 60.0;
        for (title, bars) in rows {
            let _ = writeln!(out, "<text x=\"10\" y=\"{}\">{title}</text>", y + 10.0);
            for (index, bar) in bars.into_iter().enumerate() {
                if let Some(bar) = bar {
                    let wide = bar.min(most) / most * WIDE;
                    let _ = writeln!(
                        out,
                        "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{wide:.0}\" height=\"{}\" fill=\"{}\"/><text x=\"{:.0}\" y=\"{}\">{bar:.2}</text>",
                        BAR - 2.0,
                        COLOURS[index % 5],
                        LEFT + wide + 4.0,
                        y + 9.0
                    );
                }
                y += BAR;
            }
            y += GAP;
        }
        out + "</svg>\n"
    }
}

fn is_cost(figure: &str) -> bool {
    ["CPU s/GB", "CPU µs each", "KiB per session"].contains(&figure)
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        big if big >= 100.0 => format!("{value:.0}"),
        middling if middling >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn machine() -> Value {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = file("/proc/cpuinfo");
    let of = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    json!({ "cpu": of("model name"), "cpus": cpus, "kernel": file("/proc/sys/kernel/osrelease").trim(), "seconds_since_1970": since.as_secs() })
}
