//! Top-N, deduplication and `ORDER BY .. LIMIT` as collections that maintain themselves.
//!
//! State: the keys, and of each key its rows in order. Of input that is never retracted only the
//! rows that are shown are kept, at most `to` of each key; where `to` is one, a single slot a key.
//! Of other input all rows are kept: any of them may be shown once those before it are gone.
//!
//! Law: as of every tick border the output is the batch answer over the input so far: rows ranked
//! by the order, ties broken by the whole row. All rows of a tick are simultaneous: what is emitted
//! is the difference of what is shown before and after it. Without the number in the output only
//! rows that enter or leave are emitted; with it also those whose number changes.

mod lists;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, SchemaRef};

use lists::{Item, Lists};

use super::logic::{Emitted, Rest, StatefulLogic, TakeTables};
use super::ticks::Ticks;
use crate::batch::UpdateBatch;
use crate::batch::consolidate::accumulate;
use crate::error::{Error, Result};
use crate::limits::{CHANGES_PER_BATCH_MAX, SPILL_PIECE_ROWS, WINDOW_ROWS_UNREAD_MAX};
use crate::plan::node::{Node, Rank, RankKind, StreamPlan};
use crate::plan::props::ChangelogMode;
use crate::state::column::Column;
use crate::state::keys::GroupKeys;
use crate::state::ordered_rows::RowOrder;
use crate::state::row_pool::{Place, RowPool};
use crate::state::saved::{Recovery, SavedTable, by_hash, log_updates, saved_updates, shard_of};
use crate::time::{BEGINNING, CLOSED, EventTime, Resolution};

/// No row.
const NONE: u32 = u32::MAX;

/// The logic of a node of [`Rank`].
pub fn build(plan: &StreamPlan, node: &Node, rank: &Rank) -> Result<Box<dyn StatefulLogic>> {
    let below = plan.node(node.inputs[0]);
    let (input, output) = (Arc::clone(&below.schema), Arc::clone(&node.schema));
    let resolution = node.settings.time_resolution;
    if rank.first_by_time {
        let logic = super::first_row::FirstRow::new(input, rank, output, resolution)?;
        return Ok(Box::new(logic));
    }
    let append_only = below.props.mode == ChangelogMode::Append;
    Ok(Box::new(RankLogic::new(input, rank.clone(), output, resolution, append_only)?))
}

/// Ranks rows, see above.
pub struct RankLogic {
    input: SchemaRef,
    output: SchemaRef,
    rank: Rank,
    resolution: Resolution,
    keys: GroupKeys,
    rows: Rows,
    held: Held,
    mark: u32,
    log: Log,
    /// Keys that lost their last row in this step.
    emptied: Vec<u32>,
    /// The start of the last tick that any row came in.
    last_tick: EventTime,
    append_only: bool,
}

/// The rows of all keys, and their order.
struct Rows {
    pool: RowPool,
    order: RowOrder,
}

/// What is held of each key.
enum Held {
    /// One row: input that only grows, of which the first row is shown.
    Best(Vec<Best>),
    /// Rows in order.
    Lists(Lists),
}

/// The first row of a key.
#[derive(Clone, Copy)]
struct Best {
    prefix: u64,
    slot: u32,
    /// The last tick that changed it.
    mark: u32,
}

/// The updates of one step.
struct Step {
    chunk: u32,
    prefixes: Vec<u64>,
    groups: Vec<u32>,
    diffs: Option<ScalarBuffer<i64>>,
}

impl Step {
    fn diff(&self, row: u32) -> i64 {
        self.diffs.as_ref().map_or(1, |diffs| diffs[row as usize])
    }

    fn place(&self, row: u32) -> Place {
        RowPool::place(self.chunk, row)
    }
}

/// Changes of what is shown.
#[derive(Default)]
struct Log {
    slots: Vec<u32>,
    numbers: Vec<u64>,
    diffs: Vec<i64>,
    times: Vec<EventTime>,
    /// Slots that are free once the changes have been emitted.
    released: Vec<u32>,
}

impl Log {
    fn push(&mut self, slot: u32, number: u64, diff: i64, time: EventTime) {
        self.slots.push(slot);
        self.numbers.push(number);
        self.diffs.push(diff);
        self.times.push(time);
    }
}

