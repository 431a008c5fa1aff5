//! Joins with another collection as of each row's time.
//!
//! State: the right side as of the frontier, in columns chained by key; left rows and right updates
//! that the frontier has not reached. Law: a left row with the moment `m` meets the right rows that
//! are there as of `m`, those at `m` included, and comes out at `m + lag`, where `lag` is how far
//! its moment may lie behind its time. Nothing below the frontier can change any more, so this
//! depends on the rows and their times alone.
//!
//! An append-only right side is read as versions of its keys: of the rows of a key that have come
//! by
//! `m` the one with the greatest time is there, the least row of those with equal times. A version
//! that comes behind a later one of its key never is there: it is late. Replaced versions are
//! dropped at once: every left row that is still to come has a later moment.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute;
use arrow::datatypes::{
    DataType, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType,
};
use arrow::row::{RowConverter, SortField};
use datafusion::common::JoinType;

use super::driver::Stash;
use super::logic::{Emitted, LateRows, Rest, StatefulLogic};
use super::unsaved::Unsaved;
use super::window_join::holding;
use crate::batch::UpdateBatch;
use crate::error::Result;
use crate::limits::BATCH_ROWS;
use crate::plan::expr::time_type;
use crate::plan::node::Node;
use crate::plan::temporal::TemporalJoin;
use crate::state::chains::{Chains, NONE};
use crate::state::column::Column;
use crate::state::keys::GroupKeys;
use crate::state::rows::RowStore;
use crate::state::saved::{Recovery, SavedTable, log_updates, numbered, numbers_of, saved_updates};
use crate::state::touched::{Increments, outgrown};
use crate::time::{CLOSED, EventTime};

/// The table of left rows that have not come out.
const PENDING: &str = "pending";
/// The table of right updates of later moments.
const LATER: &str = "later";
/// The table of the right rows that are there.
const RIGHT: &str = "right";
/// The table of right updates applied on top of them.
const CHANGES: &str = "changes";

/// The logic of a [`TemporalJoin`] node.
pub struct TemporalJoinLogic {
    join: TemporalJoin,
    schemas: [SchemaRef; 2],
    output: SchemaRef,
    /// Left columns, then right columns: what the condition reads.
    wide: SchemaRef,
    keys: GroupKeys,
    /// The right side as of the frontier.
    rows: RowStore,
    chains: Chains,
    /// Of versions: their times, and which can match, by slot.
    times: Vec<i64>,
    valid: Vec<bool>,
    /// Left rows at the time at which they come out.
    pending: Stash,
    /// Right updates at or after the moments that are known.
    later: Stash,
    /// What has come into the two since the last save.
    unsaved: [Unsaved; 2],
    /// Updates applied to the right side since the last save; `None` if it is to be saved whole.
    changed: Option<Vec<UpdateBatch>>,
    changed_rows: usize,
    increments: Increments,
}

/// What happens to the right side, in order of time.
struct Event {
    time: EventTime,
    group: u32,
    what: What,
}

enum What {
    /// A row comes: its slot and its place among the updates.
    Comes(u32, u32),
    /// The row like this update goes.
    Goes(u32),
}

/// Updates of the right side with what they were read as.
struct Arrivals {
    batch: UpdateBatch,
    columns: Vec<Column>,
    events: Vec<Event>,
}

/// The logic of `node`, over inputs of schemas `left` and `right`.
pub fn build(
    node: &Node,
    join: &TemporalJoin,
    left: SchemaRef,
    right: SchemaRef,
) -> TemporalJoinLogic {
    TemporalJoinLogic::new(left, right, join.clone(), SchemaRef::clone(&node.schema))
}

impl TemporalJoinLogic {
    /// Over inputs of schemas `left` and `right`.
    pub fn new(left: SchemaRef, right: SchemaRef, join: TemporalJoin, output: SchemaRef) -> Self {
        let fields = left.fields().iter().chain(right.fields().iter());
        let fields: Vec<_> =
            fields.map(|f| Arc::new(f.as_ref().clone().with_nullable(true))).collect();
        let types: Vec<DataType> =
            join.right_keys.iter().map(|&k| right.field(k).data_type().clone()).collect();
        TemporalJoinLogic {
            join,
            output,
            wide: Arc::new(Schema::new(fields)),
            keys: GroupKeys::new(types),
            rows: RowStore::new(&right),
            chains: Chains::default(),
            times: Vec::new(),
            valid: Vec::new(),
            pending: Stash::default(),
            later: Stash::default(),
            unsaved: Default::default(),
            changed: None,
            changed_rows: 0,
            increments: Increments::default(),
            schemas: [left, right],
        }
    }

