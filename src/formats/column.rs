//! Columns under construction: typed vectors that can be cut back to a row count.
//!
//! A decoder writes a record's values straight into the columns; when the record turns out to be
//! broken, [`Column::truncate`] takes them back. Strings are views into the chunk they were read
//! from (block 0) or into a side buffer for those that had to be rewritten (block 1). Nothing here
//! knows a format.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    IntervalYearMonthArray, ListArray, MapArray, StringViewArray, StructArray,
    Time32MillisecondArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampSecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields, IntervalMonthDayNano, IntervalUnit, TimeUnit};

use super::temporal::TimestampParser;
use crate::error::{Error, Result};

/// The longest string that a view holds without pointing to a block.
const INLINE_BYTES_MAX: usize = 12;

/// The block of a view that points into the chunk.
pub(super) const BLOCK_CHUNK: u32 = 0;
/// The block of a view that points into the side buffer.
pub(super) const BLOCK_SIDE: u32 = 1;

/// A column under construction.
pub(super) struct Column {
    pub field: FieldRef,
    pub data: Data,
    /// Rows that are NULL, ascending; their values are placeholders.
    nulls: Vec<u32>,
}

/// The values of a [`Column`], by type.
pub(super) enum Data {
    Boolean(Vec<bool>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    /// Months, or milliseconds, by the field's type.
    Interval(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: i8,
    },
    Date(Vec<i32>),
    Time(Vec<i32>),
    Timestamp {
        values: Vec<i64>,
        parser: TimestampParser,
    },
    Text(Views),
    Bytes(Views),
    List {
        offsets: Vec<i32>,
        child: Box<Column>,
    },
    Map {
        offsets: Vec<i32>,
        entries: FieldRef,
        key: Box<Column>,
        value: Box<Column>,
    },
    Row {
        rows: usize,
        fields: Fields,
        children: Vec<Column>,
    },
}

/// String or binary views.
#[derive(Default)]
pub(super) struct Views {
    views: Vec<u128>,
    /// Whether a view points to a block: if none does, the chunk need not be kept.
    outlined: bool,
}

impl Views {
    /// Appends `bytes`, which lie at `offset` in `block`.
    #[inline]
    pub fn push(&mut self, bytes: &[u8], block: u32, offset: usize) {
        let length = bytes.len();
        let view = if let Some(head) = bytes.first_chunk::<16>() {
            self.outlined = true;
            outlined_view(head, length, block, offset)
        } else {
            short_view(bytes, block, offset, &mut self.outlined)
        };
        self.views.push(view);
    }
}

/// A view of more than [`INLINE_BYTES_MAX`] bytes: length, first four bytes, block, offset.
#[inline]
fn outlined_view(head: &[u8; 16], length: usize, block: u32, offset: usize) -> u128 {
    let prefix = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    (length as u32 as u128)
        | (prefix as u128) << 32
        | (block as u128) << 64
        | (offset as u32 as u128) << 96
}

#[inline]
fn short_view(bytes: &[u8], block: u32, offset: usize, outlined: &mut bool) -> u128 {
    let mut head = [0u8; 16];
    for (to, from) in head.iter_mut().zip(bytes) {
        *to = *from;
    }
    if bytes.len() > INLINE_BYTES_MAX {
        *outlined = true;
        return outlined_view(&head, bytes.len(), block, offset);
    }
    u128::from_le_bytes(head) << 32 | bytes.len() as u128
}

impl Column {
    /// An empty column of `field`'s type with room for `capacity` rows.
    pub fn new(field: &FieldRef, capacity: usize, format: &str) -> Result<Self> {
        let child = |f: &FieldRef| Column::new(f, 0, format).map(Box::new);
        let data = match field.data_type() {
            DataType::Boolean => Data::Boolean(Vec::with_capacity(capacity)),
            DataType::Int8 => Data::Int8(Vec::with_capacity(capacity)),
            DataType::Int16 => Data::Int16(Vec::with_capacity(capacity)),
            DataType::Int32 => Data::Int32(Vec::with_capacity(capacity)),
            DataType::Int64 => Data::Int64(Vec::with_capacity(capacity)),
            DataType::Interval(IntervalUnit::YearMonth | IntervalUnit::MonthDayNano) => {
                Data::Interval(Vec::with_capacity(capacity))
            }
            DataType::Float32 => Data::Float32(Vec::with_capacity(capacity)),
            DataType::Float64 => Data::Float64(Vec::with_capacity(capacity)),
            DataType::Decimal128(precision, scale) => Data::Decimal {
                values: Vec::with_capacity(capacity),
                precision: *precision,
                scale: *scale,
            },
            DataType::Date32 => Data::Date(Vec::with_capacity(capacity)),
            DataType::Time32(TimeUnit::Millisecond) => Data::Time(Vec::with_capacity(capacity)),
            DataType::Timestamp(unit, zone) if *unit != TimeUnit::Nanosecond => Data::Timestamp {
                values: Vec::with_capacity(capacity),
                parser: TimestampParser::new(*unit, zone.is_some()),
            },
            DataType::Utf8View => Data::Text(Views::with_capacity(capacity)),
            DataType::BinaryView => Data::Bytes(Views::with_capacity(capacity)),
            DataType::List(item) => Data::List { offsets: vec![0], child: child(item)? },
            DataType::Map(entries, _) => {
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(unsupported(field, format));
                };
                let [key, value] = fields.as_ref() else { return Err(unsupported(field, format)) };
                if key.data_type() != &DataType::Utf8View {
                    return Err(Error::config(format!(
                        "column '{}': format '{format}' needs MAP keys of type STRING",
                        field.name()
                    )));
                }
                let (key, value) = (child(key)?, child(value)?);
                Data::Map { offsets: vec![0], entries: Arc::clone(entries), key, value }
            }
            DataType::Struct(fields) => Data::Row {
                rows: 0,
                fields: fields.clone(),
                children: fields
                    .iter()
                    .map(|f| Column::new(f, 0, format))
                    .collect::<Result<Vec<_>>>()?,
            },
            _ => return Err(unsupported(field, format)),
        };
        Ok(Column { field: Arc::clone(field), data, nulls: Vec::new() })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Boolean(v) => v.len(),
            Data::Int8(v) => v.len(),
            Data::Int16(v) => v.len(),
            Data::Int32(v) | Data::Date(v) | Data::Time(v) => v.len(),
            Data::Int64(v) | Data::Interval(v) | Data::Timestamp { values: v, .. } => v.len(),
            Data::Float32(v) => v.len(),
            Data::Float64(v) => v.len(),
            Data::Decimal { values, .. } => values.len(),
            Data::Text(v) | Data::Bytes(v) => v.views.len(),
            Data::List { offsets, .. } | Data::Map { offsets, .. } => offsets.len() - 1,
            Data::Row { rows, .. } => *rows,
        }
    }

    /// Takes back every row from `rows` on, finished or not.
    pub fn truncate(&mut self, rows: usize) {
        match &mut self.data {
            Data::Boolean(v) => v.truncate(rows),
            Data::Int8(v) => v.truncate(rows),
            Data::Int16(v) => v.truncate(rows),
            Data::Int32(v) | Data::Date(v) | Data::Time(v) => v.truncate(rows),
            Data::Int64(v) | Data::Interval(v) | Data::Timestamp { values: v, .. } => {
                v.truncate(rows)
            }
            Data::Float32(v) => v.truncate(rows),
            Data::Float64(v) => v.truncate(rows),
            Data::Decimal { values, .. } => values.truncate(rows),
            Data::Text(v) | Data::Bytes(v) => v.views.truncate(rows),
            Data::List { offsets, child } => child.truncate(cut_offsets(offsets, rows)),
            Data::Map { offsets, key, value, .. } => {
                let entries = cut_offsets(offsets, rows);
                key.truncate(entries);
                value.truncate(entries);
            }
            Data::Row { rows: count, children, .. } => {
                *count = rows.min(*count);
                children.iter_mut().for_each(|c| c.truncate(rows));
            }
        }
        while self.nulls.last().is_some_and(|&n| n as usize >= rows) {
            self.nulls.pop();
        }
    }

    /// Appends a NULL, whatever the column's nullability: the caller has checked it.
    pub fn push_null(&mut self) {
        self.nulls.push(self.len() as u32);
        match &mut self.data {
            Data::Boolean(v) => v.push(false),
            Data::Int8(v) => v.push(0),
            Data::Int16(v) => v.push(0),
            Data::Int32(v) | Data::Date(v) | Data::Time(v) => v.push(0),
            Data::Int64(v) | Data::Interval(v) | Data::Timestamp { values: v, .. } => v.push(0),
            Data::Float32(v) => v.push(0.0),
            Data::Float64(v) => v.push(0.0),
            Data::Decimal { values, .. } => values.push(0),
            Data::Text(v) | Data::Bytes(v) => v.views.push(0),
            Data::List { offsets, .. } | Data::Map { offsets, .. } => {
                offsets.push(offsets.last().copied().unwrap_or(0));
            }
            Data::Row { rows, children, .. } => {
                *rows += 1;
                children.iter_mut().for_each(Column::push_null);
            }
        }
    }

    /// The finished array; `blocks` are what the views point to.
    pub fn finish(self, blocks: &[Buffer]) -> Result<ArrayRef> {
        let length = self.len();
        let nulls = null_buffer(&self.nulls, length);
        Ok(match self.data {
            Data::Boolean(v) => Arc::new(BooleanArray::new(BooleanBuffer::from(v), nulls)),
            Data::Int8(v) => Arc::new(Int8Array::new(v.into(), nulls)),
            Data::Int16(v) => Arc::new(Int16Array::new(v.into(), nulls)),
            Data::Int32(v) => Arc::new(Int32Array::new(v.into(), nulls)),
            Data::Int64(v) => Arc::new(Int64Array::new(v.into(), nulls)),
            Data::Interval(v) => intervals(v, nulls, &self.field)?,
            Data::Float32(v) => Arc::new(Float32Array::new(v.into(), nulls)),
            Data::Float64(v) => Arc::new(Float64Array::new(v.into(), nulls)),
            Data::Decimal { values, precision, scale } => Arc::new(
                Decimal128Array::new(values.into(), nulls)
                    .with_precision_and_scale(precision, scale)?,
            ),
            Data::Date(v) => Arc::new(Date32Array::new(v.into(), nulls)),
            Data::Time(v) => Arc::new(Time32MillisecondArray::new(v.into(), nulls)),
            Data::Timestamp { values, parser } => {
                timestamps(values.into(), nulls, parser.unit(), &self.field)
            }
            Data::Text(v) => {
                let blocks = v.blocks(blocks);
                Arc::new(StringViewArray::try_new(v.views.into(), blocks, nulls)?)
            }
            Data::Bytes(v) => {
                let blocks = v.blocks(blocks);
                Arc::new(BinaryViewArray::try_new(v.views.into(), blocks, nulls)?)
            }
            Data::List { offsets, child } => {
                let item = Arc::clone(&child.field);
                let offsets = OffsetBuffer::new(offsets.into());
                Arc::new(ListArray::try_new(item, offsets, child.finish(blocks)?, nulls)?)
            }
            Data::Map { offsets, entries, key, value } => {
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(Error::internal("a map without entries"));
                };
                let columns = vec![key.finish(blocks)?, value.finish(blocks)?];
                let rows = StructArray::try_new(fields.clone(), columns, None)?;
                let offsets = OffsetBuffer::new(offsets.into());
                let ordered = matches!(self.field.data_type(), DataType::Map(_, true));
                Arc::new(MapArray::try_new(entries, offsets, rows, nulls, ordered)?)
            }
            Data::Row { fields, children, .. } => {
                let columns =
                    children.into_iter().map(|c| c.finish(blocks)).collect::<Result<Vec<_>>>()?;
                Arc::new(StructArray::try_new_with_length(fields, columns, nulls, length)?)
            }
        })
    }
}

