//! TLS with clients. The files are read here once, by those who know them, so that what is wrong is said at its place.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::hint::quote;
use super::super::keys::CERTIFICATE;
use super::super::plan::{CertificateFiles, ClientAuth, ListenerTls, TlsVersion};
use super::super::scalar;
use super::super::section::{Found, Section, word};
use super::super::tree::Node;
use super::super::{PairFault, Side};
use super::{Decoder, size};

impl<'a> Decoder<'a, '_> {
    pub(super) fn listener_tls(&mut self, listener: &Section<'a>) -> Option<ListenerTls> {
        listener.find("tls").filter(|_| !listener.is_off("tls"))?;
        let section = listener.section("tls");
        self.require(&section, "certificates");
        let versions = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
        Some(ListenerTls {
            certificates: self.certificates(&section),
            client_auth: self.client_auth(&section),
            min_version: section.read("min_version", word(&versions)).unwrap_or(TlsVersion::Tls12),
            alpn: self.protocols(&section),
            max_handshakes: section.value("max_handshakes", size),
            ticket_keys: self.files(&section, "ticket_keys", |files, path| (files.ticket_key)(path).map(|()| None)),
        })
    }

    fn certificates(&mut self, section: &Section<'a>) -> Vec<CertificateFiles> {
        let Some(found) = section.find("certificates") else { return Vec::new() };
        let mut taken = BTreeMap::new();
        let items = found.node.items_at(&found.path);
        let pairs = items.filter_map(|(item, path)| {
            let pair = Section::new(CERTIFICATE, &path, item.at).over(item, &path);
            self.certificate(&pair, Some(&mut taken))
        });
        let pairs: Vec<_> = pairs.collect();
        if found.node.items().is_empty() {
            let message = "a listener with TLS needs a certificate, such as `{ cert: a.pem, key: a.key }`";
            self.report.error(found.node.at, &found.path, message);
        }
        pairs
    }

    /// A certificate and its key, of which the names must not be `taken` by others with the same kind of key.
    pub(super) fn certificate(
        &mut self,
        section: &Section<'a>,
        taken: Option<&mut BTreeMap<(String, String), String>>,
    ) -> Option<CertificateFiles> {
        self.require(section, "cert");
        self.require(section, "key");
        let (cert, key) = (section.find("cert")?, section.find("key")?);
        let files = CertificateFiles { cert: self.path(&cert)?, key: self.path(&key)? };
        match (self.catalogue.tls.pair)(&files.cert, &files.key) {
            Err(PairFault { side, message }) => {
                let place = if side == Side::Key { &key } else { &cert };
                self.report.error(place.node.at, &place.path, message);
            }
            Ok(pair) => {
                if let Some(warning) = pair.warning {
                    self.report.warn(cert.node.at, &cert.path, warning);
                }
                let Some(taken) = taken else { return Some(files) };
                for name in pair.names {
                    if let Some(other) = taken.insert((name.clone(), pair.kind.clone()), section.path.clone()) {
                        let message =
                            format!("{} is served by {other} already, with the same kind of key", quote(&name));
                        self.report.error(cert.node.at, &cert.path, message);
                    }
                }
            }
        }
        Some(files)
    }

    fn client_auth(&mut self, tls: &Section<'a>) -> Option<ClientAuth> {
        tls.find("client_auth")?;
        let section = tls.section("client_auth");
        self.require(&section, "ca");
        let accept_expired_crl = section.read("crl_expired", word(&[("refuse", false), ("accept", true)]));
        let accept_expired_crl = accept_expired_crl.unwrap_or(false);
        let ca = self.files(&section, "ca", |files, path| (files.authorities)(path).map(|()| None));
        Some(ClientAuth {
            ca: ca.into_iter().next()?,
            optional: section.read("mode", word(&[("required", false), ("optional", true)])).unwrap_or(false),
            crl: self.files(&section, "crl", |files, path| (files.revocations)(path)),
            accept_expired_crl,
        })
    }

    /// The files at `name`, each judged by `judge`: an error, or perhaps a warning.
    fn files(
        &mut self,
        section: &Section<'a>,
        name: &str,
        judge: impl Fn(&super::super::TlsFiles, &std::path::Path) -> Result<Option<String>, String>,
    ) -> Vec<PathBuf> {
        let Some(found) = section.find(name) else { return Vec::new() };
        let mut paths = Vec::new();
        for (node, path) in found.node.items_at(&found.path) {
            let Some(file) = self.path(&Found { node, path: path.clone(), at: node.at }) else { continue };
            match judge(&self.catalogue.tls, &file) {
                Ok(None) => {}
                Ok(Some(warning)) => self.report.warn(node.at, &path, warning),
                Err(error) => self.report.error(node.at, &path, error),
            }
            paths.push(file);
        }
        paths
    }

    fn path(&self, found: &Found<'a>) -> Option<PathBuf> {
        Some(self.report.resolve(found.node.at, scalar::text(found.node, "a path").ok()?))
    }

    /// Names of application protocols: 1 to 255 bytes each, each once.
    fn protocols(&mut self, section: &Section<'a>) -> Vec<Arc<str>> {
        let Some(found) = section.find("alpn") else { return Vec::new() };
        let mut protocols: Vec<Arc<str>> = Vec::new();
        for (item, path) in found.node.items_at(&found.path) {
            match protocol(item) {
                Err(message) => self.report.error(item.at, &path, message),
                Ok(name) if protocols.iter().any(|known| &**known == name) => {
                    self.report.error(item.at, &path, format!("{} is in the list already", quote(name)));
                }
                Ok(name) => protocols.push(name.into()),
            }
        }
        protocols
    }
}

fn protocol(node: &Node) -> Result<&str, String> {
    const LONGEST: usize = 255;
    let name = scalar::text(node, "a protocol such as `h2`").unwrap_or_default();
    match name.len() {
        1..=LONGEST => Ok(name),
        // The checks have said so.
        0 => Ok(name),
        length => Err(format!("a protocol's name may be {LONGEST} bytes long, this one has {length}")),
    }
}
