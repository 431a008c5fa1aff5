//! The rows of one input that an interval join keeps: by key, and by the time at which they go.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;

use super::fresh::{Fresh, NO_GROUP};
use crate::error::Result;
use crate::state::rows::{Picked, RowStore};
use crate::time::{CLOSED, EventTime};

/// The end of a chain.
pub const NONE: u32 = u32::MAX;

/// Rows that go within `2^BUCKET_BITS` ms are kept together.
const BUCKET_BITS: u32 = 6;

/// Kept rows; all columns of numbers are by slot.
pub struct Side {
    schema: SchemaRef,
    pub rows: RowStore,
    /// The first row of each key.
    heads: Vec<u32>,
    next: Vec<u32>,
    before: Vec<u32>,
    groups: Vec<u32>,
    pub times: Vec<EventTime>,
    pub until: Vec<EventTime>,
    pub values: Vec<Vec<i64>>,
    pub matched: Vec<bool>,
    /// The rows by when they go, but for those that stay to the end.
    wheel: BTreeMap<i64, Vec<u32>>,
}

impl Side {
    /// No rows, with `width` compared times each.
    pub fn new(schema: &SchemaRef, width: usize) -> Self {
        Side {
            schema: schema.clone(),
            rows: RowStore::new(schema),
            heads: Vec::new(),
            next: Vec::new(),
            before: Vec::new(),
            groups: Vec::new(),
            times: Vec::new(),
            until: Vec::new(),
            values: vec![Vec::new(); width],
            matched: Vec::new(),
            wheel: BTreeMap::new(),
        }
    }

    /// Makes room for keys below `bound`.
    pub fn resize(&mut self, bound: usize) {
        if self.heads.len() < bound {
            self.heads.resize(bound, NONE);
        }
    }

    /// The first row of a key.
    #[inline]
    pub fn head(&self, group: u32) -> u32 {
        self.heads.get(group as usize).copied().unwrap_or(NONE)
    }

    /// The row behind `slot` of the same key.
    #[inline]
    pub fn next(&self, slot: u32) -> u32 {
        self.next[slot as usize]
    }

    /// Keeps the rows `picked` of `fresh`; their slots.
    pub fn insert(&mut self, fresh: &Fresh, picked: &[u32], matched: &[bool]) -> Result<Vec<u32>> {
        let mut slots = Vec::with_capacity(picked.len());
        if picked.is_empty() {
            return Ok(slots);
        }
        let columns = RowStore::read(fresh.batch.rows().columns())?;
        let rows = match picked.len() == fresh.batch.len() {
            true => Picked::Run(0..picked.len()),
            false => Picked::Some(picked),
        };
        self.rows.insert_columns(&columns, rows, &mut slots)?;
        self.grow(slots.iter().max().map_or(0, |&s| s as usize + 1));
        for (&row, &slot) in picked.iter().zip(&slots) {
            let (row, at) = (row as usize, slot as usize);
            let group = fresh.groups[row];
            self.groups[at] = group;
            self.times[at] = fresh.batch.times()[row];
            self.until[at] = fresh.until[row];
            self.matched[at] = matched.get(row).copied().unwrap_or(false);
            for (own, new) in self.values.iter_mut().zip(&fresh.values) {
                own[at] = new[row];
            }
            self.link(slot, group);
            if fresh.until[row] != CLOSED {
                self.wheel.entry(fresh.until[row] >> BUCKET_BITS).or_default().push(slot);
            }
        }
        Ok(slots)
    }

    fn grow(&mut self, bound: usize) {
        if bound <= self.times.len() {
            return;
        }
        self.next.resize(bound, NONE);
        self.before.resize(bound, NONE);
        self.groups.resize(bound, NO_GROUP);
        self.times.resize(bound, 0);
        self.until.resize(bound, 0);
        self.matched.resize(bound, false);
        self.values.iter_mut().for_each(|v| v.resize(bound, 0));
    }

    fn link(&mut self, slot: u32, group: u32) {
        let head = &mut self.heads[group as usize];
        let second = std::mem::replace(head, slot);
        self.next[slot as usize] = second;
        self.before[slot as usize] = NONE;
        if second != NONE {
            self.before[second as usize] = slot;
        }
    }

    fn unlink(&mut self, slot: u32) {
        let (next, before) = (self.next[slot as usize], self.before[slot as usize]);
        match before {
            NONE => self.heads[self.groups[slot as usize] as usize] = next,
            before => self.next[before as usize] = next,
        }
        if next != NONE {
            self.before[next as usize] = before;
        }
    }

    /// Whether rows may be gone at `frontier` that are still kept.
    pub fn is_due(&self, frontier: EventTime) -> bool {
        let first = self.wheel.first_key_value();
        first.is_some_and(|(bucket, _)| *bucket << BUCKET_BITS < frontier)
    }

    /// The rows that are not there at `to` any more.
    pub fn expired(&mut self, to: EventTime) -> Vec<u32> {
        let mut gone = Vec::new();
        let last = to >> BUCKET_BITS;
        while let Some(entry) = self.wheel.first_entry().filter(|e| *e.key() <= last) {
            let bucket = *entry.key();
            let slots = entry.remove();
            if bucket < last {
                gone.extend(slots);
                continue;
            }
            let (now, later): (Vec<u32>, Vec<u32>) =
                slots.into_iter().partition(|&s| self.until[s as usize] < to);
            gone.extend(now);
            if !later.is_empty() {
                self.wheel.insert(bucket, later);
            }
            break;
        }
        gone
    }

    /// The key of a row.
    pub fn group(&self, slot: u32) -> u32 {
        self.groups[slot as usize]
    }

    /// Forgets rows; their keys are added to `touched`.
    pub fn remove(&mut self, slots: &[u32], touched: &mut Vec<u32>) {
        for &slot in slots {
            self.unlink(slot);
            touched.push(self.groups[slot as usize]);
            self.rows.remove(slot);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Side::new(&self.schema, self.values.len());
    }
}
