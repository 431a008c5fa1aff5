//! `COUNT(DISTINCT ..)`, `SUM(DISTINCT ..)` and their like: one set of values for all calls over
//! the same argument, whatever their filters.
//!
//! The set is one hash table over `(group, value)`; an entry says in a bitmask which filters have
//! seen the value. A row of an event thus costs one probe, however many calls there are. Under
//! retractions an entry points to one count a filter. Values other than 64-bit ones are numbered by
//! [`GroupKeys`] first.

mod saved;

use std::any::Any;
use std::ops::Range;

use arrow::datatypes::DataType;
use hashbrown::HashTable;

use super::{AggregateState, Number, StepInput, ValueState, same};
use crate::batch::hash::mix;
use crate::error::{Error, Result};
use crate::state::column::{Column, ColumnBuilder, Form, Values, float_of, form_of};
use crate::state::keys::GroupKeys;
use crate::state::saved::{LoadedColumns, SavedColumns};

/// Filters of one set: bits of a mask.
pub(super) const FILTERS_MAX: usize = 32;

/// Entries and lives that may lie waste whatever the size of the set.
const COLLECT_MIN: usize = 1024;

/// One value of one group.
#[derive(Clone, Copy)]
struct Entry {
    value: i64,
    /// Number of the group's life, see [`Distinct::lives`].
    life: u32,
    /// Append-only: bitmask of the filters that saw the value. With retractions: index of its
    /// counts.
    seen: u32,
}

impl Entry {
    #[inline]
    fn hash(value: i64, life: u32) -> u64 {
        mix(value as u64, u64::from(life))
    }
}

/// What a distinct call computes from the values new to its filter.
pub(super) struct Member {
    /// Index of its filter in the set.
    pub(super) filter: usize,
    /// `None` for `COUNT`.
    pub(super) inner: Option<Box<dyn ValueState>>,
}

/// The distinct values of every group.
pub(super) struct Distinct {
    columns: Vec<usize>,
    types: Vec<DataType>,
    filters: Vec<usize>,
    members: Vec<Member>,
    /// No call needs the values themselves.
    counts_alone: bool,
    retracts: bool,
    table: HashTable<Entry>,
    /// Numbers of values that are not 64-bit, and how many entries use each.
    values: Option<(GroupKeys, Vec<u32>)>,
    /// Each group's present life: emptying a group starts a new one and leaves its entries as
    /// garbage.
    lives: Vec<u32>,
    lives_begun: u32,
    /// Entries of each group, and of past lives.
    sizes: Vec<u32>,
    garbage: usize,
    /// Distinct values by group and filter.
    counts: Vec<i64>,
    /// Multiplicities by entry and filter, with retractions.
    multiplicities: Vec<i64>,
    free: Vec<u32>,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    masks: Vec<u32>,
    numbers: Vec<u32>,
}

