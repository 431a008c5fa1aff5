//! OVER of any order and any input: results change as rows come and go.
//!
//! State: the rows of each partition in order, and the totals of frames that begin with the
//! partition; bounded by nothing but the input's contents. A change costs the stretch of rows that
//! it matters to: for `ROWS BETWEEN 9 PRECEDING AND CURRENT ROW` ten rows, whatever the partition.
//!
//! Law: as of every tick border the output is the batch answer over the input so far. All updates
//! of a tick are simultaneous; changes are emitted at the tick's start, and none for a row whose
//! results are as before. Old results are not kept: they are computed again from the old rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};

use super::lines::{Line, Sheet, bounds, evaluate, slide};
use super::moves::{Moves, Results, take_rows};
use super::program::{Framed, Program};
use super::tree::{Partition, Reach, Span};
use super::values::OrderValues;
use crate::batch::UpdateBatch;
use crate::batch::order::comparable;
use crate::dataflow::logic::{Emitted, Rest, StatefulLogic};
use crate::dataflow::ticks::Ticks;
use crate::error::Result;
use crate::limits::{CHANGES_PER_BATCH_MAX, WINDOW_ROWS_UNREAD_MAX};
use crate::plan::over::OverAggregate;
use crate::state::aggregate::AggregateStates;
use crate::state::column::Column;
use crate::state::keyed::out_of_range;
use crate::state::keys::GroupKeys;
use crate::state::saved::{Recovery, SavedTable, numbered, numbers_of};
use crate::time::{BEGINNING, CLOSED, EventTime, Resolution};

/// The logic of an updating OVER.
pub struct Updating {
    over: OverAggregate,
    program: Program,
    input: SchemaRef,
    output: SchemaRef,
    resolution: Resolution,
    order: RowConverter,
    whole: RowConverter,
    values: OrderValues,
    reach: Reach,
    keys: GroupKeys,
    partitions: Vec<Partition>,
    /// For each frame: the totals of partitions, or scratch for its lines.
    states: Vec<AggregateStates>,
    rows: usize,
}

/// The rows of a step as comparable bytes.
struct Encoded {
    order: Option<Rows>,
    whole: Rows,
    values: Vec<i64>,
    groups: Vec<u32>,
    diffs: Vec<i64>,
}

/// One row's net change in a tick.
struct Change {
    group: u32,
    bytes: Vec<u8>,
    order: usize,
    value: i64,
    diff: i64,
}

/// The old and the new rows of a stretch.
struct Pair {
    group: u32,
    old: Line,
    new: Line,
    /// For each row of the stretch that may have changed results: copies before and after.
    copies: Vec<(usize, usize)>,
}

impl Updating {
    /// Over rows of `input`; `output` is that and the results.
    pub fn new(
        input: SchemaRef,
        over: OverAggregate,
        output: SchemaRef,
        resolution: Resolution,
    ) -> Result<Self> {
        let program = Program::new(&input, &over, |_| false)?;
        let order = over.order.iter().map(|by| {
            SortField::new_with_options(input.field(by.column).data_type().clone(), by.options)
        });
        let plain = |data_type: &DataType| {
            SortField::new_with_options(data_type.clone(), SortOptions::default())
        };
        let whole = input.fields().iter().map(|field| plain(field.data_type()));
        let ordered = |call: usize| {
            program.sources.get(call).is_some_and(|source| program.is_ordered(source))
        };
        let reach = Reach::of(&over.calls, ordered);
        let types = over.partition.iter().map(|&c| input.field(c).data_type().clone());
        let states =
            program.frames.iter().map(|f| AggregateStates::new(Arc::clone(&f.plan))).collect();
        Ok(Updating {
            order: RowConverter::new(order.collect())?,
            whole: RowConverter::new(whole.collect())?,
            values: OrderValues::of(&over),
            keys: GroupKeys::new(types.collect()),
            over,
            program,
            input,
            output,
            resolution,
            reach,
            partitions: Vec::new(),
            states,
            rows: 0,
        })
    }

