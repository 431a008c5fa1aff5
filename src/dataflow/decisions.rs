//! What a run decides about the records of a partition that is no function of them: at which time
//! they were read, and when a silent partition stopped holding the frontier. It is noted before it
//! is used, so that the same records get the same times whenever they are read again.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::time::EventTime;

/// One decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// Records without a time of their own were read at `time`.
    Ingested {
        /// Of the first of them.
        offset: i64,
        /// Behind the last.
        end: i64,
        /// When.
        time: EventTime,
    },
    /// Records from an offset on come no earlier than at a time, which others had reached.
    Floor {
        /// Of the first of them.
        offset: i64,
        /// The time.
        floor: EventTime,
    },
}

/// Takes notes that survive the process.
pub trait Journal: Debug + Send + Sync {
    /// Notes a decision about `partition` of source number `source`.
    fn note(&self, source: usize, partition: &str, decision: Decision) -> Result<()>;
}

/// Of a run that is computed again and decides nothing that must be kept.
#[derive(Debug)]
pub struct Unnoted;

impl Journal for Unnoted {
    fn note(&self, _: usize, _: &str, _: Decision) -> Result<()> {
        Ok(())
    }
}

/// The decisions about one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// By the offset of the first record: the offset behind the last, and when they were read.
    ingested: BTreeMap<i64, (i64, EventTime)>,
    /// By offset.
    floors: BTreeMap<i64, EventTime>,
}

impl Decisions {
    /// Adds one; of the same records the first one holds.
    pub fn add(&mut self, decision: Decision) {
        match decision {
            Decision::Ingested { offset, end, time } => {
                self.ingested.entry(offset).or_insert((end, time));
            }
            Decision::Floor { offset, floor } => {
                self.floors.entry(offset).or_insert(floor);
            }
        }
    }

    /// When the record at `offset` was read.
    pub fn ingested_at(&self, offset: i64) -> Option<EventTime> {
        let (_, &(end, time)) = self.ingested.range(..=offset).next_back()?;
        (offset < end).then_some(time)
    }

    /// Behind the last record of which it is known when it was read.
    pub fn ingested_to(&self) -> Option<i64> {
        self.ingested.values().map(|(end, _)| *end).max()
    }

    /// What applies to records from `from` on and before `to`, by offset.
    pub fn floors(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, EventTime)> {
        self.floors.range(from..to.max(from)).map(|(offset, floor)| (*offset, *floor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_decision_about_a_record_holds() {
        let mut decisions = Decisions::default();
        decisions.add(Decision::Ingested { offset: 10, end: 20, time: 100 });
        decisions.add(Decision::Ingested { offset: 20, end: 25, time: 110 });
        decisions.add(Decision::Ingested { offset: 10, end: 20, time: 999 });
        decisions.add(Decision::Floor { offset: 20, floor: 70 });
        let at = |offset| decisions.ingested_at(offset);
        assert_eq!(
            [at(9), at(10), at(19), at(20), at(25)],
            [None, Some(100), Some(100), Some(110), None]
        );
        assert_eq!(decisions.ingested_to(), Some(25));
        assert_eq!(decisions.floors(0, 20).count(), 0);
        assert_eq!(decisions.floors(20, 21).collect::<Vec<_>>(), [(20, 70)]);
    }
}
