//! Letting a client in, and turning one away, allocates nothing once the client is known. In a process of its own,
//! because it counts every allocation there is.
#![allow(missing_docs, clippy::unwrap_used)]

use std::alloc::System;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use peerway::admission::{Entrance, Gate, Permit};
use peerway::config::plan::{Admission, Overflow, PerClient};
use peerway::metrics::Refused;
use peerway::net::Peer;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A future that need not wait.
fn now<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    match work.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn whoever_is_known_comes_and_goes_without_an_allocation() {
    let at = Instant::now();
    let per_client = PerClient { max_connections: Some(2), rate: NonZeroU64::new(1 << 40), prefix_v6: 64 };
    let rules =
        Admission { max_connections: Some(50), max_rate: NonZeroU64::new(1 << 40), per_client, ..<_>::default() };
    let (gate, entrance) = (Gate::new(100, Overflow::Refuse), Arc::new(Entrance::new(&rules, at)));
    let clients: Vec<_> = (0..20).map(|n| Some(Peer::tcp(([10, 0, 0, n], 4711).into()))).collect();
    let enter = |client| now(Permit::take(&gate, &entrance, client, at));
    // Each of them stays, so that all are known.
    let _inside: Vec<_> = clients.iter().map(|client| enter(*client).unwrap()).collect();
    let region = Region::new(ALLOCATOR);
    for _ in 0..100 {
        for client in &clients {
            let second = enter(*client);
            assert!(second.is_ok());
            assert_eq!(enter(*client).err(), Some(Refused::MaxConnectionsClient));
        }
        let mut late = enter(None).unwrap();
        late.introduce(clients[0].unwrap(), at).unwrap();
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
}
