//! The JSON of snapshots and runs. The command line prints the same forms, and reads them from a
//! service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::AsOf;
use crate::job::archive::RunInfo;
use crate::snapshot::{Damage, Exported, Listed, Manifest};
use crate::time::EventTime;

/// `GET /v1/jobs/{name}/snapshots`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshots {
    /// The oldest first.
    pub snapshots: Vec<Snapshot>,
}

/// A snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The job.
    pub job: String,
    /// Number within the job; null if even that is damaged.
    pub id: Option<u64>,
    /// `complete`, or `damaged`: then most other members are null.
    pub state: String,
    /// What is wrong with it.
    pub damage: Vec<String>,
    /// The event time that the job is stored as of; `end` when it has ended.
    pub frontier: Option<String>,
    /// The same in milliseconds since the epoch.
    pub frontier_ms: Option<i64>,
    /// Wall time of its commit, in milliseconds since the epoch.
    pub created_ms: Option<i64>,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// Bytes of all that it names.
    pub bytes: Option<u64>,
    /// Bytes that the snapshot before did not have.
    pub new_bytes: Option<u64>,
    /// Bytes in memory of the rows of state that have changed since the snapshot before.
    pub changed_bytes: Option<u64>,
    /// The longest that a worker was kept from its work, in microseconds.
    pub pause_us: Option<u64>,
    /// The run that took it.
    pub run: Option<u64>,
    /// Workers of that run.
    pub workers: Option<u32>,
}

/// `GET /v1/jobs/{name}/snapshots/{id}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotDetail {
    /// What a list says of it.
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// State by operator.
    pub states: Vec<State>,
    /// From where the sources are read again.
    pub sources: Vec<Position>,
    /// How far the sinks had committed.
    pub sinks: Vec<SinkCommit>,
    /// Fingerprint of the plan.
    pub plan: String,
    /// Settings from outside of the script.
    pub settings: BTreeMap<String, String>,
    /// The script.
    pub sql: String,
}

/// The state of an operator in a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// The operator, as `EXPLAIN` names it.
    pub operator: String,
    /// How it comes back: `tables`, `log` (its input is applied again) or `history` (of a view).
    pub recovery: String,
    /// Rows.
    pub rows: u64,
    /// Bytes as stored.
    pub bytes: u64,
    /// Chunks.
    pub chunks: usize,
}

/// From where a partition of a source is read again.
#[derive(Debug, Serialize, Deserialize)]
pub struct Position {
    /// The table.
    pub table: String,
    /// The partition.
    pub partition: String,
    /// The offset of the next record.
    pub offset: i64,
    /// No record from there on is earlier.
    pub watermark: Option<String>,
    /// Whether it has been read to its end.
    pub ended: bool,
}

/// How far a sink had committed.
#[derive(Debug, Serialize, Deserialize)]
pub struct SinkCommit {
    /// The sink.
    pub name: String,
    /// Everything before is in it.
    pub committed: Option<String>,
    /// The same in milliseconds since the epoch.
    pub committed_ms: Option<i64>,
}

/// `POST /v1/jobs/{name}/snapshots/{id}/verify`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Verified {
    /// The job.
    pub job: String,
    /// The snapshot.
    pub id: Option<u64>,
    /// Whether every byte is as it was written.
    pub whole: bool,
    /// What is wrong.
    pub damage: Vec<String>,
    /// Bytes that were read.
    pub bytes: u64,
}

/// `POST /v1/jobs/{name}/snapshots/{id}/export`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// A directory of the service's machine, which must not be there yet, or `s3://bucket/prefix`
    /// by the options in the environment of the service.
    pub to: String,
}

/// What an export wrote.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExportDone {
    /// The directory, or bucket and prefix.
    pub to: String,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// `DELETE /v1/jobs/{name}/snapshots/{id}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotDeleted {
    /// The job.
    pub job: String,
    /// The snapshot.
    pub id: u64,
    /// True.
    pub deleted: bool,
}

/// `GET /v1/jobs/{name}/runs`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Runs {
    /// The oldest first.
    pub runs: Vec<Run>,
}

/// A run of a job: from a beginning to an end, with all interruptions between.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    /// The job.
    pub job: String,
    /// Number within the job.
    pub run: u64,
    /// `running`, `complete`, `stopped`, or `interrupted` when it ended in no orderly way.
    pub state: String,
    /// Wall time of its beginning, in milliseconds since the epoch.
    pub started_ms: i64,
    /// Wall time of its end.
    pub ended_ms: Option<i64>,
    /// How often it was gone on with.
    pub resumed: u64,
    /// The snapshot that it was last gone on with from.
    pub from: Option<u64>,
    /// Workers when it was last started.
    pub workers: u32,
}

