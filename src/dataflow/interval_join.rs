//! Joins whose times bound one another: each row is kept until no partner can come any more.
//!
//! State: the rows of both inputs in columns, chained by key, and by the time at which they go.
//! A row `x` is *there* from `time(x)` to `P(x)`: the last time at which a partner on time can
//! come,
//! or `time(x)` if that is later. Law: the output is the pairs with equal keys whose compared times
//! and condition hold and that are there at one time, at the greater of their two times; a row
//! without such a partner is padded with NULLs at `P(x)`, for the kinds that do so. This depends on
//! the rows and their times alone, never on frontiers. All rows of a step below its frontier `f`
//! are at hand, so at `f` the rows with `P < f` are dropped, matched or not. A row of a semi or
//! anti
//! join goes with its first partner.
//!
//! A row that is behind the watermark, comes after its own `P` would have been, and finds no
//! partner left is late, unless it is padded; in a semi or anti join such rows of the other input
//! are late whether they find one or not.

mod emit;
mod fresh;
mod side;
#[cfg(test)]
mod tests;

use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::JoinType;

use self::emit::{Emit, Second};
use self::fresh::{Fresh, NO_GROUP, Reader};
use self::side::Side;
use super::logic::{Emitted, LateRows, Rest, StatefulLogic};
use super::side::DeadLetters;
use crate::batch::UpdateBatch;
use crate::error::Result;
use crate::limits::{BATCH_ROWS, JOIN_STEP_ROWS_MAX};
use crate::plan::interval::{IntervalJoin, Relation};
use crate::plan::node::Node;
use crate::state::chains::NONE;
use crate::state::keys::GroupKeys;
use crate::state::saved::{Recovery, SavedTable, numbered, numbers_of};
use crate::time::{CLOSED, EventTime};

/// The tables of the rows held.
const SIDES: [&str; 2] = ["left", "right"];

/// The logic of an [`IntervalJoin`] node.
pub struct IntervalJoinLogic {
    join: IntervalJoin,
    schemas: [SchemaRef; 2],
    readers: [Reader; 2],
    /// The keys of both inputs.
    keys: GroupKeys,
    sides: [Side; 2],
    /// For each input what must hold of its rows and those of the other.
    relations: [Vec<Compared>; 2],
    emit: Emit,
}

/// A comparison of value `own` of a row with value `other` of its partner.
#[derive(Clone, Copy)]
struct Compared {
    relation: Relation,
    own: usize,
    other: usize,
}

/// The logic of `node`, over inputs of schemas `left` and `right`.
pub fn build(
    node: &Node,
    join: &IntervalJoin,
    left: SchemaRef,
    right: SchemaRef,
) -> IntervalJoinLogic {
    IntervalJoinLogic::new(left, right, join.clone(), SchemaRef::clone(&node.schema))
}

impl IntervalJoinLogic {
    /// Over inputs of schemas `left` and `right`.
    pub fn new(left: SchemaRef, right: SchemaRef, join: IntervalJoin, output: SchemaRef) -> Self {
        let readers = [Reader::new(&join, true), Reader::new(&join, false)];
        let keys = GroupKeys::new(readers[0].key_types(&left));
        let sides = [Side::new(&left, readers[0].width()), Side::new(&right, readers[1].width())];
        let relations = [0, 1].map(|side| {
            let all = join.times.iter().enumerate().map(|(c, time)| Compared {
                relation: if side == 0 { time.relation } else { time.relation.flipped() },
                own: readers[side].compared[c],
                other: readers[1 - side].compared[c],
            });
            all.collect()
        });
        let emit = Emit::new(&join, &left, &right, output);
        IntervalJoinLogic { join, schemas: [left, right], readers, keys, sides, relations, emit }
    }

    /// Whether rows of input `side` without a partner are part of the result.
    fn keeps(&self, side: usize) -> bool {
        if side == 0 { self.join.keeps_left() } else { self.join.keeps_right() }
    }

