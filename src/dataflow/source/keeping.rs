//! What a source has to do with snapshots: its positions, and what it has decided.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use super::super::clock::SourceClock;
use super::super::decisions::{Decision, Decisions};
use super::super::metrics::lock;
use super::super::snapshots::{Handed, Snapshots};
use super::SharedSource;
use crate::batch::UpdateBatch;
use crate::connectors::PartitionPosition;
use crate::error::{Error, Result};
use crate::time::{BEGINNING, CLOSED, EventTime};

/// The snapshots of a source.
pub(super) struct Keeping {
    pub(super) snapshots: Arc<Snapshots>,
    /// The frontier of the last one that it has given its positions for.
    saved: Mutex<EventTime>,
    /// No later one is below this.
    passed: AtomicI64,
}

/// Which records a split holds.
pub(super) struct Span {
    pub(super) sequence: u64,
    pub(super) offset: i64,
    pub(super) end: Option<i64>,
    /// Whether their times were known before.
    pub(super) is_replayed: bool,
}

impl SharedSource {
    /// Takes part in snapshots, and goes on from `positions`. To be called once, before
    /// [`SharedSource::start`].
    pub fn keep(
        &self,
        snapshots: Arc<Snapshots>,
        positions: Option<&[PartitionPosition]>,
    ) -> Result<()> {
        let restored = snapshots.restored().filter(|_| !snapshots.is_ended());
        let restored = restored.map_or(BEGINNING, |restored| restored.frontier);
        // Those of other processes are not its own.
        let own = |p: &&PartitionPosition| self.source.owns(&p.name);
        let positions = positions.map(|all| all.iter().filter(own).cloned().collect::<Vec<_>>());
        if let Some(positions) = &positions {
            self.source.resume(positions)?;
            let names = self.partitions();
            let of = |name: &String| positions.iter().find(|p| p.name == *name);
            let known: Vec<_> = names.iter().map_while(of).cloned().collect();
            match snapshots.is_read_again(self.index) {
                true => self.clock().begin_again(restored, &known),
                false => self.clock().resume(restored, &known),
            }
        }
        let resumed = positions.is_some();
        let keeping =
            Keeping { snapshots, saved: Mutex::new(restored), passed: AtomicI64::new(restored) };
        self.keeping
            .set(keeping)
            .map_err(|_| Error::internal("a source was told twice of its snapshots"))?;
        if resumed && self.is_ingestion_time() {
            self.know_times(&mut self.clock(), 0);
        }
        Ok(())
    }

    /// Tells the snapshots that `frontier` is about to pass, and what they want to know of it;
    /// `false` if it must not pass yet.
    pub(super) fn release(&self, frontier: EventTime) -> bool {
        let Some(keeping) = self.keeping.get() else { return true };
        if !keeping.snapshots.release(self.index, frontier) {
            return false;
        }
        // Of several workers one answers, and the others wait: what has passed is told only then,
        // because until then the positions may lie as far back as the frontier before.
        let mut saved = lock(&keeping.saved);
        if let Some(handed) = self.answer(keeping, &mut saved, frontier) {
            keeping.snapshots.hand(handed);
        }
        // Where it has ended others may still read on: snapshots to come ask where it was.
        if frontier != CLOSED || !keeping.snapshots.has_others() {
            keeping.passed.fetch_max(frontier, Ordering::AcqRel);
        }
        true
    }

    fn answer(
        &self,
        keeping: &Keeping,
        saved: &mut EventTime,
        frontier: EventTime,
    ) -> Option<Handed> {
        let wanted = keeping.snapshots.wanted(*saved).filter(|&w| w <= frontier)?;
        *saved = wanted;
        Some(self.positions(keeping, wanted))
    }

    /// If it has ended in this process, what the snapshot that is being taken is to know of it: no
    /// worker tells where it was then, and others may still read its other partitions.
    pub fn answer_if_ended(&self) -> Option<Handed> {
        let keeping = self.keeping.get().filter(|k| k.snapshots.has_ended(self.index))?;
        self.answer(keeping, &mut lock(&keeping.saved), CLOSED)
    }

    /// Whether a snapshot at `frontier`, where it stands, still wants to know of it.
    pub(super) fn is_asked(&self, frontier: EventTime) -> bool {
        self.keeping.get().is_some_and(|keeping| {
            keeping.snapshots.wanted(BEGINNING) == Some(frontier)
                && *lock(&keeping.saved) < frontier
        })
    }

    /// What no later snapshot is below.
    pub(super) fn passed(&self) -> EventTime {
        self.keeping.get().map_or(BEGINNING, |keeping| keeping.passed.load(Ordering::Acquire))
    }

    /// How far it may go that has come to `frontier`: sources may have to wait for snapshots.
    pub(super) fn paced(&self, frontier: EventTime) -> EventTime {
        self.keeping.get().map_or(frontier, |k| k.snapshots.paced(self.index, frontier))
    }

    fn positions(&self, keeping: &Keeping, wanted: EventTime) -> Handed {
        let names = self.partitions();
        let clock = self.clock();
        let partitions = clock.partitions().iter().zip(names);
        let positions = partitions
            .map(|(partition, name)| {
                let (offset, floor, ended) = partition.position(wanted);
                PartitionPosition { name, offset, floor, ended }
            })
            .collect();
        drop(clock);
        let (index, process) = (self.index, keeping.snapshots.process());
        Handed::Source { index, process, frontier: wanted, positions }
    }

    /// What was decided before of records of a partition.
    pub(super) fn decided(&self, partition: usize) -> Option<&Arc<Decisions>> {
        let snapshots = &self.keeping.get()?.snapshots;
        snapshots.decided(self.index, || self.source.partition_name(partition))
    }

    /// Tells the partitions from number `first` on up to where their times are known already.
    pub(super) fn know_times(&self, clock: &mut SourceClock, first: usize) {
        for index in first..clock.partitions().len() {
            let known = self.decided(index).and_then(|decided| decided.ingested_to());
            clock.partition(index).know_to(known);
        }
    }

    /// What is to be noted of a split that has got its times, before it goes anywhere.
    pub(super) fn note(&self, partition: usize, span: Span, batch: &UpdateBatch) -> Result<()> {
        let Some(keeping) = self.keeping.get() else { return Ok(()) };
        let raised = {
            let mut clock = self.clock();
            let partition = clock.partition(partition);
            if let Some(end) = span.end {
                partition.read_to(end);
            }
            partition.take_raised(span.sequence)
        };
        let is_ingested = self.is_ingestion_time();
        if raised.is_none() && !is_ingested {
            return Ok(());
        }
        let name = self.source.partition_name(partition);
        let note = |decision| keeping.snapshots.note(self.index, &name, decision);
        if let Some(floor) = raised {
            note(Decision::Floor { offset: span.offset, floor })?;
        }
        let is_known = span.is_replayed;
        if let (true, false, Some((time, _)), Some(end)) =
            (is_ingested, is_known, batch.time_range(), span.end)
        {
            note(Decision::Ingested { offset: span.offset, end, time })?;
        }
        Ok(())
    }
}
