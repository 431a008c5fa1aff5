//! Java's date-time patterns (`yyyy-MM-dd HH:mm:ss`), compiled once; formatting with them.
//!
//! Letters that depend on a locale's week or a time zone are refused: a job's answer must not
//! depend on where it runs. Reading text with a pattern is [`super::pattern_parse`].

use datafusion::common::{DataFusionError, Result};

use super::cache::Compiled;
use super::calendar::{DAY_SECONDS, SECOND_NANOS, date_of, day_of_year, iso_weekday};

/// A number in a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Year,
    Month,
    Day,
    DayOfYear,
    /// Sunday is 1.
    Weekday,
    Quarter,
    /// 0 to 23.
    Hour,
    /// 1 to 24.
    HourFromOne,
    /// 0 to 11.
    HalfDayHour,
    /// 1 to 12.
    HalfDayHourFromOne,
    Minute,
    Second,
    /// Of the day.
    Millis,
    /// Of the second.
    NanosOfSecond,
    /// Of the day.
    NanosOfDay,
}

/// A word in a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    MonthShort,
    MonthFull,
    MonthNarrow,
    WeekdayShort,
    WeekdayFull,
    WeekdayNarrow,
    QuarterShort,
    QuarterFull,
    HalfDay,
    Era,
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text as it is.
    Literal(String),
    /// A number padded with zeros to `width`; width 1 is not padded.
    Number { what: Number, width: usize },
    /// The last two digits of the year, from 2000 on when read.
    YearOfCentury,
    /// So many digits of the second's fraction.
    Fraction(usize),
    /// A name.
    Word(Word),
    /// `[`: what follows may be missing when read.
    OptionalStart,
    /// `]`
    OptionalEnd,
}

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Its parts in order.
    pub(super) pieces: Vec<Piece>,
    /// Moments of the same such span (from the epoch on) have the same text.
    pub(super) span_nanos: i64,
}

thread_local! {
    static PATTERNS: Compiled<Pattern> = const { Compiled::new() };
}

/// The compiled form of a pattern.
pub(super) fn compiled(text: &str) -> Result<std::rc::Rc<Pattern>> {
    PATTERNS.with(|patterns| patterns.get(text, Pattern::compile))
}

/// Full names; the short ones are their first three letters.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// Full names from Monday; the short ones are their first three letters.
pub(super) const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const QUARTERS: [&str; 4] = ["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"];

const DAY_NANOS: i64 = DAY_SECONDS * SECOND_NANOS;

fn refused(pattern: &str, why: impl std::fmt::Display) -> DataFusionError {
    DataFusionError::Plan(format!("the date pattern '{pattern}' cannot be used: {why}"))
}

impl Pattern {
    /// Compiles a pattern of Java's `DateTimeFormatter`.
    pub(super) fn compile(text: &str) -> Result<Self> {
        let mut pattern = Pattern { pieces: Vec::new(), span_nanos: DAY_NANOS };
        let chars: Vec<char> = text.chars().collect();
        let (mut at, mut depth) = (0, 0usize);
        while let Some(&letter) = chars.get(at) {
            let same = chars.iter().skip(at).take_while(|c| **c == letter).count();
            match letter {
                'a'..='z' | 'A'..='Z' => {
                    let (piece, span) = letter_piece(letter, same).map_err(|e| refused(text, e))?;
                    pattern.pieces.push(piece);
                    pattern.span_nanos = pattern.span_nanos.min(span);
                    at += same;
                }
                '\'' => {
                    at = pattern
                        .quoted(&chars, at)
                        .ok_or_else(|| refused(text, "a quote is not closed"))?
                }
                '[' => {
                    depth += 1;
                    pattern.pieces.push(Piece::OptionalStart);
                    at += 1;
                }
                ']' if depth == 0 => return Err(refused(text, "']' without '['")),
                ']' => {
                    depth -= 1;
                    pattern.pieces.push(Piece::OptionalEnd);
                    at += 1;
                }
                '{' | '}' | '#' => {
                    return Err(refused(text, format!("'{letter}' is reserved; quote it")));
                }
                other => {
                    pattern.literal(other);
                    at += 1;
                }
            }
        }
        // An optional part that is left open ends with the pattern.
        pattern.pieces.extend(std::iter::repeat_n(Piece::OptionalEnd, depth));
        Ok(pattern)
    }

