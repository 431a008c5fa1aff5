//! What a stateful operator is: state that is always "as of the frontier".
//!
//! The driver buffers what is at or after the frontier. When the frontier moves it hands over
//! everything below, and only that; the logic applies it and emits. Tests drive a logic without
//! timely.

use super::side::DeadLetters;
use crate::batch::UpdateBatch;
use crate::error::{Error, Result};
use crate::state::saved::{Recovery, SavedTable};
use crate::time::{BEGINNING, EventTime};

/// A stateful operator without its plumbing.
///
/// Law: what `advance` emits depends only on the set of updates below each frontier, never on how
/// they were cut into batches, on their order, or on which intermediate frontiers were seen.
pub trait StatefulLogic: 'static {
    /// Whether state must be brought up to `frontier` now. When false the driver keeps buffering:
    /// nothing would be emitted below `frontier`. `buffered` counts the rows already below it.
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        let _ = (frontier, buffered);
        true
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

    /// Takes back what `save` gave, the oldest tables first, and is then as of `to`. The rows are
    /// those of this worker.
    fn load(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        let (_, _) = (tables, to);
        Err(Error::internal("an operator without tables was given some"))
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

impl StatefulLogic for Box<dyn StatefulLogic> {
    fn is_due(&self, frontier: EventTime, buffered: usize) -> bool {
        self.as_ref().is_due(frontier, buffered)
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

    fn load(&mut self, tables: Vec<SavedTable>, to: EventTime) -> Result<()> {
        self.as_mut().load(tables, to)
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
    /// Changes that did not fit what they change.
    pub irregular: Irregular,
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
