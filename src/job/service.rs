//! What the HTTP edge asks of the service that runs jobs.
//!
//! The edge knows this trait alone; the running service implements it over the cluster, tests by a
//! fake. Calls may block and are made on blocking threads.

use std::sync::Arc;

use super::inlets::{RowsIn, RowsRefused, RowsTaken};
use super::snapshots::SnapshotProgress;
use super::upgrade::Report;
use crate::dataflow::frontier::report::FrontierReport;
/// What the edge shows of it.
pub use crate::dataflow::frontier::{graph, held, report};
use crate::error::{Error, Result};
use crate::serve::ServedView;
use crate::snapshot::{CopyPlace, Store};
use crate::spill::memory::Spilled;
use crate::time::EventTime;

/// Longest name of a job, in bytes.
const JOB_NAME_BYTES_MAX: usize = 100;

/// The jobs of a process: they come and go at run time on the same workers.
pub trait JobService: Send + Sync {
    /// Starts a job; SQL errors are found before anything runs. A taken name is a conflict.
    fn create(&self, name: &str, sql: &str) -> Result<JobInfo>;

    /// All jobs, by name.
    fn list(&self) -> Vec<JobInfo>;

    /// One job.
    fn get(&self, name: &str) -> Result<JobInfo>;

    /// Stops a job and forgets it and its views, and what is stored of it unless `keep_snapshots`.
    fn delete(&self, name: &str, keep_snapshots: bool) -> Result<()>;

    /// The metrics of this process, in the text format of Prometheus.
    fn metrics(&self) -> String;

    /// The stream plan of a job as text.
    fn plan(&self, name: &str) -> Result<String>;

    /// How far the outputs of a job are, and what holds each back.
    fn frontier(&self, name: &str) -> Result<JobFrontier>;

    /// The view of a name as users write it: `v`, `v$late`, `floodmark.dead_letters`, `job.v`.
    ///
    /// A name that several jobs use is a conflict, and the hint lists the qualified names.
    fn view(&self, name: &str) -> Result<ServedView>;

    /// All views of all jobs, by name.
    fn views(&self) -> Vec<ServedView>;

    /// The store of snapshots and runs; a conflict if the service keeps none.
    fn store(&self) -> Result<Arc<Store>>;

    /// Gives rows to the job that reads `table` (or `job.table`) over HTTP, all or none.
    fn take_rows(&self, table: &str, rows: RowsIn) -> Result<RowsTaken, RowsRefused>;

    /// The place of a copy of a snapshot that `text` names.
    fn copy_place(&self, text: &str) -> Result<CopyPlace>;

    /// What becomes of a job with another script; with `apply` it is made so: the job is stopped at
    /// a snapshot and goes on with the new script. One that cannot be upgraded goes on as it was.
    fn upgrade(&self, name: &str, sql: &str, from_now: bool, apply: bool) -> Result<Report>;

    /// Takes a snapshot of a job now and waits until it is complete; its number.
    fn create_snapshot(&self, name: &str) -> Result<u64>;

    /// Removes a snapshot; that on which the next one of a running job builds stays.
    fn delete_snapshot(&self, name: &str, id: u64) -> Result<()>;
}

/// Where a job is in its life.
#[derive(Clone, Debug)]
pub enum JobState {
    /// Being compiled and placed on the workers.
    Starting,
    /// Its dataflow runs.
    Running,
    /// All its inputs have ended and all its outputs are complete.
    Finished,
    /// It stopped on an error and is about to be started again from its last snapshot.
    Restarting {
        /// Why.
        error: Error,
    },
    /// It stopped on an error, for good.
    Failed {
        /// Why.
        error: Error,
    },
    /// It was told to stop and winds down.
    Stopping,
}

impl JobState {
    /// The words of all states.
    pub const NAMES: [&str; 6] =
        ["starting", "running", "finished", "restarting", "failed", "stopping"];

    /// The state as one word.
    pub fn name(&self) -> &'static str {
        match self {
            JobState::Starting => "starting",
            JobState::Running => "running",
            JobState::Finished => "finished",
            JobState::Restarting { .. } => "restarting",
            JobState::Failed { .. } => "failed",
            JobState::Stopping => "stopping",
        }
    }
}

/// How far the outputs of a job are.
#[derive(Clone, Debug)]
pub struct JobFrontier {
    /// The job.
    pub job: String,
    /// Where it is in its life.
    pub state: JobState,
    /// The frontiers; nothing of a job that could not be started.
    pub report: FrontierReport,
}

