//! What one operator has put aside.
//!
//! A row of state is in one place: with the operator, or in one run here. What is taken is gone
//! from here; runs that have become many or hollow are merged. Rows of one hash come back together.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;

use super::chunk;
use super::file::SpillFile;
use super::memory::Memory;
use super::run::{Run, RunWriter};
use crate::batch::hash::hash_columns;
use crate::error::{Error, Result};
use crate::limits::{BATCH_ROWS, SPILL_RUNS_MAX};
use crate::state::saved::SavedTable;

/// Rows of an operator's state on disk.
#[derive(Debug)]
pub struct ColdRows {
    memory: Arc<Memory>,
    tables: Vec<Table>,
}

/// One of the operator's tables.
#[derive(Debug)]
struct Table {
    name: String,
    schema: SchemaRef,
    /// The columns of the key.
    shard: Vec<usize>,
    runs: Vec<Run>,
}

/// Rows being written, part by part, the hashes of a part above those of the one before.
pub struct Writing {
    memory: Arc<Memory>,
    /// All tables share it.
    file: Option<Arc<SpillFile>>,
    rows: usize,
    tables: Vec<(Table, RunWriter)>,
}

/// The hashes of rows by the columns `shard`.
fn hashes_of(rows: &RecordBatch, shard: &[usize]) -> Result<Vec<u64>> {
    let columns = shard.iter().map(|&column| rows.columns().get(column).cloned());
    let columns = columns.collect::<Option<Vec<ArrayRef>>>();
    let columns = columns.ok_or_else(|| Error::internal("rows put aside without their key"))?;
    hash_columns(&columns, rows.num_rows())
}

/// The rows in the order of their hashes.
fn order_of(hashes: &[u64]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..hashes.len() as u32).collect();
    order.sort_unstable_by_key(|&row| (hashes[row as usize], row));
    order
}

impl Writing {
    /// About `rows` rows.
    pub fn new(memory: &Arc<Memory>, rows: usize) -> Self {
        Writing { memory: Arc::clone(memory), file: None, rows, tables: Vec::new() }
    }

    /// Adds a part. Tables without a key are given back: they cannot be put aside.
    pub fn add(&mut self, tables: Vec<SavedTable>) -> Result<Vec<SavedTable>> {
        let mut kept = Vec::new();
        let mut groups: Vec<(String, Vec<usize>, Vec<RecordBatch>)> = Vec::new();
        for table in tables {
            match (&table.shard, table.rows.num_rows()) {
                (_, 0) => {}
                (None, _) => kept.push(table),
                (Some(shard), _) => match groups.iter_mut().find(|g| g.0 == table.name) {
                    Some(group) => group.2.push(table.rows),
                    None => groups.push((table.name, shard.clone(), vec![table.rows])),
                },
            }
        }
        for (name, shard, parts) in groups {
            self.write(name, shard, parts)?;
        }
        Ok(kept)
    }

    fn write(&mut self, name: String, shard: Vec<usize>, parts: Vec<RecordBatch>) -> Result<()> {
        let Some(first) = parts.first() else { return Ok(()) };
        let rows = match parts.len() {
            1 => first.clone(),
            _ => concat_batches(&first.schema(), &parts)?,
        };
        drop(parts);
        let hashes = hashes_of(&rows, &shard)?;
        let writer = match self.tables.iter().position(|(table, _)| table.name == name) {
            Some(at) => &mut self.tables[at].1,
            None => {
                let schema = chunk::nullable(&rows.schema());
                let expected = self.rows.max(rows.num_rows());
                let file = match &self.file {
                    Some(file) => file,
                    None => self.file.insert(SpillFile::create(&self.memory)?),
                };
                let writer = RunWriter::new(file, &schema, expected);
                let table = Table { name, schema, shard, runs: Vec::new() };
                self.tables.push((table, writer));
                let Some((_, writer)) = self.tables.last_mut() else { return Ok(()) };
                writer
            }
        };
        let order = order_of(&hashes);
        for part in order.chunks(BATCH_ROWS) {
            let sorted = take_record_batch(&rows, &UInt32Array::from(part.to_vec()))?;
            let own: Vec<u64> = part.iter().map(|&row| hashes[row as usize]).collect();
            writer.push(&own, &sorted)?;
        }
        Ok(())
    }
}

