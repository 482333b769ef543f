//! What every test over sockets shares: a real proxy, scripted peers on free ports, bytes that know their place.
//!
//! A test starts backends ([`Backend`]), a proxy in front of them ([`Setup`]), and drives both ends of a session
//! ([`Peer`]) by hand. Each target uses its own part of this, hence the permission for dead code.
#![allow(dead_code, unused_imports, clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod admin;
mod change;
mod clients;
mod generations;
mod hello;
mod lines;
mod moody;
mod peer;
pub(crate) mod pki;
mod process;
mod proxy;
mod tls;

pub(crate) use admin::{Admin, Scrape};
pub(crate) use change::TOP;
pub(crate) use clients::{Clients, Newcomers, Watcher};
pub(crate) use generations::{is_gone, open_files};
pub(crate) use hello::{hello, hello_message, records};
pub(crate) use moody::{Crowd, Mood, Moody, PING, is_open, who};
pub(crate) use peer::{Backend, Blackhole, Peer, Service, Wait, mix, random_file, send_across, socket_pair_direct};
pub(crate) use process::{Program, cpu_time, descriptors, free_port, pipes, program, resident_kib, run};
pub(crate) use proxy::{Address, Proxy, Setup, binary};
pub(crate) use tls::{TlsClient, TlsPeer, VERSIONS, certify, der};

use std::time::{Duration, Instant};

/// A decimal megabyte.
pub(crate) const MB: u64 = 1_000_000;

/// How long anything that should happen soon may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long a reset may take to cross the proxy: 200 ms, with five-fold slack for a busy machine.
pub(crate) const RESET_WITHIN: Duration = Duration::from_secs(1);

/// Looks again until `done` gives something, for at most [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
