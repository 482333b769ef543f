//! Files and folders: those of the configuration, and no others.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::process::Signal;

use super::{Outside, file, proxy};
use crate::support::pki::{Authority, Wish};
use crate::support::{Backend, Setup, TlsClient, der, eventually, send_across};

const NAME: &str = "a.example";

#[test]
fn a_reload_that_needs_more_is_refused_whole_at_its_place() {
    let backend = Backend::new();
    let outside = Outside::new();
    let [cert, key] = Authority::new("authority").issue(&Wish::names([NAME])).save(&outside.path(), "a");
    let proxy = proxy(&backend);
    let tls = format!(
        ", timeouts: {{ idle: 7s }}, tls: {{ certificates: {{ cert: {}, key: {} }} }}",
        cert.display(),
        key.display()
    );
    let yaml = file(&backend, "", &tls, "");
    let said = proxy.refuses(&yaml);
    let lines: Vec<&str> = said.lines().collect();
    let why = "it lies in no folder that the sandbox lets this process read";
    let place = |file: &str, at: usize, key: &str| {
        let column = yaml.lines().nth(5).unwrap().find(file).unwrap() + 1;
        let text = proxy.file().canonicalize().unwrap();
        assert!(lines[at].starts_with(&format!("{}:6:{column}: {key}: ", text.display())), "{said}");
        assert!(lines[at].ends_with(&format!(": needs restart: {file}: {why}")), "{said}");
    };
    place(&cert.display().to_string(), 0, "listeners.front.tls.certificates.cert");
    place(&key.display().to_string(), 1, "listeners.front.tls.certificates.key");
    assert_eq!(proxy.generation(), 1);
    let attempt = proxy.config()["last_attempt"].clone();
    assert_eq!(attempt["needs_restart"].as_array().unwrap().len(), 2, "{attempt}");
    assert_eq!(
        (&attempt["errors"][0]["line"], &attempt["errors"][0]["path"]),
        (&6.into(), &"listeners.front.tls.certificates.cert".into())
    );
    for command in ["reload", "plan"] {
        let (code, _, complained) = proxy.said(&[command]);
        assert_eq!((code, complained.trim()), (Some(1), said.as_str()), "{command}");
    }
    // From a candidate as well.
    fs::write(proxy.dir().join("candidate.yaml"), &yaml).unwrap();
    let (code, _, complained) = proxy.said(&["plan", "candidate.yaml"]);
    assert!(
        code == Some(1) && complained.contains("candidate.yaml:6:") && complained.contains("needs restart"),
        "{complained}"
    );
    // In its own folder it is read.
    fs::copy(cert, proxy.dir().join("a.pem")).unwrap();
    fs::copy(key, proxy.dir().join("a.key")).unwrap();
    proxy.change_to(&file(&backend, "", ", tls: { certificates: { cert: a.pem, key: a.key } }", ""));
}

#[test]
fn nothing_is_written_where_only_reading_was_asked_for() {
    let backend = Backend::new();
    let proxy = proxy(&backend);
    let outside = Outside::new();
    let log = outside.path().join("access.log");
    let said = proxy.refuses(&file(&backend, "", &format!(", log: {{ access: {{ to: {} }} }}", log.display()), ""));
    assert!(said.contains(&format!("needs restart: {}: it lies in no folder in which", log.display())), "{said}");
    let said = proxy.refuses(&file(&backend, "", ", log: { access: { to: access.log } }", ""));
    assert!(said.contains("access.log: it lies in no folder in which the sandbox lets this process write"), "{said}");
    let unix =
        file(&backend, "", "", "").replace("\"127.0.0.1:0\", pool", "[ \"127.0.0.1:0\", \"unix:x.sock\" ], pool");
    let said = proxy.refuses(&unix);
    assert!(said.contains("listeners.front.bind[1]: needs restart: ") && said.contains("create sockets"), "{said}");
    let said = proxy.refuses(&file(&backend, "workers: { threads: 2 }", "", ""));
    assert_eq!(said, "needs restart: workers");
    let said = proxy.refuses(&file(&backend, "", "", "").replace("strict", "on"));
    assert_eq!(said, "needs restart: sandbox");
}

#[test]
fn an_include_from_elsewhere_needs_a_restart() {
    let backend = Backend::new();
    let outside = Outside::new();
    outside.file("more.yaml", format!("pools: {{ more: {{ backends: [ \"{}\" ] }} }}\n", backend.address()));
    let proxy = proxy(&backend);
    let include = format!("include: {}/*.yaml", outside.path().display());
    let said = proxy.refuses(&file(&backend, &include, "", ""));
    assert!(said.contains(&format!("include: needs restart: {}: it lies", outside.path().display())), "{said}");
}

#[test]
fn the_kernel_keeps_what_a_link_leads_out_of_reach() {
    let backend = Backend::new().echo();
    let authority = Authority::new("authority");
    let setup = Setup::file(
        file(&backend, "", ", tls: { certificates: { cert: a.pem, key: a.key } }", "")
            .replace("watch: false", "watch: false, debounce: 20ms"),
    );
    let old = authority.issue(&Wish::names([NAME]));
    old.save(setup.dir(), "a");
    let proxy = setup.start();
    let outside = Outside::new();
    let next = authority.issue(&Wish::names([NAME]));
    let [cert, _] = next.save(&outside.path(), "b");
    symlink(cert, proxy.dir().join("link")).unwrap();
    fs::rename(proxy.dir().join("link"), proxy.dir().join("a.pem")).unwrap();
    let said = proxy.logs("files of TLS have changed and cannot be used");
    assert!(said.contains("Permission denied"), "{said}");
    let shown = TlsClient::trusting(&authority).connect(proxy.address("front"), NAME).certificate();
    assert_eq!(shown, der(&old));
}

