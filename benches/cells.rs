//! What it costs to count: `cargo bench --bench cells`.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use peerway::metrics::{Cause, Closed, Counter, Direction, Histogram, LATENCY_BOUNDS, Lanes, Phase, Side};

fn count(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("count");
    let counter = Counter::default();
    group.bench_function("a counter", |bencher| bencher.iter(|| black_box(&counter).inc()));
    let lanes = Lanes::new(2);
    group.bench_function("bytes of a worker", |bencher| bencher.iter(|| black_box(lanes.of(1)).add(Direction::Up, 64)));
    let closed = Closed::default();
    group.bench_function("an end, by cause, side and phase", |bencher| {
        bencher.iter(|| black_box(&closed).inc(Cause::Finished, Side::Client, Phase::Closing));
    });
    let histogram = Histogram::new(LATENCY_BOUNDS);
    let mut nanos = 0;
    group.bench_function("a span into a histogram", |bencher| {
        bencher.iter(|| {
            nanos = (nanos + 7_919_119) % 1_000_000_000;
            black_box(&histogram).observe(Duration::from_nanos(nanos));
        });
    });
}

/// The same cells while another thread counts in them without a pause.
fn contended(criterion: &mut Criterion) {
    let cells = Arc::new((Counter::default(), Histogram::new(LATENCY_BOUNDS)));
    let over = Arc::new(AtomicBool::new(false));
    let other = {
        let (cells, over) = (cells.clone(), over.clone());
        std::thread::spawn(move || {
            while !over.load(Relaxed) {
                cells.0.inc();
                cells.1.observe(Duration::from_micros(70));
            }
        })
    };
    let mut group = criterion.benchmark_group("count, and another thread does too");
    group.bench_function("a counter", |bencher| bencher.iter(|| black_box(&cells).0.inc()));
    group.bench_function("a span into a histogram", |bencher| {
        bencher.iter(|| black_box(&cells).1.observe(Duration::from_micros(70)));
    });
    over.store(true, Relaxed);
    other.join().expect("no panic");
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = count, contended
}
criterion_main!(benches);
