//! Dates, times and timestamps as text, both ways.
//!
//! The proleptic Gregorian calendar from year 0 to 9999, UTC. Timestamps of a stream share their
//! date, hour and minute for long, so that [`TimestampParser`] remembers the last of them.

use arrow::datatypes::TimeUnit;

/// What stands between date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimestampStyle {
    /// `2020-01-01 12:00:00.123`
    Sql,
    /// `2020-01-01T12:00:00.123`
    Iso8601,
    /// Either, for formats without an option for it.
    Either,
}

/// Days since 1970-01-01 of a date of the Gregorian calendar; `None` if there is no such day.
pub(super) fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    // Years that begin in March end with the leap day; 400 of them repeat.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Year, month and day of a day since 1970-01-01.
pub(super) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The number that `digits` write; `None` if one of them is no digit.
#[inline]
fn digits(text: &[u8]) -> Option<i64> {
    let mut value = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}

/// `2020-01-31` as days since 1970-01-01.
pub(super) fn parse_date(text: &[u8]) -> Option<i32> {
    let text: &[u8; 10] = text.try_into().ok()?;
    if text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&text[..4])?, digits(&text[5..7])?, digits(&text[8..])?);
    days_from_civil(year, month, day).and_then(|days| i32::try_from(days).ok())
}

/// A fraction of a second, `.` and 1 to 9 digits, in microseconds, cut; and its length.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, usize)> {
    if text.first() != Some(&b'.') {
        return Some((0, 0));
    }
    let mut micros = 0;
    let mut unit = 100_000;
    let mut length = 1;
    while let Some(digit) = text.get(length).map(|b| b.wrapping_sub(b'0')).filter(|d| *d <= 9) {
        micros += i64::from(digit) * unit;
        unit /= 10;
        length += 1;
    }
    (2..=10).contains(&length).then_some((micros, length))
}

/// `23:59:59[.123]` as milliseconds since midnight; the seconds may be absent.
pub(super) fn parse_time(text: &[u8]) -> Option<i32> {
    let (head, tail) = text.split_at_checked(5)?;
    if head[2] != b':' {
        return None;
    }
    let (hour, minute) = (digits(&head[..2])?, digits(&head[3..])?);
    let (second, micros) = match tail {
        [] => (0, 0),
        [b':', a, b, rest @ ..] => {
            let (micros, length) = fraction(rest)?;
            if length != rest.len() {
                return None;
            }
            (digits(&[*a, *b])?, micros)
        }
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    i32::try_from(((hour * 60 + minute) * 60 + second) * 1000 + micros / 1000).ok()
}

/// Parses timestamps of one column; remembers the last date, hour and minute.
pub(super) struct TimestampParser {
    unit: TimeUnit,
    zoned: bool,
    /// `2020-01-01 12:00`, as a number.
    prefix: u128,
    prefix_seconds: i64,
}

impl TimestampParser {
    /// A parser of timestamps of `unit`; with `zoned` they may end in `Z`.
    pub fn new(unit: TimeUnit, zoned: bool) -> Self {
        // No text begins with 16 zero bytes.
        TimestampParser { unit, zoned, prefix: 0, prefix_seconds: 0 }
    }

    /// The unit of the values.
    pub fn unit(&self) -> TimeUnit {
        self.unit
    }

    /// So many of the values are a second.
    pub fn per_second(&self) -> i64 {
        match self.unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        }
    }

    /// The timestamp that `text` begins with, and its length. Digits beyond the unit are cut.
    #[inline]
    pub fn parse_prefix(&mut self, text: &[u8], style: TimestampStyle) -> Option<(i64, usize)> {
        let head = text.first_chunk::<16>()?;
        let prefix = u128::from_le_bytes(*head);
        if prefix != self.prefix {
            self.prefix_seconds = minute_start(head, style)?;
            self.prefix = prefix;
        }
        let (second, mut end) = match text.get(16..19) {
            Some(&[b':', a, b]) if a.is_ascii_digit() && b.is_ascii_digit() => {
                (i64::from(a - b'0') * 10 + i64::from(b - b'0'), 19)
            }
            _ if style == TimestampStyle::Sql => return None,
            _ => (0, 16),
        };
        if second > 59 {
            return None;
        }
        let seconds = self.prefix_seconds + second;
        let micros = match text.get(19..24) {
            // Three digits and no fourth: the usual case.
            Some(&[b'.', a, b, c, d])
                if a.is_ascii_digit()
                    && b.is_ascii_digit()
                    && c.is_ascii_digit()
                    && !d.is_ascii_digit() =>
            {
                end = 23;
                let digit = |b: u8| i64::from(b - b'0');
                (digit(a) * 100 + digit(b) * 10 + digit(c)) * 1000
            }
            _ => {
                let (micros, length) = fraction(text.get(end..)?)?;
                end += length;
                micros
            }
        };
        if self.zoned && text.get(end) == Some(&b'Z') {
            end += 1;
        }
        let value = match self.unit {
            TimeUnit::Second => seconds,
            TimeUnit::Millisecond => seconds * 1000 + micros / 1000,
            TimeUnit::Microsecond => seconds * 1_000_000 + micros,
            TimeUnit::Nanosecond => return None,
        };
        Some((value, end))
    }

    /// The timestamp that `text` is.
    pub fn parse(&mut self, text: &[u8], style: TimestampStyle) -> Option<i64> {
        self.parse_prefix(text, style).filter(|(_, end)| *end == text.len()).map(|(value, _)| value)
    }
}

