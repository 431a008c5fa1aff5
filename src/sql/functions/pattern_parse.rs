//! Reading moments from text, with a pattern or in Flink's default form.
//!
//! Text that does not fit gives no moment, never an error: the callers return NULL.

use super::calendar::{DAY_SECONDS, Date, SECOND_NANOS, days_of, is_leap, month_length};
use super::pattern::{MONTHS, Number, Pattern, Piece, WEEKDAYS, Word, first};

/// A moment as read: seconds since the epoch and nanoseconds of the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Seconds since the epoch.
    pub(super) seconds: i64,
    /// 0 to 999,999,999.
    pub(super) nanos: i64,
}

impl Parsed {
    /// Milliseconds since the epoch; finer digits are cut off.
    pub(super) fn millis(self) -> i64 {
        self.seconds * 1_000 + self.nanos / 1_000_000
    }

    /// Days since the epoch.
    pub(super) fn days(self) -> i64 {
        self.seconds.div_euclid(DAY_SECONDS)
    }
}

/// How closely text must follow the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Java's `DateTimeFormatter`: numbers of the pattern's width, nothing left over.
    Exact,
    /// Java's `SimpleDateFormat`: numbers of any width, a rest is ignored.
    Lenient,
}

/// Reads `yyyy-MM-dd[ HH:mm:ss[.fraction]]`, numbers of one digit allowed.
pub(super) fn parse_default(text: &str) -> Option<Parsed> {
    let mut rest = text;
    let year_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if !(4..=9).contains(&year_digits) {
        return None;
    }
    let mut fields = Fields { year: Some(take_digits(&mut rest, 9)?), ..Fields::default() };
    rest = rest.strip_prefix('-')?;
    fields.month = Some(take_digits(&mut rest, 2)?);
    rest = rest.strip_prefix('-')?;
    fields.day = Some(take_digits(&mut rest, 2)?);
    if let Some(time) = rest.strip_prefix(' ') {
        rest = time;
        fields.hour = Some(take_digits(&mut rest, 2)?);
        rest = rest.strip_prefix(':')?;
        fields.minute = Some(take_digits(&mut rest, 2)?);
        rest = rest.strip_prefix(':')?;
        fields.second = Some(take_digits(&mut rest, 2)?);
        if let Some(fraction) = rest.strip_prefix('.') {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count().min(9);
            let (digits, after) = fraction.split_at_checked(digits)?;
            fields.nanos = Some(fraction_nanos(digits)?);
            rest = after;
        }
    }
    if rest.is_empty() { fields.resolve() } else { None }
}

/// Reads text by a pattern.
pub(super) fn parse(pattern: &Pattern, text: &str, mode: Mode) -> Option<Parsed> {
    let mut fields = Fields::default();
    let rest = parse_pieces(&pattern.pieces, text, mode, &mut fields)?;
    if rest.is_empty() || mode == Mode::Lenient { fields.resolve() } else { None }
}

fn parse_pieces<'t>(
    pieces: &[Piece],
    mut text: &'t str,
    mode: Mode,
    fields: &mut Fields,
) -> Option<&'t str> {
    let mut at = 0;
    while let Some(piece) = pieces.get(at) {
        if *piece == Piece::OptionalStart {
            let end = matching_end(pieces, at)?;
            // An optional part that does not fit is skipped and leaves no trace.
            let mut trial = fields.clone();
            let inner = pieces.get(at + 1..end)?;
            if let Some(rest) = parse_pieces(inner, text, mode, &mut trial) {
                *fields = trial;
                text = rest;
            }
            at = end + 1;
            continue;
        }
        text = parse_piece(pieces, at, text, mode, fields)?;
        at += 1;
    }
    Some(text)
}

fn matching_end(pieces: &[Piece], start: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, piece) in pieces.iter().enumerate().skip(start) {
        match piece {
            Piece::OptionalStart => depth += 1,
            Piece::OptionalEnd => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Width of a piece that is a number of fixed width.
fn fixed_width(piece: &Piece) -> Option<usize> {
    match piece {
        Piece::Number { what: Number::Year, .. } => None,
        Piece::Number { width, .. } if *width >= 2 => Some(*width),
        Piece::YearOfCentury => Some(2),
        Piece::Fraction(digits) => Some(*digits),
        _ => None,
    }
}

fn parse_piece<'t>(
    pieces: &[Piece],
    at: usize,
    mut text: &'t str,
    mode: Mode,
    fields: &mut Fields,
) -> Option<&'t str> {
    let piece = pieces.get(at)?;
    let following = pieces.get(at + 1..).unwrap_or_default();
    // Digits that fixed-width numbers right behind this one need for themselves.
    let reserved: usize = following.iter().map_while(fixed_width).sum();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match piece {
        Piece::Literal(literal) => return text.strip_prefix(literal.as_str()),
        Piece::Word(word) => return parse_word(*word, text, fields),
        Piece::Fraction(width) => {
            let (part, rest) = text.split_at_checked((*width).min(digits))?;
            if part.len() < *width {
                return None;
            }
            fields.nanos = Some(fraction_nanos(part)?);
            return Some(rest);
        }
        Piece::YearOfCentury => {
            let (part, rest) = text.split_at_checked(2.min(digits))?;
            if part.len() < 2 {
                return None;
            }
            fields.year = Some(2_000 + part.parse::<i64>().ok()?);
            return Some(rest);
        }
        Piece::Number { what, width } => {
            let (least, most) = match (mode, fixed_width(piece)) {
                (Mode::Exact, Some(width)) => (width, width),
                (Mode::Lenient, Some(width)) if reserved > 0 => (width, width),
                (Mode::Exact, None) if *what == Number::Year && *width >= 4 => (*width, 18),
                _ => (1, 18),
            };
            let available = digits.saturating_sub(reserved).min(most);
            if available < least {
                return None;
            }
            fields.set(*what, take_digits(&mut text, available)?);
        }
        Piece::OptionalStart | Piece::OptionalEnd => {}
    }
    Some(text)
}

