//! The client's side: what is offered to a backend, and whom we believe to have met.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::wire::legible;

/// A stream inside TLS. Shutting it down sends close_notify; an end that comes without one is an error.
pub type Secured<IO> = tokio_rustls::client::TlsStream<IO>;

/// How TLS is spoken with a backend: TLS 1.2 and 1.3.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    verifies: bool,
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
        Ok(Self { config: Arc::new(config), verifies: false })
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
        Some(rustls::Error::AlertReceived(alert)) => format!("alert: {}", spaced(*alert)),
        Some(rustls::Error::InvalidMessage(_)) => format!("not TLS: {error}"),
        Some(other) => legible(&other.to_string()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it closed the connection during the handshake".into(),
        None => format!("connection lost during the handshake: {error}"),
    }
}

/// `HandshakeFailure` as words.
pub(super) fn spaced(alert: AlertDescription) -> String {
    let name = format!("{alert:?}");
    if !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return format!("number {}", u8::from(alert));
    }
    let mut spaced = String::new();
    let mut before = ' ';
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
            spaced.push(' ');
        }
        spaced.push(letter.to_ascii_lowercase());
        before = letter;
    }
    spaced
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
