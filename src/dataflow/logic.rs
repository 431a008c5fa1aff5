//! What a stateful operator is: state that is always "as of the frontier".
//!
//! The driver buffers what is at or after the frontier. When the frontier moves it hands over
//! everything below, and only that; the logic applies it and emits. Tests drive a logic without
//! timely.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;

use super::side::DeadLetters;
use crate::batch::UpdateBatch;
use crate::error::{Error, Result};
use crate::limits::SNAPSHOT_PIECE_ROWS;
use crate::state::saved::{Recovery, SavedTable, log_input, log_updates};
use crate::time::{BEGINNING, EventTime};

/// A stateful operator without its plumbing.
///
/// Law: what `advance` emits depends only on the set of updates below each frontier, never on how
/// they were cut into batches, on their order, or on which intermediate frontiers were seen.
pub trait StatefulLogic {
    /// Whether state must be brought up to `frontier` now. When false the driver keeps buffering:
    /// nothing would be emitted below `frontier`. `buffered` counts the rows already below it.
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        let _ = (frontier, buffered);
        true
    }

    /// How far to go at once towards `to`, when the rows `waiting` wait, among them all below `to`:
    /// what is emitted leaves the operator before the next step begins.
    fn step_end(&self, waiting: &[&UpdateBatch], to: EventTime) -> EventTime {
        let _ = waiting;
        to
    }

    /// Applies `inputs[i]`, the updates of input `i` below `to` that no earlier call was given (in
    /// any order and cut), and emits updates with times in `[from, to)`. `to` is
    /// [`crate::time::CLOSED`] when the
    /// input has ended; it may equal `from` never. Batches in `inputs` are never empty.
    fn advance(
        &mut self,
        from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()>;

    /// Says that input `input` has ended and every update of it was handed over. Others go on.
    fn input_ended(&mut self, input: usize) {
        let _ = input;
    }

    /// Rows or groups held, for metrics and for tests of bounded state.
    fn state_rows(&self) -> usize;

    /// Bytes that the state takes, where that can be told without looking at its rows.
    fn state_bytes(&self) -> Option<usize> {
        None
    }

    /// How the state as of the frontier comes back after a restart; asked at each snapshot.
    fn recovery(&self) -> Recovery {
        Recovery::Log
    }

    /// Whether its state is what its output contains: then a log is kept of that, in the place of
    /// its input, and given to [`StatefulLogic::catch_up`].
    fn is_its_output(&self) -> bool {
        false
    }

    /// Whether the state comes back from input `input` too, as far as that is kept a log of.
    fn is_logged(&self, input: usize) -> bool {
        let _ = input;
        true
    }

    /// Brings a new logic to `to` from what was kept of its inputs. What it would emit has been
    /// emitted before the restart.
    fn catch_up(&mut self, to: EventTime, inputs: Vec<Vec<UpdateBatch>>) -> Result<()> {
        self.advance(BEGINNING, to, inputs, &mut Emitted::default())
    }

    /// The state as tables, for [`Recovery::Tables`]: all of it if `whole`, or else if it can be
    /// told what has changed since the last call. Says whether it is all.
    ///
    /// `placement` are the columns of the first input whose hash says on which worker a row is: the
    /// shards of the tables are these columns. `None`: nobody knows, or all are on one.
    fn save(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        let (_, _) = (whole, placement);
        Err(Error::internal("an operator without tables was asked for them"))
    }

    /// More of what `save` has begun to give, some `most` rows; `None` once it has given all. In
    /// between rows may be applied: the state is given as it was when `save` was called.
    fn save_more(&mut self, most: usize) -> Result<Option<SavedTable>> {
        let _ = most;
        Ok(None)
    }

    /// How many rows of the state have changed since the last `save`; `None`: those that `save`
    /// gives.
    fn changed_rows(&self) -> Option<usize> {
        None
    }

    /// Takes back what `save` gave, the oldest tables first, and is then as of `to`. The rows are
    /// those of this worker.
    fn load(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        let (_, _) = (tables, to);
        Err(Error::internal("an operator without tables was given some"))
    }

    /// Whether the state of keys that have no input may be put aside, and until when.
    fn rest(&self) -> Rest {
        Rest::Never
    }

    /// Whether input must meet what is held of its keys. Otherwise it is only added to that.
    fn meets(&self) -> bool {
        true
    }

    /// All that it holds, as tables whose shards are the columns `by` of each input: what an
    /// operator of this kind takes back with [`StatefulLogic::reload`]. This one is done.
    fn unload(&mut self, by: &[Vec<usize>]) -> Result<Vec<SavedTable>> {
        Ok(save_all(self, true, by.first().map(Vec::as_slice))?.1)
    }

    /// As [`StatefulLogic::unload`], without all tables in memory at once: what `each` is given of
    /// one table is in the order of the hashes of the keys.
    fn unload_to(&mut self, by: &[Vec<usize>], each: &mut TakeTables<'_>) -> Result<()> {
        each(self.unload(by)?)
    }

    /// Takes back what `unload` gave of keys that it holds nothing of; it is, and stays, as of
    /// `to`.
    fn reload(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        self.load(tables, to)
    }

    /// Notes from now on what changes, for [`StatefulLogic::changes`]. It holds nothing yet.
    fn track(&mut self) {}

    /// What has changed since it was told to note it, or since it was last asked, as
    /// [`StatefulLogic::save`] would say it; `None` if that is not known.
    fn changes(&mut self, placement: Option<&[usize]>) -> Result<Option<Vec<SavedTable>>> {
        let _ = placement;
        Ok(None)
    }

    /// As [`StatefulLogic::save`], where the state may be larger than memory: all but the last
    /// tables go to `each`, with whether they begin the whole state.
    fn save_in_pieces(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
        each: &mut dyn FnMut(bool, Vec<SavedTable>),
    ) -> Result<(bool, Vec<SavedTable>)> {
        let _ = each;
        self.save(whole, placement)
    }

    /// Tables that must go to the next snapshot ahead of it: what was put aside since it was last
    /// asked.
    fn take_changes(&mut self) -> Vec<SavedTable> {
        Vec::new()
    }

    /// Whether it costs much to apply few rows, so that the driver may wait for more.
    fn gathers(&self) -> bool {
        false
    }

    /// Brings a new logic to `to` from what a snapshot holds: what `save` gave, the oldest first,
    /// and logs of inputs with the columns `inputs`. `next` gives pieces of tables, each with the
    /// number of its table.
    fn restore(
        &mut self,
        next: &mut NextPiece<'_>,
        inputs: &[SchemaRef],
        to: EventTime,
    ) -> Result<()> {
        let mut pieces = Vec::new();
        while let Some((_, piece)) = next()? {
            pieces.push(piece);
        }
        restore_from(self, pieces, inputs, to)
    }

    /// Whether its state is that of what reads it: then after a restart it emits again all that its
    /// state comes back from, below the frontier, and whoever is as of the frontier ignores that.
    fn replays(&self) -> bool {
        false
    }

    /// An input that is handed over whole, whatever its times, with the first `advance`: until it
    /// has ended nothing is applied, and its frontier counts for nothing.
    fn whole_input(&self) -> Option<usize> {
        None
    }
}

