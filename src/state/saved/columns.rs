//! The columns of a saved table, written and read one after the other.

use std::sync::Arc;

use arrow::array::RecordBatchOptions;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, LargeBinaryBuilder, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

use crate::error::{Error, Result};
use crate::state::encode::{Encode, Encoded};

/// Columns of state that are being saved.
#[derive(Debug, Default)]
pub struct SavedColumns {
    columns: Vec<ArrayRef>,
}

impl SavedColumns {
    /// Begins with `columns`: those that name the rows.
    pub fn new(columns: Vec<ArrayRef>) -> Self {
        SavedColumns { columns }
    }

    /// Adds a column of integers.
    pub fn ints(&mut self, values: impl IntoIterator<Item = i64>) {
        self.columns.push(Arc::new(Int64Array::from_iter_values(values)));
    }

    /// Adds a column of stored values.
    pub fn values<'a, T: Encode + 'a>(&mut self, values: impl IntoIterator<Item = &'a T>) {
        self.encoded(values, |value, out| value.encode(out));
    }

    /// Adds a column of what `encode` writes for each item.
    pub fn encoded<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut encode: impl FnMut(T, &mut Vec<u8>),
    ) {
        let (mut column, mut bytes) = (LargeBinaryBuilder::new(), Vec::new());
        for item in items {
            bytes.clear();
            encode(item, &mut bytes);
            column.append_value(&bytes);
        }
        self.columns.push(Arc::new(column.finish()));
    }

    /// The columns as `rows` rows.
    pub fn finish(self, rows: usize) -> Result<RecordBatch> {
        let field = |(i, column): (usize, &ArrayRef)| {
            Field::new(format!("c{i}"), column.data_type().clone(), true)
        };
        let fields: Vec<Field> = self.columns.iter().enumerate().map(field).collect();
        let count = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::new(Schema::new(fields));
        Ok(RecordBatch::try_new_with_options(schema, self.columns, &count)?)
    }
}

/// Columns of state that come back, in the order in which they were saved.
#[derive(Debug)]
pub struct LoadedColumns<'a> {
    columns: std::slice::Iter<'a, ArrayRef>,
}

impl<'a> LoadedColumns<'a> {
    /// The columns of `rows`.
    pub fn new(rows: &'a RecordBatch) -> Self {
        LoadedColumns { columns: rows.columns().iter() }
    }

    /// The next column.
    pub fn array(&mut self) -> Result<&'a ArrayRef> {
        self.columns.next().ok_or_else(misfit)
    }

    /// Whether the next column is one of [`SavedColumns::encoded`].
    pub fn is_encoded(&self) -> bool {
        let next = self.columns.as_slice().first();
        next.is_some_and(|column| *column.data_type() == DataType::LargeBinary)
    }

    /// The next column, of integers.
    pub fn ints(&mut self) -> Result<&'a [i64]> {
        let ints = self.array()?.as_primitive_opt::<Int64Type>().ok_or_else(misfit)?;
        Ok(ints.values())
    }

    /// Hands each value of the next column, which are stored values, to `take`, with its row.
    pub fn values<T: Encode>(&mut self, mut take: impl FnMut(usize, T)) -> Result<()> {
        self.encoded(|row, from| {
            take(row, T::decode(from)?);
            Ok(())
        })
    }

    /// Hands what was written for each row of the next column to `decode`.
    pub fn encoded(
        &mut self,
        mut decode: impl FnMut(usize, &mut Encoded<'_>) -> Result<()>,
    ) -> Result<()> {
        let column = self.array()?.as_binary_opt::<i64>().ok_or_else(misfit)?;
        for row in 0..column.len() {
            let mut from = Encoded::new(column.value(row));
            decode(row, &mut from)?;
            if !from.is_empty() {
                return Err(misfit());
            }
        }
        Ok(())
    }
}

fn misfit() -> Error {
    Error::internal("saved state does not fit its operator")
}
