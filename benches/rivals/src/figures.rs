//! What a load comes to with one proxy.

use std::io;
use std::time::{Duration, Instant};

use crate::client::Tally;
use crate::loads::{Load, Work};
use crate::measure;
use crate::proxies::Proxy;
use crate::shape::Tls;

/// A figure's name with its unit, its value, and whether more of it is better.
pub type Figures = Vec<(&'static str, f64, Better)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

use Better::{Less, More};

/// What a unit of work costs: the figures that are compared in the picture, and for growth.
pub const COSTS: [&str; 4] = ["CPU s/GB", "CPU µs each", "CPU ms each", "KiB per session"];

/// Has the proxy bear the load for so long.
pub fn measure(proxy: &mut Proxy, load: &Load, span: Duration) -> io::Result<Figures> {
    match load.work {
        Work::Down => bulk(proxy, |proxy| proxy.target.download(span)),
        Work::Up => bulk(proxy, |proxy| proxy.target.upload(span)),
        Work::Ask { sessions, size } => ask(proxy, sessions, size, span),
        Work::Connect => connect(proxy, load.shape.tls != Tls::Off, span),
        Work::Idle { sessions } => idle(proxy, sessions),
    }
}

fn bulk(proxy: &Proxy, load: impl Fn(&Proxy) -> io::Result<f64>) -> io::Result<Figures> {
    let before = measure::cpu(proxy.id());
    let began = Instant::now();
    let rate = load(proxy)?;
    let gigabytes = rate * began.elapsed().as_secs_f64() / 1e9;
    let used = measure::cpu(proxy.id()).saturating_sub(before);
    Ok(vec![("Gb/s", rate * 8.0 / 1e9, More), ("CPU s/GB", used.as_secs_f64() / gigabytes, Less)])
}

fn ask(proxy: &Proxy, sessions: usize, size: usize, span: Duration) -> io::Result<Figures> {
    let mut before = Duration::ZERO;
    let mut tally = proxy.target.ask(sessions, size, span, || before = measure::cpu(proxy.id()))?;
    let used = measure::cpu(proxy.id()).saturating_sub(before);
    Ok(of_tally(&mut tally, used, ("CPU µs each", 1e6)))
}

fn connect(proxy: &Proxy, secure: bool, span: Duration) -> io::Result<Figures> {
    let before = measure::cpu(proxy.id());
    let mut tally = proxy.target.connects(span)?;
    let used = measure::cpu(proxy.id()).saturating_sub(before);
    let unit = if secure { ("CPU ms each", 1e3) } else { ("CPU µs each", 1e6) };
    let mut figures = of_tally(&mut tally, used, unit);
    figures.push(("failed", tally.failed as f64, Less));
    Ok(figures)
}

fn idle(proxy: &mut Proxy, sessions: usize) -> io::Result<Figures> {
    let began = proxy.restart()?;
    let (before, resident) = (measure::memory(proxy.id()), measure::resident(proxy.id()));
    let held = proxy.target.hold(sessions, Duration::from_secs(10))?;
    // What is given back later is not held.
    std::thread::sleep(Duration::from_secs(2));
    let used = measure::memory(proxy.id()).saturating_sub(before);
    let cpu = measure::cpu(proxy.id());
    std::thread::sleep(Duration::from_secs(2));
    let cpu = measure::cpu(proxy.id()).saturating_sub(cpu);
    drop(held);
    Ok(vec![
        ("KiB per session", used as f64 / 1024.0 / sessions as f64, Less),
        ("CPU %", cpu.as_secs_f64() / 2.0 * 100.0, Less),
        ("MiB resident at start", resident as f64 / 1024.0 / 1024.0, Less),
        ("ms to start", began.as_secs_f64() * 1e3, Less),
    ])
}

fn of_tally(tally: &mut Tally, used: Duration, (unit, per_second): (&'static str, f64)) -> Figures {
    vec![
        ("a second", tally.rate(), More),
        (unit, used.as_secs_f64() * per_second / tally.done.max(1) as f64, Less),
        ("p50 µs", tally.percentile(0.5), Less),
        ("p99 µs", tally.percentile(0.99), Less),
        ("p99.9 µs", tally.percentile(0.999), Less),
    ]
}
