//! Which frontier the next snapshot is of, and what the sources have to do with that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::Ordering;

use timely::dataflow::Scope;

use super::super::metrics::lock;
use super::{Handed, Snapshots};
use crate::error::Result;
use crate::plan::node::NodeId;
use crate::time::{BEGINNING, CLOSED, EventTime};

/// What a snapshot is going to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its frontier.
    pub frontier: EventTime,
    /// The nodes that hang on a source that still reads.
    pub live: BTreeSet<NodeId>,
}

/// What has become of a request for a snapshot.
#[derive(Clone, Debug)]
pub enum Requested {
    /// It is being taken.
    Wanted(Wanted),
    /// Nothing has been read yet, or all has been.
    NothingRead,
    /// Time has not moved since the last one.
    NothingNew,
}

/// The other processes of a job, as its first one sees them, which chooses its snapshots.
pub trait Others: fmt::Debug + Send + Sync {
    /// Whether they run the job.
    fn are_ready(&self) -> bool;

    /// Holds their sources where they are; for each process what each source has let pass, by
    /// number.
    fn hold(&self) -> Result<Vec<Vec<EventTime>>>;

    /// Has them take part in the snapshot that was chosen; returns once all know of it.
    fn choose(&self, wanted: &Wanted) -> Result<()>;

    /// Lets their sources go on.
    fn go_on(&self);

    /// The snapshot is complete, or given up.
    fn done(&self);

    /// What each has counted of all that lies before `frontier`, by name.
    fn counters(&self, frontier: EventTime) -> Result<Vec<BTreeMap<String, u64>>>;

    /// Has each tell whether the job has failed there; returns when all have.
    fn settle(&self) -> Result<()>;

    /// There are no more snapshots.
    fn end(&self);
}

/// What the snapshot that is being taken is to know of a source, if that has ended in this process.
pub type Answer = Box<dyn Fn() -> Option<Handed> + Send + Sync>;

impl Snapshots {
    /// Chooses the frontier of the next snapshot: the first border of a tick that no source that
    /// still reads has gone beyond, behind those of the snapshots before. While history is read
    /// again, after an upgrade, there is none up to where that ends. Where sources wait for each
    /// snapshot it is a border that none has come to, so that they go on.
    ///
    /// With it comes what the snapshot is to know of sources that have ended in this process.
    pub fn request(&self) -> (Requested, Vec<Handed>) {
        if self.run.others.as_ref().is_some_and(|others| !others.are_ready()) {
            return (Requested::NothingRead, Vec::new());
        }
        let requested = match &self.run.others {
            None => Ok(self.choose(&[])),
            Some(others) => self.request_of_all(others.as_ref()),
        };
        match requested {
            Ok(requested) => (requested, self.begin()),
            // A process that is lost ends the dataflow.
            Err(error) => {
                let job = self.run.job.as_str();
                tracing::warn!(job, "job {job}: no snapshot is chosen: {error}");
                (Requested::NothingNew, Vec::new())
            }
        }
    }

    /// The same with other processes. An operator there may hang on sources of this process alone:
    /// all sources are held until all processes know what has been chosen, or what has gone beyond
    /// it would be handed over for it.
    fn request_of_all(&self, others: &dyn Others) -> Result<Requested> {
        let held = others.hold()?;
        let requested = self.choose(&held);
        let chosen = match &requested {
            Requested::Wanted(wanted) => others.choose(wanted),
            Requested::NothingRead | Requested::NothingNew => Ok(()),
        };
        if chosen.is_err() {
            self.done();
        }
        others.go_on();
        self.go_on();
        chosen.map(|()| requested)
    }

