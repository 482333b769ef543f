//! TLS with clients and with backends: which files, and what is asked for.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;

/// `listeners.*.tls`: how TLS is spoken with clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// Chosen by the name a client asks for; the first is for all others. Never empty.
    pub certificates: Vec<CertificateFiles>,
    /// Whether and how clients prove who they are; `None` asks nobody.
    pub client_auth: Option<ClientAuth>,
    /// The oldest version accepted.
    pub min_version: TlsVersion,
    /// Application protocols, the preferred one first; without any, none is agreed on.
    pub alpn: Vec<Arc<str>>,
    /// Handshakes at once.
    pub max_handshakes: usize,
    /// Secrets for tickets that replicas share; without any, the process makes its own.
    pub ticket_keys: Vec<PathBuf>,
}

impl ListenerTls {
    /// Every file that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let pairs = self.certificates.iter().flat_map(CertificateFiles::files);
        let client_auth = self.client_auth.iter().flat_map(|auth| std::iter::once(&auth.ca).chain(&auth.crl));
        pairs.chain(client_auth).chain(&self.ticket_keys)
    }
}

/// A certificate with its chain, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, then its chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Both.
    pub fn files(&self) -> [&PathBuf; 2] {
        [&self.cert, &self.key]
    }
}

/// `client_auth`: how clients prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// The authorities whose certificates are accepted.
    pub ca: PathBuf,
    /// Whether a client may show none.
    pub optional: bool,
    /// Lists of revoked certificates; without any, none is looked for.
    pub crl: Vec<PathBuf>,
    /// Whether a list whose next update is overdue is used all the same.
    pub accept_expired_crl: bool,
}

/// A version of TLS that may be spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// `pools.*.tls`: how TLS is spoken with backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolTls {
    /// Whom all backends must prove to be; `None` is each its own host name or address.
    pub server_name: Option<ServerName<'static>>,
    /// The authorities that are trusted; `None` is the system's.
    pub ca: Option<PathBuf>,
    /// What is shown to backends that ask who we are.
    pub certificate: Option<CertificateFiles>,
    /// Application protocols that are offered, the preferred one first.
    pub alpn: Vec<Arc<str>>,
    /// Whether backends must prove who they are at all.
    pub verify: bool,
}

impl PoolTls {
    /// Every file that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.ca.iter().chain(self.certificate.iter().flat_map(CertificateFiles::files))
    }
}
