//! OpenSSL and curl as clients of a listener that ends TLS, and nginx behind it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::nginx::nginx;
use crate::support::pki::{Authority, Issued, Wish};
use crate::support::{Backend, Proxy, Service, Setup, certify, der, eventually, program, random_file, run};

const NAME: &str = "a.example";

/// An echo behind a listener with a certificate for [`NAME`] by `ca.pem`, all in the proxy's folder.
struct Site {
    authority: Authority,
    setup: Setup,
    _backend: Service,
}

impl Site {
    fn new() -> Self {
        let backend = Backend::new().echo();
        let setup = Setup::to([&backend]).process("reload: { debounce: 20ms }");
        let site = Self { authority: Authority::new("authority"), setup, _backend: backend };
        certify(&site.authority, site.setup.dir(), "a", &[NAME]);
        std::fs::write(site.setup.dir().join("ca.pem"), site.authority.pem()).unwrap();
        site
    }

    #[track_caller]
    fn start(self, more: &str) -> (Proxy, Authority, Service) {
        let tls = format!("tls: {{ certificates: {{ cert: a.pem, key: a.key }}{more} }}");
        (self.setup.listener(&tls).start(), self.authority, self._backend)
    }
}

/// `openssl s_client` says a line and hears it again; gives its report and whether it did.
fn s_client(proxy: &Proxy, more: &[&str]) -> (String, bool) {
    let mut client: Command = program("openssl");
    client.current_dir(proxy.dir()).args(["s_client", "-connect", &proxy.address("front").to_string()]);
    client
        .args(["-servername", NAME, "-verify_hostname", NAME, "-verify_return_error", "-CAfile", "ca.pem"])
        .args(more);
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = client.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"echo this\n").unwrap();
    let stdout = child.stdout.take().unwrap();
    let mut report = String::new();
    let mut reader = std::io::BufReader::new(stdout);
    let mut heard = false;
    // It goes on until it has heard its line, or until the connection ends.
    while !heard && std::io::BufRead::read_line(&mut reader, &mut report).is_ok_and(|read| read > 0) {
        heard = report.ends_with("echo this\n");
    }
    drop(stdin);
    let rest = child.wait_with_output().unwrap();
    (report + &String::from_utf8_lossy(&rest.stderr), heard)
}

#[test]
fn openssl_shakes_hands_in_both_versions_and_resumes() {
    let (proxy, authority, _backend) = Site::new().start(", alpn: [h2, x]");
    for version in ["-tls1_2", "-tls1_3"] {
        let (report, heard) = s_client(&proxy, &[version, "-alpn", "x,y", "-sess_out", "session"]);
        assert!(heard && report.contains("Verification: OK") && report.contains("ALPN protocol: x"), "{report}");
        let resumes = |session: &str| {
            let (report, heard) = s_client(&proxy, &[version, "-alpn", "x", "-sess_in", session]);
            assert!(heard, "{report}");
            report.contains("Reused, ")
        };
        assert!(resumes("session"), "{version}");
        let answer = proxy.reload();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(resumes("session"), "{version} after a reload");
        let next = certify(&authority, proxy.dir(), "a", &[NAME]);
        let new = der(&next);
        eventually("the new certificate", || {
            let shown = crate::support::TlsClient::trusting(&authority).connect(proxy.address("front"), NAME);
            (shown.certificate() == new).then_some(())
        });
        assert!(resumes("session"), "{version} with a new certificate");
    }
    let (report, heard) = s_client(&proxy, &["-alpn", "y"]);
    assert!(!heard && report.contains("no application protocol"), "{report}");
    let (report, heard) = s_client(&proxy, &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    assert!(!heard && report.contains("SSL alert number"), "{report}");
}

fn save(issued: &Issued, dir: &Path, name: &str) {
    issued.save(dir, name);
}

#[test]
fn openssl_shows_certificates_good_and_bad() {
    let site = Site::new();
    let wish = Wish::names(["c.example"]);
    let [good, revoked] = [(); 2].map(|()| site.authority.issue(&wish));
    let dir = site.setup.dir();
    save(&good, dir, "good");
    save(&revoked, dir, "revoked");
    save(&site.authority.issue(&wish.clone().until(2021)), dir, "expired");
    save(&Authority::new("another").issue(&wish), dir, "unknown");
    std::fs::write(dir.join("c.crl"), site.authority.revokes(&[&revoked], 2099)).unwrap();
    let (proxy, _authority, _backend) = site.start(", client_auth: { ca: ca.pem, crl: c.crl }");
    for version in ["-tls1_2", "-tls1_3"] {
        let shows = |name: &str| {
            let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
            s_client(&proxy, &[version, "-cert", &cert, "-key", &key])
        };
        let (report, heard) = shows("good");
        assert!(heard, "{version}: {report}");
        for (name, alert) in
            [("expired", "certificate expired"), ("unknown", "unknown ca"), ("revoked", "certificate revoked")]
        {
            let (report, heard) = shows(name);
            assert!(!heard && report.contains(alert), "{version} {name}: {report}");
        }
        let (report, heard) = s_client(&proxy, &[version]);
        let absent = ["certificate required", "handshake failure"];
        assert!(!heard && absent.iter().any(|alert| report.contains(alert)), "{version}: {report}");
    }
}

#[test]
fn curl_downloads_through_termination_from_a_plain_nginx() {
    let (_server, port, web) = nginx();
    random_file(&web.path().join("big"), 64 << 20);
    let site = Site::new();
    let tls = "tls: { certificates: { cert: a.pem, key: a.key }, alpn: http/1.1 }";
    let setup = Setup::to([format!("127.0.0.1:{port}")]);
    for file in ["a.pem", "a.key", "ca.pem"] {
        std::fs::copy(site.setup.dir().join(file), setup.dir().join(file)).unwrap();
    }
    let proxy = setup.listener(tls).start();
    let front = proxy.address("front").port();
    let download = "set -o pipefail; curl -fsS --max-time 120 --cacert ca.pem --connect-to \"a.example:443:127.0.0.1:$1\" \
                    https://a.example/big | cmp - \"$2\"";
    let mut bash = program("bash");
    bash.current_dir(proxy.dir()).args(["-c", download, "bash", &front.to_string()]).arg(web.path().join("big"));
    run(&mut bash);
    assert_eq!(proxy.ended()["alpn"], "http/1.1");
    let plain =
        program("curl").args(["-sS", "--max-time", "20", &format!("http://127.0.0.1:{front}/big")]).output().unwrap();
    assert!(!plain.status.success());
}
