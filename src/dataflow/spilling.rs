//! State larger than memory: a logic around a logic, which puts aside what is not needed.
//!
//! The inner logic holds the keys that had input lately. When the process comes near its memory
//! budget, all that the logic holds goes to disk by key ([`ColdRows`]), and a new one takes its
//! place. Before input is applied the state of its keys comes back; other keys stay where they are.
//! Where keys act without input, when a window closes or the input ends, everything comes back, a
//! part of the keys at a time: each part is brought to the frontier and put aside again.
//!
//! Law: what is emitted is what the inner logic would emit if it held everything. It works key by
//! key, so that it does not matter which keys it holds while others have no input.
//!
//! Snapshots: where state comes back from input or output nothing is different. Where it comes back
//! from tables, what has changed is handed over when it is put aside; a whole state is handed over
//! in pieces.

mod pieces;

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::{Schema, SchemaRef};

pub use self::pieces::bytes_of;
use self::pieces::{ROW_OVERHEAD_BYTES, SAMPLE_ROWS, keyless, rows_of, split_at, stage, unstaged};
use super::logic::{Emitted, NextPiece, Rest, StatefulLogic, restore_from, save_all};
use crate::batch::UpdateBatch;
use crate::batch::hash::hash_columns;
use crate::error::Result;
use crate::limits::{
    SPILL_FETCH_KEYS_MIN, SPILL_STEP_DIVISOR, SPILL_STEP_ROWS_MIN, SPILL_SWEEP_PARTS_MAX,
    SPILL_SWEEP_ROWS_MIN,
};
use crate::spill::cold::Writing;
use crate::spill::{ColdRows, Memory, Share};
use crate::state::saved::{Recovery, SavedTable, log_name, saved_updates};
use crate::state::touched::outgrown;
use crate::time::{BEGINNING, CLOSED, EventTime, Resolution};

/// Makes a logic that holds nothing.
pub type Make<'a> = Box<dyn Fn() -> Result<Box<dyn StatefulLogic>> + 'a>;

/// A logic whose state may be larger than memory.
pub struct Spilling<'a> {
    logic: Box<dyn StatefulLogic>,
    make: Make<'a>,
    /// By input the columns of the key.
    by: Vec<Vec<usize>>,
    /// Frontiers lie on borders of its ticks.
    resolution: Resolution,
    memory: Arc<Memory>,
    share: Share,
    cold: ColdRows,
    /// Everything below is in the state.
    applied: EventTime,
    ended: Vec<usize>,
    /// The frontier at which cold state acts.
    due: Option<EventTime>,
    /// From when on the input of cold state matters, where it comes back from that.
    since: Option<EventTime>,
    /// About how much memory a row of state takes.
    row_bytes: u64,
    kept: Kept,
}

/// What snapshots know of the state.
#[derive(Default)]
struct Kept {
    /// Whether there was one, so that what changes is noted; and the columns that place rows.
    placement: Option<Option<Vec<usize>>>,
    /// Changes of what was put aside, to be handed over.
    changes: Vec<SavedTable>,
    /// Rows on top of the last whole state.
    rows: usize,
    /// Whether the next one must be whole: some change is not known.
    must_be_whole: bool,
}

impl<'a> Spilling<'a> {
    /// Around the logics that `make` makes, whose inputs have the keys `by`; `memory` says when.
    /// Frontiers lie on borders of ticks of `resolution`.
    pub fn new(
        make: Make<'a>,
        by: Vec<Vec<usize>>,
        resolution: Resolution,
        memory: &Arc<Memory>,
    ) -> Result<Self> {
        Ok(Spilling {
            logic: make()?,
            make,
            by,
            resolution,
            share: memory.share(),
            cold: ColdRows::new(memory),
            memory: Arc::clone(memory),
            applied: BEGINNING,
            ended: Vec::new(),
            due: None,
            since: None,
            row_bytes: 0,
            kept: Kept::default(),
        })
    }