    fn literal(&mut self, c: char) {
        match self.pieces.last_mut() {
            Some(Piece::Literal(text)) => text.push(c),
            _ => self.pieces.push(Piece::Literal(c.to_string())),
        }
    }

    /// Takes the quoted text that opens at `open`; the place after it, if it is closed.
    fn quoted(&mut self, chars: &[char], open: usize) -> Option<usize> {
        let mut at = open + 1;
        if chars.get(at) == Some(&'\'') {
            self.literal('\'');
            return Some(at + 1);
        }
        loop {
            match (chars.get(at)?, chars.get(at + 1)) {
                ('\'', Some('\'')) => {
                    self.literal('\'');
                    at += 2;
                }
                ('\'', _) => return Some(at + 1),
                (c, _) => {
                    self.literal(*c);
                    at += 1;
                }
            }
        }
    }

    /// Appends the text of the moment `ticks` (of which a second has `ticks_second`).
    pub(super) fn format(&self, ticks: i64, ticks_second: i64, out: &mut String) {
        let seconds = ticks.div_euclid(ticks_second);
        let moment = Moment {
            days: seconds.div_euclid(DAY_SECONDS),
            second: seconds.rem_euclid(DAY_SECONDS),
            nanos: ticks.rem_euclid(ticks_second) * (SECOND_NANOS / ticks_second),
        };
        for piece in &self.pieces {
            moment.format(piece, out);
        }
    }
}

/// What a letter, repeated `count` times, stands for, and the span that shares its text.
fn letter_piece(letter: char, count: usize) -> Result<(Piece, i64), String> {
    use Number::{
        Day, DayOfYear, HalfDayHour, HalfDayHourFromOne, Hour, HourFromOne, Millis, Minute, Month,
        NanosOfDay, NanosOfSecond, Quarter, Second, Weekday, Year,
    };
    use Word::{
        Era, HalfDay, MonthFull, MonthNarrow, MonthShort, QuarterFull, QuarterShort, WeekdayFull,
        WeekdayNarrow, WeekdayShort,
    };
    const HOUR: i64 = 3_600 * SECOND_NANOS;
    const MINUTE: i64 = 60 * SECOND_NANOS;
    let number = |what, most: usize, span| {
        if count <= most {
            Ok((Piece::Number { what, width: count }, span))
        } else {
            Err(format!("'{letter}' more than {most} times"))
        }
    };
    let word = |word| Ok((Piece::Word(word), DAY_NANOS));
    match (letter, count) {
        ('y' | 'u', 2) => Ok((Piece::YearOfCentury, DAY_NANOS)),
        ('y' | 'u', _) => number(Year, 19, DAY_NANOS),
        ('M' | 'L', 3) => word(MonthShort),
        ('M' | 'L', 4) => word(MonthFull),
        ('M' | 'L', 5) => word(MonthNarrow),
        ('M' | 'L', _) => number(Month, 2, DAY_NANOS),
        ('d', _) => number(Day, 2, DAY_NANOS),
        ('D', _) => number(DayOfYear, 3, DAY_NANOS),
        ('E', 1..=3) | ('e' | 'c', 3) => word(WeekdayShort),
        ('E' | 'e' | 'c', 4) => word(WeekdayFull),
        ('E' | 'e' | 'c', 5) => word(WeekdayNarrow),
        ('e' | 'c', _) => number(Weekday, 2, DAY_NANOS),
        ('Q' | 'q', 3) => word(QuarterShort),
        ('Q' | 'q', 4) => word(QuarterFull),
        ('Q' | 'q', _) => number(Quarter, 2, DAY_NANOS),
        ('G', 1..=3) => word(Era),
        ('a', 1) => Ok((Piece::Word(HalfDay), HOUR)),
        ('H', _) => number(Hour, 2, HOUR),
        ('k', _) => number(HourFromOne, 2, HOUR),
        ('K', _) => number(HalfDayHour, 2, HOUR),
        ('h', _) => number(HalfDayHourFromOne, 2, HOUR),
        ('m', _) => number(Minute, 2, MINUTE),
        ('s', _) => number(Second, 2, SECOND_NANOS),
        ('S', 1..=9) => {
            let span = (count..9).fold(1, |span, _| span * 10);
            Ok((Piece::Fraction(count), span))
        }
        ('A', _) => number(Millis, 19, 1_000_000),
        ('n', _) => number(NanosOfSecond, 19, 1),
        ('N', _) => number(NanosOfDay, 19, 1),
        ('Y' | 'w' | 'W', _) => Err(format!(
            "'{letter}' counts weeks by locale; use 'yyyy' for the year, WEEK(ts) for the ISO week"
        )),
        ('V' | 'z' | 'O' | 'X' | 'x' | 'Z', _) => {
            Err(format!("'{letter}' is a time zone, which a timestamp does not have"))
        }
        _ => Err(format!("unknown letter '{letter}' ({count} times); quote text, as in 'T'")),
    }
}

