//! The state of an updating `GROUP BY` as tables: a row a group.
//!
//! * `gone`: the keys of groups that were forgotten since the last save. It applies first: a key
//!   that has come back since is among the groups.
//! * `groups`: keys, rows, the last tick where that counts, and what each aggregate saves.
//! * `flags`: of a global aggregate whether there was input, and whether a row was shown.

use arrow::array::ArrayRef;

use super::GroupAggregate;
use crate::dataflow::logic::TakeTables;
use crate::error::{Error, Result};
use crate::limits::SPILL_PIECE_ROWS;
use crate::state::column::Column;
use crate::state::keys::GroupKeys;
use crate::state::saved::{LoadedColumns, SavedColumns, SavedTable, by_hash, shard_of};
use crate::state::touched::outgrown;

const GONE: &str = "gone";
const GROUPS: &str = "groups";
const FLAGS: &str = "flags";

impl GroupAggregate {
    pub(super) fn save_tables(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        let changed = self.changed.len() + self.gone.len();
        let was_on = self.changed.is_on();
        let all = self.keys.len();
        let whole = self.increments.must_be_whole(whole || !was_on, changed, all);
        Ok((whole, self.tables(whole, placement)?))
    }

    /// All groups, or those that have changed.
    pub(super) fn tables(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<Vec<SavedTable>> {
        let touched = self.changed.take();
        let groups = if whole { self.keys.live() } else { touched };
        let keys: Vec<usize> =
            self.narrowed.keys.iter().map(|&key| self.narrowed.used[key]).collect();
        let shard = shard_of(placement, &keys);
        let mut tables = Vec::new();
        let mut push = |name: &str, columns: SavedColumns, rows: usize, shard| -> Result<()> {
            if rows > 0 {
                let rows = columns.finish(rows)?;
                tables.push(SavedTable { name: name.to_owned(), rows, shard });
            }
            Ok(())
        };
        if !whole && !self.gone.is_empty() {
            let gone = SavedColumns::new(self.gone.columns(&self.gone.live())?);
            push(GONE, gone, self.gone.len(), shard.clone())?;
        }
        self.gone.clear();
        push(GROUPS, self.group_columns(&groups)?, groups.len(), shard)?;
        if keys.is_empty() {
            let mut flags = SavedColumns::default();
            flags.ints([i64::from(self.ever)]);
            flags.ints([i64::from(self.shown)]);
            push(FLAGS, flags, 1, None)?;
        }
        Ok(tables)
    }

    /// The groups `groups`, a row each.
    fn group_columns(&self, groups: &[u32]) -> Result<SavedColumns> {
        let mut columns = SavedColumns::new(self.keys.columns(groups)?);
        columns.ints(groups.iter().map(|&group| self.counts[group as usize]));
        if self.final_only {
            columns.ints(groups.iter().map(|&group| self.last_ticks[group as usize]));
        }
        self.states.save(groups, &mut columns);
        Ok(columns)
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
            let rows = self.group_columns(part)?.finish(part.len())?;
            each(vec![SavedTable { name: GROUPS.to_owned(), rows, shard: Some(shard.clone()) }])?;
        }
        Ok(())
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