    /// A logic that holds nothing, as of what has been applied.
    fn fresh(&self, held: Vec<SavedTable>, to: EventTime) -> Result<Box<dyn StatefulLogic>> {
        let mut logic = (self.make)()?;
        if self.kept.placement.is_some() {
            logic.track();
        }
        self.ended.iter().for_each(|&input| logic.input_ended(input));
        logic.reload(held, to)?;
        Ok(logic)
    }

    /// The hashes of the keys of rows of input `input`.
    fn hashes(&self, input: usize, batch: &UpdateBatch) -> Result<Vec<u64>> {
        let by = self.by.get(input).map_or(&[][..], Vec::as_slice);
        let columns: Vec<ArrayRef> = by.iter().map(|&c| Arc::clone(batch.column(c))).collect();
        hash_columns(&columns, batch.len())
    }

    /// Brings back the state of the keys of `inputs`.
    fn fetch(&mut self, inputs: &[Vec<UpdateBatch>]) -> Result<()> {
        let mut wanted = Vec::new();
        for (input, batches) in inputs.iter().enumerate() {
            for batch in batches {
                wanted.extend(self.hashes(input, batch)?);
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        // Not all at once: what is read is in memory twice until the logic has it.
        let most = self.memory.piece_bytes() / self.row_bytes.max(1);
        let most = usize::try_from(most).unwrap_or(usize::MAX).max(SPILL_FETCH_KEYS_MIN);
        for wanted in wanted.chunks(most) {
            let tables = self.cold.take(wanted)?;
            if !tables.is_empty() {
                self.logic.reload(tables, self.applied)?;
            }
        }
        self.forget_if_empty();
        Ok(())
    }

    fn forget_if_empty(&mut self) {
        if self.cold.is_empty() {
            (self.due, self.since) = (None, None);
        }
    }

    /// Puts everything aside if memory is short.
    fn relieve(&mut self) -> Result<()> {
        let rows = self.logic.state_rows();
        if rows == 0 || !self.share.must_yield(rows as u64 * self.row_bytes.max(1)) {
            return Ok(());
        }
        if self.logic.rest() == Rest::Never {
            return Ok(());
        }
        self.note_rest();
        self.note_changes()?;
        let mut writing = Writing::new(&self.memory, rows);
        let kept = self.write(&mut writing)?;
        // Its memory goes before what was written is merged.
        self.logic = self.fresh(kept, self.applied)?;
        self.cold.add(writing)?;
        self.share.clear();
        Ok(())
    }

    /// Notes when what is put aside must come back, and from when on its input matters.
    fn note_rest(&mut self) {
        if let Rest::Until(time) = self.logic.rest() {
            self.due = Some(self.due.map_or(time, |due| due.min(time)));
        }
        if let Recovery::Since(time) = self.logic.recovery() {
            self.since = Some(self.since.map_or(time, |since| since.min(time)));
        }
    }

    /// Keeps what has changed for the next snapshot: once it is put aside nobody knows.
    fn note_changes(&mut self) -> Result<()> {
        let Some(placement) = &self.kept.placement else { return Ok(()) };
        if self.kept.must_be_whole {
            return Ok(());
        }
        match self.logic.changes(placement.as_deref())? {
            Some(tables) => {
                self.kept.rows += rows_of(&tables);
                self.kept.changes.extend(tables);
            }
            None => self.kept.must_be_whole = true,
        }
        Ok(())
    }

    /// Writes all that the logic holds; what cannot be put aside is given back. About how much
    /// memory a row takes is known then: what it takes as columns, and its places in tables.
    fn write(&mut self, writing: &mut Writing) -> Result<Vec<SavedTable>> {
        let rows = self.logic.state_rows();
        let (mut bytes, mut kept) = (0, Vec::new());
        let mut each = |tables: Vec<SavedTable>| -> Result<()> {
            bytes += tables.iter().map(|table| bytes_of(&table.rows)).sum::<usize>();
            kept.extend(writing.add(tables)?);
            Ok(())
        };
        self.logic.unload_to(&self.by, &mut each)?;
        if let Some(width) = bytes.checked_div(rows) {
            self.row_bytes = (width + ROW_OVERHEAD_BYTES) as u64;
        }
        Ok(kept)
    }

    /// Says how wide rows of the input are, and guesses from them what a row of state takes.
    fn guess(&mut self, inputs: &[Vec<UpdateBatch>]) {
        for batch in inputs.iter().filter_map(|batches| batches.first()) {
            let rows = batch.rows().slice(0, batch.len().min(SAMPLE_ROWS));
            let width = bytes_of(&rows) / rows.num_rows().max(1) + ROW_OVERHEAD_BYTES;
            self.memory.note_rows_of(width as u64);
            if self.row_bytes == 0 {
                self.row_bytes = width as u64;
            }
        }
    }

    /// One step of [`StatefulLogic::advance`].
    fn step(
        &mut self,
        from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        if self.due.is_some_and(|due| due <= to) && !self.cold.is_empty() {
            return self.sweep(from, to, inputs, out);
        }
        if !self.cold.is_empty() && self.logic.meets() {
            self.fetch(&inputs)?;
        }
        self.logic.advance(from, to, inputs, out)?;
        self.applied = to;
        if to == CLOSED {
            self.cold = ColdRows::new(&self.memory);
            self.forget_if_empty();
            self.share.clear();
            return Ok(());
        }
        self.relieve()
    }

    /// Brings all keys to `to`, a part of them at a time.
    fn sweep(
        &mut self,
        from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        self.note_changes()?;
        let mut writing = Writing::new(&self.memory, self.logic.state_rows());
        self.put_part_aside(&mut writing)?;
        self.logic = (self.make)()?;
        self.cold.add(writing)?;
        (self.due, self.since) = (None, None);
        let bounds = self.bounds(&self.cold);
        let mut parts = self.split(inputs, &bounds)?;
        let mut writing = Writing::new(&self.memory, self.cold.rows());
        let mut first = 0;
        for (&last, inputs) in bounds.iter().zip(&mut parts) {
            let tables = self.cold.take_range((first, last))?;
            first = last.wrapping_add(1);
            let inputs = std::mem::take(inputs);
            if tables.is_empty() && inputs.iter().all(Vec::is_empty) {
                continue;
            }
            self.logic = self.fresh(tables, self.applied)?;
            self.logic.advance(from, to, inputs, out)?;
            if to != CLOSED {
                self.note_changes()?;
                self.put_part_aside(&mut writing)?;
            }
        }
        self.cold.add(writing)?;
        self.applied = to;
        self.logic = match to {
            CLOSED => (self.make)()?,
            _ => self.fresh(Vec::new(), to)?,
        };
        self.forget_if_empty();
        Ok(())
    }

    /// Puts aside what the logic holds of a part of the keys.
    fn put_part_aside(&mut self, writing: &mut Writing) -> Result<()> {
        self.note_rest();
        match self.write(writing)?.is_empty() {
            true => Ok(()),
            false => Err(keyless()),
        }
    }

    /// The last hash of each part of the keys that is brought back at a time.
    fn bounds(&self, of: &ColdRows) -> Vec<u64> {
        let rows = of.rows();
        let parts = self.parts(rows as u64 * self.row_bytes.max(1), rows);
        let (first, last) = of.span();
        let step = (last - first) / parts;
        let mut bounds: Vec<u64> = (1..parts).map(|part| first + part * step).collect();
        bounds.push(u64::MAX);
        bounds.dedup();
        bounds
    }

    /// How many parts `rows` rows of `bytes` bytes are brought back in.
    fn parts(&self, bytes: u64, rows: usize) -> u64 {
        let most = self.memory.piece_bytes().max(1);
        let parts = (bytes / most + 1).min(SPILL_SWEEP_PARTS_MAX);
        parts.min((rows / SPILL_SWEEP_ROWS_MIN + 1) as u64)
    }

    /// By part of the keys and input the rows of `inputs`.
    fn split(
        &self,
        inputs: Vec<Vec<UpdateBatch>>,
        bounds: &[u64],
    ) -> Result<Vec<Vec<Vec<UpdateBatch>>>> {
        let mut parts = vec![vec![Vec::new(); inputs.len()]; bounds.len()];
        for (input, batches) in inputs.into_iter().enumerate() {
            for batch in batches {
                let mut rows: Vec<Vec<u32>> = vec![Vec::new(); bounds.len()];
                for (row, hash) in self.hashes(input, &batch)?.into_iter().enumerate() {
                    rows[bounds.partition_point(|&last| last < hash)].push(row as u32);
                }
                for (part, rows) in parts.iter_mut().zip(rows) {
                    if !rows.is_empty() {
                        part[input].push(batch.take(&UInt32Array::from(rows))?);
                    }
                }
            }
        }
        Ok(parts)
    }
}

impl StatefulLogic for Spilling<'_> {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        self.due.is_some_and(|due| due <= frontier) || self.logic.is_due(frontier, buffered)
    }

