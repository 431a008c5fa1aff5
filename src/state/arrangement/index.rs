//! Keys to chains of slots.
//!
//! A chain is linked through its slots, which the arrangement keeps; here are their heads. A key of
//! one number stands in the table itself, others by their hash, and the row at the chain's head
//! says which key it is.

use arrow::array::ArrayRef;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;

use crate::error::Result;
use crate::state::column::{Column, Values};
use crate::state::keys::{GroupKeys, hash_column, hash_int};
use crate::state::table::PartedTable;

/// The end of a chain.
pub const NONE: u32 = u32::MAX;

/// A key as it is looked up: the number that it is, or its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The number or hash.
    pub word: u64,
    /// Whether a column of it is NULL.
    pub null: bool,
}

/// Key columns of a batch, and the tag of each row.
pub struct KeyColumns {
    /// The columns, equal numbers equal.
    pub columns: Vec<Column>,
    words: Vec<u64>,
    nulls: Option<Vec<bool>>,
}

impl KeyColumns {
    /// Reads the key columns of `rows` rows.
    pub fn read<'a>(
        arrays: impl IntoIterator<Item = &'a ArrayRef>,
        rows: usize,
    ) -> Result<KeyColumns> {
        let columns = GroupKeys::read(arrays)?;
        let words = match columns.as_slice() {
            [Column { values: Values::Int(values), .. }] => {
                values.iter().map(|&value| value as u64).collect()
            }
            _ => {
                let mut hashes = vec![0; rows];
                columns.iter().for_each(|column| hash_column(column, 0..rows, &mut hashes));
                hashes
            }
        };
        let nulls = columns.iter().any(|c| c.nulls.is_some()).then(|| {
            (0..rows).map(|row| columns.iter().any(|c| c.is_null(row))).collect::<Vec<_>>()
        });
        Ok(KeyColumns { columns, words, nulls })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether a key column of row `row` is NULL.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls[row])
    }

    /// The tag of row `row`.
    #[inline]
    pub fn tag(&self, row: usize) -> Tag {
        Tag { word: self.words[row], null: self.is_null(row) }
    }
}

/// A chain.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    word: u64,
    /// Its first slot.
    pub head: u32,
    /// How many slots it has.
    pub len: u32,
}

/// Keys to chains.
pub struct Index {
    chains: PartedTable<Chain>,
    /// The chain of NULL, where tags are numbers.
    null: Option<Chain>,
    /// Whether tags are numbers: equal tags are equal keys.
    exact: bool,
}

impl Index {
    /// No keys yet; `exact`: the key is one column of numbers.
    pub fn new(exact: bool) -> Self {
        Index { chains: PartedTable::default(), null: None, exact }
    }

    #[inline]
    fn hash(exact: bool, word: u64) -> u64 {
        if exact { hash_int(word as i64) } else { word }
    }

    /// The chain of a key; `same` says whether the row of a slot has it.
    #[inline]
    pub fn find(&self, tag: Tag, same: impl Fn(u32) -> bool) -> Option<Chain> {
        if self.exact && tag.null {
            return self.null;
        }
        let is_it = |c: &Chain| c.word == tag.word && (self.exact || same(c.head));
        self.chains.find(Self::hash(self.exact, tag.word), is_it).copied()
    }

    /// Puts `slot` at the head of its chain; what was there before.
    #[inline]
    pub fn push(&mut self, tag: Tag, slot: u32, same: impl Fn(u32) -> bool) -> u32 {
        let exact = self.exact;
        let chain = if exact && tag.null {
            self.null.get_or_insert(Chain { word: 0, head: NONE, len: 0 })
        } else {
            let is_it = |c: &Chain| c.word == tag.word && (exact || same(c.head));
            let hash = |c: &Chain| Self::hash(exact, c.word);
            match self.chains.entry(Self::hash(exact, tag.word), is_it, hash) {
                Place::Occupied(found) => found.into_mut(),
                Place::Vacant(place) => {
                    place.insert(Chain { word: tag.word, head: slot, len: 1 });
                    return NONE;
                }
            }
        };
        let before = chain.head;
        chain.head = slot;
        chain.len += 1;
        before
    }

    /// Takes one slot out of its chain: if it was the head, `next` is the head now.
    pub fn drop_one(&mut self, tag: Tag, slot: u32, next: u32, same: impl Fn(u32) -> bool) {
        let exact = self.exact;
        if exact && tag.null {
            if let Some(chain) = &mut self.null {
                chain.len -= 1;
                if chain.head == slot {
                    chain.head = next;
                }
                if chain.len == 0 {
                    self.null = None;
                }
            }
            return;
        }
        let is_it = |c: &Chain| c.word == tag.word && (exact || same(c.head));
        if let Ok(mut found) = self.chains.find_entry(Self::hash(exact, tag.word), is_it) {
            let chain = found.get_mut();
            chain.len -= 1;
            if chain.head == slot {
                chain.head = next;
            }
            if chain.len == 0 {
                found.remove();
            }
        }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.chains.len() + usize::from(self.null.is_some())
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.chains.allocation_size()
    }
}

/// Empties a table that is filled anew each step, at the cost of what was in it: not of what it
/// once held, as the memory of a table that has grown must be wiped whole.
pub fn wipe<T>(table: &mut HashTable<T>) {
    const SMALL: usize = 1024;
    if table.capacity() > SMALL.max(8 * table.len()) {
        *table = HashTable::new();
    } else {
        table.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_table_keeps_memory_for_steps_of_its_size_alone() {
        let mut table = HashTable::new();
        let fill = |table: &mut HashTable<u64>, count: u64| {
            (0..count).for_each(|n| {
                table.insert_unique(hash_int(n as i64), n, |n| hash_int(*n as i64));
            });
        };
        fill(&mut table, 10_000);
        wipe(&mut table);
        assert!(table.is_empty() && table.capacity() >= 10_000);
        fill(&mut table, 10);
        wipe(&mut table);
        assert!(table.is_empty() && table.capacity() < 1024);
        fill(&mut table, 10);
        let held = table.capacity();
        wipe(&mut table);
        assert!(table.is_empty() && table.capacity() == held);
    }
}
