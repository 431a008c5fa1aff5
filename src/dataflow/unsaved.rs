//! Rows that have come since the last save, of those that a state holds until their time.
//!
//! Such a row never changes: it is saved once, and left out when it is loaded after its time. So a
//! save costs what has come. Nothing is kept before the first save. Called by the operators that
//! hold rows back.

use super::driver::Stash;
use crate::batch::UpdateBatch;
use crate::error::Result;
use crate::state::saved::{SavedTable, saved_updates};
use crate::time::EventTime;

/// The rows that were not saved yet.
#[derive(Default)]
pub struct Unsaved {
    stash: Option<Stash>,
}

impl Unsaved {
    /// Rows are kept from now on.
    pub fn start(&mut self) {
        self.stash = Some(Stash::default());
    }

    /// Rows have come.
    pub fn push(&mut self, rows: &UpdateBatch) {
        if let Some(stash) = &mut self.stash {
            stash.push(rows.clone());
        }
    }

    /// Rows below `frontier` need not be saved any more.
    pub fn pass(&mut self, frontier: EventTime) -> Result<()> {
        if let Some(stash) = &mut self.stash {
            stash.take_below(frontier)?;
        }
        Ok(())
    }

    /// How many there are.
    pub fn rows(&self) -> usize {
        self.stash.as_ref().map_or(0, Stash::rows)
    }

    /// The rows that have come since the last save, or all that are `held` if it is to be `whole`,
    /// as the table `name`.
    pub fn save(
        &mut self,
        name: &str,
        whole: bool,
        held: &[UpdateBatch],
        shard: Option<&[usize]>,
    ) -> Result<Option<SavedTable>> {
        let fresh = self.stash.replace(Stash::default()).unwrap_or_default();
        let fresh: Vec<UpdateBatch> = fresh.kept().cloned().collect();
        let rows = if whole { held } else { &fresh };
        let Some(first) = rows.first() else { return Ok(None) };
        let all = UpdateBatch::concat(&first.schema(), rows)?;
        if all.is_empty() { Ok(None) } else { saved_updates(name, &all, shard).map(Some) }
    }
}