    /// What a step works with is several times its rows. Which frontiers there are between two does
    /// not matter.
    fn step_end(&self, waiting: &[&UpdateBatch], to: EventTime) -> EventTime {
        let most = self.memory.piece_bytes() / SPILL_STEP_DIVISOR / self.row_bytes.max(1);
        let most = usize::try_from(most).unwrap_or(usize::MAX).max(SPILL_STEP_ROWS_MIN);
        let rows: usize = waiting.iter().map(|batch| batch.len()).sum();
        if rows <= most {
            return to;
        }
        let all = waiting.iter().flat_map(|batch| batch.times().iter().copied());
        let mut times: Vec<EventTime> = all.filter(|&time| time < to).collect();
        if times.len() <= most {
            return to;
        }
        let (_, time, _) = times.select_nth_unstable(most - 1);
        let tick = self.resolution.tick_start(*time);
        let border = tick.saturating_add(self.resolution.tick_ms());
        match border > self.applied {
            true => border.min(to),
            false => to,
        }
    }

    fn advance(
        &mut self,
        from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        self.guess(&inputs);
        let (mut from, mut rest) = (from, inputs);
        loop {
            let waiting: Vec<&UpdateBatch> = rest.iter().flatten().collect();
            let border = self.step_end(&waiting, to);
            if border >= to {
                return self.step(from, to, rest, out);
            }
            let [now, later] = split_at(rest, border)?;
            rest = later;
            self.step(from, border, now, out)?;
            from = from.max(border);
        }
    }

