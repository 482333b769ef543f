//! The admin endpoint: health, what is connected, and the end of one session by its id.

use crate::support::{Admin, Backend, Setup, eventually, send_across};

#[test]
fn a_session_is_listed_and_killed_by_its_id() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    let (mut client, mut server) = proxy.session(&backend);
    let (mut other_client, mut other_server) = proxy.session(&backend);
    send_across(&mut client, &mut server, 10);
    send_across(&mut server, &mut client, 10);
    let peer = client.local().to_string();
    let listed = proxy.admin().json("/api/v1/connections");
    let listed = listed["connections"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    let mine = listed.iter().find(|connection| connection["peer"] == peer.as_str()).unwrap();
    let id = mine["id"].as_str().map_or_else(|| mine["id"].to_string(), str::to_owned);
    let answer = proxy.admin().ask("DELETE", &format!("/api/v1/connections/{id}"), "");
    assert!((200..300).contains(&answer.status), "{answer:?}");
    client.hear_reset();
    server.hear_reset();
    assert_eq!(proxy.why(), "killed proxy data");
    send_across(&mut other_client, &mut other_server, 10);
    assert_eq!(proxy.admin().ask("DELETE", &format!("/api/v1/connections/{id}"), "").status, 404);
}

#[test]
fn health_is_answered_on_both_endpoints() {
    let yaml = "admin: { listen: 127.0.0.1:0 }\nmetrics: { listen: 127.0.0.1:0 }\n\
                listeners: { a: { bind: 127.0.0.1:0, pool: b } }\npools: { b: { backends: 127.0.0.1:1 } }\n";
    let proxy = Setup::file(yaml).start();
    let metrics = Admin { address: proxy.addresses("metrics").pop().unwrap() };
    for endpoint in [proxy.admin(), metrics.clone()] {
        assert_eq!(endpoint.get("/healthz").status, 200);
        assert_eq!(endpoint.get("/readyz").status, 200);
        assert!(endpoint.get("/metrics").body.contains("peerway_build_info"));
    }
    assert_eq!(metrics.get("/api/v1/pools").status, 404);
}

#[test]
fn a_unix_admin_socket_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let yaml = format!(
        "admin: {{ listen: \"unix:{}\" }}\nlisteners: {{ a: {{ bind: 127.0.0.1:0, pool: b }} }}\n\
         pools: {{ b: {{ backends: 127.0.0.1:1 }} }}\n",
        path.display()
    );
    let proxy = Setup::file(yaml).start();
    let admin = Admin { address: format!("unix:{}", path.display()) };
    assert_eq!(admin.get("/healthz").status, 200);
    drop(proxy);
}

#[test]
fn requests_with_a_foreign_host_or_origin_are_refused() {
    let proxy = Setup::to([Backend::refusing()]).start();
    let admin = proxy.admin();
    assert_eq!(admin.get("/api/v1/pools").status, 200);
    assert!(admin.ask("GET", "/api/v1/pools", "Origin: http://evil.example\r\n").status >= 400);
    let foreign = admin.ask_host("evil.example", "GET", "/api/v1/pools");
    assert!(foreign.status >= 400, "{foreign:?}");
}

#[test]
fn what_the_api_says_of_pools_and_listeners_fits_the_traffic() {
    let backend = Backend::new();
    let proxy = Setup::to([&backend]).start();
    let (client, server) = proxy.session(&backend);
    let backends = || proxy.admin().json("/api/v1/pools")["pools"][0]["backends"][0].clone();
    // The kernel lets the server in a moment before the proxy knows.
    let listed =
        eventually("it is counted", || Some(backends()).filter(|it| it["connections_total"].as_u64() == Some(1)));
    assert_eq!(listed["active"].as_u64(), Some(1));
    assert_eq!(listed["address"], backend.address().to_string().as_str());
    let listeners = proxy.admin().json("/api/v1/listeners");
    assert_eq!(listeners["listeners"][0]["bound"][0], proxy.address("front").to_string().as_str());
    assert_eq!(listeners["listeners"][0]["active"].as_u64(), Some(1));
    client.close();
    server.close();
    eventually("the backend is free again", || (backends()["active"].as_u64() == Some(0)).then_some(()));
}

#[test]
fn odd_requests_do_not_hurt() {
    use std::io::{Read, Write};
    let proxy = Setup::to([Backend::refusing()]).start();
    let address = proxy.admin().address;
    for request in ["\0\0\0", "GET / HTTP/9\r\n\r\n", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut socket = std::net::TcpStream::connect(&address).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(!String::from_utf8_lossy(&answer).contains("root:"));
    }
    let flood = format!("X-Flood: {}\r\n", "x".repeat(1000)).repeat(500);
    let answer = proxy.admin().try_ask("GET", "/healthz", &flood);
    assert!(answer.is_err() || answer.unwrap().status >= 400);
    assert_eq!(proxy.admin().get("/healthz").status, 200);
}
