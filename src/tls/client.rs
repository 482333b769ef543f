//! The client's side: what is offered to a backend, and whom we believe to have met.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::files::{self, Expiry, Pair, Unusable};
use super::tickets::Binding;
use crate::config::PairFault;
use crate::config::plan::{CertificateFiles, PoolTls};
use crate::net::{Unsecured, secured};

/// A stream inside TLS. Shutting it down sends close_notify; an end that comes without one is an error.
pub type Secured<IO> = tokio_rustls::client::TlsStream<IO>;

/// How TLS is spoken with a backend: TLS 1.2 and 1.3.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    verifies: bool,
    expiries: Vec<Expiry>,
    warnings: Vec<String>,
    fingerprint: Option<Binding>,
}

/// Why a handshake came to nothing, in words for an operator. What the backend supplied is escaped and cut in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeError(pub String);

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Client {
    /// Completes handshakes with anybody, for who only asks how a backend is: neither its certificate nor that it owns
    /// it is verified. Whoever sends it a secret has told everybody.
    ///
    /// # Errors
    /// The provider of cryptography has no algorithm that can be used.
    pub fn unverified() -> Result<Self, HandshakeError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let anybody = Arc::new(Anybody(provider.clone()));
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| HandshakeError(error.to_string()))?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth();
        // To ask means to shake hands; a resumed session would say less, and tickets would be kept for nothing.
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            verifies: false,
            expiries: Vec::new(),
            warnings: Vec::new(),
            fingerprint: None,
        })
    }

    /// TLS with the backends of a pool, from its files.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else.
    pub fn load(settings: &PoolTls) -> Result<Self, Unusable> {
        let provider = files::provider();
        let roots = match &settings.ca {
            Some(ca) => files::authorities(ca),
            None if settings.verify => files::system(),
            None => Ok(RootCertStore::empty()),
        };
        let roots = roots.map_err(Unusable)?;
        let pair = settings.certificate.as_ref();
        let pair = pair.map(|CertificateFiles { cert, key }| Ok((cert, Pair::load_own(cert, key)?)));
        let pair = pair.transpose().map_err(|fault: PairFault| Unusable(fault.message))?;
        let fingerprint = {
            let anchors =
                roots.roots.iter().flat_map(|root| [root.subject.as_ref(), root.subject_public_key_info.as_ref()]);
            let chain = pair.iter().flat_map(|(_, pair)| &pair.certified.cert).map(|der| der.as_ref());
            Binding::new(anchors.chain(chain))
        };
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| Unusable(error.to_string()))?;
        let builder = match settings.verify {
            true => builder.with_root_certificates(roots),
            false => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
        };
        let mut config = match &pair {
            Some((_, pair)) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.certified.clone())))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = settings.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let (expiries, warnings) = match pair {
            None => (Vec::new(), Vec::new()),
            Some((cert, pair)) => {
                let warnings = pair.warning(cert, files::now()).into_iter().collect();
                (vec![Expiry { file: cert.clone(), not_after: pair.not_after }], warnings)
            }
        };
        Ok(Self {
            config: Arc::new(config),
            verifies: settings.verify,
            expiries,
            warnings,
            fingerprint: Some(fingerprint),
        })
    }

    /// For who shakes hands with it.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// Whether backends could not tell the two apart: all files mean the same.
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

    /// The same, offering these application protocols, best first.
    pub fn offering(self, protocols: &[&[u8]]) -> Self {
        let mut config = Arc::unwrap_or_clone(self.config);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Self { config: Arc::new(config), ..self }
    }

    /// Whether a handshake proves who is at the other end; if not, it may be anybody.
    pub fn verifies(&self) -> bool {
        self.verifies
    }

    /// Shakes hands on `io` with who is called `host`: a host name, which is sent as SNI, or an IP address or a
    /// `unix:` path, for which none is; a port after them is not minded. No limit on time.
    ///
    /// # Errors
    /// The backend refused, does not speak TLS, or is not who it should be.
    pub async fn handshake<IO>(&self, host: &str, io: IO) -> Result<Secured<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(self.config.clone());
        connector.connect(name(host), io).await.map_err(|error| HandshakeError(words(&error)))
    }
}

/// Who is expected; rustls sends the name of hosts alone.
fn name(host: &str) -> ServerName<'static> {
    // Nobody is called like that, and it is not sent.
    let nobody = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    if let Ok(address) = host.parse::<SocketAddr>() {
        return ServerName::from(address.ip());
    }
    let without_port = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    };
    let bare = without_port.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(without_port);
    ServerName::try_from(bare.to_owned()).unwrap_or(nobody)
}

/// What rustls says, told apart by who is to blame for it.
fn words(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(cause) => secured::words(cause),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Unsecured::Left.to_string(),
        None => format!("connection lost during the handshake: {error}"),
    }
}

/// Takes everybody for who it should be.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
