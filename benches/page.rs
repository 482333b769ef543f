//! What a page of metrics of a thousand backends costs, in both forms: `cargo bench --bench page`.
#![allow(clippy::unwrap_used, dead_code, reason = "a fixture of tests, of which this needs a part")]

#[path = "../tests/admin/fixture.rs"]
mod fixture;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peerway::admin::{Process, scrape};
use peerway::metrics::Format;

fn page(criterion: &mut Criterion) {
    let backends: String = (0..1000).map(|i| format!("\"10.0.{}.{}:80\",", i / 250, i % 250)).collect();
    let fixture = fixture::Fixture::of(&format!(
        "listeners: {{ l: {{ bind: 127.0.0.1:0, pool: p }} }}\npools: {{ p: {{ backends: [{backends}] }} }}"
    ));
    let process = Process::default();
    let mut group = criterion.benchmark_group("page of 1000 backends");
    for format in [Format::Text, Format::OpenMetrics] {
        group.throughput(Throughput::Bytes(scrape(&fixture.state, &process, format).len() as u64));
        group.bench_function(format!("{format:?}"), |bencher| {
            bencher.iter(|| black_box(scrape(&fixture.state, &process, format)));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300));
    targets = page
}
criterion_main!(benches);
