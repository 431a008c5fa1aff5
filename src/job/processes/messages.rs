//! What processes say to each other about jobs. Plain data, JSON on the wire: rows go another way.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dataflow::decisions::Decision;
use crate::dataflow::frontier::report::FrontierReport;
use crate::dataflow::source::Standing;
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::{ChunkRef, JournalEntry, Manifest};
use crate::time::EventTime;

/// What the leader tells all others, in the same order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Plan a job and open what it reads; answered by [`News::Prepared`].
    Prepare(Box<Prepare>),
    /// Build the dataflow of a job that all have prepared.
    Install {
        /// The job.
        id: u64,
    },
    /// Drop a job.
    Remove {
        /// The job.
        id: u64,
    },
    /// Hold the sources where they are; answered by [`News::Held`].
    Hold {
        /// The job.
        id: u64,
        /// Of the answer.
        ticket: u64,
    },
    /// A snapshot was chosen; answered by [`News::Chosen`].
    Choose {
        /// The job.
        id: u64,
        /// Of the answer.
        ticket: u64,
        /// Of the snapshot.
        frontier: EventTime,
    },
    /// Let the sources go on.
    GoOn {
        /// The job.
        id: u64,
    },
    /// The snapshot is complete, or given up.
    Done {
        /// The job.
        id: u64,
    },
    /// Say what was counted before a frontier that all have passed; answered by [`News::Counted`].
    Count {
        /// The job.
        id: u64,
        /// Of the answer.
        ticket: u64,
        /// The frontier.
        frontier: EventTime,
    },
    /// Tell whether the job has failed, then answer by [`News::Settled`].
    Settle {
        /// The job.
        id: u64,
        /// Of the answer.
        ticket: u64,
    },
    /// There are no more snapshots.
    End {
        /// The job.
        id: u64,
    },
    /// Say how far the outputs are; answered by [`News::Frontier`].
    Frontier {
        /// The job.
        id: u64,
        /// Of the answer.
        ticket: u64,
    },
    /// How far the sources are, by number, as far as all processes know.
    Elsewhere {
        /// The job.
        id: u64,
        /// By source.
        frontiers: Vec<EventTime>,
    },
}

/// A job that is to be run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prepare {
    /// Its number, the same in all processes.
    pub id: u64,
    /// Of the answer.
    pub ticket: u64,
    /// Its name.
    pub job: String,
    /// Its script.
    pub sql: String,
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// What it is planned as.
    pub plan: String,
    /// The run, if it takes snapshots.
    pub kept: Option<KeptRun>,
}

/// A run that takes snapshots.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptRun {
    /// Its number.
    pub run: u64,
    /// Wall time of its beginning, in ms.
    pub begun_ms: i64,
    /// The snapshot that it goes on from.
    pub manifest: Option<Manifest>,
    /// Whether it had come to its end, and is computed again.
    pub is_ended: bool,
    /// What it has decided so far.
    pub decided: Vec<JournalEntry>,
}

/// What a process tells the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum News {
    /// A job is ready to be built, or why it is not.
    Prepared {
        /// Of the order.
        ticket: u64,
        /// Why it is not.
        error: Option<Error>,
    },
    /// What the sources have let pass, by number.
    Held {
        /// Of the order.
        ticket: u64,
        /// By source.
        released: Vec<EventTime>,
    },
    /// It is known which snapshot was chosen.
    Chosen {
        /// Of the order.
        ticket: u64,
    },
    /// What was counted, by name.
    Counted {
        /// Of the order.
        ticket: u64,
        /// By name.
        counters: BTreeMap<String, u64>,
    },
    /// A failure of the job has been told, if there was one.
    Settled {
        /// Of the order.
        ticket: u64,
    },
    /// How far the outputs are, and why.
    Frontier {
        /// Of the order.
        ticket: u64,
        /// As seen here.
        report: FrontierReport,
    },
    /// A job cannot go on.
    Failed {
        /// The job.
        id: u64,
        /// Why.
        error: Error,
    },
    /// How a job goes.
    Report {
        /// The job.
        id: u64,
        /// So far.
        counts: Counts,
    },
}

impl News {
    /// The number of the order that it answers.
    pub fn ticket(&self) -> Option<u64> {
        match self {
            News::Prepared { ticket, .. }
            | News::Held { ticket, .. }
            | News::Chosen { ticket }
            | News::Counted { ticket, .. }
            | News::Settled { ticket }
            | News::Frontier { ticket, .. } => Some(*ticket),
            News::Failed { .. } | News::Report { .. } => None,
        }
    }
}

/// How a job goes in one process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// By source.
    pub sources: Vec<SourceCounts>,
    /// Updates given to outputs, by output.
    pub updates: Vec<u64>,
    /// Rows that came too late.
    pub late_rows: u64,
    /// Records and rows that failed.
    pub dead_letters: u64,
    /// Updates of keys that were not there.
    pub unknown_updates: u64,
    /// Deletions of keys that were not there.
    pub absent_deletes: u64,
    /// Insertions of keys that were there.
    pub duplicate_inserts: u64,
}

/// A source in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceCounts {
    /// How far it is.
    pub standing: Standing,
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// What a process asks the leader, and waits for the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// The bytes of a chunk of a snapshot.
    Chunk(ChunkRef),
    /// To note what a source has decided.
    Note {
        /// The job.
        id: u64,
        /// The source.
        source: usize,
        /// Its partition.
        partition: String,
        /// What.
        decision: Decision,
    },
    /// To take what an operator hands to a snapshot: the bytes behind the request.
    Hand {
        /// The job.
        id: u64,
    },
}

/// `message` as bytes.
pub fn to_bytes(message: &impl Serialize) -> Vec<u8> {
    // Maps with keys that are no text, which there are none of, would be no JSON.
    serde_json::to_vec(message).unwrap_or_default()
}

/// The message in `bytes`.
pub fn of_bytes<M: DeserializeOwned>(bytes: &[u8]) -> Result<M> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::new(ErrorKind::Io, format!("a message of another process: {e}")))
}

/// `head`, its length before it, and `tail`.
pub fn with_tail(head: &impl Serialize, tail: &[u8]) -> Vec<u8> {
    let head = to_bytes(head);
    let mut bytes = Vec::with_capacity(4 + head.len() + tail.len());
    bytes.extend((head.len() as u32).to_be_bytes());
    bytes.extend(head);
    bytes.extend(tail);
    bytes
}

/// The head and the tail of [`with_tail`].
pub fn split_tail<M: DeserializeOwned>(bytes: &[u8]) -> Result<(M, &[u8])> {
    let cut = || Error::new(ErrorKind::Io, "a message of another process is cut short");
    let (length, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
    let length = u32::from_be_bytes(*length) as usize;
    let (head, tail) = rest.split_at_checked(length).ok_or_else(cut)?;
    Ok((of_bytes(head)?, tail))
}

/// The answer to a request: what is behind it, or why there is nothing.
pub fn answer(answer: Result<Vec<u8>>) -> Vec<u8> {
    match answer {
        Ok(tail) => with_tail(&None::<Error>, &tail),
        Err(error) => with_tail(&Some(error), &[]),
    }
}

/// What is in an [`answer`].
pub fn answered(bytes: &[u8]) -> Result<&[u8]> {
    match split_tail::<Option<Error>>(bytes)? {
        (None, tail) => Ok(tail),
        (Some(error), _) => Err(error),
    }
}
