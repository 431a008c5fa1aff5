//! MATCH_RECOGNIZE: patterns in the rows of a partition, in the order of their times.
//!
//! State: the rows that an open match may still have, and how far its search has come. Rows are
//! matched when the frontier has passed their time (and the input's delay); a row whose time lies
//! behind that when it comes is late, which its own two times decide.
//!
//! * `search`: the search for the match that begins at one row
//! * `partition`: the rows and searches of a partition
//! * `slice`: the order of rows; `rows`: where they are kept
//! * `compute`: conditions and measures
//! * `saved`: state as tables, and back
//!
//! Law: a match is emitted at the time at which it became certain: that of the latest row that had
//! to be looked at, or the last before the match's `WITHIN` ran out, whichever was needed; at the
//! end of the input when only that made it certain. So output depends on the rows alone.
//!
//! Bounded: rows and searches go when their match is decided, at the latest when the frontier
//! passes its first row by `WITHIN`. What is open for too many rows, or tries too much, is given up
//! with a dead letter.

mod compute;
mod emit;
mod partition;
mod rows;
mod saved;
mod search;
mod slice;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use arrow::array::{Array, AsArray, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};

use compute::{Evaluator, Failures, Frame, Source};
use partition::{Limits, NoteKind, Partition, Request, Results, Setup};
use rows::{Rows, new_index, new_row};
use search::{Entry, Excess};

use super::driver::Stash;
use super::logic::{Emitted, LateRows, Rest, StatefulLogic};
use super::side::letter_of_row;
use super::window_aggregate::read_times;
use crate::batch::UpdateBatch;
use crate::error::{Error, Result};
use crate::plan::match_recognize::MatchRecognize;
use crate::sql::match_recognize::node::Variables;
use crate::state::keys::GroupKeys;
use crate::state::saved::{Recovery, SavedTable};
use crate::time::{CLOSED, EventTime};

/// The name under which dead letters come.
const NAME: &str = "MatchRecognize";

/// The logic of a [`MatchRecognize`] node.
pub struct MatchLogic {
    matched: MatchRecognize,
    setup: Rc<Setup>,
    input: SchemaRef,
    output: SchemaRef,
    /// Rows on time come up to so many ms after the time that they are ordered by.
    delay: i64,
    define: Vec<Condition>,
    measures: Vec<Evaluator>,
    /// Rows whose time the frontier has not passed.
    early: Stash,
    keys: GroupKeys,
    partitions: Vec<Partition>,
    rows: Rows,
    /// When partitions are to be looked at without a new row.
    timers: BinaryHeap<Reverse<(i64, u32)>>,
    unsaved: saved::Changes,
}

/// When a row can be of a variable.
enum Condition {
    /// Always.
    Always,
    /// The condition reads these columns of the row itself.
    Row(Evaluator, Vec<usize>),
    /// It reads the row and others before it in the partition.
    Local(Evaluator),
    /// It depends on the match so far.
    Path(Evaluator),
}

/// The logic of `matched` over rows of `input`.
pub fn build(input: SchemaRef, matched: &MatchRecognize, output: SchemaRef) -> Result<MatchLogic> {
    let mut define = Vec::new();
    for (variable, condition) in matched.define.iter().enumerate() {
        let own: Variables = 1 << variable;
        define.push(match condition {
            None => Condition::Always,
            Some(condition) => {
                let evaluator = Evaluator::new(condition, &input)?;
                match evaluator.own_columns(own) {
                    Some(columns) => Condition::Row(evaluator, columns),
                    None if evaluator.is_local(own) => Condition::Local(evaluator),
                    None => Condition::Path(evaluator),
                }
            }
        });
    }
    let measures =
        matched.measures.iter().map(|m| Evaluator::new(m, &input)).collect::<Result<_>>()?;
    let types = matched.partition.iter().map(|&c| input.field(c).data_type().clone());
    let forgetful = !define.iter().any(|c| matches!(c, Condition::Path(_)));
    Ok(MatchLogic {
        setup: Rc::new(Setup::new(matched, forgetful)),
        matched: matched.clone(),
        rows: Rows::new(&input),
        unsaved: saved::Changes::new(types.clone().collect()),
        keys: GroupKeys::new(types.collect::<Vec<DataType>>()),
        input,
        output,
        delay: matched.delay,
        define,
        measures,
        early: Stash::default(),
        partitions: Vec::new(),
        timers: BinaryHeap::new(),
    })
}

