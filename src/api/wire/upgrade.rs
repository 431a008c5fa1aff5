//! The JSON of an upgrade. The command line prints the same form, and reads it from a service.

use serde::{Deserialize, Serialize};

use super::AsOf;
use crate::error::Error;
use crate::job::upgrade::{self as job, Fate, Reading, Report, SinkFate};

/// `POST /v1/jobs/{name}/upgrade`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeJob {
    /// The new script.
    pub sql: String,
    /// Whether it is done; otherwise the answer says what would be.
    #[serde(default)]
    pub apply: bool,
    /// Whether sinks go on whose contents would follow from neither script.
    #[serde(default)]
    pub from_now: bool,
}

/// What an upgrade does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Upgrade {
    /// The job.
    pub job: String,
    /// The snapshot that it starts from.
    pub snapshot: u64,
    /// The event time of that: where the new script takes over.
    pub frontier: Option<String>,
    /// The same in milliseconds since the epoch.
    pub frontier_ms: Option<i64>,
    /// Whether the new script computes what the old one does.
    pub same: bool,
    /// Why it cannot be applied; null if it can.
    pub refused: Option<Refused>,
    /// The snapshot that was made of it; null if it was not applied.
    pub applied: Option<u64>,
    /// Parts with state.
    pub states: Vec<State>,
    /// Tables that are read.
    pub tables: Vec<Table>,
    /// Sinks.
    pub sinks: Vec<Sink>,
}

/// Why an upgrade cannot be applied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What becomes of the state of an operator or view.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// As `EXPLAIN` names it; of what is dropped, in the old plan.
    pub operator: String,
    /// Line of the first statement of the new script that it is part of.
    pub line: Option<usize>,
    /// Its column.
    pub column: Option<usize>,
    /// `kept`, `rebuilt` or `dropped`.
    pub state: String,
    /// Why, where that is not plain.
    pub why: String,
    /// Rows that are kept or dropped.
    pub rows: u64,
    /// Their bytes as stored.
    pub bytes: u64,
}

/// How a table is read from here on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// The table.
    pub table: String,
    /// `goes on`, `read again`, `begins` or `ends`.
    pub reading: String,
    /// Why, where that is not plain.
    pub why: String,
    /// Partitions that are read from their start.
    pub partitions: usize,
    /// Their bytes, where these are known.
    pub bytes: Option<u64>,
}

/// What becomes of a sink.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sink {
    /// The table.
    pub name: String,
    /// `continues`, `changes`, `begins` or `ends`.
    pub state: String,
    /// Why, where that is not plain.
    pub why: String,
}

impl From<Report> for Upgrade {
    fn from(report: Report) -> Self {
        let frontier = AsOf::from(report.frontier);
        Upgrade {
            job: report.job,
            snapshot: report.snapshot,
            frontier: frontier.as_of,
            frontier_ms: frontier.as_of_ms,
            same: report.is_same,
            refused: report.refusal.as_ref().map(Refused::from),
            applied: report.applied,
            states: report.parts.into_iter().map(State::from).collect(),
            tables: report.tables.into_iter().map(Table::from).collect(),
            sinks: report.sinks.into_iter().map(Sink::from).collect(),
        }
    }
}

impl From<&Error> for Refused {
    fn from(error: &Error) -> Self {
        Refused { message: error.message.clone(), hint: error.hint.clone() }
    }
}

impl From<job::Part> for State {
    fn from(part: job::Part) -> Self {
        let state = match part.fate {
            Fate::Kept => "kept",
            Fate::Rebuilt => "rebuilt",
            Fate::Dropped => "dropped",
        };
        State {
            operator: part.operator,
            line: part.place.map(|(line, _)| line),
            column: part.place.map(|(_, column)| column),
            state: state.to_owned(),
            why: part.why,
            rows: part.rows,
            bytes: part.bytes,
        }
    }
}

impl From<job::TableReading> for Table {
    fn from(table: job::TableReading) -> Self {
        let reading = match table.reading {
            Reading::GoesOn => "goes on",
            Reading::Again => "read again",
            Reading::New => "begins",
            Reading::Dropped => "ends",
        };
        Table {
            table: table.table,
            reading: reading.to_owned(),
            why: table.why,
            partitions: table.partitions,
            bytes: table.bytes,
        }
    }
}

impl From<job::SinkChange> for Sink {
    fn from(sink: job::SinkChange) -> Self {
        let state = match sink.fate {
            SinkFate::Continues => "continues",
            SinkFate::Changes => "changes",
            SinkFate::Begins => "begins",
            SinkFate::Ends => "ends",
        };
        Sink { name: sink.name, state: state.to_owned(), why: sink.why }
    }
}
