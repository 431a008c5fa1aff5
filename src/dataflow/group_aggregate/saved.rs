//! The state of an updating `GROUP BY` as tables: a row a group.
//!
//! * `gone`: the keys of groups that were forgotten since the last save. It applies first: a key
//!   that has come back since is among the groups.
//! * `groups`: keys, rows, the last tick where that counts, and what each aggregate saves.
//! * `flags`: of a global aggregate whether there was input, and whether a row was shown.
//!
//! All are given piece by piece, so that no piece takes long: a group that is about to change is
//! given before it does.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;

use super::GroupAggregate;
use crate::dataflow::logic::{TakeTables, with_the_rest};
use crate::error::{Error, Result};
use crate::limits::SPILL_PIECE_ROWS;
use crate::state::column::Column;
use crate::state::keys::GroupKeys;
use crate::state::saved::{LoadedColumns, SavedColumns, SavedTable, by_hash, shard_of};
use crate::state::touched::{Given, outgrown};

const GONE: &str = "gone";
const GROUPS: &str = "groups";
const FLAGS: &str = "flags";

/// A save that has begun.
pub(super) struct Saving {
    shard: Option<Vec<usize>>,
    /// The groups forgotten before it.
    gone: GroupKeys,
    gone_left: Vec<u32>,
    given: Given,
    /// Rows given out of turn, not handed over yet.
    early: Vec<RecordBatch>,
}

impl Default for Saving {
    fn default() -> Self {
        Saving {
            shard: None,
            gone: GroupKeys::new(Vec::new()),
            gone_left: Vec::new(),
            given: Given::default(),
            early: Vec::new(),
        }
    }
}

impl GroupAggregate {
    /// Begins to save; the groups are given by [`GroupAggregate::save_piece`].
    pub(super) fn save_tables(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        let was_on = self.changed.is_on();
        let all = self.keys.len();
        let whole = self.increments.must_be_whole(whole || !was_on, self.touched_rows(), all);
        Ok((whole, self.begin_save(whole, placement)?))
    }

    /// All that has changed since the last save, which is all given.
    pub(super) fn changed_tables(
        &mut self,
        placement: Option<&[usize]>,
    ) -> Result<Vec<SavedTable>> {
        let tables = self.begin_save(false, placement)?;
        with_the_rest(self, tables)
    }

    fn begin_save(&mut self, whole: bool, placement: Option<&[usize]>) -> Result<Vec<SavedTable>> {
        let touched = self.changed.take_all();
        let types = self.gone.types().to_vec();
        let gone = std::mem::replace(&mut self.gone, GroupKeys::new(types));
        let keys: Vec<usize> =
            self.narrowed.keys.iter().map(|&key| self.narrowed.used[key]).collect();
        self.saving = Saving {
            shard: shard_of(placement, &keys),
            gone_left: if whole { Vec::new() } else { gone.live() },
            gone,
            given: if whole { self.keys.given() } else { touched },
            early: Vec::new(),
        };
        let mut tables = Vec::new();
        if keys.is_empty() {
            let mut flags = SavedColumns::default();
            flags.ints([i64::from(self.ever)]);
            flags.ints([i64::from(self.shown)]);
            let rows = flags.finish(1)?;
            tables.push(SavedTable { name: FLAGS.to_owned(), rows, shard: None });
        }
        Ok(tables)
    }

    /// All groups, piece by piece, in the order of the hashes of the columns `by`.
    pub(super) fn groups_to(&self, by: &[usize], each: &mut TakeTables<'_>) -> Result<()> {
        let keys: Vec<usize> =
            self.narrowed.keys.iter().map(|&key| self.narrowed.used[key]).collect();
        let shard = shard_of(Some(by), &keys)
            .ok_or_else(|| Error::internal("groups that are not sharded by their keys"))?;
        let groups = self.keys.live();
        let columns = self.keys.columns(&groups)?;
        let placing: Vec<ArrayRef> = shard.iter().map(|&c| ArrayRef::clone(&columns[c])).collect();
        drop(columns);
        let order = by_hash(&placing, groups.len())?;
        drop(placing);
        let sorted: Vec<u32> = order.into_iter().map(|at| groups[at as usize]).collect();
        for part in sorted.chunks(SPILL_PIECE_ROWS) {
            let rows = self.rows_of(part)?;
            each(vec![SavedTable { name: GROUPS.to_owned(), rows, shard: Some(shard.clone()) }])?;
        }
        Ok(())
    }

    /// Groups touched and forgotten since the last save.
    pub(super) fn touched_rows(&self) -> usize {
        self.changed.len() + self.gone.len()
    }