impl StatefulLogic for MatchLogic {
    fn advance(
        &mut self,
        from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        for batch in inputs.iter().flatten() {
            self.take(batch, out)?;
        }
        let closed = if to == CLOSED { i64::MAX } else { to.saturating_sub(self.delay) };
        let mut due = self.add_rows(to)?;
        self.add_due(closed, &mut due);
        due.sort_unstable();
        due.dedup();
        self.unsaved.partitions.touch(&due, self.keys.bound());
        self.unsaved.early.pass(to)?;
        let mut results = Results::default();
        results.requests.resize_with(self.define.len(), Vec::new);
        self.drive(&due, closed, from, &mut results, out)?;
        self.note(&results, from, out)?;
        self.emit(&results.found, from, out)?;
        self.forget(&due, closed)
    }

    /// Where a search begins may depend on all rows before it, and on matches that are over.
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

    fn load(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        self.take_tables(&tables, to)
    }

    fn rest(&self) -> Rest {
        if self.matched.partition.is_empty() {
            return Rest::Never;
        }
        let early = self.early.first().map(|time| time.saturating_add(1));
        let timer = self.timers.peek().map(|Reverse((deadline, _))| *deadline);
        let timer = timer.map(|deadline| deadline.saturating_add(self.delay));
        Rest::Until(early.into_iter().chain(timer).min().unwrap_or(CLOSED))
    }

    fn state_rows(&self) -> usize {
        self.early.rows() + self.rows.len()
    }
}

impl MatchLogic {
    /// Puts rows aside until the frontier passes their time; late ones go to the late output.
    fn take(&mut self, batch: &UpdateBatch, out: &mut Emitted) -> Result<()> {
        let Some(time) = self.matched.order.first() else {
            return Err(Error::internal("MATCH_RECOGNIZE without an order"));
        };
        let stamps = read_times(batch.column(time.column))?;
        let (mut kept, mut due) = (Vec::new(), Vec::with_capacity(batch.len()));
        let (mut late, mut late_of) = (Vec::new(), Vec::new());
        for (row, &came) in batch.times().iter().enumerate() {
            let stamp = stamps.get(row).and_then(|ts| Some((ts, ts.checked_add(self.delay)?)));
            match stamp.filter(|(_, due)| *due < CLOSED) {
                None => {
                    let reason = "the time to order by is NULL or out of range";
                    let row = batch.rows().slice(row, 1);
                    out.dead.push(letter_of_row(NAME, reason, &row), came);
                }
                Some((ts, passed)) if came > passed => {
                    late.push(row as u32);
                    late_of.push(ts);
                }
                Some((_, passed)) => {
                    kept.push(row as u32);
                    due.push(passed);
                }
            }
        }
        if !late.is_empty() {
            let rows = batch.take(&UInt32Array::from(late))?;
            out.late.push(LateRows { rows, window_end: late_of });
        }
        let rows = match kept.len() == batch.len() {
            true => batch.clone(),
            false => batch.take(&UInt32Array::from(kept))?,
        };
        let (rows, _, diffs) = rows.into_parts();
        let early = UpdateBatch::new(rows, due.into(), diffs);
        self.unsaved.early.push(&early);
        self.early.push(early);
        Ok(())
    }

    /// Gives the rows below `to` to their partitions; returns those partitions.
    fn add_rows(&mut self, to: EventTime) -> Result<Vec<u32>> {
        let closed = self.early.take_below(to)?;
        if closed.is_empty() {
            return Ok(Vec::new());
        }
        let batch = UpdateBatch::concat(&self.input, &closed)?;
        let (partition, order) = (&self.matched.partition, &self.matched.order);
        let slice = slice::sorted(&batch, partition, order, &self.matched.ties, &mut self.keys)?;
        self.partitions.resize_with(self.keys.bound(), Partition::new);
        let count = slice.rows.num_rows();
        self.rows.set_new(slice.rows);
        let (yes, known) = self.evaluate_rows(count)?;
        let mut touched: Vec<u32> = Vec::new();
        for (row, (&partition, &time)) in slice.partitions.iter().zip(&slice.times).enumerate() {
            let ts = time - self.delay;
            let (yes, known) = (yes[row], known[row]);
            let entry = Entry { row: new_row(row), covered: false, ts, yes, known };
            self.partitions[partition as usize].entries.push_back(entry);
            if touched.last() != Some(&partition) {
                touched.push(partition);
            }
        }
        Ok(touched)
    }

