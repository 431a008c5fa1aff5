//! Runs: updates kept in row order, and what is read from them.
//!
//! Pure functions over update batches; [`super::view`] owns when they are called. Every sort here
//! meets its input as a few sorted runs, which the standard stable sort merges in linear time.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, RecordBatch, RecordBatchOptions,
    StructArray, UInt32Array,
};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::Rows;

use crate::batch::UpdateBatch;
use crate::batch::consolidate::row_converter;
use crate::batch::ipc;
use crate::error::{Error, Result};
use crate::time::{BEGINNING, EventTime};

/// Consolidated updates sorted by row, then time. Times below the view's since are [`BEGINNING`].
#[derive(Debug)]
pub(super) struct Run {
    pub(super) updates: UpdateBatch,
    /// For each update whether its row differs from the one before; absent when all do.
    starts: Option<BooleanBuffer>,
    /// The greatest time; [`BEGINNING`] when there is none.
    last: EventTime,
}

impl Run {
    /// A run without updates.
    pub(super) fn empty(schema: SchemaRef) -> Self {
        Run { updates: UpdateBatch::empty(schema), starts: None, last: BEGINNING }
    }

    /// All updates of `parts` as one run; times below `since` become one.
    pub(super) fn merge(
        schema: &SchemaRef,
        parts: Vec<UpdateBatch>,
        since: EventTime,
    ) -> Result<Self> {
        let parts: Vec<UpdateBatch> =
            parts.into_iter().map(|part| forget_times(part, since)).collect();
        let merged = Merged::new(schema, &parts)?;
        let order = merged.sorted(true);
        let mut kept = Kept::default();
        let (mut from, mut before) = (0, None);
        while from < order.len() {
            let mut to = from + 1;
            let mut sum = merged.diff(order[from]);
            while to < order.len() && merged.compare(order[from], order[to], true).is_eq() {
                sum += merged.diff(order[to]);
                to += 1;
            }
            if sum != 0 {
                let first = order[from];
                kept.starts.push(before.is_none_or(|b| merged.compare_rows(b, first).is_ne()));
                kept.push(first, merged.time(first), sum);
                before = Some(first);
            }
            from = to;
        }
        let rows = merged.take(schema, &kept.indices)?;
        drop(merged);
        let starts = BooleanBuffer::from(kept.starts);
        let diffs = kept.diffs.iter().any(|&d| d != 1).then(|| ScalarBuffer::from(kept.diffs));
        let last = kept.times.iter().copied().max().unwrap_or(BEGINNING);
        Ok(Run {
            updates: UpdateBatch::new(compact_rows(&rows)?, kept.times.into(), diffs),
            starts: (starts.count_set_bits() != starts.len()).then_some(starts),
            last,
        })
    }

    /// The rows of the sum of updates below `as_of`, in order.
    fn contents(&self, as_of: EventTime) -> Result<RecordBatch> {
        let updates = &self.updates;
        let whole = self.last < as_of || updates.is_empty();
        if whole && self.starts.is_none() && updates.diffs().is_none() {
            return Ok(updates.rows().clone());
        }
        let mut indices = Vec::with_capacity(updates.len());
        let mut from = 0;
        while from < updates.len() {
            let (mut to, mut sum) = (from, 0);
            while to < updates.len() && (to == from || !self.is_start(to)) {
                if updates.times()[to] < as_of {
                    sum += updates.diff(to);
                }
                to += 1;
            }
            repeat(&mut indices, from as u32, sum)?;
            from = to;
        }
        let taken = updates.take(&UInt32Array::from(indices))?;
        Ok(taken.into_parts().0)
    }

    fn is_start(&self, index: usize) -> bool {
        self.starts.as_ref().is_none_or(|starts| starts.value(index))
    }
}

/// The rows of the sum of updates of `run` and `others` below `as_of`, sorted by whole row.
pub(super) fn contents(
    schema: &SchemaRef,
    run: &Run,
    others: &[UpdateBatch],
    as_of: EventTime,
) -> Result<RecordBatch> {
    let others = between(others, BEGINNING, as_of)?;
    if others.is_empty() {
        return run.contents(as_of);
    }
    let mut parts = between(std::slice::from_ref(&run.updates), BEGINNING, as_of)?;
    parts.extend(others);
    sums(schema, &parts)
}