impl RankLogic {
    /// Ranks rows of `input`; `output` is that and, if the rank says so, the number.
    ///
    /// `append_only` promises that no input is ever retracted, which makes state smaller.
    pub fn new(
        input: SchemaRef,
        rank: Rank,
        output: SchemaRef,
        resolution: Resolution,
        append_only: bool,
    ) -> Result<Self> {
        let types: Vec<DataType> =
            rank.partition.iter().map(|&c| input.field(c).data_type().clone()).collect();
        let keys = rank.order.iter().map(|s| (s.column, s.options)).collect();
        let order = RowOrder::new(&input, keys, &rank.partition);
        let first = (rank.kind, rank.from, rank.to) == (RankKind::RowNumber, 1, 1);
        let held = match append_only && first {
            true => Held::Best(Vec::new()),
            false => Held::Lists(Lists::new(&rank, append_only)),
        };
        Ok(RankLogic {
            rows: Rows { pool: RowPool::new(Arc::clone(&input))?, order },
            input,
            output,
            rank,
            resolution,
            keys: GroupKeys::new(types),
            held,
            mark: 0,
            log: Log::default(),
            emptied: Vec::new(),
            last_tick: BEGINNING,
            append_only,
        })
    }

    /// Bytes of the rows held, for metrics and tests.
    pub fn bytes(&self) -> usize {
        self.rows.pool.bytes()
    }

    fn apply(
        &mut self,
        from: EventTime,
        batches: Vec<UpdateBatch>,
        out: &mut Emitted,
    ) -> Result<()> {
        let batch = UpdateBatch::concat(&self.input, &batches)?;
        drop(batches);
        if batch.is_empty() {
            return Ok(());
        }
        let columns = GroupKeys::read(self.rank.partition.iter().map(|&key| batch.column(key)))?;
        let columns: Vec<&Column> = columns.iter().collect();
        let mut groups = Vec::new();
        self.keys.intern(&columns, 0..batch.len(), &mut groups)?;
        self.grow();
        let ticks = Ticks::new(batch.times(), self.resolution);
        let (rows, _, diffs) = batch.into_parts();
        let count = rows.num_rows();
        let chunk = self.rows.pool.open(rows);
        let prefixes = self.rows.order.prefixes(&self.rows.pool, chunk, count);
        let step = Step { chunk, prefixes, groups, diffs };
        for (tick, rows) in ticks.iter() {
            self.last_tick = self.last_tick.max(tick);
            self.next_mark();
            self.apply_tick(&step, rows, tick.max(from))?;
            if self.log.slots.len() >= CHANGES_PER_BATCH_MAX {
                self.flush(out)?;
            }
        }
        self.flush(out)?;
        self.forget_empty();
        self.rows.pool.close(chunk)
    }

    fn grow(&mut self) {
        let bound = self.keys.bound();
        match &mut self.held {
            Held::Best(best) => best.resize(bound, Best { prefix: 0, slot: NONE, mark: 0 }),
            Held::Lists(lists) => lists.resize(bound),
        }
    }

    fn next_mark(&mut self) {
        if self.mark == u32::MAX {
            match &mut self.held {
                Held::Best(best) => best.iter_mut().for_each(|b| b.mark = 0),
                Held::Lists(lists) => lists.reset_marks(),
            }
            self.mark = 0;
        }
        self.mark += 1;
    }

    fn apply_tick(&mut self, step: &Step, rows: &[u32], time: EventTime) -> Result<()> {
        let RankLogic { rows: kept, held, log, emptied, rank, mark, .. } = self;
        match held {
            Held::Best(best) => {
                best_of_tick(best, kept, step, rows, *mark, rank.final_only, time, log);
                Ok(())
            }
            Held::Lists(lists) => {
                lists.apply(kept, step, rows, *mark)?;
                lists.settle(kept, time, log, emptied);
                Ok(())
            }
        }
    }

