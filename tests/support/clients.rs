//! Clients that come and go while a test does something else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::{Admin, Peer, Proxy, eventually, who};

/// Starts sessions one after the other until told to stop, each of a few checked bytes; counts those that failed.
pub(crate) struct Clients {
    over: Arc<AtomicBool>,
    failed: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<u64>>,
}

impl Clients {
    pub(crate) fn of(proxy: &Proxy) -> Self {
        let (over, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, bad, to) = (over.clone(), failed.clone(), proxy.address("front"));
        let thread = thread::spawn(move || {
            let mut served = 0;
            while !stop.load(Ordering::SeqCst) {
                let session = Peer::try_connect(to).and_then(|mut client| who(&mut client).map(|_| client));
                match session {
                    Ok(client) => {
                        let mut client = client.seeded(7, 7);
                        match client.try_say(5000).and_then(|()| client.try_hear(5000)) {
                            Ok(()) => served += 1,
                            Err(_) => drop(bad.fetch_add(1, Ordering::SeqCst)),
                        }
                    }
                    Err(_) => drop(bad.fetch_add(1, Ordering::SeqCst)),
                }
                thread::sleep(Duration::from_millis(2));
            }
            served
        });
        Self { over, failed, thread: Some(thread) }
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::SeqCst)
    }

    /// How many were served.
    pub(crate) fn stop(mut self) -> u64 {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// Clients of a backend that echoes, some at once and one after the other; each must be served to the last byte.
pub(crate) struct Newcomers {
    over: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Newcomers {
    /// Starts so many at once, each with a pause behind it.
    pub(crate) fn of(to: SocketAddr, at_once: u64, pause: Duration) -> Self {
        let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let one = |seed| {
            let (over, served) = (over.clone(), served.clone());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let mut client = Peer::connect(to).seeded(seed, seed);
                    client.say(3000);
                    client.hear(3000);
                    client.finish();
                    client.hear_end();
                    served.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(pause);
                }
            })
        };
        let threads = (1..=at_once).map(one).collect();
        Self { over, served, threads }
    }

    /// How many were served until now.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until more than so many have been served.
    #[track_caller]
    pub(crate) fn come_beyond(&self, served: u64) {
        eventually("newcomers are served", || (self.served() > served).then_some(()));
    }

    /// Lets the last ones go; says how many were served.
    #[track_caller]
    pub(crate) fn stop(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        for client in self.threads.drain(..) {
            client.join().expect("a client was not served as it should be");
        }
        self.served()
    }
}

impl Drop for Newcomers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Scrapes again and again: no count goes back, and what came is what went and what is there.
pub(crate) struct Watcher {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<u64>>,
}

impl Watcher {
    /// Starts one that looks at counts of the series that are `wanted`, with a pause behind each page.
    pub(crate) fn of(admin: Admin, pause: Duration, wanted: impl Fn(&str) -> bool + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let thread = thread::spawn(move || {
            let (mut before, mut scrapes) = (admin.scrape(), 1);
            before.adds_up();
            while !stop.load(Ordering::Relaxed) {
                let now = admin.scrape();
                now.goes_on_from(&before, &wanted);
                now.adds_up();
                (before, scrapes) = (now, scrapes + 1);
                thread::sleep(pause);
            }
            scrapes
        });
        Self { over, thread: Some(thread) }
    }

    /// How many pages it has seen.
    #[track_caller]
    pub(crate) fn stop(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().expect("a page was not as it should be")
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
