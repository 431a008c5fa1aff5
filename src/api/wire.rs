//! The JSON of requests and answers. Core types are not serialisable; this is where they become so.

pub mod frontier;
pub mod snapshots;
pub mod upgrade;

use serde::{Deserialize, Serialize};

use arrow::datatypes::Schema;

use crate::error::{Error, ErrorKind, Location};
use crate::job::service::{JobInfo, JobState, SnapshotsInfo, SourceInfo};
use crate::serve::ServedView;
use crate::serve::time_text::{format_time, parse_time};
use crate::sql::types::type_name;
use crate::telemetry::clock::wall_ms;
use crate::time::{BEGINNING, CLOSED, EventTime};

/// `POST /v1/jobs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateJob {
    /// Name of the job.
    pub name: String,
    /// Its script.
    pub sql: String,
}

/// The query of `DELETE /v1/jobs/{name}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteJob {
    /// Whether what is stored of the job stays.
    #[serde(default)]
    pub keep_snapshots: bool,
}

/// `POST /v1/sql`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSql {
    /// One SELECT.
    pub query: String,
    /// The event time to read at; the newest common one if absent.
    #[serde(default)]
    pub as_of: Option<TimeText>,
    /// Rows to return at most.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Wait until the views that are read are complete behind this event time.
    #[serde(default)]
    pub min_time: Option<TimeText>,
    /// How long, in milliseconds.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// An event time in a request: milliseconds, or text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum TimeText {
    /// Milliseconds since the epoch.
    Millis(i64),
    /// `2020-01-01 12:00:00.000` and the like.
    Text(String),
}

impl TimeText {
    /// The time.
    pub fn time(&self) -> crate::error::Result<EventTime> {
        match self {
            TimeText::Millis(ms) => Ok(*ms),
            TimeText::Text(text) => parse_time(text),
        }
    }
}

/// The query of `GET /v1/views/{name}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadView {
    /// The event time to read at; the newest one if absent.
    #[serde(default)]
    pub as_of: Option<String>,
    /// Values of the view's key columns, in order, between commas.
    #[serde(default)]
    pub key: Option<String>,
    /// Rows to return at most.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Wait until the view is complete behind this event time.
    #[serde(default)]
    pub min_time: Option<String>,
    /// How long, in milliseconds.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// `POST /v1/tables/{name}/rows`: what was taken.
#[derive(Debug, Serialize)]
pub struct RowsTaken {
    /// The job that reads the table.
    pub job: String,
    /// The table.
    pub table: String,
    /// Number of the first row within the table.
    pub first: i64,
    /// Number of rows.
    pub rows: i64,
    /// The latest event time among them, for `min_time` of a read that shall see them; null if it
    /// is not known yet.
    pub min_time: Option<String>,
    /// The same in milliseconds.
    pub min_time_ms: Option<i64>,
    /// Whether they survive a crash: the service has a data directory.
    pub durable: bool,
    /// Whether an earlier request with this `Idempotency-Key` had brought them.
    pub repeated: bool,
}

/// The event time that an answer is as of: what is complete below it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct AsOf {
    /// `2020-01-01 12:00:00.000`; null before any time has closed.
    pub as_of: Option<String>,
    /// The same in milliseconds since the epoch.
    pub as_of_ms: Option<i64>,
}

impl From<EventTime> for AsOf {
    fn from(time: EventTime) -> Self {
        if time == BEGINNING {
            return AsOf { as_of: None, as_of_ms: None };
        }
        if time == CLOSED {
            return AsOf { as_of: Some("end".to_owned()), as_of_ms: None };
        }
        AsOf { as_of: Some(format_time(time)), as_of_ms: Some(time) }
    }
}

/// An answer with the event time it is as of.
#[derive(Debug, Serialize)]
pub struct Answer<T> {
    /// The event time.
    #[serde(flatten)]
    pub as_of: AsOf,
    /// The rest.
    #[serde(flatten)]
    pub body: T,
}

/// `GET /v1/jobs`.
#[derive(Debug, Serialize)]
pub struct Jobs {
    /// The jobs, by name.
    pub jobs: Vec<Answer<Job>>,
}