    /// Emits what the log holds, and frees what it kept alive.
    fn flush(&mut self, out: &mut Emitted) -> Result<()> {
        let Log { slots, numbers, diffs, times, released } = std::mem::take(&mut self.log);
        let count = slots.len();
        if count > 0 {
            let mut columns = self.rows.pool.columns(slots.into_iter())?;
            if self.rank.number
                && let Some(field) = self.output.fields().last()
            {
                let numbers: ArrayRef = Arc::new(UInt64Array::from(numbers));
                columns.push(arrow::compute::cast(&numbers, field.data_type())?);
            }
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            let schema = Arc::clone(&self.output);
            let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
            let diffs = diffs.iter().any(|&d| d != 1).then(|| diffs.into());
            out.push(UpdateBatch::new(rows, times.into(), diffs));
        }
        released.into_iter().for_each(|slot| self.rows.pool.release(slot));
        Ok(())
    }

    /// Gives back the numbers of keys without rows.
    fn forget_empty(&mut self) {
        let mut emptied = std::mem::take(&mut self.emptied);
        let Held::Lists(lists) = &mut self.held else { return };
        if self.rank.partition.is_empty() {
            return;
        }
        emptied.sort_unstable();
        emptied.dedup();
        for group in emptied {
            if lists.forget_if_empty(group) {
                self.keys.remove(group);
            }
        }
    }

    /// Rows held, each with how often it is there.
    fn table(
        &self,
        slots: Vec<u32>,
        copies: Vec<i64>,
        placement: Option<&[usize]>,
    ) -> Result<SavedTable> {
        let count = RecordBatchOptions::new().with_row_count(Some(slots.len()));
        let columns = self.rows.pool.columns(slots.into_iter())?;
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.input), columns, &count)?;
        let times = vec![self.last_tick; copies.len()];
        let rows = UpdateBatch::new(rows, times.into(), Some(copies.into()));
        saved_updates("rows", &rows, placement)
    }

    /// Emits everything that is shown, once the input has ended.
    fn finish(&mut self, from: EventTime, out: &mut Emitted) -> Result<()> {
        let groups = self.keys.live();
        let time = self.last_tick.max(from);
        let mut shown: Vec<Item> = Vec::new();
        for group in groups {
            match &self.held {
                Held::Best(best) => {
                    let slot = best[group as usize].slot;
                    if slot != NONE {
                        self.log.push(slot, 1, 1, time);
                    }
                }
                Held::Lists(lists) => {
                    lists.shown(&self.rows, group, &mut shown);
                    for item in shown.drain(..) {
                        self.log.push(item.slot, item.number, item.copies, time);
                    }
                }
            }
            if self.log.slots.len() >= CHANGES_PER_BATCH_MAX {
                self.flush(out)?;
            }
        }
        self.flush(out)
    }
}

/// Keeps the best row of each key, and logs what a tick has changed.
#[allow(clippy::too_many_arguments)]
fn best_of_tick(
    best: &mut [Best],
    kept: &mut Rows,
    step: &Step,
    rows: &[u32],
    mark: u32,
    final_only: bool,
    time: EventTime,
    log: &mut Log,
) {
    let mut touched: Vec<(u32, u32)> = Vec::new();
    for &row in rows {
        let group = step.groups[row as usize];
        let prefix = step.prefixes[row as usize];
        let held = &mut best[group as usize];
        if held.slot != NONE {
            let is_behind = prefix > held.prefix
                || (prefix == held.prefix && {
                    let other = kept.pool.at(held.slot);
                    kept.order.compare_tied(&kept.pool, prefix, step.place(row), other).is_ge()
                });
            if is_behind {
                continue;
            }
        }
        if step.diff(row) <= 0 {
            continue;
        }
        if held.mark != mark && !final_only {
            touched.push((group, held.slot));
        } else if held.slot != NONE {
            // It came in this tick, or nobody will see it: nothing was logged of it.
            kept.pool.release(held.slot);
        }
        *held = Best { prefix, slot: kept.pool.keep(step.place(row)), mark };
    }
    for (group, old) in touched {
        if old != NONE {
            log.push(old, 1, -1, time);
            log.released.push(old);
        }
        log.push(best[group as usize].slot, 1, 1, time);
    }
}

