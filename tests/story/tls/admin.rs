//! The admin endpoint inside TLS, and the program's own commands that ask it.

use std::fs;
use std::process::Command;

use super::NAME;
use crate::support::pki::Authority;
use crate::support::{Proxy, Setup, TlsClient, binary, certify};

const REST: &str =
    "listeners: { front: { bind: '127.0.0.1:0', pool: back } }\npools: { back: { backends: [ '127.0.0.1:9' ] } }\n";

/// An endpoint whose certificate has these names, by an authority in `ca.pem`; with more keys of `admin`.
fn endpoint(names: &[&str], more: &str) -> (Proxy, Authority) {
    let authority = Authority::new("authority");
    let admin = format!("admin: {{ listen: '127.0.0.1:0'{more}, tls: {{ cert: a.pem, key: a.key }} }}");
    let setup = Setup::file(format!("{admin}\n{REST}"));
    certify(&authority, setup.dir(), "a", names);
    fs::write(setup.dir().join("ca.pem"), authority.pem()).unwrap();
    fs::write(setup.dir().join("token"), "swordfish").unwrap();
    (setup.start(), authority)
}

/// Where it is, under this host's name.
fn at(proxy: &Proxy, host: &str) -> String {
    format!("https://{host}:{}", proxy.address("admin").port())
}

/// What `peerway pools` says of the endpoint at `admin`: exit code, and all that it prints.
fn pools(proxy: &Proxy, admin: &str, more: &[&str], ca: Option<&str>) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.args(["pools", "--admin", admin]).args(more).current_dir(proxy.dir()).envs(ca.map(|ca| ("PEERWAY_CA", ca)));
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn commands_verify_the_endpoint_they_ask() {
    let (proxy, _) = endpoint(&["localhost", "127.0.0.1"], ", token_file: token, protect: all");
    let token = ["--token-file", "token"];
    for host in ["localhost", "127.0.0.1"] {
        let (code, said) = pools(&proxy, &at(&proxy, host), &["--ca", "ca.pem", token[0], token[1]], None);
        assert!(code == Some(0) && said.contains("back"), "{host}: {said}");
        let (code, said) = pools(&proxy, &at(&proxy, host), &token, Some("ca.pem"));
        assert!(code == Some(0) && said.contains("back"), "{host}: {said}");
    }
    let (code, said) = pools(&proxy, &at(&proxy, "localhost"), &["--ca", "ca.pem"], None);
    assert!(code == Some(1) && said.contains("--token-file"), "{said}");
}

#[test]
fn who_is_not_trusted_is_not_asked_and_the_remedy_is_said() {
    let (proxy, _) = endpoint(&[NAME], "");
    let here = at(&proxy, "127.0.0.1");
    let fails = |admin: &str, more: &[&str], words: &[&str]| {
        let (code, said) = pools(&proxy, admin, more, None);
        assert_eq!(code, Some(1), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    };
    fails(&here, &[], &["by no authority that this system trusts", "--ca FILE or in PEERWAY_CA"]);
    fails(&here, &["--ca", "ca.pem"], &["its certificate is not for 127.0.0.1", NAME]);
    fs::write(proxy.dir().join("other.pem"), Authority::new("other").pem()).unwrap();
    fails(&here, &["--ca", "other.pem"], &["by no authority in other.pem"]);
    fails(&here, &["--ca", "missing.pem"], &["--ca: cannot read missing.pem"]);
    fails(&here, &["--ca", "token"], &["--ca: token holds no certificate"]);
    // In the clear nobody is verified, and the endpoint does not answer.
    let plain = here.trim_start_matches("https://");
    fails(plain, &["--ca", "ca.pem"], &["is for endpoints with TLS", &format!("write {here}")]);
    fails(plain, &[], &["write https:// before the address"]);
}

#[test]
fn an_endpoint_without_tls_says_so() {
    let proxy = Setup::file(format!("admin: {{ listen: '127.0.0.1:0' }}\n{REST}")).start();
    fs::write(proxy.dir().join("ca.pem"), Authority::new("authority").pem()).unwrap();
    let (code, said) = pools(&proxy, &at(&proxy, "localhost"), &["--ca", "ca.pem"], None);
    assert!(code == Some(1) && said.contains("does not speak TLS") && said.contains("leave `https://` away"), "{said}");
}

#[test]
fn only_whole_names_of_the_certificate_are_the_endpoint_s() {
    let (proxy, authority) = endpoint(&[NAME, "*.wild.example"], "");
    let client = TlsClient::trusting(&authority);
    let asked = |head: &str| {
        let mut peer = client.connect(proxy.address("admin"), NAME);
        peer.say(format!("GET /healthz HTTP/1.1\r\nConnection: close\r\n{head}\r\n").as_bytes());
        let answer = peer.hear_all();
        String::from_utf8_lossy(&answer).split(' ').nth(1).map(str::to_owned)
    };
    let host = |host: &str| asked(&format!("Host: {host}\r\n")).unwrap();
    for ours in [NAME, "A.EXAMPLE:9901", "a.example:1", "localhost", "127.0.0.1:9901"] {
        assert_eq!(host(ours), "200", "{ours}");
    }
    for foreign in ["evil.example", "x.wild.example", "*.wild.example", "wild.example", "a.example.evil.example"] {
        assert_eq!(host(foreign), "421", "{foreign}");
    }
    let origin = |origin: &str| asked(&format!("Host: {NAME}:9901\r\nOrigin: {origin}\r\n")).unwrap();
    assert_eq!(origin(&format!("https://{NAME}:9901")), "200");
    for foreign in [&format!("http://{NAME}:9901"), "https://evil.example", "null"] {
        assert_eq!(origin(foreign), "403", "{foreign}");
    }
}
