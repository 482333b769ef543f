//! Files of TLS: what can be wrong with them is said at their keys, with the file and the remedy.

use std::fs;
use std::path::Path;

use peerway::config::Setting;
use peerway::config::plan::{CertificateFiles, ClientAuth, Listener, ListenerTls, Pool, ProbeAt, TlsVersion};
use tempfile::TempDir;

use super::pki::{Authority, Issued, Wish};
use super::{load, plan};

/// A folder with good files `a.pem`, `a.key`, `ca.pem`, `c.crl` and `k1`, and bad ones.
struct Folder {
    dir: TempDir,
    authority: Authority,
}

impl Folder {
    fn new() -> Self {
        let folder = Self { dir: tempfile::tempdir().unwrap(), authority: Authority::new("authority") };
        folder.issue("a", &Wish::names(["A.example", "*.b.example"]));
        folder.write("ca.pem", folder.authority.pem());
        folder.write("c.crl", folder.authority.revokes(&[], 2099));
        folder.write("k1", [7; 80]);
        folder
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), content).unwrap();
    }

    fn issue(&self, name: &str, wish: &Wish) -> Issued {
        let issued = self.authority.issue(wish);
        issued.save(self.path(), name);
        issued
    }

    /// What is said of a listener with this `tls`, which stands in line 5: errors or else warnings, without the folder's
    /// name and the column.
    fn says(&self, tls: &str) -> Vec<String> {
        let text = format!(
            "listeners:\n  l:\n    bind: 127.0.0.1:1\n    pool: p\n    tls: {tls}\npools: {{ p: {{ backends: '10.0.0.1:1' }} }}\n"
        );
        self.write("t.yaml", text);
        let said = match load(&[self.path().join("t.yaml")]) {
            Ok(loaded) => loaded.warnings.iter().map(|warning| warning.to_string()).collect(),
            Err(errors) => errors.lines().map(str::to_owned).collect::<Vec<_>>(),
        };
        let folder = format!("{}/", self.path().display());
        let short = |line: String| {
            let line = line.replace(&folder, "");
            line.strip_prefix("t.yaml:5:")
                .and_then(|rest| rest.split_once(": "))
                .map_or(line.clone(), |(_, rest)| rest.into())
        };
        said.into_iter().map(short).collect()
    }

    fn pair(&self, cert: &str, key: &str) -> Vec<String> {
        self.says(&format!("{{ certificates: {{ cert: {cert}, key: {key} }} }}"))
    }

    /// With `more` behind a good certificate.
    fn with(&self, more: &str) -> Vec<String> {
        self.says(&format!("{{ certificates: {{ cert: a.pem, key: a.key }}, {more} }}"))
    }
}

#[test]
fn everything_there_is() {
    let folder = Folder::new();
    let nothing: [&str; 0] = [];
    assert_eq!(
        folder.with(
            "client_auth: { ca: ca.pem, mode: optional, crl: c.crl, crl_expired: accept }, min_version: '1.3', \
             alpn: [h2, http/1.1], max_handshakes: 9, ticket_keys: [k1]"
        ),
        nothing
    );
    let loaded = load(&[folder.path().join("t.yaml")]).unwrap();
    let file = |name: &str| folder.path().join(name);
    let expected = ListenerTls {
        certificates: vec![CertificateFiles { cert: file("a.pem"), key: file("a.key") }],
        client_auth: Some(ClientAuth {
            ca: file("ca.pem"),
            optional: true,
            crl: vec![file("c.crl")],
            accept_expired_crl: true,
        }),
        min_version: TlsVersion::Tls13,
        alpn: vec!["h2".into(), "http/1.1".into()],
        max_handshakes: 9,
        ticket_keys: vec![file("k1")],
    };
    let listener = &loaded.plan.listeners[0];
    assert_eq!(listener.tls.as_ref(), Some(&expected));
    assert_eq!(expected.files().count(), 5);
    assert_eq!(listener.timeouts.handshake.as_secs(), 5);
    assert!(folder.with("min_version: '1.2'").is_empty());
    let off = "listeners: { l: { bind: 127.0.0.1:1, pool: p, tls: off } }\npools: { p: { backends: '10.0.0.1:1' } }";
    assert_eq!(plan(off).listeners[0].tls, None);
}

