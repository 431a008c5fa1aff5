//! [`UpdateBatch`]: Arrow columns, event times and multiplicities of a set of updates.

use std::sync::{Arc, OnceLock};

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::compute;
use arrow::datatypes::{Schema, SchemaRef};
use timely::Accountable;

use crate::error::Result;
use crate::time::EventTime;

/// A set of updates `(row, time, diff)` in columns.
///
/// `times` has one entry a row. `diffs` is absent when every multiplicity is `+1`. Records in one
/// batch may have different times; in a dataflow the batch travels at a capability at or below all.
#[derive(Clone, Debug)]
pub struct UpdateBatch {
    rows: RecordBatch,
    times: ScalarBuffer<i64>,
    diffs: Option<ScalarBuffer<i64>>,
    /// The wire form, kept between timely's questions for its length and for its bytes.
    encoded: OnceLock<Arc<Vec<u8>>>,
}

impl Default for UpdateBatch {
    fn default() -> Self {
        UpdateBatch {
            rows: RecordBatch::new_empty(Arc::new(Schema::empty())),
            times: ScalarBuffer::from(Vec::new()),
            diffs: None,
            encoded: OnceLock::new(),
        }
    }
}

impl Accountable for UpdateBatch {
    fn record_count(&self) -> i64 {
        self.times.len() as i64
    }
}

impl UpdateBatch {
    /// A batch of `rows` at `times`, each with multiplicity `diffs` (absent: all `+1`).
    ///
    /// # Panics
    /// If the lengths differ: that is a defect of the caller, never of data.
    pub fn new(
        rows: RecordBatch,
        times: ScalarBuffer<i64>,
        diffs: Option<ScalarBuffer<i64>>,
    ) -> Self {
        assert_eq!(rows.num_rows(), times.len(), "an update batch has one time a row");
        if let Some(diffs) = &diffs {
            assert_eq!(diffs.len(), times.len(), "an update batch has one diff a row");
        }
        UpdateBatch { rows, times, diffs, encoded: OnceLock::new() }
    }

    /// A batch in which every row is at `time` with multiplicity `+1`.
    pub fn at(rows: RecordBatch, time: EventTime) -> Self {
        let times = vec![time; rows.num_rows()].into();
        UpdateBatch::new(rows, times, None)
    }

    /// An empty batch of `schema`.
    pub fn empty(schema: SchemaRef) -> Self {
        UpdateBatch::new(RecordBatch::new_empty(schema), Vec::new().into(), None)
    }

    /// The rows.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// Column `index` of the rows.
    pub fn column(&self, index: usize) -> &ArrayRef {
        self.rows.column(index)
    }

    /// The schema of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// The event time of each row.
    pub fn times(&self) -> &ScalarBuffer<i64> {
        &self.times
    }

    /// The multiplicity of each row; absent when all are `+1`.
    pub fn diffs(&self) -> Option<&ScalarBuffer<i64>> {
        self.diffs.as_ref()
    }

