//! Files of certificates: swapped while running, kept when they are broken, and told about.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{NAME, Site};
use crate::support::pki::{Authority, Wish};
use crate::support::{Backend, Proxy, TlsClient, VERSIONS, certify, der, eventually};

const CURRENT: &str = "peerway_tls_files_current{owner=\"listener/front\"}";

/// The certificate that a new client of `front` is shown.
fn shown(proxy: &Proxy, authority: &Authority) -> Vec<u8> {
    TlsClient::trusting(authority).connect(proxy.address("front"), NAME).certificate()
}

#[track_caller]
fn becomes(proxy: &Proxy, authority: &Authority, certificate: &[u8]) {
    eventually("the new certificate", || (shown(proxy, authority) == certificate).then_some(()));
}

fn quick(site: Site) -> Site {
    Site { setup: site.setup.process("reload: { debounce: 20ms }"), ..site }
}

#[test]
fn a_new_certificate_is_used_at_once_and_sessions_go_on() {
    let backend = Backend::new().echo();
    let (proxy, authority) = quick(Site::to(&backend)).start("");
    let mut living = TlsClient::trusting(&authority).connect(proxy.address("front"), NAME);
    let expiry = "peerway_tls_certificate_expiry_timestamp_seconds{owner=\"listener/front\"}";
    assert_eq!(proxy.metric(expiry), 4_070_908_800.0);
    let next = authority.issue(&Wish::names([NAME]).until(2050));
    next.save(proxy.dir(), "a");
    becomes(&proxy, &authority, &der(&next));
    assert_eq!((proxy.metric(expiry), proxy.metric(CURRENT)), (2_524_608_000.0, 1.0));
    living.say(b"still");
    living.hear(b"still");
    assert_eq!(proxy.generation(), 1, "no reload of the configuration");
}

#[test]
fn a_hundred_new_certificates_under_load_fail_nobody() {
    let backend = Backend::new().echo();
    let (proxy, authority) = quick(Site::to(&backend)).start("");
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..3)
        .map(|nth| {
            // One resumes, the others begin anew each time.
            let kept = TlsClient::trusting(&authority);
            let fresh = {
                let pem = authority.pem().to_owned();
                move || TlsClient::trusting_pem(&pem)
            };
            let (stop, served, to) = (stop.clone(), served.clone(), proxy.address("front"));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let client = if nth == 0 { kept.clone() } else { fresh() };
                    let mut peer = client.connect(to, NAME);
                    peer.say(b"hello");
                    peer.hear(b"hello");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for nth in 0..100 {
        let next = authority.issue(&Wish::names([NAME]));
        // Half of them by renaming, as careful people do, and half by writing over what is there, in two pieces.
        if nth % 2 == 0 {
            next.save(proxy.dir(), "next");
            fs::rename(proxy.dir().join("next.key"), proxy.dir().join("a.key")).unwrap();
            fs::rename(proxy.dir().join("next.pem"), proxy.dir().join("a.pem")).unwrap();
        } else {
            let file = proxy.dir().join("a.pem");
            fs::write(proxy.dir().join("a.key"), &next.key).unwrap();
            fs::write(&file, &next.cert[..next.cert.len() / 2]).unwrap();
            std::thread::sleep(Duration::from_millis(5));
            fs::write(&file, &next.cert).unwrap();
        }
        if nth % 10 == 9 {
            becomes(&proxy, &authority, &der(&next));
        }
    }
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("a handshake failed"));
    assert!(served.load(Ordering::Relaxed) > 100);
    let scrape = proxy.scrape();
    let all = scrape.get("peerway_tls_handshakes_total{listener=\"front\"}");
    assert_eq!(scrape.get(&super::handshakes("ok")), all);
    assert_eq!(scrape.get(CURRENT), 1.0);
}

#[test]
fn files_that_do_not_fit_keep_what_was_there_and_are_tried_again() {
    let backend = Backend::new().echo();
    let (proxy, authority) = quick(Site::to(&backend)).start("");
    let before = shown(&proxy, &authority);
    let next = authority.issue(&Wish::names([NAME]));
    fs::write(proxy.dir().join("a.pem"), &next.cert).unwrap();
    proxy.metric_becomes(CURRENT, 0.0);
    assert!(proxy.logs("cannot be used").contains("a.key is not the key of the certificate in"));
    assert_eq!(shown(&proxy, &authority), before);
    fs::write(proxy.dir().join("a.pem"), &next.cert[..100]).unwrap();
    assert!(proxy.logs("is broken").contains("a.pem"));
    fs::remove_file(proxy.dir().join("a.pem")).unwrap();
    proxy.logs("cannot read");
    assert_eq!((shown(&proxy, &authority), proxy.metric(CURRENT)), (before, 0.0));
    // Nothing more is said of it at each look.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(proxy.log().iter().filter(|line| line.contains("cannot read")).count(), 1);
    next.save(proxy.dir(), "a");
    becomes(&proxy, &authority, &der(&next));
    proxy.metric_becomes(CURRENT, 1.0);
}

/// As Kubernetes replaces a volume: the files are links through `..data`, and that is what changes.
#[test]
fn a_volume_that_is_swapped_is_noticed() {
    let backend = Backend::new().echo();
    let site = quick(Site::to(&backend));
    let dir = site.setup.dir().to_owned();
    let volume = |name: &str| {
        fs::create_dir(dir.join(name)).unwrap();
        certify(&site.authority, &dir.join(name), "tls", &[NAME])
    };
    volume("..1");
    let next = volume("..2");
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, dir.join(name)).unwrap();
    link("..1", "..data");
    for (file, target) in [("a.pem", "..data/tls.pem"), ("a.key", "..data/tls.key")] {
        fs::remove_file(dir.join(file)).unwrap();
        link(target, file);
    }
    let (proxy, authority) = site.start("");
    link("..2", "..data_tmp");
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    becomes(&proxy, &authority, &der(&next));
}

