//! A certificate of P-256 that signs with ECDSA, for proxies and for the backend, and the authority that issued it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The name in the certificate.
pub const NAME: &str = "rivals.test";

type Failure = Box<dyn std::error::Error>;

/// Files for proxies.
#[derive(Debug, Clone)]
pub struct Files {
    pub authority: String,
    pub certificate: String,
    pub key: String,
    /// Certificate and key in one.
    pub both: String,
}

/// What both sides of this program speak TLS with: TLS 1.3, X25519 and AES-128-GCM, so that every proxy does the same work.
pub struct Certificates {
    pub files: Files,
    pub client: Arc<ClientConfig>,
    pub server: Arc<ServerConfig>,
}

/// Issues them, and writes the files to `to`.
pub fn make(to: &Path) -> Result<Certificates, Failure> {
    let mut authority = CertificateParams::new(Vec::new())?;
    // A certificate of the same name as its issuer would look as if it had signed itself.
    authority.distinguished_name.push(DnType::CommonName, "The authority of rivals");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let root = authority.self_signed(&authority_key)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut leaf = CertificateParams::new(vec![NAME.into()])?;
    leaf.distinguished_name.push(DnType::CommonName, NAME);
    let leaf = leaf.signed_by(&key, &Issuer::from_params(&authority, &authority_key))?;
    let file = |name: &str, text: String| -> Result<String, Failure> {
        let path = to.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let files = Files {
        authority: file("authority.pem", root.pem())?,
        certificate: file("certificate.pem", leaf.pem())?,
        key: file("key.pem", key.serialize_pem())?,
        both: file("both.pem", leaf.pem() + &key.serialize_pem())?,
    };
    let private = PrivateKeyDer::try_from(key.serialize_der())?;
    Ok(Certificates { files, client: client(root.der())?, server: server(leaf.der().clone(), private)? })
}

/// It never resumes: each connection is a full handshake.
fn client(root: &CertificateDer<'static>) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone())?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// It hands out no tickets, so that no proxy can resume.
fn server(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Result<Arc<ServerConfig>, Failure> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
}

pub fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a name")
}
