//! Rows that later rows of their partition will look at: columns, addressed by slot.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, interleave};
use arrow::datatypes::SchemaRef;

use crate::batch::ipc::compact;
use crate::batch::rows_without_columns;
use crate::error::Result;

/// Rows by slot; slots of removed rows are given again.
pub struct HeldRows {
    schema: SchemaRef,
    segments: Vec<Segment>,
    free_segments: Vec<u32>,
    /// Segment and row of each slot.
    places: Vec<(u32, u32)>,
    free: Vec<u32>,
    /// Rows in segments, removed ones included.
    stored: usize,
}

/// Rows that came together.
struct Segment {
    rows: RecordBatch,
    live: u32,
}

/// Rows stored for each one that is live, before they are copied together.
const SLACK: usize = 4;
/// Rows that may lie idle however few are live.
const IDLE_ROWS_MAX: usize = 1024;

/// The segment of a slot without a row.
const NONE: u32 = u32::MAX;

impl HeldRows {
    /// No rows of `schema`.
    pub fn new(schema: SchemaRef) -> Self {
        HeldRows {
            schema,
            segments: Vec::new(),
            free_segments: Vec::new(),
            places: Vec::new(),
            free: Vec::new(),
            stored: 0,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Keeps `rows`; the slot of each.
    pub fn insert(&mut self, rows: &RecordBatch) -> Result<Vec<u32>> {
        let count = rows.num_rows();
        if count == 0 {
            return Ok(Vec::new());
        }
        let columns: Vec<ArrayRef> = rows.columns().iter().map(compact).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let segment = self.add_segment(Segment { rows, live: count as u32 });
        let slots = (0..count as u32)
            .map(|row| match self.free.pop() {
                Some(slot) => {
                    self.places[slot as usize] = (segment, row);
                    slot
                }
                None => {
                    self.places.push((segment, row));
                    self.places.len() as u32 - 1
                }
            })
            .collect();
        Ok(slots)
    }

    fn add_segment(&mut self, segment: Segment) -> u32 {
        self.stored += segment.rows.num_rows();
        match self.free_segments.pop() {
            Some(at) => {
                self.segments[at as usize] = segment;
                at
            }
            None => {
                self.segments.push(segment);
                self.segments.len() as u32 - 1
            }
        }
    }

    /// Forgets the row of `slot`.
    pub fn remove(&mut self, slot: u32) {
        let (at, _) = std::mem::replace(&mut self.places[slot as usize], (NONE, 0));
        self.free.push(slot);
        let segment = &mut self.segments[at as usize];
        segment.live -= 1;
        if segment.live == 0 {
            self.stored -= segment.rows.num_rows();
            segment.rows = RecordBatch::new_empty(Arc::clone(&self.schema));
            self.free_segments.push(at);
        }
    }

    /// The rows of `slots`.
    pub fn rows(&self, slots: &[u32]) -> Result<RecordBatch> {
        if slots.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        if self.schema.fields().is_empty() {
            return rows_without_columns(Arc::clone(&self.schema), slots.len());
        }
        // Segments are many, those that are read are few.
        let mut wanted: Vec<u32> = slots.iter().map(|s| self.places[*s as usize].0).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let indices: Vec<(usize, usize)> = slots
            .iter()
            .map(|slot| {
                let (segment, row) = self.places[*slot as usize];
                (wanted.binary_search(&segment).unwrap_or_default(), row as usize)
            })
            .collect();
        let columns = (0..self.schema.fields().len())
            .map(|column| {
                let parts: Vec<&dyn arrow::array::Array> = wanted
                    .iter()
                    .map(|at| self.segments[*at as usize].rows.column(column).as_ref())
                    .collect();
                Ok(interleave(&parts, &indices)?)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// Copies rows together if most of what is stored is not live.
    pub fn tidy(&mut self) -> Result<()> {
        if self.stored <= SLACK * self.len() + IDLE_ROWS_MAX {
            return Ok(());
        }
        let live: Vec<u32> = (0..self.places.len() as u32)
            .filter(|slot| self.places[*slot as usize].0 != NONE)
            .collect();
        let rows = concat_batches(&self.schema, [&self.rows(&live)?])?;
        let columns: Vec<ArrayRef> = rows.columns().iter().map(compact).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(live.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        self.segments.clear();
        self.free_segments.clear();
        self.stored = 0;
        if live.is_empty() {
            return Ok(());
        }
        let segment = self.add_segment(Segment { rows, live: live.len() as u32 });
        for (row, slot) in live.into_iter().enumerate() {
            self.places[slot as usize] = (segment, row as u32);
        }
        Ok(())
    }
}
