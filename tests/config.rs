//! Configuration files as users write them: what loads, what is refused, and in which words.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::PathBuf;

use peerway::balance;
use peerway::config::{self, Catalogue, Loaded, PolicyKind};

const CATALOGUE: Catalogue = Catalogue {
    policies: &[
        PolicyKind { name: "round_robin", summary: "each in turn" },
        PolicyKind { name: "random", summary: "any" },
        PolicyKind { name: "least_connections", summary: "the one with the fewest sessions" },
    ],
};

fn load(path: &str) -> Loaded {
    config::load(&[PathBuf::from(path)], &CATALOGUE, &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn the_examples_load() {
    for name in ["peerway", "postgres", "redis", "web", "unix-socket", "reference"] {
        let loaded = load(&format!("config/{name}.yaml"));
        assert!(!loaded.plan.listeners.is_empty(), "{name}");
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
    }
}

/// The generated files are the ones in the repository. `PEERWAY_BLESS=1 cargo test --test config` rewrites them.
#[test]
fn generated_files_are_current() {
    for (path, fresh) in [
        ("config/reference.yaml", config::reference(&balance::CATALOGUE)),
        ("config/peerway.schema.json", config::schema(&balance::CATALOGUE)),
    ] {
        if std::env::var_os("PEERWAY_BLESS").is_some() {
            std::fs::write(path, &fresh).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == fresh, "{path} is stale: PEERWAY_BLESS=1 cargo test --test config");
    }
}
