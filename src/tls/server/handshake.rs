//! One handshake with a client: what it showed, and how it is counted.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, CommonState, Error, HandshakeKind, ProtocolVersion, ServerConfig};

use super::Server;
use crate::metrics::HandshakeResult;
use crate::net::secured;
use crate::tls::names::Certificates;
use crate::wire::x509;

impl Server {
    /// A handshake to come.
    pub fn handshake(self: &Arc<Self>) -> Handshake {
        let witness = Arc::new(Witness { certificates: self.certificates.clone(), asked: Mutex::new(None) });
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = witness.clone();
        Handshake { config: Arc::new(config), witness, server: self.clone() }
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
