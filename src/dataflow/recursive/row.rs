//! Rows and multiplicities as differential dataflow wants them: owned, ordered, hashed.
//!
//! A row is its columns in arrow's row format. The bytes of several columns are those of each one
//! after the other, so rows are joined and keys put before results without reading them.

use std::fmt;
use std::hash::{Hash, Hasher};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, RowParser, SortField};
use differential_dataflow::difference::{Abelian, IsZero, Monoid, Multiply, Semigroup};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::batch::hash::normal;
use crate::error::{Error, Result};

/// Bytes that a row holds without an allocation: three BIGINTs and a little.
const INLINE_BYTES: usize = 30;

/// The bytes of a row.
#[derive(Clone)]
pub struct Row(Repr);

#[derive(Clone)]
enum Repr {
    Inline(u8, [u8; INLINE_BYTES]),
    Heap(Box<[u8]>),
}

impl Row {
    /// A row of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Row::join(bytes, &[])
    }

    /// The row of `left`'s columns and then `right`'s.
    pub fn join(left: &[u8], right: &[u8]) -> Self {
        let length = left.len() + right.len();
        if length > INLINE_BYTES {
            return Row(Repr::Heap([left, right].concat().into_boxed_slice()));
        }
        let mut inline = [0; INLINE_BYTES];
        let (head, tail) = inline.split_at_mut(left.len());
        head.copy_from_slice(left);
        if let Some(tail) = tail.get_mut(..right.len()) {
            tail.copy_from_slice(right);
        }
        Row(Repr::Inline(length as u8, inline))
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Repr::Heap(bytes) => bytes,
        }
    }
}

impl Default for Row {
    fn default() -> Self {
        Row::new(&[])
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({:02x?})", self.bytes())
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Row {}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(|bytes| Row::new(&bytes))
    }
}

/// A multiplicity. It stops at the greatest number instead of wrapping: a recursion whose rows are
/// too many is an error long before.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Diff(pub i64);

impl IsZero for Diff {
    fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl Semigroup for Diff {
    fn plus_equals(&mut self, other: &Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

impl Monoid for Diff {
    fn zero() -> Self {
        Diff(0)
    }
}

impl Abelian for Diff {
    fn negate(&mut self) {
        self.0 = self.0.saturating_neg();
    }
}

impl Multiply<Diff> for Diff {
    type Output = Diff;

    fn multiply(self, other: &Diff) -> Diff {
        Diff(self.0.saturating_mul(other.0))
    }
}

impl From<i8> for Diff {
    fn from(value: i8) -> Self {
        Diff(i64::from(value))
    }
}

/// Columns to rows and back.
pub struct RowCodec {
    schema: SchemaRef,
    converter: RowConverter,
    parser: RowParser,
}

impl RowCodec {
    /// For rows of `schema`; types without an order cannot be in a recursion.
    pub fn new(schema: &SchemaRef) -> Result<Self> {
        let fields: Vec<SortField> =
            schema.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        if !RowConverter::supports_fields(&fields) {
            return Err(Error::sql("a recursive query has a column of a type without an order"));
        }
        let converter = RowConverter::new(fields)?;
        let parser = converter.parser();
        Ok(RowCodec { schema: schema.clone(), converter, parser })
    }

    /// For these columns of `schema`.
    pub fn of_columns(schema: &Schema, columns: &[usize]) -> Result<Self> {
        RowCodec::new(&SchemaRef::new(schema.project(columns)?))
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Calls `each` with the bytes of each of `count` rows of `columns`.
    pub fn encode(
        &self,
        columns: &[ArrayRef],
        count: usize,
        mut each: impl FnMut(usize, &[u8]),
    ) -> Result<()> {
        if columns.is_empty() {
            (0..count).for_each(|row| each(row, &[]));
            return Ok(());
        }
        let columns: Vec<ArrayRef> = columns.iter().map(normal).collect();
        let rows = self.converter.convert_columns(&columns)?;
        rows.iter().enumerate().for_each(|(row, bytes)| each(row, bytes.as_ref()));
        Ok(())
    }

    /// The columns of rows.
    pub fn decode<'r>(&self, rows: impl ExactSizeIterator<Item = &'r [u8]>) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = match self.schema.fields().is_empty() {
            true => Vec::new(),
            false => self.converter.convert_rows(rows.map(|bytes| self.parser.parse(bytes)))?,
        };
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringViewArray};
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn rows_are_read_back() {
        let field = |name: &str, of: DataType| Field::new(name, of, true);
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            field("a", DataType::Int64),
            field("b", DataType::Utf8View),
            field("c", DataType::Float64),
        ]));
        let long = "a text of more bytes than fit inline";
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(1), None, Some(-1)])),
            Arc::new(StringViewArray::from(vec![Some("x"), Some(long), None])),
            Arc::new(Float64Array::from(vec![Some(-0.0), Some(0.0), None])),
        ];
        let codec = RowCodec::new(&schema).unwrap();
        let mut rows = Vec::new();
        codec.encode(&columns, 3, |_, bytes| rows.push(Row::new(bytes))).unwrap();
        let read = codec.decode(rows.iter().map(Row::bytes)).unwrap();
        assert_eq!(read.column(0), &columns[0]);
        assert_eq!(read.column(1), &columns[1]);
        assert!(rows[2] < rows[0], "ordered as the columns are, NULLs first");
        // The bytes of two parts are those of the whole.
        let left = RowCodec::of_columns(&schema, &[0, 1]).unwrap();
        let right = RowCodec::of_columns(&schema, &[2]).unwrap();
        let (mut lefts, mut rights) = (Vec::new(), Vec::new());
        left.encode(&columns[..2], 3, |_, bytes| lefts.push(bytes.to_vec())).unwrap();
        right.encode(&columns[2..], 3, |_, bytes| rights.push(bytes.to_vec())).unwrap();
        for ((row, left), right) in rows.iter().zip(lefts).zip(rights) {
            assert_eq!(*row, Row::join(&left, &right));
        }
    }

    #[test]
    fn multiplicities_do_not_wrap() {
        let mut diff = Diff(i64::MAX);
        diff.plus_equals(&Diff(1));
        assert_eq!(diff, Diff(i64::MAX));
        assert_eq!(Diff(1 << 40).multiply(&Diff(1 << 40)), Diff(i64::MAX));
    }
}
