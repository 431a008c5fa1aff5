//! `CAST(x AS STRING)`: values as Flink writes them.
//!
//! Timestamps have the digits of their precision, booleans are upper case, doubles are written as
//! Java does, nested values as `[1, 2]`, `{a=1}` and `(1, a)`. Called through the casts that the
//! binder turns into it, never by name.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, StringViewArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit, TimeUnit,
};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::calendar::{DAY_SECONDS, Moments, date_of};
use super::define::{Call, Function, Param};

/// The function that casts to STRING.
pub fn text_cast() -> Arc<ScalarUDF> {
    Function::text("cast_to_string", &[Param::Any], to_text).udf()
}

fn to_text(call: &Call<'_>) -> Result<ArrayRef> {
    text_array(&call.array(0)?)
}

/// The texts of a column's values.
pub(super) fn text_array(array: &ArrayRef) -> Result<ArrayRef> {
    let texts = Texts::new(array)?;
    let mut text = String::new();
    let mut out = arrow::array::StringViewBuilder::with_capacity(array.len());
    for row in 0..array.len() {
        if texts.is_null(row) {
            out.append_null();
            continue;
        }
        text.clear();
        texts.write(row, &mut text);
        out.append_value(&text);
    }
    Ok(Arc::new(out.finish()))
}

/// A column, ready to be written.
struct Texts {
    nulls: Option<NullBuffer>,
    kind: Kind,
}

enum Kind {
    Boolean(BooleanArray),
    Float(Float32Array),
    Double(Float64Array),
    /// With how many digits of a second to write.
    Moment(Moments, usize),
    Date(Moments),
    /// Milliseconds of the day.
    Time(Moments),
    Interval(arrow::array::PrimitiveArray<IntervalMonthDayNanoType>),
    List(OffsetBuffer<i32>, Box<Texts>),
    Map(OffsetBuffer<i32>, Box<Texts>, Box<Texts>),
    Row(Vec<Texts>),
    /// Types whose text is the library's.
    Text(StringViewArray),
}

impl Texts {
    fn new(array: &ArrayRef) -> Result<Self> {
        let again = |to: DataType| Texts::new(&cast(array, &to)?);
        let kind = match array.data_type() {
            DataType::Boolean => Kind::Boolean(array.as_boolean().clone()),
            DataType::Float16 => return again(DataType::Float32),
            DataType::Float32 => Kind::Float(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Kind::Double(array.as_primitive::<Float64Type>().clone()),
            DataType::Timestamp(unit, _) => {
                let digits = match unit {
                    TimeUnit::Second => 0,
                    TimeUnit::Millisecond => 3,
                    TimeUnit::Microsecond => 6,
                    TimeUnit::Nanosecond => 9,
                };
                Kind::Moment(Moments::new(array)?, digits)
            }
            DataType::Date32 => Kind::Date(Moments::new(array)?),
            DataType::Time32(TimeUnit::Millisecond) => Kind::Time(Moments::new(array)?),
            DataType::Time32(_) | DataType::Time64(_) => {
                return again(DataType::Time32(TimeUnit::Millisecond));
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Kind::Interval(array.as_primitive::<IntervalMonthDayNanoType>().clone())
            }
            DataType::Interval(_) => return again(DataType::Interval(IntervalUnit::MonthDayNano)),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Kind::List(list.offsets().clone(), Box::new(Texts::new(list.values())?))
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let (keys, values) = (Texts::new(map.keys())?, Texts::new(map.values())?);
                Kind::Map(map.offsets().clone(), Box::new(keys), Box::new(values))
            }
            DataType::Struct(_) => {
                let columns = array.as_struct().columns().iter().map(Texts::new);
                Kind::Row(columns.collect::<Result<Vec<_>>>()?)
            }
            DataType::Utf8View => Kind::Text(array.as_string_view().clone()),
            _ => return again(DataType::Utf8View),
        };
        Ok(Texts { nulls: array.nulls().cloned(), kind })
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends an element of a nested value.
    fn element(&self, row: usize, out: &mut String) {
        if self.is_null(row) { out.push_str("NULL") } else { self.write(row, out) }
    }

    /// Appends the text of a row that is not NULL.
    fn write(&self, row: usize, out: &mut String) {
        match &self.kind {
            Kind::Boolean(v) => out.push_str(if v.value(row) { "TRUE" } else { "FALSE" }),
            Kind::Float(v) => java_float(&format!("{:e}", v.value(row)), out),
            Kind::Double(v) => java_float(&format!("{:e}", v.value(row)), out),
            Kind::Moment(v, digits) => {
                let ticks = v.get(row).unwrap_or(0);
                let (second, fraction) = (ticks.div_euclid(v.ticks), ticks.rem_euclid(v.ticks));
                date(second.div_euclid(DAY_SECONDS), out);
                out.push(' ');
                time_of_day(second.rem_euclid(DAY_SECONDS), out);
                if *digits > 0 {
                    append(out, format_args!(".{fraction:0digits$}"));
                }
            }
            Kind::Date(v) => date(v.get(row).unwrap_or(0).div_euclid(DAY_SECONDS), out),
            Kind::Time(v) => {
                let millis = v.get(row).unwrap_or(0);
                time_of_day(millis.div_euclid(1_000), out);
                if millis.rem_euclid(1_000) != 0 {
                    append(out, format_args!(".{:03}", millis.rem_euclid(1_000)));
                }
            }
            Kind::Interval(v) => interval(v.value(row), out),
            Kind::List(offsets, items) => {
                out.push('[');
                for (index, item) in range(offsets, row).enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    items.element(item, out);
                }
                out.push(']');
            }
            Kind::Map(offsets, keys, values) => {
                out.push('{');
                for (index, entry) in range(offsets, row).enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    keys.element(entry, out);
                    out.push('=');
                    values.element(entry, out);
                }
                out.push('}');
            }
            Kind::Row(columns) => {
                out.push('(');
                for (index, column) in columns.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    column.element(row, out);
                }
                out.push(')');
            }
            Kind::Text(v) => out.push_str(v.value(row)),
        }
    }
}

