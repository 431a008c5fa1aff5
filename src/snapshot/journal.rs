//! [`Journal`]: what one run decided that is not a function of its inputs, entry by entry.
//!
//! An entry is numbered and carries its checksum; a missing one leaves a gap. Entries survive the
//! end of the process when appended, and a loss of power when synced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rocksdb::WriteBatch;
use serde::{Deserialize, Serialize};

use super::failpoint;
use super::keys::{self, JOURNAL};
use super::store::{Store, locked};
use crate::error::{Error, ErrorKind, Result};

/// One decision of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JournalEntry {
    /// The run began.
    Started {
        /// The run.
        run: u64,
        /// Wall time.
        at_ms: i64,
        /// The script.
        sql: String,
        /// Settings.
        settings: BTreeMap<String, String>,
        /// Number of workers.
        workers: u32,
        /// The snapshot it went on from.
        from: Option<u64>,
        /// The frontier of that.
        #[serde(default)]
        frontier: Option<i64>,
        /// The fingerprint of the plan.
        #[serde(default)]
        plan: String,
    },
    /// The run goes on with another script, from a snapshot that was made for it.
    Upgraded {
        /// Wall time.
        at_ms: i64,
        /// The snapshot.
        snapshot: u64,
        /// Its frontier.
        frontier: i64,
        /// The plan before, by its fingerprint.
        before: String,
        /// The plan from here on.
        plan: String,
        /// The script from here on.
        sql: String,
        /// Settings from here on.
        settings: BTreeMap<String, String>,
    },
    /// Records of a partition without event time got `time`.
    Ingested {
        /// The table.
        table: String,
        /// The partition.
        partition: String,
        /// The first record.
        offset: i64,
        /// After the last record.
        end: i64,
        /// Their time.
        time: i64,
    },
    /// A partition stopped holding back the frontier.
    Idle {
        /// The table.
        table: String,
        /// The partition.
        partition: String,
        /// It had been read up to here.
        offset: i64,
        /// Its records from there on get no earlier time.
        floor: i64,
    },
    /// Rows that came from outside of any source.
    Rows {
        /// The table.
        table: String,
        /// Number of the first row.
        offset: i64,
        /// Wall time at which they came.
        time: i64,
        /// How many they are.
        #[serde(default)]
        rows: u64,
        /// By which a request that is repeated is known.
        #[serde(default)]
        key: Option<String>,
        /// A hash of the body of the request.
        #[serde(default)]
        body: u64,
        /// The rows: an Arrow IPC stream. Stored as it is, behind the other fields.
        #[serde(skip)]
        ipc: Vec<u8>,
    },
    /// What an output said in an interval.
    Digest {
        /// The sink or view.
        output: String,
        /// The interval's begin.
        from: i64,
        /// The piece of it that is told of ends before this frontier,
        to: i64,
        /// and begins at this one.
        #[serde(default = "beginning")]
        since: i64,
        /// Updates with times in it.
        updates: u64,
        /// Their digest.
        #[serde(with = "hexadecimal")]
        digest: u128,
    },
    /// The run ended.
    Ended {
        /// Wall time.
        at_ms: i64,
        /// How.
        outcome: String,
    },
}

fn beginning() -> i64 {
    i64::MIN
}

/// JSON numbers end at 64 bits.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{value:032x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

/// The journal of one run.
pub struct Journal {
    store: Store,
    job: String,
    run: u64,
    next: Arc<Mutex<u64>>,
}

/// What all entries of a run begin with.
fn prefix(job: &str, run: u64) -> Vec<u8> {
    keys::numbered(JOURNAL, job, run)
}

