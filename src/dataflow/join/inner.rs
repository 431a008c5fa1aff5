//! Inner joins of append-only inputs.
//!
//! The change of a join is what the new rows of one side find among all of the other, and what the
//! new rows of that find among the old rows of the first. So any stretch of time is done at once:
//! the new rows of one side go into its arrangement, those of the other side look up their matches
//! there, and before they go into their own the first look up theirs in it. A pair is there from
//! the later of its rows' times on.
//!
//! Nothing is put in that nobody will look up: once one input has ended, rows of the other are not
//! held any more.

use arrow::buffer::ScalarBuffer;
use arrow::datatypes::SchemaRef;

use super::output::{Condition, Output, Rows};
use super::{Shared, contents_of, updates_of};
use crate::batch::UpdateBatch;
use crate::dataflow::logic::{Emitted, Rest, StatefulLogic, TakeTables};
use crate::error::Result;
use crate::limits::BATCH_ROWS;
use crate::state::arrangement::index::KeyColumns;
use crate::state::arrangement::{Arrangement, Matches, Walk};
use crate::state::saved::{Recovery, SavedTable};
use crate::time::{BEGINNING, CLOSED, EventTime};

struct Side {
    shared: Shared,
    reader: usize,
    schema: SchemaRef,
    keys: Vec<usize>,
    by_time: bool,
    /// Whether the other side has ended: nobody will look for rows of this one.
    released: bool,
}

/// The logic of an inner join of append-only inputs.
pub struct InnerJoin {
    sides: [Side; 2],
    output: Output,
    condition: Option<Condition>,
    nulls: bool,
    /// Everything below has been joined.
    passed: EventTime,
}

impl InnerJoin {
    /// Over the arrangements `sides`, each with the number of this reader of it; `nulls`: NULL keys
    /// match.
    pub fn new(
        sides: [(Shared, usize); 2],
        keys: [Vec<usize>; 2],
        output: Output,
        condition: Option<Condition>,
        nulls: bool,
    ) -> Self {
        let mut keys = keys.into_iter();
        let sides = sides.map(|(shared, reader)| {
            let spec = shared.borrow().spec().clone();
            let keys = keys.next().unwrap_or_default();
            Side {
                shared,
                reader,
                schema: spec.schema,
                keys,
                by_time: spec.by_time,
                released: false,
            }
        });
        InnerJoin { sides, output, condition, nulls, passed: BEGINNING }
    }