    fn input_ended(&mut self, input: usize) {
        self.ended.push(input);
        self.logic.input_ended(input);
    }

    fn state_rows(&self) -> usize {
        self.logic.state_rows() + self.cold.rows()
    }

    fn state_bytes(&self) -> Option<usize> {
        // What is on disk is told by itself.
        self.logic.state_bytes()
    }

    fn recovery(&self) -> Recovery {
        match (self.logic.recovery(), self.since) {
            (Recovery::Since(own), Some(cold)) => Recovery::Since(own.min(cold)),
            (recovery, _) => recovery,
        }
    }

    fn is_its_output(&self) -> bool {
        self.logic.is_its_output()
    }

    fn is_logged(&self, input: usize) -> bool {
        self.logic.is_logged(input)
    }

    fn catch_up(&mut self, to: EventTime, inputs: Vec<Vec<UpdateBatch>>) -> Result<()> {
        let mut schemas = Vec::new();
        let mut tables = Vec::new();
        for (input, batches) in inputs.into_iter().enumerate() {
            let schema = batches.first().map(UpdateBatch::schema);
            schemas.push(schema.unwrap_or_else(|| Arc::new(Schema::empty())));
            let by = self.by.get(input).map(Vec::as_slice);
            for batch in batches {
                tables.push((input, saved_updates(&log_name(input), &batch, by)?));
            }
        }
        let mut tables = tables.into_iter();
        self.restore(&mut || Ok(tables.next()), &schemas, to)
    }