impl ColdRows {
    /// Nothing yet.
    pub fn new(memory: &Arc<Memory>) -> Self {
        ColdRows { memory: Arc::clone(memory), tables: Vec::new() }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.tables.iter().flat_map(|table| &table.runs).map(Run::live).sum()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// The least and the greatest hash of a row.
    pub fn span(&self) -> (u64, u64) {
        let spans = || self.tables.iter().flat_map(|table| &table.runs).filter_map(Run::span);
        let first = spans().map(|span| span.0).min().unwrap_or(0);
        (first, spans().map(|span| span.1).max().unwrap_or(first))
    }

    /// Puts rows aside. Tables without a key are given back: they cannot be.
    pub fn put(&mut self, tables: Vec<SavedTable>) -> Result<Vec<SavedTable>> {
        let mut writing = Writing::new(&self.memory, 0);
        let kept = writing.add(tables)?;
        self.add(writing)?;
        Ok(kept)
    }

    /// Adds what was written.
    pub fn add(&mut self, writing: Writing) -> Result<()> {
        for (mut table, writer) in writing.tables {
            let run = writer.finish()?;
            match self.tables.iter_mut().find(|own| own.name == table.name) {
                Some(own) if own.schema == table.schema => own.runs.extend(run),
                Some(_) => return Err(Error::internal("state put aside in another form")),
                None => {
                    table.runs.extend(run);
                    self.tables.push(table);
                }
            }
        }
        let memory = Arc::clone(&self.memory);
        self.tables.iter_mut().try_for_each(|table| table.tidy(&memory))
    }

    /// Takes the rows of the hashes `wanted`, which ascend.
    pub fn take(&mut self, wanted: &[u64]) -> Result<Vec<SavedTable>> {
        self.take_by(|run, found| run.take(wanted, found))
    }

    /// Takes the rows with hashes from the first up to the second of `range`.
    pub fn take_range(&mut self, range: (u64, u64)) -> Result<Vec<SavedTable>> {
        self.take_by(|run, found| run.take_range(range, found))
    }

    fn take_by(
        &mut self,
        mut take: impl FnMut(&mut Run, &mut Vec<RecordBatch>) -> Result<()>,
    ) -> Result<Vec<SavedTable>> {
        let mut tables = Vec::new();
        for table in &mut self.tables {
            let mut found = Vec::new();
            for run in &mut table.runs {
                take(run, &mut found)?;
            }
            table.runs.retain(|run| run.live() > 0);
            if !found.is_empty() {
                let rows = concat_batches(&table.schema, &found)?;
                tables.push(table.saved(rows));
            }
        }
        Ok(tables)
    }

    /// Gives all rows, piece by piece, to `each`; they stay.
    pub fn scan(&self, mut each: impl FnMut(SavedTable) -> Result<()>) -> Result<()> {
        for table in &self.tables {
            let (mut parts, mut rows) = (Vec::new(), 0);
            for run in &table.runs {
                for block in 0..run.blocks() {
                    let Some(found) = run.read(block)?.1 else { continue };
                    rows += found.num_rows();
                    parts.push(found);
                    if rows >= BATCH_ROWS {
                        each(table.saved(concat_batches(&table.schema, &parts)?))?;
                        parts.clear();
                        rows = 0;
                    }
                }
            }
            if rows > 0 {
                each(table.saved(concat_batches(&table.schema, &parts)?))?;
            }
        }
        Ok(())
    }
}

impl Table {
    fn saved(&self, rows: RecordBatch) -> SavedTable {
        SavedTable { name: self.name.clone(), rows, shard: Some(self.shard.clone()) }
    }

    /// Merges runs where there are many, or where most rows are gone.
    fn tidy(&mut self, memory: &Arc<Memory>) -> Result<()> {
        let rows: usize = self.runs.iter().map(Run::rows).sum();
        let live: usize = self.runs.iter().map(Run::live).sum();
        let merged = match () {
            () if rows > 3 * live + BATCH_ROWS => self.runs.len(),
            // It does not matter which ones: a row is in one of them. Small ones cost the least.
            () if self.runs.len() > SPILL_RUNS_MAX => self.runs.len() / 2 + 1,
            () => return Ok(()),
        };
        self.runs.sort_by_key(Run::live);
        let parts: Vec<Run> = self.runs.drain(..merged).collect();
        self.runs.extend(merge(memory, &self.schema, &parts)?);
        Ok(())
    }
}

/// A place in a run that is merged.
struct Cursor<'a> {
    run: &'a Run,
    next: usize,
    hashes: Vec<u64>,
    rows: Option<RecordBatch>,
}

impl Cursor<'_> {
    /// Reads on, if all that was read is used up; whether there is something.
    fn fill(&mut self) -> Result<bool> {
        while self.hashes.is_empty() && self.next < self.run.blocks() {
            (self.hashes, self.rows) = self.run.read(self.next)?;
            self.next += 1;
        }
        Ok(!self.hashes.is_empty())
    }

    /// Takes the rows with hashes up to `bound`.
    fn take(&mut self, bound: u64, hashes: &mut Vec<u64>, parts: &mut Vec<RecordBatch>) {
        let count = self.hashes.partition_point(|&hash| hash <= bound);
        if let (Some(rows), true) = (&mut self.rows, count > 0) {
            parts.push(rows.slice(0, count));
            *rows = rows.slice(count, rows.num_rows() - count);
            hashes.extend(self.hashes.drain(..count));
        }
    }
}