impl StatefulLogic for RankLogic {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        !self.rank.final_only || frontier == CLOSED || buffered > WINDOW_ROWS_UNREAD_MAX
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
        if to == CLOSED && self.rank.final_only { self.finish(from, out) } else { Ok(()) }
    }

    /// Of input that can be retracted all rows are held: the input's contents. Otherwise what is
    /// held is what is shown; where that is not said as it comes, the rows themselves.
    fn recovery(&self) -> Recovery {
        match self.append_only && !self.is_its_output() {
            true => Recovery::Tables,
            false => Recovery::Contents,
        }
    }

    fn is_its_output(&self) -> bool {
        self.append_only && self.rank.from == 1 && !self.rank.final_only
    }

    fn catch_up(&mut self, to: EventTime, inputs: Vec<Vec<UpdateBatch>>) -> Result<()> {
        let width: Vec<usize> = (0..self.input.fields().len()).collect();
        let own = |batch: UpdateBatch| -> Result<UpdateBatch> {
            let rows = batch.rows().project(&width)?;
            let columns = rows.columns().to_vec();
            let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            let schema = Arc::clone(&self.input);
            let rows = RecordBatch::try_new_with_options(schema, columns, &count)?;
            Ok(batch.with_rows(rows))
        };
        let batches = inputs.into_iter().flatten().map(own).collect::<Result<Vec<_>>>()?;
        if batches.is_empty() {
            return Ok(());
        }
        // A row whose number has changed is there with both until it is summed up.
        let rows = accumulate(&UpdateBatch::concat(&self.input, &batches)?)?;
        self.advance(BEGINNING, to, vec![vec![rows]], &mut Emitted::default())
    }

    fn save(
        &mut self,
        _whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        let (mut slots, mut copies) = (Vec::new(), Vec::new());
        match &self.held {
            Held::Best(best) => {
                let held = self.keys.live().into_iter().map(|group| best[group as usize].slot);
                slots.extend(held.filter(|slot| *slot != NONE));
                copies.resize(slots.len(), 1);
            }
            Held::Lists(lists) => {
                for (slot, count) in lists.held() {
                    slots.push(slot);
                    copies.push(i64::from(count));
                }
            }
        }
        Ok((true, vec![self.table(slots, copies, placement)?]))
    }

    fn unload_to(&mut self, by: &[Vec<usize>], each: &mut TakeTables<'_>) -> Result<()> {
        let by = by.first().map(Vec::as_slice);
        let groups = self.keys.live();
        let keys = self.keys.columns(&groups)?;
        let placing = shard_of(by, &self.rank.partition)
            .ok_or_else(|| Error::internal("rows that are not sharded by their partition"))?;
        let placing: Vec<ArrayRef> = placing.iter().map(|&c| ArrayRef::clone(&keys[c])).collect();
        drop(keys);
        let (mut slots, mut copies) = (Vec::new(), Vec::new());
        for at in by_hash(&placing, groups.len())? {
            let group = groups[at as usize];
            match &self.held {
                Held::Best(best) => {
                    let slot = best[group as usize].slot;
                    slots.extend(Some(slot).filter(|slot| *slot != NONE));
                    copies.resize(slots.len(), 1);
                }
                Held::Lists(lists) => {
                    for (slot, count) in lists.held_of(group) {
                        slots.push(slot);
                        copies.push(i64::from(count));
                    }
                }
            }
            if slots.len() >= SPILL_PIECE_ROWS {
                let (slots, copies) = (std::mem::take(&mut slots), std::mem::take(&mut copies));
                each(vec![self.table(slots, copies, by)?])?;
            }
        }
        each(vec![self.table(slots, copies, by)?])
    }

    fn load(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        let of = |table: &SavedTable| log_updates(&table.rows, &self.input);
        let rows = tables.iter().map(of).collect::<Result<Vec<_>>>()?;
        self.advance(BEGINNING, to, vec![rows], &mut Emitted::default())
    }

    fn rest(&self) -> Rest {
        match (self.rank.partition.is_empty(), self.rank.final_only) {
            (true, _) => Rest::Never,
            (false, true) => Rest::Until(CLOSED),
            (false, false) => Rest::UntilInput,
        }
    }

    fn state_rows(&self) -> usize {
        self.rows.pool.len()
    }

    fn state_bytes(&self) -> Option<usize> {
        Some(self.bytes())
    }
}
