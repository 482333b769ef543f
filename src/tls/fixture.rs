//! TLS for tests.
#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[path = "../../tests/support/pki.rs"]
pub(crate) mod pki;

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use super::files::Pair;
use pki::{Authority, Wish};

/// A certificate for these names with a key of this kind, which nobody needs to trust.
pub(super) fn pair(names: &[&str], kind: &'static rcgen::SignatureAlgorithm) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let [cert, key] = Authority::new("nobody").issue(&Wish::names(names).kind(kind)).save(dir.path(), "a");
    Pair::load(&cert, &key).unwrap()
}

/// A server whose certificate is signed by nobody else, which speaks these versions and application protocols.
pub(crate) fn server(versions: &[&'static SupportedProtocolVersion], protocols: &[&[u8]]) -> TlsAcceptor {
    let own = rcgen::generate_simple_self_signed(["x.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}
