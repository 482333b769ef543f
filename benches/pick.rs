//! What one pick costs, for every policy and for pools of 2 to 4096 backends: `cargo bench --bench pick`.
//!
//! Backends have up to three sessions each, weights from 1 to 3, and latencies that differ by half. The results of
//! one run are kept in `benches/README.md`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use peerway::backend::{Claim, Registry};
use peerway::balance::{self, Draw, Member};
use peerway::config::Takes;
use peerway::config::plan::{HashSpec, PolicySpec};

fn pool(size: u32, now: Instant) -> (Vec<Member>, Vec<Claim>) {
    let registry = Registry::new(1);
    let mut held = Vec::new();
    let member = |index| {
        let backend = registry.get(&"pool".into(), &format!("10.0.0.1:{index}").into());
        held.extend((0..index % 4).map(|_| backend.claim()));
        backend.observe(Duration::from_micros(1000 + u64::from(index * 7919 % 500)), now);
        Member { backend, weight: 1 + index % 3, usable: true, max_connections: Some(1000) }
    };
    ((0..size).map(member).collect(), held)
}

/// Every policy by its name, and those that hash with a bounded load too.
fn specs() -> Vec<(String, PolicySpec)> {
    let mut specs = Vec::new();
    for kind in balance::CATALOGUE.policies {
        specs.push((kind.name.to_owned(), PolicySpec { name: kind.name, hash: None }));
        if kind.takes == Takes::Hash {
            let hash = HashSpec { bounded_load: Some(1.25), ..HashSpec::default() };
            specs.push((format!("{}, bounded", kind.name), PolicySpec { name: kind.name, hash: Some(hash) }));
        }
    }
    specs
}

fn pick(criterion: &mut Criterion) {
    let now = Instant::now();
    for (name, spec) in specs() {
        let mut group = criterion.benchmark_group(name);
        for size in [2, 16, 256, 4096] {
            let (members, _held) = pool(size, now);
            let policy = balance::build(&spec, &members, &Arc::default());
            let mut random = fastrand::Rng::with_seed(7);
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| {
                    let draw = Draw { key: random.u64(..), entropy: random.u64(..), now, tried: &[] };
                    black_box(policy.pick(&members, &draw))
                });
            });
        }
    }
}

fn build(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut group = criterion.benchmark_group("build of 256");
    group.sample_size(10);
    let (members, _held) = pool(256, now);
    for kind in balance::CATALOGUE.policies {
        let spec = PolicySpec { name: kind.name, hash: None };
        group.bench_function(kind.name, |bencher| bencher.iter(|| balance::build(&spec, &members, &Arc::default())));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = pick, build
}
criterion_main!(benches);
