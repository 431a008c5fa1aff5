//! The collection that a log of changes adds up to: at most one row a key.
//!
//! Input: the log of a source with a primary key ([`crate::plan::changelog`]). State: the last row
//! of each key, bounded by nothing but the number of keys; a deletion takes its row out.
//!
//! Law: as of every tick border the output holds, for each key, the row that the changes so far
//! leave it with, taken in this order: by event time; of one time by the name of the partition; of
//! one partition in its own order. A partition's event times never go back, so that its order is
//! always kept. All changes of a tick are simultaneous: one change per key and tick is emitted at
//! the tick's start, and none if the row is as before.
//!
//! What does not fit is decided here, and counted: an update of a key that is not there puts it
//! there; an insertion of a key that is there takes its row's place; a deletion of a key that is
//! not there does nothing, and becomes a dead letter. An upsert log has no such faults but the
//! last.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringViewArray, UInt32Array,
};
use arrow::compute::{self, interleave, take};
use arrow::datatypes::{DataType, Int8Type, Int64Type, SchemaRef};
use arrow::row::{RowConverter, SortField};

use super::logic::{Emitted, Rest, StatefulLogic};
use super::side::{cut_record, row_texts};
use crate::batch::UpdateBatch;
use crate::batch::changes::ChangeKind;
use crate::batch::consolidate::accumulate;
use crate::error::{DeadLetter, Error, Result};
use crate::plan::changelog::CHANGES_PER_RECORD_BITS;
use crate::plan::node::{Node, Operator, StreamPlan};
use crate::state::column::Column;
use crate::state::keys::GroupKeys;
use crate::state::rows::RowStore;
use crate::state::saved::{Recovery, SavedTable, rows_as};
use crate::time::{EventTime, Resolution};

/// The operator of `node`.
pub fn build(plan: &StreamPlan, node: &Node) -> Result<Box<dyn StatefulLogic>> {
    let Operator::ChangelogNormalize { keys, upsert } = &node.operator else {
        return Err(Error::internal("not a changelog to normalise"));
    };
    let table = match node.inputs.first().map(|id| &plan.node(*id).operator) {
        Some(Operator::Scan(scan)) => scan.table.def.name.clone(),
        _ => return Err(Error::internal("a log comes from a source")),
    };
    let (schema, resolution) = (Arc::clone(&node.schema), node.settings.time_resolution);
    Ok(Box::new(ChangelogNormalize::new(table, schema, keys.clone(), *upsert, resolution)))
}

/// No group is touched.
const NONE: u32 = u32::MAX;

/// The logic of the operator.
pub struct ChangelogNormalize {
    table: String,
    schema: SchemaRef,
    keys: Vec<usize>,
    upsert: bool,
    resolution: Resolution,
    known: GroupKeys,
    rows: RowStore,
    /// By group what it holds; between two calls nothing or a stored row.
    held: Vec<Held>,
    /// By group its place among the touched of the present tick.
    touches: Vec<u32>,
    /// By group whether the present call is about it.
    is_touched: Vec<bool>,
}

/// The row of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    /// In the state.
    Stored(u32),
    /// In the log at hand.
    Input(u32),
}

/// A key that a tick has touched.
struct Touch {
    group: u32,
    before: Held,
    /// Whether the first half of an update has been seen.
    is_halved: bool,
}

/// What a call emits, by reference.
#[derive(Default)]
struct Changes {
    replaced: (Vec<Held>, Vec<Held>, Vec<EventTime>),
    gone: (Vec<Held>, Vec<EventTime>),
    new: (Vec<Held>, Vec<EventTime>),
    /// Deletions of what was not there: the log's row and the time.
    absent: Vec<(u32, EventTime)>,
}

/// The log at hand.
struct Log {
    batch: UpdateBatch,
    kinds: Vec<ChangeKind>,
    groups: Vec<u32>,
    /// Its rows in the order in which they count.
    order: Vec<u32>,
}

impl ChangelogNormalize {
    /// For the log of `table` over rows of `schema` with the columns `keys`.
    pub fn new(
        table: String,
        schema: SchemaRef,
        keys: Vec<usize>,
        upsert: bool,
        resolution: Resolution,
    ) -> Self {
        let types: Vec<DataType> =
            keys.iter().map(|&k| schema.field(k).data_type().clone()).collect();
        ChangelogNormalize {
            table,
            rows: RowStore::new(&schema),
            schema,
            keys,
            upsert,
            resolution,
            known: GroupKeys::new(types),
            held: Vec::new(),
            touches: Vec::new(),
            is_touched: Vec::new(),
        }
    }