/// All that [`StatefulLogic::save`] begins to give.
pub fn save_all<L: StatefulLogic + ?Sized>(
    logic: &mut L,
    whole: bool,
    placement: Option<&[usize]>,
) -> Result<(bool, Vec<SavedTable>)> {
    let (whole, tables) = logic.save(whole, placement)?;
    Ok((whole, with_the_rest(logic, tables)?))
}

/// `tables`, and what is still to be given of the save that they began.
pub fn with_the_rest<L: StatefulLogic + ?Sized>(
    logic: &mut L,
    mut tables: Vec<SavedTable>,
) -> Result<Vec<SavedTable>> {
    while let Some(table) = logic.save_more(SNAPSHOT_PIECE_ROWS)? {
        tables.push(table);
    }
    Ok(tables)
}

/// Takes tables one after the other.
pub type TakeTables<'a> = dyn FnMut(Vec<SavedTable>) -> Result<()> + 'a;

/// The next piece of a snapshot's tables, with the number of its table; `None` at their end.
pub type NextPiece<'a> = dyn FnMut() -> Result<Option<(usize, SavedTable)>> + 'a;

/// Brings `logic` to `to` from all the `pieces` of tables that [`StatefulLogic::restore`] is given.
pub fn restore_from<L: StatefulLogic + ?Sized>(
    logic: &mut L,
    pieces: Vec<SavedTable>,
    inputs: &[SchemaRef],
    to: EventTime,
) -> Result<()> {
    let (mut tables, mut logs) = (Vec::new(), vec![Vec::new(); inputs.len()]);
    for piece in pieces.into_iter().filter(|piece| piece.rows.num_rows() > 0) {
        let Some(input) = log_input(&piece.name) else {
            tables.push(piece);
            continue;
        };
        if let Some((log, schema)) = logs.get_mut(input).zip(inputs.get(input)) {
            log.push(log_updates(&piece.rows, schema)?);
        }
    }
    if logic.recovery() == Recovery::Tables {
        logic.load(tables, to)?;
    }
    if logs.iter().any(|log| !log.is_empty()) {
        logic.catch_up(to, logs)?;
    }
    Ok(())
}