/// Intervals as Flink's formats carry them: whole months, or milliseconds.
fn intervals(values: Vec<i64>, nulls: Option<NullBuffer>, field: &FieldRef) -> Result<ArrayRef> {
    let beyond = |_| Error::internal("an interval beyond its range was not refused");
    Ok(match field.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            let months = values.into_iter().map(i32::try_from).collect::<Result<Vec<_>, _>>();
            Arc::new(IntervalYearMonthArray::new(months.map_err(beyond)?.into(), nulls))
        }
        _ => {
            let span = |ms: i64| IntervalMonthDayNano::new(0, 0, ms.saturating_mul(1_000_000));
            let spans: Vec<_> = values.into_iter().map(span).collect();
            Arc::new(IntervalMonthDayNanoArray::new(spans.into(), nulls))
        }
    })
}

impl Views {
    fn with_capacity(capacity: usize) -> Self {
        Views { views: Vec::with_capacity(capacity), outlined: false }
    }

    fn blocks(&self, blocks: &[Buffer]) -> Vec<Buffer> {
        if self.outlined { blocks.to_vec() } else { Vec::new() }
    }
}

/// Cuts the offsets of a list to `rows` rows and says how many elements remain.
fn cut_offsets(offsets: &mut Vec<i32>, rows: usize) -> usize {
    offsets.truncate(rows.saturating_add(1));
    offsets.last().map_or(0, |&o| o as usize)
}

