//! Columns in few physical forms, so that keys and aggregates need one loop a form, not one a type.
//!
//! [`Column`] reads an Arrow array: every integer, date, time and timestamp as `i64`, floats as
//! `f64` or as order-preserving `i64`, decimals as `i128`, strings as bytes, all else as row-format
//! bytes. [`ColumnBuilder`] writes the same forms back to arrays. Called by the states of this
//! layer alone.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryViewArray, BinaryViewBuilder, BooleanArray,
    PrimitiveArray, new_null_array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::*;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::ScalarValue;

use crate::error::{Error, Result};

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

/// Builds an array of one type, value by value, out of the forms.
///
/// A number that its type cannot hold becomes NULL and is noted in [`ColumnBuilder::failed`].
pub struct ColumnBuilder {
    data_type: DataType,
    values: Built,
    /// Absent while everything is valid.
    valid: Option<Vec<bool>>,
    /// Rows whose value was out of the type's range.
    failed: Vec<u32>,
    /// Least and greatest integer of the type.
    range: (i64, i64),
}

enum Built {
    Int(Vec<i64>),
    Float(Vec<f64>),
    Wide(Vec<i128>),
    Bytes(BinaryViewBuilder),
    Rows(Vec<Option<Box<[u8]>>>),
    Scalars(Vec<ScalarValue>),
}

/// Least and greatest value of an integer type, as `i64`.
fn int_range(data_type: &DataType) -> (i64, i64) {
    match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 | DataType::Date32 | DataType::Time32(_) => {
            (i32::MIN.into(), i32::MAX.into())
        }
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        _ => (i64::MIN, i64::MAX),
    }
}

impl ColumnBuilder {
    /// A builder of arrays of `data_type`.
    pub fn new(data_type: &DataType) -> Self {
        let values = match form_of(data_type) {
            Form::Int => Built::Int(Vec::new()),
            Form::Float => Built::Float(Vec::new()),
            Form::Wide => Built::Wide(Vec::new()),
            Form::Bytes => Built::Bytes(BinaryViewBuilder::new()),
            Form::Rows => Built::Rows(Vec::new()),
        };
        let (range, data_type) = (int_range(data_type), data_type.clone());
        ColumnBuilder { data_type, values, valid: None, failed: Vec::new(), range }
    }

    /// A builder of arrays of `data_type` from scalars.
    pub fn of_scalars(data_type: &DataType) -> Self {
        ColumnBuilder { values: Built::Scalars(Vec::new()), ..ColumnBuilder::new(data_type) }
    }

    /// A builder of arrays of `data_type` from row-format bytes.
    pub fn of_rows(data_type: &DataType) -> Self {
        ColumnBuilder { values: Built::Rows(Vec::new()), ..ColumnBuilder::new(data_type) }
    }

    /// The form that this builder wants.
    pub fn form(&self) -> Form {
        match self.values {
            Built::Int(_) => Form::Int,
            Built::Float(_) => Form::Float,
            Built::Wide(_) => Form::Wide,
            Built::Bytes(_) => Form::Bytes,
            Built::Rows(_) | Built::Scalars(_) => Form::Rows,
        }
    }

    /// The type of the array.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Rows whose number did not fit the type.
    pub fn failed(&self) -> &[u32] {
        &self.failed
    }

    /// Number of values so far.
    pub fn len(&self) -> usize {
        match &self.values {
            Built::Int(v) => v.len(),
            Built::Float(v) => v.len(),
            Built::Wide(v) => v.len(),
            Built::Bytes(v) => arrow::array::ArrayBuilder::len(v),
            Built::Rows(v) => v.len(),
            Built::Scalars(v) => v.len(),
        }
    }