    /// The matches of `batches`, new rows of side `side`, among the rows of the other before
    /// `before`.
    fn look_up(
        &self,
        side: usize,
        batches: &[UpdateBatch],
        before: EventTime,
        out: &mut Emitted,
    ) -> Result<()> {
        let other = self.sides[1 - side].shared.borrow();
        if other.is_empty() {
            return Ok(());
        }
        let mut found = Matches::default();
        for batch in batches {
            let arrays = self.sides[side].keys.iter().map(|&key| batch.column(key));
            let keys = KeyColumns::read(arrays, batch.len())?;
            let mut walk = Walk::start();
            loop {
                let more =
                    other.matches(&keys, &mut walk, before, self.nulls, BATCH_ROWS, &mut found);
                self.emit(side, batch, &other, &mut found, out)?;
                if !more {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Emits pairs of rows of `batch`, of side `side`, with rows of `other`.
    fn emit(
        &self,
        side: usize,
        batch: &UpdateBatch,
        other: &Arrangement,
        found: &mut Matches,
        out: &mut Emitted,
    ) -> Result<()> {
        if let (Some(condition), false) = (&self.condition, found.slots.is_empty()) {
            let rows = Rows::of_batch(batch, &found.rows);
            let slots = Rows::Slots(other.rows(), &found.slots);
            let (left, right) = if side == 0 { (&rows, &slots) } else { (&slots, &rows) };
            let count = found.slots.len();
            let mut failed = Vec::new();
            let mask = condition.holds(left, right, count, &mut failed)?;
            let first = other.first_logged();
            for (at, letter) in failed {
                let time = time_of(batch, other, first, (found.rows[at], found.slots[at]));
                out.dead.push(letter, time);
            }
            if mask.count_set_bits() < count {
                let mut kept = mask.iter();
                found.rows.retain(|_| kept.next().unwrap_or(false));
                let mut kept = mask.iter();
                found.slots.retain(|_| kept.next().unwrap_or(false));
            }
        }
        let count = found.slots.len();
        if count == 0 {
            return Ok(());
        }
        let rows = Rows::of_batch(batch, &found.rows);
        let slots = Rows::Slots(other.rows(), &found.slots);
        let (left, right) = if side == 0 { (&rows, &slots) } else { (&slots, &rows) };
        let columns = self.output.rows(left, right, &[], count)?;
        let (times, diffs) = times_and_diffs(batch, other, found);
        out.push(UpdateBatch::new(columns, times, diffs));
        found.rows.clear();
        found.slots.clear();
        Ok(())
    }

    fn extend(&self, side: usize, batches: &[UpdateBatch], to: EventTime) -> Result<()> {
        if self.sides[side].released {
            return Ok(());
        }
        let mut arrangement = self.sides[side].shared.borrow_mut();
        for batch in batches {
            arrangement.extend(batch, to)?;
        }
        arrangement.reach(to);
        Ok(())
    }

    /// `batches` of a side as they are put in: in the order of time if that is asked for, and not
    /// in tiny ones.
    fn prepare(&self, side: usize, batches: Vec<UpdateBatch>) -> Result<Vec<UpdateBatch>> {
        let side = &self.sides[side];
        if side.by_time && !batches.is_empty() {
            return Ok(vec![UpdateBatch::concat(&side.schema, &batches)?.by_time()?]);
        }
        let mut done = Vec::new();
        let mut small: Vec<UpdateBatch> = Vec::new();
        let mut rows = 0;
        for batch in batches {
            rows += batch.len();
            small.push(batch);
            if rows >= BATCH_ROWS {
                done.push(UpdateBatch::concat(&side.schema, &small)?);
                small.clear();
                rows = 0;
            }
        }
        if !small.is_empty() {
            done.push(UpdateBatch::concat(&side.schema, &small)?);
        }
        Ok(done)
    }
}

/// When a pair of a row of `batch` and one of `other`, whose log begins at slot `first`, is there.
#[inline]
fn time_of(
    batch: &UpdateBatch,
    other: &Arrangement,
    first: u32,
    (row, slot): (u32, u32),
) -> EventTime {
    let time = batch.times()[row as usize];
    if slot < first { time } else { time.max(other.time_of(slot, first)) }
}

fn times_and_diffs(
    batch: &UpdateBatch,
    other: &Arrangement,
    found: &Matches,
) -> (ScalarBuffer<i64>, Option<ScalarBuffer<i64>>) {
    let first = other.first_logged();
    let pairs = || found.rows.iter().zip(&found.slots);
    let times: Vec<EventTime> =
        pairs().map(|(&row, &slot)| time_of(batch, other, first, (row, slot))).collect();
    let diffs = (batch.diffs().is_some() || other.has_counts()).then(|| {
        let diff = |(&row, &slot): (&u32, &u32)| batch.diff(row as usize) * other.count(slot);
        pairs().map(diff).collect::<Vec<i64>>().into()
    });
    (times.into(), diffs)
}

impl StatefulLogic for InnerJoin {
    fn is_due(&self, _frontier: EventTime, buffered: usize) -> bool {
        buffered > 0
    }

    fn advance(
        &mut self,
        _from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let mut inputs = inputs.into_iter();
        let left = self.prepare(0, inputs.next().unwrap_or_default())?;
        let right = self.prepare(1, inputs.next().unwrap_or_default())?;
        let ended = to == CLOSED;
        let rows = |side: &[UpdateBatch]| side.iter().map(UpdateBatch::len).sum::<usize>();
        // The last rows of the larger side need not go in.
        let first = if ended && rows(&left) < rows(&right) { 0 } else { 1 };
        let second = 1 - first;
        let new = [left, right];
        if !ended || !new[second].is_empty() {
            self.extend(first, &new[first], to)?;
        }
        self.look_up(second, &new[second], to, out)?;
        self.look_up(first, &new[first], self.passed, out)?;
        if !ended {
            self.extend(second, &new[second], to)?;
        }
        for side in self.sides.iter().filter(|side| !side.released) {
            side.shared.borrow_mut().passed(side.reader, to);
        }
        self.passed = to;
        Ok(())
    }

    /// Times mean nothing to the rows that are held: pairs come out when the later row does.
    fn recovery(&self) -> Recovery {
        Recovery::Contents
    }

    /// Rows that nobody will look for are not held; where others read the arrangement, what this
    /// one puts in must be what they would.
    fn is_logged(&self, input: usize) -> bool {
        let Some(side) = self.sides.get(input) else { return false };
        !side.released || side.shared.borrow().spec().readers > 1
    }

    fn catch_up(&mut self, to: EventTime, inputs: Vec<Vec<UpdateBatch>>) -> Result<()> {
        for (side, batches) in inputs.into_iter().enumerate().take(2) {
            let rows = self.prepare(side, batches)?;
            self.extend(side, &rows, to)?;
        }
        for side in &self.sides {
            side.shared.borrow_mut().passed(side.reader, to);
        }
        self.passed = to;
        Ok(())
    }

    fn rest(&self) -> Rest {
        Rest::UntilInput
    }

    fn unload_to(&mut self, _by: &[Vec<usize>], each: &mut TakeTables<'_>) -> Result<()> {
        contents_of([&self.sides[0].shared, &self.sides[1].shared], each)
    }

    fn reload(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        let open = || self.sides.iter().enumerate().filter(|(_, side)| !side.released);
        open().for_each(|(_, side)| side.shared.borrow_mut().rewind());
        for (index, side) in open() {
            self.extend(index, &updates_of(&tables, index, &side.schema, BEGINNING)?, to)?;
        }
        // Where both sides read one arrangement, not before the second has put its rows in.
        open().for_each(|(_, side)| side.shared.borrow_mut().passed(side.reader, to));
        self.passed = to;
        Ok(())
    }

    fn input_ended(&mut self, input: usize) {
        if let Some(other) = self.sides.get_mut(1 - input.min(1)) {
            other.released = true;
            other.shared.borrow_mut().release(other.reader);
        }
    }

    fn state_rows(&self) -> usize {
        let [left, right] = &self.sides;
        let rows = left.shared.borrow().len();
        match std::rc::Rc::ptr_eq(&left.shared, &right.shared) {
            true => rows,
            false => rows + right.shared.borrow().len(),
        }
    }

    fn state_bytes(&self) -> Option<usize> {
        let [left, right] = &self.sides;
        let bytes = left.shared.borrow().bytes();
        Some(match std::rc::Rc::ptr_eq(&left.shared, &right.shared) {
            true => bytes,
            false => bytes + right.shared.borrow().bytes(),
        })
    }
}
