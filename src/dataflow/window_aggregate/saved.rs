//! The state of a windowed aggregation as a table: a row a group of a pane or window.
//!
//! Table `groups`: keys, then the start of the pane, or end and start of the window, then the
//! group's state. Rows of windows that have closed since stay in the store until the next whole
//! save: which windows are open as of a frontier is a matter of arithmetic, so they need no mark.
//!
//! Groups are given piece by piece; a window that closes in between is kept until it is given.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::{Store, WindowAggregate, WindowInput};
use crate::dataflow::logic::StatefulLogic;
use crate::error::Result;
use crate::state::keyed::{KeyedState, by_window};
use crate::state::saved::{SavedTable, shard_of};
use crate::time::EventTime;

const GROUPS: &str = "groups";

impl WindowAggregate {
    fn states(&mut self) -> Box<dyn Iterator<Item = (Vec<i64>, &mut KeyedState)> + '_> {
        match &mut self.store {
            Store::Panes(panes) => Box::new(panes.states()),
            Store::Each(each) => Box::new(each.states()),
        }
    }

    /// Groups touched since the last save.
    pub(super) fn changed(&self) -> usize {
        match &self.store {
            Store::Panes(panes) => panes.changed(),
            Store::Each(each) => each.changed(),
        }
    }

    /// Begins to save; the groups are given by [`WindowAggregate::save_piece`].
    pub(super) fn begin_save(&mut self, whole: bool, placement: Option<&[usize]>) -> bool {
        let (changed, all) = (self.changed(), self.state_rows());
        let whole = self.parts.increments.must_be_whole(whole, changed, all);
        self.parts.tracks = true;
        for (window, state) in self.states() {
            state.begin_save(whole, window);
        }
        let mut keys = self.parts.keys.clone();
        if let WindowInput::Attached { start, end } = self.parts.source {
            keys.extend([end, start]);
        }
        self.parts.shard = shard_of(placement, &keys);
        whole
    }

    /// The next groups of the save that has begun, some `most` of them. Windows that have closed
    /// since are given first.
    pub(super) fn save_piece(&mut self, most: usize) -> Result<Option<SavedTable>> {
        let (mut rows, mut count) = (Vec::new(), 0);
        let mut closed = std::mem::take(&mut self.parts.closed);
        for state in closed.iter_mut().chain(self.states().map(|(_, state)| state)) {
            if count < most && state.is_saving() {
                let pieces = state.save_piece(most - count)?;
                count += pieces.iter().map(RecordBatch::num_rows).sum::<usize>();
                rows.extend(pieces);
            }
        }
        for state in closed {
            self.parts.recycle(state);
        }
        let rows = match rows.as_slice() {
            [] => return Ok(None),
            [one] => one.clone(),
            [first, ..] => concat_batches(&first.schema(), &rows)?,
        };
        let shard = self.parts.shard.clone();
        Ok(Some(SavedTable { name: GROUPS.to_owned(), rows, shard }))
    }

    pub(super) fn load_table(&mut self, table: &SavedTable, to: EventTime) -> Result<()> {
        let bounds = match self.store {
            Store::Panes(_) => 1,
            Store::Each(_) => 2,
        };
        for (window, rows) in by_window(&table.rows, self.parts.keys.len(), bounds)? {
            let state = match (&mut self.store, window.as_slice()) {
                (Store::Panes(panes), [start]) => panes.state_at(&mut self.parts, *start, to),
                (Store::Each(each), [end, start]) => {
                    each.state_at(&mut self.parts, (*end, *start), to)
                }
                _ => None,
            };
            if let Some(state) = state {
                state.load(&rows, bounds)?;
            }
        }
        Ok(())
    }
}
