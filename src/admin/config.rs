//! The configuration: what is in force, what would change, and changing it.

use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;

use super::State;
use super::answer::{self, Answer, Refusal};
use super::desk::{Attempt, Author, Busy, Verdict};
use super::plan;
use super::query::Query;
use crate::balance::CATALOGUE;
use crate::config::{self, Errors, Loaded, Setting, Source};

/// What `POST /api/v1/reload` can be asked with.
pub(super) const RELOAD_PARAMETERS: &[&str] = &["guard"];
/// How long a request waits for its reload. Then it is told the attempt's id, to look for in the history.
const REPLY: Duration = Duration::from_secs(8);

#[derive(Serialize)]
struct ConfigView<'a> {
    generation: u64,
    hash: String,
    loaded_at: String,
    last_attempt: Option<Attempt>,
    drift: bool,
    config: &'a Setting,
}

/// `GET /api/v1/config`
pub(super) fn config(state: &State) -> Answer {
    let live = state.live.load();
    let in_force = state.desk.in_force();
    answer::as_json(&ConfigView {
        generation: in_force.generation,
        hash: in_force.hash,
        loaded_at: in_force.loaded_at,
        last_attempt: state.desk.history().into_iter().next(),
        drift: state.desk.drift(),
        config: &live.plan.settings,
    })
}

/// `GET /api/v1/config/history`
pub(super) fn history(state: &State) -> Answer {
    answer::as_json(&json!({ "history": state.desk.history() }))
}

/// `POST /api/v1/reload`
pub(super) async fn reload(state: &State, query: &Query) -> Result<Answer, Refusal> {
    let guard = query.get("guard").map(span).transpose().map_err(Refusal::bad)?;
    let busy = |Busy| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many reloads wait already");
    let (id, comes) = state.desk.ask(Author::Api, guard).map_err(busy)?;
    match timeout(REPLY, comes).await {
        Ok(Ok(attempt)) => Ok(outcome(&attempt)),
        Ok(Err(_)) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the process is ending")),
        Err(_) => Ok(answer::with_status(StatusCode::ACCEPTED, &json!({ "id": id, "result": "queued" }))),
    }
}

fn outcome(attempt: &Attempt) -> Answer {
    match attempt.result {
        Verdict::Rejected if attempt.errors.is_empty() || !attempt.needs_restart.is_empty() => {
            problem(StatusCode::CONFLICT, attempt)
        }
        Verdict::Rejected => problem(StatusCode::UNPROCESSABLE_ENTITY, attempt),
        _ => answer::as_json(attempt),
    }
}

/// A problem with all that is known of the attempt beside its words.
fn problem(status: StatusCode, attempt: &Attempt) -> Answer {
    let title = status.canonical_reason().unwrap_or("Error");
    let detail = attempt.detail.clone().unwrap_or_default();
    let body = json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail,
        "id": attempt.id, "result": attempt.result, "errors": attempt.errors, "needs_restart": attempt.needs_restart,
    });
    answer::with(status, HeaderValue::from_static("application/problem+json"), body.to_string())
}

/// `60s`, as the configuration spells it.
fn span(text: &str) -> Result<Duration, String> {
    let span = config::duration(text)?;
    if span.is_zero() { Err("a guard that watches for no time sees nothing".into()) } else { Ok(span) }
}

/// Documents that the client has already put together: each as it would be read from its path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Documents {
    files: Vec<Document>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    path: String,
    text: String,
}

/// `POST /api/v1/plan`: the body is a file, or several as JSON, or empty for what is on disk.
pub(super) async fn plan(state: &State, body: Bytes, is_json: bool) -> Result<Answer, Refusal> {
    let origin = state.desk.origin().clone();
    // Files may be slow, and large ones take a moment: not on the thread that probes and answers.
    let load = move || -> Result<Result<Loaded, Errors>, String> {
        if body.is_empty() {
            return match origin.paths.is_empty() {
                true => Err("this process was not started from files, so there is nothing on disk to compare".into()),
                false => Ok(config::load_within(&origin.reach, &origin.paths, &CATALOGUE, &origin.env)),
            };
        }
        let sources = sources(&body, is_json, &origin.paths)?;
        Ok(config::parse_all(&origin.reach, &sources, &CATALOGUE, &origin.env))
    };
    let loaded = tokio::task::spawn_blocking(load).await;
    let loaded = loaded.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    match loaded.map_err(Refusal::bad)? {
        Ok(loaded) => {
            state.elders.refresh().await;
            Ok(answer::as_json(&plan::view(state, &loaded)))
        }
        Err(errors) => Ok(bad_config(&errors)),
    }
}

/// What was sent. A single document stands for the file that this process was started with.
fn sources(body: &[u8], is_json: bool, paths: &[std::path::PathBuf]) -> Result<Vec<Source>, String> {
    if is_json {
        let documents: Documents = serde_json::from_slice(body).map_err(|error| format!("files: {error}"))?;
        let source = |document: Document| Source { path: document.path.into(), text: document.text };
        return Ok(documents.files.into_iter().map(source).collect());
    }
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8 text")?.to_owned();
    let path = paths.first().cloned().unwrap_or_else(|| "body.yaml".into());
    Ok(vec![Source { path, text }])
}

fn bad_config(errors: &Errors) -> Answer {
    let needs_restart = errors.needs_restart();
    let status = if needs_restart.is_empty() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::CONFLICT };
    let body = json!({
        "type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(),
        "detail": errors.to_string(), "errors": errors, "needs_restart": needs_restart,
    });
    answer::with(status, HeaderValue::from_static("application/problem+json"), body.to_string())
}
