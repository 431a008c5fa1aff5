//! Operators over whole windows: rows are kept until their window closes, then computed at once.
//!
//! State: for each open window (and, with `allowed_lateness`, each closed one that may still be
//! corrected) the rows of every input. Law: as of the frontier the output is the function of each
//! closed window's rows; a late row that is still allowed changes it by retractions and insertions
//! at the row's own time; a row beyond that is late.

#[cfg(test)]
pub(super) mod naive;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};

use super::logic::{Emitted, LateRows, Rest, StatefulLogic};
use super::side::letter_of_row;
use crate::batch::UpdateBatch;
use crate::batch::consolidate::{accumulate, consolidate};
use crate::batch::ipc::compact;
use crate::error::{DeadLetter, Error, Result};
use crate::state::saved::{Recovery, SavedTable, log_updates, saved_updates};
use crate::time::{CLOSED, EventTime};

/// What is computed of the rows of whole windows.
pub trait WindowFunction: 'static {
    /// What it is called in dead letters.
    fn name(&self) -> &'static str {
        "window"
    }

    /// Column of the window's end in input `index`.
    fn window_end(&self, index: usize) -> usize;

    /// The result for the windows whose rows `inputs` hold (one batch an input, diffs summed per
    /// row
    /// or not); the second part is the window's end of each result row. Diffs are those of the
    /// rows.
    /// Rows that fail go to `dead`.
    fn compute(
        &self,
        inputs: &[UpdateBatch],
        dead: &mut Vec<DeadLetter>,
    ) -> Result<(UpdateBatch, Vec<EventTime>)>;
}

/// What the rows of a window add up to; rows of an input that only appends do so as they are.
pub(super) fn contents(batch: &UpdateBatch, append_only: bool) -> Result<UpdateBatch> {
    if append_only { Ok(batch.clone()) } else { accumulate(batch) }
}

/// The rows of the windows with one end, per input.
#[derive(Default)]
struct Window {
    inputs: Vec<Vec<UpdateBatch>>,
    emitted: bool,
    /// The least time of a row.
    first: Option<EventTime>,
}

/// The logic around a [`WindowFunction`].
pub struct Windowed<F> {
    function: F,
    schemas: Vec<SchemaRef>,
    lateness: i64,
    /// How long after its window's end a row may come in time: results come so much later, too.
    delay: i64,
    windows: BTreeMap<EventTime, Window>,
    rows: usize,
}

impl<F: WindowFunction> Windowed<F> {
    /// Over inputs of `schemas`; windows take rows until `lateness` ms after their end.
    pub fn new(function: F, schemas: Vec<SchemaRef>, lateness: i64) -> Self {
        Windowed { function, schemas, lateness, delay: 0, windows: BTreeMap::new(), rows: 0 }
    }

    /// The same for inputs whose rows come up to `delay` ms after their window's end (sessions).
    pub fn with_input_delay(mut self, delay: i64) -> Self {
        self.delay = delay;
        self
    }

    /// When a window ending at `end` closes.
    fn closing(&self, end: EventTime) -> EventTime {
        end.saturating_add(self.delay)
    }

    fn horizon(&self, end: EventTime) -> EventTime {
        self.closing(end).saturating_add(self.lateness)
    }

    /// Sorts a batch into windows; returns corrections as (time, window end, input, rows).
    fn store(
        &mut self,
        input: usize,
        batch: UpdateBatch,
        out: &mut Emitted,
    ) -> Result<Vec<(EventTime, EventTime, usize, UpdateBatch)>> {
        let ends = self.ends(input, &batch)?;
        let mut by_end: BTreeMap<(EventTime, Option<EventTime>), Vec<u32>> = BTreeMap::new();
        let mut late = Vec::new();
        for (row, (&time, end)) in batch.times().iter().zip(ends.iter()).enumerate() {
            // A row without a window (an outer join's NULL) belongs to none that could close.
            let Some(end) = end else {
                if batch.diff(row) > 0 {
                    let rows = batch.rows().slice(row, 1);
                    let reason = "the row has no window: its window_end is NULL";
                    out.dead.push(letter_of_row(self.function.name(), reason, &rows), time);
                }
                continue;
            };
            if time < self.closing(end) {
                by_end.entry((end, None)).or_default().push(row as u32);
            } else if time < self.horizon(end) {
                by_end.entry((end, Some(time))).or_default().push(row as u32);
            } else {
                late.push(row as u32);
            }
        }
        if !late.is_empty() {
            let window_end = late.iter().map(|&r| ends.value(r as usize)).collect();
            let rows = batch.take(&UInt32Array::from(late))?;
            out.late.push(LateRows { rows, window_end });
        }
        let mut corrections = Vec::new();
        let whole = by_end.len() == 1;
        for ((end, time), rows) in by_end {
            let part = if whole && rows.len() == batch.len() {
                batch.clone()
            } else {
                batch.take(&UInt32Array::from(rows))?
            };
            let part = compacted(&part)?;
            match time {
                None => self.keep(end, input, part),
                Some(time) => corrections.push((time, end, input, part)),
            }
        }
        Ok(corrections)
    }

