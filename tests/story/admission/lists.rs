//! `allow` and `deny`.

use super::*;
use crate::support::Setup;

const LISTS: &str = "admission: { allow: [127.0.0.0/29, 127.0.0.9/32, 192.0.2.0/24], deny: [127.0.0.2/31] }";

#[test]
fn the_longest_prefix_decides_at_accept() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener(LISTS).start();
    for number in [1, 7, 9] {
        is_served(&proxy, &backend, number);
    }
    for number in [2, 3, 8, 10] {
        is_reset(&proxy, number);
    }
    proxy.refused("denied", 4);
    let line = proxy.logs("\"refused\"");
    assert!(line.contains("\"reason\":\"denied\"") && line.contains("\"client\":\"127.0.0.2:"), "{line}");
    assert_eq!(proxy.metric("peerway_backend_connections_total"), 3.0, "nobody else came to a backend");
    is_over(&proxy);
}

#[test]
fn a_flood_of_refusals_is_one_line_of_the_log() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).listener("admission: { deny: 127.0.0.2/32 }").start();
    for _ in 0..200 {
        is_reset(&proxy, 2);
    }
    proxy.refused("denied", 200);
    proxy.logs("\"refused\"");
    let said = proxy.log().iter().filter(|line| line.contains("\"refused\"")).count();
    assert!((1..=3).contains(&said), "{said} lines for 200 refusals");
}

/// Who really connected is the other load balancer; the lists are about whom it names.
#[test]
fn behind_another_load_balancer_it_is_the_client_that_counts() {
    let backend = Backend::new();
    let lists = "admission: { allow: [192.0.2.0/24, \"2001:db8::/32\", 127.0.0.9/32], deny: 192.0.2.66/32 }";
    let setup = Setup::to([&backend]).listener("accept_proxy: { from: 127.0.0.0/8, timeout: 20s }").listener(lists);
    let proxy = setup.start();
    let _served = ["192.0.2.1", "2001:db8::1"].map(|who| introduced_is_served(&proxy, &backend, who));
    for who in ["192.0.2.66", "192.0.3.1", "2001:db9::1"] {
        introduced(&proxy, who).hear_reset();
    }
    proxy.refused("denied", 3);
    let line = proxy.logs("\"refused\"");
    assert!(line.contains("\"client\":\"192.0.2.66:4711\"") && line.contains("\"peer\":\"127.0.0.1:"), "{line}");
    // A header that names nobody leaves the peer itself the client.
    for (number, served) in [(9, true), (1, false)] {
        let mut client = client(&proxy, number);
        (&client.socket).write_all(b"PROXY UNKNOWN\r\n").unwrap();
        if served { drop(backend.accept()) } else { client.hear_reset() }
    }
    proxy.refused("denied", 4);
}

#[test]
fn peers_on_a_unix_socket_are_a_word_of_the_list() {
    let backend = Backend::new();
    for (lists, served) in [
        ("admission: { allow: [10.0.0.0/8, unix] }", true),
        ("admission: { allow: [10.0.0.0/8] }", false),
        ("admission: { deny: [unix] }", false),
        ("admission: { deny: [0.0.0.0/0, \"::/0\"] }", true),
    ] {
        let setup = Setup::to([&backend]);
        let path = setup.dir().join("l.sock");
        let proxy = setup.bind(format!("unix:{}", path.display())).listener(lists).start();
        let mut client = Peer::connect_unix(&path);
        match served {
            true => send_across(&mut client, &mut backend.accept(), 1000),
            // A unix socket cannot say more when it is closed.
            false => assert!(client.hear_whatever().is_ok()),
        }
        proxy.refused("denied", u32::from(!served));
    }
}
