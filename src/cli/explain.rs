//! `peerway explain`: who a new session of a client would get from a running process, and why.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hyper::Method;
use serde::Deserialize;

use super::client::{CliError, ClientArgs, query};
use super::say::{print, print_json};
use super::table::{Align, Column, printable, table};

/// Which session to explain.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ExplainArgs {
    /// How to reach the process.
    #[command(flatten)]
    pub(super) admin: ClientArgs,
    /// The client that would connect
    #[arg(long, value_name = "IP:PORT")]
    pub(super) client: SocketAddr,
    /// The address it would connect to, where keys are made of that
    #[arg(long, value_name = "IP:PORT")]
    pub(super) local: Option<SocketAddr>,
    /// The server name it would ask for in TLS
    #[arg(long, value_name = "NAME")]
    pub(super) sni: Option<String>,
    /// An application protocol it would offer in TLS; may be repeated
    #[arg(long, value_name = "PROTOCOL")]
    pub(super) alpn: Vec<String>,
    /// The port it would connect to, where routes depend on that
    #[arg(long, value_name = "PORT")]
    pub(super) port: Option<u16>,
    /// The first bytes it would send, where routes depend on those
    #[arg(long, value_name = "TEXT")]
    pub(super) head: Option<String>,
    /// The listener it would come to
    pub(super) listener: String,
}

#[derive(Deserialize)]
struct Explanation {
    listener: String,
    client: String,
    route: Option<String>,
    pool: Option<String>,
    policy: Option<String>,
    key: Option<Key>,
    table_digest: Option<String>,
    backend: Option<String>,
    any_of: Option<Vec<String>>,
    order: Option<Vec<String>>,
    candidates: Vec<Candidate>,
    why: String,
    split: Option<BTreeMap<String, u32>>,
}

#[derive(Deserialize)]
struct Key {
    kind: String,
    value: String,
}

#[derive(Deserialize)]
struct Candidate {
    name: String,
    state: String,
    reason: String,
    weight: u32,
    tier: u8,
    zone: Option<String>,
    active: u32,
}

const COLUMNS: [Column; 7] = [
    ("BACKEND", Align::Left),
    ("STATE", Align::Left),
    ("ACTIVE", Align::Right),
    ("WEIGHT", Align::Right),
    ("TIER", Align::Right),
    ("ZONE", Align::Left),
    ("IT IS", Align::Left),
];

/// Prints whom the client would get.
///
/// # Errors
/// The process does not answer, or refuses.
pub(super) fn explain(args: &ExplainArgs) -> Result<(), CliError> {
    let body = args.admin.ask(Method::GET, &path(args))?;
    if args.admin.json {
        return print_json(&body);
    }
    print(show(&args.admin.read(&body)?).as_bytes())
}

fn path(args: &ExplainArgs) -> String {
    let (client, local) = (args.client.to_string(), args.local.map(|local| local.to_string()));
    let port = args.port.map(|port| port.to_string());
    let mut asked = vec![
        ("listener", Some(&*args.listener)),
        ("client", Some(&*client)),
        ("local", local.as_deref()),
        ("sni", args.sni.as_deref()),
        ("port", port.as_deref()),
        ("head", args.head.as_deref()),
    ];
    asked.extend(args.alpn.iter().map(|name| ("alpn", Some(name.as_str()))));
    format!("/api/v1/explain{}", query(&asked))
}

fn show(found: &Explanation) -> String {
    let key = found.key.as_ref().map(|key| format!("{} {}", key.kind, key.value));
    let lines = [
        ("client", Some(found.client.clone())),
        ("listener", Some(found.listener.clone())),
        ("route", found.route.clone()),
        ("split", found.split.as_ref().map(shares)),
        ("pool", found.pool.as_ref().zip(found.policy.as_ref()).map(|(pool, policy)| format!("{pool}, by {policy}"))),
        ("key", key),
        ("table", found.table_digest.clone()),
        ("order", found.order.as_deref().map(list)),
        ("backend", Some(who(found))),
        ("why", Some(found.why.clone())),
    ];
    let line = |(title, text): (&str, Option<String>)| Some(format!("{title:<9} {}\n", printable(&text?)));
    let facts: String = lines.into_iter().filter_map(line).collect();
    format!("{facts}\n{}", table(COLUMNS, &found.candidates.iter().map(row).collect::<Vec<_>>()))
}

fn shares(split: &BTreeMap<String, u32>) -> String {
    list(&split.iter().map(|(pool, share)| format!("{pool} {share}")).collect::<Vec<_>>())
}

fn who(found: &Explanation) -> String {
    match (&found.backend, found.any_of.as_deref()) {
        (Some(backend), _) => backend.clone(),
        (None, None | Some([])) => "none".into(),
        (None, Some(several)) => format!("any of {}", list(several)),
    }
}

fn list(names: &[String]) -> String {
    names.join(", ")
}

fn row(candidate: &Candidate) -> [String; 7] {
    [
        candidate.name.clone(),
        candidate.state.clone(),
        candidate.active.to_string(),
        candidate.weight.to_string(),
        candidate.tier.to_string(),
        candidate.zone.clone().unwrap_or_default(),
        candidate.reason.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explanation() -> Explanation {
        let candidate = |name: &str, reason: &str| Candidate {
            name: name.into(),
            state: "up".into(),
            reason: reason.into(),
            weight: 1,
            tier: 0,
            zone: None,
            active: 12,
        };
        Explanation {
            listener: "front".into(),
            client: "192.0.2.7:4711".into(),
            route: Some("routes[1]".into()),
            pool: Some("pg".into()),
            policy: Some("maglev".into()),
            key: Some(Key { kind: "client_ip".into(), value: "00ff".into() }),
            table_digest: Some("abcd".into()),
            backend: Some("b".into()),
            any_of: None,
            order: Some(vec!["a".into(), "b".into()]),
            candidates: vec![candidate("a", "full: 12 of 12 sessions"), candidate("b\x1b", "the one that gets it")],
            why: "Because.".into(),
            split: Some([("pg".to_owned(), 9), ("other".to_owned(), 1)].into()),
        }
    }

    #[test]
    fn what_is_known_is_shown_and_nothing_speaks_to_the_terminal() {
        assert_eq!(
            show(&explanation()),
            "\
client    192.0.2.7:4711
listener  front
route     routes[1]
split     other 1, pg 9
pool      pg, by maglev
key       client_ip 00ff
table     abcd
order     a, b
backend   b
why       Because.

BACKEND  STATE  ACTIVE  WEIGHT  TIER  ZONE  IT IS
a        up         12       1     0  -     full: 12 of 12 sessions
b\\u{1b}  up         12       1     0  -     the one that gets it
"
        );
    }

    #[test]
    fn what_a_policy_leaves_open_is_left_open() {
        let several = |names: &[&str]| {
            let any_of = Some(names.iter().map(|name| (*name).to_owned()).collect());
            who(&Explanation { backend: None, any_of, ..explanation() })
        };
        assert_eq!((&*several(&["a", "b"]), &*several(&[])), ("any of a, b", "none"));
        assert_eq!(who(&Explanation { backend: None, ..explanation() }), "none");
    }
}
