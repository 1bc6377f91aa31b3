//! TIME on the command line and durations and sizes in messages.

use std::time::Duration;

/// How often checkpoints are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// Only on request.
    Never,
    /// One each so much time.
    Every(Duration),
}

impl Interval {
    /// In seconds; 0 for never.
    pub fn seconds(self) -> f64 {
        match self {
            Interval::Never => 0.0,
            Interval::Every(every) => every.as_secs_f64(),
        }
    }

    /// The inverse of [`Interval::seconds`].
    pub fn from_seconds(seconds: f64) -> Interval {
        match Duration::try_from_secs_f64(seconds) {
            Ok(every) if !every.is_zero() => Interval::Every(every),
            _ => Interval::Never,
        }
    }
}

/// Parses an interval: a TIME, or `never`; 0 means never.
pub fn parse_interval(text: &str) -> Result<Interval, String> {
    if text == "never" {
        return Ok(Interval::Never);
    }
    let every = parse_time(text)?;
    Ok(if every.is_zero() {
        Interval::Never
    } else {
        Interval::Every(every)
    })
}

/// Parses `60`, `90s`, `10m`, `1h`, `1h30m`, `2d`, `0.5`. A number without a unit is seconds.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    let mut largest_unit = f64::INFINITY;
    if rest.is_empty() {
        return Err(bad_time(text));
    }
    while !rest.is_empty() {
        let (number, after) = split_at_letter(rest);
        let unit_len = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let unit = unit_seconds(unit).ok_or_else(|| bad_time(text))?;
        if unit >= largest_unit {
            return Err(bad_time(text));
        }
        largest_unit = unit;
        seconds += parse_number(number).ok_or_else(|| bad_time(text))? * unit;
        rest = next;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| bad_time(text))
}

fn split_at_letter(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text.len()),
    )
}

fn parse_number(text: &str) -> Option<f64> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "" | "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        "ms" => 0.001,
        _ => return None,
    })
}

fn bad_time(text: &str) -> String {
    format!("“{text}” is not a time; write 60, 90s, 10m, 1h or 1h30m")
}

/// A duration for people: `12 ms`, `2.1 s`, `3 min 20 s`, `1 h 05 min`.
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let whole = seconds.round() as u64;
    if seconds < 0.01 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else if whole < 3600 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
    }
}

/// A size for people, in binary units.
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<f64> {
        parse_time(text).ok().map(|time| time.as_secs_f64())
    }

    #[test]
    fn times_with_and_without_units() {
        assert_eq!(seconds("60"), Some(60.0));
        assert_eq!(seconds("90s"), Some(90.0));
        assert_eq!(seconds("10m"), Some(600.0));
        assert_eq!(seconds("1h"), Some(3600.0));
        assert_eq!(seconds("1h30m"), Some(5400.0));
        assert_eq!(seconds("1h30"), Some(3630.0));
        assert_eq!(seconds("2d"), Some(172_800.0));
        assert_eq!(seconds("0.5"), Some(0.5));
        assert_eq!(seconds("250ms"), Some(0.25));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "", " ", "m", "-1", "10x", "1m1h", "1m2m", "1..2", "inf", "nan", "1e300h", "10 m", ".",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn zero_and_never_mean_never() {
        assert_eq!(parse_interval("0"), Ok(Interval::Never));
        assert_eq!(parse_interval("never"), Ok(Interval::Never));
        assert_eq!(
            parse_interval("10m"),
            Ok(Interval::Every(Duration::from_secs(600)))
        );
        assert_eq!(
            Interval::from_seconds(600.0),
            Interval::Every(Duration::from_secs(600))
        );
        assert_eq!(Interval::from_seconds(-1.0), Interval::Never);
    }

    #[test]
    fn durations_and_sizes_for_people() {
        assert_eq!(show_duration(Duration::from_micros(1234)), "1.2 ms");
        assert_eq!(show_duration(Duration::from_millis(12)), "12 ms");
        assert_eq!(show_duration(Duration::from_millis(2100)), "2.1 s");
        assert_eq!(show_duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(show_duration(Duration::from_secs(3900)), "1 h 05 min");
        assert_eq!(show_bytes(12), "12 bytes");
        assert_eq!(show_bytes(1288490188), "1.2 GiB");
        assert_eq!(show_bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(show_bytes(u64::MAX), "16.0 EiB");
    }
}
