//! How values are written for people.

use time::OffsetDateTime;

/// Names come from containers and from the wire: none gets to move the cursor.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{}s", seconds % 60),
        3600..86_400 => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// `1,234,567`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.5 MiB`
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = number as f64;
    let mut shown = None;
    for unit in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        shown = Some(unit);
    }
    match shown {
        Some(unit) => format!("{value:.1} {unit}"),
        None => format!("{number} B"),
    }
}

/// Columns two spaces apart, those of numbers flush right; the last one is as
/// long as it is.
pub(super) fn columns(rows: &[Vec<String>], indent: &str) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let layout: Vec<(usize, bool)> = (0..count)
        .map(|column| {
            let width = cells(column).map(|cell| cell.chars().count()).max();
            // Only a header may begin otherwise.
            let mut values = cells(column).filter(|cell| !cell.is_empty() && *cell != "-");
            let is_header = |cell: &str| cell.chars().all(|c| !c.is_lowercase());
            let is_number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit());
            let numbers = values.clone().any(|cell| is_number(cell))
                && values.all(|cell| is_number(cell) || is_header(cell));
            (width.unwrap_or_default(), numbers && column > 0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (cell, (width, flush_right)) in row.iter().zip(&layout) {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            match flush_right {
                true => line.extend([&padding, cell.as_str(), "  "]),
                false => line.extend([cell.as_str(), &padding, "  "]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `2026-11-06 21:20:00Z`; of a time that no calendar has, its seconds.
pub(super) fn utc(unix_seconds: u64) -> String {
    let seconds = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
    let Ok(time) = OffsetDateTime::from_unix_timestamp(seconds) else {
        return format!("{unix_seconds} s after 1970");
    };
    let (h, m, s) = time.to_hms();
    format!("{} {h:02}:{m:02}:{s:02}Z", time.date())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(utc(1_794_000_000), "2026-11-06 21:20:00Z");
        assert_eq!(utc(4_107_542_399), "2100-02-28 23:59:59Z");
        assert_eq!(utc(u64::MAX), "18446744073709551615 s after 1970");
        assert_eq!(
            [59, 61, 3_660, 90_000].map(duration),
            ["59s", "1m1s", "1h1m", "1d1h"]
        );
    }

    #[test]
    fn numbers_have_units_and_groups() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0, 1023, 1024, 1_572_864, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "16384.0 PiB"]
        );
    }

    #[test]
    fn numbers_are_flush_right_and_words_flush_left() {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let text = columns(
            &[
                row(["NAME", "SENT", "MOST", "WHY"]),
                row(["a", "1,000", "5 ms", "x"]),
                row(["longer", "7", "-", "10 y"]),
            ],
            "  ",
        );
        assert_eq!(
            text,
            "  NAME     SENT  MOST  WHY\n  a       1,000  5 ms  x\n  longer      7     -  10 y\n"
        );
        assert_eq!(columns(&[], ""), "");
    }
}
