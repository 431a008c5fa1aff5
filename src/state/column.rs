//! Columns in few physical forms, so that keys and aggregates need one loop a form, not one a type.
//!
//! [`Column`] reads an Arrow array: every integer, date, time and timestamp as `i64`, floats as
//! `f64` or as order-preserving `i64`, decimals as `i128`, strings as bytes, all else as row-format
//! bytes. [`ColumnBuilder`] writes the same forms back to arrays. Called by the states of this
//! layer alone.

/// Applies `$body` with `$t` as the Arrow type of an [`Form::Int`] column other than BOOLEAN.
macro_rules! with_int_type {
    ($data_type:expr, $t:ident => $body:expr, else $other:expr) => {{
        use DataType as D;
        use TimeUnit as U;
        macro_rules! run {
            ($type:ty) => {{
                type $t = $type;
                $body
            }};
        }
        match $data_type {
            D::Int8 => run!(Int8Type),
            D::Int16 => run!(Int16Type),
            D::Int32 => run!(Int32Type),
            D::Int64 => run!(Int64Type),
            D::UInt8 => run!(UInt8Type),
            D::UInt16 => run!(UInt16Type),
            D::UInt32 => run!(UInt32Type),
            D::Date32 => run!(Date32Type),
            D::Date64 => run!(Date64Type),
            D::Time32(U::Second) => run!(Time32SecondType),
            D::Time32(U::Millisecond) => run!(Time32MillisecondType),
            D::Time64(U::Microsecond) => run!(Time64MicrosecondType),
            D::Time64(U::Nanosecond) => run!(Time64NanosecondType),
            D::Timestamp(U::Second, _) => run!(TimestampSecondType),
            D::Timestamp(U::Millisecond, _) => run!(TimestampMillisecondType),
            D::Timestamp(U::Microsecond, _) => run!(TimestampMicrosecondType),
            D::Timestamp(U::Nanosecond, _) => run!(TimestampNanosecondType),
            D::Duration(U::Second) => run!(DurationSecondType),
            D::Duration(U::Millisecond) => run!(DurationMillisecondType),
            D::Duration(U::Microsecond) => run!(DurationMicrosecondType),
            D::Duration(U::Nanosecond) => run!(DurationNanosecondType),
            _ => $other,
        }
    }};
}

mod builder;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryViewArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::*;
use arrow::row::{RowConverter, Rows, SortField};

pub(super) use builder::finish_ints;
pub use builder::{ColumnBuilder, decimal_scale};

use crate::error::Result;

/// The physical form of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// `i64`: integers, dates, times, timestamps, booleans.
    Int,
    /// `f64`: floats.
    Float,
    /// `i128`: decimals and unsigned 64-bit integers.
    Wide,
    /// Bytes: strings and binaries.
    Bytes,
    /// Row-format bytes: everything else.
    Rows,
}

/// How floats (and numbers, for [`Reading::Double`]) are read; other types read alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reading {
    /// Floats as they are.
    Plain,
    /// Floats as `i64` in IEEE total order.
    Ordered,
    /// As [`Reading::Ordered`] with `-0.0` as `0.0` and one NaN: equal keys are equal numbers.
    Key,
    /// Every number as `f64`.
    Double,
}

/// The form in which columns of `data_type` are read.
pub fn form_of(data_type: &DataType) -> Form {
    use DataType as D;
    match data_type {
        D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 => Form::Int,
        D::Date32 | D::Date64 | D::Time32(_) | D::Time64(_) | D::Timestamp(..) => Form::Int,
        D::Duration(_) | D::Boolean => Form::Int,
        D::Float32 | D::Float64 => Form::Float,
        D::Decimal128(..) | D::UInt64 => Form::Wide,
        D::Utf8 | D::LargeUtf8 | D::Utf8View => Form::Bytes,
        D::Binary | D::LargeBinary | D::BinaryView => Form::Bytes,
        _ => Form::Rows,
    }
}

/// The order-preserving integer of a float (IEEE total order); its own inverse on the bits.
#[inline]
pub fn ordered_bits(value: f64) -> i64 {
    flip(value.to_bits() as i64)
}

/// The float of [`ordered_bits`].
#[inline]
pub fn float_of(bits: i64) -> f64 {
    f64::from_bits(flip(bits) as u64)
}

#[inline]
fn flip(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// The integer of a float among keys: equal numbers have the same.
pub(super) fn key_bits(value: f64) -> i64 {
    let one = if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN
    } else {
        value
    };
    ordered_bits(one)
}

/// The values of a [`Column`].
#[derive(Debug)]
pub enum Values {
    /// Integers, or ordered floats.
    Int(ScalarBuffer<i64>),
    /// Floats.
    Float(ScalarBuffer<f64>),
    /// Wide integers.
    Wide(ScalarBuffer<i128>),
    /// Byte strings.
    Bytes(BinaryViewArray),
    /// Rows of one column.
    Rows(Rows),
}

/// An Arrow array read into its form.
#[derive(Debug)]
pub struct Column {
    /// The values; those of NULLs are arbitrary.
    pub values: Values,
    /// The NULLs, if there are any.
    pub nulls: Option<NullBuffer>,
}