/// A job.
#[derive(Debug, Serialize)]
pub struct Job {
    /// Name.
    pub name: String,
    /// `starting`, `running`, `finished`, `failed` or `stopping`.
    pub state: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorForm>,
    /// Wall time of its creation, in milliseconds since the epoch.
    pub created_ms: i64,
    /// Names of its views.
    pub views: Vec<String>,
    /// Names of the tables it writes.
    pub sinks: Vec<String>,
    /// Its sources.
    pub sources: Vec<Source>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<ErrorForm>,
    /// Its snapshots; null if it takes none.
    pub snapshots: Option<JobSnapshots>,
    /// What was put aside under its memory budget; null if it has none.
    pub memory: Option<JobMemory>,
    /// The script.
    pub sql: String,
}

/// What a job has put aside under its memory budget, in bytes.
#[derive(Debug, Serialize)]
pub struct JobMemory {
    /// The budget of the process.
    pub budget_bytes: u64,
    /// Written to disk so far.
    pub spilled_bytes: u64,
    /// Read back so far.
    pub restored_bytes: u64,
    /// On disk now.
    pub disk_bytes: u64,
}

/// What has become of a job's snapshots.
#[derive(Debug, Serialize)]
pub struct JobSnapshots {
    /// The number of the snapshot that the job started from.
    pub from: Option<u64>,
    /// What was found damaged on the way, and passed over.
    pub damaged: Vec<String>,
    /// Whether the job had ended, and another version had planned it otherwise: it is computed
    /// again for its views, and its sinks stay as they are.
    pub planned_otherwise: bool,
    /// How many were taken since.
    pub taken: u64,
    /// The last one.
    pub last: Option<LastSnapshot>,
    /// Why there are no more.
    pub stopped: Option<ErrorForm>,
}

/// The last snapshot of a job.
#[derive(Debug, Serialize)]
pub struct LastSnapshot {
    /// Number.
    pub id: u64,
    /// Its frontier; `end` when the job has ended.
    pub frontier: Option<String>,
    /// The same in milliseconds since the epoch.
    pub frontier_ms: Option<i64>,
    /// Milliseconds since its commit.
    pub age_ms: i64,
    /// Bytes of all that it names.
    pub bytes: u64,
}

/// A source of a job.
#[derive(Debug, Serialize)]
pub struct Source {
    /// The table.
    pub table: String,
    /// Partitions so far.
    pub partitions: usize,
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The frontier of what it has sent; `end` when it has ended.
    pub watermark: Option<String>,
    /// The same in milliseconds since the epoch.
    pub watermark_ms: Option<i64>,
}

/// `DELETE /v1/jobs/{name}`.
#[derive(Debug, Serialize)]
pub struct Deleted {
    /// Name.
    pub name: String,
    /// True.
    pub deleted: bool,
}

/// `GET /v1/jobs/{name}/plan`.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// Name of the job.
    pub name: String,
    /// The stream plan as text.
    pub plan: String,
}

/// `GET /v1/views`.
#[derive(Debug, Serialize)]
pub struct Views {
    /// The views, by name.
    pub views: Vec<Answer<View>>,
}

/// A view.
#[derive(Debug, Serialize)]
pub struct View {
    /// Name.
    pub name: String,
    /// Columns.
    pub columns: Vec<Column>,
    /// Names of the columns of its unique key, if known.
    pub key: Vec<String>,
    /// Rows now.
    pub rows: i64,
    /// The earliest time that can be read; null if every time can.
    pub since: Option<String>,
    /// Whether its contents are final.
    pub ended: bool,
}

/// A column.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// Name.
    pub name: String,
    /// SQL type.
    #[serde(rename = "type")]
    pub type_name: String,
}

/// `GET /healthz`.
#[derive(Debug, Serialize)]
pub struct Health {
    /// `ok`.
    pub status: &'static str,
}

/// An error.
#[derive(Debug, Serialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorForm,
}

/// What was wrong, where, and what to do.
#[derive(Debug, Serialize)]
pub struct ErrorForm {
    /// `sql`, `config`, `io`, `not_found`, `conflict`, `limit` or `internal`.
    pub kind: &'static str,
    /// What was wrong.
    pub message: String,
    /// Where, for errors in a text.
    pub location: Option<Place>,
    /// What to do about it.
    pub hint: Option<String>,
    /// All of it as it is shown on a terminal.
    pub text: String,
    /// What is wrong with which rows of a request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<RowError>,
}

/// A row of a request that is no row of its table.
#[derive(Debug, Serialize)]
pub struct RowError {
    /// Its number in the request, from 0.
    pub row: usize,
    /// Why.
    pub reason: String,
}

