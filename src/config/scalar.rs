//! Single values: what each kind of value accepts, and the words when it does not.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use ipnet::IpNet;
use regex::bytes::{Regex, RegexBuilder};

use super::address::{self, Listen, Target};
use super::hint::hint;
use super::plan::{Congestion, CongestionName};
use super::tree::{Node, Value};
use super::units;

/// A kind of single value. Ranges are inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar {
    Bool,
    /// A share relative to others, 1 to 65535.
    Weight,
    /// A whole number.
    Count {
        min: u64,
        max: u64,
    },
    Duration {
        min: Duration,
        max: Duration,
        whole_seconds: bool,
    },
    Size,
    /// Times a second, at least so many.
    Rate {
        min: u64,
    },
    ByteRate,
    Share,
    /// A number of times, such as `2x`.
    Factor,
    /// A number of times as a bare number, such as `1.25`, in [`RATIOS`].
    Ratio,
    /// Any text but the empty one.
    Text,
    /// The name of a listener, pool or backend.
    Name,
    /// A path, relative to the file that names it.
    Path,
    /// `IP:port`.
    Ip,
    /// `IP:port` or `unix:PATH`.
    Endpoint,
    /// `IP:port`, `IP:first-last` or `unix:PATH`.
    Bind,
    /// `IP:port`, `host:port` or `unix:PATH`.
    Target,
    /// An IP address of this machine.
    Source,
    /// `IP/prefix`.
    Network,
    /// Permission bits as four octal digits in quotes.
    Mode,
    /// A filter for the program's own log.
    Filter,
    /// `interval 60s`.
    Interval,
    /// A regular expression over bytes.
    Regex,
    /// Bytes as pairs of hex digits.
    Hex,
    /// A status code of HTTP, or a range of them.
    Statuses,
    /// Visible ASCII without spaces.
    Token,
    /// The path of an HTTP request.
    HttpPath,
    /// The method of one.
    Method,
    /// Who decides how fast a socket sends.
    Congestion,
}

impl Scalar {
    /// Is `node` such a value? The error says what to write.
    pub(super) fn check(self, node: &Node) -> Result<(), String> {
        match self {
            Self::Bool => boolean(node).map(drop),
            Self::Count { min, max } => count(node).and_then(|n| in_range(n, min, max)),
            Self::Weight => match count(node)? {
                0 => Err("a weight is 1 to 65535: to send nothing to a backend, write `disabled: true`".to_owned()),
                weight => in_range(weight, 1, 65_535),
            },
            Self::Duration { min, max, whole_seconds } => {
                duration(node).and_then(|duration| check_duration(duration, min, max, whole_seconds))
            }
            Self::Size => text(node, "a size such as `64KiB`").and_then(units::parse_size).map(drop),
            Self::Rate { min } => {
                rate(node).and_then(|rate| if rate < min { Err(ZERO_RATE.to_owned()) } else { Ok(()) })
            }
            Self::ByteRate => byte_rate(node).map(drop),
            Self::Share => share(node).map(drop),
            Self::Factor => factor(node).map(drop),
            Self::Text => text(node, "text").map(drop),
            Self::Ratio => ratio(node).map(drop),
            Self::Name => text(node, "a name").and_then(check_name),
            Self::Path => text(node, "a path").and_then(check_path),
            Self::Ip => text(node, "an address such as `127.0.0.1:9901`").and_then(address::parse_ip).map(drop),
            Self::Endpoint => endpoint(node).map(drop),
            Self::Bind => bind(node).map(drop),
            Self::Target => target(node).map(drop),
            Self::Source => source(node).map(drop),
            Self::Network => network(node).map(drop),
            Self::Mode => mode(node).map(drop),
            Self::Filter => filter(node).map(drop),
            Self::Interval => interval(node).map(drop),
            Self::Regex => regex(node).map(drop),
            Self::Hex => hex(node).map(drop),
            Self::Statuses => statuses(node).map(drop),
            Self::Token => token(node).map(drop),
            Self::HttpPath => http_path(node).map(drop),
            Self::Method => method(node).map(drop),
            Self::Congestion => congestion(node).map(drop),
        }
    }

