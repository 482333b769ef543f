//! What reading a configuration of ten thousand lines costs, from its text to a plan: `cargo bench --bench resolve`.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peerway::balance::CATALOGUE;
use peerway::config;

/// Lines of one listener and its pool of ten backends.
const LINES: usize = 25;

/// So many listeners and pools.
fn text(pairs: usize) -> String {
    let mut listeners = String::from("listeners:\n");
    let mut pools = String::from("pools:\n");
    for nth in 0..pairs {
        let _ = writeln!(
            listeners,
            "  front{nth}:\n    bind: 127.0.0.1:{}\n    pool: back{nth}\n    timeouts:\n      idle: 10m\n      half_closed: 1m\n    \
             admission:\n      deny: [10.1.0.0/16, \"2001:db8::/32\"]\n      max_connections: 1000",
            10_000 + nth
        );
        let _ = writeln!(
            pools,
            "  back{nth}:\n    policy: {}\n    connect: {{ timeout: 1s, attempts: 2 }}\n    \
             health: {{ probe: {{ http: {{ path: /healthz, status: 200-299 }} }}, interval: 5s }}\n    slow_start: 10s\n    backends:",
            if nth % 2 == 0 { "p2c" } else { "{ maglev: { key: client_ip } }" }
        );
        for backend in 0..10 {
            let _ = writeln!(
                pools,
                "      - {{ name: b{backend}, address: \"10.0.{}.{backend}:80\", weight: 3 }}",
                nth % 250
            );
        }
    }
    listeners + &pools
}

fn resolve(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resolve, lines");
    group.sample_size(20);
    for lines in [100, 1000, 10_000] {
        let text = text(lines / LINES);
        let plan = || config::parse("bench.yaml", black_box(&text), &CATALOGUE, &|_| None);
        if let Err(errors) = plan() {
            panic!("{errors}");
        }
        group.throughput(Throughput::Elements(text.lines().count() as u64));
        group.bench_function(lines.to_string(), |bencher| bencher.iter(|| black_box(plan())));
    }
    // Each pool is misspelt: a report of as many errors, each with its place and a hint.
    let wrong = text(10_000 / LINES).replace("slow_start", "slowstart");
    group.bench_function("10000, of which 400 are wrong", |bencher| {
        bencher.iter(|| black_box(config::parse("bench.yaml", black_box(&wrong), &CATALOGUE, &|_| None)));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    targets = resolve
}
criterion_main!(benches);
