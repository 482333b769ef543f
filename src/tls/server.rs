//! The server's side: TLS as one listener speaks it with its clients.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, CommonState, Error, HandshakeKind, ProtocolVersion, ServerConfig};

use super::files::{self, Pair};
use super::names::Certificates;
use super::tickets::{Binding, OwnSecrets, Secret, Secrets, Tickets};
use crate::config::plan::{CertificateFiles, ClientAuth, ListenerTls, TlsVersion};
use crate::metrics::HandshakeResult;
use crate::net::secured;
use crate::wire::x509;

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

/// When a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The file with its chain.
    pub file: PathBuf,
    /// When the first of that chain ends, seconds since 1970.
    pub not_after: i64,
}

/// Who is asked for a certificate, and by whom it is verified.
struct Auth {
    verifier: Arc<dyn ClientCertVerifier>,
    optional: bool,
}

/// Files that cannot be used, in words that name them and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable(pub String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// What a completed handshake has shown of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// The name it asked for: lower-cased, without a trailing dot.
    pub server_name: Option<String>,
    /// The application protocol that was agreed on.
    pub protocol: Option<Vec<u8>>,
    /// The version and the cipher that are in use.
    pub session: Session,
    /// What its certificate says, if it has shown one; that was verified in this handshake, also if it was resumed.
    pub certificate: Option<x509::Certificate>,
}

/// What is spoken, as OpenSSL names it: that is how those who read such names know them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Session {
    /// Such as `TLSv1.3`.
    pub version: &'static str,
    /// Such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
    /// Whether it goes on from an earlier one.
    pub resumed: bool,
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

    /// A handshake to come.
    pub fn handshake(self: &Arc<Self>) -> Handshake {
        let witness = Arc::new(Witness { certificates: self.certificates.clone(), asked: Mutex::new(None) });
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = witness.clone();
        Handshake { config: Arc::new(config), witness, server: self.clone() }
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

/// One handshake: rustls is given its configuration, and once it is complete this tells what came of it.
#[derive(Debug)]
pub struct Handshake {
    config: Arc<ServerConfig>,
    witness: Arc<Witness>,
    server: Arc<Server>,
}

impl Handshake {
    /// The configuration for this handshake alone.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// What the handshake, which is complete, has shown. A client that resumed its session is verified once more: since
    /// its ticket was made its certificate may have ended.
    ///
    /// # Errors
    /// The client must not be served.
    pub fn shown(&self, session: &CommonState) -> Result<Shown, Error> {
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let auth = self.server.auth.as_ref();
        let certificate = auth.map(|auth| auth.certificate(session, resumed)).transpose()?.flatten();
        Ok(Shown {
            server_name: self.witness.asked(),
            protocol: session.alpn_protocol().map(<[u8]>::to_vec),
            session: Session { version: version(session), cipher: cipher(session), resumed },
            certificate,
        })
    }
}

/// Chooses the certificate of one handshake, and remembers for which name: nobody else tells that afterwards.
#[derive(Debug)]
struct Witness {
    certificates: Arc<Certificates>,
    asked: Mutex<Option<String>>,
}

impl Witness {
    fn asked(&self) -> Option<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Witness {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = hello.server_name().map(normal);
        self.certificates.resolve(hello)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("expiries", &self.expiries).finish_non_exhaustive()
    }
}

impl Auth {
    /// Also gives what tickets are bound to.
    fn load(
        settings: &ClientAuth,
        listener: &str,
        provider: &Arc<CryptoProvider>,
        warnings: &mut Vec<String>,
    ) -> Result<(Self, Binding), Unusable> {
        let ClientAuth { ca, optional, crl, accept_expired_crl } = settings;
        let roots = Arc::new(files::authorities(ca).map_err(Unusable)?);
        let mut lists = Vec::new();
        for path in crl {
            let of_file = files::revocations(path).map_err(Unusable)?;
            warnings.extend(files::overdue(&of_file, path, files::now()));
            lists.extend(of_file);
        }
        let binding = {
            let demands = [u8::from(*optional), u8::from(*accept_expired_crl)];
            let anchors = roots.roots.iter().flat_map(|root| {
                let constraints = root.name_constraints.as_ref().map(|der| der.as_ref());
                [root.subject.as_ref(), root.subject_public_key_info.as_ref(), constraints.unwrap_or_default()]
            });
            let parts = [listener.as_bytes(), &demands, &roots.len().to_be_bytes()];
            Binding::new(parts.into_iter().chain(anchors).chain(lists.iter().map(|list| list.as_ref())))
        };
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).with_crls(lists);
        if !accept_expired_crl {
            builder = builder.enforce_revocation_expiration();
        }
        if *optional {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build().map_err(|error| Unusable(format!("{}: {error}", ca.display())))?;
        Ok((Self { verifier, optional: *optional }, binding))
    }

    /// The certificate that the client has shown, if it has and need not.
    fn certificate(&self, session: &CommonState, resumed: bool) -> Result<Option<x509::Certificate>, Error> {
        let chain = session.peer_certificates().unwrap_or_default();
        let Some((own, issuers)) = chain.split_first() else {
            return if self.optional { Ok(None) } else { Err(Error::NoCertificatesPresented) };
        };
        if resumed {
            self.verifier.verify_client_cert(own, issuers, UnixTime::now())?;
        }
        let read = x509::Certificate::read(own);
        read.map(Some).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
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

/// How a handshake is counted that ended for this.
pub fn verdict(error: &Error) -> HandshakeResult {
    use CertificateError as Bad;
    match error {
        Error::AlertReceived(_) => HandshakeResult::Alert,
        Error::NoCertificatesPresented => HandshakeResult::NoCertificate,
        Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer | Bad::BadSignature => HandshakeResult::UnknownCa,
            Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                HandshakeResult::Expired
            }
            Bad::Revoked
            | Bad::UnknownRevocationStatus
            | Bad::ExpiredRevocationList
            | Bad::ExpiredRevocationListContext { .. } => HandshakeResult::Revoked,
            _ => HandshakeResult::Protocol,
        },
        _ => HandshakeResult::Protocol,
    }
}

/// Why a handshake failed, in words for a log. What the client supplied is escaped and cut in it.
pub fn words(error: &Error) -> String {
    secured::words(error)
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn version(session: &CommonState) -> &'static str {
    match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLSv1.2",
    }
}

/// The nine that the provider has.
fn cipher(session: &CommonState) -> &'static str {
    use rustls::CipherSuite as Suite;
    match session.negotiated_cipher_suite().map(|suite| suite.suite()) {
        Some(Suite::TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
        Some(Suite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
        Some(Suite::TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
        Some(Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384) => "ECDHE-ECDSA-AES256-GCM-SHA384",
        Some(Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) => "ECDHE-ECDSA-AES128-GCM-SHA256",
        Some(Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256) => "ECDHE-ECDSA-CHACHA20-POLY1305",
        Some(Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) => "ECDHE-RSA-AES256-GCM-SHA384",
        Some(Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) => "ECDHE-RSA-AES128-GCM-SHA256",
        Some(Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256) => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
