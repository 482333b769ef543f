//! What it costs to let somebody in, and to see them off again: `cargo bench --bench admission`.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ipnet::{IpNet, Ipv4Net};
use peerway::admission::{Entrance, Gate, Permit};
use peerway::config::plan::{AccessList, Admission, Networks, Overflow, PerClient};
use peerway::metrics::Refused;
use peerway::net::Peer;

/// The `nth` of many addresses, in no order, of which each is in a network of its own.
fn address(nth: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(nth.wrapping_mul(0x9e37_79b1) | 1)
}

/// Lists of so many networks, of which each third is denied.
fn lists(networks: u32) -> (Networks, Networks) {
    let network = |nth| IpNet::V4(Ipv4Net::new(address(nth), 24).expect("a prefix").trunc());
    let (denied, allowed) = (0..networks).partition::<Vec<u32>, _>(|nth| nth % 3 == 0);
    let list = |of: Vec<u32>| Networks { networks: of.into_iter().map(network).collect(), unix: false };
    (list(allowed), list(denied))
}

/// Nobody waits at this gate.
fn enter(gate: &Gate, entrance: &Arc<Entrance>, client: Peer, at: Instant) -> Result<Permit, Refused> {
    let entering = pin!(Permit::take(gate, entrance, Some(client), at));
    match entering.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(entered) => entered,
        Poll::Pending => unreachable!("a gate that refuses"),
    }
}

/// The same rules for clients of so many addresses, one after the other.
fn come_and_go(criterion: &mut Criterion, name: &str, cases: &[(u32, Admission)], clients: impl Fn(u32) -> u32) {
    let gate = Gate::new(10_000, Overflow::Refuse);
    let mut group = criterion.benchmark_group(name);
    for (size, rules) in cases {
        let entrance = Arc::new(Entrance::new(rules, Instant::now()));
        let mut nth = 0;
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                nth = (nth + 1) % clients(*size);
                let client = Peer::tcp(SocketAddr::from((address(nth), 4000)));
                drop(black_box(enter(&gate, &entrance, client, Instant::now())));
            });
        });
    }
}

fn limits(criterion: &mut Criterion) {
    come_and_go(criterion, "no rules; clients", &[(1, Admission::default()), (100_000, Admission::default())], |n| n);
    let rules = |networks| {
        let (allow, deny) = lists(networks);
        Admission { access: Some(Arc::new(AccessList::new(&allow, &deny))), ..Admission::default() }
    };
    come_and_go(criterion, "allow and deny, of networks", &[10, 100_000].map(|n| (n, rules(n))), |n| n);
    let per_client = PerClient { max_connections: Some(100), rate: NonZeroU64::new(1_000_000), prefix_v6: 64 };
    let rules = Admission { per_client, ..Admission::default() };
    come_and_go(criterion, "limits of each client; clients", &[1, 100_000].map(|n| (n, rules.clone())), |n| n);
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("building the table of networks");
    group.sample_size(20);
    for networks in [10, 100_000] {
        let (allow, deny) = lists(networks);
        group.bench_function(BenchmarkId::from_parameter(networks), |bencher| {
            bencher.iter(|| black_box(AccessList::new(&allow, &deny)));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = limits, build
}
criterion_main!(benches);
