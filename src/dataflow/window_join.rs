//! Window joins: the rows of two closed windows with equal bounds, matched by key.
//!
//! A hash join of whole columns: the right side's keys in a chained table, the left side probed in
//! one pass, pairs gathered by `take`, the residual condition evaluated over all pairs at once.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use arrow::buffer::ScalarBuffer;
use arrow::compute;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::JoinType;
use hashbrown::HashTable;

use super::calc::reason_of;
use super::side::letter_of_row;
use super::windowed::{WindowFunction, Windowed, millis_of};
use crate::batch::UpdateBatch;
use crate::batch::consolidate::accumulate;
use crate::batch::hash::{hash_bytes, normal};
use crate::error::{DeadLetter, Error, Result};
use crate::limits::BATCH_ROWS;
use crate::plan::expr::Expression;
use crate::plan::node::WindowJoin;
use crate::time::EventTime;

/// The logic of a [`WindowJoin`] node.
pub type WindowJoinLogic = Windowed<JoinFunction>;

/// Joins the rows of windows.
pub struct JoinFunction {
    join: WindowJoin,
    output: SchemaRef,
    /// Left columns, then right columns: what the condition reads.
    pairs: SchemaRef,
}

impl WindowJoinLogic {
    /// Over inputs of schemas `left` and `right`.
    pub fn joined(
        left: SchemaRef,
        right: SchemaRef,
        join: WindowJoin,
        output: SchemaRef,
        lateness: i64,
    ) -> Self {
        let fields = left.fields().iter().chain(right.fields().iter());
        let fields: Vec<_> =
            fields.map(|f| Arc::new(f.as_ref().clone().with_nullable(true))).collect();
        let pairs = Arc::new(arrow::datatypes::Schema::new(fields));
        Windowed::new(JoinFunction { join, output, pairs }, vec![left, right], lateness)
    }
}

const END_OF_CHAIN: u32 = u32::MAX;

/// Rows of one side by key.
struct KeyTable {
    keys: Rows,
    heads: HashTable<(u64, u32)>,
    next: Vec<u32>,
}

impl KeyTable {
    /// Of `keys`; rows for which `usable` is false match nothing.
    fn new(keys: Rows, usable: impl Fn(usize) -> bool) -> Self {
        let count = keys.num_rows();
        let mut heads: HashTable<(u64, u32)> = HashTable::with_capacity(count);
        let mut next = vec![END_OF_CHAIN; count];
        // Backwards, so that a chain runs in row order.
        for row in (0..count).rev().filter(|&r| usable(r)) {
            let key = keys.row(row);
            let hash = hash_bytes(key.as_ref());
            match heads.find_mut(hash, |(h, r)| *h == hash && keys.row(*r as usize) == key) {
                Some((_, head)) => {
                    next[row] = *head;
                    *head = row as u32;
                }
                None => {
                    heads.insert_unique(hash, (hash, row as u32), |(h, _)| *h);
                }
            }
        }
        KeyTable { keys, heads, next }
    }

    fn matches(&self, key: &[u8], mut found: impl FnMut(u32)) {
        let hash = hash_bytes(key);
        let is_key = |(h, r): &(u64, u32)| *h == hash && self.keys.row(*r as usize).as_ref() == key;
        let mut at = self.heads.find(hash, is_key).map_or(END_OF_CHAIN, |(_, r)| *r);
        while at != END_OF_CHAIN {
            found(at);
            at = self.next[at as usize];
        }
    }
}

impl JoinFunction {
    fn keys(&self, rows: &UpdateBatch, window: (usize, usize), keys: &[usize]) -> Vec<ArrayRef> {
        let columns = [window.0, window.1].into_iter().chain(keys.iter().copied());
        columns.map(|c| normal(rows.column(c))).collect()
    }