    fn keep(&mut self, end: EventTime, input: usize, rows: UpdateBatch) {
        let inputs = self.schemas.len();
        let window = self.windows.entry(end).or_default();
        window.inputs.resize(inputs, Vec::new());
        self.rows += rows.len();
        let first = rows.time_range().map(|(first, _)| first);
        window.first = window.first.into_iter().chain(first).min();
        window.inputs[input].push(rows);
    }

    fn ends(&self, input: usize, batch: &UpdateBatch) -> Result<Int64Array> {
        let column = batch.column(self.function.window_end(input));
        let column = compute::cast(column, &crate::plan::expr::time_type())?;
        let ends = column.as_primitive::<TimestampMillisecondType>();
        Ok(Int64Array::new(ends.values().clone(), column.nulls().cloned()))
    }

    fn compute(
        &self,
        windows: &[&Window],
        dead: &mut Vec<DeadLetter>,
    ) -> Result<(UpdateBatch, Vec<EventTime>)> {
        let mut inputs = Vec::with_capacity(self.schemas.len());
        for (input, schema) in self.schemas.iter().enumerate() {
            let parts: Vec<UpdateBatch> =
                windows.iter().flat_map(|w| w.inputs[input].iter().cloned()).collect();
            inputs.push(UpdateBatch::concat(schema, &parts)?);
        }
        self.function.compute(&inputs, dead)
    }

    /// What fails in each of the windows, at the time of its results: found once more, one by one.
    fn bury(&self, windows: &[(&EventTime, &Window)], out: &mut Emitted) -> Result<()> {
        for (end, window) in windows {
            let mut failed = Vec::new();
            self.compute(&[window], &mut failed)?;
            for letter in failed {
                out.dead.push(letter, self.closing(**end) - 1);
            }
        }
        Ok(())
    }

    /// Emits the windows that close at or before `to`.
    fn close(&mut self, to: EventTime, out: &mut Emitted) -> Result<()> {
        // At the end of input every window closes, however close to the end of time.
        let last = if to == CLOSED { CLOSED } else { to.saturating_sub(self.delay) };
        let closing: Vec<_> = self.windows.range(..=last).filter(|(_, w)| !w.emitted).collect();
        let windows: Vec<&Window> = closing.iter().map(|(_, w)| *w).collect();
        if !windows.is_empty() {
            let mut failed = Vec::new();
            let (result, ends) = self.compute(&windows, &mut failed)?;
            if !failed.is_empty() {
                self.bury(&closing, out)?;
            }
            let times: Vec<EventTime> = ends.iter().map(|e| self.closing(*e) - 1).collect();
            let (rows, _, diffs) = result.into_parts();
            out.push(UpdateBatch::new(rows, times.into(), diffs));
        }
        self.windows.range_mut(..=last).for_each(|(_, w)| w.emitted = true);
        Ok(())
    }

    /// Applies one correction: the difference that it makes, at its time.
    fn correct(
        &mut self,
        (time, end, input, rows): (EventTime, EventTime, usize, UpdateBatch),
        out: &mut Emitted,
    ) -> Result<()> {
        // What failed before has been said.
        let (mut known, mut failed) = (Vec::new(), Vec::new());
        let before = self.windows.get(&end).map(|w| self.compute(&[w], &mut known)).transpose()?;
        self.keep(end, input, rows);
        let Some(window) = self.windows.get_mut(&end) else { return Ok(()) };
        window.emitted = true;
        let window = &self.windows[&end];
        let (after, _) = self.compute(&[window], &mut failed)?;
        for letter in failed.into_iter().filter(|letter| !known.contains(letter)) {
            out.dead.push(letter, time);
        }
        let mut parts = vec![at(&after, time, 1)];
        parts.extend(before.map(|(b, _)| at(&b, time, -1)));
        out.push(consolidate(&UpdateBatch::concat(&after.schema(), &parts)?)?);
        Ok(())
    }

