//! `peerway plan`: what a reload would change in a running process.

use std::path::PathBuf;
use std::process::ExitCode;

use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::client::{CliError, ClientArgs};
use super::say::{complain, print, print_json};
use super::table::printable;
use super::{asked, environment};
use crate::config::{self, Source};

/// `--exit-code`: there are changes.
const CHANGES: u8 = 2;
/// Characters of a value that are shown.
const LONGEST: usize = 100;

/// Which configuration to compare with the running one.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct PlanArgs {
    /// How to reach the process.
    #[command(flatten)]
    client: ClientArgs,
    /// Exit with 2 when there are changes
    #[arg(long)]
    exit_code: bool,
    /// A configuration file, or a folder of *.yaml; may be repeated. Without one, what the process was started with
    #[arg(value_name = "FILE|DIR")]
    config: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Plan {
    changed: bool,
    needs_restart: Vec<String>,
    objects: Vec<Object>,
    warnings: Vec<Warning>,
}

#[derive(Debug, Deserialize)]
struct Object {
    kind: String,
    name: String,
    action: String,
    sessions: u64,
    on_remove: Option<String>,
    keys_moved: Option<f64>,
    changes: Vec<Change>,
}

#[derive(Debug, Deserialize)]
struct Change {
    path: String,
    old: Option<String>,
    new: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Warning {
    file: String,
    line: u32,
    column: u32,
    path: String,
    message: String,
}

/// Prints the plan and gives the exit code.
pub(super) fn plan(args: &PlanArgs) -> ExitCode {
    match ask(args) {
        Ok(true) if args.exit_code => ExitCode::from(CHANGES),
        result => asked(result.map(drop)),
    }
}

/// Whether there are changes.
fn ask(args: &PlanArgs) -> Result<bool, CliError> {
    const PATH: &str = "/api/v1/plan";
    let body = match args.config.is_empty() {
        true => args.client.ask(Method::POST, PATH)?,
        false => args.client.tell(Method::POST, PATH, &json!({ "files": files(&args.config)? }))?,
    };
    let plan: Plan = args.client.read(&body)?;
    plan.warnings.iter().for_each(|warning| complain(format_args!("warning: {}", show_warning(warning))));
    match args.client.json {
        true => print_json(&body)?,
        false => print(show(&plan).as_bytes())?,
    }
    Ok(plan.changed)
}

/// The files with all they include. The process expands variables: it has its own.
fn files(paths: &[PathBuf]) -> Result<Vec<serde_json::Value>, CliError> {
    let sources = config::read(paths, &environment).map_err(|errors| CliError::BadConfig(errors.to_string()))?;
    let file = |Source { path, text }| {
        // Paths in it begin at its folder, and the process may be elsewhere.
        let path = std::path::absolute(&path).unwrap_or(path);
        json!({ "path": path.display().to_string(), "text": text })
    };
    Ok(sources.into_iter().map(file).collect())
}

fn show_warning(warning: &Warning) -> String {
    let Warning { file, line, column, path, message } = warning;
    format!("{file}:{line}:{column}: {path}: {message}")
}

fn show(plan: &Plan) -> String {
    if !plan.changed {
        return "No changes.\n".into();
    }
    let mut text: String = plan.objects.iter().map(show_object).collect();
    let count = |action: &str| plan.objects.iter().filter(|object| object.action == action).count();
    let (add, change, remove) = (count("add"), count("change"), count("remove"));
    text += &format!("\n{add} to add, {change} to change, {remove} to remove.\n");
    if !plan.needs_restart.is_empty() {
        text += &format!("A reload would be rejected: needs restart: {}.\n", plan.needs_restart.join(", "));
    }
    text
}

fn show_object(object: &Object) -> String {
    let mark = mark(&object.action);
    let title = format!("{} {}", object.kind, printable(&object.name));
    let title = if object.name.is_empty() { object.kind.clone() } else { title };
    let facts = facts(object);
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join("; ")) };
    let changes: String = object.changes.iter().map(show_change).collect();
    format!("{mark} {title}{facts}\n{changes}")
}

fn facts(object: &Object) -> Vec<String> {
    let mut facts = Vec::new();
    let sessions = match object.sessions {
        1 => "1 session".to_owned(),
        many => format!("{many} sessions"),
    };
    match &object.on_remove {
        Some(how) => facts.push(format!("{sessions}: {}", printable(how))),
        None if object.action == "change" => facts.push(sessions),
        None => {}
    }
    if let Some(moved) = object.keys_moved {
        facts.push(format!("{:.1}% of keys move", moved * 100.0));
    }
    facts
}

fn show_change(change: &Change) -> String {
    let path = printable(&change.path);
    let value = |value: &str| cut(&printable(value));
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => format!("    ~ {path}: {} -> {}\n", value(old), value(new)),
        (None, Some(new)) => format!("    + {path}: {}\n", value(new)),
        (Some(old), None) => format!("    - {path}: {}\n", value(old)),
        (None, None) => String::new(),
    }
}

fn mark(action: &str) -> char {
    match action {
        "add" => '+',
        "remove" => '-',
        _ => '~',
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_like_one() {
        let plan = r#"{"generation": 2, "changed": true, "needs_restart": ["workers"], "warnings": [], "objects": [
            {"kind":"process","name":"","action":"change","sessions":17,"on_remove":null,"keys_moved":null,
             "changes":[{"path":"workers","action":"change","old":"auto","new":"{ threads: 4 }"}]},
            {"kind":"listener","name":"new","action":"add","sessions":0,"on_remove":null,"keys_moved":null,
             "changes":[{"path":"bind","action":"add","old":null,"new":"[127.0.0.1:80]"}]},
            {"kind":"pool","name":"pg","action":"change","sessions":12,"on_remove":null,"keys_moved":0.3333,
             "changes":[{"path":"queue","action":"remove","old":"{ max: 5 }","new":null}]},
            {"kind":"backend","name":"pg/b\u001b","action":"remove","sessions":1,"on_remove":"{ drain: 5m }",
             "keys_moved":null,"changes":[]}]}"#;
        let plan: Plan = serde_json::from_str(plan).expect("a plan");
        assert_eq!(
            show(&plan),
            "\
~ process (17 sessions)
    ~ workers: auto -> { threads: 4 }
+ listener new
    + bind: [127.0.0.1:80]
~ pool pg (12 sessions; 33.3% of keys move)
    - queue: { max: 5 }
- backend pg/b\\u{1b} (1 session: { drain: 5m })

1 to add, 2 to change, 1 to remove.
A reload would be rejected: needs restart: workers.
"
        );
        assert_eq!(show(&Plan { changed: false, ..plan }), "No changes.\n");
    }
}
