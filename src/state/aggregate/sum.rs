//! `SUM` and `AVG`: exact totals, rounded and checked when they are read.
//!
//! Integers total in 128 bits and decimals in 256, so that no order of additions overflows; floats
//! total exactly. A sum that the result type cannot hold is NULL and noted.

use std::any::Any;
use std::ops::Range;

use arrow::datatypes::i256;

use super::per_group::{Additive, PerGroup};
use super::{AggregateState, Number, StepInput, ValueState, same};
use crate::error::{Error, Result};
use crate::state::column::{Column, ColumnBuilder, Form, Values, decimal_scale};
use crate::state::encode::{Encode, Encoded};
use crate::state::exact::FloatTotal;
use crate::state::saved::{LoadedColumns, SavedColumns};

/// What is read from a total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Measure {
    Sum,
    Average,
}

/// A total of numbers of one form.
pub(super) trait Total: Default + Clone + Encode + Send + 'static {
    type Item: Copy;

    fn items(column: &Column) -> Option<&[Self::Item]>;
    fn item(number: Number) -> Option<Self::Item>;
    fn add(&mut self, item: Self::Item, diff: i64);
    fn merge(&mut self, other: &Self);
    /// Appends the total divided by `count`; `scale` is that of the argument.
    fn push(&self, measure: Measure, count: i64, scale: i8, out: &mut ColumnBuilder);

    /// Saves totals with their counts, a row each.
    fn save<'a>(totals: impl Iterator<Item = &'a (Self, i64)> + Clone, out: &mut SavedColumns) {
        out.values(totals);
    }

    /// Hands those that were saved to `take`, with their rows.
    fn load(saved: &mut LoadedColumns<'_>, take: impl FnMut(usize, (Self, i64))) -> Result<()> {
        saved.values(take)
    }
}

/// Totals and counts of the selected values, by group.
pub(super) struct Sum<T> {
    column: usize,
    selection: usize,
    scale: i8,
    members: Vec<Measure>,
    totals: PerGroup<(T, i64)>,
}

impl<T: Total> Sum<T> {
    pub(super) fn new(column: usize, selection: usize, scale: i8, members: Vec<Measure>) -> Self {
        Sum { column, selection, scale, members, totals: PerGroup::default() }
    }
}

impl<T: Total> Additive for (T, i64) {
    fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
        self.1 += other.1;
    }

    fn save<'a>(sums: impl Iterator<Item = &'a Self> + Clone, out: &mut SavedColumns)
    where
        Self: 'a,
    {
        T::save(sums, out);
    }

    fn load(saved: &mut LoadedColumns<'_>, take: impl FnMut(usize, Self)) -> Result<()> {
        T::load(saved, take)
    }
}

impl<T: Total> AggregateState for Sum<T> {
    fn resize(&mut self, groups: usize) {
        self.totals.resize(groups);
    }

    fn update(&mut self, input: &StepInput, rows: Range<usize>, groups: &[u32]) -> Result<()> {
        let items = T::items(input.column(self.column)?)
            .ok_or_else(|| Error::internal("the argument of a sum is not of its form"))?;
        let totals = self.totals.as_mut_slice();
        input.for_each(self.selection, rows, groups, |row, group, diff| {
            let (total, count) = &mut totals[group];
            total.add(items[row], diff);
            *count += diff;
        });
        Ok(())
    }

    fn merge(&mut self, other: &dyn AggregateState, groups: &[u32]) -> Result<()> {
        self.totals.merge(&same::<Self>(other)?.totals, groups);
        Ok(())
    }

    fn absorb(&mut self, pairs: &[(u32, u32)]) {
        self.totals.absorb(pairs);
    }

    fn clear(&mut self, groups: &[u32]) {
        self.totals.clear(groups);
    }

    fn reset(&mut self) {
        self.totals.reset();
    }

    fn append(&self, member: usize, groups: &[u32], out: &mut ColumnBuilder) -> Result<()> {
        let measure = self.members.get(member).copied().unwrap_or(Measure::Sum);
        for &group in groups {
            match &self.totals[group] {
                (_, 0) => out.push_null(),
                (total, count) => total.push(measure, *count, self.scale, out),
            }
        }
        Ok(())
    }

    fn save(&self, groups: &[u32], out: &mut SavedColumns) {
        self.totals.save(groups, out);
    }

