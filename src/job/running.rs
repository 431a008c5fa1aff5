//! One job of the service: what it is, whether it runs, what users see of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::inlets::Inlets;
use super::metrics::JobPart;
use super::service::{JobInfo, JobState, SnapshotsInfo, SourceInfo};
use super::snapshots::JobSnapshots;
use crate::dataflow::metrics::SourceMetrics;
use crate::dataflow::runtime::JobRuntime;
use crate::dataflow::source::SharedSource;
use crate::error::{Error, Result};
use crate::plan::node::{OutputTarget, StreamPlan};
use crate::snapshot::JobDefinition;
use crate::time::{BEGINNING, EventTime};

/// A job of the service.
pub struct Job {
    /// What was asked for.
    pub definition: JobDefinition,
    /// What runs, or why nothing does.
    pub body: Result<Running>,
}

/// A job on the workers.
pub struct Running {
    /// Its number among the dataflows of this process.
    pub id: u64,
    /// Its plan.
    pub plan: Arc<StreamPlan>,
    /// Its dataflow.
    pub runtime: Arc<JobRuntime>,
    /// Its tables that rows are sent to.
    pub inlets: Inlets,
    /// Its snapshots, if the service has a data directory.
    pub kept: Option<Kept>,
    /// Whether it was told to stop.
    pub is_stopping: AtomicBool,
}

/// The snapshots of a running job, and what it started from.
pub struct Kept {
    /// The snapshots.
    pub snapshots: Arc<JobSnapshots>,
    /// The number of the snapshot that it started from.
    pub from: Option<u64>,
    /// What was found damaged on the way.
    pub skipped: Vec<String>,
    /// Whether the job had ended, and another version of the program had planned it otherwise.
    pub was_planned_otherwise: bool,
}

impl Running {
    /// Ends sinks, then snapshots; `complete`: all that there is has been handed to the sinks.
    pub fn finish(&self, complete: bool) -> Result<()> {
        let ended = self.runtime.finish_sinks(complete);
        let complete = complete && ended.is_ok();
        match &self.kept {
            Some(kept) => ended.and(kept.snapshots.finish(complete)),
            None => ended,
        }
    }

    /// Takes a last snapshot, if the job still runs.
    pub fn save(&self) {
        let metrics = &self.runtime.metrics;
        if let (Some(kept), false) = (&self.kept, metrics.is_done() || metrics.is_failed()) {
            kept.snapshots.at_stop();
        }
    }

    /// Where it is in its life.
    pub fn state(&self) -> JobState {
        let metrics = &self.runtime.metrics;
        match metrics.failure() {
            Some(error) => JobState::Failed { error },
            None if self.is_stopping.load(Ordering::Acquire) => JobState::Stopping,
            None if metrics.is_done() => JobState::Finished,
            None => JobState::Running,
        }
    }

    fn sources(&self) -> Vec<SourceInfo> {
        let source = |(metrics, shared): (&SourceMetrics, &Arc<SharedSource>)| SourceInfo {
            table: metrics.table.clone(),
            partitions: shared.partitions().len(),
            rows: metrics.rows.load(Ordering::Relaxed),
            bytes: metrics.bytes.load(Ordering::Relaxed),
            watermark: time(metrics.frontier.load(Ordering::Relaxed)),
        };
        self.runtime.metrics.sources.iter().zip(self.runtime.sources()).map(source).collect()
    }

    fn names(&self, wanted: fn(&OutputTarget) -> Option<String>) -> Vec<String> {
        self.plan.outputs.iter().filter_map(|o| wanted(&o.target)).collect()
    }

    fn info(&self, info: JobInfo) -> JobInfo {
        let metrics = &self.runtime.metrics;
        let sources = self.sources();
        let snapshots = self.kept.as_ref().map(|kept| SnapshotsInfo {
            from: kept.from,
            damaged: kept.skipped.clone(),
            was_planned_otherwise: kept.was_planned_otherwise,
            progress: kept.snapshots.progress(),
        });
        JobInfo {
            state: self.state(),
            frontier: time(metrics.frontier()),
            views: self.names(|t| match t {
                OutputTarget::View { name, .. } => Some(name.clone()),
                _ => None,
            }),
            sinks: self.names(|t| match t {
                OutputTarget::Sink(table) => Some(table.name.clone()),
                _ => None,
            }),
            rows_in: sources.iter().map(|s| s.rows).sum(),
            rows_out: metrics.outputs.iter().map(|o| o.updates.load(Ordering::Relaxed)).sum(),
            late_rows: metrics.late_rows.load(Ordering::Relaxed),
            dead_letters: metrics.dead_letters.load(Ordering::Relaxed),
            unknown_updates: metrics.unknown_updates.load(Ordering::Relaxed),
            absent_deletes: metrics.absent_deletes.load(Ordering::Relaxed),
            duplicate_inserts: metrics.duplicate_inserts.load(Ordering::Relaxed),
            sources,
            snapshots,
            memory: metrics.spilled(),
            ..info
        }
    }
}

fn time(t: EventTime) -> Option<EventTime> {
    (t != BEGINNING).then_some(t)
}

impl Job {
    /// What runs; an error if nothing does.
    pub fn running(&self) -> Result<&Running> {
        self.body.as_ref().map_err(Error::clone)
    }

    /// What metrics tell.
    pub fn metrics(&self) -> JobPart<'_> {
        let name = self.definition.name.as_str();
        match &self.body {
            Ok(running) => JobPart {
                name,
                state: running.state(),
                runtime: Some(&running.runtime),
                snapshots: running.kept.as_ref().map(|kept| kept.snapshots.progress()),
            },
            Err(error) => {
                let state = JobState::Failed { error: error.clone() };
                JobPart { name, state, runtime: None, snapshots: None }
            }
        }
    }

    /// What users see.
    pub fn info(&self) -> JobInfo {
        let JobDefinition { name, sql, created_ms, .. } = self.definition.clone();
        let info = JobInfo::new(name, sql, created_ms);
        match &self.body {
            Ok(running) => running.info(info),
            Err(error) => JobInfo { state: JobState::Failed { error: error.clone() }, ..info },
        }
    }
}
