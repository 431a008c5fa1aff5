//! Who holds an output back: from it against the data, along the least frontier.
//!
//! Law: what holds an output stands at the least frontier of all that it hangs on, and nothing that
//! it hangs on itself is as far back. Where that waits for its worker, what has the worker is
//! named. Only a table that is read whole may be further: until it has ended, how far it is says
//! nothing.

use serde::{Deserialize, Serialize};

use super::graph::{Edge, OutputKind, Point};
use super::report::{FrontierReport, Least, PartitionPoint, SourceState, behind};
use crate::time::{CLOSED, EventTime};

/// What holds an output back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What it is called: `Source(t)`, `GroupAggregate#3`, `Sink(t)`.
    pub label: String,
    /// In which process.
    pub process: usize,
    /// On which worker; `None` for a source.
    pub worker: Option<usize>,
    /// The table, if it is a source.
    pub source: Option<String>,
    /// The partition that holds the source.
    pub partition: Option<PartitionPoint>,
    /// What it is doing, as one word.
    pub code: String,
    /// What it is doing.
    pub state: String,
    /// Wall time at which it last moved, in ms.
    pub since_ms: i64,
}

/// An output, how far it is, and why no further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputHeld {
    /// The view or table.
    pub name: String,
    /// What it is.
    pub kind: OutputKind,
    /// Its frontier.
    pub frontier: EventTime,
    /// Event time from there to the furthest that a partition of the job has been read to, in ms.
    pub behind_ms: Option<i64>,
    /// Event time from there to the wall clock, in ms.
    pub behind_wall_ms: Option<i64>,
    /// Wall time at which it last moved, in ms.
    pub since_ms: i64,
    /// What holds it; `None` once it is final.
    pub holder: Option<Holder>,
}

/// Who holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A source; the operator that waits for its end, if one does.
    Source(usize, Option<usize>),
    /// An operator, by the frontier of its late rows and dead letters if so.
    Operator(usize, bool),
    /// The output itself.
    Itself,
}

/// The frontiers of a report, as far as what they hang on allows.
pub(super) struct Effective<'a> {
    report: &'a FrontierReport,
    /// Of operators: of rows, and of late rows and dead letters.
    operators: Vec<(EventTime, EventTime)>,
}

impl<'a> Effective<'a> {
    pub(super) fn new(report: &'a FrontierReport) -> Self {
        let operators = Vec::with_capacity(report.operators.len());
        let mut known = Effective { report, operators };
        for operator in &report.operators {
            let least = known.least(&operator.reads).map_or(CLOSED, |(least, _)| least);
            let own = (operator.rows.frontier.min(least), operator.sides.frontier.min(least));
            known.operators.push(own);
        }
        known
    }

    /// The frontier at the end of `edge`; what comes later in the report counts for nothing.
    fn at(&self, edge: Edge) -> EventTime {
        match edge.from {
            Point::Source(s) => self.report.sources.get(s).map_or(CLOSED, |s| s.least.frontier),
            Point::Operator(o) => match self.operators.get(o) {
                Some((_, sides)) if edge.side => *sides,
                Some((rows, _)) => *rows,
                None => CLOSED,
            },
        }
    }

    fn gives_way(&self, edge: Edge) -> bool {
        match edge.from {
            Point::Source(s) => self.report.sources.get(s).is_some_and(|s| s.gives_way),
            Point::Operator(_) => false,
        }
    }

    /// The least frontier that `reads` name, and which it is.
    fn least(&self, reads: &[Edge]) -> Option<(EventTime, Edge)> {
        let counted = reads.iter().filter(|edge| !edge.whole);
        let least = counted.min_by_key(|edge| (self.at(**edge), self.gives_way(**edge), **edge));
        least.map(|edge| (self.at(*edge), *edge))
    }