    fn encode(&mut self, batch: &UpdateBatch) -> Result<Encoded> {
        let columns = GroupKeys::read(self.over.partition.iter().map(|&c| batch.column(c)))?;
        let columns: Vec<&Column> = columns.iter().collect();
        let mut groups = Vec::new();
        self.keys.intern(&columns, 0..batch.len(), &mut groups)?;
        self.partitions.resize_with(self.keys.bound(), Partition::default);
        for (framed, states) in self.program.frames.iter().zip(&mut self.states) {
            if keeps_total(&self.reach, framed) {
                states.resize(self.keys.bound());
            }
        }
        let by: Vec<ArrayRef> =
            self.over.order.iter().map(|by| comparable(batch.column(by.column))).collect();
        let order = match by.is_empty() {
            true => None,
            false => Some(self.order.convert_columns(&by)?),
        };
        let whole = self.whole.convert_columns(batch.rows().columns())?;
        let values = self.values.read(batch.rows())?;
        let diffs = (0..batch.len()).map(|row| batch.diff(row)).collect();
        Ok(Encoded { order, whole, values, groups, diffs })
    }

    /// The net changes of `rows`, by partition and row.
    fn net(encoded: &Encoded, mut rows: Vec<u32>) -> Vec<Change> {
        let order = |row: u32| encoded.order.as_ref().map(|o| o.row(row as usize));
        rows.sort_unstable_by(|&a, &b| {
            let (i, j) = (a as usize, b as usize);
            (encoded.groups[i].cmp(&encoded.groups[j]))
                .then_with(|| order(a).cmp(&order(b)))
                .then_with(|| encoded.whole.row(i).cmp(&encoded.whole.row(j)))
        });
        let mut changes = Vec::new();
        let same = |a: &u32, b: &u32| {
            let (a, b) = (*a as usize, *b as usize);
            encoded.groups[a] == encoded.groups[b] && encoded.whole.row(a) == encoded.whole.row(b)
        };
        for run in rows.chunk_by(same) {
            let diff: i64 = run.iter().map(|&row| encoded.diffs[row as usize]).sum();
            if diff == 0 {
                continue;
            }
            let row = run[0] as usize;
            let mut bytes = Vec::new();
            if let Some(order) = order(run[0]) {
                bytes.extend_from_slice(order.as_ref());
            }
            let order = bytes.len();
            bytes.extend_from_slice(encoded.whole.row(row).as_ref());
            let value = encoded.values.get(row).copied().unwrap_or_default();
            changes.push(Change { group: encoded.groups[row], bytes, order, value, diff });
        }
        changes
    }

    fn apply(&mut self, batch: &UpdateBatch, from: EventTime, out: &mut Emitted) -> Result<()> {
        let encoded = self.encode(batch)?;
        let ticks = match self.over.final_only {
            true => {
                let last = batch.time_range().map_or(BEGINNING, |(_, last)| last);
                Ticks::new(&vec![last; batch.len()], self.resolution)
            }
            false => Ticks::new(batch.times(), self.resolution),
        };
        for (tick, rows) in ticks.iter() {
            let changes = Self::net(&encoded, rows.to_vec());
            let parts: Vec<&[Change]> = changes.chunk_by(|a, b| a.group == b.group).collect();
            let mut part = 0;
            while part < parts.len() {
                // Partitions are independent: as many at a time as make a batch.
                let mut some = 0;
                let many = parts[part..].iter().take_while(|changes| {
                    let first = some == 0;
                    some += changes.len();
                    first || some <= CHANGES_PER_BATCH_MAX
                });
                let end = part + many.count();
                self.apply_changes(&parts[part..end], tick.max(from), out)?;
                part = end;
            }
        }
        self.forget_empty(encoded.groups);
        Ok(())
    }

    fn apply_changes(
        &mut self,
        parts: &[&[Change]],
        time: EventTime,
        out: &mut Emitted,
    ) -> Result<()> {
        for changes in parts {
            let Some(first) = changes.first() else { continue };
            let partition = &mut self.partitions[first.group as usize];
            self.rows -= partition.rows.len();
            for change in *changes {
                partition.change(&change.bytes, change.order, change.value, change.diff);
            }
        }
        let (pairs, rows, sheet, results) = self.pairs(parts)?;
        self.evaluate(&pairs, rows, &sheet, results, time, out)?;
        for changes in parts {
            let Some(first) = changes.first() else { continue };
            let keys: Vec<&[u8]> = changes.iter().map(|change| change.bytes.as_slice()).collect();
            let partition = &mut self.partitions[first.group as usize];
            partition.settle(&keys);
            self.rows += partition.rows.len();
        }
        Ok(())
    }