    /// The kind in a few words, for "expected …" and the manual.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Count { .. } => "a whole number",
            Self::Weight => "a whole number from 1 to 65535",
            Self::Duration { .. } => "a duration such as `30s`",
            Self::Size => "a size such as `64KiB`",
            Self::Rate { .. } => "a rate such as `50/s`",
            Self::ByteRate => "a bandwidth such as `10MiB/s`",
            Self::Share => "a share such as `20%`",
            Self::Factor => "a factor such as `2x`",
            Self::Ratio => "a number from 1 to 100 such as `1.25`",
            Self::Text => "text",
            Self::Name => "a name",
            Self::Path => "a path",
            Self::Ip => "an address such as `127.0.0.1:9901`",
            Self::Endpoint => "an address such as `127.0.0.1:9901` or `unix:/path`",
            Self::Bind => "an address such as `0.0.0.0:5432` or `unix:/path`",
            Self::Target => "an address such as `10.0.0.1:5432`, `host:5432` or `unix:/path`",
            Self::Source => "an IP address such as `10.0.0.9`",
            Self::Network => "a network such as `10.0.0.0/8`",
            Self::Mode => "permission bits such as `\"0660\"`",
            Self::Filter => "a log filter such as `info`",
            Self::Interval => "`interval 60s`",
            Self::Regex => "a regular expression",
            Self::Hex => "bytes as hex digits in quotes, such as `\"0a0b\"`",
            Self::Statuses => "a status code such as `200`, or a range such as `200-299`",
            Self::Token => "a word",
            Self::HttpPath => "a path such as `/healthz`",
            Self::Method => "a method such as `GET`",
            Self::Congestion => "the name of an algorithm such as `cubic`",
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node) -> Result<bool, String> {
    let remedy = match &node.value {
        Value::Bool(value) => return Ok(*value),
        Value::Expanded(text) if text == "true" => return Ok(true),
        Value::Expanded(text) if text == "false" => return Ok(false),
        Value::Text(text) if matches!(text.as_str(), "true" | "false") => "; remove the quotes",
        Value::Text(text) if matches!(text.as_str(), "yes" | "on") => "; write `true`",
        Value::Text(text) if matches!(text.as_str(), "no" | "off") => "; write `false`",
        _ => "",
    };
    Err(format!("expected true or false, found {}{remedy}", node.describe()))
}

/// A whole number.
pub(super) fn count(node: &Node) -> Result<u64, String> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = match &node.value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::Expanded(text) if digits(text) => text.parse().ok(),
        Value::Text(text) if digits(text) => {
            return Err(format!("expected a whole number, found text: write {text} without quotes"));
        }
        _ => None,
    };
    number.ok_or_else(|| format!("expected a whole number, found {}", node.describe()))
}

/// `250ms`, `1m30s`.
pub(super) fn duration(node: &Node) -> Result<Duration, String> {
    match &node.value {
        Value::Int(number) if *number >= 0 => units::parse_duration(&number.to_string()),
        _ => text(node, "a duration such as `30s`").and_then(units::parse_duration),
    }
}

/// `20%`, as 0.0 to 1.0.
pub(super) fn share(node: &Node) -> Result<f64, String> {
    match &node.value {
        Value::Int(number) => Err(format!("a share is a percentage: write `{number}%`")),
        _ => text(node, "a share such as `20%`").and_then(units::parse_share),
    }
}

/// To refuse everyone is not what a rate is for.
const ZERO_RATE: &str = "a rate of 0/s would let nobody in; the lowest is `1/s`, and without the key there is no limit";

/// `50/s`, as times a second.
pub(super) fn rate(node: &Node) -> Result<u64, String> {
    match &node.value {
        Value::Int(number) => Err(format!("a rate needs its unit: write `{number}/s`")),
        _ => text(node, "a rate such as `50/s`").and_then(units::parse_rate),
    }
}

