//! Jobs that come and go at run time on the workers of one process: the running
//! [`JobService`](super::service::JobService).
//!
//! With a store every job is durable before anyone hears that it was created, and comes back from
//! its last complete snapshot when the service starts again. Without one, jobs end with the
//! service.

mod restarts;
mod service;

pub use service::Service;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::definition::{Definition, PlanFor};
use super::found_views;
use super::inlets::{self, Inlets, RowsIn, RowsRefused, RowsTaken};
use super::processes::{Followers, Led, Prepared};
use super::running::{Failures, Job, Kept, Running};
use super::service::{JobInfo, JobState, validate_job_name};
use super::snapshots::{self, Beginning, SnapshotSpec};
use super::upgrade::{self, Report, UpgradeSpec};
use crate::cluster::{Cluster, Topology};
use crate::connectors::SourceSpec;
use crate::dataflow::metrics::lock;
use crate::dataflow::runtime::JobRuntime;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{JOBS_MAX, JOBS_SAVED_AT_ONCE_MAX};
use crate::plan::fingerprint::Fingerprints;
use crate::plan::node::StreamPlan;
use crate::serve::{ServedView, ViewCatalog};
use crate::snapshot::{Damage, JobDefinition, ObjectOptions, Store};
use crate::telemetry::clock::{monotonic, wall_ms};
use crate::telemetry::threads::{spawn, spawn_deep};
use crate::time::{BEGINNING, CLOSED};

/// How often the time that all views can still be read at is moved on.
const HOLD_EVERY: Duration = Duration::from_millis(250);
/// How often the end of a job is looked for; it is also signalled.
const WATCH: Duration = Duration::from_secs(1);
/// How long a job that is told to stop may take.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How long the threads of jobs that have been stopped may take to end.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// The jobs of this process.
pub struct JobManager {
    cluster: Cluster,
    jobs: Mutex<BTreeMap<String, Arc<Job>>>,
    next_id: AtomicU64,
    /// Held while a job is created: a name is given once.
    creating: Mutex<()>,
    /// Held while a dataflow is built: in all processes in the same order.
    installing: Mutex<()>,
    /// Those that wait for the end of a job, or start one again.
    threads: Mutex<Vec<JoinHandle<()>>>,
    with: ServiceSpec,
}

/// What a service is started with.
#[derive(Default)]
pub struct ServiceSpec {
    /// Worker threads.
    pub workers: usize,
    /// Where jobs and their snapshots are kept; `None`: nowhere.
    pub store: Option<Arc<Store>>,
    /// Settings of every job created from now on, before its own.
    pub settings: BTreeMap<String, String>,
    /// How the service reaches object stores.
    pub objects: ObjectOptions,
    /// The processes that this one leads, if there are any; then there is a store.
    pub followers: Option<Arc<Followers>>,
    /// Jobs whose operators have panicked lately, and how often: each time the whole process ends.
    pub crashes: BTreeMap<String, usize>,
}

impl JobManager {
    /// Starts the workers, then the jobs that the store has. One that cannot be started is there
    /// as failed, with the reason.
    pub fn start(with: ServiceSpec) -> Result<Arc<Self>> {
        let cluster = Cluster::start(&Topology::alone(with.workers))?;
        Self::start_on(cluster, with)
    }

    /// The same on the workers of `cluster`.
    pub fn start_on(cluster: Cluster, with: ServiceSpec) -> Result<Arc<Self>> {
        let manager = Arc::new(JobManager {
            cluster,
            jobs: Mutex::default(),
            next_id: AtomicU64::new(0),
            creating: Mutex::default(),
            installing: Mutex::default(),
            threads: Mutex::default(),
            with,
        });
        manager.restore()?;
        let weak = Arc::downgrade(&manager);
        spawn("views", move || hold_views(&weak))?;
        Ok(manager)
    }

