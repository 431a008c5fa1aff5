//! Rows by slot: one store a column, rows put in and read out many at a time.
//!
//! Slots are dense numbers; those of removed rows are given again. The rows are copies: no input
//! buffer is kept alive, and what is read out shares nothing with the store. Called by
//! arrangements and by operators that keep rows of their own.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringViewBuilder};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};

use super::arena::Arena;
use super::column::{
    Column, ColumnBuilder, Form, Reading, Values, finish_ints, float_of, form_of, ordered_bits,
};
use super::pages::{Bits, Pages};
use crate::error::{Error, ErrorKind, Result};

/// Rows of one schema by slot.
pub struct RowStore {
    schema: SchemaRef,
    stores: Vec<Store>,
    free: Vec<u32>,
    issued: usize,
}

/// One column by slot.
struct Store {
    data_type: DataType,
    values: Stored,
    /// Absent while no row was NULL.
    nulls: Option<Bits>,
}

enum Stored {
    /// Integers that need no more than 32 bits.
    Narrow(Pages<i32>),
    /// Other integers, and floats by their ordered bits.
    Int(Pages<i64>),
    Wide(Pages<i128>),
    Bytes(Arena),
}

/// Rows of columns: a run of them, or some.
#[derive(Clone)]
pub enum Picked<'a> {
    /// Rows that follow one another.
    Run(Range<usize>),
    /// These rows.
    Some(&'a [u32]),
}

impl Picked<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Picked::Run(run) => run.len(),
            Picked::Some(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row at `index` of them.
    #[inline]
    pub fn row(&self, index: usize) -> usize {
        match self {
            Picked::Run(run) => run.start + index,
            Picked::Some(rows) => rows[index] as usize,
        }
    }
}

impl RowStore {
    /// No rows yet.
    pub fn new(schema: &SchemaRef) -> Self {
        let stores = schema.fields().iter().map(|f| Store::new(f.data_type())).collect();
        RowStore { schema: Arc::clone(schema), stores, free: Vec::new(), issued: 0 }
    }

    /// The schema of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.issued - self.free.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All slots are below this.
    pub fn bound(&self) -> usize {
        self.issued
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let stores = self.stores.iter().map(Store::bytes).sum::<usize>();
        stores + self.free.capacity() * size_of::<u32>()
    }

