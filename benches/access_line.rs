//! What a line of the access log costs the data path, composed and handed to its writer:
//! `cargo bench --bench access_line`.
#![allow(clippy::unwrap_used, dead_code, reason = "a fixture of tests, of which this needs a part")]

#[path = "../tests/admin/fixture.rs"]
mod fixture;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use peerway::ledger::Kind;

fn access_line(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("access line");
    for format in ["json", "text"] {
        let fixture = fixture::Fixture::of(&format!(
            "log: {{ format: {format}, access: {{ to: /dev/null, when: [end] }} }}\n\
             listeners: {{ l: {{ bind: 127.0.0.1:0, pool: p }} }}\npools: {{ p: {{ backends: [ 127.0.0.1:1 ] }} }}"
        ));
        let (entry, _client) = fixture.session("l");
        let logs = fixture.state.ledger.access();
        group.bench_function(format, |bencher| {
            bencher.iter(|| logs.write(Kind::End, entry.record(), None, Duration::from_secs(1)))
        });
        // The writer takes what it can; a line that is lost has cost the data path as much.
        println!("{format}: {} lines lost", logs.dropped());
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    targets = access_line
}
criterion_main!(benches);