/// The rows of the sum of all updates of `parts`, sorted by whole row.
pub(super) fn sums(schema: &SchemaRef, parts: &[UpdateBatch]) -> Result<RecordBatch> {
    let merged = Merged::new(schema, parts)?;
    let order = merged.sorted(false);
    let mut indices = Vec::with_capacity(order.len());
    let mut from = 0;
    while from < order.len() {
        let (mut to, mut sum) = (from, 0);
        while to < order.len() && merged.compare_rows(order[from], order[to]).is_eq() {
            sum += merged.diff(order[to]);
            to += 1;
        }
        repeat(&mut indices, order[from], sum)?;
        from = to;
    }
    merged.take(schema, &indices)
}

/// The updates of `parts` with `from <= time < to`; empty batches are left out.
pub(super) fn between(
    parts: &[UpdateBatch],
    from: EventTime,
    to: EventTime,
) -> Result<Vec<UpdateBatch>> {
    let mut kept = Vec::with_capacity(parts.len());
    for part in parts {
        let Some((low, high)) = part.time_range() else { continue };
        if from <= low && high < to {
            kept.push(part.clone());
        } else if low < to && from <= high {
            let times = part.times();
            let mask = BooleanBuffer::collect_bool(part.len(), |i| (from..to).contains(&times[i]));
            let part = part.filter(&BooleanArray::new(mask, None))?;
            if !part.is_empty() {
                kept.push(part);
            }
        }
    }
    Ok(kept)
}

/// `rows` without memory that belongs to other rows: slices are copied, string views compacted.
pub(super) fn compact_rows(rows: &RecordBatch) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = rows.columns().iter().map(compact_array).collect::<Result<_>>()?;
    with_columns(rows.schema(), columns, rows.num_rows())
}

/// A record batch of `count` rows; unlike the plain constructor also without columns.
pub(super) fn with_columns(
    schema: SchemaRef,
    columns: Vec<ArrayRef>,
    count: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

fn compact_array(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Utf8View | DataType::BinaryView => ipc::compact(array),
        DataType::List(field) => {
            let list = copy_slice(array)?;
            let list = list.as_list::<i32>();
            let values = compact_array(list.values())?;
            let offsets = list.offsets().clone();
            Arc::new(ListArray::try_new(Arc::clone(field), offsets, values, list.nulls().cloned())?)
        }
        DataType::Struct(fields) => {
            let row = array.as_struct();
            let columns = row.columns().iter().map(compact_array).collect::<Result<_>>()?;
            let nulls = row.nulls().cloned();
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, row.len())?)
        }
        DataType::Map(field, sorted) => {
            let map = copy_slice(array)?;
            let map = map.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let entries = compact_array(&entries)?;
            let offsets = map.offsets().clone();
            let nulls = map.nulls().cloned();
            let field = Arc::clone(field);
            Arc::new(MapArray::try_new(
                field,
                offsets,
                entries.as_struct().clone(),
                nulls,
                *sorted,
            )?)
        }
        _ => copy_slice(array)?,
    })
}

/// A copy of `array` if it is a small part of a larger one, else `array`.
fn copy_slice(array: &ArrayRef) -> Result<ArrayRef> {
    let own = array.to_data().get_slice_memory_size().unwrap_or(usize::MAX);
    if array.get_buffer_memory_size() / 2 <= own.saturating_add(64) {
        return Ok(Arc::clone(array));
    }
    let all = UInt32Array::from_iter_values(0..array.len() as u32);
    Ok(compute::take(array, &all, None)?)
}

fn forget_times(part: UpdateBatch, since: EventTime) -> UpdateBatch {
    if part.time_range().is_none_or(|(low, _)| low >= since) {
        return part;
    }
    let (rows, times, diffs) = part.into_parts();
    let times: Vec<EventTime> =
        times.iter().map(|&t| if t < since { BEGINNING } else { t }).collect();
    UpdateBatch::new(rows, times.into(), diffs)
}

fn repeat(indices: &mut Vec<u32>, index: u32, count: i64) -> Result<()> {
    let count = usize::try_from(count)
        .map_err(|_| Error::internal(format!("a view holds a row {count} times")))?;
    indices.resize(indices.len() + count, index);
    Ok(())
}

