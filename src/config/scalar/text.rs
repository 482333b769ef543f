//! Text: as it is, or in a language of its own.

use regex::bytes::{Regex, RegexBuilder};

use super::Scalar;
use crate::config::hint::{did_you_mean, hint, quote};
use crate::config::plan::{Congestion, CongestionName};
use crate::config::tree::{Node, Value};

/// Text that is not empty.
pub(in crate::config) fn text<'a>(node: &'a Node, expected: &str) -> Result<&'a str, String> {
    match node.text() {
        Some("") => Err(format!("expected {expected}, found empty text")),
        Some(text) => Ok(text),
        None => {
            let quote = matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_));
            let remedy =
                if quote && matches!(expected, "text" | "a name" | "a path") { "; put it in quotes" } else { "" };
            Err(format!("expected {expected}, found {}{remedy}", node.describe()))
        }
    }
}

/// Visible ASCII without spaces.
pub(in crate::config) fn token(node: &Node) -> Result<&str, String> {
    let text = text(node, "text")?;
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text)
    } else {
        Err("only visible ASCII characters may stand here, and no spaces".to_owned())
    }
}

/// What other programs call a level, and what it is called here.
const LEVELS_ELSEWHERE: [(&str, &str); 10] = [
    ("warning", "warn"),
    ("err", "error"),
    ("fatal", "error"),
    ("critical", "error"),
    ("crit", "error"),
    ("notice", "info"),
    ("information", "info"),
    ("verbose", "debug"),
    ("none", "off"),
    ("quiet", "off"),
];

/// A filter that `tracing` understands.
pub(in crate::config) fn filter(node: &Node) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let text = text(node, Scalar::Filter.noun())?;
    let write = "write error, warn, info, debug, trace or off, or as `info,peerway::relay=debug`";
    // `tracing` takes any word that is not a level for the name of a module, of which everything is logged, and of others
    // nothing.
    let is_bare = |word: &&str| !word.contains('=') && !word.is_empty();
    for word in text.split(',').map(str::trim).filter(is_bare) {
        let lower = word.to_lowercase();
        if !LEVELS.contains(&&*lower) {
            let elsewhere = LEVELS_ELSEWHERE.iter().find(|(name, _)| *name == lower);
            let meant = elsewhere.map_or_else(|| hint(&lower, LEVELS.into_iter()), |(_, level)| did_you_mean(level));
            return Err(format!("{} is not a log level{meant}; {write}", quote(word)));
        }
    }
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("`{text}` is not a log filter ({error}); {write}")),
    }
}

/// A regular expression over bytes.
pub(in crate::config) fn regex(node: &Node) -> Result<Regex, String> {
    /// Compiled; a pattern of a configuration is a line, and repetition must not make it a bomb.
    const LARGEST: usize = 1024 * 1024;
    let text = text(node, Scalar::Regex.noun())?;
    RegexBuilder::new(text).size_limit(LARGEST).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the regular expression is too large when compiled".to_owned(),
        error => {
            // Its report draws the place over several lines; the reason stands in the last.
            let report = error.to_string();
            let reason = report.lines().last().unwrap_or_default();
            format!("not a regular expression: {}", reason.trim_start_matches("error: "))
        }
    })
}

/// Bytes as pairs of hex digits.
pub(in crate::config) fn hex(node: &Node) -> Result<Vec<u8>, String> {
    let bad = || format!("expected bytes as hex digits in quotes, such as `\"0a0b\"`, found {}", node.describe());
    let digits: Option<Vec<u32>> = node.text().ok_or_else(bad)?.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| !digits.is_empty()).ok_or_else(bad)?;
    if !digits.len().is_multiple_of(2) {
        return Err(format!("a byte has two hex digits, and here are {} digits in all", digits.len()));
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

/// Who decides how fast a socket sends.
pub(in crate::config) fn congestion(node: &Node) -> Result<Congestion, String> {
    const EXPECTED: &str = "`auto`, `system` or the name of an algorithm such as `cubic`";
    let name = match text(node, EXPECTED)? {
        "auto" => return Ok(Congestion::Auto),
        "system" => return Ok(Congestion::System),
        "off" => None,
        name => CongestionName::new(name),
    };
    name.map(Congestion::Named).ok_or_else(|| format!("expected {EXPECTED}, found {}", node.describe()))
}

/// A name may not hold what separates it from other names in logs, URLs and on the command line.
pub(in crate::config) fn check_name(name: &str) -> Result<(), String> {
    const LONGEST: usize = 128;
    if name.is_empty() {
        return Err("a name may not be empty".to_owned());
    }
    if name.len() > LONGEST {
        return Err(format!("a name may be {LONGEST} bytes long, this one has {}", name.len()));
    }
    if name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
        return Err("a name may not contain `/`, spaces or control characters".to_owned());
    }
    Ok(())
}

pub(super) fn check_path(path: &str) -> Result<(), String> {
    if path.contains(char::is_control) { Err("a path may not contain control characters".to_owned()) } else { Ok(()) }
}
