//! The updating `GROUP BY`: one row a group, changed tick by tick.
//!
//! State: group keys, aggregate states and the number of rows of each group; bounded by nothing but
//! the number of keys. A group without rows is forgotten, and its number is given again.
//!
//! Law: as of every tick border the output is the batch `GROUP BY` over the input so far. All rows
//! of a tick are simultaneous; the change is emitted at the tick's start, and none if the row is as
//! before.
//!
//! A global aggregate (no keys) shows nothing before the first row, and then always one row. If the
//! input ends and there never was a row, the row of an empty input (`COUNT` 0) is emitted at the
//! latest time that there is: see [`GroupAggregate::with_initial_row`].
//!
//! Snapshots: between two calls of `advance` the state is that as of `to`. It is saved as tables,
//! at first whole and then the groups that were touched or forgotten since, piece by piece.

mod saved;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};

use super::logic::{Emitted, Rest, StatefulLogic, TakeTables};
use super::side::bury_failed;
use super::ticks::by_tick;
use crate::batch::UpdateBatch;
use crate::error::Result;
use crate::limits::{CHANGES_PER_BATCH_MAX, WINDOW_ROWS_UNREAD_MAX};
use crate::plan::aggregate::AggregateCall;
use crate::state::aggregate::{AggregatePlan, AggregateStates, Narrowed, StepInput, narrow};
use crate::state::change_log::ChangeLog;
use crate::state::column::Column;
use crate::state::keys::GroupKeys;
use crate::state::saved::{Recovery, SavedTable};
use crate::state::touched::{Increments, Touched};
use crate::time::{BEGINNING, CLOSED, EventTime, LATEST, Resolution};

/// The logic of an updating aggregation.
pub struct GroupAggregate {
    narrowed: Narrowed,
    output: SchemaRef,
    resolution: Resolution,
    plan: Arc<AggregatePlan>,
    keys: GroupKeys,
    states: AggregateStates,
    /// Rows of each group.
    counts: Vec<i64>,
    log: ChangeLog,
    /// The last tick that touched a group, see [`GroupAggregate::mark`].
    marks: Vec<u32>,
    mark: u32,
    touched: Vec<u32>,
    /// Groups that lost their last row in this step.
    emptied: Vec<u32>,
    final_only: bool,
    /// With `final_only`: the start of the last tick that touched each group.
    last_ticks: Vec<EventTime>,
    initial_row: bool,
    /// Whether there was any input.
    ever: bool,
    /// Whether any change was logged.
    shown: bool,
    /// Groups touched since the last save, and keys of groups forgotten since.
    changed: Touched,
    gone: GroupKeys,
    increments: Increments,
    saving: saved::Saving,
}

impl GroupAggregate {
    /// Groups rows of `input` by the columns `keys`; `output` is keys, then `calls`.
    ///
    /// `append_only` promises that no input is ever retracted, which makes state smaller.
    pub fn new(
        input: SchemaRef,
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
        output: SchemaRef,
        resolution: Resolution,
        append_only: bool,
    ) -> Result<Self> {
        let narrowed = narrow(&input, &keys, &calls)?;
        let plan = Arc::new(AggregatePlan::new(&narrowed.calls, &narrowed.schema, append_only)?);
        let types: Vec<DataType> =
            narrowed.keys.iter().map(|&k| narrowed.schema.field(k).data_type().clone()).collect();
        let states = AggregateStates::new(Arc::clone(&plan));
        let log = ChangeLog::new(states.builders());
        Ok(GroupAggregate {
            initial_row: keys.is_empty(),
            narrowed,
            output,
            resolution,
            plan,
            gone: GroupKeys::new(types.clone()),
            changed: Touched::default(),
            increments: Increments::default(),
            saving: saved::Saving::default(),
            keys: GroupKeys::new(types),
            states,
            counts: Vec::new(),
            log,
            marks: Vec::new(),
            mark: 0,
            touched: Vec::new(),
            emptied: Vec::new(),
            final_only: false,
            last_ticks: Vec::new(),
            ever: false,
            shown: false,
        })
    }

    /// Emits each group's last row alone, once the input has ended.
    ///
    /// Its time is the start of the last tick that touched the group, or the frontier reached
    /// before the end if that is later: for outputs of which the final contents alone are seen.
    pub fn with_final_only(mut self, final_only: bool) -> Self {
        self.final_only = final_only;
        self
    }

    /// Whether this instance of a global aggregate gives the row of an empty input; the default is
    /// yes. Of several workers one alone must: the one that the rows go to.
    pub fn with_initial_row(mut self, initial_row: bool) -> Self {
        self.initial_row = initial_row && self.narrowed.keys.is_empty();
        self
    }

