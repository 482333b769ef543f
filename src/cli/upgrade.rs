//! `peerway upgrade`: has the program's file, as it is now, take over from the running process.

use std::thread::sleep;
use std::time::{Duration, Instant};

use hyper::Method;
use serde::Deserialize;

use super::client::{CliError, ClientArgs};
use super::say::{print, print_json};

/// Between looks at how it stands.
const LOOK: Duration = Duration::from_millis(300);
/// The longest that an upgrade takes, with some slack.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
struct Upgrade {
    id: u64,
    result: String,
    detail: Option<String>,
    old_pid: u32,
    new_pid: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Last {
    upgrade: Option<serde_json::Value>,
}

/// Upgrades, and waits for what comes of it.
///
/// # Errors
/// The process does not answer, or goes on itself.
pub(super) fn upgrade(args: &ClientArgs) -> Result<(), CliError> {
    let mut body = args.ask(Method::POST, "/api/v1/upgrade")?.to_vec();
    let mut upgrade: Upgrade = args.read(&body)?;
    let began = Instant::now();
    // What it says while one hands over to the other is no answer.
    let patient = ClientArgs { json: false, ..args.clone() };
    while upgrade.result == "under_way" {
        if began.elapsed() > PATIENCE {
            return Err(CliError::Failed("the upgrade is still under way".into()));
        }
        sleep(LOOK);
        // For a moment neither process answers.
        let Ok(answer) = patient.ask(Method::GET, "/api/v1/upgrade") else { continue };
        let found = args.read::<Last>(&answer)?.upgrade.unwrap_or_default();
        let next: Upgrade = args.read(found.to_string().as_bytes())?;
        if next.id == upgrade.id {
            (upgrade, body) = (next, found.to_string().into_bytes());
        }
    }
    if args.json {
        print_json(&body)?;
    }
    let detail = upgrade.detail.unwrap_or_default();
    match upgrade.result.as_str() {
        "ok" if args.json => Ok(()),
        "ok" => {
            let new = upgrade.new_pid.unwrap_or_default();
            print(format!("process {new} has taken over from process {}\n", upgrade.old_pid).as_bytes())
        }
        "bad_config" => Err(CliError::BadConfig(detail)),
        _ => Err(CliError::Failed(detail)),
    }
}