    /// Gives back the numbers of partitions without rows.
    fn forget_empty(&mut self, mut groups: Vec<u32>) {
        if self.over.partition.is_empty() {
            return;
        }
        groups.sort_unstable();
        groups.dedup();
        groups.retain(|&group| self.partitions[group as usize].rows.is_empty());
        for (frame, states) in self.program.frames.iter().zip(&mut self.states) {
            if keeps_total(&self.reach, frame) {
                states.clear(&groups);
            }
        }
        for group in groups {
            self.partitions[group as usize] = Partition::default();
            self.keys.remove(group);
        }
    }

    /// What the changes matter to, as old and new lines over one sheet of whole rows.
    fn pairs(&mut self, parts: &[&[Change]]) -> Result<(Vec<Pair>, RecordBatch, Sheet, usize)> {
        let mut pairs: Vec<Pair> = Vec::new();
        let (mut bytes, mut peers) = (Vec::new(), Vec::new());
        let (mut values, mut results) = (Vec::new(), 0u32);
        let mut totals = Vec::new();
        for changes in parts {
            let Some(first) = changes.first() else { continue };
            let partition = &self.partitions[first.group as usize];
            let keys: Vec<&[u8]> = changes.iter().map(|change| change.bytes.as_slice()).collect();
            let (mut total, mut distinct) = (partition.total, partition.distinct);
            for span in partition.spans(&keys, &self.reach) {
                let from = bytes.len() as u32;
                for (at, (key, held)) in span.rows.iter().enumerate() {
                    let same = at > 0 && span.rows[at - 1].0.order() == key.order();
                    let last = peers.last().copied().unwrap_or(0);
                    peers.push(if same { last } else { last + 1 });
                    bytes.push(key.row());
                    values.push(held.value);
                }
                let mut pair = pair_of(first.group, &span, from, &mut results);
                let count = |line: &Line| distinct_in(line, &peers);
                let (old, new) = (count(&pair.old), count(&pair.new));
                pair.old.before =
                    partition.total - (pair.old.rows.len() as u64).min(partition.total);
                pair.new.before = pair.old.before;
                pair.old.distinct_before = partition.distinct - old.min(partition.distinct);
                pair.new.distinct_before = pair.old.distinct_before;
                total =
                    (total + pair.new.rows.len() as u64).saturating_sub(pair.old.rows.len() as u64);
                distinct = (distinct + new).saturating_sub(old);
                pairs.push(pair);
            }
            totals.push((first.group, total, distinct));
        }
        let parser = self.whole.parser();
        let columns = self.whole.convert_rows(bytes.iter().map(|row| parser.parse(row)))?;
        let rows = match columns.is_empty() {
            true => crate::batch::rows_without_columns(Arc::clone(&self.input), bytes.len())?,
            false => RecordBatch::try_new(Arc::clone(&self.input), columns)?,
        };
        let places = (0..bytes.len() as i64).collect();
        for (group, total, distinct) in totals {
            let partition = &mut self.partitions[group as usize];
            (partition.total, partition.distinct) = (total, distinct);
        }
        let narrowed = self.program.narrow(&rows)?;
        let sheet = Sheet { rows: narrowed, peers, values, places };
        Ok((pairs, rows, sheet, results as usize))
    }

