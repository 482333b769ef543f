//! The same client and backend through one proxy after another: how much, how fast, and for how much CPU time.
//!
//! The proxy has the first CPU for itself; client and backend share the second.

mod backend;
mod callgrind;
mod certificates;
mod client;
mod contest;
mod figures;
mod leftovers;
mod loads;
mod measure;
mod order;
mod proxies;
mod report;
mod shape;
mod site;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use loads::{Load, PANELS};
use proxies::{KINDS, Kind};
use report::Report;
use site::Site;

/// Compares what proxies make of the same client and backend, on this machine, in one run.
///
/// Proxies: peerway, haproxy, nginx, envoy, traefik. Programs are found by name, or taken from the variables PEERWAY,
/// HAPROXY, NGINX, ENVOY and TRAEFIK. One that is missing, dies or alters bytes is reported, and the others go on.
#[derive(Debug, Parser)]
#[command(after_help = after_help())]
struct Arguments {
    /// How often each proxy meets each load.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long each load lasts, seconds.
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// Only these proxies, with commas between.
    #[arg(long, value_delimiter = ',', value_parser = KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>())]
    proxies: Vec<String>,
    /// Only these panels of loads, with commas between.
    #[arg(long, value_delimiter = ',', value_parser = PANELS.iter().map(|(name, _)| *name).collect::<Vec<_>>())]
    panels: Vec<String>,
    /// Only these loads, with commas between. With --callgrind: only these setups, as `plain` or `maglev`.
    #[arg(long, value_delimiter = ',')]
    loads: Vec<String>,
    /// The folder for `rivals.json`, `rivals.md` and `rivals.svg`, or `callgrind.json`.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Keep what `rivals.json` in that folder says of other loads, if it is of this machine.
    #[arg(long)]
    add: bool,
    /// Count instead what Peerway does for a round trip and for a connection: its own instructions and its calls of the
    /// system, with growing numbers of backends, listeners and workers. Needs valgrind.
    #[arg(long)]
    callgrind: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if let Err(error) = compare(&arguments) {
        eprintln!("rivals: {error}");
        std::process::exit(1);
    }
}

fn compare(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|one| one == name);
    let mut loads = loads::all();
    if !arguments.callgrind {
        if let Some(unknown) = arguments.loads.iter().find(|name| loads.iter().all(|load| load.name != **name)) {
            return Err(format!("there is no load {unknown}; see --help").into());
        }
        loads.retain(|load| wanted(&arguments.loads, &load.name) && wanted(&arguments.panels, load.panel));
    }
    let kinds: Vec<&'static Kind> = KINDS.iter().filter(|kind| wanted(&arguments.proxies, kind.name)).collect();
    let span = Duration::from_secs_f64(arguments.seconds);
    let mut report = Report::new(&loads, span);
    if arguments.add && !arguments.callgrind {
        report.keep(&arguments.out)?;
    }
    measure::pin(measure::LOAD_CPU);
    let site = Site::open()?;
    if arguments.callgrind {
        let wanted = |name: &str| wanted(&arguments.loads, name);
        return Ok(callgrind::run(&KINDS[0], &site, &wanted, &arguments.out)?);
    }
    contest::run(&kinds, &loads, &site, arguments.rounds as usize, span, &mut report);
    Ok(report.write(&arguments.out)?)
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.1 to 3600".into()),
    }
}

fn after_help() -> String {
    let mut help = String::from("Panels and their loads:\n");
    for (panel, title) in PANELS {
        let names = |load: &Load| (load.panel == *panel).then(|| load.name.clone());
        let names: Vec<_> = loads::all().iter().filter_map(names).collect();
        help += &format!("  {panel}: {title}\n      {}\n", names.join(" "));
    }
    help
}
