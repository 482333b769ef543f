//! TLS of the admin endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwapOption;

use crate::config::plan::Admin;
use crate::tls::{Server, Unusable};

/// What new clients of the admin endpoint meet; nothing is no TLS. New content of its files puts another one in.
#[derive(Debug)]
pub struct AdminTls {
    server: ArcSwapOption<Server>,
    current: AtomicBool,
}

impl Default for AdminTls {
    fn default() -> Self {
        Self { server: ArcSwapOption::empty(), current: AtomicBool::new(true) }
    }
}

impl AdminTls {
    /// From the files that the configuration names.
    ///
    /// # Errors
    /// One cannot be used.
    pub fn load(settings: Option<&Admin>) -> Result<Self, Unusable> {
        let files = settings.and_then(|admin| admin.tls.as_ref());
        let server = files.map(Server::endpoint).transpose()?;
        Ok(Self { server: ArcSwapOption::from(server.map(Arc::new)), ..Self::default() })
    }

    /// What new clients meet.
    pub fn server(&self) -> Option<Arc<Server>> {
        self.server.load_full()
    }

    /// What they meet from now on. Its files are as they are on disk.
    pub fn put(&self, server: Arc<Server>) {
        self.server.store(Some(server));
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
}
