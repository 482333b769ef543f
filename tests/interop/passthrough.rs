//! TLS that is not ended here: real clients and servers find each other by the name in the hello, and verify each other.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::cluster::{Server, account, cluster};
use crate::support::pki::{Authority, Wish};
use crate::support::{Program, Proxy, Setup, eventually, free_port, program, run};

/// A PostgreSQL server with a certificate of `authority` for `name`; its data goes with the folder.
fn database(authority: &Authority, name: &str) -> (TempDir, Server) {
    let (dir, data) = cluster();
    let files = authority.issue(&Wish::names([name])).save(dir.path(), "server");
    for file in &files {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = account() {
            chown(file, Some(user), Some(group)).unwrap();
        }
    }
    let [cert, key] = files.map(|file| file.display().to_string());
    let settings = ["ssl=on", &format!("ssl_cert_file={cert}"), &format!("ssl_key_file={key}")];
    let server = Server::start(data, &settings);
    (dir, server)
}

/// In front of two servers, `a.example` and `b.example`, and one that nobody has.
fn proxy(listener: &str, ports: [u16; 2]) -> Proxy {
    Setup::file(format!(
        "admin: {{ listen: 127.0.0.1:0 }}\nlisteners:\n  front:\n    bind: 127.0.0.1:0\n{listener}    routes:\n      - {{ match: {{ sni: \
         a.example }}, pool: a }}\n      - {{ match: {{ sni: '*.example' }}, pool: b }}\npools:\n  a: {{ backends: '127.0.0.1:{}' }}\n  \
         b: {{ backends: '127.0.0.1:{}' }}\n",
        ports[0], ports[1]
    ))
    .start()
}

fn saved(dir: &TempDir, pem: &str) -> PathBuf {
    let file = dir.path().join("authority.pem");
    std::fs::write(&file, pem).unwrap();
    file
}

/// `psql` that wants the server to be whom the name says; what it says of the connection and of the server's port.
fn ask(proxy: &Proxy, name: &str, authority: &Path, mode: &str) -> String {
    let to = format!(
        "host={name} hostaddr=127.0.0.1 port={} user=postgres dbname=postgres sslmode={mode} sslrootcert={}",
        proxy.address("front").port(),
        authority.display()
    );
    let sql = "SELECT ssl || ' ' || current_setting('port') FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let mut psql = program("psql");
    psql.args(["-X", "-A", "-t", "-c", sql, &to]);
    let output = psql.output().unwrap();
    let said = if output.status.success() { output.stdout } else { output.stderr };
    String::from_utf8(said).unwrap().trim().to_owned()
}

#[test]
fn psql_verifies_the_server_that_its_name_leads_to() {
    let authority = Authority::new("databases");
    let (_one, a) = database(&authority, "a.example");
    let (_two, b) = database(&authority, "b.example");
    let dir = tempfile::tempdir().unwrap();
    let ca = saved(&dir, authority.pem());
    let proxy = proxy("    starttls: postgres\n", [a.port, b.port]);
    assert_eq!(ask(&proxy, "a.example", &ca, "verify-full"), format!("true {}", a.port));
    assert_eq!(ask(&proxy, "b.example", &ca, "verify-full"), format!("true {}", b.port));
    // The name leads there, and the certificate is another's.
    let wrong = ask(&proxy, "c.example", &ca, "verify-full");
    assert!(wrong.contains("does not match host name \"c.example\""), "{wrong}");
    // In the clear nobody is named, and there is no pool for those.
    let clear = ask(&proxy, "a.example", &ca, "disable");
    assert!(clear.contains("closed the connection") || clear.contains("reset by peer"), "{clear}");
    for part in ["\"sni\":\"a.example\"", "\"route\":\"routes[1]\""] {
        eventually(part, || proxy.access().iter().any(|line| line.contains(part)).then_some(()));
    }
}

/// Its TLS is its own to begin, as `sslmode` says, and a server that is not willing is an attempt that failed.
#[test]
fn a_server_without_tls_is_not_reached_by_who_asks_for_it() {
    let (_dir, data) = cluster();
    let server = Server::start(data, &[]);
    let dir = tempfile::tempdir().unwrap();
    let ca = saved(&dir, Authority::new("nobody").pem());
    let proxy = proxy("    starttls: postgres\n    pool: a\n", [server.port; 2]);
    assert_eq!(ask(&proxy, "a.example", &ca, "disable"), format!("false {}", server.port));
    let asked = ask(&proxy, "a.example", &ca, "require");
    assert!(!asked.contains("true"), "{asked}");
    let series = "peerway_backend_connect_failures_total{pool=\"a\",reason=\"tls\"}";
    assert!(proxy.scrape().get(series) > 0.0);
}

