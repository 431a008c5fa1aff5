//! State as tables: what an operator hands to a snapshot and takes back from it.
//!
//! An operator writes nothing to disk. It says how its state comes back ([`Recovery`]): from input
//! that its driver keeps a log of, or from tables of its own.

mod columns;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::batch::UpdateBatch;
use crate::batch::consolidate::consolidate;
use crate::batch::hash::hash_columns;
use crate::batch::partition::worker_of;
use crate::error::{Error, Result};
use crate::time::EventTime;

pub use columns::{LoadedColumns, SavedColumns};

/// The column of a log that holds the times.
const TIME: &str = "#time";
/// The column of a log that holds the diffs.
const DIFF: &str = "#diff";

/// How the state of an operator as of a frontier comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recovery {
    /// From all of its input.
    Log,
    /// From the sum of its input: times mean nothing to it.
    Contents,
    /// From the sum of its input below a time, and the input from there on.
    History(EventTime),
    /// From its input at or after a time.
    Since(EventTime),
    /// From tables of its own.
    Tables,
}

impl Recovery {
    /// How the state of two workers comes back together.
    #[must_use]
    pub fn with(self, other: Recovery) -> Recovery {
        match (self, other) {
            (Recovery::Since(a), Recovery::Since(b)) => Recovery::Since(a.min(b)),
            (Recovery::History(a), Recovery::History(b)) => Recovery::History(a.min(b)),
            (a, b) if a == b => a,
            _ => Recovery::Log,
        }
    }

    /// Its name in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Recovery::Log => "log",
            Recovery::Contents => "contents",
            Recovery::History(_) => "history",
            Recovery::Since(_) => "since",
            Recovery::Tables => "tables",
        }
    }

    /// The one called `name` in a manifest; `None` where the name alone does not say from when on,
    /// which the next part tells.
    pub fn named(name: &str) -> Option<Recovery> {
        [Recovery::Log, Recovery::Contents, Recovery::Tables].into_iter().find(|r| r.name() == name)
    }
}

/// Rows of an operator's state.
#[derive(Clone, Debug)]
pub struct SavedTable {
    /// Which of the operator's tables.
    pub name: String,
    /// The rows.
    pub rows: RecordBatch,
    /// The columns whose hash says which worker a row belongs to, as the exchange before the
    /// operator would; `None`: any worker, all rows of the table on the same one.
    pub shard: Option<Vec<usize>>,
}

impl SavedTable {
    /// The rows that belong to `worker` of `peers`; rows without a shard were those of `owner`.
    pub fn rows_of(&self, worker: usize, peers: usize, owner: usize) -> Result<RecordBatch> {
        let Some(shard) = &self.shard else {
            let is_own = owner % peers.max(1) == worker;
            return Ok(if is_own { self.rows.clone() } else { self.rows.slice(0, 0) });
        };
        let columns = shard
            .iter()
            .map(|&c| self.rows.columns().get(c).cloned())
            .collect::<Option<Vec<ArrayRef>>>()
            .ok_or_else(|| Error::internal(format!("table {} lacks its shard", self.name)))?;
        let hashes = hash_columns(&columns, self.rows.num_rows())?;
        let own = hashes.iter().enumerate().filter(|(_, h)| worker_of(**h, peers) == worker);
        let own: Vec<u32> = own.map(|(row, _)| row as u32).collect();
        if own.len() == self.rows.num_rows() {
            return Ok(self.rows.clone());
        }
        Ok(arrow::compute::take_record_batch(&self.rows, &UInt32Array::from(own))?)
    }
}

/// What a keyed operator's tables are sharded by: for each of the input columns `placement` the key
/// that it is, if all are keys.
pub fn shard_of(placement: Option<&[usize]>, keys: &[usize]) -> Option<Vec<usize>> {
    let place = |column: &usize| keys.iter().position(|key| key == column);
    placement?.iter().map(place).collect()
}

