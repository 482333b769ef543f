//! TLS with clients and with backends. The files are read here once, by those who know them, so that what is wrong is said at its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::super::hint::quote;
use super::super::keys::CERTIFICATE;
use super::super::plan::{Backend, BackendAddress, CertificateFiles, ClientAuth, ListenerTls, PoolTls, TlsVersion};
use super::super::scalar;
use super::super::section::{Found, Section, word};
use super::super::tree::Node;
use super::super::{PairFacts, PairFault, Side, TlsFiles};
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
        let (files, facts) = self.pair(section, |files| files.pair)?;
        let (Some(taken), Some(cert)) = (taken, section.find("cert")) else { return Some(files) };
        for name in facts.names {
            if let Some(other) = taken.insert((name.clone(), facts.kind.clone()), section.path.clone()) {
                let message = format!("{} is served by {other} already, with the same kind of key", quote(&name));
                self.report.error(cert.node.at, &cert.path, message);
            }
        }
        Some(files)
    }

    /// A certificate and its key, judged by what `judge` finds; what cannot be used has no facts.
    fn pair(
        &mut self,
        section: &Section<'a>,
        judge: impl Fn(&TlsFiles) -> fn(&Path, &Path) -> Result<PairFacts, PairFault>,
    ) -> Option<(CertificateFiles, PairFacts)> {
        self.require(section, "cert");
        self.require(section, "key");
        let (cert, key) = (section.find("cert")?, section.find("key")?);
        let files = CertificateFiles { cert: self.path(&cert)?, key: self.path(&key)? };
        let facts = match judge(&self.catalogue.tls)(&files.cert, &files.key) {
            Err(PairFault { side, message }) => {
                let place = if side == Side::Key { &key } else { &cert };
                self.report.error(place.node.at, &place.path, message);
                PairFacts::default()
            }
            Ok(facts) => facts,
        };
        if let Some(warning) = &facts.warning {
            self.report.warn(cert.node.at, &cert.path, warning);
        }
        Some((files, facts))
    }

    /// `tls` of a pool; absent and `off` are the same.
    pub(super) fn pool_tls(&mut self, pool: &Section<'a>, backends: &[Backend]) -> Option<PoolTls> {
        let found = pool.find("tls").filter(|_| !pool.is_off("tls"))?;
        let section = pool.section("tls");
        let server_name = self.server_name(&section);
        let verify = section.value("verify", scalar::boolean);
        if server_name.is_none()
            && let Some(message) = backends.iter().find_map(|backend| unnamed(backend, verify))
        {
            self.report.error(found.node.at, &found.path, message);
        }
        let ca = self.files(&section, "ca", |files, path| (files.authorities)(path).map(|()| None)).pop();
        if verify && section.find("ca").is_none() {
            let system = (self.catalogue.tls.system)();
            let _ = system.map_err(|error| self.report.error(found.node.at, &found.path, error));
        }
        if !verify {
            let (at, path) = section.find("verify").map_or((found.node.at, found.path), |key| (key.node.at, key.path));
            self.report.warn(
                at,
                &path,
                "whoever is on the way to the backends can pass for one, and read all there is",
            );
        }
        Some(PoolTls {
            server_name,
            ca,
            certificate: self.own_certificate(&section),
            alpn: self.protocols(&section),
            verify,
        })
    }

    fn server_name(&mut self, section: &Section<'a>) -> Option<ServerName<'static>> {
        let found = section.find("server_name")?;
        let text = found.node.text()?;
        let name = ServerName::try_from(text.to_owned()).ok();
        if name.is_none() {
            let message = format!("{} is no host name and no IP address", quote(text));
            self.report.error(found.node.at, &found.path, message);
        }
        name
    }

    /// What a pool shows to backends: both files or none.
    fn own_certificate(&mut self, section: &Section<'a>) -> Option<CertificateFiles> {
        if section.find("cert").is_none() && section.find("key").is_none() {
            return None;
        }
        self.pair(section, |files| files.own_pair).map(|(files, _)| files)
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

/// Why a backend that is not called anything cannot prove to be the right one.
fn unnamed(backend: &Backend, verify: bool) -> Option<String> {
    let why = match &backend.address {
        BackendAddress::Unix(_) if verify => "has no name that a certificate could prove",
        BackendAddress::Host(host, _) if ServerName::try_from(&**host).is_err() => {
            "has no name that a certificate can have"
        }
        _ => return None,
    };
    Some(format!("{} {why}: say whom to expect with `server_name`", quote(&backend.name)))
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