    fn load(&mut self, groups: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        self.totals.load(groups, saved)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl<T: Total> ValueState for Sum<T> {
    fn add_value(&mut self, group: usize, value: Number, diff: i64) {
        if let Some(item) = T::item(value) {
            let (total, count) = &mut self.totals[group as u32];
            total.add(item, diff);
            *count += diff;
        }
    }
}

impl Total for i128 {
    type Item = i64;

    fn items(column: &Column) -> Option<&[i64]> {
        match &column.values {
            Values::Int(values) => Some(values),
            _ => None,
        }
    }

    fn item(number: Number) -> Option<i64> {
        match number {
            Number::Int(value) => Some(value),
            _ => None,
        }
    }

    #[inline]
    fn add(&mut self, item: i64, diff: i64) {
        *self += i128::from(item) * i128::from(diff);
    }

    fn merge(&mut self, other: &i128) {
        *self += other;
    }

    fn push(&self, measure: Measure, count: i64, _scale: i8, out: &mut ColumnBuilder) {
        let average = measure == Measure::Average;
        match out.form() {
            Form::Int => {
                let value = if average { self / i128::from(count) } else { *self };
                match i64::try_from(value) {
                    Ok(value) => out.push_int(value),
                    Err(_) => out.push_failed(),
                }
            }
            Form::Float if average => out.push_float(*self as f64 / count as f64),
            Form::Float => out.push_float(*self as f64),
            _ => push_exact(i256::from_i128(*self), measure, count, 0, out),
        }
    }

    /// In columns of their own: the low half, the high half, the count. Most of what is saved of
    /// most jobs is this.
    fn save<'a>(totals: impl Iterator<Item = &'a (i128, i64)> + Clone, out: &mut SavedColumns) {
        out.ints(totals.clone().map(|(total, _)| *total as i64));
        out.ints(totals.clone().map(|(total, _)| (total >> 64) as i64));
        out.ints(totals.map(|(_, count)| *count));
    }

    fn load(saved: &mut LoadedColumns<'_>, mut take: impl FnMut(usize, (i128, i64))) -> Result<()> {
        if saved.is_encoded() {
            return saved.values(take);
        }
        let (lows, highs, counts) = (saved.ints()?, saved.ints()?, saved.ints()?);
        for (row, ((low, high), count)) in lows.iter().zip(highs).zip(counts).enumerate() {
            take(row, (i128::from(*high) << 64 | i128::from(*low as u64), *count));
        }
        Ok(())
    }
}

/// A total of decimals, in units of their scale.
#[derive(Clone, Copy, Default)]
pub(super) struct WideTotal(i256);

impl Encode for WideTotal {
    fn encode(&self, out: &mut Vec<u8>) {
        let (low, high) = self.0.to_parts();
        (low as i128).encode(out);
        high.encode(out);
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        let (low, high) = <(i128, i128)>::decode(from)?;
        Ok(WideTotal(i256::from_parts(low as u128, high)))
    }
}

impl Total for WideTotal {
    type Item = i128;

    fn items(column: &Column) -> Option<&[i128]> {
        match &column.values {
            Values::Wide(values) => Some(values),
            _ => None,
        }
    }

    fn item(number: Number) -> Option<i128> {
        match number {
            Number::Wide(value) => Some(value),
            _ => None,
        }
    }

    #[inline]
    fn add(&mut self, item: i128, diff: i64) {
        let mut item = i256::from_i128(item);
        if diff != 1 {
            item = item.wrapping_mul(i256::from_i128(i128::from(diff)));
        }
        self.0 = self.0.wrapping_add(item);
    }

    fn merge(&mut self, other: &WideTotal) {
        self.0 = self.0.wrapping_add(other.0);
    }

    fn push(&self, measure: Measure, count: i64, scale: i8, out: &mut ColumnBuilder) {
        push_exact(self.0, measure, count, scale, out);
    }
}

impl Total for FloatTotal {
    type Item = f64;

    fn items(column: &Column) -> Option<&[f64]> {
        match &column.values {
            Values::Float(values) => Some(values),
            _ => None,
        }
    }

    fn item(number: Number) -> Option<f64> {
        match number {
            Number::Float(value) => Some(value),
            _ => None,
        }
    }

    #[inline]
    fn add(&mut self, item: f64, diff: i64) {
        FloatTotal::add(self, item, diff);
    }

    fn merge(&mut self, other: &FloatTotal) {
        FloatTotal::merge(self, other);
    }

    fn push(&self, measure: Measure, count: i64, _scale: i8, out: &mut ColumnBuilder) {
        match measure {
            Measure::Sum => out.push_float(self.value()),
            Measure::Average => out.push_float(self.value() / count as f64),
        }
    }
}

fn power_of_ten(exponent: u32) -> i256 {
    i256::from_i128(10).wrapping_pow(exponent)
}

/// Appends `total / 10^scale`, over `count` for an average, in the form of `out`.
///
/// Decimals round half away from zero; integers truncate.
fn push_exact(total: i256, measure: Measure, count: i64, scale: i8, out: &mut ColumnBuilder) {
    let count = if measure == Measure::Average { count } else { 1 };
    if out.form() == Form::Float {
        let (low, high) = total.to_parts();
        let whole = high as f64 * 2f64.powi(128) + low as f64;
        return out.push_float(whole / 10f64.powi(i32::from(scale)) / count as f64);
    }
    let shift = i32::from(decimal_scale(out.data_type())) - i32::from(scale);
    let scaled = match shift {
        0.. => total.checked_mul(power_of_ten(shift as u32)),
        _ => Some(total),
    };
    let mut divisor = i256::from_i128(i128::from(count));
    if shift < 0 {
        divisor = divisor.wrapping_mul(power_of_ten(shift.unsigned_abs()));
    }
    let value = scaled.and_then(|scaled| {
        let quotient = scaled.checked_div(divisor)?;
        if out.form() == Form::Int {
            return quotient.to_i128();
        }
        let rest = scaled.wrapping_sub(quotient.wrapping_mul(divisor));
        let doubled = rest.wrapping_abs().wrapping_add(rest.wrapping_abs());
        let away = if doubled >= divisor.wrapping_abs() {
            i256::from_i128(if rest.is_negative() != divisor.is_negative() { -1 } else { 1 })
        } else {
            i256::from_i128(0)
        };
        quotient.wrapping_add(away).to_i128()
    });
    match (value, out.form()) {
        (Some(value), Form::Wide) => out.push_wide(value),
        (Some(value), Form::Int) => match i64::try_from(value) {
            Ok(value) => out.push_int(value),
            Err(_) => out.push_failed(),
        },
        _ => out.push_failed(),
    }
}
