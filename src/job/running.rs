//! One job of the service: what it is, whether it runs, what users see of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::inlets::Inlets;
use super::metrics::JobPart;
use super::processes::{Counts, Followers, SourceCounts};
use super::service::{JobFrontier, JobInfo, JobState, SnapshotsInfo, SourceInfo};
use super::snapshots::JobSnapshots;
use crate::dataflow::frontier::report::FrontierReport;
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
    /// The failures that it was started again after.
    pub failures: Failures,
    /// Whether it is going to be tried again though it could not be started.
    pub is_retried: AtomicBool,
}

/// Failures of a job, one soon after the other.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    /// How many.
    pub count: usize,
    /// The last one.
    pub last: Option<Error>,
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
    /// The other processes that it runs in.
    pub followers: Option<Arc<Followers>>,
    /// When it was started.
    pub begun: Instant,
    /// Whether it was told to stop.
    pub is_stopping: AtomicBool,
    /// Whether it is started again if it fails; no longer once it has failed too often.
    pub restarts: AtomicBool,
    /// Whether it has come to its end, and all that it gave is durable.
    pub is_finished: AtomicBool,
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

    /// Whether it would be started again, if it failed now or has failed.
    pub fn is_to_restart(&self) -> bool {
        self.restarts.load(Ordering::Acquire) && !self.is_stopping.load(Ordering::Acquire)
    }

    /// Where it is in its life.
    pub fn state(&self) -> JobState {
        let metrics = &self.runtime.metrics;
        match metrics.failure() {
            Some(error) if self.is_to_restart() => JobState::Restarting { error },
            Some(error) => JobState::Failed { error },
            None if self.is_finished.load(Ordering::Acquire) => JobState::Finished,
            None if self.is_stopping.load(Ordering::Acquire) => JobState::Stopping,
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

    /// How it goes in other processes.
    fn elsewhere(&self) -> Vec<Counts> {
        let followers = self.followers.as_ref();
        followers.map(|followers| followers.counts(self.id)).unwrap_or_default()
    }

    /// How far its outputs are, as all processes see it.
    fn frontier_report(&self) -> FrontierReport {
        let mut reports = vec![self.runtime.frontier_report()];
        let metrics = &self.runtime.metrics;
        if let (Some(followers), false) = (&self.followers, metrics.is_failed()) {
            // Of one that is being lost nothing is known.
            reports.extend(followers.frontiers(self.id).unwrap_or_default());
        }
        FrontierReport::merge(reports)
    }

    fn names(&self, wanted: fn(&OutputTarget) -> Option<String>) -> Vec<String> {
        self.plan.outputs.iter().filter_map(|o| wanted(&o.target)).collect()
    }

    fn info(&self, info: JobInfo) -> JobInfo {
        let metrics = &self.runtime.metrics;
        let elsewhere = self.elsewhere();
        let mut sources = self.sources();
        for counts in &elsewhere {
            sources.iter_mut().zip(&counts.sources).for_each(|(all, own)| add(all, own));
        }
        let sum = |own: &AtomicU64, of: fn(&Counts) -> u64| {
            own.load(Ordering::Relaxed) + elsewhere.iter().map(of).sum::<u64>()
        };
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
            rows_out: metrics
                .outputs
                .iter()
                .map(|o| o.updates.load(Ordering::Relaxed))
                .sum::<u64>()
                + elsewhere.iter().flat_map(|counts| &counts.updates).sum::<u64>(),
            late_rows: sum(&metrics.late_rows, |counts| counts.late_rows),
            dead_letters: sum(&metrics.dead_letters, |counts| counts.dead_letters),
            unknown_updates: sum(&metrics.unknown_updates, |counts| counts.unknown_updates),
            absent_deletes: sum(&metrics.absent_deletes, |counts| counts.absent_deletes),
            duplicate_inserts: sum(&metrics.duplicate_inserts, |counts| counts.duplicate_inserts),
            sources,
            snapshots,
            memory: metrics.spilled(),
            ..info
        }
    }
}

/// Adds what a source has done in another process.
fn add(all: &mut SourceInfo, own: &SourceCounts) {
    all.partitions += own.standing.partitions;
    all.rows += own.rows;
    all.bytes += own.bytes;
    // One without partitions there holds nothing back.
    if own.standing.partitions > 0 {
        all.watermark = match (all.watermark, time(own.standing.frontier)) {
            (Some(all), Some(own)) => Some(all.min(own)),
            _ => None,
        };
    }
}

fn time(t: EventTime) -> Option<EventTime> {
    (t != BEGINNING).then_some(t)
}

impl Job {
    /// One that has not failed before.
    pub fn new(definition: JobDefinition, body: Result<Running>) -> Self {
        let (failures, is_retried) = (Failures::default(), AtomicBool::new(false));
        Job { definition, body, failures, is_retried }
    }

    /// The state of one that could not be started because of `error`.
    fn refused(&self, error: &Error) -> JobState {
        let error = error.clone();
        match self.is_retried.load(Ordering::Acquire) {
            true => JobState::Restarting { error },
            false => JobState::Failed { error },
        }
    }

    /// What runs; an error if nothing does.
    pub fn running(&self) -> Result<&Running> {
        self.body.as_ref().map_err(Error::clone)
    }

    /// How far its outputs are.
    pub fn frontier(&self) -> JobFrontier {
        let job = self.definition.name.clone();
        match &self.body {
            Ok(running) => {
                let state = running.state();
                JobFrontier { job, state, report: running.frontier_report() }
            }
            Err(error) => {
                let state = self.refused(error);
                JobFrontier { job, state, report: FrontierReport::default() }
            }
        }
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
                let state = self.refused(error);
                JobPart { name, state, runtime: None, snapshots: None }
            }
        }
    }

    /// What users see.
    pub fn info(&self) -> JobInfo {
        let JobDefinition { name, sql, created_ms, .. } = self.definition.clone();
        let Failures { count: restarts, last: last_failure } = self.failures.clone();
        let info = JobInfo { restarts, last_failure, ..JobInfo::new(name, sql, created_ms) };
        match &self.body {
            Ok(running) => running.info(info),
            Err(error) => JobInfo { state: self.refused(error), ..info },
        }
    }
}