#[test]
fn certificates_are_swapped_by_renaming_and_by_turning_a_link() {
    let backend = Backend::new().echo();
    let authority = Authority::new("authority");
    let volume = Outside::new();
    let issue = |version: &str| {
        let issued = authority.issue(&Wish::names([NAME]));
        fs::create_dir(volume.path().join(version)).unwrap();
        issued.save(&volume.path().join(version), "a");
        issued
    };
    let turn = |version: &str| {
        symlink(version, volume.path().join("next")).unwrap();
        fs::rename(volume.path().join("next"), volume.path().join("current")).unwrap();
    };
    issue("v1");
    turn("v1");
    let pair = volume.path().join("current");
    let tls = format!(", tls: {{ certificates: {{ cert: {0}/a.pem, key: {0}/a.key }} }}", pair.display());
    let yaml = file(&backend, "", &tls, "").replace("watch: false", "watch: false, debounce: 20ms");
    let proxy = Setup::file(yaml).start();
    let becomes = |what: &str, certificate: Vec<u8>| {
        eventually(what, || {
            let shown = TlsClient::trusting(&authority).connect(proxy.address("front"), NAME).certificate();
            (shown == certificate).then_some(())
        });
    };
    let second = issue("v2");
    turn("v2");
    becomes("the one in the other folder", der(&second));
    let third = authority.issue(&Wish::names([NAME]));
    third.save(&volume.path().join("v2"), "next");
    for (next, name) in [("next.key", "a.key"), ("next.pem", "a.pem")] {
        fs::rename(volume.path().join("v2").join(next), volume.path().join("v2").join(name)).unwrap();
    }
    becomes("the one in the same folder", der(&third));
}

#[test]
fn logs_are_rotated_and_what_operators_say_is_kept() {
    let backend = Backend::new();
    let (logs, state) = (Outside::new(), Outside::new());
    let (log, kept) = (logs.path().join("access.log"), state.path().join("state.json"));
    let top = format!("state_file: {}\nlog: {{ access: {{ to: {} }} }}", kept.display(), log.display());
    let proxy = Setup::file(file(&backend, &top, "", "")).start();
    let session = || {
        let (mut client, mut server) = proxy.session(&backend);
        send_across(&mut client, &mut server, 10);
        client.close();
        server.hear_end();
        server.close();
    };
    let lines = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default().lines().count();
    session();
    eventually("a line", || (lines(&log) == 1).then_some(()));
    fs::rename(&log, logs.path().join("access.log.1")).unwrap();
    proxy.signal(Signal::USR1);
    proxy.logs("log file opened again");
    session();
    eventually("a line in the new file", || (lines(&log) == 1).then_some(()));
    for weight in ["7", "8"] {
        let (code, _, complained) = proxy.said(&["weight", &format!("back/{}", backend.address()), weight]);
        assert_eq!(code, Some(0), "{complained}");
    }
    assert!(fs::read_to_string(&kept).unwrap().contains("\"weight\": 8"));
}

#[test]
fn unix_sockets_come_and_go_in_their_folder() {
    let backend = Backend::new().echo();
    let run = Outside::new();
    let socket = |name: &str| run.path().join(name);
    let yaml = |name: &str| {
        let bind = format!("\"unix:{}\", pool", socket(name).display());
        file(&backend, "", "", "").replace("\"127.0.0.1:0\", pool", &bind)
    };
    let proxy = Setup::file(yaml("a.sock")).start();
    assert!(socket("a.sock").exists());
    // One that somebody has left there is stale.
    drop(std::os::unix::net::UnixListener::bind(socket("b.sock")).unwrap());
    proxy.change_to(&yaml("b.sock"));
    assert!(!socket("a.sock").exists());
    proxy.change_to(&yaml("a.sock"));
    assert!(socket("a.sock").exists() && !socket("b.sock").exists());
    let admin = proxy.said(&["connections"]);
    assert_eq!(admin.0, Some(0), "{admin:?}");
}

#[test]
fn names_are_looked_up_if_there_were_any_at_the_start() {
    let backend = Backend::new().echo();
    let named = format!("localhost:{}", backend.address().port());
    let at_start = Setup::file(file(named.clone(), "", "", ", health: { probe: tcp, interval: 100ms }")).start();
    at_start.backend_becomes(0, "up");
    let mut client = at_start.connect().seeded(7, 7);
    client.say(100);
    client.hear(100);
    let without = proxy(&backend);
    let said = without.refuses(&file(named, "", "", ""));
    assert!(said.contains("pools.back.backends[0]: needs restart: /etc: with no host name to look up"), "{said}");
}

#[test]
fn a_start_that_cannot_be_is_told_as_ever() {
    let backend = Backend::new();
    let top = "log: { access: { to: missing/access.log } }";
    let (code, said) = Setup::file(file(&backend, top, "", "")).fails();
    assert!(code == Some(1) && said.contains("missing/access.log: No such file"), "{said}");
}
