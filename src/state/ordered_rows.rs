//! Rows of a [`RowPool`] in order: the comparison of rows, and sorted lists of slots.
//!
//! [`RowOrder`] orders by columns as an `ORDER BY` says and then by the whole row, so that no two
//! different rows are equal. [`OrderedRows`] is a sorted multiset of rows in blocks: an insertion
//! or removal costs a binary search and the move of part of a block, however many rows there are.
//! Each
//! entry carries the first eight bytes of its sort key, which decide most comparisons at hand.
//! Called by the ranking operators.

use std::cmp::Ordering;

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;

use super::column::{Column, Form, Values, float_of, form_of, key_bits};
use super::row_pool::{Place, RowPool};
use crate::limits::ORDERED_BLOCK_ROWS_MAX;

/// A column to compare by.
#[derive(Clone, Copy, Debug)]
struct By {
    column: usize,
    options: SortOptions,
    /// Floats as numbers: `-0.0` is `0.0`, and every NaN the same.
    as_number: bool,
}

/// An order of rows: some columns first, then all others, ascending and NULLs first.
#[derive(Clone, Debug)]
pub struct RowOrder {
    columns: Vec<By>,
    /// How many of them are asked for; the others break ties.
    keys: usize,
    /// Whether the leading column fits in a prefix.
    is_leading_short: bool,
}

/// A row that may be the one of a slot.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// A number of the caller's, for the row.
    pub row: u32,
    /// See [`RowOrder::prefixes`]: that of the row and of the slot.
    pub prefix: u64,
    /// The slot.
    pub slot: u32,
    /// Where the row lies.
    pub place: Place,
    /// Where the row of the slot lies.
    pub other: Place,
}

impl RowOrder {
    /// By `keys`, then by the whole row of `schema`; columns in `equal` need no comparison.
    pub fn new(schema: &SchemaRef, keys: Vec<(usize, SortOptions)>, equal: &[usize]) -> Self {
        let count = keys.len();
        let is_float = |column: usize| schema.field(column).data_type().is_floating();
        let by = |(column, options)| By { column, options, as_number: is_float(column) };
        let mut columns: Vec<By> = keys.into_iter().map(by).collect();
        let options = SortOptions { descending: false, nulls_first: true };
        for column in 0..schema.fields().len() {
            let known = columns.iter().any(|by| by.column == column) || equal.contains(&column);
            // Rows with equal numbers need not be the same row.
            if !known || is_float(column) {
                columns.push(By { column, options, as_number: false });
            }
        }
        let short = |by: &By| {
            matches!(form_of(schema.field(by.column).data_type()), Form::Int | Form::Float)
        };
        let is_leading_short = columns.first().is_some_and(short);
        RowOrder { columns, keys: count, is_leading_short }
    }

    /// The leading bytes of every row of `chunk`: smaller ones never belong to a later row.
    pub fn prefixes(&self, pool: &RowPool, chunk: u32, rows: usize) -> Vec<u64> {
        let Some(by) = self.columns.first() else { return vec![0; rows] };
        let Some(column) = pool.column(chunk, by.column) else { return vec![0; rows] };
        (0..rows).map(|row| prefix(column, row, by)).collect()
    }

    /// Compares two rows in the whole order: equal ones are the same row.
    pub fn compare(&self, pool: &RowPool, a: Place, b: Place) -> Ordering {
        compare(pool, &self.columns, a, b)
    }

    /// Compares two rows whose prefixes are both `prefix`, as [`RowOrder::compare`] does.
    pub fn compare_tied(&self, pool: &RowPool, prefix: u64, a: Place, b: Place) -> Ordering {
        compare(pool, self.undecided(prefix), a, b)
    }

    /// The columns that rows with one `prefix` can differ in.
    fn undecided(&self, prefix: u64) -> &[By] {
        // NULLs share their prefixes with the least and the greatest value.
        let is_decided = self.is_leading_short && prefix != 0 && prefix != u64::MAX;
        &self.columns[usize::from(is_decided)..]
    }

    /// Keeps the candidates that are the same row as that of their slot.
    ///
    /// Values are read column by column, so that reads of memory overlap: none waits for another.
    pub fn retain_same(&self, pool: &RowPool, candidates: &mut Vec<Candidate>) {
        let decided =
            candidates.iter().map(|c| self.columns.len() - self.undecided(c.prefix).len());
        let from = decided.min().unwrap_or(0);
        for column in &self.columns[from..] {
            let column = std::slice::from_ref(column);
            candidates.retain(|c| compare(pool, column, c.place, c.other).is_eq());
        }
    }

