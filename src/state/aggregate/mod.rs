//! Vectorised aggregate states: what each aggregate call remembers, by group number.
//!
//! [`AggregatePlan`] turns the calls of an operator into few states: calls over the same argument
//! and filter share one (`SUM` with `AVG`, all `COUNT(DISTINCT x) FILTER ..` over one `x`).
//! [`AggregateStates`] holds them for the groups of one operator or window.
//!
//! Law: a state depends only on the multiset of updates that it was given, never on their order,
//! cut or on which parts were merged. So totals of integers are 128 bits wide and those of floats
//! exact.
//!
//! Semantics: `COUNT` is never NULL, every other function is NULL for no non-NULL values. A result
//! that its type cannot hold becomes NULL and is noted in the builder (a dead letter, not a wrap).

mod bits;
mod count;
mod distinct;
mod extreme;
mod ordered;
mod pair;
mod per_group;
mod plan;
mod quantile;
mod sum;
mod variance;

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, SortField};

use plan::Request;
pub use plan::{AggregatePlan, Narrowed, narrow};

use super::column::{Column, ColumnBuilder, Values};
use crate::batch::UpdateBatch;
use crate::error::{Error, Result};
use crate::state::saved::{LoadedColumns, SavedColumns};

/// The updates of one step, read once for all aggregate states.
#[derive(Debug)]
pub struct StepInput {
    /// Event time of each row.
    pub times: ScalarBuffer<i64>,
    /// Multiplicity of each row; absent when all are `+1`.
    pub diffs: Option<ScalarBuffer<i64>>,
    columns: Vec<Column>,
    selections: Vec<Option<BooleanBuffer>>,
}

/// The state of one or more aggregate calls over groups `0..n`.
pub trait AggregateState: Send + Any {
    /// Makes room for groups below `groups`; new ones are empty.
    fn resize(&mut self, groups: usize);

    /// Adds the rows `rows` of `input`; `groups[i]` is the group of the `i`-th of them.
    fn update(&mut self, input: &StepInput, rows: Range<usize>, groups: &[u32]) -> Result<()>;

    /// Adds group `i` of `other`, a state of the same plan, to group `groups[i]`.
    fn merge(&mut self, other: &dyn AggregateState, groups: &[u32]) -> Result<()>;

    /// Adds, for each pair, the first group to the second and empties the first.
    ///
    /// No group is first and second, or first twice.
    fn absorb(&mut self, pairs: &[(u32, u32)]);

    /// Empties `groups`.
    fn clear(&mut self, groups: &[u32]);

    /// Forgets all groups; memory may be kept.
    fn reset(&mut self);

    /// Appends the results of call `member` of this state for `groups`.
    fn append(&self, member: usize, groups: &[u32], out: &mut ColumnBuilder) -> Result<()>;

    /// Saves `groups` as columns, a row each.
    fn save(&self, groups: &[u32], out: &mut SavedColumns);

    /// Takes back the columns that `save` added; row `i` is that of `groups[i]`, which is empty.
    ///
    /// From then on the state is as if it had been given what the saved one was.
    fn load(&mut self, groups: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()>;

    /// For [`AggregateState::merge`].
    fn as_any(&self) -> &dyn Any;
}

/// A numeric state that takes single values: the inner state of a distinct one.
pub(crate) trait ValueState: AggregateState {
    /// Adds `value` to `group`, `diff` times.
    fn add_value(&mut self, group: usize, value: Number, diff: i64);
}

/// One number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Int(i64),
    Wide(i128),
    Float(f64),
}

impl StepInput {
    fn column(&self, index: usize) -> Result<&Column> {
        self.columns.get(index).ok_or_else(|| Error::internal("an aggregate without its column"))
    }

    fn selection(&self, index: usize) -> Option<&BooleanBuffer> {
        self.selections.get(index).and_then(Option::as_ref)
    }

    /// Calls `each(row, group, diff)` for the selected rows of `rows`.
    #[inline]
    fn for_each(
        &self,
        selection: usize,
        rows: Range<usize>,
        groups: &[u32],
        mut each: impl FnMut(usize, usize, i64),
    ) {
        let rows = rows.zip(groups);
        match (self.selection(selection), &self.diffs) {
            (None, None) => rows.for_each(|(row, &group)| each(row, group as usize, 1)),
            (None, Some(diffs)) => {
                rows.for_each(|(row, &group)| each(row, group as usize, diffs[row]));
            }
            (Some(selected), None) => rows.for_each(|(row, &group)| {
                if selected.value(row) {
                    each(row, group as usize, 1);
                }
            }),
            (Some(selected), Some(diffs)) => rows.for_each(|(row, &group)| {
                if selected.value(row) {
                    each(row, group as usize, diffs[row]);
                }
            }),
        }
    }
}

/// The states of all calls of an operator, for one set of groups.
pub struct AggregateStates {
    plan: Arc<AggregatePlan>,
    units: Vec<Box<dyn AggregateState>>,
    groups: usize,
}

impl AggregateStates {
    /// Empty states of `plan`.
    pub fn new(plan: Arc<AggregatePlan>) -> Self {
        let units = plan.states();
        AggregateStates { plan, units, groups: 0 }
    }

    /// The plan of the states.
    pub fn plan(&self) -> &Arc<AggregatePlan> {
        &self.plan
    }

