//! `INTERSECT [ALL]` and `EXCEPT [ALL]`: whole rows counted on both sides.
//!
//! State: each distinct row with its number of copies in either input; a row that neither has is
//! forgotten. Bounded by nothing but the number of distinct rows.
//!
//! Law: as of every tick border the output is the batch set operation over the inputs so far. All
//! rows of a tick are simultaneous; the change of a row's number of copies is emitted as one update
//! at the tick's start, and none if the number is as before.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};

use super::logic::{Emitted, Rest, StatefulLogic};
use crate::batch::UpdateBatch;
use crate::error::Result;
use crate::limits::CHANGES_PER_BATCH_MAX;
use crate::plan::node::Node;
use crate::sql::set_operation::SetKind;
use crate::state::column::Column;
use crate::state::keys::GroupKeys;
use crate::state::saved::{Recovery, SavedTable, numbered, numbers_of};
use crate::time::{EventTime, Resolution};

/// The logic of the set operation `node`.
pub fn build(kind: SetKind, all: bool, node: &Node) -> Box<dyn StatefulLogic> {
    let output = Arc::clone(&node.schema);
    Box::new(SetOperation::new(kind, all, output, node.settings.time_resolution))
}

/// The logic of a set operation.
pub struct SetOperation {
    kind: SetKind,
    all: bool,
    output: SchemaRef,
    resolution: Resolution,
    rows: GroupKeys,
    /// Copies of each row in the left and the right input.
    counts: Vec<[i64; 2]>,
    /// Copies in the output before the tick at hand; `None` if it has not touched the row.
    before: Vec<Option<i64>>,
}

/// One update of one side.
struct Change {
    tick: EventTime,
    row: u32,
    side: usize,
    diff: i64,
}

/// What is to be emitted.
#[derive(Default)]
struct Log {
    rows: Vec<u32>,
    times: Vec<EventTime>,
    diffs: Vec<i64>,
}

impl SetOperation {
    /// The operation over two inputs with the columns of `output`.
    pub fn new(kind: SetKind, all: bool, output: SchemaRef, resolution: Resolution) -> Self {
        let types: Vec<DataType> = output.fields().iter().map(|f| f.data_type().clone()).collect();
        SetOperation {
            kind,
            all,
            output,
            resolution,
            rows: GroupKeys::new(types),
            counts: Vec::new(),
            before: Vec::new(),
        }
    }

    /// How many copies of a row the output has.
    fn copies(&self, row: u32) -> i64 {
        let [left, right] = self.counts[row as usize].map(|count| count.max(0));
        let (left, right) = match self.all {
            true => (left, right),
            false => (left.min(1), if right > 0 { 1 } else { 0 }),
        };
        match self.kind {
            SetKind::Intersect => left.min(right),
            SetKind::Except => (left - right).max(0),
        }
    }

    /// The updates of one input as changes of numbered rows.
    fn read(&mut self, side: usize, batch: &UpdateBatch, changes: &mut Vec<Change>) -> Result<()> {
        let columns = GroupKeys::read(batch.rows().columns())?;
        let columns: Vec<&Column> = columns.iter().collect();
        let mut rows = Vec::new();
        self.rows.intern(&columns, 0..batch.len(), &mut rows)?;
        self.counts.resize(self.rows.bound(), [0; 2]);
        self.before.resize(self.rows.bound(), None);
        changes.extend(rows.into_iter().enumerate().map(|(at, row)| Change {
            tick: self.resolution.tick_start(batch.times()[at]),
            row,
            side,
            diff: batch.diff(at),
        }));
        Ok(())
    }

    fn apply_tick(&mut self, changes: &[Change], time: EventTime, log: &mut Log) {
        let mut touched = Vec::with_capacity(changes.len());
        for change in changes {
            let row = change.row as usize;
            if self.before[row].is_none() {
                self.before[row] = Some(self.copies(change.row));
                touched.push(change.row);
            }
            self.counts[row][change.side] += change.diff;
        }
        for row in touched {
            let old = self.before[row as usize].take().unwrap_or_default();
            let diff = self.copies(row) - old;
            if diff != 0 {
                log.rows.push(row);
                log.times.push(time);
                log.diffs.push(diff);
            }
        }
    }

    fn emit(&self, log: &Log, part: Range<usize>, out: &mut Emitted) -> Result<()> {
        let columns = self.rows.columns(&log.rows[part.clone()])?;
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        let (times, diffs) = (&log.times[part.clone()], &log.diffs[part]);
        let diffs = diffs.iter().any(|&d| d != 1).then(|| diffs.to_vec().into());
        out.push(UpdateBatch::new(rows, times.to_vec().into(), diffs));
        Ok(())
    }

    /// Gives back the numbers of rows that neither input has.
    fn forget(&mut self, changes: &[Change]) {
        let mut gone: Vec<u32> = changes.iter().map(|change| change.row).collect();
        gone.retain(|&row| self.counts[row as usize] == [0; 2]);
        gone.sort_unstable();
        gone.dedup();
        gone.into_iter().for_each(|row| self.rows.remove(row));
    }
}

impl StatefulLogic for SetOperation {
    fn advance(
        &mut self,
        from: EventTime,
        _to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let mut changes = Vec::new();
        for (side, batches) in inputs.iter().enumerate() {
            for batch in batches {
                self.read(side, batch, &mut changes)?;
            }
        }
        changes.sort_by_key(|change| change.tick);
        let mut log = Log::default();
        for tick in changes.chunk_by(|a, b| a.tick == b.tick) {
            let Some(first) = tick.first() else { continue };
            self.apply_tick(tick, first.tick.max(from), &mut log);
        }
        let mut start = 0;
        while start < log.rows.len() {
            let end = (start + CHANGES_PER_BATCH_MAX).min(log.rows.len());
            self.emit(&log, start..end, out)?;
            start = end;
        }
        self.forget(&changes);
        Ok(())
    }

    /// As of a tick's border the counts are those of the inputs' contents.
    fn recovery(&self) -> Recovery {
        Recovery::Contents
    }

    fn rest(&self) -> Rest {
        Rest::UntilInput
    }

    fn unload(&mut self, _by: &[Vec<usize>]) -> Result<Vec<SavedTable>> {
        let held = self.rows.live();
        let rows = RecordBatch::try_new(Arc::clone(&self.output), self.rows.columns(&held)?)?;
        let side = |side: usize| held.iter().map(|&row| self.counts[row as usize][side]).collect();
        let all: Vec<usize> = (0..self.output.fields().len()).collect();
        Ok(vec![numbered("rows", &rows, vec![side(0), side(1)], Some(&all))?])
    }

    fn reload(&mut self, tables: Vec<SavedTable>, _to: EventTime) -> Result<()> {
        for table in tables {
            let (saved, counts) = numbers_of(&table.rows, &self.output, 2)?;
            let columns = GroupKeys::read(saved.columns())?;
            let columns: Vec<&Column> = columns.iter().collect();
            let mut rows = Vec::new();
            self.rows.intern(&columns, 0..saved.num_rows(), &mut rows)?;
            self.counts.resize(self.rows.bound(), [0; 2]);
            self.before.resize(self.rows.bound(), None);
            for (at, row) in rows.into_iter().enumerate() {
                self.counts[row as usize] = [counts[0][at], counts[1][at]];
            }
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.rows.len()
    }
}

#[cfg(test)]
mod tests;
