//! The loads, and the figures that each gives.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::client;
use crate::measure;
use crate::proxies::Proxy;

/// One kind of load.
pub struct Load {
    pub name: &'static str,
    /// For the table.
    pub title: &'static str,
    /// It takes long, and comes out the same each time.
    pub once: bool,
    pub run: fn(&mut Proxy, SocketAddr, Duration) -> io::Result<Figures>,
}

/// A figure's name with its unit, its value, and whether more of it is better.
pub type Figures = Vec<(&'static str, f64, Better)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

use Better::{Less, More};

pub const ALL: &[Load] = &[
    Load {
        name: "down",
        title: "bulk, from the backend to the client, one session",
        once: false,
        run: |proxy, _, span| bulk(proxy, |to| client::download(to, span)),
    },
    Load {
        name: "up",
        title: "bulk, from the client to the backend, one session",
        once: false,
        run: |proxy, _, span| bulk(proxy, |to| client::upload(to, span)),
    },
    Load { name: "rr1-64", title: "64 B and 64 B back, one session", once: false, run: |p, _, s| ask(p, 1, 64, s) },
    Load { name: "rr64-64", title: "64 B and 64 B back, 64 sessions", once: false, run: |p, _, s| ask(p, 64, 64, s) },
    Load {
        name: "rr1-16k",
        title: "16 KiB and 16 KiB back, one session",
        once: false,
        run: |p, _, s| ask(p, 1, 16384, s),
    },
    Load {
        name: "rr64-16k",
        title: "16 KiB and 16 KiB back, 64 sessions",
        once: false,
        run: |p, _, s| ask(p, 64, 16384, s),
    },
    Load {
        name: "rr1000-64",
        title: "64 B and 64 B back, 1 000 sessions",
        once: false,
        run: |p, _, s| ask(p, 1000, 64, s),
    },
    Load {
        name: "rr4000-64",
        title: "64 B and 64 B back, 4 000 sessions",
        once: false,
        run: |p, _, s| ask(p, 4000, 64, s),
    },
    Load {
        name: "connect",
        title: "connect, 64 B and 64 B back, close; 32 at once",
        once: false,
        run: |proxy, _, span| {
            let before = measure::cpu(proxy.id());
            let mut tally = client::connects(proxy.address, 32, span)?;
            let used = measure::cpu(proxy.id()) - before;
            let mut figures = of_tally(&mut tally, used);
            figures.push(("failed", tally.failed as f64, Less));
            Ok(figures)
        },
    },
    Load {
        name: "idle",
        title: "4 000 idle sessions",
        once: true,
        run: |proxy, _, _| {
            const SESSIONS: usize = 4000;
            let began = proxy.restart()?;
            let (before, resident) = (measure::memory(proxy.id()), measure::resident(proxy.id()));
            let held = client::hold(proxy.address, SESSIONS)?;
            // What is given back later is not held.
            std::thread::sleep(Duration::from_secs(2));
            let used = measure::memory(proxy.id()).saturating_sub(before);
            let cpu = measure::cpu(proxy.id());
            std::thread::sleep(Duration::from_secs(2));
            let cpu = measure::cpu(proxy.id()) - cpu;
            drop(held);
            Ok(vec![
                ("KiB per session", used as f64 / 1024.0 / SESSIONS as f64, Less),
                ("CPU %", cpu.as_secs_f64() / 2.0 * 100.0, Less),
                ("MiB resident at start", resident as f64 / 1024.0 / 1024.0, Less),
                ("ms to start", began.as_secs_f64() * 1e3, Less),
            ])
        },
    },
];

fn bulk(proxy: &Proxy, load: impl Fn(SocketAddr) -> io::Result<f64>) -> io::Result<Figures> {
    let before = measure::cpu(proxy.id());
    let began = std::time::Instant::now();
    let rate = load(proxy.address)?;
    let gigabytes = rate * began.elapsed().as_secs_f64() / 1e9;
    let used = measure::cpu(proxy.id()) - before;
    Ok(vec![("Gb/s", rate * 8.0 / 1e9, More), ("CPU s/GB", used.as_secs_f64() / gigabytes, Less)])
}

fn ask(proxy: &Proxy, sessions: usize, size: usize, span: Duration) -> io::Result<Figures> {
    // The sessions are opened before, so that they are not in the CPU time of a round trip.
    let asked = client::Askers::open(proxy.address, sessions, size)?;
    let mut before = Duration::ZERO;
    let mut tally = asked.run(span, || before = measure::cpu(proxy.id()))?;
    let used = measure::cpu(proxy.id()) - before;
    Ok(of_tally(&mut tally, used))
}

fn of_tally(tally: &mut client::Tally, used: Duration) -> Figures {
    vec![
        ("a second", tally.rate(), More),
        ("CPU µs each", used.as_secs_f64() * 1e6 / tally.done.max(1) as f64, Less),
        ("p50 µs", tally.percentile(0.5), Less),
        ("p99 µs", tally.percentile(0.99), Less),
        ("p99.9 µs", tally.percentile(0.999), Less),
    ]
}
