//! Jobs that come and go at run time on the workers of one process: the running [`JobService`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::definition::{Definition, PlanFor};
use super::service::{JobInfo, JobService, JobState, SourceInfo, validate_job_name};
use crate::cluster::{Cluster, Topology};
use crate::dataflow::runtime::JobRuntime;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::JOBS_MAX;
use crate::plan::explain::explain;
use crate::plan::node::{OutputTarget, StreamPlan};
use crate::serve::view::ViewContents;
use crate::serve::{ServedView, ViewCatalog};
use crate::sql::context::DEAD_LETTERS;
use crate::telemetry::clock::wall_ms;
use crate::time::{BEGINNING, CLOSED, EventTime};

/// How often the time that all views can still be read at is moved on.
const HOLD_EVERY: Duration = Duration::from_millis(250);
/// How often the end of a job is looked for; it is also signalled.
const WATCH: Duration = Duration::from_secs(5);

/// The jobs of this process.
pub struct JobManager {
    cluster: Cluster,
    jobs: Mutex<BTreeMap<String, Arc<Job>>>,
    next_id: AtomicU64,
}

struct Job {
    id: u64,
    name: String,
    sql: String,
    created_ms: i64,
    plan: Arc<StreamPlan>,
    runtime: Arc<JobRuntime>,
    is_stopping: AtomicBool,
}

impl JobManager {
    /// Starts the workers; no job yet.
    pub fn start(workers: usize) -> Result<Arc<Self>> {
        let manager = Arc::new(JobManager {
            cluster: Cluster::start(&Topology::alone(workers))?,
            jobs: Mutex::default(),
            next_id: AtomicU64::new(0),
        });
        let weak = Arc::downgrade(&manager);
        spawn("views", move || hold_views(&weak))?;
        Ok(manager)
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Result<Arc<Job>> {
        self.jobs().get(name).cloned().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no job {name}"))
                .with_hint("GET /v1/jobs lists the jobs")
        })
    }

    /// Every view with the job it belongs to.
    fn all_views(&self) -> Vec<(String, ServedView)> {
        let jobs: Vec<_> = self.jobs().values().cloned().collect();
        let of = |job: &Arc<Job>| {
            let name = job.name.clone();
            job.runtime.views().into_iter().map(move |v| (name.clone(), v)).collect::<Vec<_>>()
        };
        jobs.iter().flat_map(of).collect()
    }

    /// Ends all jobs; what their sinks have closed is written.
    pub fn stop(&self) {
        let names: Vec<_> = self.jobs().keys().cloned().collect();
        for name in names {
            if let Err(error) = self.delete(&name) {
                tracing::error!("job {name} did not stop cleanly: {error}");
            }
        }
    }

    /// Waits for the end of `job`, then ends its sinks and, if it failed, its dataflow.
    fn watch(self: &Arc<Self>, job: Arc<Job>) -> Result<()> {
        let weak: Weak<JobManager> = Arc::downgrade(self);
        spawn("job", move || {
            while !job.runtime.metrics.wait(WATCH) {}
            let failed = job.runtime.metrics.is_failed();
            if let (true, Some(manager)) = (failed, weak.upgrade()) {
                job.runtime.stop();
                // A worker that is gone has dropped the dataflow with it.
                let _ = manager.cluster.remove(job.id);
            }
            let complete = !failed && !job.is_stopping.load(Ordering::Acquire);
            if let Err(error) = job.runtime.finish_sinks(complete) {
                job.runtime.metrics.fail(error);
            }
        })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = std::thread::Builder::new().name(name.to_string()).spawn(run);
    spawned.map(drop).map_err(|e| Error::io("a thread", &e))
}

/// Keeps every view readable at the least time that all unfinished views have reached, so that a
/// query over several always finds a common one.
fn hold_views(manager: &Weak<JobManager>) {
    while let Some(manager) = manager.upgrade() {
        let views = manager.all_views();
        let uppers = views.iter().map(|(_, v)| v.contents.upper()).filter(|u| *u != CLOSED);
        let least = uppers.min().unwrap_or(CLOSED);
        views.iter().for_each(|(_, v)| v.contents.allow_compaction(least));
        drop(views);
        drop(manager);
        std::thread::sleep(HOLD_EVERY);
    }
}

