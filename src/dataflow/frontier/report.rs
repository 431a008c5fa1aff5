//! What is known of the frontiers of a job at one moment: plain data, of one process or of all.

use serde::{Deserialize, Serialize};

use super::graph::{Edge, OutputKind};
use crate::time::{BEGINNING, CLOSED, EventTime};

/// The least of a frontier over workers, and where it is that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Least {
    /// The frontier.
    pub frontier: EventTime,
    /// In which process.
    pub process: usize,
    /// On which of all workers.
    pub worker: usize,
    /// Wall time at which it last moved there, in ms.
    pub since_ms: i64,
    /// Whether it is at work there.
    pub is_busy: bool,
    /// What else that worker is busy with.
    pub waits_for: Option<String>,
}

/// What a source, or the partition that holds it, is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// It has not been started: the job takes back its state.
    Starting,
    /// Records are being read and decoded.
    Reading,
    /// It was asked and has nothing to read.
    WaitsForData,
    /// The same, and in so many ms it will hold back others no more.
    IdleIn(i64),
    /// It has been silent for long, and lets pass what others have reached.
    Idle,
    /// All its partitions have been read, and others may come.
    AllRead,
    /// It has none yet; where they are looked for, if that is known.
    NoPartition(Option<String>),
    /// It is too far ahead of a table whose rows meet its own.
    Drift {
        /// That table.
        of: String,
        /// By how much, in ms; `None` if nothing of that has been read.
        ahead_ms: Option<i64>,
        /// How far it may be, in ms.
        max_ms: i64,
    },
    /// As many of its rows as may be are on their way.
    BackPressure,
    /// It goes on from another partition, which has not ended.
    Follows(String),
    /// It waits until the next snapshot has been chosen, and taken.
    Snapshot,
    /// Its workers have not let pass what has been read.
    Passing,
    /// It has ended.
    Ended,
}

/// The partition that holds a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionPoint {
    /// Its name.
    pub name: String,
    /// Up to where it has been read.
    pub offset: i64,
    /// `f_p`.
    pub frontier: EventTime,
}

/// A source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePoint {
    /// The table.
    pub table: String,
    /// What it has let pass, where that is least.
    pub least: Least,
    /// Whether it lets pass what others reach, beyond what has been read of it: of two that are as
    /// far, the other one holds.
    pub gives_way: bool,
    /// The greatest `f_p`.
    pub furthest: EventTime,
    /// Partitions so far.
    pub partitions: usize,
    /// The partition that holds it, if there is one.
    pub partition: Option<PartitionPoint>,
    /// What that, or the source, is doing.
    pub state: SourceState,
    /// Wall time at which it last moved the frontier, in ms.
    pub since_ms: i64,
}

/// An operator that applies when the frontier passes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorPoint {
    /// As logs and snapshots call it.
    pub label: String,
    /// On what its frontier hangs.
    pub reads: Vec<Edge>,
    /// What it has let pass.
    pub rows: Least,
    /// The same of its late rows and dead letters.
    pub sides: Least,
}

/// An output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPoint {
    /// The view or table.
    pub name: String,
    /// What it is.
    pub kind: OutputKind,
    /// As logs and snapshots call it.
    pub label: String,
    /// On what its frontier hangs.
    pub reads: Vec<Edge>,
    /// Its frontier.
    pub least: Least,
}

/// The frontiers of a job, each where it is least. [`FrontierReport::held`] says who holds what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontierReport {
    /// Wall time, in ms.
    pub at_ms: i64,
    /// By number.
    pub sources: Vec<SourcePoint>,
    /// Inputs first.
    pub operators: Vec<OperatorPoint>,
    /// In the order of the plan.
    pub outputs: Vec<OutputPoint>,
}

impl FrontierReport {
    /// What several processes say of one job as one report, which is as of the first of them. A
    /// report of another plan than the first, and there is none while all run, is left out.
    pub fn merge(reports: Vec<FrontierReport>) -> FrontierReport {
        let mut reports = reports.into_iter();
        let Some(mut merged) = reports.next() else { return FrontierReport::default() };
        for other in reports.filter(|other| merged.is_of_one_plan(other)).collect::<Vec<_>>() {
            for (own, other) in merged.sources.iter_mut().zip(other.sources) {
                own.take(other);
            }
            for (own, other) in merged.operators.iter_mut().zip(other.operators) {
                own.rows.take(other.rows);
                own.sides.take(other.sides);
            }
            for (own, other) in merged.outputs.iter_mut().zip(other.outputs) {
                own.least.take(other.least);
            }
        }
        merged
    }

    fn is_of_one_plan(&self, other: &FrontierReport) -> bool {
        let sources = |r: &FrontierReport| -> Vec<String> {
            r.sources.iter().map(|source| source.table.clone()).collect()
        };
        let others = |r: &FrontierReport| -> Vec<String> {
            let operators = r.operators.iter().map(|operator| &operator.label);
            operators.chain(r.outputs.iter().map(|output| &output.label)).cloned().collect()
        };
        sources(self) == sources(other) && others(self) == others(other)
    }

    /// The furthest that a partition of the job has been read to.
    pub fn furthest(&self) -> EventTime {
        self.sources.iter().map(|source| source.furthest).max().unwrap_or(BEGINNING)
    }
}

impl Least {
    /// Takes the place of this one if `other` is less.
    fn take(&mut self, other: Least) {
        if (other.frontier, other.process, other.worker)
            < (self.frontier, self.process, self.worker)
        {
            *self = other;
        }
    }
}

impl SourcePoint {
    /// In a process without partitions of its own it has ended, or waits for one.
    fn take(&mut self, other: SourcePoint) {
        let furthest = self.furthest.max(other.furthest);
        let partitions = self.partitions + other.partitions;
        let key = |p: &SourcePoint| (p.least.frontier, p.gives_way, p.least.process);
        if key(&other) < key(self) {
            *self = other;
        }
        self.furthest = furthest;
        self.partitions = partitions;
    }
}

/// How far `frontier` is behind `time`; `None` where nothing has been reached.
pub fn behind(frontier: EventTime, time: EventTime) -> Option<i64> {
    match (frontier, time) {
        (CLOSED, _) => Some(0),
        (BEGINNING, _) | (_, BEGINNING | CLOSED) => None,
        (frontier, time) => Some(time.saturating_sub(frontier).max(0)),
    }
}
