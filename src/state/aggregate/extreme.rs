//! `MIN`, `MAX`, `FIRST_VALUE`, `LAST_VALUE` of append-only input; `MIN`, `MAX` of any input.
//!
//! `FIRST_VALUE` is the least, `LAST_VALUE` the greatest pair of event time and value. Without
//! retractions one value a group is enough; with them an ordered multiset is kept.

use std::any::Any;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::BinaryViewArray;
use arrow::row::Rows;

use super::{AggregateState, StepInput, same};
use crate::error::{Error, Result};
use crate::state::column::{Column, ColumnBuilder, Values};
use crate::state::encode::Encode;
use crate::state::saved::{LoadedColumns, SavedColumns};

/// A form of values that can be compared.
pub(super) trait Kind: 'static {
    /// A column in this form.
    type Reader<'a>;
    /// A value in a column.
    type Item<'a>: Ord + Copy;
    /// A value in a state.
    type Owned: Ord + Clone + Default + Encode + Send;

    fn reader<'a>(column: &'a Column, times: &'a [i64]) -> Option<Self::Reader<'a>>;
    fn item<'a>(reader: &Self::Reader<'a>, row: usize) -> Self::Item<'a>;
    fn borrow(owned: &Self::Owned) -> Self::Item<'_>;
    fn compare(item: Self::Item<'_>, owned: &Self::Owned) -> Ordering;
    fn store(owned: &mut Self::Owned, item: Self::Item<'_>);
    fn push(owned: &Self::Owned, out: &mut ColumnBuilder);
}

/// [`Values::Int`].
pub(super) struct Ints;
/// [`Values::Wide`].
pub(super) struct Wides;
/// [`Values::Bytes`] and [`Values::Rows`].
pub(super) struct Bytes;
/// Pairs of event time and value.
pub(super) struct Timed<K>(std::marker::PhantomData<K>);

impl Kind for Ints {
    type Reader<'a> = &'a [i64];
    type Item<'a> = i64;
    type Owned = i64;

    fn reader<'a>(column: &'a Column, _times: &'a [i64]) -> Option<&'a [i64]> {
        match &column.values {
            Values::Int(values) => Some(values),
            _ => None,
        }
    }

    #[inline]
    fn item<'a>(reader: &Self::Reader<'a>, row: usize) -> Self::Item<'a> {
        reader[row]
    }

    #[inline]
    fn borrow(owned: &i64) -> i64 {
        *owned
    }

    #[inline]
    fn compare(item: i64, owned: &i64) -> Ordering {
        item.cmp(owned)
    }

    #[inline]
    fn store(owned: &mut i64, item: i64) {
        *owned = item;
    }

    fn push(owned: &i64, out: &mut ColumnBuilder) {
        out.push_int(*owned);
    }
}

impl Kind for Wides {
    type Reader<'a> = &'a [i128];
    type Item<'a> = i128;
    type Owned = i128;

    fn reader<'a>(column: &'a Column, _times: &'a [i64]) -> Option<&'a [i128]> {
        match &column.values {
            Values::Wide(values) => Some(values),
            _ => None,
        }
    }

    #[inline]
    fn item<'a>(reader: &Self::Reader<'a>, row: usize) -> Self::Item<'a> {
        reader[row]
    }

    #[inline]
    fn borrow(owned: &i128) -> i128 {
        *owned
    }

    #[inline]
    fn compare(item: i128, owned: &i128) -> Ordering {
        item.cmp(owned)
    }

    #[inline]
    fn store(owned: &mut i128, item: i128) {
        *owned = item;
    }

    fn push(owned: &i128, out: &mut ColumnBuilder) {
        out.push_wide(*owned);
    }
}

