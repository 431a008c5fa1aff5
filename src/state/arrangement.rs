//! An arrangement: a multiset of rows indexed by key, that several readers share.
//!
//! Each reader stands at a frontier of its own and reads the rows as of there; the first that comes
//! to a frontier puts in the rows that lie before it. What was put in since the slowest reader's
//! frontier is in the log as well, in the order of time, and tells the others what is not theirs
//! yet. With one reader, or readers in step, the log is empty between steps.
//!
//! Rows of an input that can retract are held once with their count, found again by the hash of the
//! whole row; those of an append-only input are held as they come, so that newer rows have higher
//! slots and stand before older ones in their chain. Called by the joins.

pub mod index;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use hashbrown::HashTable;

use self::index::{Chain, Index, KeyColumns, NONE, Tag};
use super::column::{Column, Form, Values, form_of};
use super::keys::{hash_column, hash_int};
use super::pages::Pages;
use super::rows::{Picked, RowStore};
use super::saved::by_hash;
use super::table::PartedTable;
use crate::batch::UpdateBatch;
use crate::error::{Error, ErrorKind, Result};
use crate::time::{BEGINNING, CLOSED, EventTime};

/// What an arrangement is of.
#[derive(Clone, Debug)]
pub struct ArrangementSpec {
    /// The rows.
    pub schema: SchemaRef,
    /// The key columns.
    pub keys: Vec<usize>,
    /// Whether rows are never taken back.
    pub append_only: bool,
    /// Whether rows with a NULL among their keys are kept; some readers have no use for them.
    pub keeps_nulls: bool,
    /// Whether rows must be put in by the order of their times: for several readers, and for those
    /// that read the log tick by tick.
    pub by_time: bool,
    /// How many read it.
    pub readers: usize,
}

/// One update that not every reader has passed.
#[derive(Clone, Copy, Debug)]
pub struct Logged {
    /// When.
    pub time: EventTime,
    /// By how much the row's count changed.
    pub diff: i64,
    /// The row's key.
    pub tag: Tag,
    /// The row.
    pub slot: u32,
    /// The hash of the whole row.
    hash: u32,
}

/// A multiset of rows by key.
pub struct Arrangement {
    spec: ArrangementSpec,
    rows: RowStore,
    index: Index,
    /// The slot behind each in its chain.
    next: Pages<u32>,
    /// The slot before each in its chain, where slots are taken out again.
    prev: Pages<u32>,
    /// How often each row is there; absent while each is there once.
    counts: Option<Pages<i64>>,
    /// Slots by the hash of the whole row, unless append-only.
    distinct: PartedTable<(u32, u32)>,
    log: VecDeque<Logged>,
    /// The number of the first update in the log.
    logged_from: u64,
    /// The number of the last update of each slot in the log, where others may be left behind it.
    last: HashTable<(u32, u64)>,
    /// Everything below has been put in.
    upper: EventTime,
    /// Where the readers are.
    cursors: Vec<EventTime>,
    /// How many read no more.
    released: usize,
}

/// A slot that stands for a row of the batch being put in.
const PENDING: u32 = 1 << 31;

impl Arrangement {
    /// No rows yet.
    pub fn new(spec: ArrangementSpec) -> Self {
        let form = |&key: &usize| form_of(spec.schema.field(key).data_type());
        let exact = match spec.keys.as_slice() {
            [key] => matches!(form(key), Form::Int | Form::Float),
            _ => false,
        };
        Arrangement {
            rows: RowStore::new(&spec.schema),
            index: Index::new(exact),
            next: Pages::default(),
            prev: Pages::default(),
            counts: (!spec.append_only).then(Pages::default),
            distinct: PartedTable::default(),
            log: VecDeque::new(),
            logged_from: 0,
            last: HashTable::new(),
            upper: BEGINNING,
            cursors: vec![BEGINNING; spec.readers],
            released: 0,
            spec,
        }
    }

    /// What it is of.
    pub fn spec(&self) -> &ArrangementSpec {
        &self.spec
    }

    /// The rows by slot.
    pub fn rows(&self) -> &RowStore {
        &self.rows
    }

