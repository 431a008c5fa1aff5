//! One sum, or several, for each group: what states of sums share.

use std::ops::{Index, IndexMut};

use crate::error::Result;
use crate::state::encode::Encode;
use crate::state::saved::{LoadedColumns, SavedColumns};

/// Sums that can be added to others of their kind.
pub(super) trait Additive: Default + Encode {
    /// Adds those of `other`.
    fn merge(&mut self, other: &Self);

    /// Saves sums as columns, a row each.
    fn save<'a>(sums: impl Iterator<Item = &'a Self> + Clone, out: &mut SavedColumns)
    where
        Self: 'a,
    {
        out.values(sums);
    }

    /// Hands those that were saved to `take`, with their rows.
    fn load(saved: &mut LoadedColumns<'_>, take: impl FnMut(usize, Self)) -> Result<()> {
        saved.values(take)
    }
}

/// Sums by group; those of a new group are empty.
pub(super) struct PerGroup<S>(Vec<S>);

impl<S> Default for PerGroup<S> {
    fn default() -> Self {
        PerGroup(Vec::new())
    }
}

impl<S: Additive> PerGroup<S> {
    /// Makes room for groups below `groups`.
    pub(super) fn resize(&mut self, groups: usize) {
        self.0.resize_with(groups, S::default);
    }

    /// Adds group `i` of `other` to group `groups[i]`.
    pub(super) fn merge(&mut self, other: &Self, groups: &[u32]) {
        for (&group, sums) in groups.iter().zip(&other.0) {
            self.0[group as usize].merge(sums);
        }
    }

    /// Adds, for each pair, the first group to the second and empties the first.
    pub(super) fn absorb(&mut self, pairs: &[(u32, u32)]) {
        for &(from, into) in pairs {
            let sums = std::mem::take(&mut self.0[from as usize]);
            self.0[into as usize].merge(&sums);
        }
    }

    /// Empties `groups`.
    pub(super) fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|&group| self.0[group as usize] = S::default());
    }

    /// Saves the sums of `groups`.
    pub(super) fn save(&self, groups: &[u32], out: &mut SavedColumns) {
        S::save(groups.iter().map(|&group| &self.0[group as usize]), out);
    }

    /// Takes back the sums of `groups`.
    pub(super) fn load(&mut self, groups: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        S::load(saved, |row, sums| self.0[groups[row] as usize] = sums)
    }

    /// Forgets all groups; memory is kept.
    pub(super) fn reset(&mut self) {
        self.0.clear();
    }

    /// All sums, in the order of groups.
    pub(super) fn as_mut_slice(&mut self) -> &mut [S] {
        &mut self.0
    }
}

impl<S> Index<u32> for PerGroup<S> {
    type Output = S;

    fn index(&self, group: u32) -> &S {
        &self.0[group as usize]
    }
}

impl<S> IndexMut<u32> for PerGroup<S> {
    fn index_mut(&mut self, group: u32) -> &mut S {
        &mut self.0[group as usize]
    }
}