    /// All rows below `to` that have come, in steps of bounded size.
    fn apply(
        &mut self,
        to: EventTime,
        inputs: &[Vec<UpdateBatch>],
        out: &mut Emitted,
    ) -> Result<()> {
        let mut batches = Vec::with_capacity(2);
        for (input, schema) in inputs.iter().zip(&self.schemas) {
            batches.push(UpdateBatch::concat(schema, input)?);
        }
        let (Some(right), Some(left)) = (batches.pop(), batches.pop()) else { return Ok(()) };
        if left.len() + right.len() <= JOIN_STEP_ROWS_MAX {
            return self.step(to, &[left, right], out);
        }
        // Rows that go early must not be met by all that come late: in order of time.
        let batches = [left.by_time()?, right.by_time()?];
        let mut done = [0, 0];
        for border in borders(&batches, to) {
            let mut part = |side: usize| {
                let from = done[side];
                let length = batches[side].times()[from..].partition_point(|&t| t < border);
                done[side] += length;
                batches[side].slice(from, length)
            };
            let parts = [part(0), part(1)];
            self.step(border, &parts, out)?;
        }
        Ok(())
    }

    /// Applies rows below `to` and drops what is not there at `to`.
    fn step(&mut self, to: EventTime, batches: &[UpdateBatch; 2], out: &mut Emitted) -> Result<()> {
        // The smaller part is put in first: rows of the other that go at once are never kept.
        let first = usize::from(batches[1].len() < batches[0].len());
        let mut touched = Vec::new();
        let mut read = [Fresh::default(), Fresh::default()];
        for (side, batch) in batches.iter().enumerate().filter(|(_, b)| !b.is_empty()) {
            read[side] = self.readers[side].read(batch, &mut self.keys, &mut out.dead)?;
            touched.extend_from_slice(&read[side].interned);
        }
        self.sides.iter_mut().for_each(|side| side.chains.resize(self.keys.bound()));
        let [left, right] = &read;
        let (one, two) = if first == 0 { (left, right) } else { (right, left) };

        let rows = one.rows_with_group();
        let slots = self.sides[first].insert(one, &rows, &[])?;
        self.probe_kept(first, &slots, out)?;
        let mut matched = vec![false; two.batch.len()];
        self.probe_fresh(first, two, &mut matched, out)?;
        self.emit.semi(&mut self.sides, two, &mut matched, out)?;

        let mut matched_one = vec![false; one.batch.len()];
        for (&row, &slot) in rows.iter().zip(&slots) {
            matched_one[row as usize] = self.sides[first].matched[slot as usize];
        }
        self.report_late(first, one, &matched_one, out)?;
        self.report_late(1 - first, two, &matched, out)?;
        if self.keeps(first) {
            self.emit.alone_fresh(first, one, &one.rows_without_group(), out)?;
        }
        self.settle(1 - first, two, &matched, to, out)?;
        let done = self.emit.take_done();
        if let Some(side) = self.emit.decided_side() {
            self.sides[side].remove(&done, &mut touched);
        }
        self.expire(to, &mut touched, out)?;
        self.forget(touched);
        Ok(())
    }

    /// Kept rows `slots` of input `first` find partners among the kept rows of the other.
    fn probe_kept(&mut self, first: usize, slots: &[u32], out: &mut Emitted) -> Result<()> {
        let mut pairs = Vec::new();
        for &slot in slots {
            let (own, other) = (&self.sides[first], &self.sides[1 - first]);
            let at = slot as usize;
            let relations = &self.relations[first];
            let (time, until) = (own.times[at], own.until[at]);
            let mut partner = other.chains.head(own.chains.group(slot));
            while partner != NONE {
                let value = |c: &Compared| own.values[c.own][at];
                if is_pair(other, partner, time, until, relations, value) {
                    pairs.push((slot, partner));
                }
                partner = other.chains.next(partner);
            }
            if pairs.len() >= BATCH_ROWS {
                self.emit.pairs(&mut self.sides, first, &mut pairs, Second::Kept, out)?;
            }
        }
        self.emit.pairs(&mut self.sides, first, &mut pairs, Second::Kept, out)
    }

