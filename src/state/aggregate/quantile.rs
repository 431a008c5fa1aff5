//! Percentiles and medians, exact under retractions.
//!
//! Each group keeps its values sorted, equal ones once with their number, in blocks that know how
//! many values they hold: a change costs a binary search, a percentile the walk over the blocks.

use std::any::Any;
use std::cmp::Ordering;
use std::ops::Range;

use arrow::datatypes::DataType;

use super::extreme::{Kind, misread};
use super::{AggregateState, StepInput, same};
use crate::error::Result;
use crate::limits::ORDERED_BLOCK_ROWS_MAX;
use crate::plan::aggregate::{Quantile, QuantileKind};
use crate::state::column::{ColumnBuilder, decimal_scale, float_of};
use crate::state::encode::{Encode, Encoded, encode_length};
use crate::state::saved::{LoadedColumns, SavedColumns};

/// A value of a sorted column as a number.
pub(super) trait Numeric: Kind {
    /// As a float; `form` says what the value means.
    fn double(owned: &Self::Owned, form: &Meaning) -> f64;
    /// The mean of two values in their own type.
    fn push_middle(a: &Self::Owned, b: &Self::Owned, form: &Meaning, out: &mut ColumnBuilder);
}

/// What the integers of a column stand for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    Integer,
    Float,
    Decimal(i8),
}

impl Meaning {
    pub(super) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Decimal128(..) => Meaning::Decimal(decimal_scale(data_type)),
            float if float.is_floating() => Meaning::Float,
            _ => Meaning::Integer,
        }
    }
}

impl Numeric for super::extreme::Ints {
    fn double(owned: &i64, form: &Meaning) -> f64 {
        match form {
            Meaning::Float => float_of(*owned),
            _ => *owned as f64,
        }
    }

    fn push_middle(a: &i64, b: &i64, form: &Meaning, out: &mut ColumnBuilder) {
        match form {
            Meaning::Float if a == b => out.push_int(*a),
            Meaning::Float => out.push_float((float_of(*a) + float_of(*b)) / 2.0),
            _ => out.push_int(((i128::from(*a) + i128::from(*b)) / 2) as i64),
        }
    }
}

impl Numeric for super::extreme::Wides {
    fn double(owned: &i128, form: &Meaning) -> f64 {
        match form {
            Meaning::Decimal(scale) => *owned as f64 / 10f64.powi(i32::from(*scale)),
            _ => *owned as f64,
        }
    }

    fn push_middle(a: &i128, b: &i128, _form: &Meaning, out: &mut ColumnBuilder) {
        match a.checked_add(*b) {
            Some(sum) => out.push_wide(sum / 2),
            None => out.push_wide(a / 2 + b / 2),
        }
    }
}

impl Numeric for super::extreme::Bytes {
    /// Texts are no numbers: only discrete percentiles are planned over them.
    fn double(_owned: &Vec<u8>, _form: &Meaning) -> f64 {
        f64::NAN
    }

    fn push_middle(a: &Vec<u8>, _b: &Vec<u8>, _form: &Meaning, out: &mut ColumnBuilder) {
        out.push_bytes(a);
    }
}

/// Some values in order, each with how often it is there.
struct Block<T> {
    values: Vec<(T, i64)>,
    /// How many there are; those that are there less than no times do not count.
    total: i64,
}

/// All values of a group in order.
struct Sorted<T> {
    blocks: Vec<Block<T>>,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Sorted { blocks: Vec::new() }
    }
}

impl<T: Ord> Sorted<T> {
    fn len(&self) -> i64 {
        self.blocks.iter().map(|block| block.total).sum()
    }

    fn add(&mut self, value: T, diff: i64) {
        if self.blocks.is_empty() {
            self.blocks.push(Block { values: Vec::new(), total: 0 });
        }
        let behind = |block: &Block<T>| block.values.first().is_some_and(|(v, _)| *v <= value);
        let at = self.blocks.partition_point(behind).saturating_sub(1);
        let Some(block) = self.blocks.get_mut(at) else { return };
        match block.values.binary_search_by(|(other, _)| other.cmp(&value)) {
            Ok(found) => {
                let count = &mut block.values[found].1;
                let before = (*count).max(0);
                *count += diff;
                block.total += (*count).max(0) - before;
                if *count == 0 {
                    block.values.remove(found);
                }
            }
            Err(place) => {
                block.total += diff.max(0);
                block.values.insert(place, (value, diff));
            }
        }
        if block.values.is_empty() {
            self.blocks.remove(at);
        } else if block.values.len() > ORDERED_BLOCK_ROWS_MAX {
            let upper = block.values.split_off(block.values.len() / 2);
            let total = upper.iter().map(|(_, count)| (*count).max(0)).sum();
            block.total -= total;
            self.blocks.insert(at + 1, Block { values: upper, total });
        }
    }

    /// The value at `index`, from zero.
    fn nth(&self, mut index: i64) -> Option<&T> {
        for block in &self.blocks {
            if index >= block.total {
                index -= block.total;
                continue;
            }
            for (value, count) in block.values.iter().filter(|(_, count)| *count > 0) {
                if index < *count {
                    return Some(value);
                }
                index -= count;
            }
        }
        None
    }
}

