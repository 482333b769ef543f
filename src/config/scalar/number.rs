//! Truth values, numbers, and amounts with their units.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Scalar, text};
use crate::config::tree::{Node, Value};
use crate::config::units;

/// `true` or `false`.
pub(in crate::config) fn boolean(node: &Node) -> Result<bool, String> {
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
pub(in crate::config) fn count(node: &Node) -> Result<u64, String> {
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

/// What a duration is in a few words.
pub(super) const DURATION: &str = "a duration such as `30s`";

/// `250ms`, `1m30s`.
pub(in crate::config) fn duration(node: &Node) -> Result<Duration, String> {
    match &node.value {
        Value::Int(number) if *number >= 0 => units::parse_duration(&number.to_string()),
        _ => text(node, DURATION).and_then(units::parse_duration),
    }
}

/// `interval 60s`.
pub(in crate::config) fn interval(node: &Node) -> Result<Duration, String> {
    let bad = || format!("expected `start`, `end` or `interval 60s`, found {}", node.describe());
    let duration =
        units::parse_duration(node.text().and_then(|text| text.strip_prefix("interval ")).ok_or_else(bad)?.trim())?;
    check_duration(duration, Duration::from_secs(1), units::LONGEST, false)?;
    Ok(duration)
}

/// `20%`, as 0.0 to 1.0.
pub(in crate::config) fn share(node: &Node) -> Result<f64, String> {
    match &node.value {
        Value::Int(number) => Err(format!("a share is a percentage: write `{number}%`")),
        _ => text(node, Scalar::Share.noun()).and_then(units::parse_share),
    }
}

/// What a rate is in a few words.
pub(super) const RATE: &str = "a rate such as `50/s`";

/// To refuse everyone is not what a rate is for.
pub(super) const ZERO_RATE: &str =
    "a rate of 0/s would let nobody in; the lowest is `1/s`, and without the key there is no limit";

/// `50/s`, as times a second.
pub(in crate::config) fn rate(node: &Node) -> Result<u64, String> {
    match &node.value {
        Value::Int(number) => Err(format!("a rate needs its unit: write `{number}/s`")),
        _ => text(node, RATE).and_then(units::parse_rate),
    }
}

/// `10MiB/s`, as bytes a second.
pub(in crate::config) fn byte_rate(node: &Node) -> Result<NonZeroU64, String> {
    let rate = text(node, Scalar::ByteRate.noun()).and_then(units::parse_byte_rate)?;
    NonZeroU64::new(rate)
        .ok_or_else(|| "a bandwidth of 0 would move nothing; without the key there is no limit".to_owned())
}

/// `2x`.
pub(in crate::config) fn factor(node: &Node) -> Result<f64, String> {
    match &node.value {
        Value::Int(number) => Err(format!("a factor needs an x: write `{number}x`")),
        _ => text(node, Scalar::Factor.noun()).and_then(units::parse_factor),
    }
}

/// What a ratio may be.
pub(in crate::config) const RATIOS: RangeInclusive<f64> = 1.0..=100.0;

/// `1.25`.
pub(in crate::config) fn ratio(node: &Node) -> Result<f64, String> {
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

pub(super) fn in_range(number: u64, min: u64, max: u64) -> Result<(), String> {
    if min == max && number != min {
        return Err(format!("expected {min}, the only one there is, found {number}"));
    }
    if (min..=max).contains(&number) { Ok(()) } else { Err(format!("{number} is out of range: {min} to {max}")) }
}

pub(super) fn check_duration(
    duration: Duration,
    min: Duration,
    max: Duration,
    whole_seconds: bool,
) -> Result<(), String> {
    let show = |d: Duration| if whole_seconds { format!("{}s", d.as_secs_f64()) } else { units::format_duration(d) };
    if !(min..=max).contains(&duration) {
        return Err(format!("{} is out of range: {} to {}", show(duration), show(min), show(max)));
    }
    if whole_seconds && duration.subsec_nanos() != 0 {
        return Err(format!("{} is not whole seconds, and the kernel counts in those", show(duration)));
    }
    Ok(())
}