#[derive(Default)]
struct Kept {
    indices: Vec<u32>,
    times: Vec<EventTime>,
    diffs: Vec<i64>,
    starts: Vec<bool>,
}

impl Kept {
    fn push(&mut self, index: u32, time: EventTime, diff: i64) {
        self.indices.push(index);
        self.times.push(time);
        self.diffs.push(diff);
    }
}

/// Several batches seen as one sequence of updates with comparable rows.
struct Merged<'a> {
    parts: &'a [UpdateBatch],
    times: Vec<EventTime>,
    diffs: Option<Vec<i64>>,
    /// Comparable bytes; absent when there are no columns, and then all rows are equal.
    rows: Option<Rows>,
}

impl<'a> Merged<'a> {
    fn new(schema: &SchemaRef, parts: &'a [UpdateBatch]) -> Result<Self> {
        let total: usize = parts.iter().map(UpdateBatch::len).sum();
        if u32::try_from(total).is_err() {
            return Err(Error::new(
                crate::error::ErrorKind::Limit,
                format!("a view of {total} updates is larger than the 4294967295 of one process"),
            ));
        }
        let mut times = Vec::with_capacity(total);
        parts.iter().for_each(|part| times.extend_from_slice(part.times()));
        let diffs = parts.iter().any(|part| part.diffs().is_some()).then(|| {
            let mut diffs = Vec::with_capacity(total);
            for part in parts {
                match part.diffs() {
                    Some(d) => diffs.extend_from_slice(d),
                    None => diffs.resize(diffs.len() + part.len(), 1),
                }
            }
            diffs
        });
        let rows = if schema.fields().is_empty() {
            None
        } else {
            let converter = row_converter(schema)?;
            let mut rows = converter.empty_rows(total, 0);
            for part in parts {
                converter.append(&mut rows, part.rows().columns())?;
            }
            Some(rows)
        };
        Ok(Merged { parts, times, diffs, rows })
    }

    fn time(&self, index: u32) -> EventTime {
        self.times[index as usize]
    }

    fn diff(&self, index: u32) -> i64 {
        self.diffs.as_ref().map_or(1, |diffs| diffs[index as usize])
    }

    fn compare_rows(&self, a: u32, b: u32) -> Ordering {
        match &self.rows {
            Some(rows) => rows.row(a as usize).cmp(&rows.row(b as usize)),
            None => Ordering::Equal,
        }
    }

    fn compare(&self, a: u32, b: u32, by_time: bool) -> Ordering {
        let rows = self.compare_rows(a, b);
        if by_time { rows.then_with(|| self.time(a).cmp(&self.time(b))) } else { rows }
    }

    fn sorted(&self, by_time: bool) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.times.len() as u32).collect();
        order.sort_by(|&a, &b| self.compare(a, b, by_time));
        order
    }

    /// The rows at `indices` of the whole sequence.
    fn take(&self, schema: &SchemaRef, indices: &[u32]) -> Result<RecordBatch> {
        if let [one] = self.parts {
            let indices = UInt32Array::from(indices.to_vec());
            return Ok(one.take(&indices)?.into_parts().0);
        }
        if schema.fields().is_empty() || self.parts.is_empty() {
            let columns = RecordBatch::new_empty(Arc::clone(schema)).columns().to_vec();
            return with_columns(Arc::clone(schema), columns, indices.len());
        }
        let mut ends = Vec::with_capacity(self.parts.len());
        let mut end = 0;
        for part in self.parts {
            end += part.len();
            ends.push(end);
        }
        let place = |&index: &u32| {
            let index = index as usize;
            let part = ends.partition_point(|&end| end <= index);
            (part, index - (ends[part] - self.parts[part].len()))
        };
        let places: Vec<(usize, usize)> = indices.iter().map(place).collect();
        let column = |i: usize| -> Result<ArrayRef> {
            let arrays: Vec<&dyn Array> =
                self.parts.iter().map(|part| part.column(i).as_ref()).collect();
            Ok(compute::interleave(&arrays, &places)?)
        };
        let columns = (0..schema.fields().len()).map(column).collect::<Result<_>>()?;
        with_columns(Arc::clone(schema), columns, indices.len())
    }
}
