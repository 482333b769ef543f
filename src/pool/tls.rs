//! TLS of one pool: what is in force.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::config::plan::BackendAddress;
use crate::connect::Secure;
use crate::tls::Client;

/// TLS of a pool. A reload or new content of its files puts another client in, for what is dialled from then on.
#[derive(Debug)]
pub struct LiveTls {
    client: ArcSwapOption<Client>,
    /// What seats hold, so that they need not be made anew.
    config: ArcSwapOption<ArcSwap<ClientConfig>>,
    current: AtomicBool,
}

impl Default for LiveTls {
    fn default() -> Self {
        Self { client: ArcSwapOption::empty(), config: ArcSwapOption::empty(), current: AtomicBool::new(true) }
    }
}

impl LiveTls {
    /// What backends are met with; None is no TLS.
    pub fn client(&self) -> Option<Arc<Client>> {
        self.client.load_full()
    }

    /// What they are met with from now on. Its files are as they are on disk.
    ///
    /// Only one thread calls it, the one that reloads.
    pub fn put(&self, client: Option<Arc<Client>>) {
        match (&client, self.config.load_full()) {
            (Some(client), Some(config)) => config.store(client.config()),
            (Some(client), None) => self.config.store(Some(Arc::new(ArcSwap::new(client.config())))),
            // Who still dials with it is not sent to do so in the clear.
            (None, _) => self.config.store(None),
        }
        self.client.store(client);
        self.current.store(true, Relaxed);
    }

    /// The files on disk have become others, and those cannot be used.
    pub fn outdated(&self) {
        self.current.store(false, Relaxed);
    }

    /// Whether what is in force is what is on disk.
    pub fn is_current(&self) -> bool {
        self.current.load(Relaxed)
    }

    /// How the backend at `address` is met, which must prove to be `name`, or else what its address says.
    pub(super) fn secure(&self, name: Option<&ServerName<'static>>, address: &BackendAddress) -> Option<Arc<Secure>> {
        let (config, client) = (self.config.load_full()?, self.client.load_full()?);
        let own = || match address {
            BackendAddress::Ip(address) => ServerName::from(address.ip()),
            // The configuration has made sure that there is a name if it is going to be looked at.
            BackendAddress::Host(host, _) => ServerName::try_from(host.to_string()).unwrap_or_else(|_| nobody()),
            BackendAddress::Unix(_) => nobody(),
        };
        let name = name.cloned().unwrap_or_else(own);
        Some(Arc::new(Secure { config, name, verifies: client.verifies() }))
    }
}

/// Is called by no certificate, and not sent.
fn nobody() -> ServerName<'static> {
    ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]))
}