impl Distinct {
    pub(super) fn new(
        columns: Vec<usize>,
        types: Vec<DataType>,
        filters: Vec<usize>,
        members: Vec<Member>,
        retracts: bool,
    ) -> Self {
        let direct =
            matches!(types.as_slice(), [one] if matches!(form_of(one), Form::Int | Form::Float));
        let values = (!direct).then(|| (GroupKeys::new(types.clone()), Vec::new()));
        Distinct {
            columns,
            types,
            filters,
            counts_alone: members.iter().all(|member| member.inner.is_none()),
            members,
            retracts,
            table: HashTable::new(),
            values,
            lives: Vec::new(),
            lives_begun: 0,
            sizes: Vec::new(),
            garbage: 0,
            counts: Vec::new(),
            multiplicities: Vec::new(),
            free: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// For each row the filters that it passes.
    fn masks(&mut self, input: &StepInput, rows: &Range<usize>) {
        let masks = &mut self.scratch.masks;
        masks.clear();
        masks.resize(rows.len(), 0);
        for (bit, &filter) in self.filters.iter().enumerate() {
            match input.selection(filter) {
                None => masks.iter_mut().for_each(|mask| *mask |= 1 << bit),
                Some(selected) => {
                    for (mask, row) in masks.iter_mut().zip(rows.clone()) {
                        *mask |= u32::from(selected.value(row)) << bit;
                    }
                }
            }
        }
    }

    fn number_values(&mut self, input: &StepInput, rows: Range<usize>) -> Result<()> {
        let Some((values, uses)) = &mut self.values else { return Ok(()) };
        let mut columns = Vec::with_capacity(self.columns.len());
        for &column in &self.columns {
            columns.push(input.column(column)?);
        }
        values.intern(&columns, rows, &mut self.scratch.numbers)?;
        uses.resize(values.bound(), 0);
        Ok(())
    }

    /// The number that the `value` of an entry means.
    fn number(&self, value: i64) -> Option<Number> {
        match (&self.values, self.types.first().map(form_of)?) {
            (None, Form::Float) => Some(Number::Float(float_of(value))),
            (None, _) => Some(Number::Int(value)),
            (Some((values, _)), Form::Wide) => values.wide_key(value as u32).map(Number::Wide),
            _ => None,
        }
    }

    /// The value has come to (`diff` 1) or gone from (-1) the filters of `mask`.
    fn changed(&mut self, group: usize, value: i64, mask: u32, diff: i64) {
        let counts = &mut self.counts[group * self.filters.len()..];
        let mut rest = mask;
        while rest != 0 {
            counts[rest.trailing_zeros() as usize] += diff;
            rest &= rest - 1;
        }
        if self.counts_alone {
            return;
        }
        let Some(number) = self.number(value) else { return };
        for member in &mut self.members {
            if let Some(inner) = &mut member.inner
                && mask & (1 << member.filter) != 0
            {
                inner.add_value(group, number, diff);
            }
        }
    }

    /// Append-only: the filters of `mask` have seen `value`.
    #[inline]
    fn see(&mut self, group: usize, value: i64, mask: u32) {
        if mask == 0 {
            return;
        }
        let life = self.lives[group];
        let hash = Entry::hash(value, life);
        let new = match self.table.find_mut(hash, |e| e.value == value && e.life == life) {
            Some(entry) => {
                let new = mask & !entry.seen;
                entry.seen |= new;
                new
            }
            None => {
                let entry = Entry { value, life, seen: mask };
                self.table.insert_unique(hash, entry, |e| Entry::hash(e.value, e.life));
                self.entered(group, value);
                mask
            }
        };
        if new != 0 {
            self.changed(group, value, new, 1);
        }
    }

    /// With retractions: the multiplicity of `value` changes by `diff` in the filters of `mask`.
    fn shift(&mut self, group: usize, value: i64, diffs: impl Fn(usize) -> i64) {
        let (life, width) = (self.lives[group], self.filters.len());
        let hash = Entry::hash(value, life);
        let seen = match self.table.find(hash, |e| e.value == value && e.life == life) {
            Some(entry) => entry.seen,
            None => {
                let seen = self.free.pop().unwrap_or_else(|| {
                    let slot = self.multiplicities.len() / width;
                    self.multiplicities.resize((slot + 1) * width, 0);
                    slot as u32
                });
                let entry = Entry { value, life, seen };
                self.table.insert_unique(hash, entry, |e| Entry::hash(e.value, e.life));
                self.entered(group, value);
                seen
            }
        };
        let (mut come, mut gone, mut empty) = (0, 0, true);
        let counts = &mut self.multiplicities[seen as usize * width..][..width];
        for (filter, count) in counts.iter_mut().enumerate() {
            let before = *count > 0;
            *count += diffs(filter);
            come |= u32::from(!before && *count > 0) << filter;
            gone |= u32::from(before && *count <= 0) << filter;
            empty &= *count == 0;
        }
        // The value must still have its number when the inner states are told.
        if come != 0 {
            self.changed(group, value, come, 1);
        }
        if gone != 0 {
            self.changed(group, value, gone, -1);
        }
        if empty
            && let Ok(entry) = self.table.find_entry(hash, |e| e.value == value && e.life == life)
        {
            entry.remove();
            self.free.push(seen);
            self.sizes[group] -= 1;
            // The number itself is dropped at the end: later rows of the step may carry it.
            if let Some((_, uses)) = &mut self.values {
                uses[value as usize] -= 1;
            }
        }
    }

    fn entered(&mut self, group: usize, value: i64) {
        self.sizes[group] += 1;
        if let Some((_, uses)) = &mut self.values {
            uses[value as usize] += 1;
        }
    }

    /// Drops those of the step's numbers that no entry uses (any more).
    fn drop_unused(&mut self) {
        let Some((values, uses)) = &mut self.values else { return };
        let unused = |uses: &[u32], number: u32| uses.get(number as usize) == Some(&0);
        let mut dropped: Vec<u32> = self.scratch.numbers.clone();
        dropped.retain(|&number| unused(uses, number));
        dropped.sort_unstable();
        dropped.dedup();
        dropped.into_iter().for_each(|number| values.remove(number));
    }

    /// Begins a new life of `group`.
    fn empty(&mut self, group: usize) {
        self.garbage += std::mem::take(&mut self.sizes[group]) as usize;
        self.lives[group] = self.lives_begun;
        self.lives_begun += 1;
        let width = self.filters.len();
        self.counts[group * width..][..width].fill(0);
    }

    fn collect(&mut self) {
        let waste = self.garbage + self.lives_begun as usize - self.lives.len();
        if waste <= self.table.len() - self.garbage + self.lives.len() + COLLECT_MIN {
            return;
        }
        let mut live = vec![false; self.lives_begun as usize];
        self.lives.iter().for_each(|&life| live[life as usize] = true);
        self.drop_entries(|entry| !live[entry.life as usize], |_, _| {});
        self.garbage = 0;
        // Lives are numbered anew: their numbers must not run out.
        let mut order = vec![0; live.len()];
        for (group, life) in self.lives.iter_mut().enumerate() {
            order[*life as usize] = group as u32;
            *life = group as u32;
        }
        self.lives_begun = self.lives.len() as u32;
        let entries: Vec<Entry> = self.table.drain().collect();
        for mut entry in entries {
            entry.life = order[entry.life as usize];
            let hash = Entry::hash(entry.value, entry.life);
            self.table.insert_unique(hash, entry, |e| Entry::hash(e.value, e.life));
        }
    }

    /// Removes the entries that `gone` names, and tells `each` of them and their counts.
    fn drop_entries(&mut self, gone: impl Fn(&Entry) -> bool, mut each: impl FnMut(Entry, &[i64])) {
        let width = self.filters.len();
        for entry in self.table.extract_if(|entry| gone(entry)) {
            let counts: &mut [i64] = match self.retracts {
                true => &mut self.multiplicities[entry.seen as usize * width..][..width],
                false => &mut [],
            };
            each(entry, counts);
            counts.fill(0);
            if self.retracts {
                self.free.push(entry.seen);
            }
            release(&mut self.values, entry.value);
        }
    }

    fn add_entry(&mut self, group: usize, value: i64, mask: u32, counts: &[i64]) {
        if self.retracts {
            self.shift(group, value, |filter| counts[filter]);
        } else {
            self.see(group, value, mask);
        }
    }
}

/// One entry less uses the number `value`.
fn release(values: &mut Option<(GroupKeys, Vec<u32>)>, value: i64) {
    if let Some((values, uses)) = values {
        uses[value as usize] -= 1;
        if uses[value as usize] == 0 {
            values.remove(value as u32);
        }
    }
}

impl AggregateState for Distinct {
    fn resize(&mut self, groups: usize) {
        let more = groups.saturating_sub(self.lives.len()) as u32;
        self.lives.extend(self.lives_begun..self.lives_begun + more);
        self.lives_begun += more;
        self.sizes.resize(groups, 0);
        self.counts.resize(groups * self.filters.len(), 0);
        for member in &mut self.members {
            if let Some(inner) = &mut member.inner {
                inner.resize(groups);
            }
        }
    }

    fn update(&mut self, input: &StepInput, rows: Range<usize>, groups: &[u32]) -> Result<()> {
        self.masks(input, &rows);
        self.number_values(input, rows.clone())?;
        let masks = std::mem::take(&mut self.scratch.masks);
        let numbers = std::mem::take(&mut self.scratch.numbers);
        let direct: &[i64] = match (&self.values, self.columns.first()) {
            (None, Some(&column)) => match input.column(column)? {
                Column { values: Values::Int(values), .. } => &values[rows.clone()],
                _ => return Err(Error::internal("a distinct argument is not of its form")),
            },
            _ => &[],
        };
        let value = |i: usize| match direct.get(i) {
            Some(&value) => value,
            None => i64::from(numbers[i]),
        };
        if self.retracts {
            for (i, (row, &group)) in rows.zip(groups).enumerate() {
                let diff = input.diffs.as_ref().map_or(1, |diffs| diffs[row]);
                let mask = masks[i];
                if mask != 0 {
                    let of = |filter: usize| if mask & (1 << filter) != 0 { diff } else { 0 };
                    self.shift(group as usize, value(i), of);
                }
            }
        } else if direct.is_empty() {
            for (i, (&mask, &group)) in masks.iter().zip(groups).enumerate() {
                self.see(group as usize, value(i), mask);
            }
        } else {
            for ((&mask, &group), &value) in masks.iter().zip(groups).zip(direct) {
                self.see(group as usize, value, mask);
            }
        }
        let unused = self.retracts || masks.contains(&0);
        self.scratch = Scratch { masks, numbers };
        if unused {
            self.drop_unused();
        }
        Ok(())
    }

    fn merge(&mut self, other: &dyn AggregateState, groups: &[u32]) -> Result<()> {
        let other = same::<Self>(other)?;
        let width = self.filters.len();
        let mut owners = vec![u32::MAX; other.lives_begun as usize];
        for (&life, &group) in other.lives.iter().zip(groups) {
            owners[life as usize] = group;
        }
        let mut numbers = Vec::new();
        if let (Some((mine, uses)), Some((theirs, _))) = (&mut self.values, &other.values) {
            mine.intern_from(theirs, &mut numbers)?;
            uses.resize(mine.bound(), 0);
        }
        for entry in other.table.iter() {
            let group = owners[entry.life as usize];
            if group == u32::MAX {
                continue;
            }
            // Without numbers the value is the entry's own.
            let value = match numbers.get(entry.value as usize) {
                Some(&number) => i64::from(number),
                None => entry.value,
            };
            let counts: &[i64] = match self.retracts {
                true => &other.multiplicities[entry.seen as usize * width..][..width],
                false => &[],
            };
            self.add_entry(group as usize, value, entry.seen, counts);
        }
        self.scratch.numbers = numbers;
        self.drop_unused();
        Ok(())
    }

    fn absorb(&mut self, pairs: &[(u32, u32)]) {
        let mut target = vec![u32::MAX; self.lives_begun as usize];
        for &(from, into) in pairs {
            target[self.lives[from as usize] as usize] = into;
        }
        let width = self.filters.len();
        let (mut moved, mut counted) = (Vec::new(), Vec::new());
        // The numbers of moved values must outlive their removal and addition.
        let values = self.values.take();
        self.drop_entries(
            |entry| target[entry.life as usize] != u32::MAX,
            |entry, counts| {
                moved.push((target[entry.life as usize], entry));
                counted.extend_from_slice(counts);
            },
        );
        self.values = values;
        for (i, (group, entry)) in moved.iter().enumerate() {
            let counts: &[i64] = if self.retracts { &counted[i * width..][..width] } else { &[] };
            self.add_entry(*group as usize, entry.value, entry.seen, counts);
        }
        for (_, entry) in &moved {
            release(&mut self.values, entry.value);
        }
        for &(from, _) in pairs {
            // Its entries are gone already: they are no garbage.
            self.sizes[from as usize] = 0;
        }
        let emptied: Vec<u32> = pairs.iter().map(|pair| pair.0).collect();
        self.clear(&emptied);
    }

    fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|&group| self.empty(group as usize));
        for member in &mut self.members {
            if let Some(inner) = &mut member.inner {
                inner.clear(groups);
            }
        }
        self.collect();
    }

    fn reset(&mut self) {
        self.table.clear();
        if let Some((values, uses)) = &mut self.values {
            values.clear();
            uses.clear();
        }
        self.lives.clear();
        self.lives_begun = 0;
        self.sizes.clear();
        self.garbage = 0;
        self.counts.clear();
        self.multiplicities.clear();
        self.free.clear();
        for member in &mut self.members {
            if let Some(inner) = &mut member.inner {
                inner.reset();
            }
        }
    }

    fn append(&self, member: usize, groups: &[u32], out: &mut ColumnBuilder) -> Result<()> {
        let member = self
            .members
            .get(member)
            .ok_or_else(|| Error::internal("a distinct aggregate without its call"))?;
        if let Some(inner) = &member.inner {
            return inner.append(0, groups, out);
        }
        let width = self.filters.len();
        let count = |&group: &u32| self.counts[group as usize * width + member.filter];
        out.extend_ints(groups.iter().map(count));
        Ok(())
    }

    fn save(&self, groups: &[u32], out: &mut SavedColumns) {
        self.save_entries(groups, out);
    }

    /// What the calls add up comes back with the values: it is exact, and so of one result.
    fn load(&mut self, groups: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        self.load_entries(groups, saved)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
