//! Digests of outputs: what a run has given, in a few bytes an interval of event time.
//!
//! A digest is the sum over the updates of a hash of row and time, times the diff: it does not
//! depend on order, cuts or workers, and the digests of pieces add up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::batch::UpdateBatch;
use crate::batch::hash::{hash_columns, mix};
use crate::error::Result;
use crate::time::EventTime;

/// What was given in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// How many updates, each as often as its diff says.
    pub updates: u64,
    /// The sum of their hashes, modulo 2^128.
    pub sum: u128,
}

impl Digest {
    /// Adds a digest of other updates.
    pub fn add(&mut self, other: Digest) {
        self.updates = self.updates.wrapping_add(other.updates);
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// By the start of an interval.
pub type Digests = BTreeMap<EventTime, Digest>;

/// The digests of one output on one worker.
#[derive(Debug)]
pub struct Digester {
    interval: EventTime,
    until: EventTime,
    digests: Digests,
}

impl Digester {
    /// By intervals of `interval` ms, of updates before `until`.
    pub fn new(interval: EventTime, until: EventTime) -> Self {
        Digester { interval: interval.max(1), until, digests: Digests::new() }
    }

    /// Adds the updates of `batch`.
    pub fn add(&mut self, batch: &UpdateBatch) -> Result<()> {
        let hashes = hash_columns(batch.rows().columns(), batch.len())?;
        let (mut start, mut end) = (EventTime::MAX, EventTime::MIN);
        let mut own = Digest::default();
        for (row, (&hash, &time)) in hashes.iter().zip(batch.times().iter()).enumerate() {
            if time >= self.until {
                continue;
            }
            if time < start || time >= end {
                if own != Digest::default() {
                    self.digests.entry(start).or_default().add(own);
                }
                start = time.div_euclid(self.interval).saturating_mul(self.interval);
                end = start.saturating_add(self.interval);
                own = Digest::default();
            }
            let first = mix(hash, time as u64);
            let wide = u128::from(first) << 64 | u128::from(mix(first, hash));
            let diff = batch.diff(row);
            own.updates = own.updates.wrapping_add(diff.unsigned_abs());
            own.sum = own.sum.wrapping_add(wide.wrapping_mul(diff as i128 as u128));
        }
        if own != Digest::default() {
            self.digests.entry(start).or_default().add(own);
        }
        Ok(())
    }

    /// The digests since this was last asked for.
    pub fn take(&mut self) -> Digests {
        std::mem::take(&mut self.digests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn batch(rows: &[(i64, i64, i64)]) -> UpdateBatch {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0)));
        let times: Vec<i64> = rows.iter().map(|r| r.1).collect();
        let diffs: Vec<i64> = rows.iter().map(|r| r.2).collect();
        let rows = RecordBatch::try_from_iter([("x", values)]).unwrap();
        UpdateBatch::new(rows, times.into(), Some(diffs.into()))
    }

    fn digest(parts: &[&[(i64, i64, i64)]]) -> Digests {
        let mut sums = Digests::new();
        for part in parts {
            let mut digester = Digester::new(10, 1000);
            digester.add(&batch(part)).unwrap();
            for (start, digest) in digester.take() {
                sums.entry(start).or_default().add(digest);
            }
        }
        sums
    }

    proptest! {
        #[test]
        fn digests_depend_on_neither_order_nor_cuts(
            rows in prop::collection::vec((0i64..5, -30i64..30, 1i64..3), 0..30),
            cut in any::<prop::sample::Index>(),
        ) {
            let at = if rows.is_empty() { 0 } else { cut.index(rows.len()) };
            let (a, b) = rows.split_at(at);
            let mut reversed = rows.clone();
            reversed.reverse();
            prop_assert_eq!(digest(&[&rows]), digest(&[b, a]));
            prop_assert_eq!(digest(&[&rows]), digest(&[&reversed]));
        }
    }

    #[test]
    fn another_row_time_or_count_is_another_digest() {
        let one = digest(&[&[(1, 5, 1), (2, 5, 1)]]);
        for other in [[(1, 5, 1), (3, 5, 1)], [(1, 5, 1), (2, 6, 1)], [(1, 5, 1), (2, 5, 2)]] {
            assert_ne!(one, digest(&[&other]));
        }
        assert_eq!(digest(&[&[(1, -1, 1), (1, 1000, 1)]]).into_keys().collect::<Vec<_>>(), [-10]);
    }
}
