//! The state of an OVER by row-time as tables: for snapshots where it goes back to the first rows
//! of partitions, and for putting it aside.
//!
//! * `partitions`: keys, numbers and frames of each partition as of its last row, since when input
//!   matters, and the aggregates of its frames. A later table overrides an earlier one key by key.
//! * `tail`: rows that later ones will look at, with their place and order value; `heads`: those
//!   at the start of a partition that are held for ever. A row is saved once; those before the
//!   first place that its partition holds are left out when they are loaded.
//! * `pending`: rows in good time that the frontier has not passed, once each: those that it has
//!   passed since are left out when they are loaded.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use super::{Appending, Partition};
use crate::batch::UpdateBatch;
use crate::error::{Error, Result};
use crate::state::column::Column;
use crate::state::keys::GroupKeys;
use crate::state::saved::{LoadedColumns, SavedColumns, SavedTable, log_updates, shard_of};
use crate::time::{CLOSED, EventTime};

const PARTITIONS: &str = "partitions";
const TAIL: &str = "tail";
const HEADS: &str = "heads";
const PENDING: &str = "pending";

/// Rows of partitions that are being saved.
#[derive(Default)]
struct Picked {
    groups: Vec<u32>,
    places: Vec<i64>,
    values: Vec<i64>,
    slots: Vec<u32>,
}

impl Picked {
    fn push(&mut self, group: u32, place: u64, value: i64, slot: u32) {
        self.groups.push(group);
        self.places.push(place as i64);
        self.values.push(value);
        self.slots.push(slot);
    }
}

/// What is learned from rows that are taken back.
#[derive(Default)]
struct Loaded {
    /// The greatest row-time, and since when input matters.
    greatest: Option<i64>,
    since: EventTime,
    /// By row-time the partitions that hold rows of it.
    leaving: BTreeMap<i64, Vec<u32>>,
}

impl Appending {
    pub(super) fn save_tables(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        let all = self.keys.len() + self.held.len() + self.pending.rows();
        let whole =
            self.increments.must_be_whole(whole, self.changed.len() + self.unsaved.rows(), all);
        Ok((whole, self.tables(whole, placement)?))
    }

