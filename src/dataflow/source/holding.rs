//! What holds a source: the partition that holds it, and why that does not go on; and how often it
//! is to be looked whether silence still does.

use std::time::Duration;

use super::super::clock::{PartitionClock, SourceClock};
use super::super::frontier::report::{Least, PartitionPoint, SourcePoint, SourceState};
use super::super::metrics::lock;
use super::SharedSource;
use crate::time::{BEGINNING, CLOSED, EventTime};

/// How often it is looked, in the time after which a partition is silent, whether it is.
const IDLE_LOOKS: i64 = 8;

/// Why the operator of a worker does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It has not been run yet.
    NotStarted,
    /// It reads what there is.
    Reads,
    /// The dataflow has too much to do.
    BackPressure,
    /// Sources wait for a snapshot.
    Snapshot,
}

/// Which partition holds a source, and why.
struct Held {
    partition: Option<usize>,
    why: Why,
}

/// Why a partition holds its source; what needs names is named later.
enum Why {
    Known(SourceState),
    /// It goes on from this one.
    Follows(usize),
    /// It is so far ahead of that source.
    Drift {
        peer: usize,
        ahead_ms: Option<i64>,
    },
}

impl SharedSource {
    /// How often it is to be looked at whether its frontier has moved with the wall clock, and not
    /// with what is read; `None` if it never does.
    pub(super) fn period(&self) -> Option<Duration> {
        let tick = self.resolution.tick_ms();
        let millis = match self.idle_timeout {
            // Silence need not be noticed on the dot; but whoever is silent follows its peers.
            Some(timeout) if self.alignment.is_alone(self.index) => tick.max(timeout / IDLE_LOOKS),
            Some(_) => tick,
            None if self.is_ingestion_time() && !self.source.is_bounded() => tick,
            None => return None,
        };
        Some(Duration::from_millis(millis.clamp(10, 1000).unsigned_abs()))
    }

    /// The table.
    pub fn table(&self) -> &str {
        &self.scan.table.def.name
    }

    /// Worker `slot` reads, or why it does not.
    pub(super) fn waits(&self, slot: usize, wait: Wait) {
        if let Some(own) = lock(&self.sleepers).get_mut(slot) {
            own.wait = wait;
        }
    }

    /// What holds it that has let `passed` pass; `table` names the sources of the job.
    pub fn holding(
        &self,
        passed: Least,
        now_ms: i64,
        table: &dyn Fn(usize) -> String,
    ) -> SourcePoint {
        let complete = self.source.partitions_complete();
        let waits: Vec<Wait> = lock(&self.sleepers).iter().map(|s| s.wait).collect();
        let clock = self.clock();
        let held = self.held(&clock, passed.frontier, &waits, (complete, now_ms));
        let partition = held.partition.and_then(|p| clock.partitions().get(p));
        let found = partition.map(|p| (p.offset(), p.frontier(), p.moved_ms()));
        let (furthest, partitions) = (clock.greatest(), clock.partitions().len());
        drop(clock);
        // The rest asks the connector, which is not to be done under the lock.
        let name = |p: usize| self.source.partition_name(p);
        let state = match held.why {
            Why::Known(state) => state,
            Why::Follows(before) => SourceState::Follows(name(before)),
            Why::Drift { peer, ahead_ms } => {
                SourceState::Drift { of: table(peer), ahead_ms, max_ms: self.max_drift }
            }
        };
        let since_ms = match (&state, found) {
            // It goes where others are, or where a snapshot lets it.
            (SourceState::Idle | SourceState::Snapshot | SourceState::Passing, _) | (_, None) => {
                passed.since_ms
            }
            (_, Some((_, _, moved_ms))) => moved_ms,
        };
        let partition = held.partition.zip(found).map(|(index, (offset, frontier, _))| {
            PartitionPoint { name: name(index), offset, frontier }
        });
        let may_follow =
            matches!(state, SourceState::Idle | SourceState::AllRead | SourceState::NoPartition(_));
        let follows = may_follow && furthest < passed.frontier;
        SourcePoint {
            table: self.table().to_owned(),
            gives_way: follows || state == SourceState::Ended,
            least: passed,
            furthest,
            partitions,
            partition,
            state,
            since_ms,
        }
    }