    /// Makes room for groups below `groups`.
    pub fn resize(&mut self, groups: usize) {
        if groups > self.groups {
            self.units.iter_mut().for_each(|unit| unit.resize(groups));
            self.groups = groups;
        }
    }

    /// Adds the rows `rows` of `input`; `groups[i]` is the group of the `i`-th of them.
    pub fn update(&mut self, input: &StepInput, rows: Range<usize>, groups: &[u32]) -> Result<()> {
        debug_assert_eq!(rows.len(), groups.len());
        self.units.iter_mut().try_for_each(|unit| unit.update(input, rows.clone(), groups))
    }

    /// Adds group `i` of `other` to group `groups[i]`; `other` is of the same plan.
    pub fn merge(&mut self, other: &AggregateStates, groups: &[u32]) -> Result<()> {
        let pairs = self.units.iter_mut().zip(&other.units);
        pairs.into_iter().try_for_each(|(mine, theirs)| mine.merge(theirs.as_ref(), groups))
    }

    /// Adds, for each pair, the first group to the second and empties the first.
    pub fn absorb(&mut self, pairs: &[(u32, u32)]) {
        if !pairs.is_empty() {
            self.units.iter_mut().for_each(|unit| unit.absorb(pairs));
        }
    }

    /// Empties `groups`.
    pub fn clear(&mut self, groups: &[u32]) {
        self.units.iter_mut().for_each(|unit| unit.clear(groups));
    }

    /// Forgets all groups and keeps the memory.
    pub fn reset(&mut self) {
        self.units.iter_mut().for_each(|unit| unit.reset());
        self.groups = 0;
    }

    /// Saves `groups` as columns, a row each.
    pub fn save(&self, groups: &[u32], out: &mut SavedColumns) {
        self.units.iter().for_each(|unit| unit.save(groups, out));
    }

    /// Takes back what `save` added; row `i` is that of `groups[i]`, which is empty.
    pub fn load(&mut self, groups: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        self.units.iter_mut().try_for_each(|unit| unit.load(groups, saved))
    }

    /// A builder for each call's results.
    pub fn builders(&self) -> Vec<ColumnBuilder> {
        self.plan.builders()
    }

    /// Appends the results of every call for `groups` to its builder.
    pub fn append(&self, groups: &[u32], builders: &mut [ColumnBuilder]) -> Result<()> {
        for (&(unit, member), builder) in self.plan.outputs().iter().zip(builders) {
            self.units[unit].append(member, groups, builder)?;
        }
        Ok(())
    }
}

/// Reads the columns and filters that `plan` asks for.
pub(crate) fn read_step(
    requests: &[Request],
    selections: &[plan::Selection],
    batch: &UpdateBatch,
) -> Result<StepInput> {
    let columns = requests
        .iter()
        .map(|request| match request {
            Request::One(column, reading) => Column::read(batch.column(*column), *reading),
            Request::Row(columns) => {
                let arrays: Vec<_> = columns.iter().map(|&c| batch.column(c).clone()).collect();
                let converter = row_converter(arrays.iter().map(|a| a.data_type().clone()))?;
                Ok(Column {
                    values: Values::Rows(converter.convert_columns(&arrays)?),
                    nulls: None,
                })
            }
        })
        .collect::<Result<_>>()?;
    let selections = selections.iter().map(|s| select(s, batch)).collect::<Result<_>>()?;
    Ok(StepInput {
        times: batch.times().clone(),
        diffs: batch.diffs().cloned(),
        columns,
        selections,
    })
}

fn row_converter(types: impl Iterator<Item = DataType>) -> Result<RowConverter> {
    Ok(RowConverter::new(types.map(SortField::new).collect())?)
}

/// The rows that pass the filter and have no NULL in the checked columns; `None` for all.
fn select(selection: &plan::Selection, batch: &UpdateBatch) -> Result<Option<BooleanBuffer>> {
    let mut nulls: Option<NullBuffer> = None;
    for &column in &selection.not_null {
        let more = batch.column(column).logical_nulls().filter(|n| n.null_count() > 0);
        nulls = NullBuffer::union(nulls.as_ref(), more.as_ref());
    }
    let valid = nulls.map(NullBuffer::into_inner);
    let Some(filter) = selection.filter else { return Ok(valid) };
    let filter = batch
        .column(filter)
        .as_boolean_opt()
        .ok_or_else(|| Error::internal("a filter column that is not boolean"))?;
    let mut passed = filter.values().clone();
    if let Some(known) = filter.nulls() {
        passed = &passed & known.inner();
    }
    Ok(Some(match valid {
        Some(valid) => &passed & &valid,
        None => passed,
    }))
}

/// The types of the columns of `schema` at `columns`.
pub(crate) fn types_of(schema: &SchemaRef, columns: &[usize]) -> Result<Vec<DataType>> {
    columns
        .iter()
        .map(|&column| match schema.fields().get(column) {
            Some(field) => Ok(field.data_type().clone()),
            None => Err(Error::internal(format!("there is no input column {column}"))),
        })
        .collect()
}

/// `other` as the type of the state that merges it.
fn same<T: 'static>(other: &dyn AggregateState) -> Result<&T> {
    other
        .as_any()
        .downcast_ref::<T>()
        .ok_or_else(|| Error::internal("aggregate states of different plans cannot be merged"))
}