    /// Who holds what is at `own` and hangs on `reads`.
    pub(super) fn holder(&self, own: EventTime, reads: &[Edge]) -> Found {
        let (mut own, mut reads, mut found) = (own, reads, Found::Itself);
        let mut reader = None;
        // Each step goes to what comes earlier in the plan.
        for _ in 0..=self.report.operators.len() {
            let open = reads.iter().find(|edge| edge.whole && self.at(**edge) != CLOSED);
            let next = match (open, self.least(reads)) {
                (Some(edge), _) => Some(*edge),
                (None, Some((least, edge))) if least <= own => Some(edge),
                _ => None,
            };
            let Some(edge) = next else { break };
            if let (Some(_), Found::Operator(operator, _)) = (open, found) {
                reader = Some(operator);
            }
            match edge.from {
                Point::Source(source) => return Found::Source(source, reader),
                Point::Operator(operator) => {
                    let Some(point) = self.report.operators.get(operator) else { break };
                    found = Found::Operator(operator, edge.side);
                    let least = if edge.side { &point.sides } else { &point.rows };
                    (own, reads) = (least.frontier, &point.reads);
                }
            }
        }
        found
    }
}

impl FrontierReport {
    /// Each output, and what holds it.
    pub fn held(&self) -> Vec<OutputHeld> {
        let known = Effective::new(self);
        let furthest = self.furthest();
        let held = self.outputs.iter().map(|output| {
            let frontier = output.least.frontier;
            let found = known.holder(frontier, &output.reads);
            let holder = (frontier != CLOSED).then(|| self.described(&known, output, found));
            OutputHeld {
                name: output.name.clone(),
                kind: output.kind,
                frontier,
                behind_ms: behind(frontier, furthest),
                behind_wall_ms: behind(frontier, self.at_ms),
                since_ms: output.least.since_ms,
                holder: holder.flatten(),
            }
        });
        held.collect()
    }

    fn described(
        &self,
        known: &Effective<'_>,
        output: &super::report::OutputPoint,
        found: Found,
    ) -> Option<Holder> {
        match found {
            Found::Source(source, reader) => self.source_holder(known, source, reader),
            Found::Operator(operator, side) => {
                let point = self.operators.get(operator)?;
                let least = if side { &point.sides } else { &point.rows };
                Some(at_work(&point.label, least))
            }
            Found::Itself => {
                let writes = matches!(output.kind, OutputKind::Sink | OutputKind::Print);
                if !(writes && output.least.is_busy) {
                    return Some(at_work(&output.label, &output.least));
                }
                let busy = "its writer is busy with what it was given before".to_owned();
                Some(holder(&output.label, &output.least, ("writing", busy)))
            }
        }
    }

    fn source_holder(
        &self,
        known: &Effective<'_>,
        source: usize,
        reader: Option<usize>,
    ) -> Option<Holder> {
        let point = self.sources.get(source)?;
        let mut state = self.words(known, source);
        if let Some(reader) = reader.and_then(|reader| self.operators.get(reader)) {
            state = format!("{state}; {} reads it to its end before all else", reader.label);
        }
        let label = format!("Source({})", point.table);
        Some(Holder {
            worker: None,
            source: Some(point.table.clone()),
            partition: point.partition.clone(),
            since_ms: point.since_ms,
            ..holder(&label, &point.least, (point.state.code(), state))
        })
    }

