//! The contents of a bare query, kept until its input has ended.

use std::sync::Mutex;

use arrow::datatypes::SchemaRef;

use super::metrics::lock;
use crate::batch::UpdateBatch;
use crate::batch::consolidate::accumulate;
use crate::error::Result;

/// Rows retracted before half of what is kept is summed up again.
const RETRACTIONS_MIN: usize = 1 << 16;

/// The updates of a bare query, from all workers.
#[derive(Debug, Default)]
pub struct Collected {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    batches: Vec<UpdateBatch>,
    rows: usize,
    retracting: usize,
}

impl Collected {
    /// Adds updates.
    pub fn push(&self, batch: UpdateBatch) -> Result<()> {
        let mut kept = lock(&self.kept);
        kept.rows += batch.len();
        if batch.diffs().is_some() {
            kept.retracting += batch.len();
        }
        let schema = batch.schema();
        kept.batches.push(batch);
        if kept.retracting > RETRACTIONS_MIN && kept.retracting > kept.rows / 2 {
            let summed = sum(&schema, &std::mem::take(&mut kept.batches))?;
            kept.rows = summed.len();
            kept.retracting = 0;
            kept.batches.push(summed);
        }
        Ok(())
    }

    /// The contents: each row as often as it is there, sorted by row.
    pub fn contents(&self, schema: &SchemaRef) -> Result<UpdateBatch> {
        let batches = std::mem::take(&mut lock(&self.kept).batches);
        sum(schema, &batches)
    }
}

fn sum(schema: &SchemaRef, batches: &[UpdateBatch]) -> Result<UpdateBatch> {
    accumulate(&UpdateBatch::concat(schema, batches)?)
}
