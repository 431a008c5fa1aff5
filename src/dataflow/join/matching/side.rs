//! One side of a join: where it stands in its arrangement, and what its rows' counts are there.
//!
//! The arrangement tells the counts as of its own frontier. Those of rows with updates in the log
//! that this reader has not passed are kept here; all others are the same.

use std::ops::Range;

use arrow::datatypes::SchemaRef;
use hashbrown::HashTable;

use super::super::Shared;
use crate::batch::UpdateBatch;
use crate::error::Result;
use crate::state::arrangement::Arrangement;
use crate::state::arrangement::index::{Tag, wipe};
use crate::time::{EventTime, Resolution};

/// A row that a tick touched.
#[derive(Clone, Copy, Debug)]
pub struct Touched {
    /// The row.
    pub slot: u32,
    /// How often it was there before the tick.
    pub before: i64,
    /// How often it is there after the tick.
    pub now: i64,
    /// Its key.
    pub tag: Tag,
}

/// The counts of a row with updates that are not passed.
#[derive(Clone, Copy, Debug)]
struct Count {
    now: i64,
    before: i64,
    /// The tick that touched it last.
    tick: u64,
    /// Updates in the log that are not passed.
    left: u32,
    /// The reading of the log that it was first seen in.
    reading: u64,
}

/// One side of a join.
pub struct Side {
    pub shared: Shared,
    pub schema: SchemaRef,
    reader: usize,
    /// The columns of the input that are kept, if not all.
    kept: Option<Vec<usize>>,
    /// Whether a row counts once, however often it is there.
    as_one: bool,
    counts: Vec<Count>,
    places: HashTable<(u32, u32)>,
    /// Places in `counts` that are free.
    free: Vec<u32>,
    /// Updates of the log that have been read into `counts`.
    read: u64,
    /// Updates of the log that have been applied.
    applied: u64,
    /// What is to be applied: tick and number in the log.
    events: Vec<(EventTime, u64)>,
    touched: Vec<Touched>,
    /// Of each touched row its place in `counts`.
    touched_places: Vec<u32>,
    tick: u64,
    reading: u64,
}