    /// Pairs of matching rows (left, right), the residual condition applied.
    fn matched(
        &self,
        left: &UpdateBatch,
        right: &UpdateBatch,
        dead: &mut Vec<DeadLetter>,
    ) -> Result<(Vec<u32>, Vec<u32>)> {
        let join = &self.join;
        let left_keys = self.keys(left, join.left_window, &join.left_keys);
        let right_keys = self.keys(right, join.right_window, &join.right_keys);
        let fields = left_keys.iter().map(|k| SortField::new(k.data_type().clone())).collect();
        let converter = RowConverter::new(fields)?;
        let has_null = |keys: &[ArrayRef], row: usize| {
            !join.null_equals_null && keys.iter().any(|k| k.is_null(row))
        };
        let table = KeyTable::new(converter.convert_columns(&right_keys)?, |row| {
            !has_null(&right_keys, row)
        });
        let probes = converter.convert_columns(&left_keys)?;
        let (mut lefts, mut rights) = (Vec::new(), Vec::new());
        let (mut kept_left, mut kept_right) = (Vec::new(), Vec::new());
        for row in (0..left.len()).filter(|&r| !has_null(&left_keys, r)) {
            table.matches(probes.row(row).as_ref(), |other| {
                lefts.push(row as u32);
                rights.push(other);
            });
            if lefts.len() >= BATCH_ROWS {
                self.filter_pairs(left, right, &mut lefts, &mut rights, dead)?;
                kept_left.append(&mut lefts);
                kept_right.append(&mut rights);
            }
        }
        self.filter_pairs(left, right, &mut lefts, &mut rights, dead)?;
        kept_left.append(&mut lefts);
        kept_right.append(&mut rights);
        Ok((kept_left, kept_right))
    }

    fn filter_pairs(
        &self,
        left: &UpdateBatch,
        right: &UpdateBatch,
        lefts: &mut Vec<u32>,
        rights: &mut Vec<u32>,
        dead: &mut Vec<DeadLetter>,
    ) -> Result<()> {
        let Some(filter) = &self.join.filter else { return Ok(()) };
        if lefts.is_empty() {
            return Ok(());
        }
        let l = UInt32Array::from(std::mem::take(lefts));
        let r = UInt32Array::from(std::mem::take(rights));
        let mut columns = Vec::with_capacity(self.pairs.fields().len());
        // Only what the condition reads is gathered.
        let wanted = filter.columns();
        let width = left.rows().num_columns();
        for (place, field) in self.pairs.fields().iter().enumerate() {
            columns.push(match (wanted.contains(&place), place < width) {
                (false, _) => new_null_array(field.data_type(), l.len()),
                (true, true) => compute::take(left.column(place), &l, None)?,
                (true, false) => compute::take(right.column(place - width), &r, None)?,
            });
        }
        let pairs = RecordBatch::try_new(Arc::clone(&self.pairs), columns)?;
        let mut failed = Vec::new();
        for row in holding("WindowJoin", filter, &pairs, 0, &mut failed)? {
            lefts.push(l.value(row));
            rights.push(r.value(row));
        }
        dead.extend(failed.into_iter().map(|(_, letter)| letter));
        Ok(())
    }

    /// Rows `picked` of one side alone, as output rows.
    fn one_side(&self, side: &UpdateBatch, picked: Vec<u32>, is_left: bool) -> Result<UpdateBatch> {
        let taken = side.take(&UInt32Array::from(picked))?;
        let width = self.output.fields().len();
        let own = taken.rows().num_columns();
        let mut columns = Vec::with_capacity(width);
        for (place, field) in self.output.fields().iter().enumerate() {
            let at = if is_left { Some(place) } else { (place + own).checked_sub(width) };
            columns.push(match at.filter(|&p| p < own) {
                Some(p) => taken.column(p).clone(),
                None => new_null_array(field.data_type(), taken.len()),
            });
        }
        Ok(taken.with_rows(RecordBatch::try_new(Arc::clone(&self.output), columns)?))
    }

    fn pairs(
        &self,
        left: &UpdateBatch,
        right: &UpdateBatch,
        lefts: Vec<u32>,
        rights: Vec<u32>,
    ) -> Result<UpdateBatch> {
        let diffs = (left.diffs().is_some() || right.diffs().is_some()).then(|| {
            let pairs = lefts.iter().zip(&rights);
            let diffs = pairs.map(|(&l, &r)| left.diff(l as usize) * right.diff(r as usize));
            diffs.collect::<ScalarBuffer<i64>>()
        });
        let l = left.take(&UInt32Array::from(lefts))?;
        let r = right.take(&UInt32Array::from(rights))?;
        let columns = l.rows().columns().iter().chain(r.rows().columns()).cloned().collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        Ok(UpdateBatch::new(rows, l.times().clone(), diffs))
    }
}

