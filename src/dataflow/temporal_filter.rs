//! Rows while a comparison of theirs with `NOW()` holds.
//!
//! As of frontier `F` the output holds the rows of the input as of `F` for which the comparison is
//! true with `NOW()` at the latest time before `F`, `F - 1 ms`. A row of multiplicity `d` at time
//! `t`, true from `a` until `b`, is `d` at `max(t, a)` and `-d` at `b`; nothing if it is over
//! before it begins. So a row taken back while it is out of sight never shows.
//!
//! State: what is still to appear or to leave, and nothing once it has; rows for which nothing is
//! to come are never held.
//!
//! When bounded input has ended `NOW()` stays at the latest event time of the tables read (or of
//! the rows themselves, if windows gave them later ones): what would happen after it does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};

use super::logic::{Emitted, StatefulLogic};
use super::unsaved::Unsaved;
use crate::batch::UpdateBatch;
use crate::batch::consolidate::consolidate;
use crate::batch::rows_without_columns;
use crate::error::{Error, Result};
use crate::plan::node::{Node, Operator, StreamPlan};
use crate::plan::temporal_filter::{TemporalFilter, TimeBound};
use crate::state::column::{Column, Reading, Values};
use crate::state::saved::{Recovery, SavedTable, log_updates, numbered, numbers_of};
use crate::state::touched::Increments;
use crate::time::{BEGINNING, CLOSED, EventTime, LATEST};

/// The table of what is to come.
const PENDING: &str = "pending";
/// The table of the latest time.
const LATEST_TIME: &str = "latest";

/// The logic of a temporal filter.
pub struct Temporal {
    filter: TemporalFilter,
    output: SchemaRef,
    /// What is to come, by the slot of time that it lies in.
    pending: BTreeMap<EventTime, Vec<UpdateBatch>>,
    rows: usize,
    /// The latest time of any input.
    latest: EventTime,
    /// What has come to be pending since the last save.
    unsaved: Unsaved,
    increments: Increments,
}

/// Updates to come are kept together by spans of time: 1, 64, 4096 .. ms long, by how far off.
fn slot_of(time: EventTime, now: EventTime) -> EventTime {
    let away = time.saturating_sub(now).max(1).unsigned_abs().ilog2() / 6 * 6;
    let length = 1i64 << away.min(60);
    // A span begins behind `now`: it is opened when the frontier passes its beginning, and what is
    // not due by then goes to shorter ones.
    time.div_euclid(length).saturating_mul(length)
}

/// The logic of a temporal filter node and its name.
pub fn build(plan: &StreamPlan, node: &Node) -> Result<(&'static str, Box<dyn StatefulLogic>)> {
    let (Operator::TemporalFilter(filter), Some(_)) = (&node.operator, node.inputs.first()) else {
        return Err(Error::internal("a temporal filter without its input"));
    };
    let _ = plan;
    Ok(("TemporalFilter", Box::new(Temporal::new(filter.clone(), node.schema.clone()))))
}

impl Temporal {
    /// The filter; `output` has the leading columns of the input.
    pub fn new(filter: TemporalFilter, output: SchemaRef) -> Self {
        Temporal {
            filter,
            output,
            pending: BTreeMap::new(),
            rows: 0,
            latest: BEGINNING,
            unsaved: Unsaved::default(),
            increments: Increments::default(),
        }
    }

    /// The updates that the rows of `batch` make, now and later.
    fn schedule(&self, batch: &UpdateBatch) -> Result<Vec<UpdateBatch>> {
        let from = extreme(batch, &self.filter.from, true)?;
        let until = extreme(batch, &self.filter.until, false)?;
        let width: Vec<usize> = (0..self.filter.width).collect();
        let rows = batch.rows().project(&width)?.with_schema(self.output.clone())?;
        let narrow = batch.with_rows(rows);
        let count = batch.len();
        let begin = |row: usize| match &from {
            Some(from) => from[row].map(|from| batch.times()[row].max(from)),
            None => Some(batch.times()[row]),
        };
        let end = |row: usize| until.as_ref().map(|until| until[row]);
        // No bound, or one that lies beyond all times, never comes.
        let shows = |row: usize| match (begin(row), end(row)) {
            (Some(begin), None) => begin <= LATEST,
            (Some(begin), Some(Some(end))) => begin < end && begin <= LATEST,
            _ => false,
        };
        let comes: BooleanArray = (0..count).map(|row| Some(shows(row))).collect();
        let leaves: BooleanArray = (0..count)
            .map(|row| Some(shows(row) && matches!(end(row), Some(Some(end)) if end <= LATEST)))
            .collect();
        let chosen = |mask: &BooleanArray, time: &dyn Fn(usize) -> Option<EventTime>, sign: i64| {
            let part = narrow.filter(mask)?;
            let at = (0..count).filter(|&row| mask.value(row));
            let times: Vec<EventTime> = at.map(|row| time(row).unwrap_or(LATEST)).collect();
            let diffs: Vec<i64> = (0..part.len()).map(|row| part.diff(row) * sign).collect();
            let plain = diffs.iter().all(|&d| d == 1);
            let (rows, _, _) = part.into_parts();
            Ok::<_, Error>(UpdateBatch::new(rows, times.into(), (!plain).then(|| diffs.into())))
        };
        Ok(vec![chosen(&comes, &begin, 1)?, chosen(&leaves, &|row| end(row).flatten(), -1)?])
    }

