//! How far each operator of a job is and since when: what says why an output waits.
//!
//! * [`graph`]: which frontiers a frontier hangs on
//! * [`report`]: what is known at one moment, of one process or of all
//! * [`held`]: who holds an output back
//!
//! Each operator with a frontier of its own, and each output, notes on every worker when its
//! frontier moves, before the operators behind it can learn of it. Who reads the notes of outputs
//! first and those of sources last therefore never sees an output ahead of what it hangs on.

pub mod graph;
pub mod held;
pub mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::metrics::JobMetrics;
use super::runtime::{JobRuntime, Place};
use crate::plan::node::{NodeId, StreamPlan};
use crate::telemetry::clock::wall_ms;
use crate::time::{BEGINNING, EventTime};
use graph::{Graph, Vertex};
use report::{FrontierReport, Least, OperatorPoint, OutputPoint, SourcePoint};

/// A frontier, and when it last moved.
#[derive(Debug)]
struct Moving {
    frontier: AtomicI64,
    /// Wall time, in ms.
    moved_ms: AtomicI64,
}

/// What one operator notes on one worker.
#[derive(Debug)]
struct Mark {
    rows: Moving,
    /// That of its late rows and dead letters.
    sides: Moving,
    is_busy: AtomicBool,
}

impl Moving {
    fn new(now_ms: i64) -> Self {
        Moving { frontier: AtomicI64::new(BEGINNING), moved_ms: AtomicI64::new(now_ms) }
    }

    fn store(&self, frontier: EventTime, now_ms: i64) {
        self.moved_ms.store(now_ms, Ordering::Relaxed);
        self.frontier.store(frontier, Ordering::Release);
    }
}

impl Mark {
    fn new(now_ms: i64) -> Self {
        let moving = || Moving::new(now_ms);
        Mark { rows: moving(), sides: moving(), is_busy: AtomicBool::new(false) }
    }
}

/// Whose frontier it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A source or operator.
    Node(NodeId),
    /// An output.
    Output(usize),
}

/// The frontiers of a job on the workers of this process.
#[derive(Debug)]
pub struct Frontiers {
    graph: Graph,
    place: Place,
    /// By owner, one a worker.
    marks: BTreeMap<Owner, Vec<Mark>>,
    scans: Vec<NodeId>,
}

impl Frontiers {
    /// For the operators of `plan`, all at the beginning.
    pub fn new(plan: &StreamPlan, place: Place) -> Self {
        let graph = Graph::new(plan);
        let scans = plan.scan_ids();
        let now = wall_ms();
        let nodes = graph.operators.iter().map(|(id, _)| id).chain(&scans).copied();
        let owners = nodes.map(Owner::Node).chain((0..plan.outputs.len()).map(Owner::Output));
        let marks = || (0..place.workers).map(|_| Mark::new(now)).collect();
        let marks = owners.map(|owner| (owner, marks())).collect();
        Frontiers { graph, place, marks, scans }
    }

    fn mark(&self, owner: Owner, worker: usize) -> Option<&Mark> {
        self.marks.get(&owner)?.get(worker)
    }

    /// The least of a frontier of `owner` over the workers.
    fn least(&self, owner: Owner, of: fn(&Mark) -> &Moving) -> Least {
        let marks = self.marks.get(&owner).into_iter().flatten().enumerate();
        let least = marks.map(|(worker, mark)| {
            let moving = of(mark);
            Least {
                frontier: moving.frontier.load(Ordering::Acquire),
                process: self.place.process,
                worker: self.place.process * self.place.workers + worker,
                since_ms: moving.moved_ms.load(Ordering::Relaxed),
                is_busy: mark.is_busy.load(Ordering::Relaxed),
                waits_for: self.busy_beside(owner, worker),
            }
        });
        least.min_by_key(|least| least.frontier).unwrap_or_default()
    }