fn entry_key(job: &str, run: u64, number: u64) -> Vec<u8> {
    let mut key = prefix(job, run);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The first key of the run after `run`.
fn end(job: &str, run: u64) -> Vec<u8> {
    match run.checked_add(1) {
        Some(next) => prefix(job, next),
        None => keys::after(keys::prefix(JOURNAL, job)),
    }
}

impl Store {
    /// The journal of a run; empty if there is none yet, continued if there is.
    pub fn journal(&self, job: &str, run: u64) -> Result<Journal> {
        keys::check_job(job)?;
        let mut open = locked(&self.shared.journals);
        let next = match open.get(&(job.to_owned(), run)) {
            Some(next) => Arc::clone(next),
            None => {
                let mut count = 0;
                let read = self.shared.rocks.scan(&prefix(job, run), &end(job, run), |key, _| {
                    count = keys::number_of(key).map_or(count, |last| last + 1);
                    true
                });
                read.map_err(|what| self.unreadable(&format!("journal {run} of '{job}'"), &what))?;
                let next = Arc::new(Mutex::new(count));
                open.insert((job.to_owned(), run), Arc::clone(&next));
                next
            }
        };
        Ok(Journal { store: self.clone(), job: job.to_owned(), run, next })
    }

    /// The runs of `job` that have a journal, ascending.
    pub fn runs(&self, job: &str) -> Result<Vec<u64>> {
        keys::check_job(job)?;
        let (mut from, to) = (keys::prefix(JOURNAL, job), keys::after(keys::prefix(JOURNAL, job)));
        let at = from.len();
        let mut runs = Vec::new();
        loop {
            let key = self.shared.rocks.first_key(&from, &to);
            let key =
                key.map_err(|what| self.unreadable(&format!("the runs of '{job}'"), &what))?;
            let Some(run) = key.as_deref().and_then(|key| key.get(at..)?.first_chunk::<8>()) else {
                return Ok(runs);
            };
            let run = u64::from_be_bytes(*run);
            runs.push(run);
            from = end(job, run);
        }
    }

    /// Entries of each open journal of `job`: durable with the next sync of the log.
    pub(super) fn journal_lengths(&self, job: &str) -> BTreeMap<u64, u64> {
        let open = locked(&self.shared.journals);
        let of_job = open.iter().filter(|((of, _), _)| of == job);
        of_job.map(|((_, run), next)| (*run, *locked(next))).filter(|(_, n)| *n > 0).collect()
    }
}

impl Journal {
    /// The run.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Adds `entries`, all or none. They survive the end of the process at once, a loss of power
    /// after [`Journal::sync`].
    pub fn append(&self, entries: &[JournalEntry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        failpoint::reach("journal.before_append")?;
        // Held over the write: numbers are given without gaps, in the order of the log.
        let mut next = locked(&self.next);
        let mut batch = WriteBatch::default();
        let mut number = *next;
        for entry in entries {
            let key = entry_key(&self.job, self.run, number);
            let body = encode(entry)?;
            batch.put(&key, keys::seal(&key, &body));
            number += 1;
        }
        let doing = format!("journal {} of job '{}'", self.run, self.job);
        self.store.shared.rocks.write(batch, &doing)?;
        *next = number;
        Ok(())
    }

    /// Puts `entry` into `batch`; the number of the entry behind it, to be told to
    /// [`Journal::put_was_written`]. Nobody else may append meanwhile.
    pub(super) fn put(&self, batch: &mut WriteBatch, entry: &JournalEntry) -> Result<u64> {
        let number = *locked(&self.next);
        let key = entry_key(&self.job, self.run, number);
        batch.put(&key, keys::seal(&key, &encode(entry)?));
        Ok(number + 1)
    }

    /// The batch of [`Journal::put`] is in the store.
    pub(super) fn put_was_written(&self, next: u64) {
        *locked(&self.next) = next;
    }

    /// Makes everything appended durable.
    pub fn sync(&self) -> Result<()> {
        failpoint::reach("journal.before_sync")?;
        let doing = format!("syncing journal {} of job '{}'", self.run, self.job);
        self.store.shared.rocks.sync_log(&doing)
    }

    /// Every entry, in order; an error if one is damaged or missing.
    pub fn read(&self) -> Result<Vec<JournalEntry>> {
        let mut entries = Vec::new();
        self.each_from(0, |_, entry| {
            entries.push(entry);
            Ok(true)
        })?;
        Ok(entries)
    }

    /// The same without the rows that were sent to tables, which may be very many.
    pub fn read_decisions(&self) -> Result<Vec<JournalEntry>> {
        let mut entries = Vec::new();
        self.each_from(0, |_, entry| {
            if !matches!(entry, JournalEntry::Rows { .. }) {
                entries.push(entry);
            }
            Ok(true)
        })?;
        Ok(entries)
    }

    /// Gives `take` the entries from number `from` on, each with its number, in order, until it
    /// says that this was enough; an error if one is damaged or missing.
    pub fn each_from(
        &self,
        from: u64,
        mut take: impl FnMut(u64, JournalEntry) -> Result<bool>,
    ) -> Result<()> {
        let (job, run) = (&self.job, self.run);
        let damaged = |number: u64, what: String| {
            let message = format!("entry {number} of journal {run} of job '{job}': {what}");
            Error::new(ErrorKind::Io, message)
        };
        // What comes in while it is read is not asked for.
        let committed = {
            let commits = locked(&self.store.shared.commits);
            commits.jobs.get(job).and_then(|job| job.journals.get(&run)).copied()
        };
        let mut count = from;
        let mut fault = None;
        let mut is_enough = false;
        let (first, end) = (entry_key(job, run, from), end(job, run));
        let read = self.store.shared.rocks.scan(&first, &end, |key, value| {
            let number = count;
            let entry = match keys::number_of(key) {
                Some(found) if found == number => keys::unseal(key, value).and_then(decode),
                _ => Err("it is missing".to_owned()),
            };
            count += 1;
            match entry.map_err(|what| damaged(number, what)).and_then(|e| take(number, e)) {
                Ok(goes_on) => is_enough = !goes_on,
                Err(error) => fault = Some(error),
            }
            fault.is_none() && !is_enough
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        read.map_err(|what| damaged(count, what))?;
        if !is_enough && committed.is_some_and(|committed| committed > count) {
            return Err(damaged(count, "it was committed and is missing".to_owned()));
        }
        Ok(())
    }
}

/// Length of the JSON, JSON, rows.
fn encode(entry: &JournalEntry) -> Result<Vec<u8>> {
    let failed = |error| Error::internal(format!("an entry of a journal: {error}"));
    let json = serde_json::to_vec(entry).map_err(failed)?;
    let ipc: &[u8] = match entry {
        JournalEntry::Rows { ipc, .. } => ipc,
        _ => &[],
    };
    let length = u32::try_from(json.len())
        .map_err(|_| Error::new(ErrorKind::Limit, "an entry of a journal is beyond 4 GB"))?;
    let mut body = Vec::with_capacity(4 + json.len() + ipc.len());
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(&json);
    body.extend_from_slice(ipc);
    Ok(body)
}

fn decode(body: &[u8]) -> Result<JournalEntry, String> {
    let parts = body
        .split_first_chunk::<4>()
        .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
    let (json, rest) = parts.ok_or_else(|| "too short".to_owned())?;
    let mut entry = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    if let JournalEntry::Rows { ipc, .. } = &mut entry {
        *ipc = rest.to_vec();
    }
    Ok(entry)
}