    /// Emits the part of `batch` below `to`, keeps the rest.
    fn divide(&mut self, batch: UpdateBatch, to: EventTime, out: &mut Emitted) -> Result<()> {
        let (due, later) = batch.split_at(to)?;
        out.updates.extend(due.filter(|batch| !batch.is_empty()));
        let Some(later) = later else { return Ok(()) };
        let mut slots: BTreeMap<EventTime, Vec<u32>> = BTreeMap::new();
        for (row, &time) in later.times().iter().enumerate() {
            slots.entry(slot_of(time, to)).or_default().push(row as u32);
        }
        self.rows += later.len();
        for (slot, rows) in slots {
            let part = later.take(&rows.into())?;
            self.pending.entry(slot).or_default().push(compacted(&part)?);
        }
        Ok(())
    }

    /// Emits what is pending below `to`.
    fn release(&mut self, to: EventTime, out: &mut Emitted) -> Result<()> {
        let later = self.pending.split_off(&to);
        let due = std::mem::replace(&mut self.pending, later);
        for batches in due.into_values() {
            self.rows -= batches.iter().map(UpdateBatch::len).sum::<usize>();
            // What was taken back meanwhile cancels here.
            let batch = consolidate(&UpdateBatch::concat(&self.output, &batches)?)?;
            self.divide(batch, to, out)?;
        }
        Ok(())
    }
}

fn compacted(batch: &UpdateBatch) -> Result<UpdateBatch> {
    if batch.rows().num_columns() == 0 {
        return Ok(batch.clone());
    }
    let columns: Vec<ArrayRef> =
        batch.rows().columns().iter().map(crate::batch::ipc::compact).collect();
    Ok(batch.with_rows(RecordBatch::try_new(batch.schema(), columns)?))
}

/// For each row the greatest or least moment of `bounds`, `None` if one is NULL; absent if there
/// are no bounds.
fn extreme(
    batch: &UpdateBatch,
    bounds: &[TimeBound],
    greatest: bool,
) -> Result<Option<Vec<Option<EventTime>>>> {
    let mut found: Option<Vec<Option<EventTime>>> = None;
    for bound in bounds {
        let array = batch.column(bound.column);
        let micros = match array.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => 1_000_000,
            DataType::Timestamp(TimeUnit::Millisecond, _) => 1000,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1,
            DataType::Date32 => 86_400_000_000,
            other => return Err(Error::internal(format!("NOW() compared with {other}"))),
        };
        let column = Column::read(array, Reading::Plain)?;
        let Values::Int(values) = &column.values else {
            return Err(Error::internal("a bound of NOW() that is no time"));
        };
        let moment = |row: usize| (!column.is_null(row)).then(|| bound.moment(values[row], micros));
        let moments = (0..array.len()).map(moment);
        found = Some(match found {
            None => moments.collect(),
            Some(known) => known
                .into_iter()
                .zip(moments)
                .map(|(a, b)| a.zip(b).map(|(a, b)| if greatest { a.max(b) } else { a.min(b) }))
                .collect(),
        });
    }
    Ok(found)
}

impl StatefulLogic for Temporal {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        buffered > 0 || self.pending.first_key_value().is_some_and(|(slot, _)| *slot < frontier)
    }

    fn advance(
        &mut self,
        _from: EventTime,
        to: EventTime,
        mut inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        for batch in inputs.iter().flatten() {
            self.latest = self.latest.max(batch.time_range().map_or(BEGINNING, |(_, last)| last));
        }
        let ended = to == CLOSED;
        let to = match to {
            // Time stands still from the latest row on.
            CLOSED => self.latest.saturating_add(1),
            to => to,
        };
        self.release(to, out)?;
        let rows = inputs.first_mut().map(std::mem::take).unwrap_or_default();
        for batch in rows {
            for part in self.schedule(&batch)? {
                self.unsaved.push(&part);
                self.divide(part, to, out)?;
            }
        }
        self.unsaved.pass(to)?;
        if ended {
            self.pending.clear();
            self.rows = 0;
        }
        Ok(())
    }

    fn recovery(&self) -> Recovery {
        Recovery::Tables
    }

    fn save(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        let whole = self.increments.must_be_whole(whole, self.unsaved.rows(), self.rows);
        let mut tables = Vec::new();
        let pending: Vec<UpdateBatch> = self.pending.values().flatten().cloned().collect();
        // By columns that do not come out nobody behind it can be placed either.
        let shard = placement.filter(|by| by.iter().all(|c| *c < self.filter.width));
        tables.extend(self.unsaved.save(PENDING, whole, &pending, shard)?);
        if self.latest != BEGINNING {
            let row = rows_without_columns(Arc::new(Schema::empty()), 1)?;
            tables.push(numbered(LATEST_TIME, &row, vec![vec![self.latest]], None)?);
        }
        Ok((whole, tables))
    }

    fn load(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        for table in tables {
            if table.name == PENDING {
                let pending = log_updates(&table.rows, &self.output)?;
                // What has come out since it was saved is not pending any more.
                self.divide(pending, to, &mut Emitted::default())?;
            } else {
                let none = Arc::new(Schema::empty());
                let (_, numbers) = numbers_of(&table.rows, &none, 1)?;
                let latest = numbers.iter().flat_map(|of| of.iter()).max();
                self.latest = self.latest.max(latest.copied().unwrap_or(BEGINNING));
            }
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.rows
    }
}

/// The latest time of `batch`, as a row without columns.
pub fn clock(batch: &UpdateBatch, schema: &SchemaRef) -> Result<UpdateBatch> {
    let Some((_, last)) = batch.time_range() else {
        return Ok(UpdateBatch::empty(schema.clone()));
    };
    Ok(UpdateBatch::at(rows_without_columns(schema.clone(), 1)?, last))
}

#[cfg(test)]
mod tests;