    /// Keeps left rows by when they come out; those without a moment come out alone at once.
    fn wait(&mut self, batch: UpdateBatch, out: &mut Emitted) -> Result<()> {
        let Some(moment) = &self.join.moment else {
            self.hold(batch);
            return Ok(());
        };
        let value = moment.physical().evaluate(batch.rows())?.into_array(batch.len())?;
        let value = compute::cast(&value, &time_type())?;
        let value = value.as_primitive::<TimestampMillisecondType>();
        let lag = self.join.lag;
        let due = value.values().iter().zip(batch.times().iter());
        // Not later than the time of rows that are behind.
        let due: Vec<i64> = due.map(|(&m, &time)| m.saturating_add(lag).max(time)).collect();
        let (rows, times, diffs) = batch.into_parts();
        if value.null_count() == 0 {
            self.hold(UpdateBatch::new(rows, due.into(), diffs));
            return Ok(());
        }
        let known = compute::is_not_null(value)?;
        let unknown = compute::is_null(value)?;
        let alone = UpdateBatch::new(rows.clone(), times, diffs.clone()).filter(&unknown)?;
        self.hold(UpdateBatch::new(rows, due.into(), diffs).filter(&known)?);
        let all: Vec<u32> = (0..alone.len() as u32).collect();
        self.alone(&alone, all, out)
    }

    fn hold(&mut self, left: UpdateBatch) {
        self.unsaved[0].push(&left);
        self.pending.push(left);
    }

    /// The key of each row; [`NONE`] for rows that match nothing as a key is NULL.
    fn groups(&mut self, batch: &UpdateBatch, is_left: bool) -> Result<(Vec<u32>, Vec<u32>)> {
        let keys = if is_left { &self.join.left_keys } else { &self.join.right_keys };
        let columns = GroupKeys::read(keys.iter().map(|&k| batch.column(k)))?;
        let columns: Vec<&Column> = columns.iter().collect();
        let mut interned = Vec::new();
        self.keys.intern(&columns, 0..batch.len(), &mut interned)?;
        let nullable = columns.iter().filter(|c| !self.join.null_equals_null && c.nulls.is_some());
        let nullable: Vec<&&Column> = nullable.collect();
        let is_null = |row: usize| nullable.iter().any(|c| c.is_null(row));
        let groups = interned.iter().enumerate();
        let groups = groups.map(|(row, &group)| if is_null(row) { NONE } else { group }).collect();
        Ok((groups, interned))
    }

    /// Puts the rows that come into the store, and all that happens in order.
    fn arrivals(&mut self, batch: UpdateBatch, groups: &[u32]) -> Result<Arrivals> {
        let columns = RowStore::read(batch.rows().columns())?;
        let (mut coming, mut events) = (Vec::new(), Vec::new());
        for (row, &group) in groups.iter().enumerate().filter(|(_, g)| **g != NONE) {
            let (time, diff) = (batch.times()[row], batch.diff(row));
            let row = row as u32;
            for _ in 0..diff.unsigned_abs() {
                let what = if diff > 0 { What::Comes(NONE, row) } else { What::Goes(row) };
                events.push(Event { time, group, what });
            }
            coming.extend((0..diff.max(0)).map(|_| row));
        }
        let mut slots = Vec::new();
        let rows = crate::state::rows::Picked::Some(&coming);
        self.rows.insert_columns(&columns, rows, &mut slots)?;
        let mut slots = slots.into_iter();
        for event in &mut events {
            if let What::Comes(slot, _) = &mut event.what {
                *slot = slots.next().unwrap_or(NONE);
            }
        }
        self.read_versions(&batch, &events)?;
        // Of one time what comes is before what goes: both may be of one row.
        // Of versions the later one comes last, so that none is late for one of its own time.
        let of_version = |e: &Event| match e.what {
            What::Comes(slot, _) => self.times.get(slot as usize).copied().unwrap_or_default(),
            What::Goes(_) => i64::MAX,
        };
        events.sort_by_key(|e| (e.time, of_version(e), matches!(e.what, What::Goes(_))));
        Ok(Arrivals { batch, columns, events })
    }

    /// Times and validity of versions, by slot.
    fn read_versions(&mut self, batch: &UpdateBatch, events: &[Event]) -> Result<()> {
        let Some(versions) = &self.join.versions else { return Ok(()) };
        let valid = batch.column(versions.valid).as_boolean();
        let times = versions.time.map(|c| micros(batch.column(c))).transpose()?;
        self.times.resize(self.rows.bound(), 0);
        self.valid.resize(self.rows.bound(), false);
        for event in events {
            let What::Comes(slot, row) = event.what else { continue };
            let (slot, row) = (slot as usize, row as usize);
            self.valid[slot] = valid.is_valid(row) && valid.value(row);
            self.times[slot] = match &times {
                Some(times) if times.is_valid(row) => times.value(row),
                Some(_) => i64::MIN,
                None => event.time.saturating_mul(1000),
            };
        }
        Ok(())
    }

