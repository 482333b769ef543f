//! Tables that a person likes to read.

use std::time::Duration;

/// A column: its title, and whether its cells are numbers.
pub(super) type Column = (&'static str, Align);

/// Where a cell's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Titles and rows, aligned, two spaces between columns.
pub(super) fn table<const N: usize>(columns: [Column; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let width = |index: usize| {
        let cells = rows.iter().map(|row| row[index].chars().count());
        cells.max().unwrap_or(0).max(columns[index].0.len())
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded = std::array::from_fn::<_, N, _>(|i| match columns[i].1 {
            Align::Left => format!("{:<1$}", cells[i], widths[i]),
            Align::Right => format!("{:>1$}", cells[i], widths[i]),
        });
        format!("{}\n", padded.join("  ").trim_end())
    };
    let titles = line(columns.map(|(title, _)| title));
    rows.iter().map(|row| line(row.each_ref().map(String::as_str))).fold(titles, |all, row| all + &row)
}

/// Nothing in a cell may speak to the terminal.
pub(super) fn printable(cell: &str) -> String {
    match cell {
        "" => "-".into(),
        cell if cell.contains(char::is_control) => cell.escape_debug().to_string(),
        cell => cell.to_owned(),
    }
}

/// A count of bytes in three digits or so: `1.5 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// A span in its two largest units: `2h5m`.
pub(super) fn span(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60) {
        (0, 0, 0, _) => format!("{seconds:.1}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes}m"),
        (days, hours, ..) => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "1".into(), String::new()], ["long name".into(), "1000".into(), "x\u{1b}".into()]];
        let text = table([("NAME", Align::Left), ("N", Align::Right), ("WHY", Align::Left)], &rows);
        assert_eq!(text, "NAME          N  WHY\na             1  -\nlong name  1000  x\\u{1b}\n");
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!([0, 1023, 1024, 1_048_575, 1 << 40].map(size), ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.0 TiB"]);
        assert_eq!([0.25, 59.9, 61.0, 7500.0, 90_000.0].map(span), ["0.2s", "59.9s", "1m1s", "2h5m", "1d1h"]);
    }
}
