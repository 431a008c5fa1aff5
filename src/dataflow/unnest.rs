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

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, Int64Builder, ListBuilder};
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;

    use super::*;
    use crate::state::keyed::row_text;

    type Row = (i64, Option<Vec<Option<i64>>>, i64, i64);

    fn batch(rows: &[Row]) -> UpdateBatch {
        let mut lists = ListBuilder::new(Int64Builder::new());
        rows.iter().for_each(|(_, list, _, _)| lists.append_option(list.clone()));
        let lists = lists.finish();
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("list", lists.data_type().clone(), true),
        ]);
        let ids: Int64Array = rows.iter().map(|(id, ..)| *id).collect();
        let rows_of = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(lists)]);
        let times: Vec<i64> = rows.iter().map(|(_, _, time, _)| *time).collect();
        let diffs: Vec<i64> = rows.iter().map(|(_, _, _, diff)| *diff).collect();
        UpdateBatch::new(rows_of.unwrap(), times.into(), Some(diffs.into()))
    }

    fn naive(rows: &[Row], outer: bool) -> Vec<(String, i64, i64)> {
        let mut expected = Vec::new();
        for (id, list, time, diff) in rows {
            let items = list.clone().unwrap_or_default();
            if items.is_empty() && outer {
                expected.push((format!("{id},NULL,NULL"), *time, *diff));
            }
            for (place, item) in items.iter().enumerate() {
                let item = item.map_or("NULL".to_string(), |item| item.to_string());
                expected.push((format!("{id},{item},{}", place + 1), *time, *diff));
            }
        }
        expected
    }

    proptest! {
        /// Law: one row an element with the time and diff of its row, for any slice of a batch.
        #[test]
        fn elements_are_those_of_their_rows(
            rows in prop::collection::vec(
                (
                    0i64..5,
                    prop::option::of(prop::collection::vec(prop::option::of(0i64..9), 0..4)),
                    0i64..99,
                    prop::sample::select(vec![-1i64, 1, 3]),
                ),
                0..20,
            ),
            cut in 0usize..20,
            outer in any::<bool>(),
        ) {
            let (lists, keep) = (vec![1], vec![0]);
            let spec = Unnest { keep, lists, outer, ordinality: true, flatten: true };
            let output: SchemaRef = Arc::new(Schema::new(vec![
                Field::new("id", DataType::Int64, false),
                Field::new("item", DataType::Int64, true),
                Field::new("ORDINALITY", DataType::Int32, true),
            ]));
            let whole = batch(&rows);
            let cut = cut.min(rows.len());
            let mut seen = Vec::new();
            for part in [whole.slice(0, cut), whole.slice(cut, rows.len() - cut)] {
                for done in unnest(&part, &spec, &output).unwrap() {
                    for row in 0..done.len() {
                        let text = row_text(done.rows().columns(), row).unwrap();
                        seen.push((text, done.times()[row], done.diff(row)));
                    }
                }
            }
            prop_assert_eq!(seen, naive(&rows, outer));
        }
    }
}