#[test]
fn certificates_and_keys_that_cannot_be_used() {
    let folder = Folder::new();
    let other = folder.issue("other", &Wish::names(["other.example"]));
    let cert = "listeners.l.tls: `certificates` is missing";
    assert_eq!(folder.says("{ alpn: x }"), [cert]);
    let at_cert = |message: &str| vec![format!("listeners.l.tls.certificates.cert: {message}")];
    let at_key = |message: &str| vec![format!("listeners.l.tls.certificates.key: {message}")];
    assert_eq!(
        folder.pair("gone.pem", "a.key"),
        at_cert("cannot read gone.pem: No such file or directory (os error 2)")
    );
    assert_eq!(folder.pair("a.pem", "gone"), at_key("cannot read gone: No such file or directory (os error 2)"));
    assert_eq!(
        folder.pair("a.pem", "other.key"),
        at_key("other.key is not the key of the certificate in a.pem: they do not belong together")
    );
    folder.write("chain.pem", format!("{}{}", folder.authority.pem(), other.cert));
    assert_eq!(
        folder.pair("chain.pem", "other.key"),
        at_cert(
            "other.key is the key of a later certificate in chain.pem: put the server's own first, and then its chain"
        )
    );
    assert_eq!(
        folder.pair("a.key", "a.key"),
        at_cert("a.key holds no certificate: it must hold `-----BEGIN CERTIFICATE-----`")
    );
    folder.write("a.der", b"\x30\x82\x01\x00");
    assert!(
        folder.pair("a.der", "a.key")[0].ends_with("it looks like DER, of which `openssl x509 -inform der` makes PEM")
    );
    assert_eq!(folder.pair("a.pem", "a.pem"), at_key("a.pem holds no private key in PEM form"));
    for (name, text) in [
        ("new", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"),
        ("old", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"),
    ] {
        folder.write(name, text);
        let message =
            format!("the key in {name} has a password, and nobody is there to type it: `openssl pkey` takes it away");
        assert_eq!(folder.pair("a.pem", name), at_key(&message));
    }
    let half = &fs::read_to_string(folder.path().join("a.pem")).unwrap()[..200];
    folder.write("half.pem", half);
    assert!(folder.pair("half.pem", "a.key")[0].contains("half.pem is broken: "));
    folder.write("huge.pem", vec![b'x'; 2_000_000]);
    assert!(folder.pair("huge.pem", "a.key")[0].contains("huge.pem has more than 1048576 bytes"));
    folder.issue("nobody", &Wish::names(Vec::<String>::new()));
    assert_eq!(
        folder.pair("nobody.pem", "nobody.key"),
        at_cert(
            "the certificate in nobody.pem has no host name and no address among its alternative names (SAN), so that no \
             client will accept it: have one made that has"
        )
    );
    folder.issue("old", &Wish::names(["x.example"]).until(2021));
    let expired = "a certificate in old.pem has expired (2021-01-01): clients will refuse it";
    assert_eq!(folder.pair("old.pem", "old.key"), at_cert(expired), "a warning");
}

#[test]
fn names_are_served_by_one_certificate_of_a_kind() {
    let folder = Folder::new();
    folder.issue("b", &Wish::names(["c.example", "a.EXAMPLE"]));
    let both = "{ certificates: [{ cert: a.pem, key: a.key }, { cert: b.pem, key: b.key }] }";
    let taken = "listeners.l.tls.certificates[1].cert: `a.example` is served by listeners.l.tls.certificates[0] already, \
                 with the same kind of key";
    assert_eq!(folder.says(both), [taken]);
    folder.issue("b", &Wish::names(["c.example", "a.EXAMPLE"]).kind(&rcgen::PKCS_ED25519));
    assert!(folder.says(both).is_empty());
    assert_eq!(
        folder.says("{ certificates: [] }"),
        [
            "listeners.l.tls.certificates: a listener with TLS needs a certificate, such as `{ cert: a.pem, key: a.key }`"
        ]
    );
}

#[test]
fn what_is_asked_of_clients() {
    let folder = Folder::new();
    let at = |key: &str, message: &str| vec![format!("listeners.l.tls.client_auth.{key}: {message}")];
    assert_eq!(
        folder.with("client_auth: { mode: optional }"),
        ["listeners.l.tls.client_auth: `ca` is missing, such as `ca: clients.pem`"]
    );
    assert_eq!(
        folder.with("client_auth: { ca: k1 }"),
        at("ca", "k1 holds no certificate: it must hold `-----BEGIN CERTIFICATE-----`")
    );
    assert_eq!(
        folder.with("client_auth: { ca: ca.pem, crl: [c.crl, ca.pem] }"),
        at("crl[1]", "ca.pem holds no list of revoked certificates")
    );
    folder.write("old.crl", folder.authority.revokes(&[], 2021));
    assert_eq!(
        folder.with("client_auth: { ca: ca.pem, crl: old.crl }"),
        at("crl", "a list of revoked certificates in old.crl should have been replaced on 2021-01-01")
    );
}

#[test]
fn other_keys() {
    let folder = Folder::new();
    folder.write("short", [1; 31]);
    assert_eq!(
        folder.with("ticket_keys: [k1, short]"),
        [
            "listeners.l.tls.ticket_keys[1]: short has 31 bytes, and a secret needs 32: make it with `openssl rand 80 > FILE`"
        ]
    );
    assert_eq!(folder.with("alpn: [h2, x, h2]"), ["listeners.l.tls.alpn[2]: `h2` is in the list already"]);
    let long = "x".repeat(256);
    let message = "listeners.l.tls.alpn: a protocol's name may be 255 bytes long, this one has 256";
    assert_eq!(folder.with(&format!("alpn: {long}")), [message]);
    assert_eq!(
        folder.with("min_version: 1.2"),
        ["listeners.l.tls.min_version: expected `1.2` or `1.3`, found the number 1.2: write it in quotes"]
    );
    assert!(folder.with("max_handshakes: 0")[0].contains("0 is out of range: 1 to "));
}

#[test]
fn the_admin_endpoint_has_a_certificate_too() {
    let folder = Folder::new();
    let text = "admin: { listen: '127.0.0.1:1', tls: { cert: a.pem, key: b.key } }\n\
                listeners: { l: { bind: '127.0.0.1:2', pool: p } }\npools: { p: { backends: '10.0.0.1:1' } }\n";
    folder.write("t.yaml", text);
    let path = [folder.path().join("t.yaml")];
    let error = load(&path).unwrap_err();
    assert!(error.contains("t.yaml:1:58: admin.tls.key: cannot read"), "{error}");
    folder.write("t.yaml", text.replace("b.key", "a.key"));
    let admin = load(&path).unwrap().plan.admin.unwrap();
    assert_eq!(admin.tls.unwrap().cert, folder.path().join("a.pem"));
}

#[test]
fn what_pools_say_of_their_backends() {
    let folder = Folder::new();
    folder.issue("me", &Wish::names::<&str>([]));
    let says = |backend: &str, tls: &str| {
        let text = format!(
            "listeners: {{ l: {{ bind: 127.0.0.1:1, pool: p }} }}\npools:\n  p:\n    backends: '{backend}'\n    tls: {tls}\n"
        );
        folder.write("t.yaml", text);
        let said: Vec<String> = match load(&[folder.path().join("t.yaml")]) {
            Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
            Err(errors) => errors.lines().map(str::to_owned).collect(),
        };
        let folder = format!("{}/", folder.path().display());
        let short =
            |line: String| line.replace(&folder, "").split_once(": ").map_or(String::new(), |(_, said)| said.into());
        said.into_iter().map(short).collect::<Vec<String>>()
    };
    let nothing: [&str; 0] = [];
    assert_eq!(says("10.0.0.1:1", "{ ca: ca.pem }"), nothing);
    let all = "{ server_name: db.example, ca: ca.pem, cert: me.pem, key: me.key, alpn: [x, y], verify: true }";
    assert_eq!(says("unix:/x", all), nothing);
    let loaded = load(&[folder.path().join("t.yaml")]).unwrap();
    let tls = loaded.plan.pools[0].tls.as_ref().unwrap();
    assert_eq!(tls.server_name.as_ref().unwrap().to_str(), "db.example");
    assert_eq!((tls.files().count(), tls.alpn.len(), tls.verify), (3, 2, true));

    let danger = "whoever is on the way to the backends can pass for one, and read all there is";
    assert_eq!(says("unix:/x", "{ verify: false }"), [format!("pools.p.tls.verify: {danger}")]);
    assert_eq!(
        says("unix:/x", "{ ca: ca.pem }"),
        ["pools.p.tls: `unix:/x` has no name that a certificate could prove: say whom to expect with `server_name`"]
    );
    assert_eq!(
        says("10.0.0.1:1", "{ ca: ca.pem, server_name: 'a b' }"),
        ["pools.p.tls.server_name: `a b` is no host name and no IP address"]
    );
    assert_eq!(
        says("10.0.0.1:1", "{ ca: ca.pem, cert: me.pem }"),
        ["pools.p.tls: `key` is missing, such as `key: me.key`"]
    );
    assert_eq!(
        says("10.0.0.1:1", "{ ca: gone.pem }"),
        ["pools.p.tls.ca: cannot read gone.pem: No such file or directory (os error 2)"]
    );
    assert_eq!(
        says("10.0.0.1:1", "{ ca: ca.pem, cert: me.pem, key: a.key }"),
        ["pools.p.tls.key: a.key is not the key of the certificate in me.pem: they do not belong together"]
    );
}

#[test]
fn off_takes_back_what_defaults_say() {
    let folder = Folder::new();
    folder.write(
        "t.yaml",
        "metrics: off
state_file: off
include: off
ready_when: off
admin: { listen: 127.0.0.1:0, tls: off, token_file: off }
defaults:
  listener:
    pool: p
    routes: { match: { sni: a.example }, pool: p }
    admission: { allow: 10.0.0.0/8 }
    tls:
      certificates: { cert: a.pem, key: a.key }
      client_auth: { ca: ca.pem, crl: c.crl }
      alpn: h2
      ticket_keys: k1
  pool:
    tls: { server_name: x.example, ca: ca.pem, cert: a.pem, key: a.key, alpn: x, verify: false }
    health: { probe: tcp, port: 9 }
listeners:
  all: { bind: 127.0.0.1:1 }
  none:
    bind: 127.0.0.1:2
    routes: off
    admission: { allow: off }
    tls: { client_auth: off, alpn: off, ticket_keys: off }
  some: { bind: 127.0.0.1:3, tls: { client_auth: { crl: off }, alpn: [off] } }
pools:
  p: { backends: h:1 }
  q: { backends: h:1, tls: { server_name: off, ca: off, cert: off, key: off, alpn: off }, health: { port: off } }
",
    );
    let loaded = load(&[folder.path().join("t.yaml")]).unwrap();
    let plan = &loaded.plan;
    let admin = plan.admin.as_ref().unwrap();
    assert_eq!((&plan.metrics, &plan.state_file, &admin.tls, &admin.token_file), (&None, &None, &None, &None));
    let [all, none, some] = &plan.listeners[..] else { panic!() };
    let of = |listener: &Listener| {
        let tls = listener.tls.as_ref().unwrap();
        (
            listener.routes.len(),
            tls.client_auth.as_ref().map(|auth| auth.crl.len()),
            tls.alpn.len(),
            tls.ticket_keys.len(),
        )
    };
    assert_eq!((of(all), of(none), of(some)), ((1, Some(1), 1, 1), (0, None, 0, 0), (1, Some(0), 1, 1)));
    assert_eq!(&*some.tls.as_ref().unwrap().alpn[0], "off", "in a list it is a word like any other");
    let [p, q] = &plan.pools[..] else { panic!() };
    let of = |pool: &Pool| {
        let tls = pool.tls.as_ref().unwrap();
        (tls.server_name.is_some(), tls.ca.is_some(), tls.certificate.is_some(), tls.alpn.len(), pool.health.at.clone())
    };
    assert_eq!(of(p), (true, true, true, 1, ProbeAt::Port(9)));
    assert_eq!(of(q), (false, false, false, 0, ProbeAt::Backend));
    let shown = |path: &[&str]| path.iter().try_fold(&plan.settings as &Setting, |at, key| at.get(key)).is_some();
    assert!(shown(&["listeners", "all", "tls", "alpn"]) && shown(&["pools", "p", "tls", "server_name"]));
    for absent in
        [["listeners", "none", "tls", "alpn"], ["pools", "q", "tls", "server_name"], ["pools", "q", "tls", "ca"]]
    {
        assert!(!shown(&absent), "{absent:?}");
    }
    assert!(!shown(&["listeners", "none", "routes"]) && !shown(&["state_file"]) && !shown(&["admin", "tls"]));
}