/// A place in a text.
#[derive(Debug, Serialize)]
pub struct Place {
    /// File, or a name such as `query`.
    pub file: String,
    /// 1-based line.
    pub line: usize,
    /// 1-based column, in characters.
    pub column: usize,
    /// The text of the line.
    pub text: String,
}

impl From<&Error> for ErrorBody {
    fn from(error: &Error) -> Self {
        ErrorBody { error: ErrorForm::from(error) }
    }
}

impl From<&Error> for ErrorForm {
    fn from(error: &Error) -> Self {
        let kind = match error.kind {
            ErrorKind::Sql => "sql",
            ErrorKind::Config => "config",
            ErrorKind::Io => "io",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Limit => "limit",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Internal => "internal",
        };
        ErrorForm {
            kind,
            message: error.message.clone(),
            location: error.location.as_deref().map(Place::from),
            hint: error.hint.clone(),
            text: error.to_string(),
            rows: Vec::new(),
        }
    }
}

impl From<&Location> for Place {
    fn from(at: &Location) -> Self {
        Place { file: at.file.clone(), line: at.line, column: at.column, text: at.text.clone() }
    }
}

impl From<JobInfo> for Job {
    fn from(info: JobInfo) -> Self {
        Job {
            state: info.state.name(),
            error: match &info.state {
                JobState::Failed { error } | JobState::Restarting { error } => {
                    Some(ErrorForm::from(error))
                }
                _ => None,
            },
            name: info.name,
            created_ms: info.created_ms,
            views: info.views,
            sinks: info.sinks,
            sources: info.sources.into_iter().map(Source::from).collect(),
            rows_in: info.rows_in,
            rows_out: info.rows_out,
            late_rows: info.late_rows,
            dead_letters: info.dead_letters,
            unknown_updates: info.unknown_updates,
            absent_deletes: info.absent_deletes,
            duplicate_inserts: info.duplicate_inserts,
            restarts: info.restarts,
            last_failure: info.last_failure.as_ref().map(ErrorForm::from),
            snapshots: info.snapshots.map(JobSnapshots::from),
            memory: info.memory.map(|spilled| JobMemory {
                budget_bytes: spilled.budget,
                spilled_bytes: spilled.spilled,
                restored_bytes: spilled.restored,
                disk_bytes: spilled.disk,
            }),
            sql: info.sql,
        }
    }
}

impl From<SnapshotsInfo> for JobSnapshots {
    fn from(info: SnapshotsInfo) -> Self {
        let SnapshotsInfo { from, damaged, was_planned_otherwise, progress } = info;
        JobSnapshots {
            from,
            damaged,
            planned_otherwise: was_planned_otherwise,
            taken: progress.taken,
            last: progress.last.map(|last| {
                let frontier = AsOf::from(last.frontier);
                LastSnapshot {
                    id: last.id,
                    frontier: frontier.as_of,
                    frontier_ms: frontier.as_of_ms,
                    age_ms: wall_ms().saturating_sub(last.created_ms).max(0),
                    bytes: last.bytes,
                }
            }),
            stopped: progress.stopped.as_ref().map(ErrorForm::from),
        }
    }
}

impl From<SourceInfo> for Source {
    fn from(info: SourceInfo) -> Self {
        let watermark = AsOf::from(info.watermark.unwrap_or(BEGINNING));
        Source {
            table: info.table,
            partitions: info.partitions,
            rows: info.rows,
            bytes: info.bytes,
            watermark: watermark.as_of,
            watermark_ms: watermark.as_of_ms,
        }
    }
}

impl From<&ServedView> for View {
    fn from(view: &ServedView) -> Self {
        let name_of = |&i: &usize| view.schema.fields().get(i).map(|f| f.name().clone());
        let since = view.contents.since();
        View {
            name: view.name.clone(),
            columns: columns(&view.schema),
            key: view.key.iter().filter_map(name_of).collect(),
            rows: view.contents.stats().rows,
            since: (since != BEGINNING).then(|| format_time(since)),
            ended: view.contents.upper() == CLOSED,
        }
    }
}

/// The columns of `schema`.
pub fn columns(schema: &Schema) -> Vec<Column> {
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| Column {
        name: field.name().clone(),
        type_name: type_name(field.data_type()),
    };
    schema.fields().iter().map(column).collect()
}