    fn expire(&mut self, to: EventTime) {
        let horizon = self.delay.saturating_add(self.lateness);
        self.windows.retain(|end, _| to != CLOSED && end.saturating_add(horizon) > to);
        let count = |w: &Window| w.inputs.iter().flatten().map(UpdateBatch::len).sum::<usize>();
        self.rows = self.windows.values().map(count).sum();
    }
}

fn at(batch: &UpdateBatch, time: EventTime, sign: i64) -> UpdateBatch {
    let diffs: Vec<i64> = (0..batch.len()).map(|i| batch.diff(i) * sign).collect();
    UpdateBatch::new(batch.rows().clone(), vec![time; batch.len()].into(), Some(diffs.into()))
}

/// `batch` without the bytes of rows that are not its own.
fn compacted(batch: &UpdateBatch) -> Result<UpdateBatch> {
    if batch.rows().num_columns() == 0 {
        return Ok(batch.clone());
    }
    let columns: Vec<ArrayRef> = batch.rows().columns().iter().map(compact).collect();
    Ok(batch.with_rows(RecordBatch::try_new(batch.schema(), columns)?))
}

impl<F: WindowFunction> StatefulLogic for Windowed<F> {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        let first = self.windows.first_key_value().map(|(end, _)| self.closing(*end));
        buffered > 0 || first.is_some_and(|closing| closing <= frontier)
    }

    fn advance(
        &mut self,
        _from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let mut corrections = Vec::new();
        for (input, batches) in inputs.into_iter().enumerate() {
            for batch in batches {
                corrections.extend(self.store(input, batch, out)?);
            }
        }
        self.close(to, out)?;
        // In order of time: each is the difference to what was there before it.
        corrections.sort_by_key(|(time, end, input, _)| (*time, *end, *input));
        for correction in corrections {
            self.correct(correction, out)?;
        }
        self.expire(to);
        Ok(())
    }

    /// From the rows of the windows that are held on. Other rows that come with them are of windows
    /// that are over: these close, and go, as soon as all has been applied.
    fn recovery(&self) -> Recovery {
        Recovery::Since(self.windows.values().filter_map(|w| w.first).min().unwrap_or(CLOSED))
    }

    fn rest(&self) -> Rest {
        let due = self.windows.iter().map(|(&end, window)| match window.emitted {
            true => self.horizon(end),
            false => self.closing(end),
        });
        Rest::Until(due.min().unwrap_or(CLOSED))
    }

    /// Rows wait for their window; late ones correct what was computed of it.
    fn meets(&self) -> bool {
        self.lateness > 0
    }

    fn unload(&mut self, by: &[Vec<usize>]) -> Result<Vec<SavedTable>> {
        let mut tables = Vec::new();
        for (input, schema) in self.schemas.iter().enumerate() {
            let rows = self.windows.values().flat_map(|window| &window.inputs[input]);
            let rows = UpdateBatch::concat(schema, &rows.cloned().collect::<Vec<_>>())?;
            let by = by.get(input).map(Vec::as_slice);
            tables.push(saved_updates(&input.to_string(), &rows, by)?);
        }
        Ok(tables)
    }

    fn reload(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        for table in tables {
            let input = table.name.parse().ok().filter(|input| *input < self.schemas.len());
            let input: usize = input.ok_or_else(|| Error::internal("rows of no input"))?;
            let batch = log_updates(&table.rows, &self.schemas[input])?;
            let ends = self.ends(input, &batch)?;
            let mut by_end: BTreeMap<EventTime, Vec<u32>> = BTreeMap::new();
            for (row, end) in (0u32..).zip(ends.values()) {
                by_end.entry(*end).or_default().push(row);
            }
            for (end, rows) in by_end {
                let rows = compacted(&batch.take(&UInt32Array::from(rows))?)?;
                self.keep(end, input, rows);
                let is_emitted = self.closing(end) <= to;
                if let Some(window) = self.windows.get_mut(&end) {
                    window.emitted = is_emitted;
                }
            }
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.rows
    }
}

/// A timestamp column as milliseconds; the operators' window columns are never NULL where it is
/// used.
pub fn millis_of(batch: &RecordBatch, column: usize) -> Result<Arc<[EventTime]>> {
    let values = compute::cast(batch.column(column), &crate::plan::expr::time_type())?;
    Ok(values.as_primitive::<TimestampMillisecondType>().values().to_vec().into())
}
