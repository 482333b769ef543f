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
pub(super) fn format_size(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    unit.map_or_else(|| "0B".to_owned(), |(name, size)| format!("{}{name}", bytes / size))
}

/// `50/s`: times a second.
pub(super) fn parse_rate(text: &str) -> Result<u64, String> {
    match split_number(text) {
        Some((number, "", "/s")) => Ok(number),
        _ => Err(format!("`{text}` is not a rate: a whole number a second, as in `50/s`")),
    }
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

/// `2x`, `1.5x`: so many times, from 1 to 1000.
pub(super) fn parse_factor(text: &str) -> Result<f64, String> {
    let bad = || format!("`{text}` is not a factor: a number from 1 to 1000 and an x, as in `2x`");
    let number = text.strip_suffix('x').ok_or_else(bad)?;
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(bad());
    }
    number.parse().ok().filter(|factor| (1.0..=1000.0).contains(factor)).ok_or_else(bad)
}

/// Splits `90s15ms` into 90, `s` and `15ms`.
fn split_number(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (unit, after) = rest.split_at(letters);
    Some((number.parse().ok()?, unit, after))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        for (text, nanos) in [
            ("0s", 0),
            ("250ms", 250_000_000),
            ("5us", 5_000),
            ("1m30s", 90_000_000_000),
            ("90s", 90_000_000_000),
            ("1d2h3m4s5ms6us", 93_784_005_006_000),
            ("007s", 7_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for text in
            ["", "s", "5", "5 s", "5sec", "1.5s", "-5s", "+5s", "1s1m", "1s1s", "5S", "1m 30s", "٥s", "1e3s", "5ns"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_duration("3650d").is_ok());
        for text in ["3651d", "3650d1us", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn factors() {
        assert_eq!((parse_factor("2x"), parse_factor("1.5x"), parse_factor("1000x")), (Ok(2.0), Ok(1.5), Ok(1000.0)));
        for text in ["2", "x", "0.5x", "0x", "1001x", "-2x", "1e1x", "infx", "2 x", "2X", ""] {
            assert!(parse_factor(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_rates_and_shares() {
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("0B"), Ok(0));
        assert_eq!(parse_size("16777215TiB"), Ok(16_777_215 << 40));
        for text in ["64", "64KB", "64K", "64kib", "1.5MiB", "KiB", "16777216TiB", "1KiB1B", "-1B", ""] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(parse_rate("50/s"), Ok(50));
        assert_eq!(parse_byte_rate("10MiB/s"), Ok(10 << 20));
        for text in ["50", "50/m", "/s", "-1/s", "+1/s", "1.5/s", "50/s/s"] {
            assert!(parse_rate(text).is_err() && parse_byte_rate(text).is_err(), "{text}");
        }
        assert_eq!((parse_share("0%"), parse_share("100%"), parse_share("0.5%")), (Ok(0.0), Ok(1.0), Ok(0.005)));
        for text in ["20", "101%", "-1%", "%", "1e1%", "nan%", "inf%", "20 %", "100.1%"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_survives_the_round_trip(micros in 0..LONGEST.as_micros() as u64) {
            let duration = Duration::from_micros(micros);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn a_size_survives_the_round_trip(bytes in any::<u64>()) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in any::<String>(), digits in "[0-9]{0,30}[a-zA-Z%/.]{0,4}") {
            for text in [text, digits] {
                let _ = (parse_duration(&text), parse_size(&text), parse_rate(&text), parse_byte_rate(&text), parse_share(&text), parse_factor(&text));
            }
        }
    }
}