impl<T: Encode> Encode for Sorted<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.blocks.iter().map(|block| block.values.len()).sum(), out);
        for (value, count) in self.blocks.iter().flat_map(|block| &block.values) {
            value.encode(out);
            count.encode(out);
        }
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        let mut rest = from.length()?;
        let mut blocks = Vec::new();
        while rest > 0 {
            // Half full, as after a split.
            let size = rest.min(ORDERED_BLOCK_ROWS_MAX / 2);
            let values: Vec<(T, i64)> =
                (0..size).map(|_| <(T, i64)>::decode(from)).collect::<Result<_>>()?;
            let total = values.iter().map(|(_, count)| (*count).max(0)).sum();
            blocks.push(Block { values, total });
            rest -= size;
        }
        Ok(Sorted { blocks })
    }
}

/// The sorted values of every group.
pub(super) struct Quantiles<K: Kind> {
    column: usize,
    selection: usize,
    meaning: Meaning,
    members: Vec<Quantile>,
    groups: Vec<Sorted<K::Owned>>,
}

impl<K: Numeric> Quantiles<K> {
    pub(super) fn new(
        column: usize,
        selection: usize,
        meaning: Meaning,
        members: Vec<Quantile>,
    ) -> Self {
        Quantiles { column, selection, meaning, members, groups: Vec::new() }
    }

    fn push(&self, values: &Sorted<K::Owned>, quantile: Quantile, out: &mut ColumnBuilder) {
        let count = values.len();
        if count == 0 {
            return out.push_null();
        }
        // Positions count from the end where the order descends.
        let nth =
            |index: i64| values.nth(if quantile.descending { count - 1 - index } else { index });
        let fraction = quantile.fraction();
        if quantile.kind == QuantileKind::Discrete {
            let index = (fraction * count as f64).ceil() as i64 - 1;
            return match nth(index.clamp(0, count - 1)) {
                Some(value) => K::push(value, out),
                None => out.push_null(),
            };
        }
        let position = fraction * (count - 1) as f64;
        let low = position.floor();
        let (Some(below), Some(above)) = (nth(low as i64), nth(position.ceil() as i64)) else {
            return out.push_null();
        };
        if quantile.kind == QuantileKind::Median {
            return K::push_middle(below, above, &self.meaning, out);
        }
        let (a, b) = (K::double(below, &self.meaning), K::double(above, &self.meaning));
        // Not by the difference alone: infinite values would give no number.
        out.push_float(match a.total_cmp(&b) {
            Ordering::Equal => a,
            _ => a + (b - a) * (position - low),
        });
    }
}

impl<K: Numeric> AggregateState for Quantiles<K> {
    fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, Sorted::default);
    }

    fn update(&mut self, input: &StepInput, rows: Range<usize>, groups: &[u32]) -> Result<()> {
        let column = input.column(self.column)?;
        let reader = K::reader(column, &input.times).ok_or_else(misread)?;
        input.for_each(self.selection, rows, groups, |row, group, diff| {
            let mut item = K::Owned::default();
            K::store(&mut item, K::item(&reader, row));
            self.groups[group].add(item, diff);
        });
        Ok(())
    }

    fn merge(&mut self, other: &dyn AggregateState, groups: &[u32]) -> Result<()> {
        for (&group, values) in groups.iter().zip(&same::<Self>(other)?.groups) {
            for (value, count) in values.blocks.iter().flat_map(|block| &block.values) {
                self.groups[group as usize].add(value.clone(), *count);
            }
        }
        Ok(())
    }

    fn absorb(&mut self, pairs: &[(u32, u32)]) {
        for &(from, into) in pairs {
            let values = std::mem::take(&mut self.groups[from as usize]);
            for (value, count) in values.blocks.into_iter().flat_map(|block| block.values) {
                self.groups[into as usize].add(value, count);
            }
        }
    }

    fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|&group| self.groups[group as usize] = Sorted::default());
    }

    fn reset(&mut self) {
        self.groups.clear();
    }

    fn append(&self, member: usize, groups: &[u32], out: &mut ColumnBuilder) -> Result<()> {
        for &group in groups {
            match self.members.get(member) {
                Some(quantile) => self.push(&self.groups[group as usize], *quantile, out),
                None => out.push_null(),
            }
        }
        Ok(())
    }

    fn save(&self, groups: &[u32], out: &mut SavedColumns) {
        out.values(groups.iter().map(|&group| &self.groups[group as usize]));
    }

    fn load(&mut self, groups: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        saved.values(|row, values| self.groups[groups[row] as usize] = values)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn sorted_blocks_are_a_sorted_list(
            changes in prop::collection::vec((0i64..2000, 1i64..3), 0..4000),
            taken in prop::collection::vec(any::<bool>(), 4000),
        ) {
            let mut sorted = Sorted::default();
            let mut naive = std::collections::BTreeMap::new();
            for (&(value, count), taken) in changes.iter().zip(taken) {
                let diff = if taken { -count } else { count };
                sorted.add(value, diff);
                *naive.entry(value).or_insert(0) += diff;
            }
            let all: Vec<i64> = naive
                .into_iter()
                .flat_map(|(v, n): (i64, i64)| std::iter::repeat_n(v, n.max(0) as usize))
                .collect();
            prop_assert_eq!(sorted.len(), all.len() as i64);
            for (index, value) in all.iter().enumerate() {
                prop_assert_eq!(sorted.nth(index as i64), Some(value));
            }
            prop_assert_eq!(sorted.nth(all.len() as i64), None);
        }
    }
}