    /// For each new row: the variables whose conditions it fulfils, and of which that is known.
    fn evaluate_rows(&self, count: usize) -> Result<(Vec<Variables>, Vec<Variables>)> {
        let always = self.define.iter().enumerate();
        let always = always.filter(|(_, c)| matches!(c, Condition::Always));
        let always = always.fold(0, |mask: Variables, (variable, _)| mask | 1 << variable);
        let (mut yes, mut known) = (vec![always; count], vec![always; count]);
        for (variable, condition) in self.define.iter().enumerate() {
            let Condition::Row(evaluator, columns) = condition else { continue };
            let bit: Variables = 1 << variable;
            let columns =
                columns.iter().map(|&c| self.rows.new_column(c)).collect::<Result<_>>()?;
            let mut failures = Failures::new();
            let result = evaluator.evaluate(columns, count, &mut failures)?;
            known.iter_mut().for_each(|mask| *mask |= bit);
            // A row that fails is asked for only when a search comes to it.
            failures.iter().for_each(|(row, _)| known[*row] &= !bit);
            let Some(result) = result.as_boolean_opt() else { continue };
            for (row, mask) in yes.iter_mut().enumerate() {
                if result.is_valid(row) && result.value(row) {
                    *mask |= bit;
                }
            }
        }
        Ok((yes, known))
    }

    /// Adds the partitions that time, or the end of the input, moves on.
    fn add_due(&mut self, closed: i64, due: &mut Vec<u32>) {
        if closed == i64::MAX {
            self.timers.clear();
            let open = self.partitions.iter().enumerate().filter(|(_, p)| !p.searches.is_empty());
            due.extend(open.map(|(number, _)| number as u32));
            return;
        }
        while let Some(Reverse((deadline, partition))) = self.timers.peek().copied() {
            if deadline > closed {
                break;
            }
            self.timers.pop();
            if let Some(open) = self.partitions.get_mut(partition as usize)
                && open.timer == Some(deadline)
            {
                open.timer = None;
                due.push(partition);
            }
        }
    }

    /// Lets the searches of partitions go on until all of them wait for rows.
    fn drive(
        &mut self,
        due: &[u32],
        closed: i64,
        from: EventTime,
        results: &mut Results,
        out: &mut Emitted,
    ) -> Result<()> {
        let setup = Rc::clone(&self.setup);
        let mut ready = due.to_vec();
        while !ready.is_empty() {
            let mut asking = Vec::new();
            for &number in &ready {
                if let Some(partition) = self.partitions.get_mut(number as usize)
                    && partition.drive(number, &setup, closed, results)
                {
                    asking.push(number);
                }
            }
            for variable in 0..self.define.len() {
                let requests = match results.requests.get_mut(variable) {
                    Some(requests) if !requests.is_empty() => std::mem::take(requests),
                    _ => continue,
                };
                self.answer(variable, &requests, from, out)?;
            }
            ready = asking;
        }
        Ok(())
    }