    /// The next rows of the save that has begun, some `most` of them.
    pub(super) fn save_piece(&mut self, most: usize) -> Result<Option<SavedTable>> {
        let table = |name: &str, rows, shard: &Option<Vec<usize>>| {
            Some(SavedTable { name: name.to_owned(), rows, shard: shard.clone() })
        };
        let saving = &mut self.saving;
        if !saving.gone_left.is_empty() {
            let rest = saving.gone_left.len().saturating_sub(most);
            let piece = saving.gone_left.split_off(rest);
            let rows = SavedColumns::new(saving.gone.columns(&piece)?).finish(piece.len())?;
            return Ok(table(GONE, rows, &saving.shard));
        }
        let groups = saving.given.next(most);
        let mut parts = std::mem::take(&mut saving.early);
        if !groups.is_empty() {
            parts.push(self.rows_of(&groups)?);
        }
        let Some(first) = parts.first() else {
            self.saving = Saving::default();
            return Ok(None);
        };
        let rows = match parts.as_slice() {
            [one] => one.clone(),
            _ => concat_batches(&first.schema(), &parts)?,
        };
        Ok(table(GROUPS, rows, &self.saving.shard))
    }

    /// What a snapshot has not been given yet of `groups`, which are about to change.
    pub(super) fn save_early(&mut self, groups: &[u32]) -> Result<()> {
        let early = self.saving.given.out_of_turn(groups);
        if !early.is_empty() {
            let rows = self.rows_of(&early)?;
            self.saving.early.push(rows);
        }
        Ok(())
    }

    /// The groups `groups`, a row each.
    fn rows_of(&self, groups: &[u32]) -> Result<RecordBatch> {
        let mut columns = SavedColumns::new(self.keys.columns(groups)?);
        columns.ints(groups.iter().map(|&group| self.counts[group as usize]));
        if self.final_only {
            columns.ints(groups.iter().map(|&group| self.last_ticks[group as usize]));
        }
        self.states.save(groups, &mut columns);
        columns.finish(groups.len())
    }

    pub(super) fn load_table(&mut self, table: &SavedTable) -> Result<()> {
        let mut columns = LoadedColumns::new(&table.rows);
        let rows = table.rows.num_rows();
        match table.name.as_str() {
            GONE => {
                let groups = self.intern_saved(&mut columns, rows)?;
                self.clear_groups(&groups);
                groups.into_iter().for_each(|group| self.keys.remove(group));
            }
            GROUPS => {
                let groups = self.intern_saved(&mut columns, rows)?;
                self.clear_groups(&groups);
                for (&group, count) in groups.iter().zip(columns.ints()?) {
                    self.counts[group as usize] = *count;
                }
                if self.final_only {
                    for (&group, tick) in groups.iter().zip(columns.ints()?) {
                        self.last_ticks[group as usize] = *tick;
                    }
                }
                self.states.load(&groups, &mut columns)?;
            }
            FLAGS => {
                self.ever |= columns.ints()?.iter().any(|&flag| flag != 0);
                self.shown |= columns.ints()?.iter().any(|&flag| flag != 0);
            }
            other => return Err(Error::internal(format!("an aggregation has no table {other}"))),
        }
        Ok(())
    }

    fn intern_saved(&mut self, columns: &mut LoadedColumns<'_>, rows: usize) -> Result<Vec<u32>> {
        let keys = 0..self.narrowed.keys.len();
        let arrays = keys.map(|_| columns.array()).collect::<Result<Vec<_>>>()?;
        let columns = GroupKeys::read(arrays)?;
        let columns: Vec<&Column> = columns.iter().collect();
        let mut groups = Vec::new();
        self.keys.intern(&columns, 0..rows, &mut groups)?;
        self.grow();
        Ok(groups)
    }

    fn clear_groups(&mut self, groups: &[u32]) {
        self.states.clear(groups);
        groups.iter().for_each(|&group| self.counts[group as usize] = 0);
    }

    /// Notes the keys of groups that are about to be forgotten.
    pub(super) fn note_gone(&mut self, groups: &[u32]) -> Result<()> {
        if !self.changed.is_on() {
            return Ok(());
        }
        groups.iter().for_each(|&group| self.changed.forget(group));
        let arrays = self.keys.columns(groups)?;
        let columns = GroupKeys::read(&arrays)?;
        let columns: Vec<&Column> = columns.iter().collect();
        self.gone.intern(&columns, 0..groups.len(), &mut Vec::new())?;
        // Then all is saved, and what is gone needs no mention.
        if outgrown(self.gone.len(), self.keys.len()) {
            self.changed.stop();
            self.gone.clear();
        }
        Ok(())
    }
}