/// A moment in parts.
struct Moment {
    days: i64,
    second: i64,
    nanos: i64,
}

impl Moment {
    fn format(&self, piece: &Piece, out: &mut String) {
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Number { what: Number::Year, width } => {
                let year = date_of(self.days).year;
                // Java: years before 1 count backwards from 1 BC; five digits carry a sign.
                let year = if year > 0 { year } else { 1 - year };
                if *width >= 4 && year >= 10_i64.saturating_pow(*width as u32) {
                    out.push('+');
                }
                push_padded(out, year, *width);
            }
            Piece::Number { what, width } => push_padded(out, self.number(*what), *width),
            Piece::YearOfCentury => push_padded(out, date_of(self.days).year.rem_euclid(100), 2),
            Piece::Fraction(digits) => {
                let dropped = (*digits..9).fold(1, |by, _| by * 10);
                push_padded(out, self.nanos / dropped, *digits);
            }
            Piece::Word(word) => out.push_str(self.word(*word)),
            Piece::OptionalStart | Piece::OptionalEnd => {}
        }
    }

    fn number(&self, what: Number) -> i64 {
        let hour = self.second / 3_600;
        match what {
            Number::Year => date_of(self.days).year,
            Number::Month => date_of(self.days).month,
            Number::Day => date_of(self.days).day,
            Number::DayOfYear => day_of_year(self.days),
            Number::Weekday => iso_weekday(self.days) % 7 + 1,
            Number::Quarter => (date_of(self.days).month + 2) / 3,
            Number::Hour => hour,
            Number::HourFromOne => (hour + 23) % 24 + 1,
            Number::HalfDayHour => hour % 12,
            Number::HalfDayHourFromOne => (hour + 11) % 12 + 1,
            Number::Minute => self.second / 60 % 60,
            Number::Second => self.second % 60,
            Number::Millis => self.second * 1_000 + self.nanos / 1_000_000,
            Number::NanosOfSecond => self.nanos,
            Number::NanosOfDay => self.second * SECOND_NANOS + self.nanos,
        }
    }

    fn word(&self, word: Word) -> &'static str {
        let month = name(&MONTHS, date_of(self.days).month);
        let weekday = name(&WEEKDAYS, iso_weekday(self.days));
        let quarter = name(&QUARTERS, self.number(Number::Quarter));
        match word {
            Word::MonthShort => first(month, 3),
            Word::MonthFull => month,
            Word::MonthNarrow => first(month, 1),
            Word::WeekdayShort => first(weekday, 3),
            Word::WeekdayFull => weekday,
            Word::WeekdayNarrow => first(weekday, 1),
            Word::QuarterShort => name(&["Q1", "Q2", "Q3", "Q4"], self.number(Number::Quarter)),
            Word::QuarterFull => quarter,
            Word::HalfDay if self.second < DAY_SECONDS / 2 => "AM",
            Word::HalfDay => "PM",
            Word::Era if date_of(self.days).year > 0 => "AD",
            Word::Era => "BC",
        }
    }
}

/// Name number `i`, from 1.
fn name(names: &[&'static str], i: i64) -> &'static str {
    usize::try_from(i - 1).ok().and_then(|i| names.get(i)).copied().unwrap_or_default()
}

/// The first `n` bytes of an ASCII name.
pub(super) fn first(name: &'static str, n: usize) -> &'static str {
    name.get(..n).unwrap_or(name)
}

/// Appends a number of at least `width` digits.
fn push_padded(out: &mut String, value: i64, width: usize) {
    let mut digits = itoa::Buffer::new();
    let text = digits.format(value);
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    out.push_str(sign);
    out.extend(std::iter::repeat_n('0', width.saturating_sub(text.len())));
    out.push_str(text);
}
