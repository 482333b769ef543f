//! `peerway drain`, `enable`, `weight`, `release`: what an operator says of one backend of a running process.

use std::str::FromStr;

use hyper::Method;
use serde::Deserialize;

use super::client::{CliError, ClientArgs, encode};
use super::say::{print, print_json};
use crate::config;

/// A backend as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backend {
    pool: String,
    name: String,
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A backend that is a unix socket is named by its path; a pool's name has no slash.
        match text.split_once('/') {
            Some((pool, name)) if !pool.is_empty() && !name.is_empty() => {
                Ok(Self { pool: pool.to_owned(), name: name.to_owned() })
            }
            _ => Err("expected POOL/BACKEND, with names as `peerway pools` shows them".into()),
        }
    }
}

/// Which backend.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct BackendArgs {
    /// How to reach the process.
    #[command(flatten)]
    client: ClientArgs,
    /// Names as `peerway pools` shows them
    #[arg(value_name = "POOL/BACKEND")]
    backend: Backend,
}

/// Which backend, and how fast.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    of: BackendArgs,
    /// End its sessions too, spread over this time, longest idle first; without it they go on
    #[arg(long, value_name = "DURATION", value_parser = span)]
    within: Option<String>,
}

/// Which backend, and what share.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct WeightArgs {
    #[command(flatten)]
    of: BackendArgs,
    /// Its share of new sessions relative to the others of its pool, 1 to 65535
    #[arg(value_name = "WEIGHT", value_parser = clap::value_parser!(u32).range(1..=65535))]
    weight: u32,
}

/// A duration as configurations have it, such as `1m30s`: as it is, once it is known to be one.
pub(super) fn span(text: &str) -> Result<String, String> {
    config::duration(text).map(|_| text.to_owned())
}

/// Gives a backend no new sessions.
///
/// # Errors
/// The process does not answer, or refuses.
pub(super) fn drain(args: &DrainArgs) -> Result<(), CliError> {
    let query = args.within.as_ref().map_or_else(String::new, |within| format!("?within={}", encode(within)));
    args.of.say(Method::POST, &format!("drain{query}"))
}

/// Lets a backend have sessions.
///
/// # Errors
/// The process does not answer, or refuses.
pub(super) fn enable(args: &BackendArgs) -> Result<(), CliError> {
    args.say(Method::POST, "enable")
}

/// Gives a backend another weight.
///
/// # Errors
/// The process does not answer, or refuses.
pub(super) fn weight(args: &WeightArgs) -> Result<(), CliError> {
    args.of.say(Method::POST, &format!("weight?value={}", args.weight))
}

/// Takes back what was said of a backend.
///
/// # Errors
/// The process does not answer, or refuses.
pub(super) fn release(args: &BackendArgs) -> Result<(), CliError> {
    args.say(Method::DELETE, "override")
}

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "override")]
    overridden: Option<Override>,
}

/// What stands of all that was said of a backend.
#[derive(Deserialize)]
pub(super) struct Override {
    pub(super) state: Option<String>,
    pub(super) within_seconds: Option<f64>,
    pub(super) weight: Option<u32>,
}

impl Override {
    /// In a few words.
    pub(super) fn show(&self) -> String {
        let state = self.state.clone().map(|state| match self.within_seconds {
            Some(seconds) => format!("{state} within {seconds}s"),
            None => state,
        });
        let weight = self.weight.map(|weight| format!("weight {weight}"));
        state.into_iter().chain(weight).collect::<Vec<_>>().join(", ")
    }
}

impl BackendArgs {
    fn say(&self, method: Method, what: &str) -> Result<(), CliError> {
        let Backend { pool, name } = &self.backend;
        let path = format!("/api/v1/pools/{}/backends/{}/{what}", encode(pool), encode(name));
        let body = self.client.ask(method, &path)?;
        if self.client.json {
            return print_json(&body);
        }
        let said: Said = self.client.read(&body)?;
        let now = said.overridden.map_or_else(|| "as configured".to_owned(), |over| over.show());
        print(format!("{pool}/{name}: {now}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slash_ends_the_pools_name() {
        let parse = |text: &str| text.parse::<Backend>().map(|backend| (backend.pool, backend.name));
        assert_eq!(parse("pg/10.0.0.1:5432"), Ok(("pg".into(), "10.0.0.1:5432".into())));
        assert_eq!(parse("pg/unix:/run/s"), Ok(("pg".into(), "unix:/run/s".into())));
        for bad in ["", "pg", "pg/", "/b", "/"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_stands_is_said_in_a_few_words() {
        let over = |state: Option<&str>, within_seconds, weight| Override {
            state: state.map(Into::into),
            within_seconds,
            weight,
        };
        assert_eq!(over(Some("drain"), Some(90.0), Some(5)).show(), "drain within 90s, weight 5");
        assert_eq!(over(Some("enable"), None, None).show(), "enable");
    }
}