    fn read(&mut self, batches: Vec<UpdateBatch>) -> Result<Option<Log>> {
        let Some(first) = batches.first() else { return Ok(None) };
        let batch = UpdateBatch::concat(&first.schema(), &batches)?;
        let columns = GroupKeys::read(self.keys.iter().map(|&k| batch.column(k)))?;
        let columns: Vec<&Column> = columns.iter().collect();
        let mut groups = Vec::new();
        self.known.intern(&columns, 0..batch.len(), &mut groups)?;
        self.grow();
        let kinds = batch.column(self.schema.fields().len()).as_primitive::<Int8Type>();
        let kinds = kinds.values().iter().map(|&code| ChangeKind::of_code(code)).collect();
        let order = self.order(&batch);
        Ok(Some(Log { batch, kinds, groups, order }))
    }

    fn grow(&mut self) {
        let bound = self.known.bound();
        self.held.resize(bound, Held::Nothing);
        self.touches.resize(bound, NONE);
        self.is_touched.resize(bound, false);
    }

    fn places<'a>(&self, batch: &'a UpdateBatch) -> (&'a StringViewArray, &'a [i64]) {
        let width = self.schema.fields().len();
        let positions = batch.column(width + 2).as_primitive::<Int64Type>();
        (batch.column(width + 1).as_string_view(), positions.values())
    }

    fn order(&self, batch: &UpdateBatch) -> Vec<u32> {
        let (partitions, positions) = self.places(batch);
        let times = batch.times();
        let compare = |&a: &u32, &b: &u32| {
            let (a, b) = (a as usize, b as usize);
            times[a]
                .cmp(&times[b])
                .then_with(|| partitions.value(a).cmp(partitions.value(b)))
                .then_with(|| positions[a].cmp(&positions[b]))
        };
        let mut order: Vec<u32> = (0..batch.len() as u32).collect();
        if !order.is_sorted_by(|a, b| compare(a, b).is_le()) {
            order.sort_by(compare);
        }
        order
    }

    /// Each key of the log, once, with what it holds.
    fn snapshot(&mut self, log: &Log) -> Vec<(u32, Held)> {
        let mut before = Vec::new();
        for &group in &log.groups {
            if !std::mem::replace(&mut self.is_touched[group as usize], true) {
                before.push((group, self.held[group as usize]));
            }
        }
        before
    }

    /// Applies the log tick by tick.
    fn apply(&mut self, log: &Log, from: EventTime, out: &mut Emitted) -> Changes {
        let mut changes = Changes::default();
        let mut touched: Vec<Touch> = Vec::new();
        let time = |row: u32| log.batch.times()[row as usize];
        let mut at = 0;
        while let Some(&first) = log.order.get(at) {
            let start = self.resolution.tick_start(time(first));
            let end = start.saturating_add(self.resolution.tick_ms());
            let emitted = start.max(from);
            while let Some(&row) = log.order.get(at).filter(|row| time(**row) < end) {
                self.apply_one(log, row, &mut touched, out, (&mut changes, emitted));
                at += 1;
            }
            for touch in touched.drain(..) {
                let after = self.held[touch.group as usize];
                self.touches[touch.group as usize] = NONE;
                match (touch.before, after) {
                    (before, after) if before == after => {}
                    (before, Held::Nothing) => {
                        changes.gone.0.push(before);
                        changes.gone.1.push(emitted);
                    }
                    (Held::Nothing, after) => {
                        changes.new.0.push(after);
                        changes.new.1.push(emitted);
                    }
                    (before, after) => {
                        changes.replaced.0.push(before);
                        changes.replaced.1.push(after);
                        changes.replaced.2.push(emitted);
                    }
                }
            }
        }
        changes
    }

    fn apply_one(
        &mut self,
        log: &Log,
        row: u32,
        touched: &mut Vec<Touch>,
        out: &mut Emitted,
        (changes, time): (&mut Changes, EventTime),
    ) {
        let group = log.groups[row as usize];
        let held = &mut self.held[group as usize];
        let place = &mut self.touches[group as usize];
        if *place == NONE {
            *place = touched.len() as u32;
            touched.push(Touch { group, before: *held, is_halved: false });
        }
        let touch = &mut touched[*place as usize];
        let is_new = *held == Held::Nothing && !touch.is_halved;
        match log.kinds[row as usize] {
            ChangeKind::Insert => {
                if *held != Held::Nothing && !self.upsert {
                    out.irregular.entry(time).or_default().duplicate_inserts += 1;
                }
                *held = Held::Input(row);
            }
            ChangeKind::UpdateAfter => {
                if is_new && !self.upsert {
                    out.irregular.entry(time).or_default().unknown_updates += 1;
                }
                *held = Held::Input(row);
            }
            ChangeKind::UpdateBefore => {
                touch.is_halved |= *held != Held::Nothing;
                *held = Held::Nothing;
                return;
            }
            ChangeKind::Delete if *held == Held::Nothing => {
                out.irregular.entry(time).or_default().absent_deletes += 1;
                changes.absent.push((row, time));
            }
            ChangeKind::Delete => *held = Held::Nothing,
        }
        touch.is_halved = false;
    }

    /// The columns of rows wherever they are.
    fn gather(&self, log: &Log, refs: &[Held]) -> Result<Vec<ArrayRef>> {
        let (mut slots, mut inputs, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for held in refs {
            match held {
                Held::Stored(slot) => {
                    places.push((0, slots.len()));
                    slots.push(*slot);
                }
                Held::Input(row) => {
                    places.push((1, inputs.len()));
                    inputs.push(*row);
                }
                Held::Nothing => return Err(Error::internal("a row that is not there")),
            }
        }
        let width = self.schema.fields().len();
        let is_mixed = !slots.is_empty() && !inputs.is_empty();
        let stored = if slots.is_empty() { Vec::new() } else { self.rows.columns(&slots)? };
        let inputs = UInt32Array::from(inputs);
        let mut columns = Vec::with_capacity(width);
        for column in 0..width {
            if inputs.is_empty() && !stored.is_empty() {
                columns.push(Arc::clone(&stored[column]));
                continue;
            }
            let taken = take(log.batch.column(column).as_ref(), &inputs, None)?;
            columns.push(if is_mixed {
                interleave(&[stored[column].as_ref(), taken.as_ref()], &places)?
            } else {
                taken
            });
        }
        Ok(columns)
    }

    fn emit(
        &self,
        columns: Vec<ArrayRef>,
        times: Vec<EventTime>,
        diff: i64,
        out: &mut Emitted,
    ) -> Result<()> {
        if times.is_empty() {
            return Ok(());
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let diffs = (diff != 1).then(|| vec![diff; times.len()].into());
        out.push(UpdateBatch::new(rows, times.into(), diffs));
        Ok(())
    }

    fn emit_all(&self, log: &Log, changes: Changes, out: &mut Emitted) -> Result<()> {
        let Changes { replaced: (before, after, mut times), gone, new, absent } = changes;
        if !times.is_empty() {
            let mut old = self.gather(log, &before)?;
            let mut now = self.gather(log, &after)?;
            let differs = differing(&old, &now)?;
            if differs.true_count() < times.len() {
                for column in old.iter_mut().chain(&mut now) {
                    *column = compute::filter(column, &differs)?;
                }
                let mut kept = differs.values().iter();
                times.retain(|_| kept.next().unwrap_or(true));
            }
            self.emit(old, times.clone(), -1, out)?;
            self.emit(now, times, 1, out)?;
        }
        if !gone.1.is_empty() {
            self.emit(self.gather(log, &gone.0)?, gone.1, -1, out)?;
        }
        if !new.1.is_empty() {
            self.emit(self.gather(log, &new.0)?, new.1, 1, out)?;
        }
        self.bury(log, &absent, out)
    }

    /// Deletions of what is not there.
    fn bury(&self, log: &Log, absent: &[(u32, EventTime)], out: &mut Emitted) -> Result<()> {
        if absent.is_empty() {
            return Ok(());
        }
        let rows = UInt32Array::from_iter_values(absent.iter().map(|(row, _)| *row));
        let (partitions, positions) = self.places(&log.batch);
        let width: Vec<usize> = (0..self.schema.fields().len()).collect();
        let taken = compute::take_record_batch(&log.batch.rows().project(&width)?, &rows)?;
        for (&(row, time), text) in absent.iter().zip(row_texts(&taken)) {
            let letter = DeadLetter {
                source: self.table.clone(),
                partition: partitions.value(row as usize).to_string(),
                offset: positions[row as usize] >> CHANGES_PER_RECORD_BITS,
                reason: "the deletion of a row that is not there".to_string(),
                record: cut_record(text),
            };
            out.dead.push(letter, time);
        }
        Ok(())
    }

    /// Takes rows into the state, of keys that are not there.
    fn take_back(&mut self, rows: &RecordBatch) -> Result<()> {
        let columns = GroupKeys::read(self.keys.iter().map(|&k| rows.column(k)))?;
        let columns: Vec<&Column> = columns.iter().collect();
        let (mut groups, mut slots) = (Vec::new(), Vec::new());
        self.known.intern(&columns, 0..rows.num_rows(), &mut groups)?;
        self.grow();
        self.rows.insert(rows, &mut slots)?;
        for (group, slot) in groups.into_iter().zip(slots) {
            self.held[group as usize] = Held::Stored(slot);
        }
        Ok(())
    }

    /// Takes what the log has left behind into the state.
    fn settle(&mut self, log: &Log, before: Vec<(u32, Held)>) -> Result<()> {
        let (mut groups, mut inputs) = (Vec::new(), Vec::new());
        for (group, before) in before {
            self.is_touched[group as usize] = false;
            let after = self.held[group as usize];
            if after == before && after != Held::Nothing {
                continue;
            }
            if let Held::Stored(slot) = before {
                self.rows.remove(slot);
            }
            match after {
                Held::Input(row) => {
                    groups.push(group);
                    inputs.push(row);
                }
                _ => self.known.remove(group),
            }
        }
        if groups.is_empty() {
            return Ok(());
        }
        let refs: Vec<Held> = inputs.iter().map(|&row| Held::Input(row)).collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), self.gather(log, &refs)?)?;
        let mut slots = Vec::with_capacity(groups.len());
        self.rows.insert(&rows, &mut slots)?;
        for (group, slot) in groups.into_iter().zip(slots) {
            self.held[group as usize] = Held::Stored(slot);
        }
        Ok(())
    }
}