impl Snapshot {
    /// One of a list of `job`'s.
    pub fn of(job: &str, listed: &Listed) -> Self {
        match listed {
            Ok(manifest) => Snapshot::from(manifest),
            Err(damage) => Snapshot::damaged(job, damage),
        }
    }

    fn damaged(job: &str, damage: &Damage) -> Self {
        Snapshot {
            job: job.to_owned(),
            id: damage.snapshot,
            state: "damaged".to_owned(),
            damage: vec![damage.what.clone()],
            frontier: None,
            frontier_ms: None,
            created_ms: None,
            duration_ms: None,
            bytes: None,
            new_bytes: None,
            changed_bytes: None,
            pause_us: None,
            run: None,
            workers: None,
        }
    }
}

impl From<&Manifest> for Snapshot {
    fn from(manifest: &Manifest) -> Self {
        let frontier = AsOf::from(manifest.frontier);
        Snapshot {
            job: manifest.job.clone(),
            id: Some(manifest.id),
            state: "complete".to_owned(),
            damage: Vec::new(),
            frontier: frontier.as_of,
            frontier_ms: frontier.as_of_ms,
            created_ms: Some(manifest.created_ms),
            duration_ms: Some(manifest.duration_ms),
            bytes: Some(manifest.bytes()),
            new_bytes: Some(manifest.new_bytes),
            changed_bytes: Some(manifest.changed_bytes),
            pause_us: Some(manifest.pause_us),
            run: Some(manifest.run),
            workers: Some(manifest.workers),
        }
    }
}

fn text(time: EventTime) -> Option<String> {
    AsOf::from(time).as_of
}

impl SnapshotDetail {
    /// All there is to say of one of `job`'s.
    pub fn of(job: &str, listed: &Listed) -> Self {
        let snapshot = Snapshot::of(job, listed);
        let Ok(manifest) = listed else {
            return SnapshotDetail {
                snapshot,
                states: Vec::new(),
                sources: Vec::new(),
                sinks: Vec::new(),
                plan: String::new(),
                settings: BTreeMap::new(),
                sql: String::new(),
            };
        };
        let sources = manifest.sources.iter().flat_map(|source| {
            source.partitions.iter().map(|partition| Position {
                table: source.table.clone(),
                partition: partition.name.clone(),
                offset: partition.offset,
                watermark: text(partition.floor),
                ended: partition.ended,
            })
        });
        let sinks = manifest.sinks.iter().map(|sink| {
            let committed = AsOf::from(sink.committed);
            let (committed, committed_ms) = (committed.as_of, committed.as_of_ms);
            SinkCommit { name: sink.name.clone(), committed, committed_ms }
        });
        SnapshotDetail {
            snapshot,
            states: states(manifest),
            sources: sources.collect(),
            sinks: sinks.collect(),
            plan: manifest.plan.clone(),
            settings: manifest.settings.clone(),
            sql: manifest.sql.clone(),
        }
    }
}

fn states(manifest: &Manifest) -> Vec<State> {
    let state = |state: &crate::snapshot::SavedState| {
        let chunks = || state.tables.iter().flat_map(|table| &table.chunks);
        State {
            operator: state.operator.clone(),
            recovery: state.recovery.clone(),
            rows: chunks().map(|chunk| chunk.rows).sum(),
            bytes: chunks().map(|chunk| chunk.bytes).sum(),
            chunks: chunks().count(),
        }
    };
    manifest.states.iter().map(state).collect()
}

impl Verified {
    /// What was found of one of `job`'s.
    pub fn of(job: &str, listed: &Listed, found: &[Damage]) -> Self {
        let job = job.to_owned();
        match listed {
            Ok(manifest) => Verified {
                job,
                id: Some(manifest.id),
                whole: found.is_empty(),
                damage: found.iter().map(|damage| damage.what.clone()).collect(),
                bytes: manifest.bytes(),
            },
            Err(damage) => Verified {
                job,
                id: damage.snapshot,
                whole: false,
                damage: vec![damage.what.clone()],
                bytes: 0,
            },
        }
    }
}

impl From<Exported> for ExportDone {
    fn from(exported: Exported) -> Self {
        let Exported { to, files, bytes } = exported;
        ExportDone { to, files, bytes }
    }
}

impl Run {
    /// A run of `job`; whether it is the one that runs now.
    pub fn of(job: &str, info: RunInfo, is_running: bool) -> Self {
        let state = match info.outcome {
            Some(outcome) => outcome,
            None if is_running => "running".to_owned(),
            None => "interrupted".to_owned(),
        };
        Run {
            job: job.to_owned(),
            run: info.run,
            state,
            started_ms: info.started_ms,
            ended_ms: info.ended_ms,
            resumed: info.resumed,
            from: info.from,
            workers: info.workers,
        }
    }
}
