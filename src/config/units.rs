//! Durations, sizes, rates and shares, as people write them.

use std::time::Duration;

/// The longest duration that is accepted; beyond it is a slip of the pen, and sums of two stay far from overflow.
pub(super) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Units of a duration, longest first, in nanoseconds.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// Units of a size, largest first, in bytes.
const SIZE_UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// `250ms`, `5s`, `1m30s`: whole numbers with units, longest unit first.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("a duration needs a unit: write `{text}s` or `{text}ms`"));
    }
    let mut nanos: u64 = 0;
    let mut rest = text;
    let mut next_unit = 0;
    while !rest.is_empty() || next_unit == 0 {
        let (number, unit, after) = split_number(rest).ok_or_else(|| bad_duration(text))?;
        let index = DURATION_UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(|| bad_duration(text))?;
        if index < next_unit {
            return Err(format!("the units of `{text}` are not in order: longest first, each once, as in `1m30s`"));
        }
        next_unit = index + 1;
        nanos = number
            .checked_mul(DURATION_UNITS[index].1)
            .and_then(|part| nanos.checked_add(part))
            .filter(|nanos| Duration::from_nanos(*nanos) <= LONGEST)
            .ok_or_else(|| format!("`{text}` is longer than ten years"))?;
        rest = after;
    }
    Ok(Duration::from_nanos(nanos))
}

fn bad_duration(text: &str) -> String {
    format!("`{text}` is not a duration: whole numbers with units us, ms, s, m, h, d, as in `250ms` or `1m30s`")
}

/// The shortest text that [`parse_duration`] reads back as the same duration, down to microseconds.
pub(super) fn format_duration(duration: Duration) -> String {
    let mut nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut out = String::new();
    for (name, size) in DURATION_UNITS {
        if nanos >= size {
            out.push_str(&format!("{}{name}", nanos / size));
            nanos %= size;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// `64KiB`: bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a size: a whole number with B, KiB, MiB, GiB or TiB, as in `64KiB`");
    let (number, unit, rest) = split_number(text).ok_or_else(bad)?;
    let size = SIZE_UNITS.iter().find(|(name, _)| *name == unit).filter(|_| rest.is_empty()).ok_or_else(bad)?;
    number.checked_mul(size.1).ok_or_else(|| format!("`{text}` is too large"))
}

/// The shortest text that [`parse_size`] reads back.
#[cfg(test)]
pub(super) fn format_size(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    unit.map_or_else(|| "0B".to_owned(), |(name, size)| format!("{}{name}", bytes / size))
}

/// `50/s`: times a second.
pub(super) fn parse_rate(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix("/s").and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("`{text}` is not a rate: a whole number a second, as in `50/s`"))
}

/// `10MiB/s`: bytes a second.
pub(super) fn parse_byte_rate(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a bandwidth: a size a second, as in `10MiB/s`");
    text.strip_suffix("/s").ok_or_else(bad).and_then(|size| parse_size(size).map_err(|_| bad()))
}

/// `20%`: 0.0 to 1.0.
pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    let bad = || format!("`{text}` is not a share: a percentage from 0% to 100%, as in `20%`");
    let number = text.strip_suffix('%').ok_or_else(bad)?;
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(bad());
    }
    let percent: f64 = number.parse().map_err(|_| bad())?;
    if (0.0..=100.0).contains(&percent) { Ok(percent / 100.0) } else { Err(bad()) }
}

/// Splits `90s15ms` into 90, `s` and `15ms`.
fn split_number(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (unit, after) = rest.split_at(letters);
    Some((number.parse().ok()?, unit, after))
}