#[test]
fn sessions_are_resumed_after_a_reload_and_with_a_new_certificate() {
    let backend = Backend::new().echo();
    let (proxy, authority) = quick(Site::to(&backend)).start("");
    for version in VERSIONS {
        let client = TlsClient::new(&authority, None, &[version], &[]);
        let again = |resumes: bool| {
            let mut peer = client.connect(proxy.address("front"), NAME);
            peer.say(b"hello");
            peer.hear(b"hello");
            assert_eq!(peer.is_resumed(), resumes, "{version:?}");
        };
        again(false);
        again(true);
        let answer = proxy.reload();
        assert_eq!(answer.status, 200, "{}", answer.body);
        again(true);
        let next = authority.issue(&Wish::names([NAME]));
        next.save(proxy.dir(), "a");
        becomes(&proxy, &authority, &der(&next));
        again(true);
    }
}

/// Also the process after the next one knows the tickets.
#[test]
fn sessions_are_resumed_after_upgrades() {
    let backend = Backend::new().echo();
    let (proxy, authority) = quick(Site::to(&backend)).start("");
    let clients = VERSIONS.map(|version| TlsClient::new(&authority, None, &[version], &[]));
    let again = |resumes: bool| {
        for client in &clients {
            let mut peer = client.connect(proxy.address("front"), NAME);
            peer.say(b"hello");
            peer.hear(b"hello");
            assert_eq!(peer.is_resumed(), resumes);
        }
    };
    again(false);
    proxy.upgrade();
    again(true);
    proxy.upgrade();
    again(true);
}

#[test]
fn a_reload_with_files_that_cannot_be_used_fails_whole() {
    let backend = Backend::new().echo();
    let (proxy, authority) = Site::to(&backend).start("");
    let before = shown(&proxy, &authority);
    let file = fs::read_to_string(proxy.file()).unwrap();
    let error = proxy.refuses(&file.replace("cert: a.pem", "cert: gone.pem"));
    assert!(
        error.contains("listeners.front.tls.certificates.cert: cannot read") && error.contains("gone.pem"),
        "{error}"
    );
    assert_eq!(shown(&proxy, &authority), before);
    // And one without TLS takes it away.
    let plain: String = file.lines().filter(|line| !line.contains("tls:")).map(|line| format!("{line}\n")).collect();
    proxy.change_to(&plain);
    let mut client = proxy.connect().seeded(7, 7);
    client.say(1000);
    client.hear(1000);
    proxy.change_to(&file);
    assert_eq!(shown(&proxy, &authority), before);
}

/// Whoever writes the configuration before the certificate need not write it twice.
#[test]
fn a_reload_that_was_refused_for_its_files_is_tried_again_once_they_are_good() {
    let backend = Backend::new().echo();
    let (proxy, authority) = quick(Site::to(&backend)).start("");
    let file = fs::read_to_string(proxy.file()).unwrap();
    proxy.write(&file.replace("cert: a.pem, key: a.key", "cert: b.pem, key: b.key"));
    proxy.logs("configuration rejected");
    // It is looked at again, and nothing is said of it, nor tried.
    std::thread::sleep(Duration::from_secs(6));
    let attempts = || proxy.admin().json("/api/v1/config/history")["history"].as_array().unwrap().len();
    assert_eq!((proxy.generation(), attempts()), (1, 2));
    let next = certify(&authority, proxy.dir(), "b", &[NAME]);
    assert_eq!(proxy.generation_after(1), 2);
    assert_eq!((shown(&proxy, &authority), attempts()), (der(&next), 3));
}

#[test]
fn a_start_with_files_that_cannot_be_used_is_none() {
    let site = Site::to(&Backend::new());
    site.write("a.key", "nothing");
    let tls = "tls: { certificates: { cert: a.pem, key: a.key } }";
    let (code, said) = site.setup.listener(tls).fails();
    assert_eq!(code, Some(78));
    assert!(said.contains("listeners.front.tls.certificates.key:") && said.contains("holds no private key"), "{said}");
}

#[test]
fn the_admin_endpoint_speaks_tls_and_follows_its_files() {
    let site = Site::to(&Backend::new());
    let dir = site.setup.dir().display();
    let file = format!(
        "admin: {{ listen: 127.0.0.1:0, tls: {{ cert: {dir}/a.pem, key: {dir}/a.key }} }}\nreload: {{ debounce: 20ms }}\n\
         listeners: {{ front: {{ bind: 127.0.0.1:0, pool: back }} }}\npools: {{ back: {{ backends: [] }} }}\n"
    );
    let proxy = crate::support::Setup::file(file).start();
    let admin = proxy.address("admin");
    let client = TlsClient::trusting(&site.authority);
    let mut peer = client.connect(admin, NAME);
    peer.say(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    peer.hear(b"HTTP/1.1 200 OK\r\n");
    // Who asks in the clear hears an alert, and no page.
    let mut plain = std::net::TcpStream::connect(admin).unwrap();
    std::io::Write::write_all(&mut plain, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut heard = Vec::new();
    let _ = std::io::Read::read_to_end(&mut plain, &mut heard);
    assert_eq!((heard.first(), heard.len()), (Some(&21), 7));
    let next = certify(&site.authority, site.setup.dir(), "a", &[NAME]);
    eventually("the new certificate", || (client.connect(admin, NAME).certificate() == der(&next)).then_some(()));
}
