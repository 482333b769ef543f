//! Clients that come and go while a test does something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::{Peer, Proxy, who};

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