    /// Number of rows held.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no rows are held.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let counts = self.counts.as_ref().map_or(0, Pages::bytes);
        let log = self.log.capacity() * size_of::<Logged>() + self.last.allocation_size();
        let links = self.next.bytes() + self.prev.bytes() + counts;
        self.rows.bytes() + self.index.bytes() + self.distinct.allocation_size() + links + log
    }

    /// Everything below this has been put in.
    pub fn upper(&self) -> EventTime {
        self.upper
    }

    /// How often the row of `slot` is there, as of [`Arrangement::upper`].
    #[inline]
    pub fn count(&self, slot: u32) -> i64 {
        self.counts.as_ref().map_or(1, |counts| counts.get(slot as usize))
    }

    /// Whether a row may be there other than once.
    pub fn has_counts(&self) -> bool {
        self.counts.is_some()
    }

    /// The slot behind `slot` in its chain, or [`NONE`].
    #[inline]
    pub fn next(&self, slot: u32) -> u32 {
        self.next.get(slot as usize)
    }

    /// The chain of the key of row `row` of `keys`.
    #[inline]
    pub fn find(&self, keys: &KeyColumns, row: usize) -> Option<Chain> {
        self.index.find(keys.tag(row), |slot| self.has_key(slot, &keys.columns, row))
    }

    /// The chain of the key, of tag `tag`, that the row of slot `slot` of `other` has there.
    #[inline]
    pub fn find_same(&self, tag: Tag, other: &Arrangement, slot: u32) -> Option<Chain> {
        self.index.find(tag, |own| {
            let mut keys = self.spec.keys.iter().zip(&other.spec.keys);
            keys.all(|(&k, &o)| self.rows.same_key((k, own), &other.rows, (o, slot)))
        })
    }

    #[inline]
    fn has_key(&self, slot: u32, keys: &[Column], row: usize) -> bool {
        let mut own = self.spec.keys.iter().zip(keys);
        own.all(|(&key, column)| self.rows.key_is(key, slot, column, row))
    }

    /// Puts in the rows of `batch`, all of which lie below `to`; those that another reader has put
    /// in before are passed over. Where rows go in by time, so must be those of the batch.
    pub fn extend(&mut self, batch: &UpdateBatch, to: EventTime) -> Result<()> {
        if self.upper >= to || batch.is_empty() {
            return Ok(());
        }
        let arrays = self.spec.keys.iter().map(|&key| batch.column(key));
        let keys = KeyColumns::read(arrays, batch.len())?;
        let times = batch.times();
        let is_new =
            |row: usize| times[row] >= self.upper && (self.spec.keeps_nulls || !keys.is_null(row));
        let picked: Option<Vec<u32>> = (0..batch.len())
            .any(|row| !is_new(row))
            .then(|| (0..batch.len() as u32).filter(|&row| is_new(row as usize)).collect());
        let picked = match &picked {
            Some(rows) => Picked::Some(rows),
            None => Picked::Run(0..batch.len()),
        };
        let columns = RowStore::read(batch.rows().columns())?;
        match self.spec.append_only {
            true => self.append(batch, &columns, &keys, &picked),
            false => self.update(batch, &columns, &keys, &picked),
        }
    }

    /// Says that everything below `to` has been put in.
    pub fn reach(&mut self, to: EventTime) {
        self.upper = self.upper.max(to);
    }

    fn append(
        &mut self,
        batch: &UpdateBatch,
        columns: &[Column],
        keys: &KeyColumns,
        picked: &Picked<'_>,
    ) -> Result<()> {
        let mut slots = Vec::new();
        self.rows.insert_columns(columns, picked.clone(), &mut slots)?;
        self.log.reserve(slots.len());
        for (i, &slot) in slots.iter().enumerate() {
            let row = picked.row(i);
            let diff = batch.diff(row);
            if diff != 1 && self.counts.is_none() {
                let mut counts = Pages::default();
                counts.grow(slot as usize, 1);
                self.counts = Some(counts);
            }
            if let Some(counts) = &mut self.counts {
                counts.push(diff);
            }
            let (tag, rows, own) = (keys.tag(row), &self.rows, &self.spec.keys);
            let same = |head: u32| {
                let mut all = own.iter().zip(&keys.columns);
                all.all(|(&key, column)| rows.key_is(key, head, column, row))
            };
            let before = self.index.push(tag, slot, same);
            self.next.push(before);
            self.log.push_back(Logged { time: batch.times()[row], diff, tag, slot, hash: 0 });
        }
        Ok(())
    }

    fn update(
        &mut self,
        batch: &UpdateBatch,
        columns: &[Column],
        keys: &KeyColumns,
        picked: &Picked<'_>,
    ) -> Result<()> {
        let mut hashes = vec![0; batch.len()];
        columns.iter().for_each(|column| hash_column(column, 0..batch.len(), &mut hashes));
        let (targets, fresh) = self.look_up(&hashes, columns, picked);
        let mut slots = Vec::new();
        self.rows.insert_columns(columns, Picked::Some(&fresh), &mut slots)?;
        if self.rows.bound() >= PENDING as usize {
            return Err(Error::new(ErrorKind::Limit, "an arrangement has 2 billion rows")
                .with_hint("run the job on more workers"));
        }
        self.next.grow(self.rows.bound(), NONE);
        self.prev.grow(self.rows.bound(), NONE);
        let counts = self.counts.get_or_insert_with(Pages::default);
        counts.grow(self.rows.bound(), 0);
        for (i, (&row, &slot)) in fresh.iter().zip(&slots).enumerate() {
            let short = hashes[row as usize] as u32;
            let is_it = |e: &(u32, u32)| e.1 == PENDING | i as u32;
            if let Some(entry) = self.distinct.find_mut(spread(short), is_it) {
                entry.1 = slot;
            }
            counts.set(slot as usize, 0);
        }
        for (&row, &slot) in fresh.iter().zip(&slots) {
            let row = row as usize;
            self.link(keys.tag(row), slot, &keys.columns, row);
        }
        for (i, target) in targets.into_iter().enumerate() {
            let row = picked.row(i);
            let slot = match target & PENDING {
                0 => target,
                _ => slots[(target & !PENDING) as usize],
            };
            let (time, diff, tag) = (batch.times()[row], batch.diff(row), keys.tag(row));
            if let Some(counts) = &mut self.counts {
                *counts.at_mut(slot as usize) += diff;
            }
            self.note(Logged { time, diff, tag, slot, hash: hashes[row] as u32 });
        }
        Ok(())
    }

    /// For each of the rows its slot, or which of the rows that are not there yet it is; and those.
    fn look_up(
        &mut self,
        hashes: &[u64],
        columns: &[Column],
        picked: &Picked<'_>,
    ) -> (Vec<u32>, Vec<u32>) {
        let mut targets = Vec::with_capacity(picked.len());
        let mut fresh: Vec<u32> = Vec::new();
        for i in 0..picked.len() {
            let row = picked.row(i);
            let short = hashes[row] as u32;
            let is_it = |e: &(u32, u32)| {
                e.0 == short
                    && match e.1 & PENDING {
                        0 => self.rows.equals(e.1, columns, row),
                        _ => same_row(columns, fresh[(e.1 & !PENDING) as usize] as usize, row),
                    }
            };
            if let Some(found) = self.distinct.find(spread(short), is_it) {
                targets.push(found.1);
                continue;
            }
            let pending = PENDING | fresh.len() as u32;
            self.distinct.insert_unique(spread(short), (short, pending), |e| spread(e.0));
            fresh.push(row as u32);
            targets.push(pending);
        }
        (targets, fresh)
    }

    fn link(&mut self, tag: Tag, slot: u32, keys: &[Column], row: usize) {
        let (rows, own) = (&self.rows, &self.spec.keys);
        let same = |head: u32| {
            let mut all = own.iter().zip(keys);
            all.all(|(&key, column)| rows.key_is(key, head, column, row))
        };
        let before = self.index.push(tag, slot, same);
        self.next.set(slot as usize, before);
        self.prev.set(slot as usize, NONE);
        if before != NONE {
            self.prev.set(before as usize, slot);
        }
    }

    fn note(&mut self, logged: Logged) {
        if self.cursors.len() > 1 {
            let number = self.logged_from + self.log.len() as u64;
            let (slot, hash) = (logged.slot, hash_int(i64::from(logged.slot)));
            match self.last.find_mut(hash, |e| e.0 == slot) {
                Some(found) => found.1 = number,
                None => {
                    let hash_of = |e: &(u32, u64)| hash_int(i64::from(e.0));
                    self.last.insert_unique(hash, (slot, number), hash_of);
                }
            }
        }
        self.log.push_back(logged);
    }

    /// The numbers of the updates in the log.
    pub fn logged(&self) -> std::ops::Range<u64> {
        self.logged_from..self.logged_from + self.log.len() as u64
    }

    /// The update of a number that is in the log.
    #[inline]
    pub fn logged_at(&self, number: u64) -> &Logged {
        &self.log[(number - self.logged_from) as usize]
    }

    /// Of an append-only arrangement: the first slot whose row is in the log.
    pub fn first_logged(&self) -> u32 {
        self.log.front().map_or(NONE, |logged| logged.slot)
    }

    /// Of an append-only arrangement: when the row of `slot`, not below
    /// [`Arrangement::first_logged`], came.
    #[inline]
    pub fn time_of(&self, slot: u32, first_logged: u32) -> EventTime {
        self.log[(slot - first_logged) as usize].time
    }

    /// Says that reader `reader` has read everything below `to`. What all have read leaves the log,
    /// and rows that are not there any more their slots.
    pub fn passed(&mut self, reader: usize, to: EventTime) {
        self.cursors[reader] = to;
        let slowest = self.cursors.iter().copied().min().unwrap_or(to);
        if self.spec.append_only && slowest >= self.upper {
            self.logged_from += self.log.len() as u64;
            self.log.clear();
            return;
        }
        while self.log.front().is_some_and(|logged| logged.time < slowest) {
            let Some(logged) = self.log.pop_front() else { break };
            let number = self.logged_from;
            self.logged_from += 1;
            if !self.spec.append_only {
                self.leave(&logged, number);
            }
        }
    }

    /// The slots of the rows that are there, in the order of the hashes of their keys. Every reader
    /// has passed them.
    pub fn slots_by_hash(&self) -> Result<Vec<u32>> {
        let all = 0..self.rows.bound() as u32;
        let slots: Vec<u32> = all.filter(|&slot| self.count(slot) != 0).collect();
        let keys = self.spec.keys.iter().map(|&key| self.rows.column(key, &slots));
        let order = by_hash(&keys.collect::<Result<Vec<_>>>()?, slots.len())?;
        Ok(order.into_iter().map(|at| slots[at as usize]).collect())
    }

    /// The rows of `slots`, with their counts.
    pub fn contents(&self, slots: &[u32]) -> Result<(RecordBatch, Vec<i64>)> {
        let count = RecordBatchOptions::new().with_row_count(Some(slots.len()));
        let (schema, columns) = (Arc::clone(&self.spec.schema), self.rows.columns(slots)?);
        let rows = RecordBatch::try_new_with_options(schema, columns, &count)?;
        Ok((rows, slots.iter().map(|&slot| self.count(slot)).collect()))
    }

    /// Takes rows of any time again, beside those that are there.
    pub fn rewind(&mut self) {
        self.upper = BEGINNING;
        let open = self.cursors.iter_mut().filter(|cursor| **cursor != CLOSED);
        open.for_each(|cursor| *cursor = BEGINNING);
    }

    /// Says that reader `reader` will read no more. Without any reader no rows are held.
    pub fn release(&mut self, reader: usize) {
        self.released += 1;
        if self.released < self.spec.readers {
            return self.passed(reader, CLOSED);
        }
        let spec = self.spec.clone();
        *self = Arrangement { released: self.released, upper: CLOSED, ..Arrangement::new(spec) };
    }

    /// Gives back the slot of an update that has left the log, if its row is gone.
    fn leave(&mut self, logged: &Logged, number: u64) {
        let slot = logged.slot;
        if self.cursors.len() > 1 {
            let hash = hash_int(i64::from(slot));
            match self.last.find_entry(hash, |e| *e == (slot, number)) {
                Ok(found) => found.remove(),
                Err(_) => return,
            };
        }
        if self.count(slot) != 0 {
            return;
        }
        let is_it = |e: &(u32, u32)| e.1 == slot;
        match self.distinct.find_entry(spread(logged.hash), is_it) {
            Ok(found) => found.remove(),
            // With one reader: an earlier update of the same row has done it.
            Err(_) => return,
        };
        let (next, prev) = (self.next(slot), self.prev.get(slot as usize));
        if prev != NONE {
            self.next.set(prev as usize, next);
        }
        if next != NONE {
            self.prev.set(next as usize, prev);
        }
        let (rows, keys) = (&self.rows, &self.spec.keys);
        let same = |head| keys.iter().all(|&k| rows.same_key((k, head), rows, (k, slot)));
        self.index.drop_one(logged.tag, slot, next, same);
        self.rows.remove(slot);
    }
}