/// Where byte strings are read from.
pub(super) enum BytesReader<'a> {
    Views(&'a BinaryViewArray),
    Rows(&'a Rows),
}

impl<'a> BytesReader<'a> {
    pub(super) fn new(column: &'a Column) -> Option<Self> {
        match &column.values {
            Values::Bytes(values) => Some(BytesReader::Views(values)),
            Values::Rows(rows) => Some(BytesReader::Rows(rows)),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn get(&self, row: usize) -> &'a [u8] {
        match self {
            BytesReader::Views(values) => values.value(row),
            BytesReader::Rows(rows) => rows.row(row).data(),
        }
    }
}

impl Kind for Bytes {
    type Reader<'a> = BytesReader<'a>;
    type Item<'a> = &'a [u8];
    type Owned = Vec<u8>;

    fn reader<'a>(column: &'a Column, _times: &'a [i64]) -> Option<BytesReader<'a>> {
        BytesReader::new(column)
    }

    #[inline]
    fn item<'a>(reader: &Self::Reader<'a>, row: usize) -> Self::Item<'a> {
        reader.get(row)
    }

    #[inline]
    fn borrow(owned: &Vec<u8>) -> &[u8] {
        owned
    }

    #[inline]
    fn compare(item: &[u8], owned: &Vec<u8>) -> Ordering {
        item.cmp(owned.as_slice())
    }

    fn store(owned: &mut Vec<u8>, item: &[u8]) {
        owned.clear();
        owned.extend_from_slice(item);
    }

    fn push(owned: &Vec<u8>, out: &mut ColumnBuilder) {
        out.push_bytes(owned);
    }
}

impl<K: Kind> Kind for Timed<K> {
    type Reader<'a> = (&'a [i64], K::Reader<'a>);
    type Item<'a> = (i64, K::Item<'a>);
    type Owned = (i64, K::Owned);

    fn reader<'a>(column: &'a Column, times: &'a [i64]) -> Option<Self::Reader<'a>> {
        Some((times, K::reader(column, times)?))
    }

    #[inline]
    fn item<'a>(reader: &Self::Reader<'a>, row: usize) -> Self::Item<'a> {
        (reader.0[row], K::item(&reader.1, row))
    }

    #[inline]
    fn borrow(owned: &Self::Owned) -> Self::Item<'_> {
        (owned.0, K::borrow(&owned.1))
    }

    #[inline]
    fn compare(item: Self::Item<'_>, owned: &Self::Owned) -> Ordering {
        item.0.cmp(&owned.0).then_with(|| K::compare(item.1, &owned.1))
    }

    fn store(owned: &mut Self::Owned, item: Self::Item<'_>) {
        owned.0 = item.0;
        K::store(&mut owned.1, item.1);
    }

    fn push(owned: &Self::Owned, out: &mut ColumnBuilder) {
        K::push(&owned.1, out);
    }
}

pub(super) fn misread() -> Error {
    Error::internal("the argument of an aggregate is not of its form")
}

/// The least or greatest item of append-only input.
pub(super) struct Extreme<K: Kind> {
    column: usize,
    selection: usize,
    greatest: bool,
    best: Vec<K::Owned>,
    present: Vec<bool>,
}

impl<K: Kind> Extreme<K> {
    pub(super) fn new(column: usize, selection: usize, greatest: bool) -> Self {
        Extreme { column, selection, greatest, best: Vec::new(), present: Vec::new() }
    }

    #[inline]
    fn offer(&mut self, group: usize, item: K::Item<'_>) {
        let best = &mut self.best[group];
        let present = &mut self.present[group];
        let order = K::compare(item, best);
        let better = if self.greatest { order.is_gt() } else { order.is_lt() };
        if better || !*present {
            K::store(best, item);
            *present = true;
        }
    }
}

impl<K: Kind> AggregateState for Extreme<K> {
    fn resize(&mut self, groups: usize) {
        self.best.resize_with(groups, Default::default);
        self.present.resize(groups, false);
    }

    fn update(&mut self, input: &StepInput, rows: Range<usize>, groups: &[u32]) -> Result<()> {
        let column = input.column(self.column)?;
        let reader = K::reader(column, &input.times).ok_or_else(misread)?;
        input.for_each(self.selection, rows, groups, |row, group, _| {
            self.offer(group, K::item(&reader, row));
        });
        Ok(())
    }

    fn merge(&mut self, other: &dyn AggregateState, groups: &[u32]) -> Result<()> {
        let other = same::<Self>(other)?;
        for (&group, (best, present)) in groups.iter().zip(other.best.iter().zip(&other.present)) {
            if *present {
                self.offer(group as usize, K::borrow(best));
            }
        }
        Ok(())
    }

