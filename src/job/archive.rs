//! What a store holds of a job, for those who look at it: its snapshots and its runs.
//!
//! Called by the service and by the command line, which opens a store that no service uses.

use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::{Damage, JournalEntry, Listed, Store};

/// A run of a job: from a beginning to an end, with all interruptions between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunInfo {
    /// Its number.
    pub run: u64,
    /// Wall time of its beginning.
    pub started_ms: i64,
    /// How often it was gone on with.
    pub resumed: u64,
    /// The snapshot that it was last gone on with from.
    pub from: Option<u64>,
    /// Wall time of its end, if it was an orderly one.
    pub ended_ms: Option<i64>,
    /// How it ended: `complete`, `stopped`; `None` if it has not, or by a crash.
    pub outcome: Option<String>,
    /// Workers when it was last started.
    pub workers: u32,
}

/// Refuses a name of which nothing is stored.
pub fn check_known(store: &Store, job: &str) -> Result<()> {
    // Where damage hides the names, what is known of this one says more.
    let Ok(known) = store.jobs() else { return Ok(()) };
    if known.iter().any(|name| name == job) {
        return Ok(());
    }
    let error = Error::new(ErrorKind::NotFound, format!("nothing is stored of a job {job}"));
    Err(match known.as_slice() {
        [] => error.with_hint("there is nothing of any job"),
        known => error.with_hint(format!("there are {}", known.join(", "))),
    })
}

/// Snapshot `id` of `job`; the newest one without a number.
pub fn snapshot(store: &Store, job: &str, id: Option<u64>) -> Result<Listed> {
    let listed = store.snapshots(job)?;
    let number = |listed: &Listed| match listed {
        Ok(manifest) => Some(manifest.id),
        Err(damage) => damage.snapshot,
    };
    let found = match id {
        Some(id) => listed.into_iter().find(|listed| number(listed) == Some(id)),
        None => listed.into_iter().next_back(),
    };
    found.ok_or_else(|| {
        let message = match id {
            Some(id) => format!("job {job} has no snapshot {id}"),
            None => format!("job {job} has no snapshot"),
        };
        Error::new(ErrorKind::NotFound, message)
    })
}

/// Snapshot `id` of `job`, once every byte of it was read, and what is wrong with them.
pub fn verify(store: &Store, job: &str, id: u64) -> Result<(Listed, Vec<Damage>)> {
    let found = snapshot(store, job, Some(id))?;
    let damages = found.as_ref().map(|manifest| store.verify(manifest)).unwrap_or_default();
    Ok((found, damages))
}

/// The runs of `job`, the oldest first.
pub fn runs(store: &Store, job: &str) -> Result<Vec<RunInfo>> {
    let of = |run| {
        let mut info = RunInfo { run, ..RunInfo::default() };
        let mut starts = 0;
        for entry in store.journal(job, run)?.read()? {
            match entry {
                JournalEntry::Started { at_ms, workers, from, .. } => {
                    if starts == 0 {
                        info.started_ms = at_ms;
                    }
                    starts += 1;
                    let (ended_ms, outcome) = (None, None);
                    info = RunInfo { workers, from, ended_ms, outcome, ..info };
                }
                JournalEntry::Ended { at_ms, outcome } => {
                    info.ended_ms = Some(at_ms);
                    info.outcome = Some(outcome);
                }
                _ => {}
            }
        }
        info.resumed = u64::saturating_sub(starts, 1);
        Ok(info)
    };
    store.runs(job)?.into_iter().map(of).collect()
}