impl Column {
    /// Reads `array`.
    pub fn read(array: &ArrayRef, reading: Reading) -> Result<Column> {
        let nulls = array.logical_nulls().filter(|n| n.null_count() > 0);
        if reading == Reading::Double {
            let doubles = cast(array, &DataType::Float64)?;
            let values = doubles.as_primitive::<Float64Type>().values().clone();
            return Ok(Column { values: Values::Float(values), nulls });
        }
        let values = match form_of(array.data_type()) {
            Form::Int => Values::Int(read_ints(array)),
            Form::Float => {
                let doubles = cast(array, &DataType::Float64)?;
                let values = doubles.as_primitive::<Float64Type>().values();
                match reading {
                    Reading::Ordered => {
                        Values::Int(values.iter().map(|&v| ordered_bits(v)).collect())
                    }
                    Reading::Key => Values::Int(values.iter().map(|&v| key_bits(v)).collect()),
                    Reading::Plain | Reading::Double => Values::Float(values.clone()),
                }
            }
            Form::Wide => match array.data_type() {
                DataType::UInt64 => {
                    let values = array.as_primitive::<UInt64Type>().values();
                    Values::Wide(values.iter().map(|&v| i128::from(v)).collect())
                }
                _ => Values::Wide(array.as_primitive::<Decimal128Type>().values().clone()),
            },
            Form::Bytes => Values::Bytes(match array.data_type() {
                DataType::Utf8View => array.as_string_view().clone().to_binary_view(),
                DataType::BinaryView => array.as_binary_view().clone(),
                DataType::Utf8 | DataType::LargeUtf8 => {
                    cast(array, &DataType::Utf8View)?.as_string_view().clone().to_binary_view()
                }
                _ => cast(array, &DataType::BinaryView)?.as_binary_view().clone(),
            }),
            Form::Rows => {
                let converter = converter(array.data_type())?;
                Values::Rows(converter.convert_columns(std::slice::from_ref(array))?)
            }
        };
        Ok(Column { values, nulls })
    }

    /// Whether row `row` is NULL.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|n| n.is_null(row))
    }
}

/// The row-format converter of one column; deterministic for the types of streams.
pub fn converter(data_type: &DataType) -> Result<RowConverter> {
    Ok(RowConverter::new(vec![SortField::new(data_type.clone())])?)
}

fn read_ints(array: &ArrayRef) -> ScalarBuffer<i64> {
    fn widen<T: ArrowPrimitiveType>(array: &ArrayRef) -> ScalarBuffer<i64>
    where
        T::Native: Into<i64>,
    {
        if T::DATA_TYPE.primitive_width() == Some(8) {
            // The native type is i64: the buffer is shared.
            let buffer = array.as_primitive::<T>().values().inner().clone();
            return ScalarBuffer::new(buffer, 0, array.len());
        }
        array.as_primitive::<T>().values().iter().map(|&v| v.into()).collect()
    }
    with_int_type!(array.data_type(), T => widen::<T>(array), else {
        array.as_boolean().values().iter().map(i64::from).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Float32Array, Int32Array, ListArray, StringArray};

    fn round_trip(array: ArrayRef, reading: Reading) {
        let column = Column::read(&array, reading).unwrap();
        let mut builder = ColumnBuilder::new(array.data_type());
        for row in 0..array.len() {
            if column.is_null(row) {
                builder.push_null();
                continue;
            }
            match &column.values {
                Values::Int(v) => builder.push_int(v[row]),
                Values::Float(v) => builder.push_float(v[row]),
                Values::Wide(v) => builder.push_wide(v[row]),
                Values::Bytes(v) => builder.push_bytes(v.value(row)),
                Values::Rows(v) => builder.push_bytes(v.row(row).data()),
            }
        }
        assert!(builder.failed().is_empty());
        assert_eq!(&builder.finish().unwrap(), &array);
    }

    #[test]
    fn every_form_comes_back_as_it_was() {
        let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(i32::MIN)]));
        for to in [
            DataType::Int8,
            DataType::Int64,
            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            DataType::Decimal128(10, 2),
            DataType::Utf8View,
            DataType::Float64,
        ] {
            round_trip(cast(&ints, &to).unwrap(), Reading::Plain);
        }
        round_trip(Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])), Reading::Key);
        let floats = vec![Some(-0.0), None, Some(1.5), Some(f32::NEG_INFINITY), Some(f32::MAX)];
        round_trip(Arc::new(Float32Array::from(floats.clone())), Reading::Plain);
        round_trip(Arc::new(Float32Array::from(floats)), Reading::Ordered);
        round_trip(Arc::new(StringArray::from(vec![Some("a"), None, Some("")])), Reading::Plain);
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
        ]);
        round_trip(Arc::new(lists), Reading::Plain);
    }

    #[test]
    fn a_number_out_of_range_is_noted() {
        let mut builder = ColumnBuilder::new(&DataType::Int8);
        builder.push_int(127);
        builder.push_int(128);
        assert_eq!(builder.failed(), &[1]);
        assert_eq!(builder.finish().unwrap().null_count(), 1);
    }

    #[test]
    fn ordered_bits_keep_the_order() {
        let floats = [f64::NEG_INFINITY, -1.0, -0.0, 0.0, 1e-300, 1.0, f64::INFINITY, f64::NAN];
        for pair in floats.windows(2) {
            assert!(ordered_bits(pair[0]) < ordered_bits(pair[1]));
            assert_eq!(float_of(ordered_bits(pair[0])).to_bits(), pair[0].to_bits());
        }
    }
}
