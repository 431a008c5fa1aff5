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

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::DataType;

use super::logic::{Emitted, Rest, StatefulLogic};
use crate::batch::UpdateBatch;
use crate::batch::hash::hash_columns;
use crate::error::{Error, Result};
use crate::limits::{SPILL_SWEEP_DIVISOR, SPILL_SWEEP_PARTS_MAX, SPILL_SWEEP_ROWS_MIN};
use crate::spill::cold::Writing;
use crate::spill::{ColdRows, Memory, Share};
use crate::state::saved::{Recovery, SavedTable};
use crate::state::touched::outgrown;
use crate::time::{BEGINNING, CLOSED, EventTime};

/// Makes a logic that holds nothing.
pub type Make<'a> = Box<dyn Fn() -> Result<Box<dyn StatefulLogic>> + 'a>;

/// A logic whose state may be larger than memory.
pub struct Spilling<'a> {
    logic: Box<dyn StatefulLogic>,
    make: Make<'a>,
    /// By input the columns of the key.
    by: Vec<Vec<usize>>,
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
    pub fn new(make: Make<'a>, by: Vec<Vec<usize>>, memory: &Arc<Memory>) -> Result<Self> {
        Ok(Spilling {
            logic: make()?,
            make,
            by,
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
        self.fetch_hashes(wanted)
    }

    fn fetch_hashes(&mut self, mut wanted: Vec<u64>) -> Result<()> {
        wanted.sort_unstable();
        wanted.dedup();
        let tables = self.cold.take(&wanted)?;
        if !tables.is_empty() {
            self.logic.reload(tables, self.applied)?;
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
        let tables = self.logic.unload(&self.by)?;
        self.measure(&tables, rows);
        // Its memory goes before that of the sorted rows comes.
        self.logic = self.fresh(Vec::new(), self.applied)?;
        let kept = self.cold.put(tables)?;
        if !kept.is_empty() {
            self.logic.reload(kept, self.applied)?;
        }
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

    /// About how much memory a row takes: what it takes as columns, and its places in tables.
    fn measure(&mut self, tables: &[SavedTable], rows: usize) {
        let bytes: usize = tables.iter().map(|t| bytes_of(&t.rows)).sum();
        self.row_bytes = (bytes / rows.max(1) + ROW_OVERHEAD_BYTES) as u64;
    }

    /// Guesses what a row of state takes from those of the input.
    fn guess(&mut self, inputs: &[Vec<UpdateBatch>]) {
        if self.row_bytes == 0
            && let Some(batch) = inputs.iter().flatten().find(|batch| !batch.is_empty())
        {
            let width = bytes_of(batch.rows()) / batch.len();
            self.row_bytes = (width + ROW_OVERHEAD_BYTES) as u64;
        }
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
        let held = self.logic.unload(&self.by)?;
        self.logic = (self.make)()?;
        if !self.cold.put(held)?.is_empty() {
            return Err(Error::internal("state without a key was put aside"));
        }
        (self.due, self.since) = (None, None);
        let bounds = self.bounds();
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
                self.note_rest();
                self.note_changes()?;
                if !writing.add(self.logic.unload(&self.by)?)?.is_empty() {
                    return Err(Error::internal("state without a key was put aside"));
                }
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

    /// The last hash of each part of the keys that is brought back at a time.
    fn bounds(&self) -> Vec<u64> {
        let rows = self.cold.rows();
        let parts = self.parts(rows as u64 * self.row_bytes.max(1), rows);
        let (first, last) = self.cold.span();
        let step = (last - first) / parts;
        let mut bounds: Vec<u64> = (1..parts).map(|part| first + part * step).collect();
        bounds.push(u64::MAX);
        bounds.dedup();
        bounds
    }

    /// How many parts `rows` rows of `bytes` bytes are brought back in.
    fn parts(&self, bytes: u64, rows: usize) -> u64 {
        let most = (self.memory.budget() / SPILL_SWEEP_DIVISOR).max(1);
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

/// Memory that a row of state takes beside its values.
const ROW_OVERHEAD_BYTES: usize = 48;

fn rows_of(tables: &[SavedTable]) -> usize {
    tables.iter().map(|table| table.rows.num_rows()).sum()
}

/// About the bytes of the values of rows, whatever else their buffers hold.
fn bytes_of(rows: &RecordBatch) -> usize {
    let of = |column: &ArrayRef| {
        let count = column.len();
        match column.data_type() {
            DataType::Utf8View => count * 16 + column.as_string_view().total_buffer_bytes_used(),
            DataType::BinaryView => count * 16 + column.as_binary_view().total_buffer_bytes_used(),
            other => match other.primitive_width() {
                Some(width) => count * width,
                None => column.get_array_memory_size(),
            },
        }
    };
    rows.columns().iter().map(of).sum()
}

impl StatefulLogic for Spilling<'_> {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        self.due.is_some_and(|due| due <= frontier) || self.logic.is_due(frontier, buffered)
    }

    fn advance(
        &mut self,
        from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        self.guess(&inputs);
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

    fn input_ended(&mut self, input: usize) {
        self.ended.push(input);
        self.logic.input_ended(input);
    }

    fn state_rows(&self) -> usize {
        self.logic.state_rows() + self.cold.rows()
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

    /// Part by part, where memory is short: each is put aside before the next one comes.
    fn catch_up(&mut self, to: EventTime, inputs: Vec<Vec<UpdateBatch>>) -> Result<()> {
        self.guess(&inputs);
        let rows: usize = inputs.iter().flatten().map(UpdateBatch::len).sum();
        let bytes = rows as u64 * self.row_bytes;
        let parts = match bytes > self.memory.budget() / 4 {
            true => self.parts(bytes, rows),
            false => 1,
        };
        let mut bounds: Vec<u64> = (1..parts).map(|part| part * (u64::MAX / parts)).collect();
        bounds.push(u64::MAX);
        self.applied = to;
        for inputs in self.split(inputs, &bounds)? {
            // A logic catches up once.
            if self.logic.state_rows() > 0 {
                self.note_rest();
                let tables = self.logic.unload(&self.by)?;
                self.logic = (self.make)()?;
                if !self.cold.put(tables)?.is_empty() {
                    return Err(Error::internal("state without a key was put aside"));
                }
            }
            self.logic.catch_up(to, inputs)?;
        }
        Ok(())
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
            let (whole, tables) = self.logic.save(whole, placement)?;
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
        each(true, self.logic.save(true, placement)?.1);
        self.cold.scan(|table| {
            each(false, vec![table]);
            Ok(())
        })?;
        Ok((false, Vec::new()))
    }

    fn take_changes(&mut self) -> Vec<SavedTable> {
        std::mem::take(&mut self.kept.changes)
    }

    /// Piece by piece: what a later table says of a key that was put aside since goes on top of
    /// that.
    fn load(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        self.applied = to;
        for table in tables {
            let rows = table.rows.clone();
            let width = bytes_of(&rows) / rows.num_rows().max(1);
            self.row_bytes = self.row_bytes.max((width + ROW_OVERHEAD_BYTES) as u64);
            let most = self.memory.budget() / SPILL_SWEEP_DIVISOR / self.row_bytes;
            let most = usize::try_from(most).unwrap_or(usize::MAX).max(1024);
            for at in (0..rows.num_rows()).step_by(most) {
                let rows = rows.slice(at, most.min(rows.num_rows() - at));
                if let (Some(shard), false) = (&table.shard, self.cold.is_empty()) {
                    let columns: Vec<ArrayRef> =
                        shard.iter().map(|&c| Arc::clone(rows.column(c))).collect();
                    self.fetch_hashes(hash_columns(&columns, rows.num_rows())?)?;
                }
                self.logic.load(vec![SavedTable { rows, ..table.clone() }], to)?;
                self.relieve()?;
            }
        }
        self.logic.load(Vec::new(), to)
    }

    fn gathers(&self) -> bool {
        !self.cold.is_empty()
    }
}
