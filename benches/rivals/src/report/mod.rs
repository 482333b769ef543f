//! What came of it: every figure of every round as JSON, medians as a table, and a picture.

mod machine;
mod picture;
mod table;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::figures::{Better, Figures};
use crate::loads::{self, Load};
use crate::proxies::{Kind, Proxy};
use machine::Machine;

/// As it is in `rivals.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// When it was begun, UTC.
    date: String,
    machine: Machine,
    proxies: Vec<Contestant>,
    loads: Vec<Row>,
    figures: Vec<Figure>,
    /// What did not go well.
    problems: Vec<Problem>,
}

/// A proxy.
#[derive(Debug, Serialize, Deserialize)]
struct Contestant {
    name: String,
    version: String,
    features: String,
    /// Eight megabytes of noise went through it and came back as they were, in each setup that has figures.
    bytes_right: bool,
}

/// A load.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    name: String,
    title: String,
    panel: String,
    setup: String,
    /// The load whose cost its cost is compared with.
    base: Option<String>,
    ours_only: bool,
    /// How long each round lasted.
    seconds: f64,
}

/// One figure of one proxy.
#[derive(Debug, Serialize, Deserialize)]
struct Figure {
    load: String,
    figure: String,
    proxy: String,
    more_is_better: bool,
    median: f64,
    /// One a round.
    values: Vec<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Problem {
    at: String,
    proxy: String,
    what: String,
}

/// The figures of one load as a line.
pub fn line(figures: &Figures) -> String {
    figures.iter().map(|(name, value, _)| format!("{} {name}", short(*value))).collect::<Vec<_>>().join(", ")
}

impl Report {
    /// Of these loads, each of which will last so long.
    pub fn new(loads: &[Load], span: Duration) -> Self {
        let row = |load: &Load| Row {
            name: load.name.clone(),
            title: load.title.clone(),
            panel: load.panel.into(),
            setup: load.shape.words(),
            base: load.base.clone(),
            ours_only: load.ours_only,
            seconds: span.as_secs_f64(),
        };
        Self {
            date: machine::date(),
            machine: Machine::this(),
            proxies: Vec::new(),
            loads: loads.iter().map(row).collect(),
            figures: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Keeps what an earlier run on this machine wrote of other loads.
    ///
    /// # Errors
    /// There is such a file, and it cannot be read, or is of another machine or of other versions.
    pub fn keep(&mut self, from: &Path) -> Result<(), String> {
        let path = from.join("rivals.json");
        let Ok(text) = fs::read(&path) else { return Ok(()) };
        let before: Self = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        if before.machine != self.machine {
            return Err(format!("{} is of another machine", path.display()));
        }
        let again: Vec<String> = self.loads.iter().map(|load| load.name.clone()).collect();
        let kept = |name: &String| !again.contains(name);
        self.loads.extend(before.loads.into_iter().filter(|load| kept(&load.name)));
        self.figures.extend(before.figures.into_iter().filter(|figure| kept(&figure.load)));
        self.problems.extend(before.problems.into_iter().filter(|problem| kept(&problem.at)));
        let order = loads::all();
        self.loads.sort_by_key(|row| order.iter().position(|load| load.name == row.name));
        (self.proxies, self.date) = (before.proxies, before.date);
        Ok(())
    }

    /// What this proxy passes on is right.
    ///
    /// Of one whose version is not that of the figures that were kept, only the new ones would be: that is a problem.
    pub fn verified(&mut self, proxy: &Proxy) {
        let (name, version) = (proxy.kind.name, &proxy.version);
        match self.proxies.iter().find(|known| known.name == name) {
            Some(known) if known.version != *version => {
                let what = format!("some figures are of {}, others of {version}", known.version);
                self.problem("versions".into(), proxy.kind, &what);
            }
            Some(_) => {}
            None => {
                println!("{name}: {version}: bytes are right");
                self.proxies.push(Contestant {
                    name: name.into(),
                    version: version.clone(),
                    features: proxy.kind.features.into(),
                    bytes_right: true,
                });
            }
        }
    }

    pub fn add(&mut self, load: &Load, kind: &Kind, figures: &Figures) {
        for (name, value, better) in figures {
            let at =
                |figure: &&mut Figure| figure.load == load.name && figure.figure == *name && figure.proxy == kind.name;
            match self.figures.iter_mut().find(at) {
                Some(figure) => figure.values.push(*value),
                None => self.figures.push(Figure {
                    load: load.name.clone(),
                    figure: (*name).into(),
                    proxy: kind.name.into(),
                    more_is_better: *better == Better::More,
                    median: 0.0,
                    values: vec![*value],
                }),
            }
        }
    }

    pub fn problem(&mut self, at: String, kind: &Kind, what: &str) {
        self.problems.push(Problem { at, proxy: kind.name.into(), what: what.into() });
    }

    /// Writes all three files to a folder, and the table to standard output.
    pub fn write(&mut self, to: &Path) -> io::Result<()> {
        for figure in &mut self.figures {
            figure.median = median(&figure.values);
        }
        fs::create_dir_all(to)?;
        fs::write(to.join("rivals.json"), format!("{}\n", serde_json::to_string_pretty(self)?))?;
        let table = self.table();
        print!("\n{table}");
        fs::write(to.join("rivals.md"), table)?;
        fs::write(to.join("rivals.svg"), self.picture())?;
        for Problem { at, proxy, what } in &self.problems {
            println!("problem: {proxy}: {at}: {what}");
        }
        Ok(())
    }

    fn median(&self, load: &str, figure: &str, proxy: &str) -> Option<f64> {
        let at = |one: &&Figure| one.load == load && one.figure == figure && one.proxy == proxy;
        self.figures.iter().find(at).map(|figure| figure.median)
    }

    /// The figures of a load, in the order in which it gives them, and whether more is better.
    fn names(&self, load: &str) -> Vec<(&str, bool)> {
        let mut names: Vec<(&str, bool)> = Vec::new();
        for figure in self.figures.iter().filter(|figure| figure.load == load) {
            if !names.iter().any(|(name, _)| *name == figure.figure) {
                names.push((&figure.figure, figure.more_is_better));
            }
        }
        names
    }
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

#[cfg(test)]
mod tests;
