//! Moments as RFC 3339 text: UTC, microseconds.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Short;

/// A moment that displays as `2026-01-31T23:59:59.000001Z`.
#[derive(Debug, Clone, Copy)]
pub struct Rfc3339(pub SystemTime);

/// The text of a moment.
pub fn rfc3339(at: SystemTime) -> String {
    Rfc3339(at).to_string()
}

impl Rfc3339 {
    /// The text.
    pub fn short(&self) -> Short {
        // No clock of a running proxy shows a time before 1970.
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let mut text = Short::new();
        let pieces =
            [(year, 4, b'-'), (month, 2, b'-'), (day, 2, b'T'), (hour, 2, b':'), (minute, 2, b':'), (second, 2, b'.')];
        for (number, width, after) in pieces {
            text.digits(number, width);
            text.push(after);
        }
        text.digits(since.subsec_micros().into(), 6);
        text.push(b'Z');
        text
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short().as_str())
    }
}

/// Year, month and day of a count of days since 1970.
///
/// Years are taken to start in March, so that the leap day is their last; 400 of them have always
/// 146 097 days (the method is Howard Hinnant's, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    const FROM_YEAR_0_TO_1970: u64 = 719_468;
    const ERA: u64 = 146_097;
    let days = days + FROM_YEAR_0_TO_1970;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_moments() {
        let at = |seconds, micros: u32| rfc3339(UNIX_EPOCH + Duration::new(seconds, micros * 1000));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_400, 1), "2000-02-29T00:00:00.000001Z");
        assert_eq!(at(1_709_251_199, 999_999), "2024-02-29T23:59:59.999999Z");
        assert_eq!(at(1_798_761_599, 0), "2026-12-31T23:59:59.000000Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000000Z");
    }

    #[test]
    fn days_follow_each_other() {
        let mut last = civil(0);
        for days in 1..60_000 {
            let next = civil(days);
            let same_month = next.0 == last.0 && next.1 == last.1 && next.2 == last.2 + 1;
            let next_month = next.2 == 1 && last.2 >= 28 && (next.1 == last.1 % 12 + 1);
            assert!(same_month || next_month, "{last:?} then {next:?}");
            last = next;
        }
    }
}