/// What one worker's operator hands to a snapshot.
#[derive(Clone, Debug)]
pub struct Part {
    /// How the state comes back.
    pub recovery: Recovery,
    /// Whether `tables` are all of the state, or what goes on top of the parts before.
    pub whole: bool,
    /// The tables; those of a log are named by [`log_name`].
    pub tables: Vec<SavedTable>,
    /// How many rows have changed; `None`: those of the tables.
    pub changed: Option<usize>,
}

/// The name of the log of input `input`.
pub fn log_name(input: usize) -> String {
    format!("input{input}")
}

/// The input that a table is the log of.
pub fn log_input(name: &str) -> Option<usize> {
    name.strip_prefix("input")?.parse().ok()
}

/// Updates as rows with two more columns.
pub fn log_rows(batch: &UpdateBatch) -> Result<RecordBatch> {
    let mut fields: Vec<Arc<Field>> = batch.schema().fields().iter().map(Arc::clone).collect();
    fields.push(Arc::new(Field::new(TIME, DataType::Int64, false)));
    fields.push(Arc::new(Field::new(DIFF, DataType::Int64, false)));
    let mut columns = batch.rows().columns().to_vec();
    columns.push(Arc::new(Int64Array::new(batch.times().clone(), None)));
    columns.push(match batch.diffs() {
        Some(diffs) => Arc::new(Int64Array::new(diffs.clone(), None)),
        None => Arc::new(Int64Array::from(vec![1; batch.len()])),
    });
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The updates of [`log_rows`], with the columns of `schema`.
pub fn log_updates(rows: &RecordBatch, schema: &SchemaRef) -> Result<UpdateBatch> {
    let width = schema.fields().len();
    let ints = |column: usize| {
        let array = rows.columns().get(column);
        let ints = array.and_then(|array| array.as_primitive_opt::<Int64Type>());
        ints.map(|ints| ints.values().clone())
            .ok_or_else(|| Error::internal("a log without times and diffs"))
    };
    let (times, diffs) = (ints(width)?, ints(width + 1)?);
    let columns = rows.columns().get(..width).unwrap_or_default().to_vec();
    let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let kept = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &count)?;
    let diffs = diffs.iter().any(|&d| d != 1).then_some(diffs);
    Ok(UpdateBatch::new(kept, times, diffs))
}

/// The updates of `logs`, those below `from` summed up as if all were of the latest of them.
pub fn compact(schema: &SchemaRef, logs: &[RecordBatch], from: EventTime) -> Result<RecordBatch> {
    let updates = logs.iter().map(|rows| log_updates(rows, schema)).collect::<Result<Vec<_>>>()?;
    let all = UpdateBatch::concat(schema, &updates)?;
    let last = all.times().iter().filter(|&&time| time < from).max().copied();
    let times = all.times().iter().map(|&time| match last {
        Some(last) if time < from => last,
        _ => time,
    });
    let times: Vec<EventTime> = times.collect();
    let flat = UpdateBatch::new(all.rows().clone(), times.into(), all.diffs().cloned());
    log_rows(&consolidate(&flat)?)
}

/// A table of `rows` and of a number for each of them in a column each of `numbers`.
pub fn numbered(
    name: &str,
    rows: &RecordBatch,
    numbers: Vec<Vec<i64>>,
    shard: Option<&[usize]>,
) -> Result<SavedTable> {
    let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().map(Arc::clone).collect();
    let mut columns = rows.columns().to_vec();
    for (place, numbers) in numbers.into_iter().enumerate() {
        fields.push(Arc::new(Field::new(format!("#{place}"), DataType::Int64, false)));
        columns.push(Arc::new(Int64Array::from(numbers)));
    }
    let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = Arc::new(Schema::new(fields));
    let rows = RecordBatch::try_new_with_options(schema, columns, &count)?;
    Ok(SavedTable { name: name.to_string(), rows, shard: shard.map(<[usize]>::to_vec) })
}

