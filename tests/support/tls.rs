//! Clients that speak TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::PATIENCE;
use super::pki::{Authority, Issued, Wish};

pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// How a client speaks TLS; it keeps its tickets.
#[derive(Clone)]
pub(crate) struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// It trusts this authority.
    pub(crate) fn trusting(authority: &Authority) -> Self {
        Self::new(authority, None, &VERSIONS, &[])
    }

    /// The same, by the authority's certificate.
    pub(crate) fn trusting_pem(pem: &str) -> Self {
        Self::with(pem, None, &VERSIONS, &[])
    }

    /// It shows this certificate, if any, and speaks these versions and protocols.
    pub(crate) fn new(
        authority: &Authority,
        own: Option<&Issued>,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Self {
        Self::with(authority.pem(), own, versions, protocols)
    }

    fn with(
        authority: &str,
        own: Option<&Issued>,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let cert = CertificateDer::from_pem_slice(own.cert.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self(Arc::new(config))
    }

    /// A session under way with who is called `name`, over a socket that has been used already.
    pub(crate) fn over(&self, socket: TcpStream, name: &str) -> std::io::Result<TlsPeer> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let session = ClientConnection::new(self.0.clone(), name.to_owned().try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(TlsPeer { stream })
    }

    pub(crate) fn try_connect(&self, to: SocketAddr, name: &str) -> std::io::Result<TlsPeer> {
        self.over(TcpStream::connect(to)?, name)
    }

    #[track_caller]
    pub(crate) fn connect(&self, to: SocketAddr, name: &str) -> TlsPeer {
        self.try_connect(to, name).unwrap_or_else(|error| panic!("a handshake with {name}: {error}"))
    }

    /// The first flight: what a client of `name` says before it has heard anything.
    pub(crate) fn hello(&self, name: &str) -> Vec<u8> {
        let mut session = ClientConnection::new(self.0.clone(), name.to_owned().try_into().unwrap()).unwrap();
        let mut hello = Vec::new();
        session.write_tls(&mut hello).unwrap();
        hello
    }
}

/// A client's end of a session inside TLS.
pub(crate) struct TlsPeer {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TlsPeer {
    #[track_caller]
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    #[track_caller]
    pub(crate) fn hear(&mut self, expected: &[u8]) {
        let mut heard = vec![0; expected.len()];
        self.stream.read_exact(&mut heard).unwrap();
        assert!(heard == expected, "other bytes");
    }

    /// Says close_notify, and goes on listening.
    pub(crate) fn finish(&mut self) {
        self.stream.conn.send_close_notify();
        self.stream.flush().unwrap();
        while self.stream.conn.wants_write() {
            self.stream.conn.write_tls(&mut self.stream.sock).unwrap();
        }
    }

    /// What comes before close_notify.
    #[track_caller]
    pub(crate) fn hear_all(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        self.stream.read_to_end(&mut heard).expect("a close_notify");
        heard
    }

    /// The stream is cut by a reset, and nobody says close_notify.
    #[track_caller]
    pub(crate) fn hear_reset(&mut self) {
        let error = self.stream.read_to_end(&mut Vec::new()).expect_err("a cut");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    /// How the session goes on, if the client is told: in TLS 1.3 tickets come after the handshake, with the first bytes.
    pub(crate) fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that the server has shown, DER.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().unwrap()[0].to_vec()
    }
}

/// Leaves a new certificate for these names in `dir`, as `NAME.pem` and `NAME.key`.
pub(crate) fn certify(authority: &Authority, dir: &Path, file: &str, names: &[&str]) -> Issued {
    let issued = authority.issue(&Wish::names(names));
    issued.save(dir, file);
    issued
}

/// The one certificate of a PEM text, DER.
pub(crate) fn der(issued: &Issued) -> Vec<u8> {
    CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap().to_vec()
}
