//! Deduplication that keeps the first row by event time: what is emitted once stays.
//!
//! State: the keys that have had a row, and when that was; no rows. Bounded by nothing but the
//! number of keys.
//!
//! Law: of the rows of a key the first by tick, then by the order, then by the whole row, is
//! emitted at its own time. For rows that are not late that is the first by the order. A late row
//! of a key
//! whose row has been emitted changes nothing; if it would have been the first, it is a late row of
//! this operator.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, SchemaRef};

use super::logic::{Emitted, LateRows, Rest, StatefulLogic};
use super::ticks::Ticks;
use crate::batch::UpdateBatch;
use crate::error::{Error, Result};
use crate::plan::node::Rank;
use crate::state::column::{Column, Values};
use crate::state::keys::GroupKeys;
use crate::state::ordered_rows::RowOrder;
use crate::state::row_pool::RowPool;
use crate::state::saved::{LoadedColumns, Recovery, SavedColumns, SavedTable, shard_of};
use crate::state::touched::Increments;
use crate::time::{CLOSED, EventTime, Resolution};

/// Keeps the first row of each key.
pub struct FirstRow {
    input: SchemaRef,
    output: SchemaRef,
    partition: Vec<usize>,
    /// The column of the event time, by which the order begins.
    time_column: usize,
    number: bool,
    resolution: Resolution,
    keys: GroupKeys,
    order: RowOrder,
    first: Vec<First>,
    /// Keys below this number were saved: they neither change nor go.
    saved: usize,
    increments: Increments,
}

/// The first row of a key.
#[derive(Clone, Copy)]
struct First {
    /// The end of the tick that it was found in; [`CLOSED`] while there is none.
    end: EventTime,
    /// Its value of the time column.
    value: i64,
    /// Its place in the batch of its step.
    row: u32,
}

impl FirstRow {
    /// Over rows of `input`, which are never retracted.
    pub fn new(
        input: SchemaRef,
        rank: &Rank,
        output: SchemaRef,
        resolution: Resolution,
    ) -> Result<Self> {
        let types: Vec<DataType> =
            rank.partition.iter().map(|&c| input.field(c).data_type().clone()).collect();
        let keys = rank.order.iter().map(|s| (s.column, s.options)).collect();
        let time_column = rank.order.first().map(|s| s.column);
        Ok(FirstRow {
            order: RowOrder::new(&input, keys, &rank.partition),
            input,
            output,
            partition: rank.partition.clone(),
            time_column: time_column
                .ok_or_else(|| Error::internal("a first row without an order"))?,
            number: rank.number,
            resolution,
            keys: GroupKeys::new(types),
            first: Vec::new(),
            saved: 0,
            increments: Increments::default(),
        })
    }

