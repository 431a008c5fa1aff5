//! Columns as text, value by value: what the JSON and CSV encoders and tables share.
//!
//! A column is resolved once per batch into [`Cells`]; per value there is one `match`. Types that
//! only queries produce (intervals, unsigned numbers) are written too.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, PrimitiveArray, StringViewArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
    Time32MillisecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::scalar::base64_encode;
use super::temporal::{write_date, write_time, write_timestamp};
use crate::error::{Error, Result};

/// A column ready to be written.
pub(super) struct Cells {
    nulls: Option<NullBuffer>,
    pub kind: Kind,
}

/// The values of a column, by how they are written.
pub(super) enum Kind {
    Null,
    Boolean(BooleanArray),
    Integer(Integers),
    Float32(PrimitiveArray<Float32Type>),
    Float64(PrimitiveArray<Float64Type>),
    Decimal(PrimitiveArray<Decimal128Type>, i8),
    Date(PrimitiveArray<Date32Type>),
    Time(PrimitiveArray<Time32MillisecondType>),
    Timestamp {
        values: PrimitiveArray<Int64Type>,
        unit: TimeUnit,
        zoned: bool,
    },
    Text(StringViewArray),
    Bytes(BinaryViewArray),
    List {
        offsets: Vec<usize>,
        item: Box<Cells>,
    },
    Map {
        offsets: Vec<usize>,
        key: Box<Cells>,
        value: Box<Cells>,
    },
    Row {
        names: Vec<String>,
        columns: Vec<Cells>,
    },
    /// Types without a form of their own: Arrow's text.
    Other(ArrayRef),
}

/// Integers of any width.
pub(super) enum Integers {
    Signed(PrimitiveArray<Int64Type>),
    Unsigned(PrimitiveArray<UInt64Type>),
}

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef) -> PrimitiveArray<T> {
    array.as_primitive::<T>().clone()
}

fn widened<F: ArrowPrimitiveType>(array: &ArrayRef) -> Kind
where
    F::Native: Into<i64>,
{
    Kind::Integer(Integers::Signed(array.as_primitive::<F>().unary(Into::into)))
}

fn widened_unsigned<F: ArrowPrimitiveType>(array: &ArrayRef) -> Kind
where
    F::Native: Into<u64>,
{
    Kind::Integer(Integers::Unsigned(array.as_primitive::<F>().unary(Into::into)))
}

fn widths(offsets: &[i32]) -> Vec<usize> {
    offsets.iter().map(|&o| usize::try_from(o).unwrap_or(0)).collect()
}

