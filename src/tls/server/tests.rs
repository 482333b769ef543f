//! Handshakes in memory, with files of the test's own.
#![allow(clippy::unwrap_used)]

use std::fs;

use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerConnection;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;

use super::super::fixture::pki::{Authority, Issued, Wish};
use super::*;
use crate::config::plan::ClientAuth;
use crate::metrics::HandshakeResult;

/// An authority, and a listener's files.
struct Site {
    authority: Authority,
    dir: TempDir,
    settings: ListenerTls,
    own: Arc<OwnSecrets>,
}

impl Site {
    fn new() -> Self {
        let (authority, dir) = (Authority::new("authority"), tempfile::tempdir().unwrap());
        let [cert, key] = authority.issue(&Wish::names(["a.example"])).save(dir.path(), "a");
        let settings = ListenerTls {
            certificates: vec![CertificateFiles { cert, key }],
            client_auth: None,
            min_version: TlsVersion::Tls12,
            alpn: vec!["h2".into(), "x".into()],
            max_handshakes: 9,
            ticket_keys: Vec::new(),
        };
        Self { authority, dir, settings, own: Arc::default() }
    }

    /// One that asks clients for certificates of the same authority.
    fn asking(optional: bool) -> Self {
        let mut site = Self::new();
        let ca = site.file("ca.pem", site.authority.pem());
        site.settings.client_auth = Some(ClientAuth { ca, optional, crl: Vec::new(), accept_expired_crl: false });
        site
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn auth(&mut self) -> &mut ClientAuth {
        self.settings.client_auth.as_mut().unwrap()
    }

    fn load(&self) -> Arc<Server> {
        self.named("front")
    }

    fn named(&self, listener: &str) -> Arc<Server> {
        Arc::new(Server::load(&self.settings, listener, &self.own).unwrap())
    }

    /// A client that trusts the authority and may show a certificate; it keeps its tickets.
    fn client(&self, version: &'static SupportedProtocolVersion, own: Option<&Issued>) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(files::provider()).with_protocol_versions(&[version]);
        let builder = builder.unwrap().with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let cert = CertificateDer::from_pem_slice(own.cert.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"x".to_vec()];
        config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)));
        Client(config)
    }
}

struct Client(ClientConfig);

impl Client {
    /// What the server makes of it, or why it does not.
    fn meets(&self, server: &Arc<Server>) -> Result<Shown, HandshakeResult> {
        self.meets_as(server, "a.example")
    }

