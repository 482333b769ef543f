//! `peerway history`: the last changes of a running process's configuration.

use hyper::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::client::{CliError, ClientArgs};
use super::say::{print, print_json};
use super::table::{Align, Column, table};

#[derive(Deserialize)]
struct History {
    history: Vec<Attempt>,
}

#[derive(Deserialize)]
struct Attempt {
    at: String,
    by: String,
    result: String,
    generation: u64,
    detail: Option<String>,
    guard: Option<Guard>,
    changes: Vec<IgnoredAny>,
    changes_left_out: usize,
}

#[derive(Deserialize)]
struct Guard {
    state: String,
}

const COLUMNS: [Column; 7] = [
    ("AT", Align::Left),
    ("BY", Align::Left),
    ("RESULT", Align::Left),
    ("GENERATION", Align::Right),
    ("CHANGES", Align::Right),
    ("GUARD", Align::Left),
    ("DETAIL", Align::Left),
];

/// Prints the last attempts, the newest first.
///
/// # Errors
/// The process does not answer, or refuses.
pub(super) fn history(client: &ClientArgs) -> Result<(), CliError> {
    let body = client.ask(Method::GET, "/api/v1/config/history")?;
    if client.json {
        return print_json(&body);
    }
    print(show(&client.read(&body)?).as_bytes())
}

fn show(history: &History) -> String {
    let row = |attempt: &Attempt| {
        // Of many errors the first says enough here.
        let detail = attempt.detail.as_deref().and_then(|detail| detail.lines().next()).unwrap_or_default();
        [
            attempt.at.clone(),
            attempt.by.clone(),
            attempt.result.clone(),
            attempt.generation.to_string(),
            (attempt.changes.len() + attempt.changes_left_out).to_string(),
            attempt.guard.as_ref().map(|guard| guard.state.clone()).unwrap_or_default(),
            detail.to_owned(),
        ]
    };
    table(COLUMNS, &history.history.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_is_one_line() {
        let json = r#"{"history": [
            {"at":"2026-01-02T03:04:05Z","by":"file","result":"rejected","generation":2,"detail":"a\nb","guard":null,"changes":[],"changes_left_out":0},
            {"at":"2026-01-02T03:00:00Z","by":"api","result":"ok","generation":2,"detail":null,"guard":{"state":"passed"},"changes":[{}],"changes_left_out":3}
        ]}"#;
        let history: History = serde_json::from_str(json).expect("a history");
        assert_eq!(
            show(&history),
            "\
AT                    BY    RESULT    GENERATION  CHANGES  GUARD   DETAIL
2026-01-02T03:04:05Z  file  rejected           2        0  -       a
2026-01-02T03:00:00Z  api   ok                 2        4  passed  -
"
        );
    }
}