/// A server of OpenSSL's with a certificate for `name`, which answers any request with a page of its own.
fn web(authority: &Authority, name: &str, dir: &TempDir) -> (Program, u16) {
    let (port, [cert, key]) = (free_port(), authority.issue(&Wish::names([name])).save(dir.path(), name));
    let mut server = program("openssl");
    server.args(["s_server", "-quiet", "-WWW", "-accept", &format!("127.0.0.1:{port}")]);
    server.arg("-cert").arg(cert).arg("-key").arg(key).current_dir(dir.path());
    (Program::start(&mut server).listening(port), port)
}

#[test]
fn curl_verifies_the_server_that_its_name_leads_to() {
    let (authority, dir) = (Authority::new("web"), tempfile::tempdir().unwrap());
    let ca = saved(&dir, authority.pem());
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for (folder, page) in folders.iter().zip(["this is a", "this is b"]) {
        std::fs::write(folder.path().join("page.txt"), page).unwrap();
    }
    let (_a, one) = web(&authority, "a.example", &folders[0]);
    let (_b, two) = web(&authority, "b.example", &folders[1]);
    let proxy = proxy("", [one, two]);
    let port = proxy.address("front").port();
    for (name, page, version) in
        [("a.example", "this is a", "1.3"), ("b.example", "this is b", "1.3"), ("a.example", "this is a", "1.2")]
    {
        let mut curl = program("curl");
        curl.args(["-sS", "--max-time", "60", "--resolve", &format!("{name}:{port}:127.0.0.1"), "--tls-max", version]);
        let said = run(curl.arg("--cacert").arg(&ca).arg(format!("https://{name}:{port}/page.txt")));
        assert!(said.contains(page), "{said}");
    }
}

/// `psql` ends its query when it is interrupted; before PostgreSQL 17 it asks for that in the clear.
#[track_caller]
fn is_cancelled(proxy: &Proxy, server: &Server, authority: &Path) {
    let port = proxy.address("front").port();
    let to = format!("host=a.example hostaddr=127.0.0.1 port={port} user=postgres dbname=postgres sslmode=verify-full");
    let mut psql = program("psql");
    psql.args(["-X", "-c", "SELECT pg_sleep(60)", &format!("{to} sslrootcert={}", authority.display())]);
    let psql = psql.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(60)'";
    eventually("it sleeps", || (server.sql(sleeps).trim() == "1").then_some(()));
    rustix::process::kill_process(Pid::from_child(&psql), Signal::INT).unwrap();
    let said = String::from_utf8(psql.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("canceling statement due to user request"), "{said}");
}

/// TLS with the client ends here, another one begins towards the server, and each is asked for as PostgreSQL does.
#[test]
fn psql_and_its_server_each_have_tls_of_their_own_with_us() {
    let (outer, inner) = (Authority::new("ours"), Authority::new("databases"));
    let (_server, server) = database(&inner, "db.internal");
    let dir = tempfile::tempdir().unwrap();
    let ca = saved(&dir, outer.pem());
    let inside = dir.path().join("inner.pem");
    std::fs::write(&inside, inner.pem()).unwrap();
    let [cert, key] = outer.issue(&Wish::names(["a.example"])).save(dir.path(), "ours");
    let yaml = |pool: &str| {
        format!(
            "admin: {{ listen: 127.0.0.1:0 }}\nlisteners:\n  front:\n    bind: 127.0.0.1:0\n    starttls: postgres\n    tls: {{ \
             certificates: {{ cert: {}, key: {} }} }}\n    pool: db\n    routes: [ {{ match: {{ sni: b.example }}, action: reject }} ]\npools:\n  db:\n    \
             backends: '127.0.0.1:{}'\n    {pool}\n",
            cert.display(),
            key.display(),
            server.port
        )
    };
    let clear = Setup::file(yaml("slow_start: 0s")).start();
    assert_eq!(ask(&clear, "a.example", &ca, "verify-full"), format!("false {}", server.port));
    let tls = format!("tls: {{ server_name: db.internal, ca: {} }}\n    starttls: postgres", inside.display());
    let both = Setup::file(yaml(&tls)).start();
    assert_eq!(ask(&both, "a.example", &ca, "verify-full"), format!("true {}", server.port));
    for proxy in [&clear, &both] {
        is_cancelled(proxy, &server, &ca);
    }
    // Where only TLS is served, nobody is served without it.
    let refused = ask(&both, "a.example", &ca, "disable");
    assert!(!refused.contains(&server.port.to_string()), "{refused}");
}