    fn save(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        let (mut begins, mut all) = (false, Vec::new());
        let mut each = |whole: bool, tables: Vec<SavedTable>| {
            if whole {
                all.clear();
            }
            begins |= whole;
            all.extend(tables);
        };
        let (whole, last) = self.save_in_pieces(whole, placement, &mut each)?;
        if whole {
            all.clear();
        }
        all.extend(last);
        Ok((begins || whole, all))
    }

    fn save_in_pieces(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
        each: &mut dyn FnMut(bool, Vec<SavedTable>),
    ) -> Result<(bool, Vec<SavedTable>)> {
        let whole = whole || self.kept.placement.is_none() || self.kept.must_be_whole;
        self.kept.placement = Some(placement.map(<[usize]>::to_vec));
        let early = self.take_changes();
        if self.cold.is_empty() {
            let (whole, tables) = save_all(&mut self.logic, whole, placement)?;
            if whole {
                self.kept.rows = 0;
                self.kept.must_be_whole = false;
            } else if !early.is_empty() {
                each(false, early);
            }
            return Ok((whole, tables));
        }
        let has_outgrown = outgrown(self.kept.rows, self.state_rows());
        if !whole
            && !has_outgrown
            && let Some(tables) = self.logic.changes(placement)?
        {
            if !early.is_empty() {
                each(false, early);
            }
            self.kept.rows += rows_of(&tables);
            return Ok((false, tables));
        }
        self.kept.rows = 0;
        self.kept.must_be_whole = false;
        each(true, save_all(&mut self.logic, true, placement)?.1);
        self.cold.scan(|table| {
            each(false, vec![table]);
            Ok(())
        })?;
        Ok((false, Vec::new()))
    }

    fn take_changes(&mut self) -> Vec<SavedTable> {
        std::mem::take(&mut self.kept.changes)
    }

    fn load(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        let mut tables = tables.into_iter().enumerate();
        self.restore(&mut || Ok(tables.next()), &[], to)
    }

    /// Where that is much, it goes to disk as it is, and then into logics a part of the keys at a
    /// time.
    fn restore(
        &mut self,
        next: &mut NextPiece<'_>,
        inputs: &[SchemaRef],
        to: EventTime,
    ) -> Result<()> {
        self.applied = to;
        let most = self.memory.piece_bytes();
        let mut staged = ColdRows::new(&self.memory);
        let (mut held, mut bytes) = (Vec::new(), 0);
        let (mut all_rows, mut all_bytes) = (0, 0);
        while let Some((number, table)) = next()? {
            all_rows += table.rows.num_rows() as u64;
            all_bytes += bytes_of(&table.rows) as u64;
            bytes += bytes_of(&table.rows) as u64;
            held.push((number, table));
            if bytes > most {
                stage(&mut staged, std::mem::take(&mut held))?;
                bytes = 0;
            }
        }
        self.row_bytes = all_bytes / all_rows.max(1) + ROW_OVERHEAD_BYTES as u64;
        if staged.is_empty() {
            let held = held.into_iter().map(|(_, table)| table).collect();
            restore_from(self.logic.as_mut(), held, inputs, to)?;
            return self.relieve();
        }
        stage(&mut staged, held)?;
        let mut writing = Writing::new(&self.memory, staged.rows());
        let mut first = 0;
        for last in self.bounds(&staged) {
            let pieces = unstaged(staged.take_range((first, last))?);
            first = last.wrapping_add(1);
            if pieces.is_empty() {
                continue;
            }
            self.logic = (self.make)()?;
            restore_from(self.logic.as_mut(), pieces, inputs, to)?;
            self.put_part_aside(&mut writing)?;
        }
        self.cold.add(writing)?;
        self.logic = self.fresh(Vec::new(), to)?;
        self.forget_if_empty();
        Ok(())
    }

    fn gathers(&self) -> bool {
        !self.cold.is_empty()
    }
}