    /// Compares two rows by the columns asked for alone.
    pub fn compare_keys(&self, pool: &RowPool, a: Place, b: Place) -> Ordering {
        compare(pool, &self.columns[..self.keys], a, b)
    }
}

fn compare(pool: &RowPool, columns: &[By], a: Place, b: Place) -> Ordering {
    for by in columns {
        let (Some(left), Some(right)) = (pool.value(a, by.column), pool.value(b, by.column)) else {
            continue;
        };
        let order = compare_values(left, right, by);
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Compares two values of columns of one type.
fn compare_values((left, a): (&Column, usize), (right, b): (&Column, usize), by: &By) -> Ordering {
    let options = by.options;
    match (left.is_null(a), right.is_null(b)) {
        (false, false) => {}
        (true, true) => return Ordering::Equal,
        (null, _) => {
            return if null == options.nulls_first { Ordering::Less } else { Ordering::Greater };
        }
    }
    let order = match (&left.values, &right.values) {
        (Values::Int(l), Values::Int(r)) if by.as_number => number(l[a]).cmp(&number(r[b])),
        (Values::Int(l), Values::Int(r)) => l[a].cmp(&r[b]),
        (Values::Float(l), Values::Float(r)) => l[a].total_cmp(&r[b]),
        (Values::Wide(l), Values::Wide(r)) => l[a].cmp(&r[b]),
        (Values::Bytes(l), Values::Bytes(r)) => l.value(a).cmp(r.value(b)),
        (Values::Rows(l), Values::Rows(r)) => l.row(a).data().cmp(r.row(b).data()),
        _ => Ordering::Equal,
    };
    if options.descending { order.reverse() } else { order }
}

/// The bits of a float in total order, as those that equal numbers share.
fn number(bits: i64) -> i64 {
    key_bits(float_of(bits))
}

fn prefix(column: &Column, row: usize, by: &By) -> u64 {
    if column.is_null(row) {
        return if by.options.nulls_first { 0 } else { u64::MAX };
    }
    let int = |value: i64| (value as u64) ^ (1 << 63);
    let value = match &column.values {
        Values::Int(values) if by.as_number => int(number(values[row])),
        Values::Int(values) => int(values[row]),
        Values::Float(values) => int(super::column::ordered_bits(values[row])),
        Values::Wide(values) => {
            int(values[row].clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
        }
        Values::Bytes(values) => leading_bytes(values.value(row)),
        Values::Rows(rows) => leading_bytes(rows.row(row).data()),
    };
    if by.options.descending { !value } else { value }
}

fn leading_bytes(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    let length = bytes.len().min(8);
    word[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(word)
}

/// A row in an [`OrderedRows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// See [`RowOrder::prefixes`].
    pub prefix: u64,
    /// The row.
    pub slot: u32,
    /// How often it is there; one below zero waits for what it takes back.
    pub count: i32,
}

/// A place in an [`OrderedRows`]; any change makes it void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    block: usize,
    at: usize,
}

/// A sorted list of entries.
#[derive(Debug)]
pub struct OrderedRows {
    blocks: Blocks,
}

#[derive(Debug)]
enum Blocks {
    /// Few entries: most lists.
    One(Vec<Entry>),
    /// Many; no block is empty.
    Many(Vec<Vec<Entry>>),
}

impl Default for OrderedRows {
    fn default() -> Self {
        OrderedRows { blocks: Blocks::One(Vec::new()) }
    }
}

impl OrderedRows {
    fn blocks(&self) -> &[Vec<Entry>] {
        match &self.blocks {
            Blocks::One(block) => std::slice::from_ref(block),
            Blocks::Many(blocks) => blocks,
        }
    }

    fn block_mut(&mut self, index: usize) -> Option<&mut Vec<Entry>> {
        match &mut self.blocks {
            Blocks::One(block) => Some(block),
            Blocks::Many(blocks) => blocks.get_mut(index),
        }
    }

    /// Number of entries, as long as there are few.
    pub fn len_if_small(&self) -> Option<usize> {
        match &self.blocks {
            Blocks::One(block) => Some(block.len()),
            Blocks::Many(_) => None,
        }
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.blocks().iter().all(Vec::is_empty)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.blocks().iter().map(Vec::len).sum()
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.blocks().iter().flatten()
    }

    /// The last entry.
    pub fn last(&self) -> Option<&Entry> {
        self.blocks().last()?.last()
    }

    /// Entries among which there is one with `prefix`, if there is one at all.
    pub fn block_of(&self, prefix: u64) -> &[Entry] {
        match &self.blocks {
            Blocks::One(block) => block,
            Blocks::Many(blocks) => {
                let behind = blocks
                    .partition_point(|block| block.first().is_some_and(|e| e.prefix <= prefix));
                blocks.get(behind.saturating_sub(1)).map_or(&[], Vec::as_slice)
            }
        }
    }

    /// The entry for which `compare` says `Equal`, or else where it belongs.
    pub fn search(
        &self,
        mut compare: impl FnMut(&Entry) -> Ordering,
    ) -> Result<Position, Position> {
        let blocks = self.blocks();
        // The last block whose first entry is not behind what is looked for.
        let block = match blocks.len() {
            0 | 1 => 0,
            _ => blocks
                .partition_point(|b| b.first().is_some_and(|first| compare(first).is_le()))
                .saturating_sub(1),
        };
        let Some(entries) = blocks.get(block) else { return Err(Position { block: 0, at: 0 }) };
        match entries.binary_search_by(compare) {
            Ok(at) => Ok(Position { block, at }),
            Err(at) => Err(Position { block, at }),
        }
    }

    /// The entry at a position found by [`OrderedRows::search`].
    pub fn get_mut(&mut self, position: Position) -> Option<&mut Entry> {
        self.block_mut(position.block)?.get_mut(position.at)
    }

    /// Inserts at a position that [`OrderedRows::search`] gave.
    pub fn insert(&mut self, position: Position, entry: Entry) {
        if let Some(block) = self.block_mut(position.block) {
            if block.capacity() == 0 {
                block.reserve_exact(1);
            }
            block.insert(position.at.min(block.len()), entry);
            if block.len() <= ORDERED_BLOCK_ROWS_MAX {
                return;
            }
        }
        self.split(position.block);
    }

    fn split(&mut self, index: usize) {
        if let Blocks::One(block) = &mut self.blocks {
            let block = std::mem::take(block);
            self.blocks = Blocks::Many(vec![block]);
        }
        if let Blocks::Many(blocks) = &mut self.blocks
            && let Some(block) = blocks.get_mut(index)
        {
            let upper = block.split_off(block.len() / 2);
            blocks.insert(index + 1, upper);
        }
    }

    /// Removes the entry at a position.
    pub fn remove(&mut self, position: Position) {
        match &mut self.blocks {
            Blocks::One(block) => {
                if position.at < block.len() {
                    block.remove(position.at);
                }
            }
            Blocks::Many(blocks) => {
                let Some(block) = blocks.get_mut(position.block) else { return };
                if position.at < block.len() {
                    block.remove(position.at);
                }
                let length = block.len();
                let next = blocks.get(position.block + 1).map(Vec::len);
                if length == 0 {
                    blocks.remove(position.block);
                } else if let Some(next) = next
                    && length + next < ORDERED_BLOCK_ROWS_MAX / 2
                {
                    let moved = blocks.remove(position.block + 1);
                    if let Some(block) = blocks.get_mut(position.block) {
                        block.extend(moved);
                    }
                }
                if blocks.len() <= 1 {
                    let block = blocks.pop().unwrap_or_default();
                    self.blocks = Blocks::One(block);
                }
            }
        }
    }

    /// Removes and returns the last entry.
    pub fn pop(&mut self) -> Option<Entry> {
        let (block, at) = {
            let blocks = self.blocks();
            let block = blocks.len().checked_sub(1)?;
            (block, blocks[block].len().checked_sub(1)?)
        };
        let last = self.last().copied();
        self.remove(Position { block, at });
        last
    }

    /// Removes all entries but the first `kept`, calling `each` with those removed.
    pub fn truncate(&mut self, kept: usize, mut each: impl FnMut(Entry)) {
        match &mut self.blocks {
            Blocks::One(block) => block.drain(kept.min(block.len())..).for_each(each),
            Blocks::Many(_) => {
                let mut length = self.len();
                while length > kept {
                    if let Some(entry) = self.pop() {
                        each(entry);
                    }
                    length -= 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;

    use super::*;

    /// Numbers of which some have the prefix of NULL.
    fn number() -> impl Strategy<Value = Option<i64>> {
        let numbers = [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX];
        prop::option::weighted(0.8, prop::sample::select(numbers.to_vec()))
    }

    fn float() -> impl Strategy<Value = Option<f64>> {
        let lowest = f64::from_bits(u64::MAX);
        let floats = [lowest, -0.0, 0.0, 1.0, f64::from_bits(u64::MAX >> 1)];
        prop::option::weighted(0.8, prop::sample::select(floats.to_vec()))
    }

    /// A pool with one open chunk of rows of a number, a float and a text.
    fn pool(rows: &[(Option<i64>, Option<f64>, String)]) -> (RowPool, SchemaRef, u32) {
        let schema = Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("f", DataType::Float64, true),
            Field::new("t", DataType::Utf8View, true),
        ]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|r| r.1).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|r| Some(r.2.as_str())).collect::<StringViewArray>()),
        ];
        let mut pool = RowPool::new(Arc::clone(&schema)).unwrap();
        let chunk = pool.open(RecordBatch::try_new(Arc::clone(&schema), columns).unwrap());
        (pool, schema, chunk)
    }

    fn position(rows: &OrderedRows, key: u64) -> Result<Position, Position> {
        rows.search(|entry| entry.prefix.cmp(&key))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Prefixes order rows as the whole comparison does, and where they are equal the rest of
        /// it decides as the whole does.
        #[test]
        fn prefixes_and_what_they_leave_open_are_the_order(
            rows in prop::collection::vec((number(), float(), "[ab]{0,10}"), 1..40),
            leading in 0usize..3, descending in any::<bool>(), nulls_first in any::<bool>(),
        ) {
            let (pool, schema, chunk) = pool(&rows);
            let order = RowOrder::new(
                &schema, vec![(leading, SortOptions { descending, nulls_first })], &[],
            );
            let prefixes = order.prefixes(&pool, chunk, rows.len());
            let count = rows.len() as u32;
            let mut candidates = Vec::new();
            for (a, b) in (0..count).flat_map(|a| (0..count).map(move |b| (a, b))) {
                let (place, other) = (RowPool::place(chunk, a), RowPool::place(chunk, b));
                let whole = order.compare(&pool, place, other);
                let prefix = prefixes[a as usize];
                let parts = prefix.cmp(&prefixes[b as usize])
                    .then_with(|| order.compare_tied(&pool, prefix, place, other));
                prop_assert_eq!(parts, whole);
                if prefix == prefixes[b as usize] {
                    candidates.push(Candidate { row: a, prefix, slot: b, place, other });
                }
            }
            let same = |c: &&Candidate| order.compare(&pool, c.place, c.other).is_eq();
            let pairs = |c: &Candidate| (c.row, c.slot);
            let expected: Vec<_> = candidates.iter().filter(same).map(pairs).collect();
            order.retain_same(&pool, &mut candidates);
            prop_assert_eq!(candidates.iter().map(pairs).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn a_list_in_blocks_is_a_sorted_list(
            keys in prop::collection::vec(0u64..3000, 0..4000),
            removed in prop::collection::vec(0u64..3000, 0..4000),
            kept in 0usize..3000,
        ) {
            let mut rows = OrderedRows::default();
            let mut naive = std::collections::BTreeSet::new();
            for (slot, &key) in keys.iter().enumerate() {
                let found = position(&rows, key);
                prop_assert_eq!(found.is_ok(), !naive.insert(key));
                let block = rows.block_of(key);
                prop_assert_eq!(block.iter().any(|e| e.prefix == key), found.is_ok());
                if let Err(at) = found {
                    rows.insert(at, Entry { prefix: key, slot: slot as u32, count: 1 });
                }
            }
            for &key in &removed {
                let found = position(&rows, key);
                prop_assert_eq!(found.is_ok(), naive.remove(&key));
                if let Ok(at) = found {
                    rows.remove(at);
                }
            }
            let mut all: Vec<u64> = naive.into_iter().collect();
            prop_assert_eq!(rows.iter().map(|e| e.prefix).collect::<Vec<_>>(), all.clone());
            prop_assert_eq!(rows.len(), all.len());
            prop_assert_eq!(rows.last().map(|e| e.prefix), all.last().copied());
            let mut gone = Vec::new();
            rows.truncate(kept, |entry| gone.push(entry.prefix));
            gone.sort_unstable();
            let rest = all.split_off(kept.min(all.len()));
            prop_assert_eq!(gone, rest);
            prop_assert_eq!(rows.iter().map(|e| e.prefix).collect::<Vec<_>>(), all);
        }
    }
}
