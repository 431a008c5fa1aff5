//! The state of a MATCH_RECOGNIZE as tables, and back.
//!
//! A search is saved as the row that it begins at: what it has found so far depends on the rows
//! alone, so it is run once more over those that are kept. Where the next search begins depends on
//! all matches before (AFTER MATCH SKIP): that is part of a partition's row. Called by the
//! operator.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::buffer::ScalarBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};

use super::MatchLogic;
use super::partition::{Partition, Results};
use super::rows::new_row;
use super::search::{Entry, Search};
use crate::batch::UpdateBatch;
use crate::dataflow::logic::Emitted;
use crate::error::Result;
use crate::state::keys::GroupKeys;
use crate::state::saved::{SavedTable, log_updates, numbered, numbers_of, saved_updates};
use crate::time::{BEGINNING, EventTime};

/// Rows whose time the frontier has not passed.
const EARLY: &str = "early";
/// Rows that are kept: number in the partition, time, whether a match has it.
const ROWS: &str = "rows";
/// Partitions: what [`Partition::counters`] says.
const PARTITIONS: &str = "partitions";
/// Open searches: the partition's key and the number of the first row.
const SEARCHES: &str = "searches";

impl MatchLogic {
    fn key_schema(&self) -> SchemaRef {
        let fields = self.matched.partition.iter().map(|&c| self.input.field(c).clone());
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The keys of partitions `groups`.
    fn keys_of(&self, groups: &[u32]) -> Result<RecordBatch> {
        let count = RecordBatchOptions::new().with_row_count(Some(groups.len()));
        let columns = self.keys.columns(groups)?;
        Ok(RecordBatch::try_new_with_options(self.key_schema(), columns, &count)?)
    }

    /// All state, placed by the columns `placement` of the input.
    pub(super) fn tables(&self, placement: Option<&[usize]>) -> Result<Vec<SavedTable>> {
        let mut tables = Vec::new();
        let early: Vec<UpdateBatch> = self.early.kept().cloned().collect();
        if !early.is_empty() {
            let early = UpdateBatch::concat(&self.input, &early)?;
            tables.push(saved_updates(EARLY, &early, placement)?);
        }
        let groups = self.keys.live();
        if groups.is_empty() {
            return Ok(tables);
        }
        let of_key = |by: &[usize]| -> Option<Vec<usize>> {
            by.iter().map(|c| self.matched.partition.iter().position(|key| key == c)).collect()
        };
        let by_key = placement.and_then(of_key);
        let (mut slots, mut rows) = (Vec::new(), vec![Vec::new(); 3]);
        let mut counters = vec![Vec::new(); Partition::COUNTERS];
        let (mut starts, mut owners) = (Vec::new(), Vec::new());
        for &group in &groups {
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
        tables.push(numbered(PARTITIONS, &self.keys_of(&groups)?, counters, by_key.as_deref())?);
        if !starts.is_empty() {
            let keys = self.keys_of(&owners)?;
            tables.push(numbered(SEARCHES, &keys, vec![starts], by_key.as_deref())?);
        }
        if !slots.is_empty() {
            let columns = (0..self.input.fields().len())
                .map(|column| self.rows.column(column, &slots))
                .collect::<Result<Vec<_>>>()?;
            let kept = RecordBatch::try_new(Arc::clone(&self.input), columns)?;
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
            self.early.push(log_updates(&table.rows, &self.input)?);
        }
        let key_schema = self.key_schema();
        let keys: Vec<usize> = (0..key_schema.fields().len()).collect();
        let mut all = Vec::new();
        for table in of(PARTITIONS) {
            let (rows, numbers) = numbers_of(&table.rows, &key_schema, Partition::COUNTERS)?;
            let groups = self.groups(&rows, &keys)?;
            for (row, &group) in groups.iter().enumerate() {
                let counters: Vec<i64> = numbers.iter().map(|column| column[row]).collect();
                self.partitions[group as usize].set_counters(&counters);
            }
            all.extend(groups);
        }
        let mut parts: Vec<(RecordBatch, Vec<ScalarBuffer<i64>>)> = Vec::new();
        for table in of(ROWS) {
            parts.push(numbers_of(&table.rows, &self.input, 3)?);
        }
        self.take_rows(&parts)?;
        let setup = Rc::clone(&self.setup);
        for table in of(SEARCHES) {
            let (rows, numbers) = numbers_of(&table.rows, &key_schema, 1)?;
            let groups = self.groups(&rows, &keys)?;
            for (group, start) in groups.into_iter().zip(numbers.iter().flat_map(|n| n.iter())) {
                self.partitions[group as usize].search_again(*start as u64, &setup);
            }
        }
        let closed = to.saturating_sub(self.delay);
        let mut results = Results::default();
        results.requests.resize_with(self.define.len(), Vec::new);
        all.sort_unstable();
        all.dedup();
        self.drive(&all, closed, BEGINNING, &mut results, &mut Emitted::default())?;
        self.forget(&all, closed)
    }

    /// Gives rows back to their partitions, each in its order.
    fn take_rows(&mut self, parts: &[(RecordBatch, Vec<ScalarBuffer<i64>>)]) -> Result<()> {
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
                let (yes, known) = (yes[row], known[row]);
                let (ts, covered) = (number(1), number(2) != 0);
                let entry = Entry { row: new_row(row), covered, ts, yes, known };
                entries.entry(groups[row]).or_default().push((number(0), entry));
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