/// `10MiB/s`, as bytes a second.
pub(super) fn byte_rate(node: &Node) -> Result<NonZeroU64, String> {
    let rate = text(node, "a bandwidth such as `10MiB/s`").and_then(units::parse_byte_rate)?;
    NonZeroU64::new(rate)
        .ok_or_else(|| "a bandwidth of 0 would move nothing; without the key there is no limit".to_owned())
}

/// `2x`.
pub(super) fn factor(node: &Node) -> Result<f64, String> {
    match &node.value {
        Value::Int(number) => Err(format!("a factor needs an x: write `{number}x`")),
        _ => text(node, "a factor such as `2x`").and_then(units::parse_factor),
    }
}

/// What a ratio may be.
pub(super) const RATIOS: RangeInclusive<f64> = 1.0..=100.0;

/// `1.25`.
pub(super) fn ratio(node: &Node) -> Result<f64, String> {
    let number = match &node.value {
        Value::Int(number) => *number as f64,
        Value::Float(number) => *number,
        Value::Expanded(text) if let Ok(number) = text.parse() => number,
        Value::Text(text) if text.parse::<f64>().is_ok() => {
            return Err(format!("expected a number, found text: write {text} without quotes"));
        }
        _ => return Err(format!("expected a number such as `1.25`, found {}", node.describe())),
    };
    if RATIOS.contains(&number) { Ok(number) } else { Err(format!("{number} is out of range: 1 to 100")) }
}

/// Where to listen, with one port.
pub(super) fn endpoint(node: &Node) -> Result<Listen, String> {
    match &node.value {
        Value::Int(port) => address::parse_endpoint(&port.to_string()),
        _ => text(node, "an address such as `127.0.0.1:9901` or `unix:/path`").and_then(address::parse_endpoint),
    }
}

/// Where to listen, perhaps with a range of ports.
pub(super) fn bind(node: &Node) -> Result<Listen, String> {
    match &node.value {
        Value::Int(port) => address::parse_bind(&port.to_string()),
        _ => text(node, "an address such as `0.0.0.0:5432` or `unix:/path`").and_then(address::parse_bind),
    }
}

/// Where a backend is.
pub(super) fn target(node: &Node) -> Result<Target, String> {
    text(node, "an address such as `10.0.0.1:5432`, `host:5432` or `unix:/path`").and_then(address::parse_target)
}

/// Where to connect from.
pub(super) fn source(node: &Node) -> Result<IpAddr, String> {
    text(node, "an IP address such as `10.0.0.9`").and_then(address::parse_source)
}

/// A network of peers.
pub(super) fn network(node: &Node) -> Result<IpNet, String> {
    text(node, "a network such as `10.0.0.0/8`").and_then(address::parse_network)
}

/// Permission bits.
pub(super) fn mode(node: &Node) -> Result<u32, String> {
    let bad =
        || format!("expected permission bits as octal digits in quotes, such as `\"0660\"`, found {}", node.describe());
    let text = node.text().ok_or_else(bad)?;
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if digits { u32::from_str_radix(text, 8).map_err(|_| bad()) } else { Err(bad()) }
}

/// A filter that `tracing` understands.
pub(super) fn filter(node: &Node) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let text = text(node, "a log filter such as `info`")?;
    let write = "write error, warn, info, debug, trace or off, or as `info,peerway::relay=debug`";
    // `tracing` takes any word that is not a level for the name of a module, a misspelt level too.
    for word in text.split(',').map(str::trim).filter(|word| !LEVELS.contains(&word.to_lowercase().as_str())) {
        let hint = hint(word, LEVELS.into_iter());
        if !hint.is_empty() {
            return Err(format!("`{word}` is not a log level{hint}; {write}"));
        }
    }
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("`{text}` is not a log filter ({error}); {write}")),
    }
}

/// `interval 60s`.
pub(super) fn interval(node: &Node) -> Result<Duration, String> {
    let bad = || format!("expected `start`, `end` or `interval 60s`, found {}", node.describe());
    let duration =
        units::parse_duration(node.text().and_then(|text| text.strip_prefix("interval ")).ok_or_else(bad)?.trim())?;
    check_duration(duration, Duration::from_secs(1), units::LONGEST, false)?;
    Ok(duration)
}