/// Where two lists of rows, pair by pair, are not the same.
fn differing(old: &[ArrayRef], new: &[ArrayRef]) -> Result<BooleanArray> {
    let length = old.first().map_or(0, |column| column.len());
    let mut differs = BooleanArray::from(vec![false; length]);
    for (old, new) in old.iter().zip(new) {
        let column = if old.data_type().is_nested() {
            let fields = vec![SortField::new(old.data_type().clone())];
            let converter = RowConverter::new(fields)?;
            let old = converter.convert_columns(&[Arc::clone(old)])?;
            let new = converter.convert_columns(&[Arc::clone(new)])?;
            (0..length).map(|row| Some(old.row(row) != new.row(row))).collect()
        } else {
            compute::kernels::cmp::distinct(old, new)?
        };
        differs = compute::or(&differs, &column)?;
    }
    Ok(differs)
}

impl StatefulLogic for ChangelogNormalize {
    fn advance(
        &mut self,
        from: EventTime,
        _to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let Some(log) = self.read(inputs.into_iter().flatten().collect())? else { return Ok(()) };
        let before = self.snapshot(&log);
        let changes = self.apply(&log, from, out);
        self.emit_all(&log, changes, out)?;
        self.settle(&log, before)
    }

    fn recovery(&self) -> Recovery {
        Recovery::Contents
    }