    /// The used columns of all `batches` as one.
    fn gather(&self, batches: Vec<UpdateBatch>) -> Result<UpdateBatch> {
        let narrow =
            |batch: &UpdateBatch| Ok(batch.with_rows(batch.rows().project(&self.narrowed.used)?));
        let narrowed: Vec<_> = batches.iter().map(narrow).collect::<Result<_>>()?;
        UpdateBatch::concat(&self.narrowed.schema, &narrowed)
    }

    fn grow(&mut self) {
        let bound = self.keys.bound();
        self.states.resize(bound);
        self.counts.resize(bound, 0);
        self.marks.resize(bound, self.mark);
        if self.final_only {
            self.last_ticks.resize(bound, BEGINNING);
        }
    }

    fn apply(
        &mut self,
        from: EventTime,
        batches: Vec<UpdateBatch>,
        out: &mut Emitted,
    ) -> Result<()> {
        let batch = self.gather(batches)?;
        if batch.is_empty() {
            return Ok(());
        }
        self.ever = true;
        let (batch, ticks) = by_tick(batch, self.resolution)?;
        let columns = GroupKeys::read(self.narrowed.keys.iter().map(|&key| batch.column(key)))?;
        let columns: Vec<&Column> = columns.iter().collect();
        let mut groups = Vec::new();
        self.keys.intern(&columns, 0..batch.len(), &mut groups)?;
        self.grow();
        self.save_early(&groups)?;
        self.changed.touch(&groups, self.keys.bound());
        let input = self.plan.read(&batch)?;
        if self.final_only {
            return self.apply_all(&input, &ticks, &groups);
        }
        let mut start = 0;
        while start < ticks.len() {
            let tick = ticks[start];
            let length = ticks[start..].iter().take_while(|&&t| t == tick).count();
            let rows = start..start + length;
            self.apply_tick(&input, rows.clone(), &groups[rows], tick.max(from))?;
            if self.log.len() >= CHANGES_PER_BATCH_MAX {
                self.flush(out)?;
            }
            start += length;
        }
        self.flush(out)?;
        self.forget_empty()
    }

    fn apply_tick(
        &mut self,
        input: &StepInput,
        rows: std::ops::Range<usize>,
        groups: &[u32],
        time: EventTime,
    ) -> Result<()> {
        self.touched.clear();
        if self.mark == u32::MAX {
            self.marks.fill(0);
            self.mark = 0;
        }
        self.mark += 1;
        for &group in groups {
            let mark = &mut self.marks[group as usize];
            if *mark != self.mark {
                *mark = self.mark;
                self.touched.push(group);
            }
        }
        // A global aggregate has a row from its first input on, whatever is taken back.
        let global = self.narrowed.keys.is_empty();
        let (counts, shown) = (&self.counts, global && self.shown);
        let exists = |group: u32| shown || counts[group as usize] > 0;
        self.log.before(&self.states, self.keys.bound(), &self.touched, exists)?;
        self.shown = true;
        self.count(input, rows.clone(), groups);
        self.states.update(input, rows, groups)?;
        let counts = &self.counts;
        let exists = |group: u32| global || counts[group as usize] > 0;
        self.log.after(&self.states, time, &self.touched, exists)
    }

    fn count(&mut self, input: &StepInput, rows: std::ops::Range<usize>, groups: &[u32]) {
        match &input.diffs {
            None => groups.iter().for_each(|&group| self.counts[group as usize] += 1),
            Some(diffs) => {
                for (&group, diff) in groups.iter().zip(&diffs[rows]) {
                    self.counts[group as usize] += diff;
                }
            }
        }
    }

    fn apply_all(&mut self, input: &StepInput, ticks: &[EventTime], groups: &[u32]) -> Result<()> {
        self.count(input, 0..ticks.len(), groups);
        for (&group, &tick) in groups.iter().zip(ticks) {
            let last = &mut self.last_ticks[group as usize];
            *last = tick.max(*last);
        }
        self.states.update(input, 0..ticks.len(), groups)?;
        if !self.plan.append_only() {
            self.emptied.extend_from_slice(groups);
            self.forget_empty()?;
        }
        Ok(())
    }

    /// Emits what the log holds.
    fn flush(&mut self, out: &mut Emitted) -> Result<()> {
        if self.log.is_empty() {
            return Ok(());
        }
        let changes = self.log.finish(self.plan.every_row_changes())?;
        if !self.plan.append_only() {
            let empty = |group: &&u32| self.counts[**group as usize] == 0;
            self.emptied.extend(changes.groups.iter().filter(empty));
        }
        let mut columns = Vec::with_capacity(self.output.fields().len());
        for column in self.keys.columns(&changes.groups)? {
            columns.push(take(column.as_ref(), &changes.rows, None)?);
        }
        columns.extend(changes.columns);
        self.emit(columns, changes.times, Some(changes.diffs), &changes.failed, out)
    }

