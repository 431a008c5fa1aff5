//! The state of an OVER by row-time as tables, by key, for putting it aside.
//!
//! * `partitions`: keys, numbers of rows, edges of frames, since when input matters, and what the
//!   aggregates of each frame save
//! * `tail`, `head`: keys and rows held, with value and place
//! * `pending`: rows in good time that the frontier has not passed

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};

use super::{Appending, Partition};
use crate::error::{Error, Result};
use crate::state::column::Column;
use crate::state::keys::GroupKeys;
use crate::state::saved::{
    LoadedColumns, SavedColumns, SavedTable, log_updates, saved_updates, shard_of,
};
use crate::time::{CLOSED, EventTime};

const PARTITIONS: &str = "partitions";
const TAIL: &str = "tail";
const HEAD: &str = "head";
const PENDING: &str = "pending";

/// Rows held: of which partition, with which value, at which place, in which slot.
#[derive(Default)]
struct Held {
    groups: Vec<u32>,
    values: Vec<i64>,
    places: Vec<i64>,
    slots: Vec<u32>,
}

impl Held {
    fn push(&mut self, group: u32, value: i64, place: u64, slot: u32) {
        self.groups.push(group);
        self.values.push(value);
        self.places.push(place as i64);
        self.slots.push(slot);
    }
}

impl Appending {
    /// All that is held; `by` are the columns of the input that it is sharded by.
    pub(super) fn tables(&self, by: Option<&[usize]>) -> Result<Vec<SavedTable>> {
        let mut tables = Vec::new();
        let pending: Vec<_> = self.pending.kept().cloned().collect();
        if !pending.is_empty() {
            let pending = crate::batch::UpdateBatch::concat(&self.input, &pending)?;
            tables.push(saved_updates(PENDING, &pending, by)?);
        }
        let groups = self.keys.live();
        if groups.is_empty() {
            return Ok(tables);
        }
        let shard = shard_of(by, &self.over.partition);
        let (mut tail, mut head) = (Held::default(), Held::default());
        for &group in &groups {
            let partition = &self.partitions[group as usize];
            for (place, &(value, slot)) in (partition.base..).zip(&partition.tail) {
                tail.push(group, value, place, slot);
            }
            for (place, &slot) in (0..).zip(&partition.head) {
                head.push(group, 0, place, slot);
            }
        }
        let rows = self.numbers(&groups)?;
        tables.push(SavedTable { name: PARTITIONS.to_owned(), rows, shard: shard.clone() });
        for (name, held) in [(TAIL, tail), (HEAD, head)] {
            if held.groups.is_empty() {
                continue;
            }
            let count = held.groups.len();
            let mut columns = self.keys.columns(&held.groups)?;
            columns.extend(self.held.rows(&held.slots)?.columns().iter().cloned());
            let mut columns = SavedColumns::new(columns);
            columns.ints(held.values);
            columns.ints(held.places);
            let rows = columns.finish(count)?;
            tables.push(SavedTable { name: name.to_owned(), rows, shard: shard.clone() });
        }
        Ok(tables)
    }

    /// The partitions `groups`, a row each.
    fn numbers(&self, groups: &[u32]) -> Result<RecordBatch> {
        let of = |number: &dyn Fn(&Partition) -> u64| -> Vec<i64> {
            groups.iter().map(|&group| number(&self.partitions[group as usize]) as i64).collect()
        };
        let mut columns = SavedColumns::new(self.keys.columns(groups)?);
        columns.ints(of(&|partition| partition.count));
        columns.ints(of(&|partition| partition.distinct));
        columns.ints(of(&|partition| partition.base));
        let since = self.steps.iter().map(|(_, first)| *first).min().unwrap_or(CLOSED);
        columns.ints(groups.iter().map(|_| since));
        for frame in 0..self.program.frames.len() {
            let edge = |partition: &Partition| partition.edges.get(frame).copied();
            columns.ints(of(&|partition| edge(partition).unwrap_or_default().0));
            columns.ints(of(&|partition| edge(partition).unwrap_or_default().1));
        }
        self.states.iter().for_each(|states| states.save(groups, &mut columns));
        columns.finish(groups.len())
    }