impl Job {
    fn info(&self) -> JobInfo {
        let metrics = &self.runtime.metrics;
        let state = match metrics.failure() {
            Some(error) => JobState::Failed { error },
            None if self.is_stopping.load(Ordering::Acquire) => JobState::Stopping,
            None if metrics.is_done() => JobState::Finished,
            None => JobState::Running,
        };
        let time = |t: EventTime| (t != BEGINNING).then_some(t);
        let source = |(metrics, shared): (
            &crate::dataflow::metrics::SourceMetrics,
            &Arc<crate::dataflow::source::SharedSource>,
        )| SourceInfo {
            table: metrics.table.clone(),
            partitions: shared.partitions().len(),
            rows: metrics.rows.load(Ordering::Relaxed),
            bytes: metrics.bytes.load(Ordering::Relaxed),
            watermark: time(metrics.frontier.load(Ordering::Relaxed)),
        };
        let sources: Vec<SourceInfo> =
            metrics.sources.iter().zip(self.runtime.sources()).map(source).collect();
        let names = |wanted: fn(&OutputTarget) -> Option<String>| {
            self.plan.outputs.iter().filter_map(|o| wanted(&o.target)).collect()
        };
        JobInfo {
            name: self.name.clone(),
            sql: self.sql.clone(),
            state,
            created_ms: self.created_ms,
            frontier: time(metrics.frontier()),
            views: names(|t| match t {
                OutputTarget::View { name, .. } => Some(name.clone()),
                _ => None,
            }),
            sinks: names(|t| match t {
                OutputTarget::Sink(table) => Some(table.name.clone()),
                _ => None,
            }),
            rows_in: sources.iter().map(|s| s.rows).sum(),
            rows_out: metrics.outputs.iter().map(|o| o.updates.load(Ordering::Relaxed)).sum(),
            late_rows: metrics.late_rows.load(Ordering::Relaxed),
            dead_letters: metrics.dead_letters.load(Ordering::Relaxed),
            unknown_updates: metrics.unknown_updates.load(Ordering::Relaxed),
            absent_deletes: metrics.absent_deletes.load(Ordering::Relaxed),
            duplicate_inserts: metrics.duplicate_inserts.load(Ordering::Relaxed),
            sources,
        }
    }
}

/// A [`JobManager`] as the HTTP edge sees it.
pub struct Service(pub Arc<JobManager>);

impl JobService for Service {
    fn create(&self, name: &str, sql: &str) -> Result<JobInfo> {
        let manager = &self.0;
        validate_job_name(name)?;
        let definition = Definition::new(&[(format!("{name}.sql"), sql.to_string())], &[])?;
        if definition.prints() {
            return Err(Error::sql("a bare SELECT has nowhere to go in a job of the service")
                .with_hint("write CREATE MATERIALIZED VIEW .. AS SELECT .., or POST /v1/sql"));
        }
        if !definition.has_outputs() {
            return Err(Error::sql("the job asks for nothing")
                .with_hint("add a CREATE MATERIALIZED VIEW or an INSERT INTO"));
        }
        let plan = definition.plan(PlanFor { changelog: true, side_views: true })?;
        let mut jobs = manager.jobs();
        if jobs.contains_key(name) {
            return Err(Error::new(ErrorKind::Conflict, format!("there is a job {name} already"))
                .with_hint("delete it first, or take another name"));
        }
        if jobs.len() >= JOBS_MAX {
            return Err(Error::new(ErrorKind::Limit, format!("{JOBS_MAX} jobs run already")));
        }
        let place = manager.cluster.place();
        let runtime = Arc::new(JobRuntime::new(Arc::clone(&plan), place, None)?);
        for view in runtime.views() {
            view.contents.allow_compaction(BEGINNING);
        }
        let job = Arc::new(Job {
            id: manager.next_id.fetch_add(1, Ordering::Relaxed),
            name: name.to_string(),
            sql: sql.to_string(),
            created_ms: wall_ms(),
            plan,
            runtime,
            is_stopping: AtomicBool::new(false),
        });
        let budget = job.plan.nodes.iter().map(|n| n.settings.rows_in_flight).min();
        let budget = budget.unwrap_or(crate::limits::ROWS_IN_FLIGHT_MAX);
        manager.cluster.install(job.id, &job.runtime, budget)?;
        manager.watch(Arc::clone(&job))?;
        jobs.insert(name.to_string(), Arc::clone(&job));
        Ok(job.info())
    }

