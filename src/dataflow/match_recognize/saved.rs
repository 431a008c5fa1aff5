//! The state of a MATCH_RECOGNIZE as tables, and back.
//!
//! A search is saved as the row that it begins at: what it has found so far depends on the rows
//! alone, so it is run once more over those that are kept. Where the next search begins depends on
//! all matches before (AFTER MATCH SKIP): that is part of a partition's row.
//!
//! A partition that was touched is saved anew, with all of its rows and searches, under the number
//! of the save: what an earlier table says of it does not count. Called by the operator.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::buffer::ScalarBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Schema, SchemaRef};

use super::MatchLogic;
use super::partition::{Partition, Results};
use super::rows::new_row;
use super::search::{Entry, Search};
use crate::batch::UpdateBatch;
use crate::dataflow::logic::Emitted;
use crate::dataflow::unsaved::Unsaved;
use crate::error::Result;
use crate::state::keys::GroupKeys;
use crate::state::saved::{SavedTable, log_updates, numbered, numbers_of, shard_of};
use crate::state::touched::{Increments, Touched, outgrown};
use crate::time::{BEGINNING, EventTime};

/// Rows whose time the frontier has not passed.
const EARLY: &str = "early";
/// Rows that are kept: number in the partition, time, whether a match has it, number of the save.
const ROWS: &str = "rows";
/// Partitions: what [`Partition::counters`] says, number of the save.
const PARTITIONS: &str = "partitions";
/// Open searches: the partition's key, the number of the first row and that of the save.
const SEARCHES: &str = "searches";
/// Partitions that were forgotten, before those of the same save.
const GONE: &str = "gone";
/// The number of a save in which a partition is gone.
const NO_SAVE: i64 = -1;
/// In the place of such a number: the partition was not saved here.
const OTHER: i64 = -2;

/// What has changed since the last save.
pub struct Changes {
    /// Partitions touched, and the keys of those forgotten.
    pub partitions: Touched,
    gone: GroupKeys,
    /// Rows put aside.
    pub early: Unsaved,
    increments: Increments,
    /// The number of the last save.
    save: i64,
}

impl Changes {
    /// Of partitions with keys of `types`.
    pub fn new(types: Vec<DataType>) -> Self {
        Changes {
            partitions: Touched::default(),
            gone: GroupKeys::new(types),
            early: Unsaved::default(),
            increments: Increments::default(),
            save: 0,
        }
    }
}