    /// Whether there are no values yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn mark(&mut self, valid: bool) {
        match &mut self.valid {
            Some(flags) => flags.push(valid),
            None if valid => {}
            None => {
                // The value was pushed already: all before it are valid.
                let mut flags = vec![true; self.len() - 1];
                flags.push(false);
                self.valid = Some(flags);
            }
        }
    }

    /// Adds NULL.
    pub fn push_null(&mut self) {
        match &mut self.values {
            Built::Int(v) => v.push(0),
            Built::Float(v) => v.push(0.0),
            Built::Wide(v) => v.push(0),
            Built::Bytes(v) => v.append_value([]),
            Built::Rows(v) => v.push(None),
            Built::Scalars(v) => {
                v.push(ScalarValue::try_from(&self.data_type).unwrap_or(ScalarValue::Null));
                return;
            }
        }
        self.mark(false);
    }

    /// Adds NULL for a number that is out of the type's range.
    pub fn push_failed(&mut self) {
        self.failed.push(self.len() as u32);
        self.push_null();
    }

    /// Adds an integer, or the float that its ordered bits mean.
    #[inline]
    pub fn push_int(&mut self, value: i64) {
        match &mut self.values {
            Built::Int(v) if value >= self.range.0 && value <= self.range.1 => v.push(value),
            Built::Float(v) => v.push(float_of(value)),
            Built::Wide(v) => v.push(i128::from(value)),
            _ => return self.push_failed(),
        }
        self.mark(true);
    }

    /// Adds many integers; for types of 64 bits at the speed of a copy.
    pub fn extend_ints(&mut self, values: impl Iterator<Item = i64>) {
        match &mut self.values {
            Built::Int(v) if self.range == (i64::MIN, i64::MAX) && self.valid.is_none() => {
                v.extend(values);
            }
            _ => values.for_each(|value| self.push_int(value)),
        }
    }

    /// Adds a float.
    #[inline]
    pub fn push_float(&mut self, value: f64) {
        match &mut self.values {
            Built::Float(v) => v.push(value),
            Built::Int(v) => {
                // Flink's numeric functions over integers give integers, truncated.
                let whole = value.trunc();
                let (least, greatest) = (self.range.0 as f64, self.range.1 as f64);
                // `i64::MAX` as a float is one too many.
                if !(least..=greatest).contains(&whole) || whole >= 2f64.powi(63) {
                    return self.push_failed();
                }
                v.push(whole as i64);
            }
            Built::Wide(v) => {
                let scale = decimal_scale(&self.data_type);
                let scaled = (value * 10f64.powi(i32::from(scale))).round();
                if scaled.is_nan() || scaled.abs() >= 1e38 {
                    return self.push_failed();
                }
                v.push(scaled as i128);
            }
            _ => return self.push_failed(),
        }
        self.mark(true);
    }

    /// Adds a wide integer (a decimal in units of its own scale).
    #[inline]
    pub fn push_wide(&mut self, value: i128) {
        match &mut self.values {
            Built::Wide(v) if fits(&self.data_type, value) => v.push(value),
            _ => return self.push_failed(),
        }
        self.mark(true);
    }

    /// Adds bytes: a string, or one row of the row format.
    #[inline]
    pub fn push_bytes(&mut self, value: &[u8]) {
        match &mut self.values {
            Built::Bytes(v) => v.append_value(value),
            Built::Rows(v) => v.push(Some(value.into())),
            _ => return self.push_failed(),
        }
        self.mark(true);
    }

    /// Adds a scalar; only for [`ColumnBuilder::of_scalars`].
    pub fn push_scalar(&mut self, value: ScalarValue) {
        match &mut self.values {
            Built::Scalars(v) => v.push(value),
            _ => self.push_failed(),
        }
    }

    /// Whether the values at `a` and `b` differ (NULLs are equal).
    #[inline]
    pub fn differ(&self, a: usize, b: usize) -> bool {
        if let Some(valid) = &self.valid {
            if valid[a] != valid[b] {
                return true;
            }
            if !valid[a] {
                return false;
            }
        }
        match &self.values {
            Built::Int(v) => v[a] != v[b],
            Built::Float(v) => v[a].to_bits() != v[b].to_bits(),
            Built::Wide(v) => v[a] != v[b],
            Built::Bytes(v) => v.get_value(a) != v.get_value(b),
            Built::Rows(v) => v[a] != v[b],
            Built::Scalars(v) => v[a] != v[b],
        }
    }

    /// The array of all values; the builder is empty again.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        self.failed.clear();
        let nulls = self.valid.take().map(NullBuffer::from);
        match &mut self.values {
            Built::Int(values) => finish_ints(std::mem::take(values), nulls, &self.data_type),
            Built::Float(values) => {
                let values = ScalarBuffer::from(std::mem::take(values));
                let array: ArrayRef = Arc::new(PrimitiveArray::<Float64Type>::new(values, nulls));
                Ok(cast(&array, &self.data_type)?)
            }
            Built::Wide(values) => {
                let values = std::mem::take(values);
                if self.data_type == DataType::UInt64 {
                    let values = values.into_iter().map(|v| v as u64).collect();
                    return Ok(Arc::new(PrimitiveArray::<UInt64Type>::new(values, nulls)));
                }
                let array = PrimitiveArray::<Decimal128Type>::new(values.into(), nulls);
                Ok(Arc::new(array.with_data_type(self.data_type.clone())))
            }
            Built::Bytes(builder) => {
                let (views, buffers, _) = builder.finish().into_parts();
                let array = BinaryViewArray::try_new(views, buffers, nulls)?;
                match &self.data_type {
                    DataType::BinaryView => Ok(Arc::new(array)),
                    DataType::Utf8View => Ok(Arc::new(array.to_string_view()?)),
                    DataType::Utf8 | DataType::LargeUtf8 => {
                        let array: ArrayRef = Arc::new(array.to_string_view()?);
                        Ok(cast(&array, &self.data_type)?)
                    }
                    other => Ok(cast(&(Arc::new(array) as ArrayRef), other)?),
                }
            }
            Built::Rows(rows) => finish_rows(&std::mem::take(rows), &self.data_type),
            Built::Scalars(values) => {
                let values = std::mem::take(values);
                if values.is_empty() {
                    return Ok(arrow::array::new_empty_array(&self.data_type));
                }
                let array = ScalarValue::iter_to_array(values)?;
                if array.data_type() == &self.data_type {
                    return Ok(array);
                }
                Ok(cast(&array, &self.data_type)?)
            }
        }
    }
}

