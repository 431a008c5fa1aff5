//! The rows of open matches: those that came with this step, and those kept from earlier ones.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::state::rows::RowStore;

/// Set in the number of a row of the present step.
const NEW: u32 = 1 << 31;

/// Rows by number.
pub struct Rows {
    schema: SchemaRef,
    kept: RowStore,
    new: RecordBatch,
}

/// The number of row `index` of the present step.
pub fn new_row(index: usize) -> u32 {
    index as u32 | NEW
}

/// The index of a row of the present step.
pub fn new_index(row: u32) -> Option<u32> {
    (row & NEW != 0).then_some(row & !NEW)
}

impl Rows {
    /// No rows.
    pub fn new(schema: &SchemaRef) -> Self {
        Rows {
            schema: Arc::clone(schema),
            kept: RowStore::new(schema),
            new: RecordBatch::new_empty(Arc::clone(schema)),
        }
    }

    /// Number of rows kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// The rows of the present step.
    pub fn set_new(&mut self, rows: RecordBatch) {
        self.new = rows;
    }

    /// Keeps the rows of the present step at `indices`; returns their numbers.
    pub fn keep(&mut self, indices: Vec<u32>) -> Result<Vec<u32>> {
        let mut slots = Vec::new();
        if !indices.is_empty() {
            let rows = arrow::compute::take_record_batch(&self.new, &UInt32Array::from(indices))?;
            self.kept.insert(&rows, &mut slots)?;
        }
        if slots.last().is_some_and(|&slot| slot & NEW != 0) {
            return Err(Error::internal("too many rows in open matches"));
        }
        self.new = RecordBatch::new_empty(Arc::clone(&self.schema));
        Ok(slots)
    }

    /// Forgets a kept row.
    pub fn remove(&mut self, row: u32) {
        if new_index(row).is_none() {
            self.kept.remove(row);
        }
    }

    /// One column of the rows of the present step.
    pub fn new_column(&self, column: usize) -> Result<ArrayRef> {
        match self.new.columns().get(column) {
            Some(array) => Ok(Arc::clone(array)),
            None => Err(Error::internal("a match reads a column that is not there")),
        }
    }

    /// One column of `rows`; NULL where there is none.
    pub fn column(&self, column: usize, rows: &[Option<u32>]) -> Result<ArrayRef> {
        let Some(field) = self.schema.fields().get(column) else {
            return Err(Error::internal("a match reads a column that is not there"));
        };
        let is_new = |row: &Option<u32>| row.is_none_or(|row| row & NEW != 0);
        if rows.iter().all(is_new) {
            let indices: UInt32Array = rows.iter().map(|row| row.map(|row| row & !NEW)).collect();
            if indices.null_count() == indices.len() {
                return Ok(new_null_array(field.data_type(), rows.len()));
            }
            return Ok(take(self.new.column(column), &indices, None)?);
        }
        let slots: Vec<u32> = rows.iter().flatten().filter(|r| **r & NEW == 0).copied().collect();
        let kept = self.kept.column(column, &slots)?;
        if slots.len() == rows.len() {
            return Ok(kept);
        }
        let null = new_null_array(field.data_type(), 1);
        let mut next = 0;
        let places: Vec<(usize, usize)> = rows
            .iter()
            .map(|row| match row {
                Some(row) if row & NEW != 0 => (1, (row & !NEW) as usize),
                Some(_) => {
                    next += 1;
                    (0, next - 1)
                }
                None => (2, 0),
            })
            .collect();
        let sources = [kept.as_ref(), self.new.column(column).as_ref(), null.as_ref()];
        Ok(interleave(&sources, &places)?)
    }

    /// One row, as a batch.
    pub fn row(&self, row: u32) -> Result<RecordBatch> {
        let columns = (0..self.schema.fields().len())
            .map(|column| self.column(column, &[Some(row)]))
            .collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
