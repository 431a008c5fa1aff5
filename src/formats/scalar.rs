//! Text to the values of scalar types: numbers, booleans, base64; the same rules for all formats.
//!
//! Nothing is rounded or cut in silence where the type is exact: a number that does not fit is an
//! error of its row. Decimals are rounded half up to their scale, as in Flink.

use arrow::datatypes::{DataType, IntervalUnit};

use super::column::{BLOCK_SIDE, Column, Data, type_name};
use super::temporal::{TimestampStyle, parse_date, parse_time};

/// Appends to `column` the value that `text` writes. Strings and nested types are the caller's.
pub(super) fn append_text(
    column: &mut Column,
    text: &[u8],
    style: TimestampStyle,
    side: &mut Vec<u8>,
) -> Result<(), String> {
    let done = match &mut column.data {
        Data::Boolean(v) => boolean(text).map(|x| v.push(x)),
        Data::Int8(v) => integer(text).and_then(|x| x.try_into().ok()).map(|x| v.push(x)),
        Data::Int16(v) => integer(text).and_then(|x| x.try_into().ok()).map(|x| v.push(x)),
        Data::Int32(v) => integer(text).and_then(|x| x.try_into().ok()).map(|x| v.push(x)),
        Data::Int64(v) => integer(text).map(|x| v.push(x)),
        Data::Interval(v) => {
            integer(text).filter(|x| interval_fits(column.field.data_type(), *x)).map(|x| v.push(x))
        }
        Data::Float32(v) => float32(text).map(|x| v.push(x)),
        Data::Float64(v) => float64(text).map(|x| v.push(x)),
        Data::Decimal { values, precision, scale } => {
            decimal(text, *precision, *scale).map(|x| values.push(x))
        }
        Data::Date(v) => parse_date(text).map(|x| v.push(x)),
        Data::Time(v) => parse_time(text).map(|x| v.push(x)),
        Data::Timestamp { values, parser } => parser.parse(text, style).map(|x| values.push(x)),
        Data::Bytes(views) => {
            let start = side.len();
            if base64_decode(text, side) {
                views.push(&side[start..], BLOCK_SIDE, start);
                Some(())
            } else {
                side.truncate(start);
                None
            }
        }
        Data::Text(_) | Data::List { .. } | Data::Map { .. } | Data::Row { .. } => None,
    };
    done.ok_or_else(|| misfit(column, text, style))
}

/// Whether an interval of `value` months or milliseconds can be held.
pub(super) fn interval_fits(data_type: &DataType, value: i64) -> bool {
    match data_type {
        DataType::Interval(IntervalUnit::YearMonth) => i32::try_from(value).is_ok(),
        _ => value.checked_mul(1_000_000).is_some(),
    }
}

/// Why `text` is not a value of `column`'s type.
pub(super) fn misfit(column: &Column, text: &[u8], style: TimestampStyle) -> String {
    let shown = shorten(text);
    let name = type_name(column.field.data_type());
    let number = matches!(
        column.data,
        Data::Int8(_) | Data::Int16(_) | Data::Int32(_) | Data::Int64(_) | Data::Decimal { .. }
    );
    if number && Number::read(text).is_some() {
        return format!("{shown} is out of range for {name}");
    }
    if let Data::Timestamp { parser, .. } = &column.data {
        let zoned =
            matches!(column.field.data_type(), arrow::datatypes::DataType::Timestamp(_, Some(_)));
        let mut other = super::temporal::TimestampParser::new(parser.unit(), zoned);
        if other.parse(text, TimestampStyle::Either).is_some() && style != TimestampStyle::Either {
            return format!(
                "'{shown}' is not a {name} of the standard that \
                 'json.timestamp-format.standard' names"
            );
        }
    }
    format!("'{shown}' is not a {name}")
}

/// `text` for a message: valid, one line, not long.
pub(super) fn shorten(text: &[u8]) -> String {
    const SHOWN_MAX: usize = 64;
    let text = String::from_utf8_lossy(text);
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown.replace(['\n', '\r'], " ")
}

/// `true` or `false`, in any case.
pub(super) fn boolean(text: &[u8]) -> Option<bool> {
    match text.trim_ascii() {
        t if t.eq_ignore_ascii_case(b"true") => Some(true),
        t if t.eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
    }
}

/// An integer; `12.0` and `1e3` are integers too, `12.5` is not.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return Number::read(text)?.exact_integer();
    }
    let value = digits.iter().fold(0i64, |v, d| v * 10 + i64::from(d - b'0'));
    Some(if negative { -value } else { value })
}

/// A number of double precision; what is too large for it is refused.
pub(super) fn float64(text: &[u8]) -> Option<f64> {
    let text = text.trim_ascii();
    if let Some(special) = special_float(text) {
        return Some(special);
    }
    let value = numeric_text(text)?.parse::<f64>().ok()?;
    value.is_finite().then_some(value)
}

/// A number of single precision; what is too large for it is refused.
pub(super) fn float32(text: &[u8]) -> Option<f32> {
    let text = text.trim_ascii();
    if let Some(special) = special_float(text) {
        return Some(special as f32);
    }
    let value = numeric_text(text)?.parse::<f32>().ok()?;
    value.is_finite().then_some(value)
}

/// The standard library also takes words such as `inf`: only digits and signs may pass.
fn numeric_text(text: &[u8]) -> Option<&str> {
    let numeric = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E');
    text.iter().all(numeric).then(|| std::str::from_utf8(text).ok()).flatten()
}