    fn evaluate(
        &mut self,
        pairs: &[Pair],
        rows: RecordBatch,
        sheet: &Sheet,
        results: usize,
        time: EventTime,
        out: &mut Emitted,
    ) -> Result<()> {
        let arguments = self.program.arguments(&sheet.rows)?;
        let lines: Vec<Line> =
            pairs.iter().flat_map(|pair| [pair.old.clone(), pair.new.clone()]).collect();
        let mut all: Vec<Results> = Vec::new();
        for frame in 0..self.program.frames.len() {
            let framed = &self.program.frames[frame];
            let keeps = keeps_total(&self.reach, framed);
            let states = &mut self.states[frame];
            let mut moves = Moves::default();
            if keeps {
                for pair in pairs {
                    let old = bounds(&pair.old, sheet, &framed.frame);
                    let new = bounds(&pair.new, sheet, &framed.frame);
                    replace(pair, &old, &new, &mut moves);
                }
            } else {
                states.reset();
                states.resize(lines.len());
                for (group, line) in lines.iter().enumerate() {
                    let bounds = bounds(line, sheet, &framed.frame);
                    slide(line, &bounds, group as u32, &mut moves);
                }
            }
            all.push(moves.run(states, &arguments, &sheet.places)?);
        }
        let found = evaluate(&self.program, &self.output, sheet, &lines, results, &all)?;
        self.emit(pairs, rows, found, time, out)
    }

    /// Emits the results that are not as before.
    fn emit(
        &self,
        pairs: &[Pair],
        rows: RecordBatch,
        found: super::lines::Evaluated,
        time: EventTime,
        out: &mut Emitted,
    ) -> Result<()> {
        let kept = changed(pairs, &found.columns)?;
        if kept.is_empty() {
            return Ok(());
        }
        let inputs = UInt32Array::from_iter_values(kept.iter().map(|k| k.0));
        let results = UInt32Array::from_iter_values(kept.iter().map(|k| k.1));
        let mut columns = take_rows(&rows, &inputs)?.columns().to_vec();
        let first = columns.len();
        for column in &found.columns {
            columns.push(take(column.as_ref(), &results, None)?);
        }
        let failed: Vec<(usize, usize)> = match found.failed.is_empty() {
            true => Vec::new(),
            false => {
                let is_failed = |result: u32| {
                    let bad = found.failed.iter().filter(move |(r, _)| *r == result as usize);
                    bad.map(|(_, call)| *call)
                };
                let new = kept.iter().enumerate().filter(|(_, k)| k.2 > 0);
                new.flat_map(|(at, k)| is_failed(k.1).map(move |call| (at, call))).collect()
            }
        };
        let letters = out_of_range(&self.output, &columns, first, &failed)?;
        letters.into_iter().for_each(|letter| out.dead.push(letter, time));
        let diffs: Vec<i64> = kept.iter().map(|k| k.2).collect();
        let retracts = diffs.iter().any(|&d| d != 1);
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        let times = vec![time; kept.len()];
        out.push(UpdateBatch::new(rows, times.into(), retracts.then(|| diffs.into())));
        Ok(())
    }
}

/// Whether a frame's totals are kept for each partition.
fn keeps_total(reach: &Reach, framed: &Framed) -> bool {
    !reach.whole && framed.frame.start.is_none()
}

/// The lines of a stretch; `from` is its first row on the sheet.
fn pair_of(group: u32, span: &Span<'_>, from: u32, results: &mut u32) -> Pair {
    let mut pair = Pair { group, old: Line::default(), new: Line::default(), copies: Vec::new() };
    for (at, (_, held)) in span.rows.iter().enumerate() {
        if at == span.affected.start {
            pair.old.evaluated.start = pair.old.rows.len();
            pair.new.evaluated.start = pair.new.rows.len();
        }
        let (old, new) = (held.old.max(0) as usize, held.new.max(0) as usize);
        pair.old.rows.extend(std::iter::repeat_n(from + at as u32, old));
        pair.new.rows.extend(std::iter::repeat_n(from + at as u32, new));
        if span.affected.contains(&at) {
            pair.copies.push((old, new));
            pair.old.evaluated.end = pair.old.rows.len();
            pair.new.evaluated.end = pair.new.rows.len();
        }
    }
    for line in [&mut pair.old, &mut pair.new] {
        line.evaluated.end = line.evaluated.end.max(line.evaluated.start);
        line.first_result = *results;
        *results += line.evaluated.len() as u32;
    }
    pair
}

fn distinct_in(line: &Line, peers: &[u32]) -> u64 {
    let peer = |row: &u32| peers[*row as usize];
    line.rows.chunk_by(|a, b| peer(a) == peer(b)).count() as u64
}