    /// Notes updates of the right side that are about to be applied, for the next save: unless
    /// they are so many that all that is there is less.
    fn note(&mut self, right: &[UpdateBatch]) {
        if let Some(changed) = &mut self.changed {
            self.changed_rows += right.iter().map(UpdateBatch::len).sum::<usize>();
            changed.extend(right.iter().cloned());
            if outgrown(self.changed_rows, self.rows.len()) {
                self.changed = None;
                self.changed_rows = 0;
            }
        }
    }

    /// The rows of the right side that are there.
    fn save_right(&self, shard: Option<&[usize]>) -> Result<Option<SavedTable>> {
        let mut slots = Vec::with_capacity(self.rows.len());
        for group in self.keys.live() {
            let mut slot = self.chains.head(group);
            while slot != NONE {
                slots.push(slot);
                slot = self.chains.next(slot);
            }
        }
        if slots.is_empty() {
            return Ok(None);
        }
        let schema = SchemaRef::clone(&self.schemas[1]);
        let rows = RecordBatch::try_new(schema, self.rows.columns(&slots)?)?;
        let times = slots.iter();
        let times = times.map(|&s| self.times.get(s as usize).copied().unwrap_or_default());
        numbered(RIGHT, &rows, vec![times.collect()], shard).map(Some)
    }

    /// Takes back rows of the right side that are there.
    fn load_right(&mut self, table: &SavedTable) -> Result<()> {
        let (rows, numbers) = numbers_of(&table.rows, &self.schemas[1], 1)?;
        let batch = UpdateBatch::at(rows, 0);
        let (groups, _) = self.groups(&batch, false)?;
        self.chains.resize(self.keys.bound());
        let mut slots = Vec::new();
        self.rows.insert(batch.rows(), &mut slots)?;
        self.times.resize(self.rows.bound(), 0);
        self.valid.resize(self.rows.bound(), false);
        let valid = self.join.versions.as_ref().map(|v| batch.column(v.valid).as_boolean().clone());
        for (row, (&slot, &group)) in slots.iter().zip(&groups).enumerate() {
            self.times[slot as usize] = numbers.first().map_or(0, |times| times[row]);
            self.valid[slot as usize] =
                valid.as_ref().is_some_and(|valid| valid.is_valid(row) && valid.value(row));
            self.chains.link(slot, group);
        }
        Ok(())
    }

    /// Left rows `left`, in order of what has happened by their moments.
    fn apply(
        &mut self,
        left: &[UpdateBatch],
        right: &[UpdateBatch],
        out: &mut Emitted,
    ) -> Result<()> {
        let left = UpdateBatch::concat(&self.schemas[0], left)?.by_time()?;
        let right = UpdateBatch::concat(&self.schemas[1], right)?;
        if left.is_empty() && right.is_empty() {
            return Ok(());
        }
        let (groups, mut touched) = self.groups(&left, true)?;
        let (right_groups, of_right) = self.groups(&right, false)?;
        touched.extend(of_right);
        self.chains.resize(self.keys.bound());
        let arrivals = self.arrivals(right, &right_groups)?;
        let mut step = Step::default();
        let mut matched = vec![false; left.len()];
        let mut events = arrivals.events.iter().peekable();
        for row in 0..left.len() as u32 {
            let moment = left.times()[row as usize].saturating_sub(self.join.lag);
            while let Some(event) = events.next_if(|e| e.time <= moment) {
                self.happens(event, &arrivals, &mut step)?;
            }
            self.meet(groups[row as usize], row, &mut step.pairs);
            if step.pairs.len() >= BATCH_ROWS {
                self.pairs(&left, &mut step.pairs, &mut matched, out)?;
            }
        }
        for event in events {
            self.happens(event, &arrivals, &mut step)?;
        }
        self.pairs(&left, &mut step.pairs, &mut matched, out)?;
        if self.join.kind == JoinType::Left {
            let alone = matched.iter().enumerate().filter(|(_, m)| !**m);
            self.alone(&left, alone.map(|(row, _)| row as u32).collect(), out)?;
        }
        self.report_late(&arrivals.batch, step.late, out)?;
        // Slots are given again only now that their pairs are out.
        step.gone.into_iter().for_each(|slot| self.rows.remove(slot));
        touched.retain(|&group| self.chains.head(group) == NONE);
        touched.sort_unstable();
        touched.dedup();
        touched.into_iter().for_each(|group| self.keys.remove(group));
        Ok(())
    }

