//! What ours does for a round trip and for a connection, counted by callgrind: instructions of the program itself and its
//! calls of the system. Unlike CPU time these do not depend on what else the machine does.
//!
//! Each count is the difference of two windows, one with twice the work of the other, so what is not work (probes, timers,
//! the end of the window itself) is in both and drops out.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::client::plain::{askers, connects_exactly};
use crate::loads;
use crate::proxies::{Kind, Proxy};
use crate::shape::{SMALL, Shape};
use crate::site::Site;

/// All ask this often in the smaller window.
const ROUNDS: usize = 15;
const SESSIONS: usize = 64;
/// Connections in the smaller window.
const CONNECTIONS: usize = 100;
/// How often each window is repeated, of which the least counts: now and then the files are looked at for changes, which with
/// a thousand backends is as much as hundreds of connections.
const REPEATS: usize = 6;
/// Nobody is probed while it counts.
const QUIET: Shape = Shape { probe_secs: 3600, ..SMALL };

/// What one unit of work takes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Count {
    pub instructions: f64,
    /// Calls of the system. Reading the clock is one here, which it is not but for valgrind.
    pub calls: f64,
}

/// A setup and what it came to.
#[derive(Debug, Serialize)]
struct Row {
    title: String,
    setup: String,
    round_trip: Count,
    connection: Count,
}

/// Counts in every setup whose name is wanted, prints a table and writes `callgrind.json`.
pub fn run(kind: &'static Kind, site: &Arc<Site>, wanted: &dyn Fn(&str) -> bool, to: &Path) -> io::Result<()> {
    let mut rows: Vec<Row> = Vec::new();
    println!(
        "| setup | instructions a round trip | system calls and clock reads | instructions a connection | system calls and clock reads |"
    );
    println!("|---|---:|---:|---:|---:|");
    for (title, shape, base) in setups() {
        if !wanted(title.split(',').next().unwrap_or_default()) && !wanted(&title) {
            continue;
        }
        let row = match count(kind, shape, site) {
            Ok((round_trip, connection)) => Row { title, setup: shape.words(), round_trip, connection },
            Err(error) => {
                println!("| {title} | FAILED: {error} | | | |");
                continue;
            }
        };
        let base = base.and_then(|base| rows.iter().find(|row| row.title == base));
        println!(
            "| {} | {} | {:.2} | {} | {:.2} |",
            row.title,
            with_growth(row.round_trip, base.map(|base| base.round_trip)),
            row.round_trip.calls,
            with_growth(row.connection, base.map(|base| base.connection)),
            row.connection.calls
        );
        rows.push(row);
    }
    fs::create_dir_all(to)?;
    fs::write(to.join("callgrind.json"), format!("{}\n", serde_json::to_string_pretty(&rows)?))
}

/// With their titles, and the titles of those that they are compared with.
fn setups() -> Vec<(String, Shape, Option<String>)> {
    let mut setups = vec![("plain".to_owned(), Shape { backends: 1, ..QUIET }, None)];
    for policy in loads::POLICIES {
        let small = Shape { policy, ..QUIET };
        let title = |backends: &str| format!("{policy}, {backends} backends");
        setups.push((title("2"), small, None));
        setups.push((title("1 000"), Shape { backends: 1000, ..small }, Some(title("2"))));
    }
    let base = || Some("round_robin, 2 backends".to_owned());
    setups.push(("500 listeners".into(), Shape { listeners: 500, ..QUIET }, base()));
    setups.push(("2 workers".into(), Shape { workers: 2, ..QUIET }, base()));
    setups
}

fn with_growth(count: Count, base: Option<Count>) -> String {
    let growth = base.map(|base| format!(" ({:+.1} %)", (count.instructions / base.instructions - 1.0) * 100.0));
    format!("{:.0}{}", count.instructions, growth.unwrap_or_default())
}

fn count(kind: &'static Kind, shape: Shape, site: &Arc<Site>) -> io::Result<(Count, Count)> {
    let valgrind = ["valgrind", "--tool=callgrind", "--collect-systime=yes", "--callgrind-out-file=callgrind.out"];
    let proxy = Proxy::start(kind, shape, site, valgrind.map(str::to_owned).into())?;
    let addresses = &proxy.target.addresses;
    let mut windows = Windows { proxy: &proxy, dumps: 0 };
    let mut askers = askers(addresses, SESSIONS, 64)?;
    askers.rounds(5)?;
    let round_trip = windows.difference(ROUNDS * SESSIONS, |times| askers.rounds(ROUNDS * times))?;
    drop(askers);
    connects_exactly(addresses, 50)?;
    let connection = windows.difference(CONNECTIONS, |times| connects_exactly(addresses, CONNECTIONS * times))?;
    Ok((round_trip, connection))
}

/// What callgrind counts between its dumps.
struct Windows<'a> {
    proxy: &'a Proxy,
    dumps: usize,
}

impl Windows<'_> {
    /// What one of `units` takes, if `work` does so many of them, or twice as many.
    fn difference(&mut self, units: usize, mut work: impl FnMut(usize) -> io::Result<()>) -> io::Result<Count> {
        self.dump()?;
        let mut least = [Count { instructions: f64::MAX, calls: f64::MAX }; 2];
        for _ in 0..REPEATS {
            for (times, least) in (1..).zip(&mut least) {
                work(times)?;
                let count = self.dump()?;
                least.instructions = least.instructions.min(count.instructions);
                least.calls = least.calls.min(count.calls);
            }
        }
        let each = |of: fn(&Count) -> f64| (of(&least[1]) - of(&least[0])) / units as f64;
        Ok(Count { instructions: each(|count| count.instructions), calls: each(|count| count.calls) })
    }

    /// Ends a window; what was counted in it.
    fn dump(&mut self) -> io::Result<Count> {
        // The proxy may still be at the end of the last unit.
        std::thread::sleep(Duration::from_millis(200));
        let id = self.proxy.id().to_string();
        let done = Command::new("callgrind_control").args(["--dump", &id]).output()?;
        if !done.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
        }
        self.dumps += 1;
        let dump = self.proxy.dir.path().join(format!("callgrind.out.{}", self.dumps));
        total(&fs::read_to_string(&dump)?).ok_or_else(|| io::Error::other(format!("{} has no totals", dump.display())))
    }
}

/// The totals of a dump.
fn total(text: &str) -> Option<Count> {
    let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::split_whitespace);
    let names: Vec<&str> = of("events:")?.collect();
    let counts: Vec<&str> = of("totals:").or_else(|| of("summary:"))?.collect();
    // Zeroes at the end are left out.
    let count = |name: &str| {
        let at = names.iter().position(|one| *one == name)?;
        counts.get(at).map_or(Some(0.0), |count| count.parse().ok())
    };
    Some(Count { instructions: count("Ir")?, calls: count("sysCount")? })
}

#[cfg(test)]
mod tests {
    #[test]
    fn totals_are_read_by_the_names_of_their_events() {
        let text = "version: 1\nevents: Ir sysCount sysTime\nfn=main\n1 2\ntotals: 1000 20 3\n";
        let count = super::total(text).expect("totals");
        assert_eq!((count.instructions, count.calls), (1000.0, 20.0));
        assert_eq!(super::total("events: Ir sysCount\ntotals: 5\n").expect("totals").calls, 0.0);
        assert!(super::total("events: Ir\n").is_none());
    }
}
