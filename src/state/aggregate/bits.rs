//! `BIT_AND`, `BIT_OR`, `BIT_XOR`, `BOOL_AND` and `BOOL_OR` under retractions: how often each bit
//! is set.

use std::any::Any;
use std::ops::Range;

use super::{AggregateState, StepInput, same};
use crate::error::{Error, Result};
use crate::plan::aggregate::BitOperation;
use crate::state::column::{ColumnBuilder, Values};
use crate::state::encode::Encode;
use crate::state::saved::{LoadedColumns, SavedColumns};

/// Counts of set bits by group.
pub(super) struct Bits {
    column: usize,
    selection: usize,
    /// Bits of the type; one for BOOLEAN.
    width: usize,
    members: Vec<BitOperation>,
    /// For each group how many values there are, then how many have each bit.
    counts: Vec<i64>,
}

impl Bits {
    pub(super) fn new(
        column: usize,
        selection: usize,
        width: usize,
        members: Vec<BitOperation>,
    ) -> Self {
        Bits { column, selection, width, members, counts: Vec::new() }
    }

    fn range(&self, group: usize) -> Range<usize> {
        let stride = self.width + 1;
        group * stride..(group + 1) * stride
    }

    fn value(&self, group: usize, operation: BitOperation) -> Option<i64> {
        let [total, bits @ ..] = &self.counts[self.range(group)] else { return None };
        if *total <= 0 {
            return None;
        }
        let is_set = |count: i64| match operation {
            BitOperation::And => count >= *total,
            BitOperation::Or => count > 0,
            BitOperation::Xor => count % 2 != 0,
        };
        let set = bits.iter().enumerate().filter(|(_, count)| is_set(**count));
        let value = set.fold(0u64, |value, (bit, _)| value | (1 << bit)) as i64;
        // The sign of narrower types.
        let shift = if self.width == 1 { 0 } else { 64 - self.width };
        Some((value << shift) >> shift)
    }
}

impl AggregateState for Bits {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups * (self.width + 1), 0);
    }

    fn update(&mut self, input: &StepInput, rows: Range<usize>, groups: &[u32]) -> Result<()> {
        let Values::Int(values) = &input.column(self.column)?.values else {
            return Err(Error::internal("the argument of a bit aggregate is no integer"));
        };
        input.for_each(self.selection, rows, groups, |row, group, diff| {
            let range = self.range(group);
            let [total, bits @ ..] = &mut self.counts[range] else { return };
            *total += diff;
            for (bit, count) in bits.iter_mut().enumerate() {
                *count += diff * ((values[row] >> bit) & 1);
            }
        });
        Ok(())
    }

    fn merge(&mut self, other: &dyn AggregateState, groups: &[u32]) -> Result<()> {
        let other = same::<Self>(other)?;
        for (&group, theirs) in groups.iter().zip(other.counts.chunks(self.width + 1)) {
            let range = self.range(group as usize);
            self.counts[range].iter_mut().zip(theirs).for_each(|(mine, their)| *mine += their);
        }
        Ok(())
    }

    fn absorb(&mut self, pairs: &[(u32, u32)]) {
        for &(from, into) in pairs {
            for (from, into) in self.range(from as usize).zip(self.range(into as usize)) {
                let count = std::mem::take(&mut self.counts[from]);
                self.counts[into] += count;
            }
        }
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            let range = self.range(group as usize);
            self.counts[range].fill(0);
        }
    }

    fn reset(&mut self) {
        self.counts.clear();
    }

    fn append(&self, member: usize, groups: &[u32], out: &mut ColumnBuilder) -> Result<()> {
        for &group in groups {
            let operation = self.members.get(member).copied();
            match operation.and_then(|operation| self.value(group as usize, operation)) {
                Some(value) => out.push_int(value),
                None => out.push_null(),
            }
        }
        Ok(())
    }

    fn save(&self, groups: &[u32], out: &mut SavedColumns) {
        out.encoded(groups, |&group, out| {
            self.counts[self.range(group as usize)].iter().for_each(|count| count.encode(out));
        });
    }

    fn load(&mut self, groups: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        saved.encoded(|row, from| {
            let range = self.range(groups[row] as usize);
            for count in &mut self.counts[range] {
                *count = i64::decode(from)?;
            }
            Ok(())
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