/// Takes the old rows back from a total, from the last to the first, with the results on the way,
/// then adds the new ones.
fn replace(pair: &Pair, old: &[(u32, u32)], new: &[(u32, u32)], moves: &mut Moves) {
    let group = pair.group;
    let (mut round, mut end) = (0, pair.old.rows.len());
    for (nth, &(_, to)) in old.iter().enumerate().rev() {
        if end > to as usize {
            round += 1;
        }
        while end > to as usize {
            end -= 1;
            moves.leave(round, pair.old.rows[end], group);
        }
        moves.result(round, group, pair.old.first_result + nth as u32);
    }
    round += 1;
    for &row in pair.old.rows[..end].iter().rev() {
        moves.leave(round, row, group);
    }
    end = 0;
    for (nth, &(_, to)) in new.iter().enumerate() {
        if nth > 0 && end < to as usize {
            round += 1;
        }
        while end < to as usize {
            moves.enter(round, pair.new.rows[end], group);
            end += 1;
        }
        moves.result(round, group, pair.new.first_result + nth as u32);
    }
    for &row in &pair.new.rows[end..] {
        moves.enter(round + 1, row, group);
    }
}

/// The results that are not as before: row of the sheet, result, multiplicity.
fn changed(pairs: &[Pair], columns: &[ArrayRef]) -> Result<Vec<(u32, u32, i64)>> {
    let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    let results = RowConverter::new(fields)?.convert_columns(columns)?;
    let mut kept = Vec::new();
    for pair in pairs {
        let (mut old, mut new) = (pair.old.evaluated.start, pair.new.evaluated.start);
        let first = (old, new);
        for &(olds, news) in &pair.copies {
            for copy in 0..olds.max(news) {
                let number = |line: &Line, at: usize, first: usize| {
                    line.first_result + (at + copy - first) as u32
                };
                let before = (copy < olds).then(|| number(&pair.old, old, first.0));
                let after = (copy < news).then(|| number(&pair.new, new, first.1));
                if let (Some(a), Some(b)) = (before, after)
                    && results.row(a as usize) == results.row(b as usize)
                {
                    continue;
                }
                kept.extend(before.map(|result| (pair.old.rows[old + copy], result, -1)));
                kept.extend(after.map(|result| (pair.new.rows[new + copy], result, 1)));
            }
            old += olds;
            new += news;
        }
    }
    Ok(kept)
}

impl StatefulLogic for Updating {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        match self.over.final_only {
            true => frontier == CLOSED || buffered > WINDOW_ROWS_UNREAD_MAX,
            false => buffered > 0,
        }
    }

    fn advance(
        &mut self,
        from: EventTime,
        _to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let batches: Vec<UpdateBatch> = inputs.into_iter().flatten().collect();
        let batch = UpdateBatch::concat(&self.input, &batches)?;
        if batch.is_empty() {
            return Ok(());
        }
        self.apply(&batch, from, out)
    }

    /// As of a tick's border the rows held, and the totals of frames, are those of the input's
    /// contents.
    fn recovery(&self) -> Recovery {
        Recovery::Contents
    }

    fn rest(&self) -> Rest {
        if self.over.partition.is_empty() { Rest::Never } else { Rest::UntilInput }
    }

    fn unload(&mut self, by: &[Vec<usize>]) -> Result<Vec<SavedTable>> {
        let held = self.keys.live().into_iter().map(|group| &self.partitions[group as usize]);
        let rows: Vec<(&[u8], i64)> =
            held.flat_map(|p| p.rows.iter().map(|(key, held)| (key.row(), held.new))).collect();
        let parser = self.whole.parser();
        let columns = self.whole.convert_rows(rows.iter().map(|(row, _)| parser.parse(row)))?;
        let batch = RecordBatch::try_new(Arc::clone(&self.input), columns)?;
        let counts = rows.into_iter().map(|(_, count)| count).collect();
        let by = by.first().map(Vec::as_slice);
        Ok(vec![numbered("rows", &batch, vec![counts], by)?])
    }

    fn reload(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        for table in tables {
            let (rows, counts) = numbers_of(&table.rows, &self.input, 1)?;
            let times = vec![to.saturating_sub(1); rows.num_rows()].into();
            let rows = UpdateBatch::new(rows, times, counts.into_iter().next());
            self.apply(&rows, BEGINNING, &mut Emitted::default())?;
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.rows
    }
}
