//! Grouping sets: one copy of each row per set, with the columns outside the set NULL.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;

use crate::batch::UpdateBatch;
use crate::error::Result;

/// The copies of `batch`, one a set.
pub fn expand(
    batch: &UpdateBatch,
    sets: &[(Vec<bool>, i64)],
    keys: usize,
    output: &SchemaRef,
) -> Result<Vec<UpdateBatch>> {
    let count = batch.len();
    sets.iter()
        .map(|(kept, id)| {
            let mut columns: Vec<ArrayRef> = batch.rows().columns().to_vec();
            for (column, kept) in columns[..keys].iter_mut().zip(kept) {
                if !kept {
                    *column = new_null_array(column.data_type(), count);
                }
            }
            let id: ArrayRef = Arc::new(Int64Array::from(vec![*id; count]));
            let id = arrow::compute::cast(&id, output.field(keys).data_type())?;
            columns.insert(keys, id);
            Ok(batch.with_rows(RecordBatch::try_new(Arc::clone(output), columns)?))
        })
        .collect()
}