impl MatchLogic {
    fn key_schema(&self) -> SchemaRef {
        let fields = self.matched.partition.iter().map(|&c| self.input.field(c).clone());
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The keys of partitions `groups`.
    fn keys_of(&self, groups: &[u32]) -> Result<RecordBatch> {
        self.key_rows(self.keys.columns(groups)?, groups.len())
    }

    fn key_rows(&self, keys: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let count = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.key_schema(), keys, &count)?)
    }

    /// Notes the keys of partitions that are about to be forgotten.
    pub(super) fn note_gone(&mut self, groups: &[u32]) -> Result<()> {
        let unsaved = &mut self.unsaved;
        if !unsaved.partitions.is_on() || groups.is_empty() {
            return Ok(());
        }
        groups.iter().for_each(|&group| unsaved.partitions.forget(group));
        let arrays = self.keys.columns(groups)?;
        let columns = GroupKeys::read(&arrays)?;
        let columns: Vec<_> = columns.iter().collect();
        unsaved.gone.intern(&columns, 0..groups.len(), &mut Vec::new())?;
        // Then all is saved, and what is gone needs no mention.
        if outgrown(unsaved.gone.len(), self.keys.len()) {
            unsaved.partitions.stop();
            unsaved.gone.clear();
        }
        Ok(())
    }

    /// The state, or what has changed of it, placed by the columns `placement` of the input.
    pub(super) fn save_tables(
        &mut self,
        whole: bool,
        placement: Option<&[usize]>,
    ) -> Result<(bool, Vec<SavedTable>)> {
        let unsaved = &mut self.unsaved;
        let is_known = unsaved.partitions.is_on();
        let changed = unsaved.partitions.len() + unsaved.gone.len() + unsaved.early.rows();
        let all = self.early.rows() + self.rows.len() + self.keys.len();
        let whole = unsaved.increments.must_be_whole(whole || !is_known, changed, all);
        unsaved.save += 1;
        let touched = unsaved.partitions.take();
        let groups = if whole { self.keys.live() } else { touched };
        let early: Vec<UpdateBatch> = self.early.kept().cloned().collect();
        let mut tables = Vec::new();
        tables.extend(unsaved.early.save(EARLY, whole, &early, placement)?);
        let types = unsaved.gone.types().to_vec();
        let gone = std::mem::replace(&mut unsaved.gone, GroupKeys::new(types));
        let by_key = shard_of(placement, &self.matched.partition);
        if !whole && !gone.is_empty() {
            let keys = self.key_rows(gone.columns(&gone.live())?, gone.len())?;
            tables.push(numbered(GONE, &keys, Vec::new(), by_key.as_deref())?);
        }
        tables.extend(self.save_partitions(&groups, placement, by_key.as_deref())?);
        Ok((whole, tables))
    }

    /// Partitions `groups`, their searches and their rows.
    fn save_partitions(
        &self,
        groups: &[u32],
        placement: Option<&[usize]>,
        by_key: Option<&[usize]>,
    ) -> Result<Vec<SavedTable>> {
        let mut tables = Vec::new();
        if groups.is_empty() {
            return Ok(tables);
        }
        let of_save = |rows: usize| vec![self.unsaved.save; rows];
        let (mut slots, mut rows) = (Vec::new(), vec![Vec::new(); 3]);
        let mut counters = vec![Vec::new(); Partition::COUNTERS];
        let (mut starts, mut owners) = (Vec::new(), Vec::new());
        for &group in groups {
            let partition = &self.partitions[group as usize];
            for (number, entry) in (partition.base..).zip(&partition.entries) {
                slots.push(Some(entry.row));
                rows[0].push(number as i64);
                rows[1].push(entry.ts);
                rows[2].push(i64::from(entry.covered));
            }
            counters.iter_mut().zip(partition.counters()).for_each(|(all, one)| all.push(one));
            starts.extend(partition.searches.iter().map(|search| search.start as i64));
            owners.resize(starts.len(), group);
        }
        counters.push(of_save(groups.len()));
        tables.push(numbered(PARTITIONS, &self.keys_of(groups)?, counters, by_key)?);
        if !starts.is_empty() {
            let keys = self.keys_of(&owners)?;
            let saves = of_save(starts.len());
            tables.push(numbered(SEARCHES, &keys, vec![starts, saves], by_key)?);
        }
        if !slots.is_empty() {
            let columns = (0..self.input.fields().len())
                .map(|column| self.rows.column(column, &slots))
                .collect::<Result<Vec<_>>>()?;
            let kept = RecordBatch::try_new(Arc::clone(&self.input), columns)?;
            rows.push(of_save(slots.len()));
            tables.push(numbered(ROWS, &kept, rows, placement)?);
        }
        Ok(tables)
    }

    fn groups(&mut self, rows: &RecordBatch, columns: &[usize]) -> Result<Vec<u32>> {
        let columns = GroupKeys::read(columns.iter().map(|&c| rows.column(c)))?;
        let columns: Vec<_> = columns.iter().collect();
        let mut groups = Vec::new();
        self.keys.intern(&columns, 0..rows.num_rows(), &mut groups)?;
        self.partitions.resize_with(self.keys.bound(), Partition::new);
        Ok(groups)
    }

    /// Takes back the state as of `to`.
    pub(super) fn take_tables(&mut self, tables: &[SavedTable], to: EventTime) -> Result<()> {
        let of = |name: &'static str| tables.iter().filter(move |table| table.name == name);
        for table in of(EARLY) {
            let early = log_updates(&table.rows, &self.input)?;
            early.split_at(to)?.1.into_iter().for_each(|early| self.early.push(early));
        }
        let key_schema = self.key_schema();
        let keys: Vec<usize> = (0..key_schema.fields().len()).collect();
        // By partition the save that counts; those that are here already have none.
        let mut saves: Vec<i64> = vec![OTHER; self.keys.bound()];
        for table in tables.iter().filter(|t| t.name == PARTITIONS || t.name == GONE) {
            let is_gone = table.name == GONE;
            let count = if is_gone { 0 } else { Partition::COUNTERS + 1 };
            let (rows, mut numbers) = numbers_of(&table.rows, &key_schema, count)?;
            let groups = self.groups(&rows, &keys)?;
            saves.resize(self.keys.bound(), NO_SAVE);
            let of_save = numbers.pop();
            for (row, &group) in groups.iter().enumerate() {
                let counters: Vec<i64> = numbers.iter().map(|column| column[row]).collect();
                self.partitions[group as usize].set_counters(&counters);
                saves[group as usize] = of_save.as_ref().map_or(NO_SAVE, |saves| saves[row]);
            }
        }
        let mut parts: Vec<(RecordBatch, Vec<ScalarBuffer<i64>>)> = Vec::new();
        for table in of(ROWS) {
            parts.push(numbers_of(&table.rows, &self.input, 4)?);
        }
        self.take_rows(&parts, &saves)?;
        let setup = Rc::clone(&self.setup);
        for table in of(SEARCHES) {
            let (rows, numbers) = numbers_of(&table.rows, &key_schema, 2)?;
            let groups = self.groups(&rows, &keys)?;
            let [starts, of_save] = numbers.as_slice() else { continue };
            for ((group, start), save) in groups.into_iter().zip(starts.iter()).zip(of_save.iter())
            {
                if saves.get(group as usize) == Some(save) {
                    self.partitions[group as usize].search_again(*start as u64, &setup);
                }
            }
        }
        let save_of = |group: &u32| saves.get(*group as usize).copied().unwrap_or(OTHER);
        let own = self.keys.live().into_iter().filter(|group| save_of(group) != OTHER);
        let (gone, all): (Vec<u32>, Vec<u32>) = own.partition(|group| save_of(group) == NO_SAVE);
        for group in gone {
            self.partitions[group as usize].reset();
            self.keys.remove(group);
        }
        let closed = to.saturating_sub(self.delay);
        let mut results = Results::default();
        results.requests.resize_with(self.define.len(), Vec::new);
        self.drive(&all, closed, BEGINNING, &mut results, &mut Emitted::default())?;
        self.forget(&all, closed)
    }

    /// Gives rows of the saves that count back to their partitions, each in its order.
    fn take_rows(
        &mut self,
        parts: &[(RecordBatch, Vec<ScalarBuffer<i64>>)],
        saves: &[i64],
    ) -> Result<()> {
        let rows = concat_batches(&self.input, parts.iter().map(|(rows, _)| rows))?;
        let count = rows.num_rows();
        let groups = self.groups(&rows, &self.matched.partition.clone())?;
        self.rows.set_new(rows);
        let (yes, known) = self.evaluate_rows(count)?;
        let mut entries: BTreeMap<u32, Vec<(i64, Entry)>> = BTreeMap::new();
        let mut row = 0;
        for (part, numbers) in parts {
            for at in 0..part.num_rows() {
                let number = |column: usize| numbers.get(column).map_or(0, |of| of[at]);
                if saves.get(groups[row] as usize) == Some(&number(3)) {
                    let (yes, known) = (yes[row], known[row]);
                    let (ts, covered) = (number(1), number(2) != 0);
                    let entry = Entry { row: new_row(row), covered, ts, yes, known };
                    entries.entry(groups[row]).or_default().push((number(0), entry));
                }
                row += 1;
            }
        }
        for (group, mut entries) in entries {
            entries.sort_by_key(|(number, _)| *number);
            let own = &mut self.partitions[group as usize].entries;
            own.extend(entries.into_iter().map(|(_, entry)| entry));
        }
        // All rows had been shown to the searches.
        self.partitions.iter_mut().for_each(|partition| partition.fed = partition.end());
        Ok(())
    }
}

impl Partition {
    /// How many numbers say what a partition is beside its rows.
    pub const COUNTERS: usize = 4;

    fn counters(&self) -> [i64; Partition::COUNTERS] {
        [self.base as i64, self.next as i64, self.matches, self.latest()]
    }

    fn set_counters(&mut self, counters: &[i64]) {
        self.reset();
        if let [base, next, matches, latest] = *counters {
            (self.base, self.next, self.matches) = (base as u64, next as u64, matches);
            self.set_latest(latest);
        }
    }

    /// The search from row `start`, from its beginning.
    fn search_again(&mut self, start: u64, setup: &super::partition::Setup) {
        let place = start.checked_sub(self.base).and_then(|i| usize::try_from(i).ok());
        let Some(entry) = place.and_then(|place| self.entries.get(place)) else { return };
        let deadline = setup.within.map_or(i64::MAX, |ms| entry.ts.saturating_add(ms));
        self.searches.push(Search::new(start, entry.ts, deadline, &setup.program));
    }
}