/// Half a hash as one of a table.
#[inline]
fn spread(short: u32) -> u64 {
    u64::from(short).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Whether two rows of columns, read as [`RowStore::read`] does, are equal.
fn same_row(columns: &[Column], a: usize, b: usize) -> bool {
    columns.iter().all(|column| {
        let null = column.is_null(a);
        if null || column.is_null(b) {
            return null == column.is_null(b);
        }
        match &column.values {
            Values::Int(v) => v[a] == v[b],
            Values::Float(v) => v[a].to_bits() == v[b].to_bits(),
            Values::Wide(v) => v[a] == v[b],
            Values::Bytes(v) => v.value(a) == v.value(b),
            Values::Rows(v) => v.row(a).data() == v.row(b).data(),
        }
    })
}

/// Where a walk over the matches of many rows stands.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    row: usize,
    /// The slot that comes next for `row`; [`NONE`] before its chain has been looked up.
    slot: u32,
}

/// Pairs of a row that was looked up and a slot that has its key.
#[derive(Debug, Default)]
pub struct Matches {
    /// The rows that were looked up.
    pub rows: Vec<u32>,
    /// The slots.
    pub slots: Vec<u32>,
}

impl Walk {
    /// At the first row.
    pub fn start() -> Self {
        Walk { row: 0, slot: NONE }
    }
}