    fn held(
        &self,
        clock: &SourceClock,
        passed: EventTime,
        waits: &[Wait],
        (complete, now_ms): (bool, i64),
    ) -> Held {
        let partitions = clock.partitions();
        let last = |of: &dyn Fn(&PartitionClock) -> bool| {
            let known = partitions.iter().enumerate().filter(|(_, p)| of(p));
            known.max_by_key(|(index, p)| (p.frontier(), *index)).map(|(index, _)| index)
        };
        let known = |partition, state| Held { partition, why: Why::Known(state) };
        if passed == CLOSED {
            return known(None, SourceState::Ended);
        }
        if waits.iter().all(|wait| *wait == Wait::NotStarted) {
            return known(None, SourceState::Starting);
        }
        if partitions.is_empty() && !complete {
            let path = self.scan.table.def.options.get("path").cloned();
            return known(None, SourceState::NoPartition(path));
        }
        let holding = partitions.iter().enumerate().filter(|(_, p)| p.holds());
        let holding = holding.min_by_key(|(index, p)| (p.frontier(), *index));
        let reached = self.resolution.tick_start(clock.reached());
        if self.paced(CLOSED) != CLOSED && waits.contains(&Wait::Snapshot) {
            return known(holding.map(|(index, _)| index), SourceState::Snapshot);
        }
        match holding {
            // What is not published yet lies ahead of what was.
            Some((index, _)) if reached > passed => known(Some(index), SourceState::Passing),
            Some((index, own)) => self.held_by(clock, (index, own), waits, now_ms),
            None if self.idle_timeout.is_some_and(|timeout| clock.is_silent(timeout, now_ms)) => {
                known(last(&|_| true), SourceState::Idle)
            }
            None if partitions.iter().all(PartitionClock::is_done) => match complete {
                true => known(None, SourceState::Passing),
                false => known(last(&|_| true), SourceState::AllRead),
            },
            None => known(last(&|p| !p.is_done()), SourceState::Idle),
        }
    }

    /// Why partition `index`, which holds the source, does not go on.
    fn held_by(
        &self,
        clock: &SourceClock,
        (index, own): (usize, &PartitionClock),
        waits: &[Wait],
        now_ms: i64,
    ) -> Held {
        let because = |why| Held { partition: Some(index), why };
        if own.outstanding() > 0 || own.is_exhausted() {
            return because(Why::Known(SourceState::Reading));
        }
        if let Some(before) = clock.waits_for(index) {
            return because(Why::Follows(before));
        }
        if waits.iter().all(|wait| *wait == Wait::BackPressure) {
            return because(Why::Known(SourceState::BackPressure));
        }
        if let Some((peer, reached)) = self.alignment.last_of_peers(self.index) {
            let is_ahead = own.frontier() > reached.saturating_add(self.max_drift);
            if is_ahead && !self.is_ingestion_time() {
                let known = Some(reached).filter(|reached| *reached != BEGINNING);
                let ahead_ms = known.map(|reached| own.frontier().saturating_sub(reached));
                return because(Why::Drift { peer, ahead_ms });
            }
        }
        because(Why::Known(match (own.pending_since(), self.idle_timeout) {
            (None, _) => SourceState::Reading,
            (Some(since), Some(timeout)) => {
                let waited = now_ms.saturating_sub(since);
                SourceState::IdleIn(timeout.saturating_sub(waited).max(0))
            }
            (Some(_), None) => SourceState::WaitsForData,
        }))
    }

    /// Split `sequence` of a partition has been read, up to the offset `end`: `bound` is 1 ms + its
    /// greatest watermark.
    pub(super) fn publish(
        &self,
        partition: usize,
        sequence: u64,
        bound: EventTime,
        end: Option<i64>,
    ) {
        let mut clock = self.clock();
        let partition = clock.partition(partition);
        partition.publish(sequence, bound);
        partition.reads_to(end);
    }
}