#[inline]
fn hash(slot: u32) -> u64 {
    u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Side {
    pub fn new(shared: Shared, reader: usize) -> Self {
        let schema = shared.borrow().rows().schema().clone();
        Side {
            shared,
            schema,
            reader,
            kept: None,
            as_one: false,
            counts: Vec::new(),
            places: HashTable::new(),
            free: Vec::new(),
            read: 0,
            applied: 0,
            events: Vec::new(),
            touched: Vec::new(),
            touched_places: Vec::new(),
            tick: 0,
            reading: 0,
        }
    }

    pub fn count_keys(&mut self, keys: Vec<usize>) {
        self.kept = Some(keys);
        self.as_one = true;
    }

    /// The columns of the input that are kept.
    pub fn project(&self, batches: Vec<UpdateBatch>) -> Result<Vec<UpdateBatch>> {
        let Some(kept) = &self.kept else { return Ok(batches) };
        batches.iter().map(|b| Ok(b.with_rows(b.rows().project(kept)?))).collect()
    }

    /// Says that everything below `to` has been read.
    pub fn passed(&self, to: EventTime) {
        self.shared.borrow_mut().passed(self.reader, to);
    }

    /// Reads what is new in the log; what lies below `to` is to be applied.
    pub fn take_events(&mut self, held: &Arrangement, to: EventTime, resolution: Resolution) {
        let Range { start, end } = held.logged();
        self.read = self.read.max(start);
        self.reading += 1;
        for number in self.read..end {
            let logged = held.logged_at(number);
            let place = self.place(held, logged.slot);
            let count = &mut self.counts[place as usize];
            count.left += 1;
            // The counts of others, seen before, are those as of this reader already.
            if count.reading == self.reading {
                count.now -= logged.diff;
                count.before = count.now;
            }
        }
        self.read = end;
        self.applied = self.applied.max(start);
        self.events.clear();
        let (mut low, mut high) = (EventTime::MAX, EventTime::MIN);
        for number in self.applied..end {
            let time = held.logged_at(number).time;
            if time >= to {
                break;
            }
            if time < low || time >= high {
                low = resolution.tick_start(time);
                high = low.saturating_add(resolution.tick_ms());
            }
            self.events.push((low, number));
        }
        self.applied += self.events.len() as u64;
    }

    /// Where the counts of `slot` are; those as of the log's end if it is new here.
    fn place(&mut self, held: &Arrangement, slot: u32) -> u32 {
        if let Some(found) = self.places.find(hash(slot), |e| e.0 == slot) {
            return found.1;
        }
        let now = held.count(slot);
        let count = Count { now, before: now, tick: 0, left: 0, reading: self.reading };
        let place = match self.free.pop() {
            Some(place) => {
                self.counts[place as usize] = count;
                place
            }
            None => {
                self.counts.push(count);
                self.counts.len() as u32 - 1
            }
        };
        self.places.insert_unique(hash(slot), (slot, place), |e| hash(e.0));
        place
    }

    /// The tick of the event at `at`.
    pub fn tick_at(&self, at: usize) -> Option<EventTime> {
        self.events.get(at).map(|event| event.0)
    }

    /// Applies the events of `tick` from `at` on; where the next ones start.
    pub fn touch(&mut self, mut at: usize, tick: EventTime, held: &Arrangement) -> usize {
        self.tick += 1;
        self.touched.clear();
        self.touched_places.clear();
        while let Some(&(_, number)) = self.events.get(at).filter(|event| event.0 == tick) {
            let logged = held.logged_at(number);
            let place = self.place(held, logged.slot);
            let count = &mut self.counts[place as usize];
            if count.tick != self.tick {
                count.tick = self.tick;
                count.before = count.now;
                let (slot, tag) = (logged.slot, logged.tag);
                self.touched.push(Touched { slot, before: 0, now: 0, tag });
                self.touched_places.push(place);
            }
            count.now += logged.diff;
            count.left -= 1;
            at += 1;
        }
        for (touched, &place) in self.touched.iter_mut().zip(&self.touched_places) {
            let count = self.counts[place as usize];
            touched.before = as_one(self.as_one, count.before);
            touched.now = as_one(self.as_one, count.now);
        }
        at
    }

    /// The rows that the tick touched.
    pub fn touched(&self) -> &[Touched] {
        &self.touched
    }

    /// How often a row was there before the tick, and is now; whether the tick touched it.
    #[inline]
    pub fn counts(&self, held: &Arrangement, slot: u32) -> (i64, i64, bool) {
        if let Some(found) = self.places.find(hash(slot), |e| e.0 == slot) {
            let count = &self.counts[found.1 as usize];
            let now = as_one(self.as_one, count.now);
            return match count.tick == self.tick {
                true => (as_one(self.as_one, count.before), now, true),
                false => (now, now, false),
            };
        }
        let now = as_one(self.as_one, held.count(slot));
        (now, now, false)
    }

    /// Forgets the counts of rows of which every update is passed.
    pub fn finish(&mut self) {
        if self.applied == self.read {
            self.counts.clear();
            wipe(&mut self.places);
            self.free.clear();
            self.events.clear();
            return;
        }
        let held = std::rc::Rc::clone(&self.shared);
        let held = held.borrow();
        for (_, number) in std::mem::take(&mut self.events) {
            let slot = held.logged_at(number).slot;
            if let Ok(found) = self.places.find_entry(hash(slot), |e| e.0 == slot)
                && self.counts[found.get().1 as usize].left == 0
            {
                self.free.push(found.get().1);
                found.remove();
            }
        }
    }
}

#[inline]
fn as_one(is_one: bool, count: i64) -> i64 {
    if is_one { i64::from(count > 0) } else { count }
}
