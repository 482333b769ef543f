//! What all runs share: backends, certificates, and what must be taken away in the end.

use std::net::SocketAddr;
use std::sync::Arc;

use tempfile::TempDir;

use crate::backend;
use crate::certificates::{self, Certificates};
use crate::leftovers::Leftovers;

/// Addresses of the backend in the clear.
const BACKENDS: usize = 1000;

pub struct Site {
    pub backends: Vec<SocketAddr>,
    pub secure_backend: SocketAddr,
    pub certificates: Certificates,
    pub leftovers: Leftovers,
    dir: TempDir,
}

impl Site {
    /// Starts the backends.
    pub fn open() -> Result<Arc<Self>, Box<dyn std::error::Error>> {
        let leftovers = Leftovers::watch()?;
        let dir = tempfile::Builder::new().prefix("rivals-").tempdir()?;
        leftovers.folder(dir.path());
        let certificates = certificates::make(dir.path())?;
        let secure_backend = backend::start_tls(certificates.server.clone())?;
        Ok(Arc::new(Self { backends: backend::start(BACKENDS)?, secure_backend, certificates, leftovers, dir }))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.leftovers.forget_folder(self.dir.path());
    }
}