    fn restore(self: &Arc<Self>) -> Result<()> {
        let Some(store) = &self.with.store else { return Ok(()) };
        for found in store.definitions()? {
            match found {
                Ok(definition) => self.start_again(definition)?,
                Err(damage) => self.enter(Arc::new(unreadable(damage)))?,
            }
        }
        Ok(())
    }

    /// Starts a job that was there before; one that cannot go on is there as failed, with its
    /// reason, unless that may pass: then it is tried again.
    fn start_again(self: &Arc<Self>, definition: JobDefinition) -> Result<()> {
        let planned = Parsed::new(&definition).and_then(|parsed| parsed.plan());
        let crashes = self.with.crashes.get(&definition.name).copied().unwrap_or(0);
        let settings = planned.as_deref().map(restarts::settings).unwrap_or_default();
        let body = planned.and_then(|plan| match restarts::parked(&plan, crashes) {
            Some(error) => Err(error),
            None => self.run(&definition, plan),
        });
        let Err(error) = &body else { return self.enter(Arc::new(Job::new(definition, body))) };
        let name = definition.name.as_str();
        tracing::error!(job = name, "job {name} could not be started: {error}");
        let passing = [ErrorKind::Io, ErrorKind::NotFound, ErrorKind::Unavailable];
        let may_pass = passing.contains(&error.kind);
        let is_retried = AtomicBool::new(may_pass && settings.restart_attempts > 0);
        let job = Arc::new(Job { is_retried, ..Job::new(definition, body) });
        self.enter(Arc::clone(&job))?;
        if job.is_retried.load(Ordering::Acquire) {
            let weak = Arc::downgrade(self);
            self.attend(move || restarts::after_refusal(&weak, &job, &settings))?;
        }
        Ok(())
    }

    fn enter(self: &Arc<Self>, job: Arc<Job>) -> Result<()> {
        if job.body.is_ok() {
            self.watch(Arc::clone(&job))?;
        }
        self.jobs().insert(job.definition.name.clone(), job);
        Ok(())
    }