/// The rows of `pairs`, the first of which counts as `first`, for which `filter` is true. A pair
/// that fails is no match, and goes to `failed` with its place.
pub(super) fn holding(
    operator: &str,
    filter: &Expression,
    pairs: &RecordBatch,
    first: usize,
    failed: &mut Vec<(usize, DeadLetter)>,
) -> Result<Vec<usize>> {
    let count = pairs.num_rows();
    match filter.physical().evaluate(pairs).and_then(|value| value.into_array(count)) {
        Ok(mask) => {
            let mask = mask.as_boolean();
            let holds = |row: &usize| mask.is_valid(*row) && mask.value(*row);
            Ok((0..count).filter(holds).map(|row| first + row).collect())
        }
        Err(error) if count == 1 => {
            let reason = reason_of(&Error::from(error));
            // The columns that the condition does not read were not gathered.
            let read: Vec<usize> = filter.columns().into_iter().collect();
            failed.push((first, letter_of_row(operator, &reason, &pairs.project(&read)?)));
            Ok(Vec::new())
        }
        // Halve until the failing pairs are alone.
        Err(_) => {
            let half = count / 2;
            let mut found = holding(operator, filter, &pairs.slice(0, half), first, failed)?;
            let rest = pairs.slice(half, count - half);
            found.extend(holding(operator, filter, &rest, first + half, failed)?);
            Ok(found)
        }
    }
}

fn unmatched(count: usize, matched: &[u32]) -> Vec<u32> {
    let mut seen = vec![false; count];
    matched.iter().for_each(|&m| seen[m as usize] = true);
    (0..count as u32).filter(|&r| !seen[r as usize]).collect()
}

fn distinct(count: usize, matched: &[u32]) -> Vec<u32> {
    let mut seen = vec![false; count];
    matched.iter().for_each(|&m| seen[m as usize] = true);
    (0..count as u32).filter(|&r| seen[r as usize]).collect()
}

/// The rows of one side with summed diffs, if any are retracted.
fn net(side: &UpdateBatch) -> Result<UpdateBatch> {
    if side.diffs().is_some() { accumulate(side) } else { Ok(side.clone()) }
}

impl WindowFunction for JoinFunction {
    fn name(&self) -> &'static str {
        "WindowJoin"
    }

    fn window_end(&self, index: usize) -> usize {
        if index == 0 { self.join.left_window.1 } else { self.join.right_window.1 }
    }

    fn compute(
        &self,
        inputs: &[UpdateBatch],
        dead: &mut Vec<DeadLetter>,
    ) -> Result<(UpdateBatch, Vec<EventTime>)> {
        let (left, right) = (net(&inputs[0])?, net(&inputs[1])?);
        let left_ends = millis_of(left.rows(), self.join.left_window.1)?;
        let right_ends = millis_of(right.rows(), self.join.right_window.1)?;
        let (lefts, rights) = self.matched(&left, &right, dead)?;
        let alone = |of: &[EventTime], picked: &[u32]| {
            picked.iter().map(|&p| of[p as usize]).collect::<Vec<_>>()
        };
        let (mut parts, mut ends) = (Vec::new(), Vec::new());
        let mut one_side = |is_left: bool, picked: Vec<u32>| -> Result<()> {
            let (side, of) = if is_left { (&left, &left_ends) } else { (&right, &right_ends) };
            ends.extend(alone(of, &picked));
            parts.push(self.one_side(side, picked, is_left)?);
            Ok(())
        };
        match self.join.kind {
            JoinType::LeftSemi => one_side(true, distinct(left.len(), &lefts))?,
            JoinType::LeftAnti => one_side(true, unmatched(left.len(), &lefts))?,
            JoinType::RightSemi => one_side(false, distinct(right.len(), &rights))?,
            JoinType::RightAnti => one_side(false, unmatched(right.len(), &rights))?,
            kind => {
                if matches!(kind, JoinType::Left | JoinType::Full) {
                    one_side(true, unmatched(left.len(), &lefts))?;
                }
                if matches!(kind, JoinType::Right | JoinType::Full) {
                    one_side(false, unmatched(right.len(), &rights))?;
                }
                ends.extend(alone(&left_ends, &lefts));
                parts.push(self.pairs(&left, &right, lefts, rights)?);
            }
        }
        Ok((UpdateBatch::concat(&self.output, &parts)?, ends))
    }
}
