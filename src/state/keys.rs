//! Group keys: rows of key columns to dense group numbers, and back.
//!
//! Numbers start at 0 and are given again after [`GroupKeys::remove`]. The keys are copies: no
//! input buffer is kept alive. Called by the keyed operators and by distinct sets.

mod encode;
mod store;

use std::ops::Range;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

pub use self::encode::decode_key;
use self::store::{Rows, Store, Stored};
use super::column::{Column, ColumnBuilder, Form, Reading, Values, form_of};
use super::table::PartedTable;
use super::touched::Given;
use crate::batch::hash::{hash_bytes, mix};
use crate::error::{Error, Result};

/// A map from key rows to group numbers.
pub struct GroupKeys {
    types: Vec<DataType>,
    stores: Vec<Store>,
    table: Table,
    free: Vec<u32>,
    issued: u32,
}

enum Table {
    /// No key columns: one group.
    Single { present: bool },
    /// One integer column: the key lies beside its group.
    Int { groups: PartedTable<(i64, u32)>, null: Option<u32> },
    /// Any columns: the hash lies beside the group, the key is in the stores.
    Many { groups: PartedTable<(u64, u32)> },
}

#[inline]
pub(super) fn hash_int(value: i64) -> u64 {
    mix(value as u64, 0x9e37_79b9_7f4a_7c15)
}

pub(super) const NULL_HASH: u64 = 0x8ebc_6af0_9c88_c6e3;

/// A key is read with equal numbers equal.
pub const KEY: Reading = Reading::Key;

impl GroupKeys {
    /// No groups yet, keys of `types`.
    pub fn new(types: Vec<DataType>) -> Self {
        let stores = types.iter().map(Store::new).collect();
        let table = match types.as_slice() {
            [] => Table::Single { present: false },
            [one] if matches!(form_of(one), Form::Int | Form::Float) => {
                Table::Int { groups: PartedTable::default(), null: None }
            }
            _ => Table::Many { groups: PartedTable::default() },
        };
        GroupKeys { types, stores, table, free: Vec::new(), issued: 0 }
    }

    /// The types of the key columns.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// All numbers are below this.
    pub fn bound(&self) -> usize {
        self.issued as usize
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.issued as usize - self.free.len()
    }

    /// Whether there are no groups.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all groups and keeps the memory.
    pub fn clear(&mut self) {
        self.stores.iter_mut().for_each(Store::clear);
        match &mut self.table {
            Table::Single { present } => *present = false,
            Table::Int { groups, null } => {
                groups.clear();
                *null = None;
            }
            Table::Many { groups } => groups.clear(),
        }
        self.free.clear();
        self.issued = 0;
    }

