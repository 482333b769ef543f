//! `peerway pools`: the backends of a running process, and how they are.

use hyper::Method;
use serde::Deserialize;

use super::client::{CliError, ClientArgs};
use super::operate::Override;
use super::say::{print, print_json};
use super::table::{Align, Column, table};

#[derive(Deserialize)]
struct Pools {
    pools: Vec<Pool>,
}

#[derive(Deserialize)]
struct Pool {
    name: String,
    policy: String,
    backends: Vec<Backend>,
}

#[derive(Deserialize)]
struct Backend {
    name: String,
    address: String,
    state: String,
    weight: u32,
    active: u64,
    connections_total: u64,
    since: String,
    reason: Option<String>,
    last_probe: Option<Probe>,
    #[serde(rename = "override")]
    overridden: Option<Override>,
}

#[derive(Deserialize)]
struct Probe {
    result: String,
    duration_seconds: f64,
}

const COLUMNS: [Column; 11] = [
    ("POOL", Align::Left),
    ("POLICY", Align::Left),
    ("BACKEND", Align::Left),
    ("STATE", Align::Left),
    ("ACTIVE", Align::Right),
    ("TOTAL", Align::Right),
    ("WEIGHT", Align::Right),
    ("ADDRESS", Align::Left),
    ("PROBE", Align::Left),
    ("SINCE", Align::Left),
    ("REASON", Align::Left),
];

/// Prints all pools and their backends.
///
/// # Errors
/// The process does not answer, or refuses.
pub(super) fn pools(client: &ClientArgs) -> Result<(), CliError> {
    let body = client.ask(Method::GET, "/api/v1/pools")?;
    if client.json {
        return print_json(&body);
    }
    print(show(&client.read(&body)?).as_bytes())
}

fn show(pools: &Pools) -> String {
    let rows: Vec<_> = pools.pools.iter().flat_map(rows).collect();
    table(COLUMNS, &rows)
}

/// A row a backend; the pool is named in its first, and a pool without backends has one too.
fn rows(pool: &Pool) -> Vec<[String; 11]> {
    let names = |first: bool| if first { [pool.name.clone(), pool.policy.clone()] } else { [" ".into(), " ".into()] };
    if pool.backends.is_empty() {
        let [name, policy] = names(true);
        let mut row = std::array::from_fn(|_| String::new());
        (row[0], row[1], row[10]) = (name, policy, "no backends".into());
        return vec![row];
    }
    let row = |(index, backend): (usize, &Backend)| {
        let [name, policy] = names(index == 0);
        [
            name,
            policy,
            backend.name.clone(),
            backend.state.clone(),
            backend.active.to_string(),
            backend.connections_total.to_string(),
            backend.weight.to_string(),
            backend.address.clone(),
            backend.last_probe.as_ref().map(show_probe).unwrap_or_default(),
            to_the_second(&backend.since),
            why(backend),
        ]
    };
    pool.backends.iter().enumerate().map(row).collect()
}

/// `ok 1.2ms`: how the last probe went, and how long it took.
fn show_probe(probe: &Probe) -> String {
    format!("{} {:.1}ms", probe.result, probe.duration_seconds * 1000.0)
}

/// The reason of its state, and what was said by hand.
fn why(backend: &Backend) -> String {
    let said = backend.overridden.as_ref().map(|over| format!("by hand: {}", over.show()));
    // That it is drained by hand is in its state already.
    let reason = backend.reason.clone().filter(|_| backend.state != "draining");
    reason.into_iter().chain(said).collect::<Vec<_>>().join("; ")
}

/// `2026-01-31T23:59:59.000001Z` without its fraction.
fn to_the_second(moment: &str) -> String {
    moment.split_once('.').map_or_else(|| moment.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_named_once() {
        let backend = |name: &str, reason: Option<&str>| Backend {
            name: name.into(),
            address: "10.0.0.1:1".into(),
            state: "up".into(),
            weight: 5,
            active: 2,
            connections_total: 1234,
            since: "2026-01-31T23:59:59.000001Z".into(),
            reason: reason.map(Into::into),
            last_probe: reason.map(|_| Probe { result: "timeout".into(), duration_seconds: 1.0 }),
            overridden: None,
        };
        let pool = |name: &str, backends| Pool { name: name.into(), policy: "random".into(), backends };
        let pools =
            Pools { pools: vec![pool("pg", vec![backend("a", None), backend("b", Some("x"))]), pool("none", vec![])] };
        assert_eq!(
            show(&pools),
            "\
POOL  POLICY  BACKEND  STATE  ACTIVE  TOTAL  WEIGHT  ADDRESS     PROBE             SINCE                 REASON
pg    random  a        up          2   1234       5  10.0.0.1:1  -                 2026-01-31T23:59:59Z  -
              b        up          2   1234       5  10.0.0.1:1  timeout 1000.0ms  2026-01-31T23:59:59Z  x
none  random  -        -           -      -       -  -           -                 -                     no backends
"
        );
    }
}