    /// The right rows of a key that are there now.
    fn meet(&self, group: u32, row: u32, pairs: &mut Vec<(u32, u32)>) {
        if group == NONE {
            return;
        }
        let mut slot = self.chains.head(group);
        while slot != NONE {
            if self.join.versions.is_none() || self.valid[slot as usize] {
                pairs.push((row, slot));
            }
            slot = self.chains.next(slot);
        }
    }

    fn happens(&mut self, event: &Event, arrivals: &Arrivals, step: &mut Step) -> Result<()> {
        match event.what {
            What::Comes(slot, row) if self.join.versions.is_some() => {
                let known = self.chains.head(event.group);
                if known == NONE {
                    self.chains.link(slot, event.group);
                } else if self.follows(slot, known)? {
                    self.chains.unlink(known);
                    self.chains.link(slot, event.group);
                    step.gone.push(known);
                } else {
                    step.gone.push(slot);
                    if self.times[slot as usize] < self.times[known as usize] {
                        let end = self.times[known as usize].div_euclid(1000);
                        step.late.push((row, end.min(event.time)));
                    }
                }
            }
            What::Comes(slot, _) => self.chains.link(slot, event.group),
            What::Goes(row) => {
                let mut slot = self.chains.head(event.group);
                while slot != NONE && !self.rows.equals(slot, &arrivals.columns, row as usize) {
                    slot = self.chains.next(slot);
                }
                if slot != NONE {
                    self.chains.unlink(slot);
                    step.gone.push(slot);
                }
            }
        }
        Ok(())
    }

    /// Whether version `new` takes the place of `known`.
    fn follows(&self, new: u32, known: u32) -> Result<bool> {
        let by_time = self.times[new as usize].cmp(&self.times[known as usize]);
        if by_time != Ordering::Equal {
            return Ok(by_time == Ordering::Greater);
        }
        let columns = self.rows.columns(&[new, known])?;
        let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
        let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
        Ok(rows.row(0) < rows.row(1))
    }

    /// Takes candidates (left row, slot): those of which the condition holds come out.
    fn pairs(
        &self,
        left: &UpdateBatch,
        pairs: &mut Vec<(u32, u32)>,
        matched: &mut [bool],
        out: &mut Emitted,
    ) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        let (rows, slots): (Vec<u32>, Vec<u32>) = std::mem::take(pairs).into_iter().unzip();
        let mut updates = left.take(&UInt32Array::from(rows.clone()))?;
        let columns = [updates.rows().columns().to_vec(), self.rows.columns(&slots)?].concat();
        let mut columns: Vec<ArrayRef> = columns;
        let mut held: Vec<usize> = (0..rows.len()).collect();
        if let Some(filter) = &self.join.filter {
            let all = RecordBatch::try_new(Arc::clone(&self.wide), columns)?;
            let mut failed = Vec::new();
            held = holding("TemporalJoin", filter, &all, 0, &mut failed)?;
            let times = updates.times();
            failed.into_iter().for_each(|(at, letter)| out.dead.push(letter, times[at]));
            columns = all.columns().to_vec();
        }
        held.iter().for_each(|&at| matched[rows[at] as usize] = true);
        if held.len() < rows.len() {
            let held: UInt32Array = held.into_iter().map(|at| at as u32).collect();
            updates = updates.take(&held)?;
            let taken = columns.iter().map(|c| compute::take(c, &held, None));
            columns = taken.collect::<std::result::Result<_, _>>()?;
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        out.push(updates.with_rows(rows));
        Ok(())
    }

    /// Left rows that meet nothing, where they are part of the result.
    fn alone(&self, left: &UpdateBatch, rows: Vec<u32>, out: &mut Emitted) -> Result<()> {
        if rows.is_empty() || self.join.kind != JoinType::Left {
            return Ok(());
        }
        let taken = left.take(&UInt32Array::from(rows))?;
        let mut columns = taken.rows().columns().to_vec();
        let right = self.schemas[1].fields().iter();
        columns.extend(right.map(|f| new_null_array(f.data_type(), taken.len())));
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        out.push(taken.with_rows(rows));
        Ok(())
    }