/// A source of a job as users see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceInfo {
    /// The table.
    pub table: String,
    /// Partitions so far.
    pub partitions: usize,
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The frontier of what the source has sent: its watermark plus 1 ms.
    pub watermark: Option<EventTime>,
}

/// The snapshots of a job as users see them.
#[derive(Clone, Debug, Default)]
pub struct SnapshotsInfo {
    /// The number of the snapshot that the job started from.
    pub from: Option<u64>,
    /// What was found damaged on the way, and passed over.
    pub damaged: Vec<String>,
    /// Whether the job had ended, and another version of the program had planned it otherwise: it
    /// is computed again for its views, and its sinks stay as they are.
    pub was_planned_otherwise: bool,
    /// What has become of them since.
    pub progress: SnapshotProgress,
}

/// A job as users see it.
#[derive(Clone, Debug)]
pub struct JobInfo {
    /// Name.
    pub name: String,
    /// The script.
    pub sql: String,
    /// Where it is in its life.
    pub state: JobState,
    /// Wall time of its creation.
    pub created_ms: i64,
    /// No output with a time below this will still appear; [`crate::time::CLOSED`] at its end.
    pub frontier: Option<EventTime>,
    /// Names of its views.
    pub views: Vec<String>,
    /// Names of the tables it writes.
    pub sinks: Vec<String>,
    /// Its sources.
    pub sources: Vec<SourceInfo>,
    /// Rows read by all sources.
    pub rows_in: u64,
    /// Updates given to views and sinks.
    pub rows_out: u64,
    /// Rows that came after their window had closed.
    pub late_rows: u64,
    /// Records refused or failed.
    pub dead_letters: u64,
    /// Updates of keys that were not there: they were put there.
    pub unknown_updates: u64,
    /// Deletions of keys that were not there: ignored.
    pub absent_deletes: u64,
    /// Insertions of keys that were there: they took the place of the row.
    pub duplicate_inserts: u64,
    /// How often it was started again since it last ran for long.
    pub restarts: usize,
    /// Why the last time.
    pub last_failure: Option<Error>,
    /// Its snapshots; `None` if it takes none.
    pub snapshots: Option<SnapshotsInfo>,
    /// What was put aside under its memory budget; `None` if it has none.
    pub memory: Option<Spilled>,
}

impl JobInfo {
    /// A job of which nothing is known but its definition.
    pub fn new(name: String, sql: String, created_ms: i64) -> Self {
        JobInfo {
            name,
            sql,
            state: JobState::Starting,
            created_ms,
            frontier: None,
            views: Vec::new(),
            sinks: Vec::new(),
            sources: Vec::new(),
            rows_in: 0,
            rows_out: 0,
            late_rows: 0,
            dead_letters: 0,
            unknown_updates: 0,
            absent_deletes: 0,
            duplicate_inserts: 0,
            restarts: 0,
            last_failure: None,
            snapshots: None,
            memory: None,
        }
    }
}

/// Whether `name` can name a job: letters, digits, `_` and `-`, beginning with a letter or `_`.
///
/// Such a name can stand before a view's name in SQL and in a path without quotes.
pub fn validate_job_name(name: &str) -> Result<()> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if begins && name.chars().all(is_part) && name.len() <= JOB_NAME_BYTES_MAX {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    Err(Error::config(format!("'{shown}' cannot name a job")).with_hint(format!(
        "use at most {JOB_NAME_BYTES_MAX} letters, digits, '_' and '-', and begin with a letter"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_among_the_names() {
        let error = Error::internal("");
        let restarting = JobState::Restarting { error: error.clone() };
        let states = [
            JobState::Starting,
            JobState::Running,
            JobState::Finished,
            restarting,
            JobState::Failed { error },
            JobState::Stopping,
        ];
        assert_eq!(states.each_ref().map(JobState::name), JobState::NAMES);
    }

    #[test]
    fn job_names() {
        for name in ["a", "hourly_tips", "q-5", "_x9"] {
            assert!(validate_job_name(name).is_ok(), "{name}");
        }
        for name in ["", "9a", "-a", "a b", "a.b", "a/b", "ä", &"a".repeat(101)] {
            assert!(validate_job_name(name).is_err(), "{name}");
        }
    }
}
