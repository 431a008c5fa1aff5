//! The keys by group: one column of values for each key column.

use arrow::datatypes::DataType;

use super::{NULL_HASH, hash_wide};
use crate::batch::hash::{hash_bytes, mix};
use crate::state::column::{Column, ColumnBuilder, Form, Values, form_of};

/// The values of one key column by group.
pub(super) struct Store {
    pub(super) values: Stored,
    /// Absent while no key is NULL.
    valid: Option<Vec<bool>>,
}

pub(super) enum Stored {
    Int(Vec<i64>),
    Wide(Vec<i128>),
    Bytes(Vec<Box<[u8]>>),
}

/// Where key rows are read from.
pub(super) enum Rows<'a> {
    Columns(&'a [&'a Column]),
    Stores(&'a [Store]),
}

impl Rows<'_> {
    #[inline]
    pub(super) fn equal(&self, stores: &[Store], group: usize, row: usize) -> bool {
        match self {
            Rows::Columns(columns) => {
                stores.iter().zip(*columns).all(|(store, column)| store.equals(group, column, row))
            }
            Rows::Stores(others) => stores
                .iter()
                .zip(*others)
                .all(|(store, other)| store.equals_store(group, other, row)),
        }
    }

    pub(super) fn copy(&self, stores: &mut [Store], group: usize, row: usize) {
        match self {
            Rows::Columns(columns) => {
                for (store, column) in stores.iter_mut().zip(*columns) {
                    match &column.values {
                        _ if column.is_null(row) => store.put_null(group),
                        Values::Int(v) => store.put_int(group, v[row]),
                        Values::Wide(v) => store.put_wide(group, v[row]),
                        Values::Bytes(v) => store.put_bytes(group, v.value(row)),
                        Values::Rows(v) => store.put_bytes(group, v.row(row).data()),
                        // Keys are read in `Reading::Key`: never as floats.
                        Values::Float(_) => store.put_null(group),
                    }
                }
            }
            Rows::Stores(others) => {
                for (store, other) in stores.iter_mut().zip(*others) {
                    match &other.values {
                        _ if other.is_null(row) => store.put_null(group),
                        Stored::Int(v) => store.put_int(group, v[row]),
                        Stored::Wide(v) => store.put_wide(group, v[row]),
                        Stored::Bytes(v) => store.put_bytes(group, &v[row]),
                    }
                }
            }
        }
    }
}

impl Store {
    pub(super) fn new(data_type: &DataType) -> Self {
        let values = match form_of(data_type) {
            Form::Int | Form::Float => Stored::Int(Vec::new()),
            Form::Wide => Stored::Wide(Vec::new()),
            Form::Bytes | Form::Rows => Stored::Bytes(Vec::new()),
        };
        Store { values, valid: None }
    }

    pub(super) fn clear(&mut self) {
        self.valid = None;
        match &mut self.values {
            Stored::Int(v) => v.clear(),
            Stored::Wide(v) => v.clear(),
            Stored::Bytes(v) => v.clear(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.values {
            Stored::Int(v) => v.len(),
            Stored::Wide(v) => v.len(),
            Stored::Bytes(v) => v.len(),
        }
    }

    #[inline]
    pub(super) fn is_null(&self, group: usize) -> bool {
        self.valid.as_ref().is_some_and(|valid| !valid[group])
    }

    pub(super) fn mark(&mut self, group: usize, is_valid: bool) {
        if self.valid.is_none() && is_valid {
            return;
        }
        let length = self.len();
        let valid = self.valid.get_or_insert_with(Vec::new);
        valid.resize(length, true);
        valid[group] = is_valid;
    }

    pub(super) fn put_int(&mut self, group: usize, value: i64) {
        if let Stored::Int(values) = &mut self.values {
            set(values, group, value);
        }
        self.mark(group, true);
    }

    pub(super) fn put_wide(&mut self, group: usize, value: i128) {
        if let Stored::Wide(values) = &mut self.values {
            set(values, group, value);
        }
        self.mark(group, true);
    }

    pub(super) fn put_bytes(&mut self, group: usize, value: &[u8]) {
        if let Stored::Bytes(values) = &mut self.values {
            set(values, group, value.into());
        }
        self.mark(group, true);
    }

    pub(super) fn put_null(&mut self, group: usize) {
        match &mut self.values {
            Stored::Int(values) => set(values, group, 0),
            Stored::Wide(values) => set(values, group, 0),
            Stored::Bytes(values) => set(values, group, Box::default()),
        }
        self.mark(group, false);
    }

    /// Gives back the memory of a removed group's key.
    pub(super) fn forget(&mut self, group: usize) {
        if let Stored::Bytes(values) = &mut self.values
            && let Some(value) = values.get_mut(group)
        {
            *value = Box::default();
        }
    }

    pub(super) fn hash(&self, group: usize, hash: u64) -> u64 {
        if self.is_null(group) {
            return mix(hash, NULL_HASH);
        }
        match &self.values {
            Stored::Int(v) => mix(hash, v[group] as u64),
            Stored::Wide(v) => hash_wide(hash, v[group]),
            Stored::Bytes(v) => mix(hash, hash_bytes(&v[group])),
        }
    }

    #[inline]
    pub(super) fn equals(&self, group: usize, column: &Column, row: usize) -> bool {
        let null = self.is_null(group);
        if null || column.is_null(row) {
            return null == column.is_null(row);
        }
        match (&self.values, &column.values) {
            (Stored::Int(a), Values::Int(b)) => a[group] == b[row],
            (Stored::Wide(a), Values::Wide(b)) => a[group] == b[row],
            (Stored::Bytes(a), Values::Bytes(b)) => *a[group] == *b.value(row),
            (Stored::Bytes(a), Values::Rows(b)) => *a[group] == *b.row(row).data(),
            _ => false,
        }
    }

    pub(super) fn equals_store(&self, group: usize, other: &Store, row: usize) -> bool {
        let null = self.is_null(group);
        if null || other.is_null(row) {
            return null == other.is_null(row);
        }
        match (&self.values, &other.values) {
            (Stored::Int(a), Stored::Int(b)) => a[group] == b[row],
            (Stored::Wide(a), Stored::Wide(b)) => a[group] == b[row],
            (Stored::Bytes(a), Stored::Bytes(b)) => a[group] == b[row],
            _ => false,
        }
    }

    pub(super) fn append(&self, groups: &[u32], builder: &mut ColumnBuilder) {
        for &group in groups {
            let group = group as usize;
            match &self.values {
                _ if self.is_null(group) => builder.push_null(),
                Stored::Int(v) => builder.push_int(v[group]),
                Stored::Wide(v) => builder.push_wide(v[group]),
                Stored::Bytes(v) => builder.push_bytes(&v[group]),
            }
        }
    }
}

/// Sets `values[index]`, which lies at most one behind the end.
fn set<T>(values: &mut Vec<T>, index: usize, value: T) {
    match values.get_mut(index) {
        Some(slot) => *slot = value,
        None => values.push(value),
    }
}