/// Whether the state of keys that have no input may be put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// No: it cannot be taken apart by key.
    Never,
    /// Until there is input of the key.
    UntilInput,
    /// Until there is, or the frontier is there.
    Until(EventTime),
}

impl StatefulLogic for Box<dyn StatefulLogic + '_> {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        self.as_ref().is_due(frontier, buffered)
    }

    fn step_end(&self, waiting: &[&UpdateBatch], to: EventTime) -> EventTime {
        self.as_ref().step_end(waiting, to)
    }

    fn advance(
        &mut self,
        from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        self.as_mut().advance(from, to, inputs, out)
    }

    fn input_ended(&mut self, input: usize) {
        self.as_mut().input_ended(input);
    }

    fn state_rows(&self) -> usize {
        self.as_ref().state_rows()
    }

    fn state_bytes(&self) -> Option<usize> {
        self.as_ref().state_bytes()
    }

    fn recovery(&self) -> Recovery {
        self.as_ref().recovery()
    }

    fn is_its_output(&self) -> bool {
        self.as_ref().is_its_output()
    }

    fn is_logged(&self, input: usize) -> bool {
        self.as_ref().is_logged(input)
    }

    fn catch_up(&mut self, to: EventTime, inputs: Vec<Vec<UpdateBatch>>) -> Result<()> {
        self.as_mut().catch_up(to, inputs)
    }

    fn replays(&self) -> bool {
        self.as_ref().replays()
    }

    fn save(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        self.as_mut().save(whole, placement)
    }

    fn save_more(&mut self, most: usize) -> Result<Option<SavedTable>> {
        self.as_mut().save_more(most)
    }

    fn changed_rows(&self) -> Option<usize> {
        self.as_ref().changed_rows()
    }

    fn load(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        self.as_mut().load(tables, to)
    }

    fn restore(
        &mut self,
        next: &mut NextPiece<'_>,
        inputs: &[SchemaRef],
        to: EventTime,
    ) -> Result<()> {
        self.as_mut().restore(next, inputs, to)
    }

    fn rest(&self) -> Rest {
        self.as_ref().rest()
    }

    fn meets(&self) -> bool {
        self.as_ref().meets()
    }

    fn unload(&mut self, by: &[Vec<usize>]) -> Result<Vec<SavedTable>> {
        self.as_mut().unload(by)
    }

    fn unload_to(&mut self, by: &[Vec<usize>], each: &mut TakeTables<'_>) -> Result<()> {
        self.as_mut().unload_to(by, each)
    }

    fn reload(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        self.as_mut().reload(tables, to)
    }

    fn track(&mut self) {
        self.as_mut().track();
    }

    fn changes(&mut self, placement: Option<&[usize]>) -> Result<Option<Vec<SavedTable>>> {
        self.as_mut().changes(placement)
    }

    fn save_in_pieces(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
        each: &mut dyn FnMut(bool, Vec<SavedTable>),
    ) -> Result<(bool, Vec<SavedTable>)> {
        self.as_mut().save_in_pieces(whole, placement, each)
    }

    fn take_changes(&mut self) -> Vec<SavedTable> {
        self.as_mut().take_changes()
    }

    fn gathers(&self) -> bool {
        self.as_ref().gathers()
    }

    fn whole_input(&self) -> Option<usize> {
        self.as_ref().whole_input()
    }
}

/// What a logic emits.
#[derive(Debug, Default)]
pub struct Emitted {
    /// Output updates.
    pub updates: Vec<UpdateBatch>,
    /// Rows that came after their window had closed.
    pub late: Vec<LateRows>,
    /// Rows that failed, at their times.
    pub dead: DeadLetters,
    /// Changes that did not fit what they change, by time.
    pub irregular: BTreeMap<EventTime, Irregular>,
}

/// How many changes of a log did not fit what they change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Irregular {
    /// Updates of keys that were not there: they were put there.
    pub unknown_updates: u64,
    /// Deletions of keys that were not there: ignored.
    pub absent_deletes: u64,
    /// Insertions of keys that were there: they took the place of the row.
    pub duplicate_inserts: u64,
}

/// Rows of an operator's input that were too late for it.
#[derive(Clone, Debug)]
pub struct LateRows {
    /// The rows, as the operator got them.
    pub rows: UpdateBatch,
    /// For each row the end of the latest window that it would have belonged to, in ms.
    pub window_end: Vec<EventTime>,
}

impl Emitted {
    /// Emits `batch` unless it is empty.
    pub fn push(&mut self, batch: UpdateBatch) {
        if !batch.is_empty() {
            self.updates.push(batch);
        }
    }
}
