//! The state of a windowed aggregation as a table: a row a group of a pane or window.
//!
//! Table `groups`: keys, then the start of the pane, or end and start of the window, then the
//! group's state. Rows of windows that have closed since stay in the store until the next whole
//! save: which windows are open as of a frontier is a matter of arithmetic, so they need no mark.

use arrow::compute::concat_batches;

use super::{Store, WindowAggregate, WindowInput};
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

    pub(super) fn save_tables(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        let (mut changed, mut all) = (0, 0);
        for (_, state) in self.states() {
            changed += state.changed();
            all += state.len();
        }
        let whole = self.parts.increments.must_be_whole(whole, changed, all);
        self.parts.tracks = true;
        let mut rows = Vec::new();
        for (window, state) in self.states() {
            rows.extend(state.save(whole, &window)?);
        }
        let Some(first) = rows.first() else { return Ok((whole, Vec::new())) };
        let mut keys = self.parts.keys.clone();
        if let WindowInput::Attached { start, end } = self.parts.source {
            keys.extend([end, start]);
        }
        let rows = concat_batches(&first.schema(), &rows)?;
        let shard = shard_of(placement, &keys);
        Ok((whole, vec![SavedTable { name: GROUPS.to_owned(), rows, shard }]))
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