    fn emit(
        &self,
        columns: Vec<ArrayRef>,
        times: Vec<EventTime>,
        diffs: Option<Vec<i64>>,
        failed: &[(usize, usize)],
        out: &mut Emitted,
    ) -> Result<()> {
        if times.is_empty() {
            return Ok(());
        }
        let keys = self.narrowed.keys.len();
        bury_failed(&self.output, &columns, (keys, failed), |row| times[row], out)?;
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        let diffs = diffs.filter(|diffs| diffs.iter().any(|&d| d != 1)).map(Into::into);
        out.push(UpdateBatch::new(rows, times.into(), diffs));
        Ok(())
    }

    /// Gives back the numbers of groups without rows.
    fn forget_empty(&mut self) -> Result<()> {
        let mut emptied = std::mem::take(&mut self.emptied);
        if self.narrowed.keys.is_empty() || emptied.is_empty() {
            return Ok(());
        }
        emptied.sort_unstable();
        emptied.dedup();
        emptied.retain(|&group| self.counts[group as usize] == 0);
        self.states.clear(&emptied);
        self.note_gone(&emptied)?;
        for group in emptied {
            self.keys.remove(group);
            if let Some(tick) = self.last_ticks.get_mut(group as usize) {
                *tick = BEGINNING;
            }
        }
        Ok(())
    }

    fn finish(&mut self, from: EventTime, out: &mut Emitted) -> Result<()> {
        if !self.ever && self.initial_row {
            self.ever = true;
            self.keys.intern(&[], 0..1, &mut Vec::new())?;
            self.grow();
            // Only the end says that there is no row: no frontier before it decides the time.
            return self.emit_groups(&[0], vec![LATEST.max(from).min(CLOSED - 1)], out);
        }
        if !self.final_only {
            return Ok(());
        }
        let mut groups = self.keys.live();
        if !self.narrowed.keys.is_empty() {
            groups.retain(|&group| self.counts[group as usize] > 0);
        }
        for part in groups.chunks(CHANGES_PER_BATCH_MAX) {
            let time = |&group: &u32| self.last_ticks[group as usize].max(from);
            let times = part.iter().map(time).collect();
            self.emit_groups(part, times, out)?;
        }
        Ok(())
    }

    fn emit_groups(&self, groups: &[u32], times: Vec<EventTime>, out: &mut Emitted) -> Result<()> {
        let mut columns = self.keys.columns(groups)?;
        let mut builders = self.states.builders();
        self.states.append(groups, &mut builders)?;
        let mut failed = Vec::new();
        for (call, builder) in builders.iter_mut().enumerate() {
            failed.extend(builder.failed().iter().map(|&row| (row as usize, call)));
            columns.push(builder.finish()?);
        }
        self.emit(columns, times, None, &failed, out)
    }
}

impl StatefulLogic for GroupAggregate {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        !self.final_only || frontier == CLOSED || buffered > WINDOW_ROWS_UNREAD_MAX
    }

    fn advance(
        &mut self,
        from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let batches: Vec<UpdateBatch> = inputs.into_iter().flatten().collect();
        if !batches.is_empty() {
            self.apply(from, batches, out)?;
        }
        if to == CLOSED { self.finish(from, out) } else { Ok(()) }
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
        self.save_tables(whole, placement)
    }

    fn save_more(&mut self, most: usize) -> Result<Option<SavedTable>> {
        self.save_piece(most)
    }

    fn changed_rows(&self) -> Option<usize> {
        Some(self.touched_rows())
    }

    fn load(&mut self, tables: Vec<SavedTable>, _to: EventTime) -> Result<()> {
        tables.iter().try_for_each(|table| self.load_table(table))
    }

    fn rest(&self) -> Rest {
        match (self.narrowed.keys.is_empty(), self.final_only) {
            (true, _) => Rest::Never,
            (false, true) => Rest::Until(CLOSED),
            (false, false) => Rest::UntilInput,
        }
    }

    fn unload_to(&mut self, by: &[Vec<usize>], each: &mut TakeTables<'_>) -> Result<()> {
        self.groups_to(by.first().map_or(&[][..], Vec::as_slice), each)
    }

    fn track(&mut self) {
        self.changed.take();
    }

    fn changes(&mut self, placement: Option<&[usize]>) -> Result<Option<Vec<SavedTable>>> {
        match self.changed.is_on() {
            true => self.changed_tables(placement).map(Some),
            false => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
