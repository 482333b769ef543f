//! `peerway reload`: has a running process read its configuration again.

use std::thread::sleep;
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;

use super::client::{CliError, ClientArgs, query};
use super::operate::span;
use super::say::{complain, print, print_json};

/// Between looks at what a guard says.
const LOOK: Duration = Duration::from_millis(300);

/// How to reload.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ReloadArgs {
    /// How to reach the process.
    #[command(flatten)]
    client: ClientArgs,
    /// Watch for so long whether connecting gets worse, go back if it does, and wait for the end of it
    #[arg(long, value_name = "DURATION", value_parser = span)]
    guard: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    id: u64,
    result: String,
    #[serde(default)]
    generation: u64,
    detail: Option<String>,
    guard: Option<Guard>,
    #[serde(default)]
    errors: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    needs_restart: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    changes: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    changes_left_out: usize,
}

#[derive(Debug, Deserialize)]
struct Guard {
    state: String,
    seconds: f64,
    detail: Option<String>,
}

/// Reloads, and waits for what comes of it.
///
/// # Errors
/// The process does not answer, or the configuration was rejected or taken back.
pub(super) fn reload(args: &ReloadArgs) -> Result<(), CliError> {
    let path = format!("/api/v1/reload{}", query(&[("guard", args.guard.as_deref())]));
    let mut body = args.client.ask(Method::POST, &path)?.to_vec();
    let mut attempt: Attempt = args.client.read(&body)?;
    let mut told = false;
    while let Some(waits_for) = attempt.waits_for() {
        if !std::mem::replace(&mut told, true) {
            complain(waits_for);
        }
        sleep(LOOK);
        // Queued behind another one, it is not there yet.
        if let Some(found) = find(&args.client, attempt.id)? {
            body = found.to_string().into_bytes();
            attempt = args.client.read(&body)?;
        }
    }
    if args.client.json {
        print_json(&body)?;
        return attempt.judge();
    }
    attempt.judge()?;
    print(attempt.show().as_bytes())
}

/// The attempt in the history.
fn find(client: &ClientArgs, id: u64) -> Result<Option<serde_json::Value>, CliError> {
    let body = client.ask(Method::GET, "/api/v1/config/history")?;
    let history: serde_json::Value = client.read(&body)?;
    let attempts = history["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    let newest = attempts.first().and_then(|attempt| attempt["id"].as_u64()).unwrap_or_default();
    let found = attempts.iter().find(|attempt| attempt["id"].as_u64() == Some(id)).cloned();
    match found {
        None if newest > id => Err(CliError::Failed("the attempt is no longer in the history".into())),
        found => Ok(found),
    }
}

impl Attempt {
    /// What has to happen before the result is final, in words.
    fn waits_for(&self) -> Option<String> {
        match (&self.guard, self.result.as_str()) {
            (_, "queued") => Some("another reload is under way; waiting for it".into()),
            (Some(guard), _) if guard.state == "watching" => {
                Some(format!("generation {} is in force; watching it for {}s", self.generation, guard.seconds))
            }
            _ => None,
        }
    }

    fn judge(&self) -> Result<(), CliError> {
        let detail = self.detail.clone().unwrap_or_default();
        match self.result.as_str() {
            "rejected" if !self.errors.is_empty() && self.needs_restart.is_empty() => Err(CliError::BadConfig(detail)),
            "rejected" => Err(CliError::Failed(detail)),
            "rolled_back" => Err(CliError::Failed(format!("taken back: {detail}"))),
            _ => match &self.guard {
                Some(guard) if guard.state == "failed" => {
                    Err(CliError::Failed(guard.detail.clone().unwrap_or_default()))
                }
                _ => Ok(()),
            },
        }
    }

    fn show(&self) -> String {
        let changes = match self.changes.len() + self.changes_left_out {
            0 => "nothing changed".to_owned(),
            1 => "1 change".to_owned(),
            many => format!("{many} changes"),
        };
        let guard = match &self.guard {
            Some(guard) => format!("\nguard {}: {}", guard.state, guard.detail.as_deref().unwrap_or_default()),
            None => String::new(),
        };
        format!("generation {}: {changes}{guard}\n", self.generation)
    }
}