    /// Reads key columns for [`GroupKeys::intern`].
    pub fn read<'a>(columns: impl IntoIterator<Item = &'a ArrayRef>) -> Result<Vec<Column>> {
        columns.into_iter().map(|column| Column::read(column, KEY)).collect()
    }

    /// The groups of the rows `rows` of `columns`, in order, into `groups`; new keys get new
    /// numbers.
    pub fn intern(
        &mut self,
        columns: &[&Column],
        rows: Range<usize>,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        groups.clear();
        groups.reserve(rows.len());
        if columns.len() != self.types.len() {
            return Err(Error::internal("key columns do not fit the group keys"));
        }
        match (&self.table, columns) {
            (Table::Single { .. }, _) if rows.is_empty() => {}
            (Table::Single { .. }, _) => {
                let group = self.single();
                groups.resize(rows.len(), group);
            }
            (Table::Int { .. }, [Column { values: Values::Int(values), nulls }]) => match nulls {
                None => self.intern_ints(values[rows].iter().map(|&v| Some(v)), groups),
                Some(nulls) => self
                    .intern_ints(rows.map(|row| nulls.is_valid(row).then(|| values[row])), groups),
            },
            (Table::Many { .. }, _) => {
                let mut hashes = vec![0; rows.len()];
                for column in columns {
                    hash_column(column, rows.clone(), &mut hashes);
                }
                for (&hash, row) in hashes.iter().zip(rows) {
                    groups.push(self.intern_row(hash, &Rows::Columns(columns), row));
                }
            }
            _ => return Err(Error::internal("a key column is not of its declared type")),
        }
        Ok(())
    }

    /// The groups here of all groups `0..other.bound()` of `other`; `u32::MAX` for removed ones.
    pub fn intern_from(&mut self, other: &GroupKeys, groups: &mut Vec<u32>) -> Result<()> {
        groups.clear();
        match (&self.table, &other.table, other.stores.as_slice()) {
            (Table::Single { .. }, Table::Single { present }, _) => {
                if other.issued > 0 {
                    groups.push(if *present { self.single() } else { u32::MAX });
                }
            }
            (
                Table::Int { .. },
                Table::Int { null, .. },
                [Store { values: Stored::Int(values), .. }],
            ) => {
                let live: Vec<u32> = other.live();
                let mut found = Vec::with_capacity(live.len());
                let key = |&i: &u32| (*null != Some(i)).then(|| values[i as usize]);
                self.intern_ints(live.iter().map(key), &mut found);
                groups.resize(other.bound(), u32::MAX);
                live.iter().zip(found).for_each(|(&i, group)| groups[i as usize] = group);
            }
            (Table::Many { .. }, Table::Many { groups: theirs }, _) => {
                groups.resize(other.bound(), u32::MAX);
                for &(hash, group) in theirs.iter() {
                    let row = group as usize;
                    groups[row] = self.intern_row(hash, &Rows::Stores(&other.stores), row);
                }
            }
            _ => return Err(Error::internal("group keys of different types")),
        }
        Ok(())
    }

    /// All groups.
    pub fn live(&self) -> Vec<u32> {
        if self.free.is_empty() {
            return (0..self.issued).collect();
        }
        let mut is_free = vec![false; self.issued as usize];
        self.free.iter().for_each(|&group| is_free[group as usize] = true);
        (0..self.issued).filter(|&group| !is_free[group as usize]).collect()
    }

    /// All groups, to be given to a snapshot.
    pub fn given(&self) -> Given {
        Given::all(self.bound(), &self.free)
    }

    /// Removes a group; its number may be given to another key.
    pub fn remove(&mut self, group: u32) {
        match &mut self.table {
            Table::Single { present } => *present = false,
            Table::Int { groups, null } => {
                if *null == Some(group) {
                    *null = None;
                } else if let [Store { values: Stored::Int(values), .. }] = self.stores.as_slice()
                    && let Ok(entry) =
                        groups.find_entry(hash_int(values[group as usize]), |e| e.1 == group)
                {
                    entry.remove();
                }
            }
            Table::Many { groups } => {
                let hash = self.stores.iter().fold(0, |h, store| store.hash(group as usize, h));
                if let Ok(entry) = groups.find_entry(hash, |e| e.1 == group) {
                    entry.remove();
                }
            }
        }
        self.stores.iter_mut().for_each(|store| store.forget(group as usize));
        self.free.push(group);
    }

    /// The key columns of `groups`, one row each.
    pub fn columns(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.types
            .iter()
            .zip(&self.stores)
            .map(|(data_type, store)| {
                let mut builder = ColumnBuilder::new(data_type);
                store.append(groups, &mut builder);
                builder.finish()
            })
            .collect()
    }

    /// The integer key of a group of a single column of integers.
    #[inline]
    pub fn int_key(&self, group: u32) -> Option<i64> {
        match self.stores.as_slice() {
            [Store { values: Stored::Int(values), .. }] => values.get(group as usize).copied(),
            _ => None,
        }
    }

    /// The wide key of a group of a single column of decimals.
    #[inline]
    pub fn wide_key(&self, group: u32) -> Option<i128> {
        match self.stores.as_slice() {
            [Store { values: Stored::Wide(values), .. }] => values.get(group as usize).copied(),
            _ => None,
        }
    }

    fn single(&mut self) -> u32 {
        if let Table::Single { present } = &mut self.table {
            *present = true;
        }
        self.free.clear();
        self.issued = 1;
        0
    }

    fn issue(free: &mut Vec<u32>, issued: &mut u32) -> u32 {
        free.pop().unwrap_or_else(|| {
            *issued += 1;
            *issued - 1
        })
    }

    fn intern_ints(&mut self, keys: impl Iterator<Item = Option<i64>>, out: &mut Vec<u32>) {
        let Table::Int { groups, null } = &mut self.table else { return };
        let [store] = self.stores.as_mut_slice() else { return };
        // Keys often repeat in a row: the last one is kept at hand.
        let mut last: Option<(i64, u32)> = None;
        for key in keys {
            let Some(key) = key else {
                let group = *null.get_or_insert_with(|| {
                    let group = Self::issue(&mut self.free, &mut self.issued);
                    store.put_null(group as usize);
                    group
                });
                out.push(group);
                continue;
            };
            if let Some((value, group)) = last
                && value == key
            {
                out.push(group);
                continue;
            }
            let hash = hash_int(key);
            let group = match groups.find(hash, |e| e.0 == key) {
                Some(found) => found.1,
                None => {
                    let group = Self::issue(&mut self.free, &mut self.issued);
                    store.put_int(group as usize, key);
                    groups.insert_unique(hash, (key, group), |e| hash_int(e.0));
                    group
                }
            };
            last = Some((key, group));
            out.push(group);
        }
    }

    fn intern_row(&mut self, hash: u64, rows: &Rows<'_>, row: usize) -> u32 {
        let Table::Many { groups } = &mut self.table else { return 0 };
        let stores = &mut self.stores;
        let equal = |e: &(u64, u32)| e.0 == hash && rows.equal(stores, e.1 as usize, row);
        if let Some(found) = groups.find(hash, equal) {
            return found.1;
        }
        let group = Self::issue(&mut self.free, &mut self.issued);
        rows.copy(stores, group as usize, row);
        groups.insert_unique(hash, (hash, group), |e| e.0);
        group
    }
}

