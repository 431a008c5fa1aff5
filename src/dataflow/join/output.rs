//! Pairs of rows as output columns, and the condition that pairs must fulfil.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array,
    new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute;
use arrow::datatypes::{DataType, Schema, SchemaRef};

use crate::batch::UpdateBatch;
use crate::dataflow::calc::reason_of;
use crate::dataflow::side::letter_of_row;
use crate::error::{DeadLetter, Error, Result};
use crate::plan::expr::Expression;
use crate::state::rows::RowStore;

/// The rows of one side of a list of pairs.
pub enum Rows<'a> {
    /// A run of rows of a batch.
    Run(&'a UpdateBatch, usize),
    /// Rows of a batch.
    Some(&'a UpdateBatch, UInt32Array),
    /// Rows of a store.
    Slots(&'a RowStore, &'a [u32]),
    /// NULLs.
    Null,
}

impl<'a> Rows<'a> {
    /// The rows `picked` of `batch`.
    pub fn of_batch(batch: &'a UpdateBatch, picked: &[u32]) -> Self {
        let is_run = picked.windows(2).all(|pair| pair[0].wrapping_add(1) == pair[1]);
        match picked.first() {
            Some(&first) if is_run => Rows::Run(batch, first as usize),
            _ => Rows::Some(batch, UInt32Array::from(picked.to_vec())),
        }
    }

    fn column(&self, column: usize, data_type: &DataType, count: usize) -> Result<ArrayRef> {
        Ok(match self {
            Rows::Run(batch, first) => batch.column(column).slice(*first, count),
            Rows::Some(batch, rows) => compute::take(batch.column(column), rows, None)?,
            Rows::Slots(store, slots) => store.column(column, slots)?,
            Rows::Null => new_null_array(data_type, count),
        })
    }
}

#[derive(Clone, Copy)]
enum Place {
    Left(usize),
    Right(usize),
    Mark,
}

fn place(column: usize, schemas: &[SchemaRef; 2]) -> Result<Place> {
    let (left, right) = (schemas[0].fields().len(), schemas[1].fields().len());
    match column {
        c if c < left => Ok(Place::Left(c)),
        c if c < left + right => Ok(Place::Right(c - left)),
        c if c == left + right => Ok(Place::Mark),
        _ => Err(Error::internal("a join's column is of neither side")),
    }
}

/// The columns of a join.
pub struct Output {
    schema: SchemaRef,
    places: Vec<Place>,
}

impl Output {
    /// Columns `columns`, by their place in those of both sides and the mark, as `schema`.
    pub fn new(schema: &SchemaRef, schemas: &[SchemaRef; 2], columns: &[usize]) -> Result<Self> {
        let places = columns.iter().map(|&c| place(c, schemas)).collect::<Result<Vec<_>>>()?;
        if places.len() != schema.fields().len() {
            return Err(Error::internal("a join's columns are not those of its schema"));
        }
        Ok(Output { schema: Arc::clone(schema), places })
    }

    /// `count` rows out of those of both sides.
    pub fn rows(
        &self,
        left: &Rows<'_>,
        right: &Rows<'_>,
        marks: &[bool],
        count: usize,
    ) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.places.len());
        for (place, field) in self.places.iter().zip(self.schema.fields()) {
            let array = match *place {
                Place::Left(c) => left.column(c, field.data_type(), count)?,
                Place::Right(c) => right.column(c, field.data_type(), count)?,
                Place::Mark => Arc::new(BooleanArray::from(marks.to_vec())),
            };
            columns.push(match array.data_type() == field.data_type() {
                true => array,
                false => compute::cast(&array, field.data_type())?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// A condition over pairs; what it does not read is not gathered.
pub struct Condition {
    name: String,
    expression: Expression,
    /// What it reads.
    schema: SchemaRef,
    places: Vec<Place>,
}

impl Condition {
    /// Of `filter`, which is over the columns of the left, then of the right side. Failures are
    /// said to be of `name`.
    pub fn new(name: &str, filter: &Expression, schemas: &[SchemaRef; 2]) -> Result<Self> {
        let width = schemas[0].fields().len() + schemas[1].fields().len();
        let read: Vec<usize> = filter.columns().into_iter().collect();
        let (mut places, mut fields) = (Vec::new(), Vec::new());
        let mut moved = vec![0; width];
        for (at, &column) in read.iter().enumerate() {
            let found = place(column, schemas)?;
            fields.push(match found {
                Place::Left(c) => schemas[0].field(c).clone().with_nullable(true),
                Place::Right(c) => schemas[1].field(c).clone().with_nullable(true),
                Place::Mark => return Err(Error::internal("a join's condition reads its mark")),
            });
            places.push(found);
            moved[column] = at;
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let expression = match read.is_empty() {
            true => filter.clone(),
            false => filter.remap(&moved, &schema, width)?,
        };
        Ok(Condition { name: name.to_string(), expression, schema, places })
    }

    /// Which of `count` pairs fulfil it. A pair for which it fails does not, and goes to `failed`
    /// with its place.
    pub fn holds(
        &self,
        left: &Rows<'_>,
        right: &Rows<'_>,
        count: usize,
        failed: &mut Vec<(usize, DeadLetter)>,
    ) -> Result<BooleanBuffer> {
        let mut columns = Vec::with_capacity(self.places.len());
        for (place, field) in self.places.iter().zip(self.schema.fields()) {
            columns.push(match *place {
                Place::Left(c) => left.column(c, field.data_type(), count)?,
                Place::Right(c) => right.column(c, field.data_type(), count)?,
                Place::Mark => new_null_array(field.data_type(), count),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let schema = Arc::clone(&self.schema);
        let pairs = RecordBatch::try_new_with_options(schema, columns, &options)?;
        self.evaluate(&pairs, 0, failed)
    }

    /// The same of `pairs`, the first of which is at `place`.
    fn evaluate(
        &self,
        pairs: &RecordBatch,
        place: usize,
        failed: &mut Vec<(usize, DeadLetter)>,
    ) -> Result<BooleanBuffer> {
        let count = pairs.num_rows();
        let physical = self.expression.physical();
        match physical.evaluate(pairs).and_then(|value| value.into_array(count)) {
            Ok(mask) => {
                let mask = mask.as_boolean();
                Ok(match mask.nulls() {
                    Some(nulls) => mask.values() & nulls.inner(),
                    None => mask.values().clone(),
                })
            }
            Err(error) if count <= 1 => {
                let reason = reason_of(&Error::from(error));
                failed.push((place, letter_of_row(&self.name, &reason, pairs)));
                Ok(BooleanBuffer::new_unset(count))
            }
            // Halve until the failing pairs are alone.
            Err(_) => {
                let half = count / 2;
                let first = self.evaluate(&pairs.slice(0, half), place, failed)?;
                let rest = pairs.slice(half, count - half);
                let second = self.evaluate(&rest, place + half, failed)?;
                Ok(first.iter().chain(second.iter()).collect())
            }
        }
    }
}
