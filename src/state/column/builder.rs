//! [`ColumnBuilder`]: the forms of columns, value by value, back to Arrow arrays.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryViewArray, BinaryViewBuilder, BooleanArray, PrimitiveArray,
    new_null_array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::*;
use datafusion::common::ScalarValue;

use super::{Form, converter, float_of, form_of};
use crate::error::{Error, Result};

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

pub(in crate::state) fn finish_ints(
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
