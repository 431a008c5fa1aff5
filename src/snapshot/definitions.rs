//! The jobs of a service, as they must come back when it starts again.
//!
//! One entry a job, beside its snapshots and journals. It outlives the job: what is left of a job
//! that was forgotten says which run numbers have been given, because a sink tells the runs of a
//! job apart by them.

use std::collections::BTreeMap;

use rocksdb::WriteBatch;
use serde::{Deserialize, Serialize};

use super::keys::{self, DEFINITION};
use super::model::Damage;
use super::store::{Store, locked};
use crate::error::{Error, ErrorKind, Result};

/// A job of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDefinition {
    /// Its name.
    pub name: String,
    /// Its script.
    pub sql: String,
    /// Its settings from outside of the script.
    pub settings: BTreeMap<String, String>,
    /// Wall time of its creation, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// What is stored of a name.
#[derive(Default, Serialize, Deserialize)]
struct Entry {
    /// The job; `None`: there is none of this name any more.
    definition: Option<JobDefinition>,
    /// Earlier runs belonged to a job of this name that is gone.
    first_run: u64,
}

impl Store {
    /// Makes a job durable: it is among [`Store::definitions`] from here on.
    pub fn define(&self, definition: &JobDefinition) -> Result<()> {
        let name = &definition.name;
        let _changing = locked(&self.shared.changing);
        let entry = self.entry(name).map_err(|damage| self.unreadable_entry(&damage))?;
        if entry.definition.is_some() {
            let message = format!("there is a job {name} already");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("delete it first, or take another name"));
        }
        let entry = Entry { definition: Some(definition.clone()), ..entry };
        let mut batch = WriteBatch::default();
        put(&mut batch, name, &entry)?;
        self.shared.rocks.write_synced(batch, &format!("keeping job '{name}'"))
    }

    /// Puts the definition that takes the place of that of its name into `batch`.
    pub(super) fn put_definition(
        &self,
        batch: &mut WriteBatch,
        definition: &JobDefinition,
    ) -> Result<()> {
        let name = &definition.name;
        let entry = self.entry(name).map_err(|damage| self.unreadable_entry(&damage))?;
        put(batch, name, &Entry { definition: Some(definition.clone()), ..entry })
    }

    /// The definition of a job, if there is one of this name.
    pub fn definition(&self, name: &str) -> Result<Option<JobDefinition>> {
        keys::check_job(name)?;
        let entry = self.entry(name).map_err(|damage| self.unreadable_entry(&damage))?;
        Ok(entry.definition)
    }

    /// Every job that was defined and not forgotten, by name; or what is wrong with its entry.
    pub fn definitions(&self) -> Result<Vec<Result<JobDefinition, Damage>>> {
        let mut names = Vec::new();
        let read = self.shared.rocks.scan(&[DEFINITION], &[DEFINITION + 1], |key, _| {
            names.extend(keys::job_of(key).map(str::to_owned));
            true
        });
        read.map_err(|what| self.unreadable("the list of jobs", &what))?;
        let of = |name: String| match self.entry(&name) {
            Ok(entry) => entry.definition.map(Ok),
            Err(damage) => Some(Err(damage)),
        };
        Ok(names.into_iter().filter_map(of).collect())
    }

    /// The number of the first run of the job that has this name now.
    pub fn first_run(&self, job: &str) -> Result<u64> {
        keys::check_job(job)?;
        let entry = self.entry(job).map_err(|damage| self.unreadable_entry(&damage))?;
        Ok(entry.first_run)
    }

    /// Forgets a job, durably, with all that is stored of it unless `keep_snapshots`.
    pub fn forget_job(&self, job: &str, keep_snapshots: bool) -> Result<()> {
        keys::check_job(job)?;
        if !keep_snapshots {
            return self.clear(job, true);
        }
        let _changing = locked(&self.shared.changing);
        // A damaged entry is replaced: the runs that there are follow from the journals.
        let first_run = self.entry(job).map_or(0, |entry| entry.first_run);
        let mut batch = WriteBatch::default();
        put(&mut batch, job, &Entry { definition: None, first_run })?;
        self.shared.rocks.write_synced(batch, &format!("forgetting job '{job}'"))
    }

    /// Adds to `batch` what is left of `job` when its journals go.
    pub(super) fn put_cleared(
        &self,
        batch: &mut WriteBatch,
        job: &str,
        forget: bool,
    ) -> Result<()> {
        let entry = self.entry(job).unwrap_or_default();
        let next = self.runs(job)?.last().map_or(0, |last| last.saturating_add(1));
        let definition = entry.definition.filter(|_| !forget);
        put(batch, job, &Entry { definition, first_run: entry.first_run.max(next) })
    }

    fn entry(&self, job: &str) -> Result<Entry, Damage> {
        let damage = |what: String| Damage {
            job: job.to_owned(),
            snapshot: None,
            chunk: None,
            what: format!("its definition: {what}"),
        };
        let key = keys::numbered(DEFINITION, job, 0);
        let Some(value) = self.shared.rocks.get(&key).map_err(damage)? else {
            return Ok(Entry::default());
        };
        let body = keys::unseal(&key, &value).map_err(damage)?;
        serde_json::from_slice(body).map_err(|error| damage(error.to_string()))
    }

    fn unreadable_entry(&self, damage: &Damage) -> Error {
        Error::new(ErrorKind::Io, format!("the snapshot store: {damage}"))
            .with_hint("delete the job to take its name again")
    }
}

fn put(batch: &mut WriteBatch, job: &str, entry: &Entry) -> Result<()> {
    keys::check_job(job)?;
    let key = keys::numbered(DEFINITION, job, 0);
    let json = serde_json::to_vec(entry)
        .map_err(|error| Error::internal(format!("the definition of job '{job}': {error}")))?;
    let value = keys::seal(&key, &json);
    batch.put(key, value);
    Ok(())
}
