//! TLS with an admin endpoint, which always has to prove who it is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::plan::PoolTls;
use crate::tls::{Client, Unusable, words};

/// How to be given other authorities.
const REMEDY: &str = "with --ca FILE or in PEERWAY_CA";

/// What an endpoint's certificate is verified with.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    config: Arc<ClientConfig>,
    ca: Option<PathBuf>,
}

impl Trust {
    /// In the authorities of a file, or in those of this system.
    ///
    /// # Errors
    /// In words: the file cannot be used, or this system trusts nobody.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, String> {
        let ca = ca.map(Path::to_owned);
        let settings = PoolTls {
            server_name: None,
            ca: ca.clone(),
            certificate: None,
            alpn: vec!["http/1.1".into()],
            verify: true,
        };
        let unusable = |Unusable(why): Unusable| match &ca {
            Some(_) => format!("--ca: {why}"),
            None => format!("this system has no authorities that it trusts: name that of the endpoint {REMEDY}"),
        };
        Ok(Self { config: Client::load(&settings).map_err(unusable)?.config(), ca: ca.clone() })
    }

    /// Shakes hands with whoever is at `address`, which must be who it says.
    ///
    /// # Errors
    /// In words, with the remedy.
    pub(super) async fn secure(&self, address: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let bare = host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| format!("{bare:?} is no name of a host"))?;
        let connected = TlsConnector::from(self.config.clone()).connect(name, stream).await;
        connected.map_err(|error| self.explain(bare, &error))
    }

    fn explain(&self, host: &str, error: &io::Error) -> String {
        use CertificateError as Bad;
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let Some(cause) = cause else { return format!("connection lost during the handshake: {error}") };
        match cause {
            Error::InvalidCertificate(Bad::UnknownIssuer) => {
                let trusted = match &self.ca {
                    Some(file) => format!("in {}", file.display()),
                    None => "that this system trusts".into(),
                };
                format!("its certificate is by no authority {trusted}: name the right one {REMEDY}")
            }
            Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
                format!(
                    "its certificate is not for {host}: name it in --admin as its certificate does ({})",
                    words(cause)
                )
            }
            Error::InvalidMessage(_) => {
                "it does not speak TLS: without `tls` in its `admin` leave `https://` away".into()
            }
            other => words(other),
        }
    }
}
