//! The same client and backend through one proxy after another: how much, how fast, and for how much CPU time.
//!
//! Rounds are interleaved, so that whatever else the machine does meets all alike, and what is compared are medians.
//! The proxy has the first CPU for itself; client and backend share the second.

mod backend;
mod client;
mod loads;
mod measure;
mod proxies;
mod report;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use loads::Load;
use proxies::Proxy;
use report::Report;

/// Compares proxies. Programs are found by name, or taken from HAPROXY, NGINX, ENVOY, TRAEFIK and PEERWAY.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each proxy meets each load.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each load lasts.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Only these proxies.
    #[arg(long, value_delimiter = ',')]
    proxies: Vec<String>,
    /// Only these loads.
    #[arg(long, value_delimiter = ',')]
    loads: Vec<String>,
    /// Where `rivals.json`, `rivals.md` and `rivals.svg` are written.
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

fn main() {
    let arguments = Arguments::parse();
    measure::pin(measure::LOAD_CPU);
    let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|one| one == name);
    let backend = backend::start();
    let span = Duration::from_secs_f64(arguments.seconds);
    let mut proxies: Vec<Proxy> = Vec::new();
    for kind in proxies::KINDS.iter().filter(|kind| wanted(&arguments.proxies, kind.name)) {
        match Proxy::start(kind, backend) {
            Ok(proxy) => proxies.push(proxy),
            Err(error) => eprintln!("{}: left out: {error}", kind.name),
        }
    }
    for proxy in &proxies {
        // Figures of a proxy that alters bytes mean nothing.
        client::verify(proxy.address).unwrap_or_else(|error| panic!("{}: {error}", proxy.name()));
        println!("{}: {}: bytes are right", proxy.name(), proxy.version);
    }
    let loads: Vec<&Load> = loads::ALL.iter().filter(|load| wanted(&arguments.loads, load.name)).collect();
    let mut report = Report::new(&proxies, arguments.rounds, span);
    for round in 0..arguments.rounds {
        for load in &loads {
            if load.once && round > 0 {
                continue;
            }
            for index in 0..proxies.len() {
                // Another one is first each time.
                let proxy = &mut proxies[(index + round) % report.proxies.len()];
                match (load.run)(proxy, backend, span) {
                    Ok(figures) => {
                        println!("round {} {} {}: {}", round + 1, load.name, proxy.name(), report::line(&figures));
                        report.add(load.name, proxy.name(), &figures);
                    }
                    Err(error) => println!("round {} {} {}: {error}", round + 1, load.name, proxy.name()),
                }
            }
        }
    }
    report.write(&arguments.out).expect("the report is written");
}
