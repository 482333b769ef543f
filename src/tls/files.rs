//! Files of TLS: read, and judged before they are used. What is wrong is told with the file and the remedy.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore, SignatureAlgorithm};

use crate::config::{PairFacts, PairFault, Side, TlsFiles, read_regular};
use crate::sink::rfc3339;
use crate::wire::{legible, x509};

/// For the configuration: each file can be judged by itself.
pub const FILES: TlsFiles = TlsFiles {
    pair: |cert, key| Ok(Pair::load(cert, key)?.facts(cert)),
    own_pair: |cert, key| Ok(Pair::load_own(cert, key)?.facts(cert)),
    system: || system().map(drop),
    authorities: |path| authorities(path).map(drop),
    revocations: |path| revocations(path).map(|lists| overdue(&lists, path, now())),
    ticket_key: |path| ticket_secret(path).map(drop),
};

/// The most bytes that are read of a file with certificates or a key, and of one with a revocation list: authorities that
/// have revoked a million certificates have one of some 40 MB.
const MOST: u64 = 1024 * 1024;
const MOST_OF_LIST: u64 = 64 * 1024 * 1024;
/// Of a secret for tickets, bytes: below, guessing it is easier than breaking what is made of it.
const LEAST_SECRET: usize = 32;
const MOST_OF_SECRET: u64 = 4096;

/// Files that cannot be used, in words that name them and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable(pub String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// When a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The file with its chain.
    pub file: PathBuf,
    /// When the first of that chain ends, seconds since 1970.
    pub not_after: i64,
}

/// A certificate with its chain and its key, which belong together.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    /// The host names that the certificate is for, in lower case.
    pub(super) names: Vec<String>,
    /// It is for an address.
    has_address: bool,
    /// When the first certificate of the chain ends, seconds since 1970.
    pub(super) not_after: i64,
}

impl Pair {
    /// Reads both files.
    ///
    /// # Errors
    /// One cannot be read or holds something else, they do not belong together, or the certificate is for nobody.
    pub(super) fn load(cert: &Path, key: &Path) -> Result<Self, PairFault> {
        let pair = Self::load_own(cert, key)?;
        if pair.names.is_empty() && !pair.has_address {
            let message = format!(
                "the certificate in {} has no host name and no address among its alternative names (SAN), so that no \
                 client will accept it: have one made that has",
                cert.display()
            );
            return Err(PairFault { side: Side::Cert, message });
        }
        Ok(pair)
    }

    /// The same for a client's own certificate, which need not be for a host.
    ///
    /// # Errors
    /// One cannot be read or holds something else, or they do not belong together.
    pub(super) fn load_own(cert: &Path, key: &Path) -> Result<Self, PairFault> {
        let at = |side| move |message| PairFault { side, message };
        let chain = certificates(cert).map_err(at(Side::Cert))?;
        let signing = signing_key(key, &provider()).map_err(at(Side::Key))?;
        let read: Option<Vec<_>> = chain.iter().map(|der| x509::Certificate::read(der)).collect();
        let broken = || format!("{} holds a certificate that cannot be read", cert.display());
        let read = read.ok_or_else(broken).map_err(at(Side::Cert))?;
        let certified = CertifiedKey::new(chain, signing);
        belong_together(&certified, cert, key)?;
        let names: Vec<_> = read[0].dns.iter().map(|name| name.to_ascii_lowercase()).collect();
        let not_after = read.iter().map(|certificate| certificate.not_after).min().unwrap_or_default();
        Ok(Self { certified: Arc::new(certified), names, has_address: read[0].addresses > 0, not_after })
    }

    fn facts(self, cert: &Path) -> PairFacts {
        let kind = kind(self.certified.key.algorithm());
        PairFacts { warning: self.warning(cert, now()), names: self.names, kind }
    }

    /// What is probably not meant: it is out of date.
    pub(super) fn warning(&self, cert: &Path, now: i64) -> Option<String> {
        (self.not_after < now).then(|| {
            format!(
                "a certificate in {} has expired ({}): clients will refuse it",
                cert.display(),
                date(self.not_after)
            )
        })
    }
}

