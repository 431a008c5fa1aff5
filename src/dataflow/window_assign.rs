//! Window assignment of rows that are not aggregated right away: a copy of each row per window.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMillisecondArray, UInt32Array};
use arrow::compute;
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};

use super::window_math::WindowShape;
use crate::batch::UpdateBatch;
use crate::error::Result;
use crate::plan::expr::time_type;
use crate::sql::window::WindowSpec;

/// `batch` with window_start, window_end and window_time, one copy of a row per window; a row whose
/// time is NULL belongs to none.
pub fn assign(
    batch: &UpdateBatch,
    time_column: usize,
    spec: &WindowSpec,
    output: &SchemaRef,
) -> Result<UpdateBatch> {
    let shape = WindowShape::new(spec)?;
    let times = compute::cast(batch.column(time_column), &time_type())?;
    let times = times.as_primitive::<TimestampMillisecondType>();
    let (mut rows, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..times.len() {
        if times.is_null(row) {
            continue;
        }
        for window in shape.windows(times.value(row)) {
            rows.push(row as u32);
            starts.push(window.start);
            ends.push(window.end);
        }
    }
    let last: Vec<i64> = ends.iter().map(|e| e - 1).collect();
    let taken = batch.take(&UInt32Array::from(rows))?;
    let mut columns = taken.rows().columns().to_vec();
    for values in [starts, ends, last] {
        columns.push(Arc::new(TimestampMillisecondArray::from(values)) as ArrayRef);
    }
    Ok(taken.with_rows(RecordBatch::try_new(Arc::clone(output), columns)?))
}
