//! How far a source is that several processes read.
//!
//! A source stands where the partition stands that is furthest behind, in whichever process. One
//! without a partition there that holds the frontier follows the others.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::{SharedSource, wake_all};
use crate::time::{CLOSED, EventTime};

/// How far a source is in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its frontier.
    pub frontier: EventTime,
    /// Whether a partition holds it there.
    pub holds: bool,
    /// Whether it may find more partitions.
    pub may_grow: bool,
    /// Partitions so far.
    pub partitions: usize,
}

impl SharedSource {
    /// How far it is in this process.
    pub fn standing(&self) -> Standing {
        // In this order: once complete, the count is final.
        let may_grow = !self.source.partitions_complete();
        let partitions = self.source.partition_count();
        let mut clock = self.clock();
        // Those that no worker has looked at yet have not ended, though the clock knows none.
        let has_unseen = clock.partitions().len() < partitions;
        let frontier = clock.frontier(!may_grow && !has_unseen);
        let holds = frontier != CLOSED && (has_unseen || clock.holds());
        Standing { frontier, holds, may_grow, partitions }
    }

    /// Its partitions in other processes have reached `frontier`.
    pub fn reach(&self, frontier: EventTime) {
        if self.elsewhere.fetch_max(frontier, Ordering::AcqRel) < frontier {
            wake_all(&self.sleepers);
        }
    }
}
