//! Change without breaking: what a reload changes, what it leaves alone, and what happens when it cannot be.

mod backends;
mod files;
mod guard;
mod limits;
mod listeners;
mod memory;
mod plan;
mod refused;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::{Peer, Setup, TOP};

/// A file: `front` on a free port, with more of it; the pool `back` of these backends, with more of it.
fn file(backends: &[SocketAddr], listener: &str, pool: &str) -> String {
    let backends: Vec<String> = backends.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "{TOP}listeners:\n  front: {{ bind: \"127.0.0.1:0\", pool: back{listener} }}\n\
         pools:\n  back: {{ backends: [ {} ]{pool} }}\n",
        backends.join(", ")
    )
}

/// A proxy of that file.
fn proxy(backends: &[SocketAddr]) -> crate::support::Proxy {
    Setup::file(file(backends, "", "")).start()
}

/// Clients that come one after another, each with a few checked bytes to say and to hear.
struct Steady {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Steady {
    /// That many at once, to where `front` echoes.
    fn at(to: SocketAddr, threads: usize) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |seed: usize| {
            let (stop, served) = (stop.clone(), served.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut client = Peer::connect(to).seeded(seed as u64, seed as u64);
                    client.say(3000);
                    client.hear(3000);
                    client.finish();
                    client.hear_end();
                    served.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(5));
                }
            })
        };
        let threads = (0..threads).map(client).collect();
        Self { stop, served, threads }
    }

    /// So many were served so far.
    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Ends them; every one of them must have been served.
    #[track_caller]
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client was not served as it should be");
        }
        self.served.load(Ordering::Relaxed)
    }
}
