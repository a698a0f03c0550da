//! Times on the command line.

use std::time::{Duration, SystemTime};

use drawhall::config::{Seconds, SettingValue as _};

/// A span such as `7d` or `10m`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let seconds = Seconds::read(text).ok_or("expected a time such as 10m, 12h or 7d")?;
    Ok(Duration::from_secs(seconds.0))
}

/// A moment: a date or time in UTC, or a span such as `12h`, which is as long ago. Returns ISO 8601.
pub(super) fn moment(text: &str) -> Result<String, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.to_string());
    }
    let utc = |time: jiff::civil::DateTime| {
        time.to_zoned_datetime(jiff::tz::TimeZone::UTC).map(|time| time.timestamp())
    };
    if let Some(time) = text.parse::<jiff::civil::DateTime>().ok().and_then(|time| utc(time).ok()) {
        return Ok(time.to_string());
    }
    let span = span(text).map_err(|_| "expected a time such as 2026-11-26, 2026-11-26T18:00 or 12h (ago)")?;
    SystemTime::now()
        .checked_sub(span)
        .and_then(|time| jiff::Timestamp::try_from(time).ok())
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .ok_or_else(|| "too long ago".to_owned())
}

/// The end of a span that begins now, as bans have it: UTC, `yyyy-MM-dd HH:mm:ss`.
pub(super) fn end_of(span: Duration) -> Option<String> {
    let end = jiff::Timestamp::try_from(SystemTime::now().checked_add(span)?).ok()?;
    Some(end.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// A span in words that can be typed again, in its largest whole unit.
pub(super) fn shown_span(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let fitting = units.into_iter().find(|(worth, _)| seconds >= *worth && seconds.is_multiple_of(*worth));
    fitting.map_or_else(|| format!("{seconds}s"), |(worth, unit)| format!("{}{unit}", seconds / worth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_times_or_spans_ago() {
        for (text, expected) in [
            ("2026-11-26", "2026-11-26T00:00:00Z"),
            ("2026-11-26T18:00", "2026-11-26T18:00:00Z"),
            ("2026-11-26 18:00:05", "2026-11-26T18:00:05Z"),
            ("2026-11-26T18:00:00+01:00", "2026-11-26T17:00:00Z"),
        ] {
            assert_eq!(moment(text).as_deref(), Ok(expected), "{text}");
        }
        let hour_ago: jiff::Timestamp = moment("1h").unwrap().parse().unwrap();
        let age = jiff::Timestamp::now().as_second() - hour_ago.as_second();
        assert!((3600..3700).contains(&age), "{age}");
        assert!(moment("yesterday").unwrap_err().contains("12h (ago)"));
        assert!(span("soon").unwrap_err().contains("7d"));
    }

    #[test]
    fn spans_are_shown_in_their_largest_unit() {
        for (seconds, expected) in [(604_800, "7d"), (5400, "90m"), (7200, "2h"), (61, "61s"), (0, "0s")] {
            assert_eq!(shown_span(Duration::from_secs(seconds)), expected);
        }
    }
}
