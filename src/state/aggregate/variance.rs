//! Variance and standard deviation from exact sums of values and squares.

use std::any::Any;
use std::ops::Range;

use super::per_group::{Additive, PerGroup};
use super::{AggregateState, Number, StepInput, ValueState, same};
use crate::error::{Error, Result};
use crate::state::column::{ColumnBuilder, Values};
use crate::state::encode::{Encode, Encoded};
use crate::state::exact::{FloatTotal, variance_numerator};
use crate::state::saved::{LoadedColumns, SavedColumns};

/// What is read from the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Spread {
    pub(super) sample: bool,
    pub(super) root: bool,
}

#[derive(Default)]
struct Moments {
    count: i64,
    sum: FloatTotal,
    squares: FloatTotal,
}

/// Count, sum and sum of squares by group.
pub(super) struct Variance {
    column: usize,
    selection: usize,
    scale: i8,
    members: Vec<Spread>,
    moments: PerGroup<Moments>,
}

impl Variance {
    pub(super) fn new(column: usize, selection: usize, scale: i8, members: Vec<Spread>) -> Self {
        Variance { column, selection, scale, members, moments: PerGroup::default() }
    }
}

impl Moments {
    fn add(&mut self, value: f64, diff: i64) {
        self.count += diff;
        self.sum.add(value, diff);
        self.squares.add_square(value, diff);
    }

    fn value(&self, spread: Spread) -> Option<f64> {
        let divisor = self.count - i64::from(spread.sample);
        if divisor <= 0 {
            return None;
        }
        if !self.sum.value().is_finite() {
            return Some(f64::NAN);
        }
        let numerator = variance_numerator(self.count, &self.sum, &self.squares);
        let variance = numerator / self.count as f64 / divisor as f64;
        Some(if spread.root { variance.sqrt() } else { variance })
    }
}

impl Encode for Moments {
    fn encode(&self, out: &mut Vec<u8>) {
        self.count.encode(out);
        self.sum.encode(out);
        self.squares.encode(out);
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        Ok(Moments {
            count: i64::decode(from)?,
            sum: FloatTotal::decode(from)?,
            squares: FloatTotal::decode(from)?,
        })
    }
}

impl Additive for Moments {
    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum.merge(&other.sum);
        self.squares.merge(&other.squares);
    }
}

impl AggregateState for Variance {
    fn resize(&mut self, groups: usize) {
        self.moments.resize(groups);
    }

    fn update(&mut self, input: &StepInput, rows: Range<usize>, groups: &[u32]) -> Result<()> {
        let Values::Float(values) = &input.column(self.column)?.values else {
            return Err(Error::internal("the argument of a variance was not read as floats"));
        };
        let moments = self.moments.as_mut_slice();
        input.for_each(self.selection, rows, groups, |row, group, diff| {
            moments[group].add(values[row], diff);
        });
        Ok(())
    }

    fn merge(&mut self, other: &dyn AggregateState, groups: &[u32]) -> Result<()> {
        self.moments.merge(&same::<Self>(other)?.moments, groups);
        Ok(())
    }

    fn absorb(&mut self, pairs: &[(u32, u32)]) {
        self.moments.absorb(pairs);
    }

    fn clear(&mut self, groups: &[u32]) {
        self.moments.clear(groups);
    }

    fn reset(&mut self) {
        self.moments.reset();
    }

    fn append(&self, member: usize, groups: &[u32], out: &mut ColumnBuilder) -> Result<()> {
        let spread = *self
            .members
            .get(member)
            .ok_or_else(|| Error::internal("a variance without its kind"))?;
        for &group in groups {
            match self.moments[group].value(spread) {
                Some(value) => out.push_float(value),
                None => out.push_null(),
            }
        }
        Ok(())
    }

    fn save(&self, groups: &[u32], out: &mut SavedColumns) {
        self.moments.save(groups, out);
    }

    fn load(&mut self, groups: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        self.moments.load(groups, saved)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl ValueState for Variance {
    fn add_value(&mut self, group: usize, value: Number, diff: i64) {
        let value = match value {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
            Number::Wide(value) => value as f64 / 10f64.powi(i32::from(self.scale)),
        };
        self.moments[group as u32].add(value, diff);
    }
}