    fn apply(&mut self, batches: Vec<UpdateBatch>, out: &mut Emitted) -> Result<()> {
        let batch = UpdateBatch::concat(&self.input, &batches)?;
        let columns = GroupKeys::read(self.partition.iter().map(|&key| batch.column(key)))?;
        let columns: Vec<&Column> = columns.iter().collect();
        let mut groups = Vec::new();
        self.keys.intern(&columns, 0..batch.len(), &mut groups)?;
        self.first.resize(self.keys.bound(), First { end: CLOSED, value: 0, row: 0 });
        let mut pool = RowPool::new(Arc::clone(&self.input))?;
        let chunk = pool.open(batch.rows().clone());
        let time = pool.column(chunk, self.time_column);
        let Some(Values::Int(values)) = time.map(|column| &column.values) else {
            return Err(Error::internal("an event time that is no timestamp"));
        };
        let (mut chosen, mut late, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let ticks = Ticks::new(batch.times(), self.resolution);
        for (start, rows) in ticks.iter() {
            let end = start.saturating_add(self.resolution.tick_ms()).min(CLOSED - 1);
            let mut new: Vec<u32> = Vec::new();
            for &row in rows {
                let first = &mut self.first[groups[row as usize] as usize];
                let value = values[row as usize];
                if first.end < end {
                    if value < first.value {
                        late.push(row);
                        ends.push(first.end);
                    }
                    continue;
                }
                if first.end == CLOSED {
                    new.push(groups[row as usize]);
                } else {
                    let (this, other) =
                        (RowPool::place(chunk, row), RowPool::place(chunk, first.row));
                    // Equal rows are told apart by their times alone: the earlier one is emitted.
                    let earlier =
                        || batch.times()[row as usize].cmp(&batch.times()[first.row as usize]);
                    if self.order.compare(&pool, this, other).then_with(earlier).is_ge() {
                        continue;
                    }
                }
                *first = First { end, value, row };
            }
            chosen.extend(new.into_iter().map(|group| self.first[group as usize].row));
        }
        self.emit(&batch, chosen, out)?;
        if !late.is_empty() {
            let rows = batch.take(&UInt32Array::from(late))?;
            out.late.push(LateRows { rows, window_end: ends });
        }
        Ok(())
    }

    fn emit(&self, batch: &UpdateBatch, mut rows: Vec<u32>, out: &mut Emitted) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        rows.sort_unstable();
        let (rows, times, _) = batch.take(&UInt32Array::from(rows))?.into_parts();
        let count = rows.num_rows();
        let mut columns = rows.columns().to_vec();
        if self.number
            && let Some(field) = self.output.fields().last()
        {
            let ones: ArrayRef = Arc::new(UInt64Array::from(vec![1; count]));
            columns.push(arrow::compute::cast(&ones, field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options)?;
        out.push(UpdateBatch::new(rows, times, None));
        Ok(())
    }
}

impl FirstRow {
    /// The keys from number `first` on.
    fn tables(&mut self, first: usize, placement: Option<&[usize]>) -> Result<Vec<SavedTable>> {
        self.saved = self.keys.bound();
        let keys: Vec<u32> = (first as u32..self.saved as u32).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut columns = SavedColumns::new(self.keys.columns(&keys)?);
        columns.ints(keys.iter().map(|&key| self.first[key as usize].end));
        columns.ints(keys.iter().map(|&key| self.first[key as usize].value));
        let rows = columns.finish(keys.len())?;
        let shard = shard_of(placement, &self.partition);
        Ok(vec![SavedTable { name: "keys".to_owned(), rows, shard }])
    }
}

impl StatefulLogic for FirstRow {
    fn advance(
        &mut self,
        _from: EventTime,
        _to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let batches: Vec<UpdateBatch> = inputs.into_iter().flatten().collect();
        if batches.is_empty() { Ok(()) } else { self.apply(batches, out) }
    }

    fn state_rows(&self) -> usize {
        self.keys.len()
    }

    fn recovery(&self) -> Recovery {
        Recovery::Tables
    }

    fn save(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        let changed = self.keys.bound() - self.saved;
        let whole = self.increments.must_be_whole(whole, changed, self.saved);
        let first = if whole { 0 } else { self.saved };
        Ok((whole, self.tables(first, placement)?))
    }

    fn rest(&self) -> Rest {
        if self.partition.is_empty() { Rest::Never } else { Rest::UntilInput }
    }

    /// Those that came back are among them, as they were.
    fn changes(&mut self, placement: Option<&[usize]>) -> Result<Option<Vec<SavedTable>>> {
        self.tables(self.saved, placement).map(Some)
    }

    fn load(&mut self, tables: Vec<SavedTable>, _to: EventTime) -> Result<()> {
        for table in tables {
            let mut columns = LoadedColumns::new(&table.rows);
            let arrays = self.partition.iter().map(|_| columns.array());
            let read = GroupKeys::read(arrays.collect::<Result<Vec<_>>>()?)?;
            let read: Vec<&Column> = read.iter().collect();
            let mut keys = Vec::new();
            self.keys.intern(&read, 0..table.rows.num_rows(), &mut keys)?;
            self.first.resize(self.keys.bound(), First { end: CLOSED, value: 0, row: 0 });
            let (ends, values) = (columns.ints()?, columns.ints()?);
            for (&key, (&end, &value)) in keys.iter().zip(ends.iter().zip(values)) {
                self.first[key as usize] = First { end, value, row: 0 };
            }
        }
        Ok(())
    }
}
