//! What looking at a ClientHello costs: `cargo bench --bench client_hello`. The hellos are those of a real client.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peerway::wire::client_hello::{Glimpse, client_hello};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// The first bytes of a client that offers these key exchanges.
fn hello(groups: &[&'static dyn SupportedKxGroup]) -> Vec<u8> {
    let provider = CryptoProvider { kx_groups: groups.to_vec(), ..aws_lc_rs::default_provider() };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("db.example.com").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("memory");
    bytes
}

/// The same message, but in records of so many bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |bytes: &[u8]| [&hello[..3], &(bytes.len() as u16).to_be_bytes(), bytes].concat();
    hello[5..].chunks(size).flat_map(record).collect()
}

fn look(criterion: &mut Criterion) {
    let short = hello(&[aws_lc_rs::kx_group::X25519]);
    let long = hello(&[aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519]);
    let bytes = short.len();
    let mut group = criterion.benchmark_group("look");
    for (name, hello) in [
        ("X25519", short.clone()),
        ("X25519 and ML-KEM-768", long.clone()),
        ("X25519 and ML-KEM-768, in records of 16 bytes", in_records(&long, 16)),
    ] {
        assert!(matches!(client_hello(&hello), Glimpse::Hello(_)), "{name}");
        group.throughput(Throughput::Bytes(hello.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| black_box(client_hello(black_box(&hello)))));
    }
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("X25519, a byte at a time", |bencher| {
        bencher.iter(|| (1..=bytes).for_each(|came| drop(black_box(client_hello(black_box(&short[..came]))))));
    });
    group.bench_function("not TLS", |bencher| {
        bencher.iter(|| black_box(client_hello(black_box(b"SSH-2.0-OpenSSH_9.2"))))
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = look
}
criterion_main!(benches);
