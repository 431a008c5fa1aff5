//! Arrays and maps as rows: one row an element, beside columns of the row that it is of.
//!
//! Stateless; times and diffs are those of the row, so retractions pass. Called by the renderer.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};

use crate::batch::UpdateBatch;
use crate::error::{Error, Result};
use crate::limits::UNNEST_ROWS_PER_BATCH_MAX;
use crate::plan::node::Unnest;

/// A list or map column: where each row's elements are.
struct Elements {
    offsets: OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
    /// The columns of the elements.
    columns: Vec<ArrayRef>,
}

impl Elements {
    fn read(array: &ArrayRef, flatten: bool) -> Result<Self> {
        let nulls = array.logical_nulls();
        if let Some(map) = array.as_map_opt() {
            let columns = map.entries().columns().to_vec();
            return Ok(Elements { offsets: map.offsets().clone(), nulls, columns });
        }
        let list = array
            .as_list_opt::<i32>()
            .ok_or_else(|| Error::internal("a column to unnest that is no list"))?;
        let values = list.values();
        let columns = match values.data_type() {
            DataType::Struct(_) if flatten => fields_of(values)?,
            _ => vec![Arc::clone(values)],
        };
        Ok(Elements { offsets: list.offsets().clone(), nulls, columns })
    }

    fn span(&self, row: usize) -> (usize, usize) {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return (0, 0);
        }
        let start = self.offsets[row] as usize;
        (start, self.offsets[row + 1] as usize - start)
    }
}

/// The fields of rows; those of a NULL row are NULL.
fn fields_of(rows: &ArrayRef) -> Result<Vec<ArrayRef>> {
    let rows = rows.as_struct();
    let Some(nulls) = rows.nulls() else { return Ok(rows.columns().to_vec()) };
    let null_rows = arrow::array::BooleanArray::new(!nulls.inner(), None);
    let masked = |column: &ArrayRef| Ok(arrow::compute::nullif(column.as_ref(), &null_rows)?);
    rows.columns().iter().map(masked).collect()
}

/// The rows of the elements, in batches of bounded length.
pub fn unnest(batch: &UpdateBatch, spec: &Unnest, output: &SchemaRef) -> Result<Vec<UpdateBatch>> {
    let lists = spec.lists.iter().map(|&list| Elements::read(batch.column(list), spec.flatten));
    let lists: Vec<Elements> = lists.collect::<Result<_>>()?;
    let mut done = Vec::new();
    let mut part = Part::new(lists.len());
    for row in 0..batch.len() {
        let count = lists.iter().map(|list| list.span(row).1).max().unwrap_or(0);
        if count == 0 && spec.outer {
            part.push(row, None, &lists);
        }
        for element in 0..count {
            part.push(row, Some(element), &lists);
            if part.rows.len() >= UNNEST_ROWS_PER_BATCH_MAX {
                done.push(
                    std::mem::replace(&mut part, Part::new(lists.len()))
                        .finish(batch, spec, &lists, output)?,
                );
            }
        }
    }
    if !part.rows.is_empty() {
        done.push(part.finish(batch, spec, &lists, output)?);
    }
    Ok(done)
}

/// Rows being put together: for each the row that it is of, and its element of each list.
struct Part {
    rows: Vec<u32>,
    elements: Vec<Vec<Option<u32>>>,
    counts: Vec<Option<i32>>,
}

impl Part {
    fn new(lists: usize) -> Self {
        Part { rows: Vec::new(), elements: vec![Vec::new(); lists], counts: Vec::new() }
    }

    fn push(&mut self, row: usize, element: Option<usize>, lists: &[Elements]) {
        self.rows.push(row as u32);
        for (places, list) in self.elements.iter_mut().zip(lists) {
            let (start, length) = list.span(row);
            places.push(element.filter(|&at| at < length).map(|at| (start + at) as u32));
        }
        self.counts.push(element.map(|at| at as i32 + 1));
    }

    fn finish(
        self,
        batch: &UpdateBatch,
        spec: &Unnest,
        lists: &[Elements],
        output: &SchemaRef,
    ) -> Result<UpdateBatch> {
        let parents = UInt32Array::from(self.rows);
        let mut columns = Vec::with_capacity(output.fields().len());
        for &column in &spec.keep {
            columns.push(take(batch.column(column).as_ref(), &parents, None)?);
        }
        for (list, places) in lists.iter().zip(self.elements) {
            let places = UInt32Array::from(places);
            for column in &list.columns {
                columns.push(take(column.as_ref(), &places, None)?);
            }
        }
        if spec.ordinality {
            columns.push(Arc::new(Int32Array::from(self.counts)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(parents.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(output), columns, &options)?;
        let pick = |values: &[i64]| -> Vec<i64> {
            parents.values().iter().map(|&row| values[row as usize]).collect()
        };
        let times = pick(batch.times());
        let diffs = batch.diffs().map(|diffs| pick(diffs).into());
        Ok(UpdateBatch::new(rows, times.into(), diffs))
    }
}