pub(super) fn hash_column(column: &Column, rows: Range<usize>, hashes: &mut [u64]) {
    let each = |hashes: &mut [u64], value: &dyn Fn(usize, u64) -> u64| {
        for (hash, row) in hashes.iter_mut().zip(rows.clone()) {
            *hash = if column.is_null(row) { mix(*hash, NULL_HASH) } else { value(row, *hash) };
        }
    };
    match &column.values {
        Values::Int(v) if column.nulls.is_none() => {
            for (hash, &value) in hashes.iter_mut().zip(&v[rows]) {
                *hash = mix(*hash, value as u64);
            }
        }
        Values::Int(v) => each(hashes, &|row, hash| mix(hash, v[row] as u64)),
        Values::Float(v) => each(hashes, &|row, hash| mix(hash, v[row].to_bits())),
        Values::Wide(v) => each(hashes, &|row, hash| hash_wide(hash, v[row])),
        Values::Bytes(v) if column.nulls.is_none() => {
            for (hash, row) in hashes.iter_mut().zip(rows) {
                *hash = mix(*hash, hash_bytes(v.value(row)));
            }
        }
        Values::Bytes(v) => each(hashes, &|row, hash| mix(hash, hash_bytes(v.value(row)))),
        Values::Rows(v) => each(hashes, &|row, hash| mix(hash, hash_bytes(v.row(row).data()))),
    }
}

fn hash_wide(hash: u64, value: i128) -> u64 {
    mix(mix(hash, value as u64), (value >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray, Int64Array, StringViewArray};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    type Key = (Option<i64>, Option<String>);

    fn columns(keys: &[Key], both: bool) -> Vec<ArrayRef> {
        let ints: ArrayRef = Arc::new(keys.iter().map(|k| k.0).collect::<Int64Array>());
        let text: ArrayRef =
            Arc::new(keys.iter().map(|k| k.1.clone()).collect::<StringViewArray>());
        if both { vec![ints, text] } else { vec![ints] }
    }

    fn check(keys: &[Key], both: bool, removed: &[usize]) {
        let arrays = columns(keys, both);
        let types = arrays.iter().map(|a| a.data_type().clone()).collect::<Vec<_>>();
        let mut map = GroupKeys::new(types.clone());
        let read = GroupKeys::read(&arrays).unwrap();
        let refs: Vec<&Column> = read.iter().collect();
        let mut groups = Vec::new();
        map.intern(&refs, 0..keys.len(), &mut groups).unwrap();
        let key = |k: &Key| (k.0, if both { k.1.clone() } else { None });
        let mut naive: BTreeMap<Key, u32> = BTreeMap::new();
        for (k, &group) in keys.iter().zip(&groups) {
            assert_eq!(*naive.entry(key(k)).or_insert(group), group);
        }
        assert_eq!(naive.len(), map.len());
        assert_eq!(format!("{:?}", map.columns(&groups).unwrap()), format!("{arrays:?}"));

        let mut other = GroupKeys::new(types);
        let mut mapped = Vec::new();
        other.intern(&refs, keys.len() / 2..keys.len(), &mut mapped).unwrap();
        other.intern_from(&map, &mut mapped).unwrap();
        let ids: Vec<u32> = groups.iter().map(|&g| mapped[g as usize]).collect();
        assert_eq!(format!("{:?}", other.columns(&ids).unwrap()), format!("{arrays:?}"));

        for &index in removed {
            if let Some(group) = keys.get(index).and_then(|k| naive.remove(&key(k))) {
                map.remove(group);
            }
        }
        assert_eq!(naive.len(), map.len());
        map.intern(&refs, 0..keys.len(), &mut groups).unwrap();
        assert_eq!(format!("{:?}", map.columns(&groups).unwrap()), format!("{arrays:?}"));
        for (k, group) in keys.iter().zip(&groups) {
            assert_eq!(naive.get(&key(k)).unwrap_or(group), group);
        }
    }

    proptest! {
        #[test]
        fn equal_keys_share_a_group(
            keys in prop::collection::vec(
                (prop::option::of(-3i64..3), prop::option::of("[ab]{0,2}")), 0..40),
            removed in prop::collection::vec(0usize..40, 0..10),
        ) {
            check(&keys, false, &removed);
            check(&keys, true, &removed);
        }
    }

    #[test]
    fn equal_numbers_are_equal_keys() {
        let floats: ArrayRef =
            Arc::new(arrow::array::Float64Array::from(vec![0.0, -0.0, f64::NAN]));
        let mut map = GroupKeys::new(vec![DataType::Float64]);
        let mut groups = Vec::new();
        let read = GroupKeys::read([&floats]).unwrap();
        map.intern(&[&read[0]], 0..3, &mut groups).unwrap();
        assert_eq!(groups, [0, 0, 1]);
    }

    #[test]
    fn without_keys_there_is_one_group() {
        let mut map = GroupKeys::new(Vec::new());
        let mut groups = Vec::new();
        map.intern(&[], 0..3, &mut groups).unwrap();
        assert_eq!((groups.as_slice(), map.len()), ([0, 0, 0].as_slice(), 1));
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        assert_eq!(ints.as_primitive::<Int64Type>().value(0), 7);
    }
}