    /// What else keeps a worker busy.
    fn busy_beside(&self, owner: Owner, worker: usize) -> Option<String> {
        let others = self.graph.operators.iter().filter(|(id, _)| Owner::Node(*id) != owner);
        let busy = |(id, _): &&(NodeId, Vertex)| {
            let mark = self.mark(Owner::Node(*id), worker);
            mark.is_some_and(|mark| mark.is_busy.load(Ordering::Relaxed))
        };
        let mut busy = others.filter(busy);
        busy.next().map(|(_, vertex)| vertex.label.clone())
    }
}

impl JobRuntime {
    /// How far the job is in this process, and what holds it.
    pub fn frontier_report(&self) -> FrontierReport {
        let frontiers = self.frontiers();
        let Graph { operators, outputs } = &frontiers.graph;
        let rows = |owner| frontiers.least(owner, |mark| &mark.rows);
        // Against the direction of the data.
        let outputs: Vec<OutputPoint> = outputs
            .iter()
            .enumerate()
            .map(|(index, (name, kind, vertex))| OutputPoint {
                name: name.clone(),
                kind: *kind,
                label: vertex.label.clone(),
                reads: vertex.reads.clone(),
                least: rows(Owner::Output(index)),
            })
            .collect();
        let operators = operators.iter().rev().map(|(id, vertex)| OperatorPoint {
            label: vertex.label.clone(),
            reads: vertex.reads.clone(),
            rows: rows(Owner::Node(*id)),
            sides: frontiers.least(Owner::Node(*id), |mark| &mark.sides),
        });
        let mut operators: Vec<OperatorPoint> = operators.collect();
        operators.reverse();
        let passed: Vec<Least> = frontiers.scans.iter().map(|id| rows(Owner::Node(*id))).collect();
        let now = wall_ms();
        let shared: Vec<_> = self.sources().collect();
        let table = |source: usize| shared.get(source).map_or("", |s| s.table()).to_owned();
        let point = |(shared, passed): (&&Arc<_>, Least)| -> SourcePoint {
            let shared: &super::source::SharedSource = shared;
            shared.holding(passed, now, &table)
        };
        let sources = shared.iter().zip(passed).map(point).collect();
        FrontierReport { at_ms: now, sources, operators, outputs }
    }
}

/// Which part of the frontiers of its owner an operator notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All.
    All,
    /// That of the rows.
    Rows,
    /// That of late rows and dead letters.
    Sides,
}

/// What an operator notes its frontiers by.
pub struct Gauge {
    frontiers: Arc<Frontiers>,
    metrics: Arc<JobMetrics>,
    owner: Owner,
    part: Part,
    /// Among those of this process.
    worker: usize,
    /// What was noted last.
    noted: (EventTime, EventTime),
}

impl Gauge {
    /// For the operator of `owner` on worker `worker` of all.
    pub fn new(runtime: &JobRuntime, owner: Owner, part: Part, worker: usize) -> Self {
        Gauge {
            frontiers: Arc::clone(runtime.frontiers()),
            metrics: Arc::clone(&runtime.metrics),
            owner,
            part,
            worker: worker % runtime.workers_here(),
            noted: (BEGINNING, BEGINNING),
        }
    }

    /// It lets pass what lies below `rows`, and below `sides` of late rows and dead letters. To be
    /// called before those behind it can learn of it.
    pub fn passes(&mut self, rows: EventTime, sides: EventTime) {
        // A job that failed lets frontiers pass that it has not reached.
        if self.noted == (rows, sides) || self.metrics.is_failed() {
            return;
        }
        let Some(mark) = self.frontiers.mark(self.owner, self.worker) else { return };
        let now = wall_ms();
        if rows != self.noted.0 && self.part != Part::Sides {
            mark.rows.store(rows, now);
        }
        if sides != self.noted.1 && self.part != Part::Rows {
            mark.sides.store(sides, now);
        }
        self.noted = (rows, sides);
    }

    /// Whether it is at work now.
    pub fn is_busy(&self, busy: bool) {
        if let Some(mark) = self.frontiers.mark(self.owner, self.worker) {
            mark.is_busy.store(busy, Ordering::Relaxed);
        }
    }
}