    fn is_its_output(&self) -> bool {
        true
    }

    fn catch_up(&mut self, _to: EventTime, inputs: Vec<Vec<UpdateBatch>>) -> Result<()> {
        let batches: Vec<UpdateBatch> = inputs.into_iter().flatten().collect();
        self.take_back(accumulate(&UpdateBatch::concat(&self.schema, &batches)?)?.rows())
    }

    fn rest(&self) -> Rest {
        Rest::UntilInput
    }

    fn unload(&mut self, by: &[Vec<usize>]) -> Result<Vec<SavedTable>> {
        let stored = |group: u32| match self.held[group as usize] {
            Held::Stored(slot) => Some(slot),
            Held::Nothing | Held::Input(_) => None,
        };
        let slots: Vec<u32> = self.known.live().into_iter().filter_map(stored).collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), self.rows.columns(&slots)?)?;
        Ok(vec![SavedTable { name: "rows".to_owned(), rows, shard: by.first().cloned() }])
    }

    fn reload(&mut self, tables: Vec<SavedTable>, _to: EventTime) -> Result<()> {
        let schema = Arc::clone(&self.schema);
        tables.iter().try_for_each(|table| self.take_back(&rows_as(&table.rows, &schema)?))
    }

    fn state_rows(&self) -> usize {
        self.known.len()
    }

    fn state_bytes(&self) -> Option<usize> {
        Some(self.rows.bytes())
    }
}

#[cfg(test)]
mod tests;
