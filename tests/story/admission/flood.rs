//! A hundred thousand addresses that come once, and a few clients that were there before.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::support::{Setup, resident_kib};

const SOURCES: u32 = 100_000;

/// One who says a line to each client and ends: all by itself, so that a flood costs the test no thread each.
fn greeter() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Comes from each of `numbers` once, resets, and gives up when it has had a minute.
fn flood(to: SocketAddr, numbers: std::ops::Range<u32>, came: &AtomicU32) {
    let started = Instant::now();
    for number in numbers {
        // 127.16.0.0 and on.
        let source = Ipv4Addr::from_bits(0x7f10_0000 + number);
        match Peer::try_connect_from((source, 0).into(), to) {
            Ok(peer) => peer.reset(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "from {source}"),
        }
        came.fetch_add(1, Ordering::Relaxed);
        assert!(started.elapsed() < Duration::from_secs(180), "{number} of {SOURCES} after three minutes");
    }
}

#[test]
fn a_flood_of_sources_costs_no_memory_and_keeps_nobody_out() {
    let (backend, address) = greeter();
    let admission = "admission: { deny: 127.17.0.0/16, per_client: { max_connections: 2, rate: 50/s } }";
    let setup = Setup::to([address]).process("log: { access: off }").listener(admission);
    let proxy = setup.start();
    let to = proxy.address("front");
    let (came, over) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let Ok((mut socket, _)) = backend.accept() else { return };
                drop(socket.write_all(b"hello\n"));
            }
        });
        let floods: Vec<_> = (0..2)
            .map(|half| (half * SOURCES / 2)..((half + 1) * SOURCES / 2))
            .map(|numbers| scope.spawn(|| flood(to, numbers, &came)))
            .collect();
        let mut early = None;
        let mut served = 0;
        while floods.iter().any(|flood| !flood.is_finished()) {
            let mut client = client(&proxy, 9);
            assert_eq!(client.line().unwrap(), "hello", "after {} had come", came.load(Ordering::Relaxed));
            served += 1;
            if came.load(Ordering::Relaxed) > SOURCES / 10 {
                early.get_or_insert_with(|| resident_kib(proxy.id()));
            }
            thread::sleep(Duration::from_millis(50));
        }
        floods.into_iter().for_each(|flood| flood.join().unwrap());
        let (late, early) = (resident_kib(proxy.id()), early.unwrap_or(u64::MAX / 2));
        assert!(late < early + 24 * 1024, "{early} KiB after a tenth of it, {late} KiB after all");
        assert!(served > 10, "{served}");
        is_over(&proxy);
        let denied = proxy.metric("peerway_listener_refused_total{reason=\"denied\"}");
        assert!(denied > 30_000.0, "those of 127.17.0.0/16 that the kernel handed over: {denied}");
        over.store(true, Ordering::Relaxed);
        drop(std::net::TcpStream::connect(address));
    });
}