fn special_float(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => Some(f64::NAN),
        b"Infinity" | b"+Infinity" => Some(f64::INFINITY),
        b"-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// A decimal of `precision` digits, `scale` of them after the point, rounded half up.
pub(super) fn decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    Number::read(text.trim_ascii())?.scaled(precision, scale)
}

/// A decimal number as written: sign, digits and exponent.
struct Number<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Number<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let (mantissa, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => (&text[..at], exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (whole, fraction) = match memchr::memchr(b'.', mantissa) {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &mantissa[..0]),
        };
        let all_digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
        let any = !whole.is_empty() || !fraction.is_empty();
        (all_digits && any).then_some(Number { negative, whole, fraction, exponent })
    }

    /// The number times ten to the `scale`, rounded half up; `None` beyond `precision` digits.
    fn scaled(&self, precision: u8, scale: i8) -> Option<i128> {
        // The number of leading digits that are kept, were there endless zeros around them.
        let kept = i64::try_from(self.whole.len()).ok()?;
        let kept = kept.saturating_add(self.exponent).saturating_add(i64::from(scale));
        let mut value: i128 = 0;
        let mut taken = 0;
        let mut up = false;
        for digit in self.whole.iter().chain(self.fraction).map(|d| i128::from(d - b'0')) {
            if taken >= kept {
                up = taken == kept && digit >= 5;
                break;
            }
            value = value.checked_mul(10)?.checked_add(digit)?;
            taken += 1;
        }
        if value != 0 {
            while taken < kept {
                value = value.checked_mul(10)?;
                taken += 1;
            }
        }
        value += i128::from(up);
        let bound = 10i128.checked_pow(u32::from(precision))?;
        (value < bound).then_some(if self.negative { -value } else { value })
    }

    /// The number if it is an integer of 64 bits.
    fn exact_integer(&self) -> Option<i64> {
        let kept = i64::try_from(self.whole.len()).ok()?.saturating_add(self.exponent);
        let kept = usize::try_from(kept.max(0)).unwrap_or(usize::MAX);
        if self.whole.iter().chain(self.fraction).skip(kept).any(|d| *d != b'0') {
            return None;
        }
        i64::try_from(self.scaled(38, 0)?).ok()
    }
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Any exponent beyond this is out of every range; the bound keeps sums of lengths exact.
    let value = digits.iter().fold(0i64, |v, d| (v * 10 + i64::from(d - b'0')).min(1_000_000_000));
    Some(if negative { -value } else { value })
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends what base64 `text` stands for; false if it is not base64 (padding may be absent).
pub(super) fn base64_decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    let body = match text {
        [rest @ .., b'=', b'='] | [rest @ .., b'='] if text.len().is_multiple_of(4) => rest,
        _ => text,
    };
    for group in body.chunks(4) {
        let mut bits = 0u32;
        for &byte in group {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return false,
            };
            bits = bits << 6 | u32::from(value);
        }
        let [_, a, b, c] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        match group.len() {
            4 => out.extend_from_slice(&[a, b, c]),
            3 => out.extend_from_slice(&[a, b]),
            2 => out.push(a),
            _ => return false,
        }
    }
    true
}

/// Appends `bytes` as base64, padded.
pub(super) fn base64_encode(bytes: &[u8], out: &mut Vec<u8>) {
    for group in bytes.chunks(3) {
        let mut padded = [0u8; 4];
        for (to, from) in padded[1..].iter_mut().zip(group) {
            *to = *from;
        }
        let bits = u32::from_be_bytes(padded);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) as usize & 63;
            out.push(if place <= group.len() { BASE64[sextet] } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_are_exact() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            (" 42 ", Some(42)),
            ("+7", Some(7)),
            ("12.0", Some(12)),
            ("1e3", Some(1000)),
            ("1.5e1", Some(15)),
            ("12.5", None),
            ("1e-1", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("1e400", None),
            ("0e999999999999", Some(0)),
            ("", None),
            ("-", None),
            ("1_0", None),
            (".", None),
        ] {
            assert_eq!(integer(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn decimals_round_half_up_and_refuse_what_does_not_fit() {
        for (text, value) in [
            ("1.005", Some(101)),
            ("1.004", Some(100)),
            ("-1.005", Some(-101)),
            ("99.99", Some(9999)),
            ("99.995", None),
            ("100", None),
            ("1e-3", Some(0)),
            ("5e-3", Some(1)),
            ("0.5e1", Some(500)),
            ("1e999999999999", None),
            ("1e-999999999999", Some(0)),
            ("x", None),
        ] {
            assert_eq!(decimal(text.as_bytes(), 4, 2), value, "{text}");
        }
    }

    #[test]
    fn floats_refuse_words_and_overflow() {
        assert_eq!(float64(b"1e999"), None);
        assert_eq!(float32(b"1e39"), None);
        assert_eq!(float64(b"inf"), None);
        assert_eq!(float64(b"-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(float64(b"0.1"), Some(0.1));
    }

    proptest! {
        #[test]
        fn base64_round_trip(bytes: Vec<u8>) {
            let (mut text, mut back) = (Vec::new(), Vec::new());
            base64_encode(&bytes, &mut text);
            prop_assert!(base64_decode(&text, &mut back));
            prop_assert_eq!(back, bytes);
        }

        #[test]
        fn integers_round_trip(value: i64) {
            prop_assert_eq!(integer(value.to_string().as_bytes()), Some(value));
        }
    }
}
