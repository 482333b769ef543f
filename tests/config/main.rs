//! Configuration files as users write them: what loads, what is refused, and in which words.
#![allow(missing_docs, clippy::unwrap_used)]

mod admission;
mod defaults;
mod errors;
mod files;
mod generated;
mod health;
mod limits;
#[path = "../support/pki.rs"]
mod pki;
mod plan;
mod properties;
mod transparent;
mod routes;
mod tls;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::Duration;

use peerway::config::plan::Plan;
use peerway::config::{self, Catalogue, Loaded, PolicyKind, Takes};

const CATALOGUE: Catalogue = Catalogue {
    policies: &[
        PolicyKind { name: "round_robin", summary: "each in turn", takes: Takes::Nothing },
        PolicyKind { name: "random", summary: "any", takes: Takes::Nothing },
        PolicyKind { name: "least_connections", summary: "the one with the fewest sessions", takes: Takes::Nothing },
        PolicyKind { name: "maglev", summary: "by a hash", takes: Takes::Hash },
    ],
    tls: peerway::tls::FILES,
};

/// The environment of every test.
fn env(name: &str) -> Option<OsString> {
    let value = match name {
        "MAX" => "many",
        "WORD" => "word",
        "TEN" => "10",
        "YES" => "true",
        "EMPTY" => "",
        "DOLLAR" => "${TEN}",
        "BYTES" => return Some(OsString::from_vec(vec![b'i', 0xff])),
        "LINES" => "a\nb\u{1b}[31m",
        _ => return None,
    };
    Some(value.into())
}

/// How long this thread has computed, however busy the machine is with other things.
fn processor_time() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).try_into().unwrap()
}

fn load(paths: &[PathBuf]) -> Result<Loaded, String> {
    config::load(paths, &CATALOGUE, &env).map_err(|errors| errors.to_string())
}

fn plan(text: &str) -> Plan {
    config::parse("conf/t.yaml", text, &CATALOGUE, &env).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}