impl Arrangement {
    /// Adds matches of the rows of `keys` from where `walk` stands, up to `most` of them in
    /// `found`; whether there may be more. Of an append-only arrangement: rows from `before` on are
    /// left out. Rows with a NULL among their keys match where `nulls` is true.
    pub fn matches(
        &self,
        keys: &KeyColumns,
        walk: &mut Walk,
        before: EventTime,
        nulls: bool,
        most: usize,
        found: &mut Matches,
    ) -> bool {
        let first = if before < self.upper { self.first_logged() } else { NONE };
        let is_seen = |slot: u32| slot < first || self.time_of(slot, first) < before;
        while walk.row < keys.len() {
            let mut slot = walk.slot;
            if slot == NONE {
                let chain = match nulls || !keys.is_null(walk.row) {
                    true => self.find(keys, walk.row),
                    false => None,
                };
                match chain {
                    None => {
                        walk.row += 1;
                        continue;
                    }
                    Some(Chain { head, len: 1, .. }) => {
                        if is_seen(head) {
                            found.rows.push(walk.row as u32);
                            found.slots.push(head);
                        }
                        walk.row += 1;
                        if found.slots.len() >= most {
                            return true;
                        }
                        continue;
                    }
                    Some(chain) => slot = chain.head,
                }
            }
            while slot != NONE && found.slots.len() < most {
                if is_seen(slot) {
                    found.rows.push(walk.row as u32);
                    found.slots.push(slot);
                }
                slot = self.next(slot);
            }
            walk.slot = slot;
            if slot != NONE {
                return true;
            }
            walk.row += 1;
        }
        false
    }
}