/// The rows, with the columns of `schema`, and the `count` numbers of each of a table of
/// [`numbered`].
pub fn numbers_of(
    table: &RecordBatch,
    schema: &SchemaRef,
    count: usize,
) -> Result<(RecordBatch, Vec<ScalarBuffer<i64>>)> {
    let width = schema.fields().len();
    let ints = |column: usize| {
        let array = table.columns().get(column);
        let ints = array.and_then(|array| array.as_primitive_opt::<Int64Type>());
        ints.map(|ints| ints.values().clone())
            .ok_or_else(|| Error::internal("a table of state without its numbers"))
    };
    let numbers = (width..width + count).map(ints).collect::<Result<Vec<_>>>()?;
    let columns = table.columns().get(..width).unwrap_or_default().to_vec();
    let options = RecordBatchOptions::new().with_row_count(Some(table.num_rows()));
    let rows = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
    Ok((rows, numbers))
}

/// The numbers of rows in the order of the hashes of their columns `keys`.
pub fn by_hash(keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
    let hashes = hash_columns(keys, rows)?;
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.sort_unstable_by_key(|&row| (hashes[row as usize], row));
    Ok(order)
}

/// The rows of a table with the columns of `schema`.
pub fn rows_as(table: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(table.num_rows()));
    let columns = table.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Updates as a table.
pub fn saved_updates(
    name: &str,
    updates: &UpdateBatch,
    shard: Option<&[usize]>,
) -> Result<SavedTable> {
    let (rows, shard) = (log_rows(updates)?, shard.map(<[usize]>::to_vec));
    Ok(SavedTable { name: name.to_string(), rows, shard })
}

/// The columns of a log without its times and diffs.
pub fn log_schema(rows: &RecordBatch) -> SchemaRef {
    let schema = rows.schema();
    let width = schema.fields().len().saturating_sub(2);
    Arc::new(Schema::new(schema.fields().iter().take(width).cloned().collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringViewArray;

    fn batch(rows: &[(&str, i64, i64)]) -> UpdateBatch {
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(rows.iter().map(|r| r.0)));
        let rows_of = RecordBatch::try_from_iter([("x", texts)]).unwrap();
        let times: Vec<i64> = rows.iter().map(|r| r.1).collect();
        let diffs: Vec<i64> = rows.iter().map(|r| r.2).collect();
        UpdateBatch::new(rows_of, times.into(), Some(diffs.into()))
    }

    fn shown(rows: &RecordBatch) -> Vec<(String, i64, i64)> {
        let updates = log_updates(rows, &log_schema(rows)).unwrap();
        let texts = updates.column(0).as_string_view().clone();
        (0..updates.len())
            .map(|i| (texts.value(i).to_owned(), updates.times()[i], updates.diff(i)))
            .collect()
    }

    #[test]
    fn a_log_adds_up_below_a_time_and_stays_above() {
        let first = log_rows(&batch(&[("a", 1, 1), ("b", 2, 1)])).unwrap();
        let second = log_rows(&batch(&[("a", 5, -1), ("c", 5, 2), ("b", 9, 1)])).unwrap();
        let schema = log_schema(&first);
        let logs = [first, second];
        let of = |from| shown(&compact(&schema, &logs, from).unwrap());
        let row = |x: &str, time, diff| (x.to_string(), time, diff);
        assert_eq!(of(10), [row("b", 9, 2), row("c", 9, 2)]);
        assert_eq!(of(9), [row("b", 5, 1), row("c", 5, 2), row("b", 9, 1)]);
        assert_eq!(of(1).len(), 5);
    }

    #[test]
    fn every_row_belongs_to_one_worker() {
        let rows = log_rows(&batch(&[("a", 1, 1), ("b", 2, 1), ("c", 3, 1), ("d", 4, 1)])).unwrap();
        for shard in [Some(vec![0]), None] {
            let table = SavedTable { name: log_name(0), rows: rows.clone(), shard };
            for peers in 1..6 {
                let counts = (0..peers).map(|w| table.rows_of(w, peers, 7).unwrap().num_rows());
                assert_eq!(counts.sum::<usize>(), 4);
            }
        }
        assert_eq!(log_input("input12"), Some(12));
        assert_eq!(log_input("groups"), None);
    }
}
