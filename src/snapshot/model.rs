//! What a snapshot consists of, as stored: plain data, JSON on disk.
//!
//! A field is only ever added, with a default; anything else is a new [`super::FORMAT`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// A stored chunk of rows: where it is and how to know it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// The job that owns the chunk.
    pub job: String,
    /// Number of the chunk within the job; never given twice.
    pub id: u64,
    /// Rows in it.
    pub rows: u64,
    /// Bytes as stored.
    pub bytes: u64,
    /// Checksum of the stored bytes, seeded with job and number.
    pub checksum: u64,
    /// No row of it has an earlier time; set by the caller, `i64::MIN` if unknown.
    pub min_time: i64,
    /// No row of it has a later time; set by the caller, `i64::MAX` if unknown.
    pub max_time: i64,
}

/// Everything that a snapshot needs, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format in which manifest and chunks are written.
    pub format: u32,
    /// The job.
    pub job: String,
    /// The run that took the snapshot.
    pub run: u64,
    /// Wall time at which the run began: tells it from runs with its number in other stores.
    #[serde(default)]
    pub begun_ms: i64,
    /// Number of the snapshot within the job; grows, never given twice.
    pub id: u64,
    /// The job is stored as of this frontier.
    pub frontier: i64,
    /// Whether all input has ended: nothing follows the frontier.
    pub complete: bool,
    /// Wall time of the commit, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// How long it took from the decision to the commit.
    pub duration_ms: u64,
    /// The script of the job.
    pub sql: String,
    /// The settings of the run.
    pub settings: BTreeMap<String, String>,
    /// Fingerprint of the plan.
    pub plan: String,
    /// Workers of the run; a restore may use another number.
    pub workers: u32,
    /// State by operator.
    pub states: Vec<SavedState>,
    /// Positions of the sources.
    pub sources: Vec<SavedSource>,
    /// What the sinks have committed.
    pub sinks: Vec<SavedSink>,
    /// Numbers of the outputs that go on at the frontier, where others are given all that there is;
    /// `None`: those that hang on a source that goes on.
    #[serde(default)]
    pub outputs: Option<BTreeSet<u64>>,
    /// Counters of the job.
    pub counters: BTreeMap<String, u64>,
    /// Bytes of the chunks that the snapshot before did not have.
    pub new_bytes: u64,
    /// Bytes in memory of the rows of state that have changed since the snapshot before.
    #[serde(default)]
    pub changed_bytes: u64,
    /// The longest that a worker was kept from its work, in microseconds.
    #[serde(default)]
    pub pause_us: u64,
}

/// The state of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    /// The operator as a user knows it, such as `GroupAggregate#3` or `View(v)`.
    pub operator: String,
    /// Its number in the plan.
    pub node: u64,
    /// Fingerprint of the sub-plan whose state it is; of an output, of what it is given. Empty in
    /// what was written before there were any.
    pub fingerprint: String,
    /// How the state is built again from the tables.
    pub recovery: String,
    /// Of the history of a view: what is earlier has been summed up.
    #[serde(default)]
    pub since: Option<i64>,
    /// Its tables, of all workers.
    pub tables: Vec<SavedTableRef>,
}

/// One table of an operator's state, as one worker handed it over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedTableRef {
    /// Name of the table within the operator.
    pub name: String,
    /// The worker that handed it over.
    pub worker: u32,
    /// The snapshot that wrote it: tables of one name are applied in this order.
    pub snapshot: u64,
    /// Whether it replaces what earlier snapshots wrote.
    pub whole: bool,
    /// Columns whose hash says which worker a row belongs to; `None` if rows have no place.
    pub shard: Option<Vec<u64>>,
    /// The rows, in order.
    pub chunks: Vec<ChunkRef>,
}

/// Where the reading of a source goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSource {
    /// The table.
    pub table: String,
    /// Fingerprint of its records and their times.
    #[serde(default)]
    pub fingerprint: String,
    /// Whether it is read again from where the partitions begin, for new parts of the plan: all
    /// others ignore what lies before the frontier.
    #[serde(default)]
    pub again: bool,
    /// Its partitions.
    pub partitions: Vec<SavedPartition>,
}

/// Where the reading of a partition goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPartition {
    /// The partition: a file, a generator's index.
    pub name: String,
    /// Reading goes on here.
    pub offset: i64,
    /// The partition's watermark at the offset: no record from there on gets an earlier time.
    pub floor: i64,
    /// Whether the partition has been read to its end.
    pub ended: bool,
}

/// What a sink has committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSink {
    /// The sink.
    pub name: String,
    /// All rows before this time are durable there.
    pub committed: i64,
    /// Fingerprint of what it is given.
    #[serde(default)]
    pub fingerprint: String,
    /// Fingerprint of the declaration of its table.
    #[serde(default)]
    pub declared: String,
    /// Whether rows are taken back in what it is given.
    #[serde(default)]
    pub updates: bool,
}

/// A stored thing that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The job; empty if it concerns the whole store.
    pub job: String,
    /// The snapshot, if it is of one.
    pub snapshot: Option<u64>,
    /// The chunk, if it is one.
    pub chunk: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.job.as_str(), self.snapshot) {
            ("", _) => {}
            (job, None) => write!(f, "job '{job}': ")?,
            (job, Some(id)) => write!(f, "snapshot {id} of job '{job}': ")?,
        }
        if let Some(chunk) = self.chunk {
            write!(f, "chunk {chunk}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// A snapshot of a list: its manifest, or what is wrong with it.
pub type Listed = Result<Manifest, Damage>;

/// The snapshot to start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// The newest whole one; `None` if none was ever committed.
    pub manifest: Option<Manifest>,
    /// What was passed over because of damage, newest first.
    pub skipped: Vec<Damage>,
}

/// What an export wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The directory, or bucket and prefix.
    pub to: String,
    /// Files there.
    pub files: u64,
    /// Bytes there.
    pub bytes: u64,
}

impl Manifest {
    /// Every chunk with the place that names it, once a chunk, in the order of the manifest.
    pub fn chunks(&self) -> impl Iterator<Item = (&SavedState, &SavedTableRef, &ChunkRef)> {
        let mut seen = BTreeSet::new();
        self.states
            .iter()
            .flat_map(|state| state.tables.iter().map(move |table| (state, table)))
            .flat_map(|(state, table)| table.chunks.iter().map(move |c| (state, table, c)))
            .filter(move |(_, _, chunk)| seen.insert(chunk.id))
    }

    /// Bytes of all chunks as stored.
    pub fn bytes(&self) -> u64 {
        self.chunks().map(|(_, _, chunk)| chunk.bytes).sum()
    }

    /// The damage `what` of this snapshot.
    pub(super) fn damage(&self, chunk: Option<u64>, what: impl Into<String>) -> Damage {
        Damage { job: self.job.clone(), snapshot: Some(self.id), chunk, what: what.into() }
    }

    /// The damage `what` of a chunk, with the place that names it.
    pub(super) fn damage_in(
        &self,
        (state, table, chunk): (&SavedState, &SavedTableRef, &ChunkRef),
        what: &str,
    ) -> Damage {
        let what = format!("{what} ({}, table {})", state.operator, table.name);
        self.damage(Some(chunk.id), what)
    }
}
