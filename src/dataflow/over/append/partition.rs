//! What is known of a partition, and the rows of one in a slice.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};

use super::super::slices::Slice;
use crate::error::{Error, Result};
use crate::plan::over::OverFunction;

/// What is known of one partition.
#[derive(Default)]
pub struct Partition {
    /// Rows so far: the place of the next one.
    pub count: u64,
    /// Distinct order values so far.
    pub distinct: u64,
    /// Value and slot of the rows held, in order.
    pub tail: VecDeque<(i64, u32)>,
    /// The place of the first of them.
    pub base: u64,
    /// Slots of the first rows.
    pub head: Vec<u32>,
    /// For each frame the places of the rows in its state.
    pub edges: Vec<(u64, u64)>,
    /// The places below were saved.
    pub saved: u64,
}

/// Rows that a slice looks at: its own, and behind them rows held.
#[derive(Default)]
pub struct Looks {
    /// How many rows the slice has.
    pub own: usize,
    /// Slots of the rows held that it looks at.
    pub slots: Vec<u32>,
    /// Their places.
    pub places: Vec<i64>,
}

impl Looks {
    /// A row held, as one that the slice looks at.
    pub fn held(&mut self, slot: u32, place: u64) -> u32 {
        self.slots.push(slot);
        self.places.push(place as i64);
        (self.own + self.slots.len() - 1) as u32
    }
}

/// The rows of one partition in a slice.
pub struct Run<'a> {
    /// The slice.
    pub slice: &'a Slice,
    /// The number of the partition.
    pub group: u32,
    /// Its rows in the slice.
    pub rows: Range<usize>,
    /// The place of the first of them.
    pub first: u64,
}

impl Run<'_> {
    /// The place behind the last of them.
    pub fn end(&self) -> u64 {
        self.first + self.rows.len() as u64
    }

    /// The order value of the row at `place`.
    pub fn value(&self, partition: &Partition, place: u64) -> i64 {
        match place.checked_sub(self.first) {
            Some(ahead) => self.slice.values[self.rows.start + ahead as usize],
            None => partition.value(place),
        }
    }

    /// The row at `place`, as one that the slice looks at.
    pub fn row(&self, partition: &Partition, place: u64, looks: &mut Looks) -> u32 {
        match place.checked_sub(self.first) {
            Some(ahead) => (self.rows.start + ahead as usize) as u32,
            None => looks.held(partition.slot(place), place),
        }
    }
}

impl Partition {
    fn at(&self, place: u64) -> Option<&(i64, u32)> {
        self.tail.get(place.checked_sub(self.base)? as usize)
    }

    /// The order value of the row held at `place`.
    pub fn value(&self, place: u64) -> i64 {
        self.at(place).map_or(i64::MAX, |held| held.0)
    }

    /// The slot of the row held at `place`, or of that among the first rows.
    pub fn slot(&self, place: u64) -> u32 {
        let held = self.at(place).map(|held| held.1);
        held.or_else(|| self.head.get(place as usize).copied()).unwrap_or_default()
    }
}

/// The places of the rows of a slice.
#[derive(Default)]
pub struct Ranks {
    numbers: Vec<u64>,
    ranks: Vec<u64>,
    dense: Vec<u64>,
}

impl Ranks {
    /// Adds the rows of `run`, which come next in `partition`.
    pub fn add(&mut self, run: &Run<'_>, partition: &mut Partition) {
        for row in run.rows.clone() {
            let peers = run.slice.peers(row);
            let place = |row: usize| run.first + (row - run.rows.start) as u64 + 1;
            partition.distinct += u64::from(peers.start == row);
            self.numbers.push(place(row));
            self.ranks.push(place(peers.start));
            self.dense.push(partition.distinct);
        }
    }

    /// What `function` gives for the rows so far.
    pub fn column(&self, function: &OverFunction) -> Result<ArrayRef> {
        let numbers = match function {
            OverFunction::RowNumber => &self.numbers,
            OverFunction::Rank => &self.ranks,
            OverFunction::DenseRank => &self.dense,
            _ => return Err(Error::internal("a function of rows to come by row-time")),
        };
        Ok(Arc::new(Int64Array::from_iter_values(numbers.iter().map(|&n| n as i64))))
    }
}
