//! What holds of every parser of the program, whatever bytes it is fed. The fuzz targets beside this file look for bytes
//! for which it does not, and a plain test (`tests/properties.rs`) tries some each time.

use std::fmt::Debug;

use peerway::wire::client_hello::{self, Glimpse, client_hello};
use peerway::wire::{Malformed, Parsed, grpc, mysql, postgres, proxy, redis};
use peerway::{admin, balance, config};

/// A parser says the same of a message however many bytes of it, or behind it, have come, and takes no more than there
/// are.
fn steady<T: Debug + PartialEq>(bytes: &[u8], parse: impl Fn(&[u8]) -> Parsed<T>) {
    let whole = parse(bytes);
    if let Ok(Some((_, taken))) = &whole {
        assert!(*taken <= bytes.len(), "{taken} of {}", bytes.len());
    }
    if let Err(Malformed(words)) = &whole {
        legible(words);
    }
    for end in 0..=bytes.len().min(300) {
        match (parse(&bytes[..end]), &whole) {
            (Ok(Some(value)), Ok(Some(final_value))) => assert_eq!(&value, final_value, "after {end}"),
            (Ok(Some(value)), other) => panic!("{value:?} after {end}, then {other:?}"),
            (Err(_), Err(_)) | (Ok(None), _) => {}
            (Err(error), other) => panic!("{error:?} after {end}, then {other:?}"),
        }
    }
}

/// Words for a log are short and cannot end a line or speak to a terminal, whatever a peer sent.
fn legible(words: &str) {
    assert!(words.len() < 2000 && !words.chars().any(char::is_control), "{words:?}");
}

/// Headers of PROXY protocol.
pub(crate) fn proxy_header(bytes: &[u8]) {
    steady(bytes, proxy::parse);
    assert!(bytes.len() < proxy::LONGEST || proxy::parse(bytes) != Ok(None), "waits for more than the longest");
}

/// ClientHellos.
pub(crate) fn tls_hello(bytes: &[u8]) {
    let whole = client_hello(bytes);
    match &whole {
        Glimpse::NeedMore => assert!(bytes.len() < client_hello::LONGEST),
        Glimpse::NotTls => {}
        Glimpse::Malformed(Malformed(words)) => legible(words),
        Glimpse::Hello(hello) => {
            let spelled = |name: &str| client_hello::host_name(name).as_deref() == Some(name);
            assert!(hello.server_name.as_deref().is_none_or(spelled), "{hello:?}");
            assert!(hello.alpn.len() <= client_hello::MOST_PROTOCOLS);
        }
    }
    let mut decided = false;
    for end in 0..=bytes.len().min(2000) {
        let so_far = client_hello(&bytes[..end]);
        decided |= so_far != Glimpse::NeedMore;
        assert!(!decided || so_far == whole, "{so_far:?} after {end}, then {whole:?}");
    }
}

/// What databases and other servers say to those who probe them, and clients of PostgreSQL to us.
pub(crate) fn greetings(bytes: &[u8]) {
    steady(bytes, postgres::message);
    steady(bytes, postgres::encryption);
    steady(bytes, mysql::packet);
    steady(bytes, mysql::value);
    steady(bytes, redis::reply);
    steady(bytes, grpc::status);
    let _ = (mysql::greeting(bytes), mysql::login(bytes), redis::role_from_info(bytes), grpc::decoded(bytes));
    if let Ok(Some((reply, _))) = redis::reply(bytes) {
        let _ = redis::role(&reply);
    }
    match postgres::opening(bytes) {
        Ok(None) => assert!(bytes.len() < 8),
        Ok(Some(_)) => {}
        Err(Malformed(words)) => legible(&words),
    }
}

/// Configurations: every error is one line, in order, and nothing takes for ever.
pub(crate) fn configuration(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Err(errors) = config::parse("t.yaml", text, &balance::CATALOGUE, &|_| None) else { return };
    let places: Vec<_> = errors.iter().map(|error| (error.line, error.column)).collect();
    assert!(!places.is_empty() && places.is_sorted());
    assert!(errors.iter().all(|error| error.to_string().lines().count() == 1));
}

/// Paths and queries that the admin endpoint is asked for.
pub(crate) fn admin_path(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let understood = admin::understands(path, query);
    assert!(!understood || path.starts_with('/'), "{text:?}");
    assert!(!understood || !path.contains("..") || path.starts_with("/api/v1/pools/"), "{text:?}");
}
