//! Configuration files as users write them: what loads, what is refused, and in which words.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::PathBuf;

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
    for name in ["peerway"] {
        let loaded = load(&format!("config/{name}.yaml"));
        assert!(!loaded.plan.listeners.is_empty(), "{name}");
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
    }
}