fn parse_word<'t>(word: Word, text: &'t str, fields: &mut Fields) -> Option<&'t str> {
    let named = |names: &[&'static str], length: usize| {
        names.iter().zip(1..).find_map(|(name, number)| {
            text.strip_prefix(first(name, length)).map(|rest| (number, rest))
        })
    };
    match word {
        Word::MonthShort | Word::MonthFull => {
            let length = if word == Word::MonthShort { 3 } else { usize::MAX };
            let (month, rest) = named(&MONTHS, length)?;
            fields.month = Some(month);
            Some(rest)
        }
        Word::WeekdayShort => named(&WEEKDAYS, 3).map(|(_, rest)| rest),
        Word::WeekdayFull => named(&WEEKDAYS, usize::MAX).map(|(_, rest)| rest),
        Word::HalfDay => {
            let (half, rest) = named(&["AM", "PM"], 2)?;
            fields.half_day = Some(half - 1);
            Some(rest)
        }
        Word::Era => {
            let (era, rest) = named(&["BC", "AD"], 2)?;
            fields.before_christ = era == 1;
            Some(rest)
        }
        // A single letter or a quarter does not say which month or day is meant.
        Word::MonthNarrow | Word::WeekdayNarrow | Word::QuarterShort | Word::QuarterFull => None,
    }
}

/// Takes up to `most` leading digits as a number; at least one must be there.
fn take_digits(text: &mut &str, most: usize) -> Option<i64> {
    let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(digits)?;
    let number = number.parse().ok()?;
    *text = rest;
    Some(number)
}

/// The nanoseconds of a fraction's digits, at most nine.
fn fraction_nanos(digits: &str) -> Option<i64> {
    if digits.is_empty() {
        return Some(0);
    }
    let value: i64 = digits.parse().ok()?;
    Some((digits.len()..9).fold(value, |value, _| value * 10))
}

/// What has been read so far.
#[derive(Clone, Debug, Default)]
struct Fields {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    before_christ: bool,
    hour: Option<i64>,
    half_day_hour: Option<i64>,
    half_day: Option<i64>,
    minute: Option<i64>,
    second: Option<i64>,
    nanos: Option<i64>,
    nanos_of_day: Option<i64>,
}

impl Fields {
    fn set(&mut self, what: Number, value: i64) {
        match what {
            Number::Year => self.year = Some(value),
            Number::Month => self.month = Some(value),
            Number::Day => self.day = Some(value),
            Number::DayOfYear => self.day_of_year = Some(value),
            Number::Weekday | Number::Quarter => {}
            Number::Hour => self.hour = Some(value),
            Number::HourFromOne => self.hour = Some(if value == 24 { 0 } else { value }),
            Number::HalfDayHour => self.half_day_hour = Some(value),
            Number::HalfDayHourFromOne => {
                self.half_day_hour = Some(if value == 12 { 0 } else { value });
            }
            Number::Minute => self.minute = Some(value),
            Number::Second => self.second = Some(value),
            Number::Millis => self.nanos_of_day = value.checked_mul(1_000_000),
            Number::NanosOfSecond => self.nanos = Some(value),
            Number::NanosOfDay => self.nanos_of_day = Some(value),
        }
    }

    /// The moment; what was not read is as in 1970-01-01 00:00:00.
    fn resolve(&self) -> Option<Parsed> {
        let year = self.year.unwrap_or(1970);
        let year = if self.before_christ { 1 - year } else { year };
        // Years that milli- and microseconds can hold; no arithmetic below can overflow.
        in_range(year, -290_000, 290_000)?;
        let days = match (self.day_of_year, self.month, self.day) {
            (Some(day), None, None) => {
                in_range(day, 1, 365 + i64::from(is_leap(year)))?;
                days_of(Date { year, month: 1, day: 1 }) + day - 1
            }
            (_, month, day) => {
                let month = in_range(month.unwrap_or(1), 1, 12)?;
                let day = in_range(day.unwrap_or(1), 1, 31)?;
                // Java resolves the 31st of a shorter month to its last day.
                days_of(Date { year, month, day: day.min(month_length(year, month)) })
            }
        };
        if let Some(nanos) = self.nanos_of_day {
            in_range(nanos, 0, DAY_SECONDS * SECOND_NANOS - 1)?;
            let seconds = days * DAY_SECONDS + nanos / SECOND_NANOS;
            return Some(Parsed { seconds, nanos: nanos % SECOND_NANOS });
        }
        let hour = match (self.hour, self.half_day_hour, self.half_day) {
            (Some(hour), _, _) => in_range(hour, 0, 23)?,
            (None, Some(hour), Some(half)) => in_range(hour, 0, 11)? + 12 * half,
            _ => 0,
        };
        let minute = in_range(self.minute.unwrap_or(0), 0, 59)?;
        let second = in_range(self.second.unwrap_or(0), 0, 59)?;
        let nanos = in_range(self.nanos.unwrap_or(0), 0, SECOND_NANOS - 1)?;
        let seconds = days * DAY_SECONDS + hour * 3_600 + minute * 60 + second;
        Some(Parsed { seconds, nanos })
    }
}

fn in_range(value: i64, least: i64, most: i64) -> Option<i64> {
    (least..=most).contains(&value).then_some(value)
}
