//! `peerway connections`: who is connected to a running process now.

use hyper::Method;
use serde::Deserialize;

use super::client::{CliError, ClientArgs, query};
use super::say::{print, print_json};
use super::table::{Align, Column, size, span, table};

/// Which connections to show.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ConnectionsArgs {
    /// How to reach the process.
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// At most so many, up to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) limit: u32,
    /// Only those after this id, as the last page's end says
    #[arg(long, value_name = "ID")]
    pub(super) after: Option<String>,
    /// Only those of this listener
    #[arg(long, value_name = "NAME")]
    pub(super) listener: Option<String>,
    /// Only those of this pool
    #[arg(long, value_name = "NAME")]
    pub(super) pool: Option<String>,
    /// Only those of this backend
    #[arg(long, value_name = "NAME")]
    pub(super) backend: Option<String>,
}

#[derive(Deserialize)]
struct Connections {
    connections: Vec<Connection>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Connection {
    id: String,
    listener: String,
    pool: Option<String>,
    backend: Option<String>,
    client: String,
    phase: String,
    age_seconds: f64,
    idle_seconds: f64,
    bytes: Bytes,
}

#[derive(Deserialize)]
struct Bytes {
    up: u64,
    down: u64,
}

const COLUMNS: [Column; 10] = [
    ("ID", Align::Left),
    ("LISTENER", Align::Left),
    ("POOL", Align::Left),
    ("BACKEND", Align::Left),
    ("CLIENT", Align::Left),
    ("PHASE", Align::Left),
    ("AGE", Align::Right),
    ("IDLE", Align::Right),
    ("UP", Align::Right),
    ("DOWN", Align::Right),
];

/// Prints the connections that live.
///
/// # Errors
/// The process does not answer, or refuses.
pub(super) fn connections(args: &ConnectionsArgs) -> Result<(), CliError> {
    let body = args.client.ask(Method::GET, &path(args))?;
    if args.client.json {
        return print_json(&body);
    }
    print(show(&args.client.read(&body)?).as_bytes())
}

fn path(args: &ConnectionsArgs) -> String {
    let filters = [
        ("limit", Some(args.limit.to_string())),
        ("after", args.after.clone()),
        ("listener", args.listener.clone()),
        ("pool", args.pool.clone()),
        ("backend", args.backend.clone()),
    ];
    let filters = filters.each_ref().map(|(name, value)| (*name, value.as_deref()));
    format!("/api/v1/connections{}", query(&filters))
}

fn show(found: &Connections) -> String {
    let row = |connection: &Connection| {
        [
            connection.id.clone(),
            connection.listener.clone(),
            connection.pool.clone().unwrap_or_default(),
            connection.backend.clone().unwrap_or_default(),
            connection.client.clone(),
            connection.phase.clone(),
            span(connection.age_seconds),
            span(connection.idle_seconds),
            size(connection.bytes.up),
            size(connection.bytes.down),
        ]
    };
    let text = table(COLUMNS, &found.connections.iter().map(row).collect::<Vec<_>>());
    match &found.next {
        Some(next) => format!("{text}There are more: --after {next}\n"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_pointed_at() {
        let connection = Connection {
            id: "00ff".into(),
            listener: "web".into(),
            pool: Some("p".into()),
            backend: None,
            client: "1.2.3.4:5".into(),
            phase: "connect".into(),
            age_seconds: 61.0,
            idle_seconds: 0.0,
            bytes: Bytes { up: 10, down: 2048 },
        };
        assert_eq!(
            show(&Connections { connections: vec![connection], next: Some("00ff".into()) }),
            "\
ID    LISTENER  POOL  BACKEND  CLIENT     PHASE     AGE  IDLE    UP     DOWN
00ff  web       p     -        1.2.3.4:5  connect  1m1s  0.0s  10 B  2.0 KiB
There are more: --after 00ff
"
        );
    }
}
