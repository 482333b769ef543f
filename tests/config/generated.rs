//! The files in `config/`: examples load, generated ones are current.

use std::path::PathBuf;

use peerway::balance;

use super::{config, load};

#[test]
fn the_examples_load_without_a_warning() {
    for name in ["peerway", "postgres", "redis", "web", "unix-socket", "reference"] {
        let loaded = load(&[PathBuf::from(format!("config/{name}.yaml"))]).unwrap();
        assert!(!loaded.plan.listeners.is_empty(), "{name}");
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
    }
}

/// Whoever changes the table of keys refreshes the files: `PEERWAY_BLESS=1 cargo test --test config`.
#[test]
fn generated_files_are_current() {
    for (path, fresh) in [
        ("config/reference.yaml", config::reference(&balance::CATALOGUE)),
        ("config/peerway.schema.json", config::schema(&balance::CATALOGUE)),
    ] {
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        if committed != fresh && std::env::var_os("PEERWAY_BLESS").is_some() {
            // Whole or not at all: another test may be reading it.
            std::fs::write(format!("{path}.new"), &fresh).unwrap();
            std::fs::rename(format!("{path}.new"), path).unwrap();
            continue;
        }
        assert!(committed == fresh, "{path} is stale: PEERWAY_BLESS=1 cargo test --test config");
    }
}

/// Every value of the reference that has a default shows what absence means.
#[test]
fn the_reference_says_what_absence_means() {
    let reference = std::fs::read_to_string("config/reference.yaml").unwrap();
    let shown =
        config::parse("reference.yaml", &reference.replace("include: ", "x-include: "), &balance::CATALOGUE, &|_| None);
    let shown = shown.unwrap();
    let bare = config::parse(
        "bare.yaml",
        "listeners: { web: { bind: '127.0.0.1:8080', pool: web } }\npools: { web: { backends: '10.0.0.1:8080' } }",
        &balance::CATALOGUE,
        &|_| None,
    );
    let bare = bare.unwrap();
    assert_eq!(shown.workers, bare.workers);
    assert_eq!(shown.shutdown, bare.shutdown);
    assert_eq!(shown.log, bare.log);
    assert_eq!(shown.listeners[0].timeouts, bare.listeners[0].timeouts);
    assert_eq!(shown.listeners[0].tcp, bare.listeners[0].tcp);
    assert_eq!(shown.listeners[0].access, bare.listeners[0].access);
    assert_eq!(shown.pools[0].policy, bare.pools[0].policy);
    assert_eq!(shown.pools[0].connect, bare.pools[0].connect);
    assert_eq!(shown.pools[0].tcp, bare.pools[0].tcp);
    assert_eq!(shown.pools[0].tier_spill_below, bare.pools[0].tier_spill_below);
    assert_eq!(shown.pools[0].slow_start, bare.pools[0].slow_start);
    assert_eq!(shown.pools[0].queue, bare.pools[0].queue);
}

#[test]
fn the_schema_knows_every_live_key_of_the_reference() {
    let schema: serde_json::Value = serde_json::from_str(&config::schema(&balance::CATALOGUE)).unwrap();
    let listener = &schema["$defs"]["listener"];
    assert_eq!(listener["additionalProperties"], false);
    assert_eq!(listener["patternProperties"]["^x-"], true);
    assert_eq!(listener["properties"]["timeouts"]["properties"]["idle"]["default"], "1h");
    let discover = &schema["$defs"]["pool"]["properties"]["discover"];
    assert!(discover["not"].is_object(), "what is not supported is refused in editors too");
    assert_eq!(schema["properties"]["listeners"]["additionalProperties"]["$ref"], "#/$defs/listener");
    let policies = schema["$defs"]["pool"]["properties"]["policy"]["anyOf"].as_array().unwrap();
    assert!(policies.iter().any(|form| form["const"] == "least_connections" && form["not"].is_null()));
    assert!(policies.iter().any(|form| form["properties"]["maglev"]["properties"]["key"]["default"] == "client_ip"));
}