    /// Puts a job on the workers, from its last snapshot if there is one.
    fn run(&self, definition: &JobDefinition, plan: Arc<StreamPlan>) -> Result<Running> {
        let place = self.cluster.place();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let followers = self.with.followers.as_ref();
        let mut beginning = None;
        let kept = match &self.with.store {
            None => None,
            Some(store) => {
                let spec = SnapshotSpec {
                    store: Arc::clone(store),
                    job: definition.name.clone(),
                    sql: definition.sql.clone(),
                    settings: definition.settings.clone(),
                    place,
                    others: followers.map(|followers| followers.others_of(id)),
                    anew: false,
                };
                let begun = beginning.insert(snapshots::start(spec, &plan)?);
                for damage in &begun.skipped {
                    let name = definition.name.as_str();
                    tracing::error!(job = name, "job {name}: {damage}");
                }
                Some(Kept {
                    snapshots: Arc::clone(&begun.snapshots),
                    from: begun.from,
                    skipped: begun.skipped.clone(),
                    was_planned_otherwise: begun.was_planned_otherwise,
                })
            }
        };
        let snapshots = kept.as_ref().map(|kept| Arc::clone(&kept.snapshots.snapshots));
        let inlets = match (&self.with.store, &snapshots) {
            (Some(store), Some(own)) => Inlets::of_run(store, &definition.name, own.run()),
            _ => Inlets::unlogged(),
        };
        let create = |spec: &SourceSpec| inlets.create_source(spec);
        let opened = JobRuntime::open(Arc::clone(&plan), place, None, &create, snapshots);
        let prepared = opened.and_then(|runtime| {
            let runtime = Arc::new(runtime);
            self.prepare(id, &runtime, definition, beginning.as_ref())?;
            Ok(runtime)
        });
        let runtime = match (prepared, &kept) {
            (Err(error), Some(kept)) => {
                kept.snapshots.finish(false)?;
                return Err(error);
            }
            (prepared, _) => prepared?,
        };
        runtime.metrics.named(&definition.name);
        if let Some(beginning) = &beginning {
            beginning.is_built();
        }
        for view in runtime.views() {
            view.contents.allow_compaction(BEGINNING);
        }
        self.install(id, &runtime)?;
        let followers = self.with.followers.clone();
        let restarts = AtomicBool::new(kept.is_some() && restarts::are_wanted(&plan));
        let begun = monotonic();
        let (is_stopping, is_finished) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Running {
            id,
            plan,
            runtime,
            inlets,
            kept,
            followers,
            begun,
            is_stopping,
            restarts,
            is_finished,
        })
    }

    /// Has the other processes, if there are any, plan the job and open what it reads.
    fn prepare(
        &self,
        id: u64,
        runtime: &Arc<JobRuntime>,
        definition: &JobDefinition,
        beginning: Option<&Beginning>,
    ) -> Result<()> {
        let Some(followers) = &self.with.followers else { return Ok(()) };
        let snapshots = beginning.map(|begun| Arc::clone(&begun.snapshots.snapshots));
        let plan = match beginning {
            Some(beginning) => beginning.plan.clone(),
            None => snapshots::fingerprint(&runtime.plan, &Fingerprints::of(&runtime.plan)?),
        };
        let kept = beginning.map(|beginning| beginning.kept.clone());
        let led = Led::new(runtime, snapshots);
        followers.prepare(id, led, Prepared { definition, plan, kept })
    }

    /// Builds the dataflow of a job in all processes, in the same order as those of other jobs.
    fn install(&self, id: u64, runtime: &Arc<JobRuntime>) -> Result<()> {
        let _installing = self.installing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(followers) = &self.with.followers {
            followers.install(id)?;
        }
        self.cluster.install(id, runtime, runtime.plan.rows_in_flight())
    }

    /// Drops the dataflow of a job in all processes.
    fn remove(&self, id: u64) -> Result<()> {
        if let Some(followers) = &self.with.followers {
            followers.remove(id)?;
        }
        self.cluster.remove(id)
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
            let name = job.definition.name.clone();
            let views = job.body.as_ref().map(|running| running.runtime.views());
            views
                .unwrap_or_default()
                .into_iter()
                .map(move |v| (name.clone(), v))
                .collect::<Vec<_>>()
        };
        jobs.iter().flat_map(of).collect()
    }

    /// Ends all jobs, which come back with the service if it has a store: each takes a last
    /// snapshot, and what its sinks have closed is written.
    pub fn stop(&self) {
        let jobs: Vec<_> = std::mem::take(&mut *self.jobs()).into_values().collect();
        for some in jobs.chunks(JOBS_SAVED_AT_ONCE_MAX) {
            std::thread::scope(|scope| {
                for job in some {
                    scope.spawn(|| {
                        let Ok(running) = &job.body else { return };
                        running.save();
                        if let Err(error) = self.end(&job.definition.name, running) {
                            let name = &job.definition.name;
                            tracing::error!(
                                job = name.as_str(),
                                "job {name} did not stop cleanly: {error}"
                            );
                        }
                    });
                }
            });
        }
        self.leave();
    }

    /// Runs `body`, which may plan a job that is started again, on a thread of its own.
    fn attend(&self, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = spawn_deep("job", body)?;
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// Waits until no thread uses the store any more: the process may end then. One that hangs in a
    /// sink is left behind.
    fn leave(&self) {
        let until = monotonic() + LEAVE_PATIENCE;
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            while !thread.is_finished() && monotonic() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() && thread.join().is_err() {
                tracing::error!("a job's thread panicked; its message is above");
            }
        }
    }

    /// Takes a job off the workers and waits until it has left them.
    fn end(&self, name: &str, running: &Running) -> Result<()> {
        running.is_stopping.store(true, Ordering::Release);
        running.runtime.stop();
        self.remove(running.id)?;
        if !running.runtime.metrics.wait(STOP_PATIENCE) {
            let message = format!("job {name} is still stopping");
            return Err(Error::new(ErrorKind::Conflict, message).with_hint("ask again"));
        }
        let ended = running.finish(false);
        // A job that had failed before ends with its failure.
        if running.runtime.metrics.is_failed() { Ok(()) } else { ended }
    }

    /// Waits for the end of `job`, then ends its sinks and, if it failed, its dataflow.
    fn watch(self: &Arc<Self>, job: Arc<Job>) -> Result<()> {
        let weak: Weak<JobManager> = Arc::downgrade(self);
        self.attend(move || {
            let Ok(running) = &job.body else { return };
            let metrics = &running.runtime.metrics;
            while !metrics.wait(WATCH) {
                if let Some(error) = running.runtime.snapshots().and_then(|s| s.failure()) {
                    metrics.fail(error);
                }
            }
            // What has come to its end here may have failed elsewhere.
            if !metrics.is_failed()
                && let Some(Err(error)) = running.runtime.snapshots().map(|s| s.settle())
            {
                metrics.fail(error);
            }
            let failed = metrics.is_failed();
            if let (true, Some(manager)) = (failed, weak.upgrade()) {
                running.runtime.stop();
                // A worker that is gone has dropped the dataflow with it.
                let _ = manager.remove(running.id);
            }
            let complete = !failed && !running.is_stopping.load(Ordering::Acquire);
            match running.finish(complete) {
                Ok(()) => running.is_finished.store(complete, Ordering::Release),
                Err(error) => metrics.fail(error),
            }
            if metrics.is_failed() {
                restarts::after_failure(&weak, &job);
            }
        })
    }

    fn create(self: &Arc<Self>, name: &str, sql: &str) -> Result<JobInfo> {
        validate_job_name(name)?;
        let definition = JobDefinition {
            name: name.to_string(),
            sql: sql.to_string(),
            settings: self.with.settings.clone(),
            created_ms: wall_ms(),
        };
        let parsed = Parsed::new(&definition)?;
        parsed.check()?;
        let plan = parsed.plan()?;
        let _creating = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = self.jobs();
        if jobs.contains_key(name) {
            return Err(Error::new(ErrorKind::Conflict, format!("there is a job {name} already"))
                .with_hint("delete it first, or take another name"));
        }
        if jobs.len() >= JOBS_MAX {
            return Err(Error::new(ErrorKind::Limit, format!("{JOBS_MAX} jobs run already")));
        }
        drop(jobs);
        if let Some(store) = &self.with.store {
            store.define(&definition)?;
        }
        let body = self.run(&definition, plan);
        let job = match body {
            Ok(running) => Arc::new(Job::new(definition, Ok(running))),
            Err(error) => {
                if let Some(store) = &self.with.store {
                    store.forget_job(name, true)?;
                }
                return Err(error);
            }
        };
        self.enter(Arc::clone(&job))?;
        Ok(job.info())
    }

    /// Gives rows to the job that reads `table` over HTTP.
    fn take_rows(&self, table: &str, rows: RowsIn) -> Result<RowsTaken, RowsRefused> {
        let jobs: Vec<_> = self.jobs().values().cloned().collect();
        let named = jobs.iter().filter_map(|job| {
            let running = job.running().ok()?;
            Some((job.definition.name.as_str(), &running.inlets))
        });
        let (name, inlet) = inlets::find(named, table)?;
        let state = self.find(&name)?.running()?.state();
        if !matches!(state, JobState::Starting | JobState::Running) {
            let message = format!("job {name}, which reads table '{table}', is {}", state.name());
            let error = Error::new(ErrorKind::Conflict, message);
            return Err(error.with_hint(format!("GET /v1/jobs/{name} says why")).into());
        }
        RowsTaken::take(name, inlet, rows)
    }

    fn upgrade(
        self: &Arc<Self>,
        name: &str,
        sql: &str,
        from_now: bool,
        apply: bool,
    ) -> Result<Report> {
        let Some(store) = &self.with.store else {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the service keeps no state to go on with",
            )
            .with_hint("start it with --data-dir, or delete the job and create it again"));
        };
        let _creating = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        let job = self.find(name)?;
        let spec = UpgradeSpec {
            store: Arc::clone(store),
            job: name.to_string(),
            texts: vec![(format!("{name}.sql"), sql.to_string())],
            settings: None,
            from_now,
        };
        // Whatever is wrong is found before the job is stopped.
        let report = upgrade::plan(&spec)?.report;
        if !apply {
            return Ok(report);
        }
        if let Some(refusal) = report.refusal {
            return Err(refusal);
        }
        if let Ok(running) = &job.body {
            running.save();
            self.end(name, running)?;
        }
        let switched = self.switch(&spec, &job.definition);
        let (job, report) = match switched {
            Ok((job, report)) => (job, Ok(report)),
            Err(error) => {
                let definition = job.definition.clone();
                let started = Parsed::new(&definition).and_then(|parsed| parsed.plan());
                let body = started.and_then(|plan| self.run(&definition, plan));
                (Job::new(definition, body), Err(error))
            }
        };
        self.enter(Arc::new(job))?;
        report
    }

    /// Starts a stopped job with the script of `spec`; after an error its state is that of `old`.
    fn switch(&self, spec: &UpgradeSpec, old: &JobDefinition) -> Result<(Job, Report)> {
        let planned = upgrade::plan(spec)?;
        let before = planned.starts_from()?;
        let definition = planned.definition.clone();
        let definition =
            definition.ok_or_else(|| Error::internal("a job of a service without a definition"))?;
        let plan = Parsed::new(&definition)?.plan()?;
        let take_back = |error: Error| match upgrade::take_back(&spec.store, before.clone(), old) {
            Ok(()) => error,
            Err(other) => {
                let name = old.name.as_str();
                tracing::error!(job = name, "job {name}: the upgrade is not taken back: {other}");
                error
            }
        };
        let report = match upgrade::apply(planned) {
            Ok(report) => report,
            // It may have been committed all the same.
            Err(error) if upgrade::is_of(&spec.store, &definition) => return Err(take_back(error)),
            Err(error) => return Err(error),
        };
        match self.run(&definition, plan) {
            Ok(running) => {
                let failures = Failures::default();
                Ok((Job { failures, ..Job::new(definition, Ok(running)) }, report))
            }
            Err(error) => Err(take_back(error)),
        }
    }

    fn delete(&self, name: &str, keep_snapshots: bool) -> Result<()> {
        let _creating = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        let job = self.find(name)?;
        if let Ok(running) = &job.body {
            if keep_snapshots {
                running.save();
            }
            self.end(name, running)?;
        }
        if let Some(store) = &self.with.store {
            store.forget_job(name, keep_snapshots)?;
        }
        self.jobs().remove(name);
        Ok(())
    }
}

/// A job's script, parsed with its settings.
struct Parsed(Definition);

impl Parsed {
    fn new(definition: &JobDefinition) -> Result<Self> {
        let JobDefinition { name, sql, settings, .. } = definition;
        Definition::of_job(name, sql, settings).map(Parsed)
    }

    /// Refuses what makes no sense in a service.
    fn check(&self) -> Result<()> {
        self.0.check_for_service()
    }

    fn plan(&self) -> Result<Arc<StreamPlan>> {
        self.0.plan(PlanFor::SERVICE)
    }
}

/// A job whose definition is damaged: it stays until it is deleted.
fn unreadable(damage: Damage) -> Job {
    let what = damage.to_string();
    let definition = JobDefinition {
        name: damage.job,
        sql: String::new(),
        settings: BTreeMap::new(),
        created_ms: 0,
    };
    let error = Error::new(ErrorKind::Io, what).with_hint("delete the job and create it again");
    Job::new(definition, Err(error))
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

impl ViewCatalog for JobManager {
    fn find(&self, name: &str) -> Result<ServedView> {
        found_views::find(&self.all_views(), name)
    }

    fn all(&self) -> Vec<ServedView> {
        self.all_views().into_iter().map(|(_, v)| v).collect()
    }
}