    fn report_late(
        &self,
        right: &UpdateBatch,
        late: Vec<(u32, EventTime)>,
        out: &mut Emitted,
    ) -> Result<()> {
        let Some(versions) = self.join.versions.as_ref().filter(|_| !late.is_empty()) else {
            return Ok(());
        };
        let (rows, window_end): (Vec<u32>, Vec<EventTime>) = late.into_iter().unzip();
        let taken = right.take(&UInt32Array::from(rows))?;
        let visible: Vec<usize> = (0..versions.valid).collect();
        let rows = taken.with_rows(taken.rows().project(&visible)?);
        out.late.push(LateRows { rows, window_end });
        Ok(())
    }
}

/// What one step leaves behind.
#[derive(Default)]
struct Step {
    pairs: Vec<(u32, u32)>,
    /// Slots of rows that are not there any more.
    gone: Vec<u32>,
    /// Versions that never were there, and since when there was a later one.
    late: Vec<(u32, EventTime)>,
}

/// A timestamp column in microseconds.
fn micros(array: &ArrayRef) -> Result<arrow::array::Int64Array> {
    let factor = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000,
        _ => 1,
    };
    let ints = compute::cast(array, &DataType::Int64)?;
    Ok(ints.as_primitive::<Int64Type>().unary(|v: i64| v.saturating_mul(factor)))
}

impl StatefulLogic for TemporalJoinLogic {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        buffered > 0 || self.pending.first().is_some_and(|first| first < frontier)
    }

    fn advance(
        &mut self,
        _from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let mut inputs = inputs.into_iter();
        for batch in inputs.next().unwrap_or_default() {
            self.wait(batch, out)?;
        }
        for batch in inputs.next().unwrap_or_default() {
            self.unsaved[1].push(&batch);
            self.later.push(batch);
        }
        let known = if to == CLOSED { CLOSED } else { to.saturating_sub(self.join.lag) };
        let (left, right) = (self.pending.take_below(to)?, self.later.take_below(known)?);
        let [left_unsaved, right_unsaved] = &mut self.unsaved;
        left_unsaved.pass(to)?;
        right_unsaved.pass(known)?;
        self.note(&right);
        self.apply(&left, &right, out)?;
        if to == CLOSED {
            self.rows = RowStore::new(&self.schemas[1]);
            self.chains = Chains::default();
            self.keys.clear();
        }
        Ok(())
    }

    /// What replaced versions leave behind is not the sum of the input, and versions stay for ever.
    fn recovery(&self) -> Recovery {
        Recovery::Tables
    }

    fn rest(&self) -> Rest {
        let after = |time: EventTime| time.saturating_add(1);
        let left = self.pending.first().map(after);
        let right = self.later.first().map(|time| after(time).saturating_add(self.join.lag));
        left.into_iter().chain(right).min().map_or(Rest::UntilInput, Rest::Until)
    }

    fn save(
        &mut self,
        whole: bool,
        _placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        let by = |keys: &[usize]| (!keys.is_empty()).then(|| keys.to_vec());
        let (left, right) = (by(&self.join.left_keys), by(&self.join.right_keys));
        let changed = self.changed_rows + self.unsaved.iter().map(Unsaved::rows).sum::<usize>();
        let is_known = self.changed.is_some();
        let whole = self.increments.must_be_whole(whole || !is_known, changed, self.state_rows());
        let mut tables = Vec::new();
        let stashes = [(PENDING, &self.pending, &left), (LATER, &self.later, &right)];
        for ((name, stash, shard), unsaved) in stashes.into_iter().zip(&mut self.unsaved) {
            let kept: Vec<UpdateBatch> = stash.kept().cloned().collect();
            tables.extend(unsaved.save(name, whole, &kept, shard.as_deref())?);
        }
        let changed = self.changed.replace(Vec::new()).unwrap_or_default();
        self.changed_rows = 0;
        if whole {
            tables.extend(self.save_right(right.as_deref())?);
        } else if !changed.is_empty() {
            let all = UpdateBatch::concat(&self.schemas[1], &changed)?;
            tables.push(saved_updates(CHANGES, &all, right.as_deref())?);
        }
        Ok((whole, tables))
    }

    fn load(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        let known = to.saturating_sub(self.join.lag);
        for table in tables {
            let rows = |side: usize| log_updates(&table.rows, &self.schemas[side]);
            match table.name.as_str() {
                // What has come out, or has come to be there, since it was saved is not held back.
                PENDING => rows(0)?.split_at(to)?.1.into_iter().for_each(|b| self.pending.push(b)),
                LATER => rows(1)?.split_at(known)?.1.into_iter().for_each(|b| self.later.push(b)),
                CHANGES => {
                    let changes = [rows(1)?];
                    self.apply(&[], &changes, &mut Emitted::default())?;
                }
                _ => self.load_right(&table)?,
            }
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.rows.len() + self.pending.rows() + self.later.rows()
    }
}

#[cfg(test)]
mod tests;