    /// Reads columns for [`RowStore::insert_columns`] and [`RowStore::equals`].
    pub fn read<'a>(columns: impl IntoIterator<Item = &'a ArrayRef>) -> Result<Vec<Column>> {
        columns.into_iter().map(|column| Column::read(column, Reading::Ordered)).collect()
    }

    /// Puts in all `rows`; `slots` becomes where, in their order.
    pub fn insert(&mut self, rows: &RecordBatch, slots: &mut Vec<u32>) -> Result<()> {
        let columns = RowStore::read(rows.columns())?;
        self.insert_columns(&columns, Picked::Run(0..rows.num_rows()), slots)
    }

    /// Puts in the `rows` of `columns`, as [`RowStore::read`] made them; `slots` becomes where.
    ///
    /// Where nothing was ever removed the new slots follow one another.
    pub fn insert_columns(
        &mut self,
        columns: &[Column],
        rows: Picked<'_>,
        slots: &mut Vec<u32>,
    ) -> Result<()> {
        slots.clear();
        let reused = self.free.len().min(rows.len());
        slots.extend(self.free.drain(self.free.len() - reused..));
        let end = self.issued + rows.len() - reused;
        if end >= u32::MAX as usize {
            return Err(Error::new(ErrorKind::Limit, "an operator's state has 4 billion rows")
                .with_hint("run the job on more workers"));
        }
        slots.extend(self.issued as u32..end as u32);
        self.issued = end;
        for (store, column) in self.stores.iter_mut().zip(columns) {
            store.insert(column, &rows, slots, reused);
        }
        Ok(())
    }

    /// Forgets the row of `slot`, which may be given to another row.
    pub fn remove(&mut self, slot: u32) {
        for store in &mut self.stores {
            if let Stored::Bytes(arena) = &mut store.values {
                arena.forget(slot as usize);
            }
        }
        self.free.push(slot);
    }

    /// The columns of the rows of `slots`, one row each.
    pub fn columns(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.stores.iter().map(|store| store.gather(slots)).collect()
    }

    /// One column of the rows of `slots`.
    pub fn column(&self, column: usize, slots: &[u32]) -> Result<ArrayRef> {
        match self.stores.get(column) {
            Some(store) => store.gather(slots),
            None => Err(Error::internal("a row store has no such column")),
        }
    }

    /// Whether the row of `slot` is row `row` of `columns`: NULLs are equal, floats by their bits.
    #[inline]
    pub fn equals(&self, slot: u32, columns: &[Column], row: usize) -> bool {
        let mut all = self.stores.iter().zip(columns);
        all.all(|(store, column)| store.equals(slot as usize, column, row))
    }

    /// Whether a column of a row is NULL.
    #[inline]
    pub fn is_null(&self, column: usize, slot: u32) -> bool {
        self.stores[column].is_null(slot as usize)
    }

    /// Whether column `column` of a row is, as a key, row `row` of `key`, which was read as
    /// [`Reading::Key`].
    #[inline]
    pub fn key_is(&self, column: usize, slot: u32, key: &Column, row: usize) -> bool {
        let (store, slot) = (&self.stores[column], slot as usize);
        let null = store.is_null(slot);
        if null || key.is_null(row) {
            return null == key.is_null(row);
        }
        match (&store.values, &key.values) {
            (Stored::Int(v), Values::Int(k)) if form_of(&store.data_type) == Form::Float => {
                key_of(v.get(slot)) == k[row]
            }
            _ => store.equals(slot, key, row),
        }
    }

    /// Whether column `column` of a row is, as a key, column `other_column` of a row of `other`.
    #[inline]
    pub fn same_key(
        &self,
        (column, slot): (usize, u32),
        other: &RowStore,
        (other_column, other_slot): (usize, u32),
    ) -> bool {
        let (a, b) = (&self.stores[column], &other.stores[other_column]);
        let (i, j) = (slot as usize, other_slot as usize);
        let null = a.is_null(i);
        if null || b.is_null(j) {
            return null == b.is_null(j);
        }
        match (&a.values, &b.values) {
            (Stored::Wide(a), Stored::Wide(b)) => a.get(i) == b.get(j),
            (Stored::Bytes(a), Stored::Bytes(b)) => a.get(i) == b.get(j),
            (Stored::Int(x), Stored::Int(y)) if form_of(&a.data_type) == Form::Float => {
                key_of(x.get(i)) == key_of(y.get(j))
            }
            _ => match (a.int(i), b.int(j)) {
                (Some(x), Some(y)) => x == y,
                _ => false,
            },
        }
    }
}

/// The ordered bits of a float as those of a key: one zero, one NaN.
#[inline]
fn key_of(bits: i64) -> i64 {
    let value = float_of(bits);
    if value == 0.0 {
        ordered_bits(0.0)
    } else if value.is_nan() {
        ordered_bits(f64::NAN)
    } else {
        bits
    }
}

fn is_narrow(data_type: &DataType) -> bool {
    use DataType as D;
    matches!(
        data_type,
        D::Int8
            | D::Int16
            | D::Int32
            | D::UInt8
            | D::UInt16
            | D::Date32
            | D::Time32(_)
            | D::Boolean
    )
}

impl Store {
    fn new(data_type: &DataType) -> Self {
        let values = match form_of(data_type) {
            Form::Int if is_narrow(data_type) => Stored::Narrow(Pages::default()),
            Form::Int | Form::Float => Stored::Int(Pages::default()),
            Form::Wide => Stored::Wide(Pages::default()),
            Form::Bytes | Form::Rows => Stored::Bytes(Arena::default()),
        };
        Store { data_type: data_type.clone(), values, nulls: None }
    }

    fn bytes(&self) -> usize {
        let values = match &self.values {
            Stored::Narrow(v) => v.bytes(),
            Stored::Int(v) => v.bytes(),
            Stored::Wide(v) => v.bytes(),
            Stored::Bytes(v) => v.bytes(),
        };
        values + self.nulls.as_ref().map_or(0, Bits::bytes)
    }