/// `2020-01-01 12:00` as seconds since 1970.
fn minute_start(text: &[u8; 16], style: TimestampStyle) -> Option<i64> {
    let separator = match style {
        TimestampStyle::Sql => text[10] == b' ',
        TimestampStyle::Iso8601 => text[10] == b'T',
        TimestampStyle::Either => text[10] == b' ' || text[10] == b'T',
    };
    let days = parse_date(&text[..10])?;
    let (hour, minute) = (digits(&text[11..13])?, digits(&text[14..])?);
    if !separator || text[13] != b':' || hour > 23 || minute > 59 {
        return None;
    }
    Some((i64::from(days) * 24 + hour) * 3600 + minute * 60)
}

/// Appends `value` with leading zeros.
fn push_padded(out: &mut Vec<u8>, value: i64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value);
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(text.len())));
    out.extend_from_slice(text.as_bytes());
}

/// Appends `2020-01-31`.
pub(super) fn write_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil_from_days(days);
    if year < 0 {
        out.push(b'-');
    }
    push_padded(out, year.abs(), 4);
    out.push(b'-');
    push_padded(out, month, 2);
    out.push(b'-');
    push_padded(out, day, 2);
}

/// Appends `23:59:59` and the fraction in `fraction_digits` digits, if any.
fn write_clock(out: &mut Vec<u8>, seconds: i64, fraction: i64, fraction_digits: usize) {
    push_padded(out, seconds / 3600, 2);
    out.push(b':');
    push_padded(out, seconds / 60 % 60, 2);
    out.push(b':');
    push_padded(out, seconds % 60, 2);
    if fraction_digits > 0 {
        out.push(b'.');
        push_padded(out, fraction, fraction_digits);
    }
}

/// Appends a time of day, given in milliseconds, as `23:59:59` or `23:59:59.123`.
pub(super) fn write_time(out: &mut Vec<u8>, millis: i64) {
    let fraction = millis.rem_euclid(1000);
    write_clock(out, millis.div_euclid(1000), fraction, if fraction == 0 { 0 } else { 3 });
}

/// Appends a timestamp with all digits of its unit.
pub(super) fn write_timestamp(out: &mut Vec<u8>, value: i64, unit: TimeUnit, separator: u8) {
    let (per_second, digits) = match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    };
    let seconds = value.div_euclid(per_second);
    write_date(out, seconds.div_euclid(86_400));
    out.push(separator);
    write_clock(out, seconds.rem_euclid(86_400), value.rem_euclid(per_second), digits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in
            ["2021-02-29", "2021-13-01", "2021-00-01", "2021-04-31", "1900-02-29", "2021-1-1"]
        {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_date(b"2020-02-29"), Some(18_321));
        assert_eq!(parse_date(b"1969-12-31"), Some(-1));
    }

    #[test]
    fn timestamps_follow_their_style() {
        let mut parser = TimestampParser::new(TimeUnit::Millisecond, false);
        let mut parse = |text: &str, style| parser.parse(text.as_bytes(), style);
        let (sql, iso) = (TimestampStyle::Sql, TimestampStyle::Iso8601);
        assert_eq!(parse("1970-01-01 00:00:01.5", sql), Some(1500));
        assert_eq!(parse("1970-01-01 00:00:01", sql), Some(1000));
        assert_eq!(parse("1970-01-01 00:00:01.123456789", sql), Some(1123));
        assert_eq!(parse("1969-12-31 23:59:59.999", sql), Some(-1));
        assert_eq!(parse("1970-01-01T00:01", iso), Some(60_000));
        for bad in [
            "1970-01-01T00:00:01",
            "1970-01-01 00:00",
            "1970-01-01 00:00:60",
            "1970-01-01 24:00:00",
            "1970-01-01 00:00:01.",
            "1970-01-01 00:00:01Z",
            "1970-01-01 00:00:01.1234567890",
            "1970-01-01",
            "",
        ] {
            assert_eq!(parse(bad, sql), None, "{bad}");
        }
        let mut zoned = TimestampParser::new(TimeUnit::Second, true);
        assert_eq!(zoned.parse(b"1970-01-01 00:00:01.5Z", sql), Some(1));
    }

    #[test]
    fn times_of_day() {
        assert_eq!(parse_time(b"23:59:59.999"), Some(86_399_999));
        assert_eq!(parse_time(b"00:01"), Some(60_000));
        assert_eq!(parse_time(b"24:00:00"), None);
        assert_eq!(parse_time(b"00:00:00.x"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in -62_167_219_200_000_i64..253_402_300_800_000) {
            let mut text = Vec::new();
            write_timestamp(&mut text, value, TimeUnit::Millisecond, b' ');
            let mut parser = TimestampParser::new(TimeUnit::Millisecond, false);
            prop_assert_eq!(parser.parse(&text, TimestampStyle::Sql), Some(value));
            let days = value.div_euclid(86_400_000);
            let (y, m, d) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(y, m, d), Some(days));
        }
    }
}