    fn list(&self) -> Vec<JobInfo> {
        self.0.jobs().values().map(|j| j.info()).collect()
    }

    fn get(&self, name: &str) -> Result<JobInfo> {
        Ok(self.0.find(name)?.info())
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.0.delete(name)
    }

    fn plan(&self, name: &str) -> Result<String> {
        Ok(explain(&self.0.find(name)?.plan))
    }

    fn view(&self, name: &str) -> Result<ServedView> {
        self.0.view(name)
    }

    fn views(&self) -> Vec<ServedView> {
        self.0.all_views().into_iter().map(|(_, v)| v).collect()
    }
}

impl JobManager {
    fn delete(&self, name: &str) -> Result<()> {
        let job = self.find(name)?;
        job.is_stopping.store(true, Ordering::Release);
        job.runtime.stop();
        self.cluster.remove(job.id)?;
        const PATIENCE: Duration = Duration::from_secs(30);
        if !job.runtime.metrics.wait(PATIENCE) {
            let message = format!("job {name} is still stopping");
            return Err(Error::new(ErrorKind::Conflict, message).with_hint("ask again"));
        }
        let ended = job.runtime.finish_sinks(false);
        self.jobs().remove(name);
        // A job that had failed before is gone with its failure.
        if job.runtime.metrics.is_failed() { Ok(()) } else { ended }
    }

    fn view(&self, name: &str) -> Result<ServedView> {
        let views = self.all_views();
        let is_named = |(job, view): &&(String, ServedView)| {
            view.name == name
                || name.strip_prefix(job).is_some_and(|rest| {
                    rest.strip_prefix('.').is_some_and(|rest| rest == view.name)
                })
        };
        let found: Vec<_> = views.iter().filter(is_named).collect();
        match found.as_slice() {
            [(_, view)] => Ok(view.clone()),
            [] => Err(not_found(name, &views)),
            several if name == DEAD_LETTERS => merged(several),
            several => {
                let names: Vec<_> =
                    several.iter().map(|(j, v)| format!("{j}.{}", v.name)).collect();
                let message = format!("several jobs have a view {name}");
                Err(Error::new(ErrorKind::Conflict, message)
                    .with_hint(format!("write one of {}", names.join(", "))))
            }
        }
    }
}

fn not_found(name: &str, views: &[(String, ServedView)]) -> Error {
    let known: Vec<&str> = views.iter().map(|(_, v)| v.name.as_str()).collect();
    let error = Error::new(ErrorKind::NotFound, format!("there is no view {name}"));
    match crate::sql::diagnostics::nearest(name, &known) {
        Some(near) => error.with_hint(format!("did you mean {near}?")),
        None => error.with_hint("GET /v1/views lists the views"),
    }
}

/// The dead letters of several jobs as one view, as of now.
fn merged(views: &[&(String, ServedView)]) -> Result<ServedView> {
    let first = &views[0].1;
    let contents = ViewContents::new(Arc::clone(&first.schema), 1, i64::MAX);
    let mut updates = Vec::new();
    for (_, view) in views {
        let (since, upper) = (view.contents.since(), view.contents.upper());
        let base = view.contents.read(since.min(upper))?;
        updates.push(crate::batch::UpdateBatch::at(base, since.max(0)));
        updates.push(view.contents.changes(since, upper)?);
    }
    contents.append(0, updates, CLOSED)?;
    Ok(ServedView { contents: Arc::new(contents), ..first.clone() })
}

impl ViewCatalog for JobManager {
    fn find(&self, name: &str) -> Result<ServedView> {
        self.view(name)
    }

    fn all(&self) -> Vec<ServedView> {
        self.all_views().into_iter().map(|(_, v)| v).collect()
    }
}