    /// The multiplicity of row `index`.
    pub fn diff(&self, index: usize) -> i64 {
        self.diffs.as_ref().map_or(1, |d| d[index])
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    pub(super) fn encoded(&self) -> &[u8] {
        self.encoded.get_or_init(|| {
            Arc::new(super::ipc::encode(self).unwrap_or_else(|error| {
                super::ipc::report_fault(format!("a batch to another process: {error}"));
                Vec::new()
            }))
        })
    }

    /// Rows, times and diffs.
    pub fn into_parts(self) -> (RecordBatch, ScalarBuffer<i64>, Option<ScalarBuffer<i64>>) {
        (self.rows, self.times, self.diffs)
    }

    /// The same updates with other rows (same count): a projection.
    pub fn with_rows(&self, rows: RecordBatch) -> Self {
        UpdateBatch::new(rows, self.times.clone(), self.diffs.clone())
    }

    /// The least and greatest time; `None` when empty.
    pub fn time_range(&self) -> Option<(EventTime, EventTime)> {
        let first = *self.times.first()?;
        Some(self.times.iter().fold((first, first), |(lo, hi), &t| (lo.min(t), hi.max(t))))
    }

    /// The rows for which `mask` is true (null counts as false).
    pub fn filter(&self, mask: &BooleanArray) -> Result<Self> {
        let kept = mask.true_count();
        if kept == self.len() {
            return Ok(self.clone());
        }
        if kept == 0 {
            return Ok(UpdateBatch::empty(self.schema()));
        }
        let predicate = compute::FilterBuilder::new(mask).optimize().build();
        let rows = if self.rows.num_columns() == 0 {
            rows_without_columns(self.schema(), kept)?
        } else {
            predicate.filter_record_batch(&self.rows)?
        };
        let pick = |values: &ScalarBuffer<i64>| -> Result<ScalarBuffer<i64>> {
            let array = Int64Array::new(values.clone(), None);
            Ok(int64_values(&predicate.filter(&array)?))
        };
        let times = pick(&self.times)?;
        let diffs = self.diffs.as_ref().map(pick).transpose()?;
        Ok(UpdateBatch::new(rows, times, diffs))
    }

    /// The rows at `indices`, in that order.
    pub fn take(&self, indices: &UInt32Array) -> Result<Self> {
        let rows = if self.rows.num_columns() == 0 {
            rows_without_columns(self.schema(), indices.len())?
        } else {
            compute::take_record_batch(&self.rows, indices)?
        };
        let pick = |values: &ScalarBuffer<i64>| -> ScalarBuffer<i64> {
            indices.values().iter().map(|&i| values[i as usize]).collect::<Vec<_>>().into()
        };
        Ok(UpdateBatch::new(rows, pick(&self.times), self.diffs.as_ref().map(pick)))
    }

    /// `length` rows from `offset`, without copying.
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        UpdateBatch {
            rows: self.rows.slice(offset, length),
            times: self.times.slice(offset, length),
            diffs: self.diffs.as_ref().map(|d| d.slice(offset, length)),
            encoded: OnceLock::new(),
        }
    }

    /// Splits into the rows with `time < frontier` and the others; either may be absent.
    pub fn split_at(self, frontier: EventTime) -> Result<(Option<Self>, Option<Self>)> {
        let Some((lo, hi)) = self.time_range() else { return Ok((None, None)) };
        if hi < frontier {
            return Ok((Some(self), None));
        }
        if lo >= frontier {
            return Ok((None, Some(self)));
        }
        let below = BooleanBuffer::collect_bool(self.len(), |i| self.times[i] < frontier);
        let above = BooleanArray::new(!&below, None);
        Ok((Some(self.filter(&BooleanArray::new(below, None))?), Some(self.filter(&above)?)))
    }

    /// The updates in the order of time; those of one time stay in theirs.
    pub fn by_time(self) -> Result<Self> {
        if self.times.is_sorted() {
            return Ok(self);
        }
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_by_key(|&row| self.times[row as usize]);
        self.take(&UInt32Array::from(order))
    }

    /// All `batches` as one; `schema` is that of the result when there are none.
    pub fn concat(schema: &SchemaRef, batches: &[UpdateBatch]) -> Result<Self> {
        if let [one] = batches {
            return Ok(one.clone());
        }
        let total = batches.iter().map(UpdateBatch::len).sum();
        let rows = if schema.fields().is_empty() {
            rows_without_columns(Arc::clone(schema), total)?
        } else {
            compute::concat_batches(schema, batches.iter().map(UpdateBatch::rows))?
        };
        let mut times = Vec::with_capacity(total);
        batches.iter().for_each(|b| times.extend_from_slice(&b.times));
        let diffs = batches.iter().any(|b| b.diffs.is_some()).then(|| {
            let mut diffs = Vec::with_capacity(total);
            for batch in batches {
                match &batch.diffs {
                    Some(d) => diffs.extend_from_slice(d),
                    None => diffs.resize(diffs.len() + batch.len(), 1),
                }
            }
            diffs.into()
        });
        Ok(UpdateBatch::new(rows, times.into(), diffs))
    }
}

/// A record batch of `count` rows without columns.
pub fn rows_without_columns(schema: SchemaRef, count: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(schema, Vec::new(), &options)?)
}

fn int64_values(array: &ArrayRef) -> ScalarBuffer<i64> {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    array.as_primitive::<Int64Type>().values().clone()
}