fn range(offsets: &OffsetBuffer<i32>, row: usize) -> std::ops::Range<usize> {
    let at = |i: usize| offsets.get(i).and_then(|at| usize::try_from(*at).ok()).unwrap_or(0);
    at(row)..at(row + 1)
}

/// Writing to a string cannot fail.
fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn date(days: i64, out: &mut String) {
    let date = date_of(days);
    append(out, format_args!("{:04}-{:02}-{:02}", date.year, date.month, date.day));
}

fn time_of_day(second: i64, out: &mut String) {
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    append(out, format_args!("{hour:02}:{minute:02}:{:02}", second % 60));
}

/// A number given as `d.ddde±n` with the fewest digits, as Java's `toString` writes it.
fn java_float(shortest: &str, out: &mut String) {
    let Some((mantissa, exponent)) = shortest.split_once('e') else {
        out.push_str(match shortest {
            "inf" => "Infinity",
            "-inf" => "-Infinity",
            other => other,
        });
        return;
    };
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", mantissa),
    };
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    let exponent: i32 = exponent.parse().unwrap_or(0);
    out.push_str(sign);
    match exponent {
        0..7 => {
            let whole = exponent.unsigned_abs() as usize + 1;
            let padded = format!("{digits:0<width$}", width = whole + 1);
            let (whole, fraction) = padded.split_at(whole);
            append(out, format_args!("{whole}.{fraction}"));
        }
        -3..0 => {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', exponent.unsigned_abs() as usize - 1));
            out.push_str(&digits);
        }
        _ => {
            let (first, rest) = digits.split_at(1);
            let rest = if rest.is_empty() { "0" } else { rest };
            append(out, format_args!("{first}.{rest}E{exponent}"));
        }
    }
}

/// `+1-02` for months, `+1 02:03:04.005` for days and below.
fn interval(value: IntervalMonthDayNano, out: &mut String) {
    if value.months != 0 {
        let months = value.months.unsigned_abs();
        let sign = if value.months < 0 { '-' } else { '+' };
        append(out, format_args!("{sign}{}-{:02}", months / 12, months % 12));
        if value.days == 0 && value.nanoseconds == 0 {
            return;
        }
        out.push(' ');
    }
    let millis = i64::from(value.days) * DAY_SECONDS * 1_000 + value.nanoseconds / 1_000_000;
    let (sign, millis) = (if millis < 0 { '-' } else { '+' }, millis.unsigned_abs() as i64);
    let second = millis / 1_000;
    append(out, format_args!("{sign}{} ", second / DAY_SECONDS));
    time_of_day(second % DAY_SECONDS, out);
    append(out, format_args!(".{:03}", millis % 1_000));
}
