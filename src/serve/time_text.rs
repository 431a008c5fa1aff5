//! Event times as users write and read them.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::error::{Error, Result};
use crate::time::{BEGINNING, CLOSED, EventTime};

/// `2020-01-01 12:00:00.000`; the extreme times have words.
pub fn format_time(time: EventTime) -> String {
    match time {
        BEGINNING => "the beginning".to_owned(),
        CLOSED => "the end".to_owned(),
        _ => DateTime::from_timestamp_millis(time)
            .map(|t| t.format("%Y-%m-%d %H:%M:%S%.3f").to_string())
            .unwrap_or_else(|| format!("{time} ms")),
    }
}

/// Reads milliseconds since the epoch, `2020-01-01 12:00:00[.000]`, the same with `T` and an offset
/// or `Z`, or a date. Times without an offset are UTC.
pub fn parse_time(text: &str) -> Result<EventTime> {
    let text = text.trim();
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_millis());
    }
    let plain = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    if let Some(time) = plain.iter().find_map(|f| NaiveDateTime::parse_from_str(text, f).ok()) {
        return Ok(time.and_utc().timestamp_millis());
    }
    if let Some(time) =
        NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|d| d.and_hms_opt(0, 0, 0))
    {
        return Ok(time.and_utc().timestamp_millis());
    }
    Err(Error::config(format!("`{text}` is not an event time"))
        .with_hint("write `2020-01-01 12:00:00.000`, or milliseconds since 1970-01-01"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for ms in [0, 1, -1, 1_577_880_000_000, -62_135_596_800_000] {
            assert_eq!(parse_time(&format_time(ms)).unwrap(), ms);
            assert_eq!(parse_time(&ms.to_string()).unwrap(), ms);
        }
        let noon = 1_577_880_000_000;
        for text in [
            "2020-01-01 12:00:00.000",
            "2020-01-01T12:00:00",
            "2020-01-01T12:00:00Z",
            "2020-01-01T13:00:00.000+01:00",
            "2020-01-01 12:00",
        ] {
            assert_eq!(parse_time(text).unwrap(), noon, "{text}");
        }
        assert_eq!(parse_time("2020-01-01").unwrap(), noon - 12 * 3_600_000);
        assert!(parse_time("yesterday").unwrap_err().hint.is_some());
    }
}
