//! The server's side: TLS as one listener speaks it with its clients.

mod auth;
mod handshake;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};

use super::files::{self, Expiry, Pair, Unusable};
use super::names::Certificates;
use super::tickets::{Binding, OwnSecrets, Secret, Secrets, Tickets};
use crate::config::plan::{CertificateFiles, ListenerTls, TlsVersion};

pub use handshake::{Handshake, Session, Shown, verdict, words};

use auth::Auth;

/// TLS as a listener speaks it, with all its files read. What they hold now is what new connections meet until another
/// one is put in its place; those that live keep theirs.
pub struct Server {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    auth: Option<Auth>,
    own: Arc<OwnSecrets>,
    max_handshakes: usize,
    expiries: Vec<Expiry>,
    warnings: Vec<String>,
    fingerprint: Binding,
}

impl Server {
    /// TLS of `listener`, from its files; `own` are the secrets for tickets where no files have any.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else.
    pub fn load(settings: &ListenerTls, listener: &str, own: &Arc<OwnSecrets>) -> Result<Self, Unusable> {
        let provider = files::provider();
        let now = files::now();
        let mut warnings = Vec::new();
        let mut pairs = Vec::new();
        for CertificateFiles { cert, key } in &settings.certificates {
            let pair = Pair::load(cert, key).map_err(|fault| Unusable(fault.message))?;
            warnings.extend(pair.warning(cert, now));
            pairs.push(pair);
        }
        let expiries = settings.certificates.iter().zip(&pairs);
        let expiries = expiries.map(|(files, pair)| Expiry { file: files.cert.clone(), not_after: pair.not_after });
        let expiries = expiries.collect();
        let auth = settings.client_auth.as_ref();
        let (auth, binding) = match auth.map(|auth| Auth::load(auth, listener, &provider, &mut warnings)).transpose()? {
            Some((auth, binding)) => (Some(auth), binding),
            None => (None, Binding::new([listener.as_bytes()])),
        };
        let tickets = Tickets::new(secrets(&settings.ticket_keys, own)?, binding);
        let chains = pairs.iter().flat_map(|pair| &pair.certified.cert).map(|der| der.as_ref());
        let secrets = tickets.names();
        let fingerprint =
            Binding::new(chains.chain(secrets.iter().map(|name| &name[..])).chain([binding.as_bytes().as_slice()]));
        let certificates = Arc::new(Certificates::new(&pairs));
        let config = build(settings, provider, certificates.clone(), auth.as_ref(), tickets)?;
        Ok(Self {
            config: Arc::new(config),
            certificates,
            auth,
            own: own.clone(),
            max_handshakes: settings.max_handshakes,
            expiries,
            warnings,
            fingerprint,
        })
    }

    /// TLS of an endpoint that speaks HTTP/1, has one certificate and asks nobody for theirs.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else.
    pub fn endpoint(files: &CertificateFiles) -> Result<Self, Unusable> {
        let settings = ListenerTls {
            certificates: vec![files.clone()],
            client_auth: None,
            min_version: TlsVersion::Tls12,
            alpn: vec!["http/1.1".into()],
            max_handshakes: usize::MAX,
            ticket_keys: Vec::new(),
        };
        Self::load(&settings, "", &Arc::default())
    }

    /// For libraries that shake hands themselves; nobody's certificate is asked for then.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Whether one of its certificates is for this very host name. One for all names of a domain does not count.
    pub fn is_called(&self, name: &str) -> bool {
        self.certificates.have(name)
    }

    /// Handshakes it may have at once.
    pub fn max_handshakes(&self) -> usize {
        self.max_handshakes
    }

    /// What its tickets are made with where no files have secrets.
    pub fn secrets(&self) -> &Arc<OwnSecrets> {
        &self.own
    }

    /// Whether clients could not tell the two apart: all files mean the same.
    pub fn is_like(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// When its certificates end.
    pub fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }

    /// What works but is probably not meant: what is out of date.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("expiries", &self.expiries).finish_non_exhaustive()
    }
}

fn build(
    settings: &ListenerTls,
    provider: Arc<CryptoProvider>,
    certificates: Arc<Certificates>,
    auth: Option<&Auth>,
    tickets: Tickets,
) -> Result<ServerConfig, Unusable> {
    let versions = match settings.min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12][..],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let builder = builder.map_err(|error| Unusable(error.to_string()))?;
    let builder = match auth {
        Some(auth) => builder.with_client_cert_verifier(auth.verifier.clone()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificates);
    config.alpn_protocols = settings.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    // Sessions are resumed by tickets alone: those work at every worker, and nothing is kept here for a client.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::new(tickets);
    // One is enough: each resumed session brings the next one. More serve clients that open several connections at once
    // after a single one, and cost all others.
    config.send_tls13_tickets = 1;
    // What comes before the handshake's end can be replayed by anybody.
    config.max_early_data_size = 0;
    Ok(config)
}

fn secrets(paths: &[PathBuf], own: &Arc<OwnSecrets>) -> Result<Secrets, Unusable> {
    let read =
        |path: &PathBuf| files::ticket_secret(Path::new(path)).map(|bytes| Secret::new(&bytes)).map_err(Unusable);
    match paths {
        [] => Ok(Secrets::Own(own.clone())),
        paths => paths.iter().map(read).collect::<Result<_, _>>().map(Secrets::Shared),
    }
}

#[cfg(test)]
mod tests;