    /// Rows that come to the other input find partners among the kept rows of `first`.
    fn probe_fresh(
        &mut self,
        first: usize,
        rows: &Fresh,
        matched: &mut [bool],
        out: &mut Emitted,
    ) -> Result<()> {
        let mut pairs = Vec::new();
        let arrivals = rows.groups.iter().zip(rows.batch.times().iter()).zip(&rows.until);
        for (row, ((&group, &time), &until)) in arrivals.enumerate() {
            if group == NO_GROUP {
                continue;
            }
            let kept = &self.sides[first];
            let relations = &self.relations[1 - first];
            let mut partner = kept.chains.head(group);
            while partner != NONE {
                let value = |c: &Compared| rows.values[c.own][row];
                if is_pair(kept, partner, time, until, relations, value) {
                    pairs.push((partner, row as u32));
                }
                partner = kept.chains.next(partner);
            }
            if pairs.len() >= BATCH_ROWS {
                let second = Second::Fresh(rows, matched);
                self.emit.pairs(&mut self.sides, first, &mut pairs, second, out)?;
            }
        }
        self.emit.pairs(&mut self.sides, first, &mut pairs, Second::Fresh(rows, matched), out)
    }

    /// Late rows that found no partner and are not part of the result without one.
    fn report_late(
        &self,
        side: usize,
        rows: &Fresh,
        matched: &[bool],
        out: &mut Emitted,
    ) -> Result<()> {
        // Whether a row that is only asked for still finds one that it decides is chance.
        let is_asked = self.emit.decided_side() == Some(1 - side);
        let lost = rows.late.iter().filter(|(row, _)| is_asked || !matched[*row as usize]);
        let (rows_lost, ends): (Vec<u32>, Vec<EventTime>) =
            lost.map(|&(row, end)| (row, end.saturating_add(1))).unzip();
        if !self.keeps(side) && !rows_lost.is_empty() {
            let rows = rows.batch.take(&UInt32Array::from(rows_lost))?;
            out.late.push(LateRows { rows, window_end: ends });
        }
        Ok(())
    }

    /// New rows that have been probed: kept if they are there at `to`.
    fn settle(
        &mut self,
        side: usize,
        rows: &Fresh,
        matched: &[bool],
        to: EventTime,
        out: &mut Emitted,
    ) -> Result<()> {
        let is_decided = self.emit.decided_side() == Some(side);
        let is_kept = |&row: &u32| {
            let row = row as usize;
            rows.groups[row] != NO_GROUP && rows.until[row] >= to && !(is_decided && matched[row])
        };
        let all = 0..rows.batch.len() as u32;
        let (kept, gone): (Vec<u32>, Vec<u32>) = all.partition(is_kept);
        self.sides[side].insert(rows, &kept, matched)?;
        if self.keeps(side) {
            let alone: Vec<u32> = gone.into_iter().filter(|&r| !matched[r as usize]).collect();
            self.emit.alone_fresh(side, rows, &alone, out)?;
        }
        Ok(())
    }

    /// Drops the rows that are not there at `to`; those that never had a partner are padded.
    fn expire(&mut self, to: EventTime, touched: &mut Vec<u32>, out: &mut Emitted) -> Result<()> {
        for side in 0..2 {
            let gone = self.sides[side].expired(to);
            if gone.is_empty() {
                continue;
            }
            if self.keeps(side) {
                self.emit.alone_kept(side, &self.sides[side], &gone, out)?;
            }
            self.sides[side].remove(&gone, touched);
        }
        Ok(())
    }

    /// Forgets keys without rows.
    fn forget(&mut self, mut touched: Vec<u32>) {
        touched.sort_unstable();
        touched.dedup();
        for group in touched {
            if self.sides.iter().all(|side| side.chains.head(group) == NONE) {
                self.keys.remove(group);
            }
        }
    }
}

/// Whether kept row `partner` is a partner of a row that is there from `time` to `until`.
#[inline]
fn is_pair(
    side: &Side,
    partner: u32,
    time: EventTime,
    until: EventTime,
    relations: &[Compared],
    value: impl Fn(&Compared) -> i64,
) -> bool {
    let at = partner as usize;
    time <= side.until[at]
        && side.times[at] <= until
        && relations.iter().all(|c| c.relation.holds(value(c), side.values[c.other][at]))
}