    /// Takes back what [`Appending::tables`] gave, of partitions that are not there.
    pub(super) fn take_tables(&mut self, tables: &[SavedTable]) -> Result<()> {
        let mut since = None;
        for table in tables.iter().filter(|table| table.name == PARTITIONS) {
            since = since.into_iter().chain([self.take_numbers(&table.rows)?]).min();
        }
        let mut greatest = None;
        for table in tables {
            let last = match table.name.as_str() {
                TAIL => self.take_held(&table.rows, true)?,
                HEAD => self.take_held(&table.rows, false)?,
                PENDING => {
                    let batch = log_updates(&table.rows, &self.input)?;
                    let last = self.clock.greatest(&batch)?;
                    let first = batch.time_range().map(|(first, _)| first);
                    since = since.into_iter().chain(first).min();
                    self.pending.push(batch);
                    Some(last)
                }
                _ => None,
            };
            greatest = greatest.into_iter().chain(last).max();
        }
        if let (true, Some(greatest), Some(since)) = (self.forgets, greatest, since) {
            self.steps.push_back((greatest, since));
        }
        Ok(())
    }

    /// The partitions of rows that begin with their keys.
    fn groups(&mut self, columns: &mut LoadedColumns<'_>, rows: usize) -> Result<Vec<u32>> {
        let arrays = self.over.partition.iter().map(|_| columns.array());
        let read = GroupKeys::read(arrays.collect::<Result<Vec<_>>>()?)?;
        let read: Vec<&Column> = read.iter().collect();
        let mut groups = Vec::new();
        self.keys.intern(&read, 0..rows, &mut groups)?;
        let (bound, frames) = (self.keys.bound(), self.program.frames.len());
        self.states.iter_mut().for_each(|states| states.resize(bound));
        self.partitions.resize_with(bound, Partition::default);
        for &group in &groups {
            self.partitions[group as usize].edges.resize(frames, (0, 0));
        }
        Ok(groups)
    }

    fn take_numbers(&mut self, rows: &RecordBatch) -> Result<EventTime> {
        let mut columns = LoadedColumns::new(rows);
        let groups = self.groups(&mut columns, rows.num_rows())?;
        let (counts, distinct, bases) = (columns.ints()?, columns.ints()?, columns.ints()?);
        for (row, &group) in groups.iter().enumerate() {
            let partition = &mut self.partitions[group as usize];
            partition.count = counts[row] as u64;
            partition.distinct = distinct[row] as u64;
            partition.base = bases[row] as u64;
        }
        let since = columns.ints()?.iter().min().copied().unwrap_or(CLOSED);
        for frame in 0..self.program.frames.len() {
            let (starts, ends) = (columns.ints()?, columns.ints()?);
            for (row, &group) in groups.iter().enumerate() {
                let edges = (starts[row] as u64, ends[row] as u64);
                self.partitions[group as usize].edges[frame] = edges;
            }
        }
        for states in &mut self.states {
            states.clear(&groups);
            states.load(&groups, &mut columns)?;
        }
        Ok(since)
    }

    /// Rows of tails, or of heads; the greatest value among them.
    fn take_held(&mut self, rows: &RecordBatch, is_tail: bool) -> Result<Option<i64>> {
        let mut columns = LoadedColumns::new(rows);
        let groups = self.groups(&mut columns, rows.num_rows())?;
        let narrow = self.held.schema();
        let fields = narrow.fields().iter().map(|_| columns.array().cloned());
        let kept = fields.collect::<Result<Vec<ArrayRef>>>()?;
        let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let kept = RecordBatch::try_new_with_options(Arc::clone(&narrow), kept, &count)?;
        let (values, places) = (columns.ints()?, columns.ints()?);
        let slots = self.held.insert(&kept)?;
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.sort_unstable_by_key(|&row| (groups[row], places[row]));
        for &row in &order {
            let partition = &mut self.partitions[groups[row] as usize];
            let (place, slot) = (places[row] as u64, slots[row]);
            let next = match is_tail {
                true => partition.base + partition.tail.len() as u64,
                false => partition.head.len() as u64,
            };
            if place != next {
                return Err(Error::internal("a row of a partition is missing"));
            }
            match is_tail {
                true => partition.tail.push_back((values[row], slot)),
                false => partition.head.push(slot),
            }
        }
        let greatest = values.iter().max().copied().filter(|_| is_tail);
        if let (true, Some(greatest)) = (self.expires.is_some(), greatest) {
            let mut own = groups;
            own.sort_unstable();
            own.dedup();
            self.leaving.push_back((greatest, own));
        }
        Ok(greatest)
    }
}