/// The rows of `runs` in one.
fn merge(memory: &Arc<Memory>, schema: &SchemaRef, runs: &[Run]) -> Result<Option<Run>> {
    let rows = runs.iter().map(Run::live).sum();
    let mut writer = RunWriter::new(&SpillFile::create(memory)?, schema, rows);
    let start = |run| Cursor { run, next: 0, hashes: Vec::new(), rows: None };
    let mut cursors: Vec<Cursor<'_>> = runs.iter().map(start).collect();
    loop {
        let mut bound = None;
        for cursor in &mut cursors {
            if cursor.fill()? {
                bound = bound.into_iter().chain(cursor.hashes.last().copied()).min();
            }
        }
        let Some(bound) = bound else { break };
        let (mut hashes, mut parts) = (Vec::new(), Vec::new());
        cursors.iter_mut().for_each(|cursor| cursor.take(bound, &mut hashes, &mut parts));
        let rows = concat_batches(schema, &parts)?;
        let order = order_of(&hashes);
        hashes.sort_unstable();
        writer.push(&hashes, &take_record_batch(&rows, &UInt32Array::from(order))?)?;
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{AsArray, Int64Array, StringViewArray};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    fn table(name: &str, rows: &[(i64, i64)]) -> SavedTable {
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0)));
        let texts = rows.iter().map(|r| format!("a value that needs some room: {}", r.1));
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1)));
        let rows = RecordBatch::try_from_iter([("s", texts), ("k", keys), ("v", values)]).unwrap();
        SavedTable { name: name.to_owned(), rows, shard: Some(vec![1]) }
    }

    fn pairs(tables: &[SavedTable]) -> BTreeMap<(String, i64, i64), usize> {
        let mut all = BTreeMap::new();
        for table in tables {
            let ints = |c: usize| table.rows.column(c).as_primitive::<Int64Type>().clone();
            let (keys, values) = (ints(1), ints(2));
            for row in 0..table.rows.num_rows() {
                let pair = (table.name.clone(), keys.value(row), values.value(row));
                *all.entry(pair).or_default() += 1;
            }
        }
        all
    }

    fn hashes(keys: &[i64]) -> Vec<u64> {
        let keys: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
        let mut hashes = hash_columns(std::slice::from_ref(&keys), keys.len()).unwrap();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(&'static str, Vec<(i64, i64)>),
        Take(Vec<i64>),
        Part(u64, u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let rows = prop::collection::vec((0i64..40, 0i64..5), 0..60);
        let step = prop_oneof![
            (prop_oneof![Just("a"), Just("b")], rows)
                .prop_map(|(name, rows)| Step::Put(name, rows)),
            prop::collection::vec(0i64..50, 0..10).prop_map(Step::Take),
            (any::<u64>(), any::<u64>()).prop_map(|(a, b)| Step::Part(a.min(b), a.max(b))),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// A row comes back once, when a hash of its key is asked for, from wherever it lies.
        #[test]
        fn rows_are_in_one_place(steps in steps()) {
            let dir = tempfile::tempdir().unwrap();
            let memory = Memory::new(1, dir.path(), 1);
            let mut cold = ColdRows::new(&memory);
            let mut held: BTreeMap<(String, i64, i64), usize> = BTreeMap::new();
            for step in steps {
                let (found, is_taken): (_, Box<dyn Fn(i64) -> bool>) = match step {
                    Step::Put(name, rows) => {
                        prop_assert!(cold.put(vec![table(name, &rows)]).unwrap().is_empty());
                        for (k, v) in rows {
                            *held.entry((name.to_owned(), k, v)).or_default() += 1;
                        }
                        continue;
                    }
                    Step::Take(keys) => {
                        let found = cold.take(&hashes(&keys)).unwrap();
                        (found, Box::new(move |key| keys.contains(&key)))
                    }
                    Step::Part(first, last) => {
                        let found = cold.take_range((first, last)).unwrap();
                        (found, Box::new(move |key| (first..=last).contains(&hashes(&[key])[0])))
                    }
                };
                let (taken, rest) = held.into_iter().partition(|((_, key, _), _)| is_taken(*key));
                held = rest;
                prop_assert_eq!(pairs(&found), taken);
                prop_assert_eq!(cold.rows(), held.values().sum::<usize>());
            }
            let mut seen = Vec::new();
            cold.scan(|table| { seen.push(table); Ok(()) }).unwrap();
            prop_assert_eq!(pairs(&seen), held);
        }
    }

    #[test]
    fn what_has_no_key_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut cold = ColdRows::new(&Memory::new(1, dir.path(), 1));
        let flags = SavedTable { shard: None, ..table("flags", &[(1, 1)]) };
        let kept = cold.put(vec![flags, table("rows", &[(1, 1)])]).unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].name, "flags");
        assert_eq!(cold.rows(), 1);
    }
}