/// Frontiers up to `to` that cut sorted batches into steps of bounded size, rows of one time apart.
fn borders(batches: &[UpdateBatch; 2], to: EventTime) -> Vec<EventTime> {
    let mut times: Vec<EventTime> =
        batches.iter().flat_map(|b| b.times().iter().copied()).collect();
    times.sort_unstable();
    let inner = times.iter().skip(JOIN_STEP_ROWS_MAX).step_by(JOIN_STEP_ROWS_MAX);
    let mut all: Vec<EventTime> = inner.copied().filter(|&t| t < to).collect();
    all.push(to);
    all.dedup();
    all
}

impl StatefulLogic for IntervalJoinLogic {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        buffered > 0 || self.sides.iter().any(|side| side.is_due(frontier))
    }

    fn advance(
        &mut self,
        _from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        self.apply(to, &inputs, out)?;
        if to == CLOSED {
            self.sides.iter_mut().for_each(Side::clear);
            self.keys.clear();
        }
        Ok(())
    }

    /// Of an inner join a row that is there finds all its partners by itself: from the first row
    /// that is held on. Otherwise a row may have had a partner that is gone, and who had one must
    /// be known.
    fn recovery(&self) -> Recovery {
        if self.join.kind != JoinType::Inner {
            return Recovery::Tables;
        }
        let times = |side: &Side| side.held().map(|slot| side.times[slot as usize]).min();
        Recovery::Since(self.sides.iter().filter_map(times).min().unwrap_or(CLOSED))
    }

    /// Rows that go without a trace need not come back for that, but some time, to be forgotten.
    fn rest(&self) -> Rest {
        let goes = |side: &Side| side.held().map(|slot| side.until[slot as usize]).max();
        let next = match self.join.kind {
            JoinType::Inner => self.sides.iter().filter_map(goes).max(),
            _ => self.sides.iter().filter_map(Side::due).min(),
        };
        Rest::Until(next.map_or(CLOSED, |time| time.saturating_add(1)))
    }

    fn save(
        &mut self,
        _whole: bool,
        _placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        let mut tables = Vec::new();
        for (number, side) in self.sides.iter().enumerate() {
            let slots: Vec<u32> = side.held().collect();
            if slots.is_empty() {
                continue;
            }
            let count = RecordBatchOptions::new().with_row_count(Some(slots.len()));
            let schema = SchemaRef::clone(&self.schemas[number]);
            let columns = side.rows.columns(&slots)?;
            let rows = RecordBatch::try_new_with_options(schema, columns, &count)?;
            let of = |values: &dyn Fn(usize) -> i64| -> Vec<i64> {
                slots.iter().map(|&slot| values(slot as usize)).collect()
            };
            let times = of(&|slot| side.times[slot]);
            let matched = of(&|slot| i64::from(side.matched[slot]));
            let keys = if number == 0 { &self.join.left_keys } else { &self.join.right_keys };
            let shard = (!keys.is_empty()).then_some(keys.as_slice());
            tables.push(numbered(SIDES[number], &rows, vec![times, matched], shard)?);
        }
        Ok((true, tables))
    }

    fn load(&mut self, tables: Vec<SavedTable>, _to: EventTime) -> Result<()> {
        for table in tables {
            let side = usize::from(table.name != SIDES[0]);
            let (rows, numbers) = numbers_of(&table.rows, &self.schemas[side], 2)?;
            let [times, matched] = numbers.as_slice() else { continue };
            let batch = UpdateBatch::new(rows, times.clone(), None);
            let mut dead = DeadLetters::default();
            let fresh = self.readers[side].read(&batch, &mut self.keys, &mut dead)?;
            self.sides.iter_mut().for_each(|side| side.chains.resize(self.keys.bound()));
            let matched: Vec<bool> = matched.iter().map(|&m| m != 0).collect();
            let all: Vec<u32> = (0..fresh.batch.len() as u32).collect();
            self.sides[side].insert(&fresh, &all, &matched)?;
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.sides.iter().map(|side| side.rows.len()).sum()
    }
}
