//! The running service, as the HTTP edge sees it.

use std::sync::Arc;
use std::time::Duration;

use super::JobManager;
use crate::error::{Error, ErrorKind, Result};
use crate::job::found_views;
use crate::job::inlets::{RowsIn, RowsRefused, RowsTaken};
use crate::job::metrics;
use crate::job::service::{JobFrontier, JobInfo, JobService};
use crate::job::upgrade::Report;
use crate::plan::explain::explain;
use crate::serve::ServedView;
use crate::snapshot::{CopyPlace, Store};

/// How long a snapshot that was asked for is waited for.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(60);

/// A [`JobManager`] as the HTTP edge sees it.
pub struct Service(pub Arc<JobManager>);

impl JobService for Service {
    fn create(&self, name: &str, sql: &str) -> Result<JobInfo> {
        self.0.create(name, sql)
    }

    fn list(&self) -> Vec<JobInfo> {
        self.0.jobs().values().map(|j| j.info()).collect()
    }

    fn get(&self, name: &str) -> Result<JobInfo> {
        Ok(self.0.find(name)?.info())
    }

    fn delete(&self, name: &str, keep_snapshots: bool) -> Result<()> {
        self.0.delete(name, keep_snapshots)
    }

    fn metrics(&self) -> String {
        let jobs: Vec<_> = self.0.jobs().values().cloned().collect();
        let parts: Vec<_> = jobs.iter().map(|job| job.metrics()).collect();
        metrics::page(&self.0.cluster, &parts)
    }

    fn plan(&self, name: &str) -> Result<String> {
        Ok(explain(&self.0.find(name)?.running()?.plan))
    }

    fn frontier(&self, name: &str) -> Result<JobFrontier> {
        Ok(self.0.find(name)?.frontier())
    }

    fn view(&self, name: &str) -> Result<ServedView> {
        found_views::find(&self.0.all_views(), name)
    }

    fn views(&self) -> Vec<ServedView> {
        self.0.all_views().into_iter().map(|(_, v)| v).collect()
    }

    fn store(&self) -> Result<Arc<Store>> {
        self.0.with.store.clone().ok_or_else(|| {
            Error::new(ErrorKind::Conflict, "the service keeps no snapshots")
                .with_hint("start it with --data-dir")
        })
    }

    fn copy_place(&self, text: &str) -> Result<CopyPlace> {
        CopyPlace::parse(text, &self.0.with.objects)
    }

    fn take_rows(&self, table: &str, rows: RowsIn) -> Result<RowsTaken, RowsRefused> {
        self.0.take_rows(table, rows)
    }

    fn upgrade(&self, name: &str, sql: &str, from_now: bool, apply: bool) -> Result<Report> {
        self.0.upgrade(name, sql, from_now, apply)
    }

    fn create_snapshot(&self, name: &str) -> Result<u64> {
        self.store()?;
        let job = self.0.find(name)?;
        match &job.running()?.kept {
            Some(kept) => kept.snapshots.create(SNAPSHOT_PATIENCE),
            None => Err(Error::internal("a job of a store without snapshots")),
        }
    }

    fn delete_snapshot(&self, name: &str, id: u64) -> Result<()> {
        let store = self.store()?;
        let job = self.0.find(name).ok();
        let progress = job
            .as_ref()
            .and_then(|job| Some(job.running().ok()?.kept.as_ref()?.snapshots.progress()));
        if progress.and_then(|progress| progress.last).is_some_and(|last| last.id == id) {
            let message = format!("snapshot {id} of job {name} is its last one");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("take another one first, or delete the job"));
        }
        store.delete(name, id)
    }
}