/// The scale of a decimal; zero for other types.
pub fn decimal_scale(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

fn fits(data_type: &DataType, value: i128) -> bool {
    match data_type {
        DataType::Decimal128(precision, _) => {
            value.unsigned_abs() < 10u128.pow(u32::from(*precision).min(38))
        }
        DataType::UInt64 => u64::try_from(value).is_ok(),
        _ => false,
    }
}

pub(super) fn finish_ints(
    values: Vec<i64>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    fn narrow<T: ArrowPrimitiveType>(
        values: Vec<i64>,
        nulls: Option<NullBuffer>,
        data_type: &DataType,
    ) -> ArrayRef
    where
        T::Native: TryFrom<i64>,
    {
        let values: ScalarBuffer<T::Native> = if T::DATA_TYPE.primitive_width() == Some(8) {
            let length = values.len();
            ScalarBuffer::new(arrow::buffer::Buffer::from_vec(values), 0, length)
        } else {
            // Values were checked against the type's range when pushed.
            values.into_iter().map(|v| T::Native::try_from(v).unwrap_or_default()).collect()
        };
        Arc::new(PrimitiveArray::<T>::new(values, nulls).with_data_type(data_type.clone()))
    }
    Ok(with_int_type!(data_type, T => narrow::<T>(values, nulls, data_type), else {
        let bits = values.iter().map(|&v| v != 0).collect();
        Arc::new(BooleanArray::new(bits, nulls))
    }))
}

fn finish_rows(rows: &[Option<Box<[u8]>>], data_type: &DataType) -> Result<ArrayRef> {
    let converter = converter(data_type)?;
    let null = converter.convert_columns(&[new_null_array(data_type, 1)])?;
    let parser = converter.parser();
    let parsed = rows.iter().map(|row| match row {
        Some(bytes) => parser.parse(bytes),
        None => null.row(0),
    });
    converter
        .convert_rows(parsed)?
        .pop()
        .ok_or_else(|| Error::internal("a row converter without a column"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float32Array, Int32Array, ListArray, StringArray};

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