    /// Chooses among what the sources of this and of the `others` have let pass.
    fn choose(&self, others: &[Vec<EventTime>]) -> Requested {
        let released = lock(&self.released);
        let here = std::iter::once(&*released);
        let all = || here.clone().chain(others).flat_map(|of| of.iter().copied().enumerate());
        let live = || all().filter(|(_, released)| *released != CLOSED);
        let reached = live().map(|(_, r)| r).max().filter(|r| *r != BEGINNING);
        let Some(reached) = reached else { return Requested::NothingRead };
        let restored = self.restored.as_ref().map_or(BEGINNING, |restored| restored.frontier);
        let last = self.last.load(Ordering::Acquire).max(restored);
        let frontier = match self.is_stepwise.load(Ordering::Acquire) {
            true => self.resolution.tick_start(self.next_tick(reached.max(restored))),
            false if reached <= last => return Requested::NothingNew,
            false if self.resolution.tick_start(reached) == reached => reached,
            false => self.resolution.tick_start(self.next_tick(reached)),
        };
        let nodes = live().filter_map(|(source, _)| self.readers.get(source)).flatten();
        let live = nodes.copied().collect();
        self.are_held.store(self.run.others.is_some(), Ordering::Release);
        self.last.store(frontier, Ordering::Release);
        self.wanted.store(frontier, Ordering::Release);
        drop(released);
        Requested::Wanted(Wanted { frontier, live })
    }

    /// Holds the sources of this process where they are until [`Snapshots::go_on`]: what they have
    /// let pass, by number.
    pub fn hold(&self) -> Vec<EventTime> {
        let released = lock(&self.released);
        self.are_held.store(true, Ordering::Release);
        released.clone()
    }

    /// Takes part in the snapshot at `frontier`, which the first process has chosen; what that is
    /// to know of sources that have ended here.
    pub fn follow(&self, frontier: EventTime) -> Vec<Handed> {
        let released = lock(&self.released);
        self.last.store(frontier, Ordering::Release);
        self.wanted.store(frontier, Ordering::Release);
        drop(released);
        self.begin()
    }

    /// Lets the sources of this process go on.
    pub fn go_on(&self) {
        let released = lock(&self.released);
        self.are_held.store(false, Ordering::Release);
        drop(released);
        self.wake();
    }

    fn wake(&self) {
        for sleeper in lock(&self.sleepers).iter() {
            // A worker that is gone takes no snapshots.
            let _ = sleeper.activate();
        }
    }

    /// Tells all who take part that something has been chosen; the answers of who has ended.
    fn begin(&self) -> Vec<Handed> {
        // Who is there already may have nothing else to do.
        self.wake();
        lock(&self.answers).iter().filter_map(|answer| answer()).collect()
    }

    /// `answer` is called for each snapshot: other processes may still read a source that has ended
    /// in this one.
    pub fn answers(&self, answer: Answer) {
        lock(&self.answers).push(answer);
    }

    /// Whether source `index` has ended in this process.
    pub fn has_ended(&self, index: usize) -> bool {
        lock(&self.released).get(index) == Some(&CLOSED)
    }

    fn next_tick(&self, time: EventTime) -> EventTime {
        time.saturating_add(self.resolution.tick_ms())
    }

    /// The operator at `address` of `scope` takes part: it is run when a snapshot has been chosen.
    pub fn wakes(&self, scope: Scope<'_, EventTime>, address: &[usize]) {
        lock(&self.sleepers).push(scope.worker().sync_activator_for(address.to_vec()));
    }

    /// How far source `index`, which has come to `frontier`, may go: all the way, or no further
    /// than it has been until the next snapshot has been chosen, and taken.
    pub fn paced(&self, index: usize, frontier: EventTime) -> EventTime {
        let is_stepwise = self.is_stepwise.load(Ordering::Acquire)
            && self.is_read_first.get(index) != Some(&true);
        let is_held = self.are_held.load(Ordering::Acquire);
        if !is_stepwise && !is_held {
            return frontier;
        }
        let own = lock(&self.released).get(index).copied().unwrap_or(BEGINNING);
        let goes_on = own == BEGINNING || own < self.wanted.load(Ordering::Acquire);
        if goes_on && !is_held { frontier } else { frontier.min(own) }
    }

    /// The snapshot is complete, or given up.
    pub fn done(&self) {
        self.wanted.store(BEGINNING, Ordering::Release);
        if let Some(others) = &self.run.others {
            others.done();
        }
    }

    /// Source `index` is about to let `frontier` pass. To be called before it does: a snapshot
    /// chosen from here on lies ahead. Where it returns `false` the source is held, and must not.
    #[must_use]
    pub fn release(&self, index: usize, frontier: EventTime) -> bool {
        let mut released = lock(&self.released);
        let Some(own) = released.get_mut(index) else { return true };
        if frontier > *own && self.are_held.load(Ordering::Acquire) {
            return false;
        }
        *own = frontier.max(*own);
        true
    }
}