    /// All that is held, or what has changed since the last save.
    pub(super) fn tables(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<Vec<SavedTable>> {
        let touched = self.changed.take();
        let groups = if whole { self.keys.live() } else { touched };
        let mut tables = Vec::new();
        let pending: Vec<UpdateBatch> = self.pending.kept().cloned().collect();
        tables.extend(self.unsaved.save(PENDING, whole, &pending, placement)?);
        if groups.is_empty() {
            return Ok(tables);
        }
        let shard = shard_of(placement, &self.over.partition);
        let mut push = |name: &str, rows: RecordBatch| {
            tables.push(SavedTable { name: name.to_owned(), rows, shard: shard.clone() });
        };
        push(PARTITIONS, self.save_partitions(&groups)?);
        let (mut tail, mut heads) = (Picked::default(), Picked::default());
        for &group in &groups {
            let partition = &mut self.partitions[group as usize];
            let first = if whole { 0 } else { partition.saved };
            let skipped = first.saturating_sub(partition.base) as usize;
            for (at, (value, slot)) in partition.tail.iter().enumerate().skip(skipped) {
                tail.push(group, partition.base + at as u64, *value, *slot);
            }
            for (place, slot) in partition.head.iter().enumerate().skip(first as usize) {
                heads.push(group, place as u64, 0, *slot);
            }
            partition.saved = partition.count;
        }
        for (name, picked) in [(TAIL, tail), (HEADS, heads)] {
            if !picked.groups.is_empty() {
                push(name, self.save_rows(picked)?);
            }
        }
        Ok(tables)
    }

    fn save_partitions(&self, groups: &[u32]) -> Result<RecordBatch> {
        let of = |number: &dyn Fn(&Partition) -> u64| -> Vec<i64> {
            groups.iter().map(|&group| number(&self.partitions[group as usize]) as i64).collect()
        };
        let mut columns = SavedColumns::new(self.keys.columns(groups)?);
        columns.ints(of(&|partition| partition.count));
        columns.ints(of(&|partition| partition.distinct));
        columns.ints(of(&|partition| partition.base));
        let since = self.steps.iter().map(|(_, first)| *first).min().unwrap_or(CLOSED);
        columns.ints(groups.iter().map(|_| since));
        for (frame, states) in self.states.iter().enumerate() {
            columns.ints(of(&|partition| partition.edges[frame].0));
            columns.ints(of(&|partition| partition.edges[frame].1));
            states.save(groups, &mut columns);
        }
        columns.finish(groups.len())
    }

    fn save_rows(&self, picked: Picked) -> Result<RecordBatch> {
        let Picked { groups, places, values, slots } = picked;
        let mut columns = self.keys.columns(&groups)?;
        columns.extend(self.held.rows(&slots)?.columns().iter().cloned());
        let mut columns = SavedColumns::new(columns);
        columns.ints(places);
        columns.ints(values);
        columns.finish(groups.len())
    }

    /// Takes back what was saved, of partitions that are not there.
    pub(super) fn load_tables(&mut self, tables: &[SavedTable], to: EventTime) -> Result<()> {
        let mut loaded = Loaded { since: CLOSED, ..Loaded::default() };
        // First where each partition begins: what lies before is of no use.
        for table in tables.iter().filter(|table| table.name == PARTITIONS) {
            loaded.since = loaded.since.min(self.load_partitions(table)?);
        }
        for table in tables {
            match table.name.as_str() {
                PARTITIONS => {}
                TAIL | HEADS => self.load_rows(table, &mut loaded)?,
                PENDING => {
                    let rows = log_updates(&table.rows, &self.input)?;
                    if let Some(left) = rows.split_at(to)?.1 {
                        loaded.greatest = loaded.greatest.max(Some(self.clock.greatest(&left)?));
                        let first = left.time_range().map_or(CLOSED, |(first, _)| first);
                        loaded.since = loaded.since.min(first);
                        self.pending.push(left);
                    }
                }
                other => return Err(Error::internal(format!("an OVER has no table {other}"))),
            }
        }
        if self.expires.is_some() {
            for groups in loaded.leaving.values_mut() {
                groups.sort_unstable();
                groups.dedup();
            }
            self.leaving.extend(loaded.leaving);
        }
        if let (true, Some(greatest)) = (self.forgets, loaded.greatest) {
            self.steps.push_back((greatest, loaded.since));
        }
        Ok(())
    }

    /// Since when input matters to these partitions.
    fn load_partitions(&mut self, table: &SavedTable) -> Result<EventTime> {
        let mut columns = LoadedColumns::new(&table.rows);
        let groups = self.intern_saved(&mut columns, table.rows.num_rows())?;
        let mut numbers = || columns.ints().map(<[i64]>::to_vec);
        let (counts, distincts, bases) = (numbers()?, numbers()?, numbers()?);
        for (row, &group) in groups.iter().enumerate() {
            let partition = &mut self.partitions[group as usize];
            partition.count = counts[row] as u64;
            partition.distinct = distincts[row] as u64;
            partition.base = bases[row] as u64;
            partition.saved = partition.count;
        }
        let since = columns.ints()?.iter().min().copied().unwrap_or(CLOSED);
        for (frame, states) in self.states.iter_mut().enumerate() {
            for (&group, &start) in groups.iter().zip(columns.ints()?) {
                self.partitions[group as usize].edges[frame].0 = start as u64;
            }
            for (&group, &end) in groups.iter().zip(columns.ints()?) {
                self.partitions[group as usize].edges[frame].1 = end as u64;
            }
            states.clear(&groups);
            states.load(&groups, &mut columns)?;
        }
        Ok(since)
    }

    fn load_rows(&mut self, table: &SavedTable, loaded: &mut Loaded) -> Result<()> {
        let mut columns = LoadedColumns::new(&table.rows);
        let groups = self.intern_saved(&mut columns, table.rows.num_rows())?;
        let keys = self.keys.types().len();
        let own: Vec<usize> = (keys..keys + self.program.used.len()).collect();
        for _ in &own {
            columns.array()?;
        }
        let (places, values) = (columns.ints()?, columns.ints()?);
        let is_head = table.name == HEADS;
        let is_held = |&row: &u32| {
            let base = self.partitions[groups[row as usize] as usize].base;
            is_head || places[row as usize] as u64 >= base
        };
        let mut held: Vec<u32> = (0..groups.len() as u32).filter(is_held).collect();
        held.sort_by_key(|&row| (groups[row as usize], places[row as usize]));
        let rows = table.rows.project(&own)?;
        let slots = self.held.insert(&super::take_rows(&rows, &held.clone().into())?)?;
        for (row, slot) in held.into_iter().zip(slots) {
            let partition = &mut self.partitions[groups[row as usize] as usize];
            let place = places[row as usize] as u64;
            let next = match is_head {
                true => partition.head.len(),
                false => partition.base as usize + partition.tail.len(),
            };
            if place as usize != next {
                return Err(Error::internal("a partition's saved rows have a gap"));
            }
            match is_head {
                true => partition.head.push(slot),
                false => {
                    let value = values[row as usize];
                    partition.tail.push_back((value, slot));
                    loaded.greatest = loaded.greatest.max(Some(value));
                    loaded.leaving.entry(value).or_default().push(groups[row as usize]);
                }
            }
        }
        Ok(())
    }

    fn intern_saved(&mut self, columns: &mut LoadedColumns<'_>, rows: usize) -> Result<Vec<u32>> {
        let keys = (0..self.keys.types().len()).map(|_| columns.array());
        let read = GroupKeys::read(keys.collect::<Result<Vec<_>>>()?)?;
        let read: Vec<&Column> = read.iter().collect();
        let mut groups = Vec::new();
        self.keys.intern(&read, 0..rows, &mut groups)?;
        self.make_room(&groups);
        Ok(groups)
    }

    /// Has a place for what is known of each of `groups`.
    pub(super) fn make_room(&mut self, groups: &[u32]) {
        let (bound, frames) = (self.keys.bound(), self.program.frames.len());
        self.states.iter_mut().for_each(|states| states.resize(bound));
        self.partitions.resize_with(bound, Partition::default);
        for &group in groups {
            self.partitions[group as usize].edges.resize(frames, (0, 0));
        }
    }
}
