//! Spans of time in text: `INTERVAL '1:30' MINUTE TO SECOND`, `'5 s'`, `'100 ms'`.
//!
//! Pure text to milliseconds; called by window functions, settings and the rewriting of intervals.

use datafusion::sql::sqlparser::ast::{self, DateTimeField, Expr, UnaryOperator, Value};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Milliseconds of one unit; `None` for months and years, which have no fixed length.
pub fn unit_ms(unit: &str) -> Option<i64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => SECOND,
        "m" | "min" | "mins" | "minute" | "minutes" => MINUTE,
        "h" | "hour" | "hours" => HOUR,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        _ => return None,
    })
}

/// Milliseconds of a number with an optional fraction, times a unit.
fn scaled(number: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole = whole.parse::<i64>().ok()?.checked_mul(unit)?;
    let denominator = 10_i128.pow(fraction.len() as u32);
    let numerator = if fraction.is_empty() { 0 } else { fraction.parse::<i128>().ok()? };
    let part = numerator * i128::from(unit) / denominator;
    whole.checked_add(i64::try_from(part).ok()?)
}

/// A duration of a setting: `100 ms`, `5 s`, `1 min`, `2h`, `1 d 2 h`, `INTERVAL '5' MINUTE`, or a
/// plain number of milliseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.get(..8).is_some_and(|word| word.eq_ignore_ascii_case("interval")) {
        let parts: Vec<&str> = text.get(8..)?.split('\'').map(str::trim).collect();
        let [before, value, unit] = parts.as_slice() else { return None };
        return if before.is_empty() { scaled(value, unit_ms(unit)?) } else { None };
    }
    let mut total: i64 = 0;
    let mut rest = text;
    let mut any = false;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let tail = tail.trim_start();
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit = match unit {
            "" if !any && tail.is_empty() => 1,
            unit => unit_ms(unit)?,
        };
        total = total.checked_add(scaled(number, unit)?)?;
        any = true;
        rest = tail.trim_start();
    }
    any.then_some(total)
}

fn field_ms(field: &DateTimeField) -> Option<i64> {
    unit_ms(&field.to_string())
}

/// Milliseconds of a literal interval; `None` if it is not one of fixed length.
pub fn interval_ms(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Nested(inner) => interval_ms(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => interval_ms(expr)?.checked_neg(),
        Expr::Interval(interval) => interval_literal_ms(interval),
        _ => None,
    }
}

/// Months of `'1-02' YEAR TO MONTH`; `None` for any other interval.
pub fn interval_months(interval: &ast::Interval) -> Option<i64> {
    let (Some(DateTimeField::Year), Some(DateTimeField::Month)) =
        (&interval.leading_field, &interval.last_field)
    else {
        return None;
    };
    let (text, negative) = magnitude(interval)?;
    let (years, months) = text.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u32>().ok().map(i64::from);
    let total = number(years)? * 12 + number(months).filter(|months| *months < 12)?;
    Some(if negative { -total } else { total })
}

/// The text of an interval without its sign, and whether it is negative.
fn magnitude(interval: &ast::Interval) -> Option<(String, bool)> {
    let (text, negative) = match interval.value.as_ref() {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => (text.trim().to_string(), false),
            Value::Number(text, _) => (text.clone(), false),
            _ => return None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match expr.as_ref() {
            Expr::Value(value) => (value.value.clone().into_string()?, true),
            _ => return None,
        },
        _ => return None,
    };
    Some(match text.strip_prefix('-') {
        Some(rest) => (rest.trim().to_string(), !negative),
        None => (text, negative),
    })
}

fn interval_literal_ms(interval: &ast::Interval) -> Option<i64> {
    let (text, negative) = magnitude(interval)?;
    let text = text.as_str();
    let magnitude = match (&interval.leading_field, &interval.last_field) {
        (None, _) => parse_duration(text)?,
        (Some(unit), None) => scaled(text, field_ms(unit)?)?,
        (Some(first), Some(last)) => composite_ms(text, field_ms(first)?, field_ms(last)?)?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// `'1 02:03:04.5' DAY TO SECOND` and its parts.
fn composite_ms(text: &str, first: i64, last: i64) -> Option<i64> {
    let units = [DAY, HOUR, MINUTE, SECOND];
    let from = units.iter().position(|unit| *unit == first)?;
    let to = units.iter().position(|unit| *unit == last)?;
    let wanted = units.get(from..=to)?;
    let parts: Vec<&str> = text.split([' ', ':']).filter(|part| !part.is_empty()).collect();
    if parts.len() != wanted.len() {
        return None;
    }
    let mut total: i64 = 0;
    for (part, unit) in parts.into_iter().zip(wanted) {
        total = total.checked_add(scaled(part, *unit)?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("100 ms", Some(100)),
            ("5 s", Some(5_000)),
            ("1 min", Some(60_000)),
            ("2h", Some(7_200_000)),
            ("1 d 2 h", Some(93_600_000)),
            ("1500", Some(1_500)),
            ("0", Some(0)),
            ("1.5 s", Some(1_500)),
            ("INTERVAL '5' MINUTE", Some(300_000)),
            ("", None),
            ("five s", None),
            ("5 x", None),
            ("-1 s", None),
            ("99999999999999999999 d", None),
            ("interval", None),
        ] {
            assert_eq!(parse_duration(text), ms, "{text}");
        }
    }

    #[test]
    fn composites() {
        assert_eq!(composite_ms("1:30", MINUTE, SECOND), Some(90_000));
        assert_eq!(composite_ms("1 02:03:04.5", DAY, SECOND), Some(93_784_500));
        assert_eq!(composite_ms("1:30", DAY, SECOND), None);
    }
}