impl Cells {
    /// The cells of `array`.
    pub fn new(array: &ArrayRef) -> Result<Self> {
        let nulls = array.logical_nulls();
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Boolean(array.as_boolean().clone()),
            DataType::Int8 => widened::<Int8Type>(array),
            DataType::Int16 => widened::<Int16Type>(array),
            DataType::Int32 => widened::<Int32Type>(array),
            DataType::Int64 => widened::<Int64Type>(array),
            DataType::UInt8 => widened_unsigned::<UInt8Type>(array),
            DataType::UInt16 => widened_unsigned::<UInt16Type>(array),
            DataType::UInt32 => widened_unsigned::<UInt32Type>(array),
            DataType::UInt64 => widened_unsigned::<UInt64Type>(array),
            DataType::Float32 => Kind::Float32(primitive(array)),
            DataType::Float64 => Kind::Float64(primitive(array)),
            DataType::Decimal128(_, scale) => Kind::Decimal(primitive(array), *scale),
            DataType::Date32 => Kind::Date(primitive(array)),
            DataType::Time32(TimeUnit::Millisecond) => Kind::Time(primitive(array)),
            DataType::Timestamp(unit, zone) => Kind::Timestamp {
                values: match unit {
                    TimeUnit::Second => primitive::<TimestampSecondType>(array).reinterpret_cast(),
                    TimeUnit::Millisecond => {
                        primitive::<TimestampMillisecondType>(array).reinterpret_cast()
                    }
                    TimeUnit::Microsecond => {
                        primitive::<TimestampMicrosecondType>(array).reinterpret_cast()
                    }
                    TimeUnit::Nanosecond => {
                        primitive::<TimestampNanosecondType>(array).reinterpret_cast()
                    }
                },
                unit: *unit,
                zoned: zone.is_some(),
            },
            DataType::Utf8View => Kind::Text(array.as_string_view().clone()),
            DataType::BinaryView => Kind::Bytes(array.as_binary_view().clone()),
            DataType::Utf8 | DataType::LargeUtf8 => return Self::recast(array, DataType::Utf8View),
            DataType::Binary | DataType::LargeBinary => {
                return Self::recast(array, DataType::BinaryView);
            }
            DataType::Dictionary(_, value) => return Self::recast(array, value.as_ref().clone()),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let item = Box::new(Cells::new(list.values())?);
                Kind::List { offsets: widths(list.offsets()), item }
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let (key, value) = (Cells::new(map.keys())?, Cells::new(map.values())?);
                let offsets = widths(map.offsets());
                Kind::Map { offsets, key: Box::new(key), value: Box::new(value) }
            }
            DataType::Struct(fields) => Kind::Row {
                names: fields.iter().map(|f| f.name().clone()).collect(),
                columns: array
                    .as_struct()
                    .columns()
                    .iter()
                    .map(Cells::new)
                    .collect::<Result<Vec<_>>>()?,
            },
            DataType::Interval(_) => match interval_numbers(array) {
                Some(numbers) => Kind::Integer(Integers::Signed(numbers)),
                None => Kind::Other(ArrayRef::clone(array)),
            },
            _ => Kind::Other(ArrayRef::clone(array)),
        };
        Ok(Cells { nulls, kind })
    }

    fn recast(array: &ArrayRef, to: DataType) -> Result<Self> {
        Cells::new(&cast(array, &to)?)
    }

    /// Whether row `row` is NULL.
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|n| n.is_null(row)) || matches!(self.kind, Kind::Null)
    }

    /// Whether values are numbers (and stand to the right in a table).
    pub fn is_number(&self) -> bool {
        matches!(
            self.kind,
            Kind::Integer(_) | Kind::Float32(_) | Kind::Float64(_) | Kind::Decimal(..)
        )
    }

    /// Appends the value of `row`, which is not NULL, as plain text; `false` for nested values,
    /// which have none.
    pub fn write_plain(&self, row: usize, separator: u8, out: &mut Vec<u8>) -> Result<bool> {
        match &self.kind {
            Kind::Null => {}
            Kind::Boolean(v) => {
                out.extend_from_slice(if v.value(row) { b"true" } else { b"false" })
            }
            Kind::Integer(Integers::Signed(v)) => write_integer(out, v.value(row)),
            Kind::Integer(Integers::Unsigned(v)) => write_integer(out, v.value(row)),
            Kind::Float32(v) => {
                let value = v.value(row);
                write_float(out, value, special(f64::from(value)));
            }
            Kind::Float64(v) => {
                let value = v.value(row);
                write_float(out, value, special(value));
            }
            Kind::Decimal(v, scale) => write_decimal(out, v.value(row), *scale),
            Kind::Date(v) => write_date(out, i64::from(v.value(row))),
            Kind::Time(v) => write_time(out, i64::from(v.value(row))),
            Kind::Timestamp { values, unit, zoned } => {
                write_timestamp(out, values.value(row), *unit, separator);
                if *zoned {
                    out.push(b'Z');
                }
            }
            Kind::Text(v) => out.extend_from_slice(v.value(row).as_bytes()),
            Kind::Bytes(v) => base64_encode(v.value(row), out),
            Kind::Other(array) => {
                let formatter = ArrayFormatter::try_new(array, &FormatOptions::default())?;
                let text = formatter.value(row).try_to_string().map_err(Error::from)?;
                out.extend_from_slice(text.as_bytes());
            }
            Kind::List { .. } | Kind::Map { .. } | Kind::Row { .. } => return Ok(false),
        }
        Ok(true)
    }
}

/// Months or milliseconds, as Flink's formats carry intervals; `None` for a mixture of both.
fn interval_numbers(array: &ArrayRef) -> Option<PrimitiveArray<Int64Type>> {
    match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            Some(primitive::<IntervalYearMonthType>(array).unary(i64::from))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let spans = primitive::<IntervalMonthDayNanoType>(array);
            let months = spans.iter().flatten().all(|s| s.days == 0 && s.nanoseconds == 0);
            let times = spans.iter().flatten().all(|s| s.months == 0);
            match (months, times) {
                (_, true) => Some(spans.unary(|s| {
                    i64::from(s.days) * 86_400_000 + s.nanoseconds.div_euclid(1_000_000)
                })),
                (true, false) => Some(spans.unary(|s| i64::from(s.months))),
                (false, false) => None,
            }
        }
        _ => None,
    }
}

fn write_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        v if v.is_nan() => Some("NaN"),
        v if v.is_finite() => None,
        v if v > 0.0 => Some("Infinity"),
        _ => Some("-Infinity"),
    }
}

fn write_float(out: &mut Vec<u8>, value: impl ryu::Float, special: Option<&str>) {
    match special {
        Some(text) => out.extend_from_slice(text.as_bytes()),
        None => out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes()),
    }
}

/// Appends a decimal with all digits of its scale.
fn write_decimal(out: &mut Vec<u8>, value: i128, scale: i8) {
    if value < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs()).as_bytes();
    let Ok(scale) = usize::try_from(scale) else {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', usize::from(scale.unsigned_abs())));
        return;
    };
    let whole = digits.len().saturating_sub(scale);
    out.extend_from_slice(if whole == 0 { b"0" } else { &digits[..whole] });
    if scale > 0 {
        out.push(b'.');
        out.extend(std::iter::repeat_n(b'0', scale.saturating_sub(digits.len())));
        out.extend_from_slice(&digits[whole..]);
    }
}

/// The columns of a batch, resolved.
pub(super) fn resolve(rows: &arrow::array::RecordBatch) -> Result<Vec<Cells>> {
    rows.columns().iter().map(Cells::new).collect()
}