/// The provider of cryptography.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn belong_together(certified: &CertifiedKey, cert: &Path, key: &Path) -> Result<(), PairFault> {
    let Err(error) = certified.keys_match() else { return Ok(()) };
    let (cert, key) = (cert.display(), key.display());
    let is_of = |der: &CertificateDer<'static>| {
        CertifiedKey::new(vec![der.clone()], certified.key.clone()).keys_match().is_ok()
    };
    let other = certified.cert.iter().position(is_of);
    let (side, message) = match (error, other) {
        (Error::InconsistentKeys(_), Some(_)) => (
            Side::Cert,
            format!(
                "{key} is the key of a later certificate in {cert}: put the server's own first, and then its chain"
            ),
        ),
        (Error::InconsistentKeys(_), None) => {
            (Side::Key, format!("{key} is not the key of the certificate in {cert}: they do not belong together"))
        }
        (error, _) => (Side::Cert, format!("{cert} cannot be used: {}", legible(&error.to_string()))),
    };
    Err(PairFault { side, message })
}

/// The certificates of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path, MOST)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| unreadable(path, error))?;
    if found.is_empty() {
        let remedy = match bytes.first() {
            Some(0x30) => ": it looks like DER, of which `openssl x509 -inform der` makes PEM",
            _ => ": it must hold `-----BEGIN CERTIFICATE-----`",
        };
        return Err(format!("{} holds no certificate{remedy}", path.display()));
    }
    Ok(found)
}

fn signing_key(path: &Path, provider: &CryptoProvider) -> Result<Arc<dyn rustls::sign::SigningKey>, String> {
    let bytes = read(path, MOST)?;
    let shown = path.display();
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        // Both forms of a key with a password say so in the clear; rustls knows neither.
        _ if contains(&bytes, b"ENCRYPTED") => {
            format!("the key in {shown} has a password, and nobody is there to type it: `openssl pkey` takes it away")
        }
        rustls::pki_types::pem::Error::NoItemsFound => format!("{shown} holds no private key in PEM form"),
        error => unreadable(path, error),
    })?;
    let unusable = |error: Error| format!("the key in {shown} cannot be used: {}", legible(&error.to_string()));
    provider.key_provider.load_private_key(key).map_err(unusable)
}

/// The authorities of a file, at least one.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for der in certificates(path)? {
        let unusable = |error: Error| format!("{} cannot be used: {}", path.display(), legible(&error.to_string()));
        roots.add(der).map_err(unusable)?;
    }
    Ok(roots)
}

/// The authorities that this system trusts, at least one. Files that it cannot read are passed over, as other programs do.
pub(super) fn system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(
            "this system has no authorities that it trusts: install `ca-certificates`, or name them with `ca`".into()
        );
    }
    Ok(roots)
}

/// The revocation lists of a file, at least one.
pub(super) fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let bytes = read(path, MOST_OF_LIST)?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let mut found = found.map_err(|error| unreadable(path, error))?;
    if found.is_empty() {
        found.push(bytes.into());
    }
    for list in &found {
        let usable = x509::next_update(list).is_some() && webpki_accepts(list);
        usable.then_some(()).ok_or_else(|| format!("{} holds no list of revoked certificates", path.display()))?;
    }
    Ok(found)
}

/// Whether a verifier can be built with it.
fn webpki_accepts(list: &CertificateRevocationListDer<'static>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.roots.push(rustls::pki_types::TrustAnchor {
        subject: b"".as_slice().into(),
        subject_public_key_info: b"".as_slice().into(),
        name_constraints: None,
    });
    let builder = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider());
    builder.with_crls([list.clone()]).build().is_ok()
}

/// What is probably not meant: a list that should have been replaced by now.
pub(super) fn overdue(lists: &[CertificateRevocationListDer<'static>], path: &Path, now: i64) -> Option<String> {
    let next = lists.iter().filter_map(|list| x509::next_update(list).flatten()).min().filter(|next| *next < now)?;
    Some(format!("a list of revoked certificates in {} should have been replaced on {}", path.display(), date(next)))
}

/// What ticket keys are made of.
pub(super) fn ticket_secret(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = read(path, MOST_OF_SECRET)?;
    if bytes.len() < LEAST_SECRET {
        return Err(format!(
            "{} has {} bytes, and a secret needs {LEAST_SECRET}: make it with `openssl rand 80 > FILE`",
            path.display(),
            bytes.len()
        ));
    }
    Ok(bytes)
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let bytes = read_regular(path, most + 1).map_err(|error| format!("cannot read {shown}: {error}"))?;
    if bytes.len() as u64 > most {
        return Err(format!("{shown} has more than {most} bytes: that is not the file that is meant"));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, error: impl Display) -> String {
    format!("{} is broken: {}", path.display(), legible(&error.to_string()))
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

fn date(seconds: i64) -> String {
    let span = std::time::Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) };
    let mut text = rfc3339(at.unwrap_or(UNIX_EPOCH));
    text.truncate("2026-01-31".len());
    text
}

fn kind(algorithm: SignatureAlgorithm) -> String {
    format!("{algorithm:?}")
}