    /// What source number `source` is doing.
    fn words(&self, known: &Effective<'_>, source: usize) -> String {
        let Some(point) = self.sources.get(source) else { return String::new() };
        match &point.state {
            SourceState::Starting => "the job is being started".to_owned(),
            SourceState::Reading => "reading".to_owned(),
            SourceState::WaitsForData => "waits for data".to_owned(),
            SourceState::IdleIn(ms) => {
                format!("waits for data; in {ms} ms it is idle and holds others no more")
            }
            SourceState::Idle => "idle: nothing has come for long".to_owned(),
            // With several processes: the others have partitions of it.
            SourceState::AllRead | SourceState::NoPartition(_) if point.gives_way => {
                "nothing is to be read of it here; it goes as far as others do".to_owned()
            }
            SourceState::AllRead => format!(
                "{} read to the end; waits for new ones",
                match point.partitions {
                    1 => "its one partition is".to_owned(),
                    count => format!("all {count} partitions are"),
                }
            ),
            SourceState::NoPartition(Some(path)) => format!("no file matches '{path}' yet"),
            SourceState::NoPartition(None) => "it has no partition yet".to_owned(),
            SourceState::Drift { of, ahead_ms: Some(ahead), max_ms } => format!(
                "waits for table {of}: it is {ahead} ms ahead of that, and max_drift is {max_ms} ms"
            ),
            SourceState::Drift { of, .. } => {
                format!("waits for table {of}, of which no time is known yet")
            }
            SourceState::BackPressure => match self.slowest(known, source) {
                Some(label) => format!("back pressure: {label} is behind with its rows"),
                None => "back pressure: as many of its rows as may be are on their way".to_owned(),
            },
            SourceState::Follows(name) => format!("waits for the end of '{name}'"),
            SourceState::Snapshot => {
                "waits for a snapshot: snapshot.interval is 0, so each time waits for one"
                    .to_owned()
            }
            SourceState::Passing => "its rows are on their way".to_owned(),
            SourceState::Ended => "it has ended".to_owned(),
        }
    }

    /// What holds the output that is furthest behind of those that source number `source` reaches,
    /// if that is not the source.
    fn slowest(&self, known: &Effective<'_>, source: usize) -> Option<String> {
        let own = self.sources.get(source)?.least.frontier;
        let behind = self.outputs.iter().filter(|output| output.least.frontier < own);
        let reached = behind.filter(|output| self.reaches(source, &output.reads));
        let slowest = reached.min_by_key(|output| output.least.frontier)?;
        match known.holder(slowest.least.frontier, &slowest.reads) {
            Found::Source(other, _) => {
                let other = self.sources.get(other)?;
                Some(format!("Source({})", other.table))
            }
            Found::Operator(operator, _) => Some(self.operators.get(operator)?.label.clone()),
            Found::Itself => Some(slowest.label.clone()),
        }
    }

    /// Whether `reads`, or what they hang on, name source number `source`.
    fn reaches(&self, source: usize, reads: &[Edge]) -> bool {
        let mut open: Vec<Edge> = reads.to_vec();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(edge) = open.pop() {
            match edge.from {
                Point::Source(found) if found == source => return true,
                Point::Source(_) => {}
                Point::Operator(operator) => {
                    let point = self.operators.get(operator).filter(|_| seen.insert(operator));
                    open.extend(point.into_iter().flat_map(|point| &point.reads));
                }
            }
        }
        false
    }
}

fn holder(label: &str, least: &Least, (code, state): (&str, String)) -> Holder {
    Holder {
        label: label.to_owned(),
        process: least.process,
        worker: Some(least.worker),
        source: None,
        partition: None,
        code: code.to_owned(),
        state,
        since_ms: least.since_ms,
    }
}

/// What has not let pass what it hangs on: it is at work, or another operator has its worker.
fn at_work(label: &str, least: &Least) -> Holder {
    let applies = "applies what it was given";
    match (&least.waits_for, least.is_busy) {
        (_, true) => holder(label, least, ("applying", applies.to_owned())),
        (Some(other), _) => {
            let state = format!("{applies}; {label} waits for the same worker");
            holder(other, least, ("applying", state))
        }
        (None, _) => holder(label, least, ("queued", "rows are on their way to it".to_owned())),
    }
}

impl SourceState {
    /// The state as one word.
    pub fn code(&self) -> &'static str {
        match self {
            SourceState::Starting => "starting",
            SourceState::Reading => "reading",
            SourceState::WaitsForData => "no_data",
            SourceState::IdleIn(_) => "idle_pending",
            SourceState::Idle => "idle",
            SourceState::AllRead => "all_read",
            SourceState::NoPartition(_) => "no_partition",
            SourceState::Drift { .. } => "max_drift",
            SourceState::BackPressure => "back_pressure",
            SourceState::Follows(_) => "follows",
            SourceState::Snapshot => "snapshot",
            SourceState::Passing => "passing",
            SourceState::Ended => "ended",
        }
    }
}