/// The validity of `length` rows of which those in `nulls` are NULL.
fn null_buffer(nulls: &[u32], length: usize) -> Option<NullBuffer> {
    if nulls.is_empty() {
        return None;
    }
    let mut bits = vec![0xFFu8; length.div_ceil(8)];
    for &row in nulls {
        if let Some(byte) = bits.get_mut(row as usize / 8) {
            *byte &= !(1 << (row % 8));
        }
    }
    Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, length)))
}

fn timestamps(
    values: ScalarBuffer<i64>,
    nulls: Option<NullBuffer>,
    unit: TimeUnit,
    field: &FieldRef,
) -> ArrayRef {
    let zone = match field.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    match unit {
        TimeUnit::Second => {
            Arc::new(TimestampSecondArray::new(values, nulls).with_timezone_opt(zone))
        }
        TimeUnit::Millisecond => {
            Arc::new(TimestampMillisecondArray::new(values, nulls).with_timezone_opt(zone))
        }
        _ => Arc::new(TimestampMicrosecondArray::new(values, nulls).with_timezone_opt(zone)),
    }
}

fn unsupported(field: &FieldRef, format: &str) -> Error {
    Error::config(format!(
        "column '{}' has type {}, which format '{format}' cannot carry",
        field.name(),
        type_name(field.data_type())
    ))
}

/// The SQL name of a type, for messages.
pub(super) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Date32 => "DATE".into(),
        DataType::Time32(_) => "TIME".into(),
        DataType::Timestamp(unit, zone) => {
            let name = if zone.is_some() { "TIMESTAMP_LTZ" } else { "TIMESTAMP" };
            let digits = match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            };
            format!("{name}({digits})")
        }
        DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8 => "STRING".into(),
        DataType::BinaryView | DataType::Binary | DataType::LargeBinary => "BYTES".into(),
        DataType::List(item) => format!("ARRAY<{}>", type_name(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => format!(
                "MAP<{}, {}>",
                type_name(fields[0].data_type()),
                type_name(fields[1].data_type())
            ),
            _ => "MAP".into(),
        },
        DataType::Struct(fields) => {
            let inner = fields.iter().map(|f| format!("{} {}", f.name(), type_name(f.data_type())));
            format!("ROW<{}>", inner.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
