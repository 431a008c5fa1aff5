//! `COUNT(*)` and `COUNT(x)`: selected rows by group.

use std::any::Any;
use std::ops::Range;

use super::{AggregateState, StepInput, same};
use crate::error::Result;
use crate::state::column::ColumnBuilder;
use crate::state::saved::{LoadedColumns, SavedColumns};

/// Number of selected rows.
pub(super) struct Count {
    selection: usize,
    counts: Vec<i64>,
}

impl Count {
    pub(super) fn new(selection: usize) -> Self {
        Count { selection, counts: Vec::new() }
    }
}

impl AggregateState for Count {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, input: &StepInput, rows: Range<usize>, groups: &[u32]) -> Result<()> {
        let counts = self.counts.as_mut_slice();
        if let (Some(selected), None) = (input.selection(self.selection), &input.diffs) {
            // Without a branch: filters are unpredictable.
            for (row, &group) in rows.zip(groups) {
                counts[group as usize] += i64::from(selected.value(row));
            }
            return Ok(());
        }
        input.for_each(self.selection, rows, groups, |_, group, diff| counts[group] += diff);
        Ok(())
    }

    fn merge(&mut self, other: &dyn AggregateState, groups: &[u32]) -> Result<()> {
        for (&group, count) in groups.iter().zip(&same::<Self>(other)?.counts) {
            self.counts[group as usize] += count;
        }
        Ok(())
    }

    fn absorb(&mut self, pairs: &[(u32, u32)]) {
        for &(from, into) in pairs {
            let count = std::mem::take(&mut self.counts[from as usize]);
            self.counts[into as usize] += count;
        }
    }

    fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|&group| self.counts[group as usize] = 0);
    }

    fn reset(&mut self) {
        self.counts.clear();
    }

    fn append(&self, _member: usize, groups: &[u32], out: &mut ColumnBuilder) -> Result<()> {
        out.extend_ints(groups.iter().map(|&group| self.counts[group as usize]));
        Ok(())
    }

    fn save(&self, groups: &[u32], out: &mut SavedColumns) {
        out.ints(groups.iter().map(|&group| self.counts[group as usize]));
    }

    fn load(&mut self, groups: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        for (&group, count) in groups.iter().zip(saved.ints()?) {
            self.counts[group as usize] = *count;
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