    fn absorb(&mut self, pairs: &[(u32, u32)]) {
        for &(from, into) in pairs {
            let best = std::mem::take(&mut self.best[from as usize]);
            if std::mem::take(&mut self.present[from as usize]) {
                self.offer(into as usize, K::borrow(&best));
            }
        }
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.best[group as usize] = Default::default();
            self.present[group as usize] = false;
        }
    }

    fn reset(&mut self) {
        self.best.clear();
        self.present.clear();
    }

    fn append(&self, _member: usize, groups: &[u32], out: &mut ColumnBuilder) -> Result<()> {
        for &group in groups {
            if self.present[group as usize] {
                K::push(&self.best[group as usize], out);
            } else {
                out.push_null();
            }
        }
        Ok(())
    }

    fn save(&self, groups: &[u32], out: &mut SavedColumns) {
        let best = |&group: &u32| {
            let group = group as usize;
            self.present[group].then(|| &self.best[group])
        };
        out.encoded(groups.iter().map(best), |best, out| {
            best.is_some().encode(out);
            best.into_iter().for_each(|best| best.encode(out));
        });
    }

    fn load(&mut self, groups: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        saved.values(|row, best: Option<K::Owned>| {
            let group = groups[row] as usize;
            self.present[group] = best.is_some();
            self.best[group] = best.unwrap_or_default();
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The least or greatest item of input with retractions: all items with their multiplicities.
///
/// A retraction may come before what it retracts: multiplicities below zero wait, unseen.
pub(super) struct Multiset<K: Kind> {
    column: usize,
    selection: usize,
    greatest: bool,
    items: Vec<BTreeMap<K::Owned, i64>>,
}

impl<K: Kind> Multiset<K> {
    pub(super) fn new(column: usize, selection: usize, greatest: bool) -> Self {
        Multiset { column, selection, greatest, items: Vec::new() }
    }

    fn add(&mut self, group: usize, item: K::Owned, diff: i64) {
        use std::collections::btree_map::Entry;
        match self.items[group].entry(item) {
            Entry::Vacant(entry) => {
                entry.insert(diff);
            }
            Entry::Occupied(mut entry) => {
                *entry.get_mut() += diff;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
    }
}

impl<K: Kind> AggregateState for Multiset<K> {
    fn resize(&mut self, groups: usize) {
        self.items.resize_with(groups, BTreeMap::new);
    }

    fn update(&mut self, input: &StepInput, rows: Range<usize>, groups: &[u32]) -> Result<()> {
        let column = input.column(self.column)?;
        let reader = K::reader(column, &input.times).ok_or_else(misread)?;
        input.for_each(self.selection, rows, groups, |row, group, diff| {
            let mut item = K::Owned::default();
            K::store(&mut item, K::item(&reader, row));
            self.add(group, item, diff);
        });
        Ok(())
    }

    fn merge(&mut self, other: &dyn AggregateState, groups: &[u32]) -> Result<()> {
        for (&group, items) in groups.iter().zip(&same::<Self>(other)?.items) {
            items.iter().for_each(|(item, diff)| self.add(group as usize, item.clone(), *diff));
        }
        Ok(())
    }

    fn absorb(&mut self, pairs: &[(u32, u32)]) {
        for &(from, into) in pairs {
            let items = std::mem::take(&mut self.items[from as usize]);
            items.into_iter().for_each(|(item, diff)| self.add(into as usize, item, diff));
        }
    }

    fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|&group| self.items[group as usize].clear());
    }

    fn reset(&mut self) {
        self.items.clear();
    }

    fn append(&self, _member: usize, groups: &[u32], out: &mut ColumnBuilder) -> Result<()> {
        for &group in groups {
            let items = &self.items[group as usize];
            let mut present = items.iter().filter(|(_, count)| **count > 0);
            let best = if self.greatest { present.next_back() } else { present.next() };
            match best {
                Some((item, _)) => K::push(item, out),
                None => out.push_null(),
            }
        }
        Ok(())
    }

    fn save(&self, groups: &[u32], out: &mut SavedColumns) {
        out.values(groups.iter().map(|&group| &self.items[group as usize]));
    }

    fn load(&mut self, groups: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        saved.values(|row, items| self.items[groups[row] as usize] = items)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
