//! Joins with a table that is read to its end before anything else.
//!
//! State: the table's rows in columns, chained by key; it never changes. The other input streams
//! through: each of its updates meets the whole table and comes out at its own time with its own
//! multiplicity, so updating inputs need no state at all.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::JoinType;

use super::logic::{Emitted, StatefulLogic};
use super::window_join::holding;
use crate::batch::UpdateBatch;
use crate::batch::consolidate::accumulate;
use crate::error::Result;
use crate::limits::BATCH_ROWS;
use crate::plan::node::Node;
use crate::plan::temporal::LookupJoin;
use crate::state::column::Column;
use crate::state::keys::GroupKeys;
use crate::state::rows::RowStore;
use crate::state::saved::{Recovery, SavedTable};
use crate::time::{CLOSED, EventTime};

const NONE: u32 = u32::MAX;

/// The logic of a [`LookupJoin`] node.
pub struct LookupJoinLogic {
    join: LookupJoin,
    schemas: [SchemaRef; 2],
    output: SchemaRef,
    /// Left columns, then right columns: what the condition reads.
    wide: SchemaRef,
    keys: GroupKeys,
    /// Keys of the table are below this.
    bound: usize,
    rows: RowStore,
    heads: Vec<u32>,
    next: Vec<u32>,
}

/// The logic of `node`, over inputs of schemas `left` and `right`.
pub fn build(node: &Node, join: &LookupJoin, left: SchemaRef, right: SchemaRef) -> LookupJoinLogic {
    LookupJoinLogic::new(join, SchemaRef::clone(&node.schema), left, right)
}

impl LookupJoinLogic {
    /// Over inputs of schemas `left` and `right`.
    pub fn new(join: &LookupJoin, output: SchemaRef, left: SchemaRef, right: SchemaRef) -> Self {
        let fields = left.fields().iter().chain(right.fields().iter());
        let fields: Vec<_> =
            fields.map(|f| Arc::new(f.as_ref().clone().with_nullable(true))).collect();
        let schemas = [left, right];
        let table = &schemas[join.table];
        let types: Vec<DataType> =
            join.table_keys().iter().map(|&k| table.field(k).data_type().clone()).collect();
        LookupJoinLogic {
            join: join.clone(),
            output,
            wide: Arc::new(Schema::new(fields)),
            keys: GroupKeys::new(types),
            bound: 0,
            rows: RowStore::new(table),
            heads: Vec::new(),
            next: Vec::new(),
            schemas,
        }
    }

    /// The key of each row; `None` for rows that match nothing as a key is NULL.
    fn groups(&mut self, batch: &UpdateBatch, keys: &[usize]) -> Result<Vec<Option<u32>>> {
        let columns = GroupKeys::read(keys.iter().map(|&k| batch.column(k)))?;
        let columns: Vec<&Column> = columns.iter().collect();
        let mut groups = Vec::new();
        self.keys.intern(&columns, 0..batch.len(), &mut groups)?;
        let nullable: Vec<&&Column> =
            columns.iter().filter(|c| !self.join.null_equals_null && c.nulls.is_some()).collect();
        let groups = groups.into_iter().enumerate();
        Ok(groups
            .map(|(row, group)| (!nullable.iter().any(|c| c.is_null(row))).then_some(group))
            .collect())
    }

    /// Takes in the table.
    fn read_table(&mut self, batches: &[UpdateBatch]) -> Result<()> {
        let table = self.join.table;
        let all = UpdateBatch::concat(&self.schemas[table], batches)?;
        let all = if all.diffs().is_some() { accumulate(&all)? } else { all };
        let keys = self.join.table_keys().to_vec();
        let groups = self.groups(&all, &keys)?;
        self.bound = self.keys.bound();
        self.heads = vec![NONE; self.bound];
        let mut picked = Vec::with_capacity(all.len());
        for (row, group) in groups.iter().enumerate() {
            if group.is_some() {
                let times = usize::try_from(all.diff(row)).unwrap_or(0);
                picked.extend(std::iter::repeat_n(row as u32, times));
            }
        }
        let mut slots = Vec::new();
        let taken = all.take(&UInt32Array::from(picked.clone()))?;
        self.rows.insert(taken.rows(), &mut slots)?;
        self.next = vec![NONE; self.rows.bound()];
        // Backwards, so that a chain runs in row order.
        for (&row, &slot) in picked.iter().zip(&slots).rev() {
            if let Some(group) = groups[row as usize] {
                self.next[slot as usize] = std::mem::replace(&mut self.heads[group as usize], slot);
            }
        }
        Ok(())
    }

    fn probe(&mut self, batch: &UpdateBatch, out: &mut Emitted) -> Result<()> {
        let keys = self.join.stream_keys().to_vec();
        let groups = self.groups(batch, &keys)?;
        let mut matched = vec![false; batch.len()];
        let mut pairs = Vec::new();
        for (row, group) in groups.iter().enumerate() {
            let group = group.map_or(usize::MAX, |g| g as usize);
            let mut at = self.heads.get(group).copied().unwrap_or(NONE);
            while at != NONE {
                pairs.push((row as u32, at));
                at = self.next[at as usize];
            }
            if pairs.len() >= BATCH_ROWS {
                self.pairs(batch, &mut pairs, &mut matched, out)?;
            }
        }
        self.pairs(batch, &mut pairs, &mut matched, out)?;
        self.forget_strangers(&groups);
        let alone = |wanted: bool| {
            let rows = matched.iter().enumerate().filter(|(_, m)| **m == wanted);
            UInt32Array::from_iter_values(rows.map(|(row, _)| row as u32))
        };
        match self.join.kind {
            JoinType::LeftSemi => self.alone(batch, &alone(true), out),
            JoinType::LeftAnti | JoinType::Left => self.alone(batch, &alone(false), out),
            _ => Ok(()),
        }
    }