/// A regular expression over bytes.
pub(super) fn regex(node: &Node) -> Result<Regex, String> {
    /// Compiled; a pattern of a configuration is a line, and repetition must not make it a bomb.
    const LARGEST: usize = 1024 * 1024;
    let text = text(node, "a regular expression")?;
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
pub(super) fn hex(node: &Node) -> Result<Vec<u8>, String> {
    let bad = || format!("expected bytes as hex digits in quotes, such as `\"0a0b\"`, found {}", node.describe());
    let digits: Option<Vec<u32>> = node.text().ok_or_else(bad)?.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| !digits.is_empty()).ok_or_else(bad)?;
    if !digits.len().is_multiple_of(2) {
        return Err(format!("a byte has two hex digits, and here are {} digits in all", digits.len()));
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

/// `200` or `200-299`: first and last.
pub(super) fn statuses(node: &Node) -> Result<(u16, u16), String> {
    let bad =
        || format!("expected a status code such as `200`, or a range such as `200-299`, found {}", node.describe());
    let code = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (first, last) = match &node.value {
        Value::Int(number) => (u16::try_from(*number).ok(), u16::try_from(*number).ok()),
        _ => {
            let text = node.text().ok_or_else(bad)?;
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            (code(first), code(last))
        }
    };
    let (first, last) = first.zip(last).ok_or_else(bad)?;
    if first > last {
        return Err(format!("the range {first}-{last} is empty: its first code is the higher one"));
    }
    if first < 200 || last > 599 {
        let wrong = if first < 200 { first } else { last };
        return Err(format!("an answer's status code is 200 to 599, and here is {wrong}"));
    }
    Ok((first, last))
}

/// Visible ASCII without spaces.
pub(super) fn token(node: &Node) -> Result<&str, String> {
    let text = text(node, "text")?;
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text)
    } else {
        Err("only visible ASCII characters may stand here, and no spaces".to_owned())
    }
}

/// The path of an HTTP request.
pub(super) fn http_path(node: &Node) -> Result<&str, String> {
    let path = token(node)?;
    if !path.starts_with('/') {
        return Err("a path begins with `/`".to_owned());
    }
    match path.parse::<PathAndQuery>() {
        Ok(_) => Ok(path),
        Err(_) => Err("a path may not have characters such as `<`, `>` and quotes: write them as `%3C`".to_owned()),
    }
}

/// A method of HTTP.
pub(super) fn method(node: &Node) -> Result<&str, String> {
    let method = token(node)?;
    match method.parse::<hyper::Method>() {
        Ok(_) => Ok(method),
        Err(_) => Err("a method is a word such as `GET`".to_owned()),
    }
}

/// Text that is not empty.
pub(super) fn text<'a>(node: &'a Node, expected: &str) -> Result<&'a str, String> {
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

/// Who decides how fast a socket sends.
pub(super) fn congestion(node: &Node) -> Result<Congestion, String> {
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
pub(super) fn check_name(name: &str) -> Result<(), String> {
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

fn check_path(path: &str) -> Result<(), String> {
    if path.contains(char::is_control) { Err("a path may not contain control characters".to_owned()) } else { Ok(()) }
}

fn in_range(number: u64, min: u64, max: u64) -> Result<(), String> {
    if min == max && number != min {
        return Err(format!("expected {min}, the only one there is, found {number}"));
    }
    if (min..=max).contains(&number) { Ok(()) } else { Err(format!("{number} is out of range: {min} to {max}")) }
}

fn check_duration(duration: Duration, min: Duration, max: Duration, whole_seconds: bool) -> Result<(), String> {
    let show = |d: Duration| if whole_seconds { format!("{}s", d.as_secs_f64()) } else { units::format_duration(d) };
    if !(min..=max).contains(&duration) {
        return Err(format!("{} is out of range: {} to {}", show(duration), show(min), show(max)));
    }
    if whole_seconds && duration.subsec_nanos() != 0 {
        return Err(format!("{} is not whole seconds, and the kernel counts in those", show(duration)));
    }
    Ok(())
}
