//! The tables of a job whose rows are sent to it, and what sending some brings.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use crate::connectors::http::RowsFormat;

use super::snapshots::rows::TableRows;
use crate::connectors::http::inlet::{Inlet, Refusal, RowLog, Taken, Unlogged};
use crate::connectors::http::{default_format, is_http};
use crate::connectors::{Source, SourceSpec, registry};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::HTTP_ROW_FAULTS_MAX;
use crate::snapshot::Store;
use crate::time::EventTime;

/// The inlets of one job.
pub struct Inlets {
    /// Where what comes in is noted: store, job and run.
    log: Option<(Arc<Store>, String, u64)>,
    tables: Mutex<BTreeMap<String, Arc<Inlet>>>,
}

impl Inlets {
    /// Of a job that keeps nothing.
    pub fn unlogged() -> Self {
        Inlets { log: None, tables: Mutex::default() }
    }

    /// Of run `run` of `job`, with what was sent to it before.
    pub fn of_run(store: &Arc<Store>, job: &str, run: u64) -> Self {
        let log = Some((Arc::clone(store), job.to_owned(), run));
        Inlets { log, tables: Mutex::default() }
    }

    /// The source of `spec`, of whatever connector.
    pub fn create_source(&self, spec: &SourceSpec) -> Result<Arc<dyn Source>> {
        if !is_http(&spec.table) {
            return registry::create_source(spec);
        }
        let name = &spec.table.name;
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inlet) = tables.get(name) {
            return inlet.source(spec);
        }
        let log: Box<dyn RowLog> = match &self.log {
            Some((store, job, run)) => Box::new(TableRows::open(store, job, *run, name)?),
            None => Box::new(Unlogged),
        };
        let inlet = Inlet::new(Arc::clone(&spec.table), log)?;
        tables.insert(name.clone(), Arc::clone(&inlet));
        inlet.source(spec)
    }

    /// The inlet of the table `name`.
    pub fn get(&self, name: &str) -> Option<Arc<Inlet>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// The inlet that users name `table` or `job.table`, among those of the jobs by name.
pub fn find<'a>(
    jobs: impl Iterator<Item = (&'a str, &'a Inlets)>,
    name: &str,
) -> Result<(String, Arc<Inlet>)> {
    let mut found: Vec<(String, Arc<Inlet>)> = Vec::new();
    for (job, inlets) in jobs {
        let own = name.strip_prefix(job).and_then(|rest| rest.strip_prefix('.'));
        let named = [Some(name), own].into_iter().flatten().find_map(|table| inlets.get(table));
        found.extend(named.map(|inlet| (job.to_owned(), inlet)));
    }
    match found.len() {
        0 => {
            Err(Error::new(ErrorKind::NotFound, format!("no job reads a table '{name}' over HTTP"))
                .with_hint("a job must read it: CREATE TABLE .. WITH ('connector' = 'http')"))
        }
        1 => found.pop().ok_or_else(|| Error::internal("one that is none")),
        _ => {
            let names: Vec<String> =
                found.iter().map(|(job, inlet)| format!("{job}.{}", inlet.table().name)).collect();
            let message = format!("several jobs read a table '{name}' over HTTP");
            let hint = format!("name one of {}", names.join(", "));
            Err(Error::new(ErrorKind::Conflict, message).with_hint(hint))
        }
    }
}

/// Rows that are sent to a table.
#[derive(Debug)]
pub struct RowsIn {
    /// How they are written; by default as the table says.
    pub format: Option<RowsFormat>,
    /// The rows.
    pub body: Vec<u8>,
    /// By which a repetition is known.
    pub key: Option<String>,
}

/// Why no row was taken.
#[derive(Debug)]
pub struct RowsRefused {
    /// In all.
    pub error: Error,
    /// By row, if it is about rows; not all of them if there are very many.
    pub rows: Vec<(usize, String)>,
}

impl From<Error> for RowsRefused {
    fn from(error: Error) -> Self {
        RowsRefused { error, rows: Vec::new() }
    }
}

/// Rows that a job has taken, and must not be told of before they are durable.
pub struct RowsTaken {
    inlet: Arc<Inlet>,
    taken: Taken,
    /// The job.
    pub job: String,
}

impl fmt::Debug for RowsTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowsTaken").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl RowsTaken {
    /// Gives `rows` to `inlet` of `job`, all or none.
    pub fn take(job: String, inlet: Arc<Inlet>, rows: RowsIn) -> Result<Self, RowsRefused> {
        let format = rows.format.map_or_else(|| default_format(inlet.table()), Ok)?;
        match inlet.take(format, rows.body, rows.key) {
            Ok(taken) => Ok(RowsTaken { inlet, taken, job }),
            Err(Refusal::Error(error)) => Err(error.into()),
            Err(Refusal::Rows(faults)) => {
                let table = &inlet.table().name;
                let message = match faults.as_slice() {
                    [one] => {
                        format!("row {} is no row of table '{table}': {}", one.row, one.reason)
                    }
                    all => format!("{} rows are no rows of table '{table}'", all.len()),
                };
                let error = Error::config(message).with_hint("none of the rows was taken");
                let shown = faults.into_iter().take(HTTP_ROW_FAULTS_MAX);
                Err(RowsRefused { error, rows: shown.map(|f| (f.row, f.reason)).collect() })
            }
        }
    }

    /// The table.
    pub fn table(&self) -> &str {
        &self.inlet.table().name
    }

    /// Number of the first row.
    pub fn first(&self) -> i64 {
        self.taken.first
    }

    /// Number of rows.
    pub fn rows(&self) -> i64 {
        self.taken.end - self.taken.first
    }

    /// Whether an earlier request with the same key had brought them.
    pub fn is_repeated(&self) -> bool {
        self.taken.is_repeated
    }

    /// Whether they survive the process.
    pub fn is_durable(&self) -> bool {
        self.inlet.is_durable()
    }

    /// The latest event time among them, once it is known.
    pub fn time(&self) -> Option<EventTime> {
        self.inlet.time_of(&self.taken)
    }

    /// Whether their event times may yet become known.
    pub fn is_timed(&self) -> bool {
        !self.taken.is_repeated && self.rows() > 0
    }

    /// Makes them survive a loss of power.
    pub fn sync(&self) -> Result<()> {
        self.inlet.sync()
    }
}

impl Drop for RowsTaken {
    fn drop(&mut self) {
        if !self.taken.is_repeated {
            self.inlet.forget(&self.taken);
        }
    }
}