    /// Keys that the table does not have.
    fn forget_strangers(&mut self, groups: &[Option<u32>]) {
        if self.keys.bound() == self.bound {
            return;
        }
        let is_stranger = |g: &u32| *g as usize >= self.bound;
        let mut strangers: Vec<u32> =
            groups.iter().flatten().copied().filter(is_stranger).collect();
        strangers.sort_unstable();
        strangers.dedup();
        strangers.into_iter().for_each(|group| self.keys.remove(group));
    }

    /// Takes candidates (streamed row, slot): those of which the condition holds come out.
    fn pairs(
        &self,
        batch: &UpdateBatch,
        pairs: &mut Vec<(u32, u32)>,
        matched: &mut [bool],
        out: &mut Emitted,
    ) -> Result<()> {
        let pairs = std::mem::take(pairs);
        if pairs.is_empty() {
            return Ok(());
        }
        let gives_pairs = matches!(self.join.kind, JoinType::Inner | JoinType::Left);
        if !gives_pairs && self.join.filter.is_none() {
            pairs.iter().for_each(|&(row, _)| matched[row as usize] = true);
            return Ok(());
        }
        let (rows, slots): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
        let streamed = batch.take(&UInt32Array::from(rows.clone()))?;
        let (own, table) = (streamed.rows().columns().to_vec(), self.rows.columns(&slots)?);
        let mut columns = if self.join.table == 1 { [own, table] } else { [table, own] }.concat();
        let mut held: Option<UInt32Array> = None;
        if let Some(filter) = &self.join.filter {
            let all = RecordBatch::try_new(Arc::clone(&self.wide), columns)?;
            let mut failed = Vec::new();
            let holds = holding("LookupJoin", filter, &all, 0, &mut failed)?;
            let times = streamed.times();
            failed.into_iter().for_each(|(at, letter)| out.dead.push(letter, times[at]));
            columns = all.columns().to_vec();
            if holds.len() < rows.len() {
                held = Some(holds.into_iter().map(|row| row as u32).collect());
            }
        }
        let mut updates = streamed;
        if let Some(held) = &held {
            held.values().iter().for_each(|&at| matched[rows[at as usize] as usize] = true);
            updates = updates.take(held)?;
            let taken = columns.iter().map(|c| compute::take(c, held, None));
            columns = taken.collect::<std::result::Result<_, _>>()?;
        } else {
            rows.iter().for_each(|&row| matched[row as usize] = true);
        }
        if gives_pairs {
            let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
            out.push(updates.with_rows(rows));
        }
        Ok(())
    }

    /// Streamed rows without columns of the table, or with NULLs for them.
    fn alone(&self, batch: &UpdateBatch, rows: &UInt32Array, out: &mut Emitted) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let taken = batch.take(rows)?;
        let mut columns: Vec<ArrayRef> = taken.rows().columns().to_vec();
        if self.join.kind == JoinType::Left {
            let table = self.schemas[self.join.table].fields();
            let nulls = table.iter().map(|f| new_null_array(f.data_type(), taken.len())).collect();
            columns =
                if self.join.table == 1 { [columns, nulls] } else { [nulls, columns] }.concat();
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        out.push(taken.with_rows(rows));
        Ok(())
    }
}

impl StatefulLogic for LookupJoinLogic {
    fn is_due(&self, _frontier: EventTime, buffered: usize) -> bool {
        buffered > 0
    }

    fn advance(
        &mut self,
        _from: EventTime,
        to: EventTime,
        inputs: Vec<Vec<UpdateBatch>>,
        out: &mut Emitted,
    ) -> Result<()> {
        let (mut table, mut stream) = (Vec::new(), Vec::new());
        for (input, batches) in inputs.into_iter().enumerate() {
            if input == self.join.table { table = batches } else { stream = batches }
        }
        if !table.is_empty() {
            self.read_table(&table)?;
        }
        for batch in stream {
            self.probe(&batch, out)?;
        }
        if to == CLOSED {
            self.rows = RowStore::new(&self.schemas[self.join.table]);
            self.heads.clear();
        }
        Ok(())
    }

    /// The table is read again, and of the streamed rows nothing is held: there is nothing to save.
    fn recovery(&self) -> Recovery {
        Recovery::Tables
    }

    fn save(
        &mut self,
        _whole: bool,
        _placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        Ok((true, Vec::new()))
    }

    fn load(&mut self, _tables: Vec<SavedTable>, _to: EventTime) -> Result<()> {
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.rows.len()
    }

    fn state_bytes(&self) -> Option<usize> {
        Some(self.rows.bytes())
    }

    fn whole_input(&self) -> Option<usize> {
        Some(self.join.table)
    }
}

#[cfg(test)]
mod tests;