    /// Evaluates the condition of `variable` for all who ask for it.
    fn answer(
        &mut self,
        variable: usize,
        requests: &[Request],
        from: EventTime,
        out: &mut Emitted,
    ) -> Result<()> {
        let (evaluator, local) = match &self.define[variable] {
            Condition::Always => return Err(Error::internal("an unasked condition")),
            Condition::Row(evaluator, _) | Condition::Local(evaluator) => (evaluator, true),
            Condition::Path(evaluator) => (evaluator, false),
        };
        let frame = |request: &Request| {
            let partition = self.partitions.get(request.partition as usize)?;
            let search = partition.search(request.start)?;
            let first = usize::try_from(request.start.checked_sub(partition.base)?).ok()?;
            let source = Source::Entries { entries: &partition.entries, first };
            let (upto, number) = (search.path.len(), partition.matches + 1);
            Some(Frame { path: &search.path, upto, number, source })
        };
        let frames: Option<Vec<Frame<'_>>> = requests.iter().map(frame).collect();
        let Some(frames) = frames else {
            return Err(Error::internal("a search that asks is gone"));
        };
        let mut failures = Failures::new();
        let names = &self.matched.variables;
        let answers = evaluator.run(&frames, &self.rows, names, &mut failures)?;
        let failed = failures.into_iter().filter_map(|(index, reason)| {
            Some((frames[index].current()?, requests[index].high, reason))
        });
        let mut failed: Vec<(u32, i64, String)> = failed.collect();
        if local {
            // What is of the row alone fails once, however many searches ask at a time.
            failed.sort_unstable();
            failed.dedup_by_key(|(row, ..)| *row);
        }
        for (row, high, reason) in failed {
            let reason = format!("the condition of {}: {reason}", names[variable]);
            let letter = letter_of_row(NAME, &reason, &self.rows.row(row)?);
            out.dead.push(letter, self.time(high, from));
        }
        let answers = answers.as_boolean_opt();
        for (index, request) in requests.iter().enumerate() {
            let answer = answers.is_some_and(|a| a.is_valid(index) && a.value(index));
            if let Some(partition) = self.partitions.get_mut(request.partition as usize) {
                partition.answer(request.start, variable as u8, answer, local);
            }
        }
        Ok(())
    }

    /// Dead letters for what was given up.
    fn note(&self, results: &Results, from: EventTime, out: &mut Emitted) -> Result<()> {
        let Limits { rows, open, steps } = self.setup.limits;
        for note in &results.notes {
            let reason = match note.kind {
                NoteKind::GivenUp(Excess::Rows) => format!(
                    "a match from this row was still open after {rows} rows and was \
                     given up; add or shorten WITHIN"
                ),
                NoteKind::GivenUp(Excess::Steps) => format!(
                    "the search for a match from this row took more than {steps} steps \
                     and was given up; make the conditions of the pattern exclude one another"
                ),
                NoteKind::TooMany => format!(
                    "more than {open} matches of the partition were open; that from this \
                     row was given up; add or shorten WITHIN"
                ),
                NoteKind::NoSkip => "AFTER MATCH SKIP TO a variable without a row behind the \
                                     first of this match; the search went on at the next row"
                    .to_string(),
            };
            let letter = letter_of_row(NAME, &reason, &self.rows.row(note.row)?);
            out.dead.push(letter, self.time(note.high, from));
        }
        Ok(())
    }

    /// Drops what cannot matter any more and keeps what can.
    fn forget(&mut self, due: &[u32], closed: i64) -> Result<()> {
        let setup = Rc::clone(&self.setup);
        let mut kept = Vec::new();
        for &number in due {
            let partition = &mut self.partitions[number as usize];
            let rows = &mut self.rows;
            partition.forget(&setup, |row| rows.remove(row));
            kept.extend(partition.entries.iter().filter_map(|entry| new_index(entry.row)));
        }
        let mut slots = self.rows.keep(kept)?.into_iter();
        let mut idle = Vec::new();
        for &number in due {
            let partition = &mut self.partitions[number as usize];
            let new = partition.entries.iter_mut().filter(|e| new_index(e.row).is_some());
            for (entry, slot) in new.zip(slots.by_ref()) {
                entry.row = slot;
            }
            if partition.is_idle(&setup) && !self.matched.partition.is_empty() {
                partition.reset();
                idle.push(number);
                continue;
            }
            let deadline = partition.next_deadline(closed);
            if let Some(deadline) = deadline
                && partition.timer.is_none_or(|timer| timer > deadline)
            {
                partition.timer = Some(deadline);
                self.timers.push(Reverse((deadline, number)));
            }
        }
        self.note_gone(&idle)?;
        idle.into_iter().for_each(|number| self.keys.remove(number));
        self.prune_timers();
        Ok(())
    }

    /// Drops timers of partitions that are gone, when they are many.
    fn prune_timers(&mut self) {
        const FEW: usize = 1024;
        if self.timers.len() > 2 * self.keys.len() + FEW {
            let partitions = &self.partitions;
            self.timers.retain(|Reverse((deadline, number))| {
                partitions.get(*number as usize).is_some_and(|p| p.timer == Some(*deadline))
            });
        }
    }
}