    #[inline]
    fn is_null(&self, slot: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.get(slot))
    }

    #[inline]
    fn int(&self, slot: usize) -> Option<i64> {
        match &self.values {
            Stored::Narrow(v) => Some(i64::from(v.get(slot))),
            Stored::Int(v) => Some(v.get(slot)),
            _ => None,
        }
    }

    #[inline]
    fn equals(&self, slot: usize, column: &Column, row: usize) -> bool {
        let null = self.is_null(slot);
        if null || column.is_null(row) {
            return null == column.is_null(row);
        }
        match (&self.values, &column.values) {
            (Stored::Narrow(a), Values::Int(b)) => i64::from(a.get(slot)) == b[row],
            (Stored::Int(a), Values::Int(b)) => a.get(slot) == b[row],
            (Stored::Wide(a), Values::Wide(b)) => a.get(slot) == b[row],
            (Stored::Bytes(a), Values::Bytes(b)) => a.get(slot) == b.value(row),
            (Stored::Bytes(a), Values::Rows(b)) => a.get(slot) == b.row(row).data(),
            _ => false,
        }
    }

    /// Puts the `rows` of `column` at `slots`, the first `reused` of which were used before.
    fn insert(&mut self, column: &Column, rows: &Picked<'_>, slots: &[u32], reused: usize) {
        match (&mut self.values, &column.values) {
            (Stored::Narrow(to), Values::Int(from)) => {
                put(to, slots, reused, |i| from[rows.row(i)] as i32);
            }
            (Stored::Int(to), Values::Int(from)) => match rows {
                Picked::Run(run) if reused == 0 => to.extend_from_slice(&from[run.clone()]),
                _ => put(to, slots, reused, |i| from[rows.row(i)]),
            },
            (Stored::Wide(to), Values::Wide(from)) => {
                put(to, slots, reused, |i| from[rows.row(i)]);
            }
            (Stored::Bytes(to), Values::Bytes(from)) => {
                for (i, &slot) in slots.iter().enumerate() {
                    to.put(slot as usize, from.value(rows.row(i)));
                }
            }
            (Stored::Bytes(to), Values::Rows(from)) => {
                for (i, &slot) in slots.iter().enumerate() {
                    to.put(slot as usize, from.row(rows.row(i)).data());
                }
            }
            _ => {}
        }
        if self.nulls.is_none() && column.nulls.is_none() {
            return;
        }
        let nulls = self.nulls.get_or_insert_with(Bits::default);
        for (i, &slot) in slots.iter().enumerate() {
            nulls.set(slot as usize, column.is_null(rows.row(i)));
        }
    }

    fn gather(&self, slots: &[u32]) -> Result<ArrayRef> {
        let nulls = self.nulls.as_ref().map(|nulls| {
            NullBuffer::from_iter(slots.iter().map(|&slot| !nulls.get(slot as usize)))
        });
        let nulls = nulls.filter(|n| n.null_count() > 0);
        let each = slots.iter().map(|&slot| slot as usize);
        match &self.values {
            Stored::Narrow(v) => {
                let values = each.map(|slot| i64::from(v.get(slot))).collect();
                finish_ints(values, nulls, &self.data_type)
            }
            Stored::Int(v) if form_of(&self.data_type) == Form::Float => {
                let values: Vec<f64> = each.map(|slot| float_of(v.get(slot))).collect();
                let array: ArrayRef = Arc::new(Float64Array::new(values.into(), nulls));
                match &self.data_type {
                    DataType::Float64 => Ok(array),
                    other => Ok(cast(&array, other)?),
                }
            }
            Stored::Int(v) => {
                finish_ints(each.map(|slot| v.get(slot)).collect(), nulls, &self.data_type)
            }
            Stored::Bytes(v) if self.data_type == DataType::Utf8View && nulls.is_none() => {
                let mut builder = StringViewBuilder::with_capacity(slots.len());
                for slot in each {
                    builder.append_value(text(v.get(slot))?);
                }
                Ok(Arc::new(builder.finish()))
            }
            Stored::Bytes(v) => self.build(slots, |builder, slot| builder.push_bytes(v.get(slot))),
            Stored::Wide(v) => self.build(slots, |builder, slot| builder.push_wide(v.get(slot))),
        }
    }

    fn build(
        &self,
        slots: &[u32],
        mut push: impl FnMut(&mut ColumnBuilder, usize),
    ) -> Result<ArrayRef> {
        let mut builder = ColumnBuilder::new(&self.data_type);
        for &slot in slots {
            match self.is_null(slot as usize) {
                true => builder.push_null(),
                false => push(&mut builder, slot as usize),
            }
        }
        builder.finish()
    }
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::internal("a stored text is not UTF-8"))
}

/// Puts values at `slots`, the first `reused` of which lie within `to`, the others behind it.
#[inline]
fn put<T: Copy + Default>(
    to: &mut Pages<T>,
    slots: &[u32],
    reused: usize,
    value: impl Fn(usize) -> T,
) {
    let (old, new) = slots.split_at(reused);
    for (i, &slot) in old.iter().enumerate() {
        to.set(slot as usize, value(i));
    }
    to.extend((0..new.len()).map(|i| value(reused + i)));
}

#[cfg(test)]
mod tests;
