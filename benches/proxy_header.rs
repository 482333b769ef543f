//! What reading and writing a PROXY header costs: `cargo bench --bench proxy_header`.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use peerway::wire::proxy::{ALPN, AUTHORITY, Header, Tlvs, UNIQUE_ID, parse};

fn tcp(src: &str, dst: &str) -> Header {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    Header::tcp(address(src), address(dst))
}

fn fields() -> Tlvs {
    let mut fields = Tlvs::default();
    for (kind, value) in [(AUTHORITY, &b"db.example.com"[..]), (ALPN, b"h2"), (UNIQUE_ID, b"0123456789abcdef")] {
        fields.push(kind, value).expect("short");
    }
    fields
}

/// A header by its name, with some payload behind it.
fn headers() -> Vec<(&'static str, Vec<u8>)> {
    let v4 = tcp("203.0.113.77:51234", "192.0.2.10:5432");
    let v6 = tcp("[2001:db8:1234:5678::77]:51234", "[2001:db8::10]:5432");
    let none = Tlvs::default();
    let mut headers = vec![
        ("v1, IPv4", v4.v1()),
        ("v1, IPv6", v6.v1()),
        ("v2, IPv4", v4.v2(&none, false)),
        ("v2, IPv6", v6.v2(&none, false)),
        ("v2, IPv4, three fields", v4.v2(&fields(), false)),
        ("v2, IPv4, three fields and a checksum", v4.v2(&fields(), true)),
    ];
    headers.iter_mut().for_each(|(_, bytes)| bytes.extend_from_slice(&[b'x'; 512]));
    headers
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    for (name, bytes) in headers() {
        assert!(matches!(parse(&bytes), Ok(Some(_))), "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| black_box(parse(black_box(&bytes)))));
    }
    let (_, whole) = &headers()[5];
    group.bench_function("v2, the same of which all but the last byte has come", |bencher| {
        let (_, length) = parse(whole).expect("a header").expect("whole");
        bencher.iter(|| black_box(parse(black_box(&whole[..length - 1]))));
    });
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write");
    let (header, none, fields) = (tcp("203.0.113.77:51234", "192.0.2.10:5432"), Tlvs::default(), fields());
    group.bench_function("v1", |bencher| bencher.iter(|| black_box(black_box(&header).v1())));
    group.bench_function("v2", |bencher| bencher.iter(|| black_box(black_box(&header).v2(&none, false))));
    group.bench_function("v2, three fields and a checksum", |bencher| {
        bencher.iter(|| black_box(black_box(&header).v2(&fields, true)));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = read, write
}
criterion_main!(benches);
