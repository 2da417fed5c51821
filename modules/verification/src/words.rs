//! Numbers, times and names as a person reads them.

use chrono::{DateTime, Utc};

/// A length of time, as exact as it is of use: `0.14 s`, `3.2 s`, `2 min 14 s`, `1 h 2 min`, `3 d 4 h`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 0.0005 {
        return "0 s".to_owned();
    }
    if seconds < 0.995 {
        // Three places for what would otherwise look as if it had not been made at all.
        return format!("{seconds:.*} s", if seconds < 0.01 { 3 } else { 2 });
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = whole(seconds);
    let (hours, minutes) = (whole / 3600, whole / 60 % 60);
    match hours {
        0 => format!("{minutes} min {} s", whole % 60),
        1..48 => format!("{hours} h {minutes} min"),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

/// How old something is, in words: `45 seconds`, `13 hours 20 minutes`, `2 days 3 hours`.
pub(crate) fn age(seconds: f64) -> String {
    let whole = whole(seconds.max(0.0));
    let (large, small) = match whole {
        0 => return "less than a second".to_owned(),
        1..60 => (counted(whole, "second"), None),
        60..3600 => (counted(whole / 60, "minute"), None),
        3600..86_400 => (counted(whole / 3600, "hour"), Some((whole / 60 % 60, "minute"))),
        _ => (counted(whole / 86_400, "day"), Some((whole / 3600 % 24, "hour"))),
    };
    match small.filter(|(count, _)| *count > 0) {
        Some((count, unit)) => format!("{large} {}", counted(count, unit)),
        None => large,
    }
}

/// Before an `y` that stays one.
const VOWELS: [char; 5] = ['a', 'e', 'i', 'o', 'u'];

/// `1 check`, `2 checks`, `1,200 bytes`, `2 queries`, `2 days`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match noun.strip_suffix('y').filter(|stem| count != 1 && !stem.ends_with(VOWELS)) {
        Some(stem) => format!("{} {stem}ies", thousands(count)),
        None => format!("{} {noun}{}", thousands(count), if count == 1 { "" } else { "s" }),
    }
}

/// A number with a comma between each three digits.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size for people: `41.3 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        // From here on it would be shown as 1024.0 of the smaller unit.
        if value < 1023.95 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    match unit {
        "bytes" => counted(bytes, "byte"),
        _ => format!("{value:.1} {unit}"),
    }
}

/// A size for people, and as it is: `41.3 GiB (44,345,298,944 bytes)`.
pub(crate) fn bytes(bytes: u64) -> String {
    if bytes < 1024 { size(bytes) } else { format!("{} ({})", size(bytes), counted(bytes, "byte")) }
}

/// A time: `21 Nov 2026, 03:15:00 UTC`.
pub(crate) fn time(time: DateTime<Utc>) -> String {
    time.format("%-d %b %Y, %H:%M:%S UTC").to_string()
}

/// Text in one line: what would break the line becomes a space.
pub(crate) fn line(text: &str) -> String {
    text.split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn whole(seconds: f64) -> u64 {
    seconds.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let said = [0.0, -1.0, f64::NAN, 0.002, 0.05, 0.994, 0.995, 3.21, 59.94, 59.96, 134.4]
            .map(duration);
        assert_eq!(
            said,
            [
                "0 s",
                "0 s",
                "0 s",
                "0.002 s",
                "0.05 s",
                "0.99 s",
                "1.0 s",
                "3.2 s",
                "59.9 s",
                "1 min 0 s",
                "2 min 14 s"
            ]
        );
        assert_eq!(
            [3599.6, 3720.0, 100_000.0, 172_800.0, 273_600.0].map(duration),
            ["1 h 0 min", "1 h 2 min", "27 h 46 min", "2 d 0 h", "3 d 4 h"]
        );
    }

    #[test]
    fn ages() {
        let said =
            [-5.0, 0.2, 1.0, 59.0, 60.0, 3599.0, 3600.0, 48_000.0, 86_400.0, 183_600.0].map(age);
        assert_eq!(
            said,
            [
                "less than a second",
                "less than a second",
                "1 second",
                "59 seconds",
                "1 minute",
                "59 minutes",
                "1 hour",
                "13 hours 20 minutes",
                "1 day",
                "2 days 3 hours"
            ]
        );
    }

    #[test]
    fn numbers_and_sizes() {
        let said = [(1, "query"), (2, "query"), (2, "day"), (0, "check"), (1200, "row")]
            .map(|(count, noun)| counted(count, noun));
        assert_eq!(said, ["1 query", "2 queries", "2 days", "0 checks", "1,200 rows"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [1, 1023, 1024, 1_048_575, 2_147_483_648, u64::MAX].map(bytes),
            [
                "1 byte",
                "1,023 bytes",
                "1.0 KiB (1,024 bytes)",
                "1.0 MiB (1,048,575 bytes)",
                "2.0 GiB (2,147,483,648 bytes)",
                "16384.0 PiB (18,446,744,073,709,551,615 bytes)"
            ]
        );
    }

    #[test]
    fn a_time_and_a_line() {
        let at = DateTime::parse_from_rfc3339("2026-11-01T04:15:00.9+01:00").unwrap();
        assert_eq!(time(at.to_utc()), "1 Nov 2026, 03:15:00 UTC");
        assert_eq!(line("a\n b\u{1b}[1m\tc "), "a b [1m c");
    }
}
