//! The rows of one input that an interval join keeps: by key, and by the time at which they go.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;

use super::fresh::Fresh;
use crate::error::Result;
use crate::state::chains::Chains;
use crate::state::rows::{Picked, RowStore};
use crate::time::{CLOSED, EventTime};

/// Rows that go within `2^BUCKET_BITS` ms are kept together.
const BUCKET_BITS: u32 = 6;

/// Kept rows; all columns of numbers are by slot.
pub struct Side {
    schema: SchemaRef,
    pub rows: RowStore,
    /// The rows of each key.
    pub chains: Chains,
    pub times: Vec<EventTime>,
    pub until: Vec<EventTime>,
    pub values: Vec<Vec<i64>>,
    pub matched: Vec<bool>,
    /// The rows by when they go, but for those that stay to the end.
    /// Those that went before their time have another serial number now.
    wheel: BTreeMap<i64, Vec<(u32, u32)>>,
    serials: Vec<u32>,
    is_held: Vec<bool>,
}

impl Side {
    /// No rows, with `width` compared times each.
    pub fn new(schema: &SchemaRef, width: usize) -> Self {
        Side {
            schema: schema.clone(),
            rows: RowStore::new(schema),
            chains: Chains::default(),
            times: Vec::new(),
            until: Vec::new(),
            values: vec![Vec::new(); width],
            matched: Vec::new(),
            wheel: BTreeMap::new(),
            serials: Vec::new(),
            is_held: Vec::new(),
        }
    }

    /// The slots of the rows that are kept.
    pub fn held(&self) -> impl Iterator<Item = u32> + '_ {
        self.is_held.iter().enumerate().filter(|(_, held)| **held).map(|(slot, _)| slot as u32)
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
            self.times[at] = fresh.batch.times()[row];
            self.until[at] = fresh.until[row];
            self.is_held[at] = true;
            self.matched[at] = matched.get(row).copied().unwrap_or(false);
            for (own, new) in self.values.iter_mut().zip(&fresh.values) {
                own[at] = new[row];
            }
            self.chains.link(slot, fresh.groups[row]);
            if fresh.until[row] != CLOSED {
                let bucket = self.wheel.entry(fresh.until[row] >> BUCKET_BITS).or_default();
                bucket.push((slot, self.serials[at]));
            }
        }
        Ok(slots)
    }

    fn grow(&mut self, bound: usize) {
        if bound <= self.times.len() {
            return;
        }
        self.times.resize(bound, 0);
        self.until.resize(bound, 0);
        self.matched.resize(bound, false);
        self.serials.resize(bound, 0);
        self.is_held.resize(bound, false);
        self.values.iter_mut().for_each(|v| v.resize(bound, 0));
    }

    /// Whether rows may be gone at `frontier` that are still kept.
    pub fn is_due(&self, frontier: EventTime) -> bool {
        let first = self.wheel.first_key_value();
        first.is_some_and(|(bucket, _)| *bucket << BUCKET_BITS < frontier)
    }

    /// The time before which no row goes.
    pub fn due(&self) -> Option<EventTime> {
        self.wheel.first_key_value().map(|(bucket, _)| *bucket << BUCKET_BITS)
    }

    /// The rows that are not there at `to` any more.
    pub fn expired(&mut self, to: EventTime) -> Vec<u32> {
        let mut gone = Vec::new();
        let last = to >> BUCKET_BITS;
        while let Some(entry) = self.wheel.first_entry().filter(|e| *e.key() <= last) {
            let bucket = *entry.key();
            let mut rows = entry.remove();
            rows.retain(|&(slot, serial)| self.serials[slot as usize] == serial);
            if bucket < last {
                gone.extend(rows.into_iter().map(|(slot, _)| slot));
                continue;
            }
            let is_gone = |&(slot, _): &(u32, u32)| self.until[slot as usize] < to;
            let (now, later): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_gone);
            gone.extend(now.into_iter().map(|(slot, _)| slot));
            if !later.is_empty() {
                self.wheel.insert(bucket, later);
            }
            break;
        }
        gone
    }

    /// Forgets rows; their keys are added to `touched`.
    pub fn remove(&mut self, slots: &[u32], touched: &mut Vec<u32>) {
        for &slot in slots {
            self.chains.unlink(slot);
            touched.push(self.chains.group(slot));
            let serial = &mut self.serials[slot as usize];
            *serial = serial.wrapping_add(1);
            self.is_held[slot as usize] = false;
            self.rows.remove(slot);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Side::new(&self.schema, self.values.len());
    }
}