    fn meets_as(&self, server: &Arc<Server>, name: &str) -> Result<Shown, HandshakeResult> {
        let mut client = ClientConnection::new(Arc::new(self.0.clone()), name.to_owned().try_into().unwrap()).unwrap();
        let handshake = server.handshake();
        let mut connection = ServerConnection::new(handshake.config()).unwrap();
        // Tickets follow the handshake, so both go on until they have nothing to say.
        while client.wants_write() || connection.wants_write() || connection.is_handshaking() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                connection.read_tls(&mut rest).unwrap();
                connection.process_new_packets().map_err(|error| verdict(&error))?;
            }
            let mut bytes = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut bytes).unwrap();
            }
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                // Its alert is for the server to hear.
                let _ = client.process_new_packets();
            }
        }
        handshake.shown(&connection).map_err(|error| verdict(&error))
    }

    fn resumes(&self, server: &Arc<Server>) -> bool {
        self.meets(server).unwrap().session.resumed
    }
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[test]
fn a_handshake_shows_what_was_agreed_on() {
    let server = Site::new();
    let client = server.client(&TLS13, None);
    let shown = client.meets(&server.load()).unwrap();
    assert_eq!(shown.server_name.as_deref(), Some("a.example"));
    assert_eq!(shown.protocol.as_deref(), Some(&b"x"[..]));
    assert_eq!((shown.session.version, shown.session.resumed), ("TLSv1.3", false));
    assert_eq!(shown.session.cipher, "TLS_AES_256_GCM_SHA384");
    assert_eq!(shown.certificate, None);
    let old = server.client(&TLS12, None).meets(&server.load()).unwrap();
    assert_eq!((old.session.version, old.session.cipher), ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"));
}

#[test]
fn who_has_no_version_or_protocol_in_common_is_refused() {
    let mut site = Site::new();
    site.settings.min_version = TlsVersion::Tls13;
    assert_eq!(site.client(&TLS12, None).meets(&site.load()), Err(HandshakeResult::Protocol));
    let mut client = site.client(&TLS13, None);
    client.0.alpn_protocols = vec![b"y".to_vec()];
    assert_eq!(client.meets(&site.load()), Err(HandshakeResult::Protocol));
    client.0.alpn_protocols = Vec::new();
    assert_eq!(client.meets(&site.load()).unwrap().protocol, None);
    let mut stranger = site.client(&TLS13, None);
    stranger.0 = Site::new().client(&TLS13, None).0;
    assert_eq!(stranger.meets(&site.load()), Err(HandshakeResult::Alert));
}

#[test]
fn a_client_s_certificate_is_verified_and_read() {
    let site = Site::asking(false);
    let wish = Wish::names(["c.example"]).uri("spiffe://prod/c").email("c@x.example").common_name("c");
    for version in VERSIONS {
        let issued = site.authority.issue(&wish);
        let shown = site.client(version, Some(&issued)).meets(&site.load()).unwrap();
        let certificate = shown.certificate.unwrap();
        let names: Vec<_> = certificate.names().collect();
        assert_eq!(names, ["spiffe://prod/c", "c.example", "c@x.example"]);
        assert_eq!(certificate.common_name.as_deref(), Some("c"));
        assert_eq!(site.client(version, None).meets(&site.load()), Err(HandshakeResult::NoCertificate));
        let unknown = Authority::new("another").issue(&wish);
        assert_eq!(site.client(version, Some(&unknown)).meets(&site.load()), Err(HandshakeResult::UnknownCa));
        let same_name = Authority::new("authority").issue(&wish);
        assert_eq!(site.client(version, Some(&same_name)).meets(&site.load()), Err(HandshakeResult::UnknownCa));
        let old = site.authority.issue(&wish.clone().until(2021));
        assert_eq!(site.client(version, Some(&old)).meets(&site.load()), Err(HandshakeResult::Expired));
    }
}

#[test]
fn where_a_certificate_is_optional_a_bad_one_is_worse_than_none() {
    let site = Site::asking(true);
    for version in VERSIONS {
        assert_eq!(site.client(version, None).meets(&site.load()).unwrap().certificate, None);
        let wish = Wish::names(["c.example"]);
        let good = site.authority.issue(&wish);
        assert!(site.client(version, Some(&good)).meets(&site.load()).unwrap().certificate.is_some());
        let bad = Authority::new("another").issue(&wish);
        assert_eq!(site.client(version, Some(&bad)).meets(&site.load()), Err(HandshakeResult::UnknownCa));
    }
}

#[test]
fn lists_of_revoked_certificates_are_obeyed() {
    let mut site = Site::asking(false);
    let wish = Wish::names(["c.example"]);
    let [good, bad] = [(); 2].map(|()| site.authority.issue(&wish));
    let list = site.file("c.crl", site.authority.revokes(&[&bad], 2099));
    site.auth().crl = vec![list.clone()];
    let meets = |site: &Site, issued| site.client(&TLS13, Some(issued)).meets(&site.load()).map(|_| ());
    assert_eq!(meets(&site, &good), Ok(()));
    assert_eq!(meets(&site, &bad), Err(HandshakeResult::Revoked));
    assert!(site.load().warnings().is_empty());
    // One that should have been replaced …
    fs::write(&list, site.authority.revokes(&[&bad], 2021)).unwrap();
    assert_eq!(meets(&site, &good), Err(HandshakeResult::Revoked));
    assert!(site.load().warnings()[0].contains("2021-01-01"), "{:?}", site.load().warnings());
    // … and may be used all the same.
    site.auth().accept_expired_crl = true;
    assert_eq!((meets(&site, &good), meets(&site, &bad)), (Ok(()), Err(HandshakeResult::Revoked)));
    // One of somebody else says nothing of them.
    fs::write(&list, Authority::new("another").revokes(&[], 2099)).unwrap();
    assert_eq!(meets(&site, &good), Err(HandshakeResult::Revoked));
}

#[test]
fn sessions_are_resumed_over_reloads_and_new_certificates() {
    for version in VERSIONS {
        let site = Site::new();
        let client = site.client(version, None);
        assert!(!client.resumes(&site.load()));
        assert!(client.resumes(&site.load()), "{version:?}");
        site.authority.issue(&Wish::names(["a.example"])).save(site.dir.path(), "a");
        assert!(client.resumes(&site.load()));
        assert!(!client.resumes(&site.named("another")), "a ticket of another listener");
        let later = Site { own: Arc::default(), ..site };
        assert!(!client.resumes(&later.load()), "a process that has its own secrets");
    }
}

#[test]
fn replicas_with_the_same_secret_resume_each_others_sessions() {
    for version in VERSIONS {
        let mut site = Site::new();
        site.settings.ticket_keys = vec![site.file("k1", [1; 80]), site.file("k2", [2; 32])];
        let client = site.client(version, None);
        assert!(!client.resumes(&site.load()));
        site.own = Arc::default(); // another process
        assert!(client.resumes(&site.load()));
        site.settings.ticket_keys.remove(0);
        assert!(!client.resumes(&site.load()));
    }
}

#[test]
fn a_ticket_is_not_good_for_other_demands_on_clients() {
    for version in VERSIONS {
        let mut site = Site::asking(false);
        let own = site.authority.issue(&Wish::names(["c.example"]));
        let client = site.client(version, Some(&own));
        assert!(!client.resumes(&site.load()));
        assert!(client.resumes(&site.load()));
        assert!(client.meets(&site.load()).unwrap().certificate.is_some(), "resumed, and still known");
        let list = site.file("c.crl", site.authority.revokes(&[], 2099));
        site.auth().crl = vec![list];
        assert!(!client.resumes(&site.load()));
        site.auth().optional = true;
        assert!(!client.resumes(&site.load()));
        site.settings.client_auth = None;
        assert!(!client.resumes(&site.load()));
    }
}

/// What nginx got wrong (CVE-2025-23419): a session begun where nobody is asked must not open the door elsewhere, even if
/// both listeners share their secrets.
#[test]
fn a_ticket_from_where_nobody_is_asked_is_no_way_in() {
    for version in VERSIONS {
        let mut site = Site::asking(false);
        site.settings.ticket_keys = vec![site.file("k", [1; 80])];
        let auth = site.settings.client_auth.take();
        let client = site.client(version, None);
        assert!(!client.resumes(&site.load()));
        assert!(client.resumes(&site.load()));
        site.settings.client_auth = auth;
        assert_eq!(client.meets(&site.load()), Err(HandshakeResult::NoCertificate));
        assert_eq!(client.meets(&site.named("another")), Err(HandshakeResult::NoCertificate));
    }
}

#[test]
fn one_ticket_is_sent_and_brings_the_next() {
    let site = Site::new();
    let (server, client) = (site.load(), site.client(&TLS13, None));
    assert_eq!(server.handshake().config().send_tls13_tickets, 1);
    assert_eq!([(); 4].map(|()| client.resumes(&server)), [false, true, true, true]);
}

/// Its issuer is trusted, the ticket is good; only time has passed.
#[test]
fn a_certificate_is_verified_also_when_a_session_is_resumed() {
    let mut site = Site::asking(false);
    let own = site.authority.issue(&Wish::names(["c.example"]));
    let client = site.client(&TLS13, Some(&own));
    let mut server = site.load();
    assert!(!client.resumes(&server));
    assert!(client.resumes(&server), "as its certificate is good");
    // The same tickets, and a verifier that no longer accepts it.
    let list = site.file("c.crl", site.authority.revokes(&[&own], 2099));
    site.auth().crl = vec![list];
    Arc::get_mut(&mut server).unwrap().auth = Arc::into_inner(site.load()).unwrap().auth;
    assert_eq!(client.meets(&server), Err(HandshakeResult::Revoked));
}

#[test]
fn a_name_that_is_not_served_gets_the_first_certificate() {
    let site = Site::new();
    // The client minds, and says so.
    assert_eq!(site.client(&TLS13, None).meets_as(&site.load(), "b.example"), Err(HandshakeResult::Alert));
}

#[test]
fn ends_of_certificates_are_known() {
    let site = Site::new();
    site.authority.issue(&Wish::names(["a.example"]).until(2021)).save(site.dir.path(), "a");
    let server = site.load();
    assert_eq!(server.expiries(), [Expiry { file: site.dir.path().join("a.pem"), not_after: 1_609_459_200 }]);
    assert!(server.warnings()[0].contains("a.pem has expired (2021-01-01)"), "{:?}", server.warnings());
}
