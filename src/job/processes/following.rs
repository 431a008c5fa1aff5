//! The jobs of a process that follows: it does as the leader says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, Weak};

use arrow::array::RecordBatch;

use super::messages::{
    Counts, News, Order, Prepare, Request, SourceCounts, answered, of_bytes, to_bytes, with_tail,
};
use super::{look_often, parts};
use crate::cluster::Cluster;
use crate::cluster::session::Follower;
use crate::connectors::http::{Elsewhere, is_http};
use crate::connectors::{Source, SourceSpec, registry};
use crate::dataflow::decisions::{Decision, Journal};
use crate::dataflow::metrics::{SourceMetrics, lock};
use crate::dataflow::runtime::JobRuntime;
use crate::dataflow::snapshots::{Hand, Handed, Snapshots};
use crate::dataflow::source::SharedSource;
use crate::error::{Error, ErrorKind, Result};
use crate::job::definition::{Definition, PlanFor};
use crate::job::metrics::{self, JobPart};
use crate::job::service::JobState;
use crate::job::snapshots::load::ReadChunk;
use crate::job::snapshots::{FollowedRun, fingerprint, followed};
use crate::limits::SNAPSHOT_MESSAGES_MAX;
use crate::plan::fingerprint::Fingerprints;
use crate::plan::node::StreamPlan;
use crate::snapshot::{ChunkRef, decode_rows};
use crate::telemetry::threads::{spawn, spawn_deep};

/// The jobs of this process.
pub struct Following {
    follower: Arc<Follower>,
    cluster: Cluster,
    jobs: Mutex<BTreeMap<u64, Followed>>,
    /// Jobs that are being prepared, and are still wanted. Locked after `jobs`.
    preparing: Mutex<BTreeSet<u64>>,
    /// For what is put aside under a memory budget.
    dir: Option<PathBuf>,
}

struct Followed {
    name: String,
    runtime: Arc<JobRuntime>,
    snapshots: Option<Arc<Snapshots>>,
    is_failed: bool,
    told: Counts,
}

impl Followed {
    fn failure(&self) -> Option<Error> {
        let of_snapshots = || self.snapshots.as_ref().and_then(|snapshots| snapshots.failure());
        self.runtime.metrics.failure().or_else(of_snapshots)
    }
}

impl Following {
    /// Does as the leader of `follower` says, on the workers of `cluster`.
    pub fn start(
        follower: Arc<Follower>,
        cluster: Cluster,
        dir: Option<PathBuf>,
    ) -> Result<Arc<Self>> {
        let (jobs, preparing) = (Mutex::default(), Mutex::default());
        let shared = Arc::clone(&follower);
        let following = Arc::new(Following { follower: shared, cluster, jobs, preparing, dir });
        let obeying = Arc::clone(&following);
        follower.start(Box::new(move |_, order| obeying.obey(order)))?;
        look_often("news", Arc::downgrade(&following), Following::tell_all)?;
        Ok(following)
    }

    fn send(&self, news: &News) {
        // A leader that is lost ends the session.
        let _ = self.follower.send(&to_bytes(news));
    }

    fn obey(self: &Arc<Self>, order: &[u8]) {
        match of_bytes(order) {
            Ok(order) => self.carry_out(order),
            Err(error) => tracing::error!("process 0: {error}"),
        }
    }

    fn carry_out(self: &Arc<Self>, order: Order) {
        match order {
            Order::Prepare(prepare) => self.begin_to_prepare(*prepare),
            Order::Install { id } => self.install(id),
            Order::Remove { id } => {
                lock(&self.preparing).remove(&id);
                let job = lock(&self.jobs).remove(&id);
                if let Some(job) = job {
                    job.runtime.stop();
                    if let Err(error) = self.cluster.remove(id) {
                        tracing::error!("a job is not removed: {error}");
                    }
                }
            }
            Order::Hold { id, ticket } => {
                let released = self.snapshots_of(id).map(|s| s.hold()).unwrap_or_default();
                self.send(&News::Held { ticket, released });
            }
            Order::Choose { id, ticket, frontier } => {
                let snapshots = self.snapshots_of(id);
                let answers = snapshots.as_ref().map(|s| s.follow(frontier)).unwrap_or_default();
                // The leader takes nothing before it has all answers.
                self.send(&News::Chosen { ticket });
                if let Some(snapshots) = snapshots {
                    answers.into_iter().for_each(|handed| snapshots.hand(handed));
                }
            }
            Order::GoOn { id } => {
                if let Some(snapshots) = self.snapshots_of(id) {
                    snapshots.go_on();
                }
            }
            Order::Done { id } => {
                if let Some(snapshots) = self.snapshots_of(id) {
                    snapshots.done();
                }
            }
            Order::End { id } => {
                if let Some(snapshots) = self.snapshots_of(id) {
                    snapshots.end();
                }
            }
            Order::Settle { id, ticket } => {
                self.tell_failure(id);
                self.send(&News::Settled { ticket });
            }
            Order::Count { id, ticket, frontier } => {
                self.tell_failure(id);
                let snapshots = self.snapshots_of(id);
                let counters = snapshots.map(|s| s.counters(frontier)).unwrap_or_default();
                self.send(&News::Counted { ticket, counters });
            }
            Order::Frontier { id, ticket } => {
                let runtime = lock(&self.jobs).get(&id).map(|job| Arc::clone(&job.runtime));
                let report = runtime.map(|runtime| runtime.frontier_report()).unwrap_or_default();
                self.send(&News::Frontier { ticket, report });
            }
            Order::Elsewhere { id, frontiers } => {
                if let Some(job) = lock(&self.jobs).get(&id) {
                    for (source, frontier) in job.runtime.sources().zip(frontiers) {
                        source.reach(frontier);
                    }
                }
            }
        }
    }

    fn snapshots_of(&self, id: u64) -> Option<Arc<Snapshots>> {
        lock(&self.jobs).get(&id).and_then(|job| job.snapshots.clone())
    }

    fn install(&self, id: u64) {
        let runtime = lock(&self.jobs).get(&id).map(|job| Arc::clone(&job.runtime));
        let Some(runtime) = runtime else { return };
        if let Err(error) = self.cluster.install(id, &runtime, runtime.plan.rows_in_flight()) {
            runtime.metrics.fail(error);
        }
    }

    /// Has a job prepared, which may take a while, beside what else the leader wants; then answers.
    fn begin_to_prepare(self: &Arc<Self>, prepare: Prepare) {
        let (id, ticket) = (prepare.id, prepare.ticket);
        lock(&self.preparing).insert(id);
        let own = Arc::clone(self);
        let preparing = move || {
            let prepared = catch_unwind(AssertUnwindSafe(|| own.prepare(prepare)));
            let panicked = |_| Err(Error::internal("planning panicked; its message is in the log"));
            let error = prepared.unwrap_or_else(panicked).and_then(|job| own.keep(id, job)).err();
            own.send(&News::Prepared { ticket, error });
        };
        if let Err(error) = spawn_deep("prepare", preparing) {
            self.send(&News::Prepared { ticket, error: Some(error) });
        }
    }

    /// Keeps a job that is prepared, unless nobody waits for it any more.
    fn keep(&self, id: u64, job: Followed) -> Result<()> {
        let mut jobs = lock(&self.jobs);
        if !lock(&self.preparing).remove(&id) {
            job.runtime.stop();
            return Err(Error::new(ErrorKind::Conflict, "the job is not wanted any more"));
        }
        jobs.insert(id, job);
        Ok(())
    }

    /// Plans a job and opens what it reads.
    fn prepare(&self, prepare: Prepare) -> Result<Followed> {
        let Prepare { id, job, sql, settings, plan: expected, kept, .. } = prepare;
        let plan = Definition::of_job(&job, &sql, &settings)?.plan(PlanFor::SERVICE)?;
        if fingerprint(&plan, &Fingerprints::of(&plan)?) != expected {
            let message = format!("job {job} is planned otherwise here than in process 0");
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("all processes must be of one version and see the same files"));
        }
        let place = self.cluster.place();
        let name = job.clone();
        let snapshots = match kept {
            None => None,
            Some(run) => {
                let (sender, receiver) = sync_channel(SNAPSHOT_MESSAGES_MAX);
                let run = FollowedRun { job, run, place, dir: self.dir.clone() };
                let journal = Arc::new(Notes { follower: Arc::clone(&self.follower), id });
                // A leader that is gone ends the session.
                let hand: Hand = Box::new(move |handed| drop(sender.send(handed)));
                let snapshots = followed(run, &plan, hand, journal, &self.chunks())?;
                self.hand_on(id, receiver, Arc::downgrade(&snapshots))?;
                Some(snapshots)
            }
        };
        let runtime = self.open(&plan, snapshots.clone())?;
        runtime.metrics.named(&name);
        let (runtime, told) = (Arc::new(runtime), Counts::default());
        Ok(Followed { name, runtime, snapshots, is_failed: false, told })
    }

    fn open(
        &self,
        plan: &Arc<StreamPlan>,
        snapshots: Option<Arc<Snapshots>>,
    ) -> Result<JobRuntime> {
        let create = |spec: &SourceSpec| -> Result<Arc<dyn Source>> {
            match is_http(&spec.table) {
                true => Ok(Arc::new(Elsewhere)),
                false => registry::create_source(spec),
            }
        };
        JobRuntime::open(Arc::clone(plan), self.cluster.place(), None, &create, snapshots)
    }

    /// Reads chunks from the leader's store.
    fn chunks(&self) -> ReadChunk {
        let follower = Arc::clone(&self.follower);
        Arc::new(move |chunk: &ChunkRef| -> Result<RecordBatch> {
            let answer = follower.call(&with_tail(&Request::Chunk(chunk.clone()), &[]))?;
            let rows = decode_rows(answered(&answer)?);
            rows.map_err(|what| {
                let what = format!("chunk {} of job {}: {what}", chunk.id, chunk.job);
                Error::new(ErrorKind::Io, what)
            })
        })
    }

    /// Hands on to the leader what the operators hand over.
    fn hand_on(
        &self,
        id: u64,
        receiver: Receiver<Handed>,
        snapshots: Weak<Snapshots>,
    ) -> Result<()> {
        let follower = Arc::clone(&self.follower);
        let handing = move || {
            for handed in receiver {
                let handed = parts::encode(handed).and_then(|part| {
                    let answer = follower.call(&with_tail(&Request::Hand { id }, &part))?;
                    answered(&answer).map(drop)
                });
                let Some(snapshots) = snapshots.upgrade() else { return };
                snapshots.took();
                if let Err(error) = handed {
                    // Later parts go on top of this one: the job begins again from its last
                    // snapshot, which is whole.
                    return snapshots.fail(error);
                }
            }
        };
        spawn(&format!("snapshots-{id}"), handing).map(drop)
    }

    /// Tells the leader if job `id` has failed, also when that was told before: whatever is told
    /// next comes after it.
    fn tell_failure(&self, id: u64) {
        let failure = lock(&self.jobs).get(&id).and_then(Followed::failure);
        if let Some(error) = failure {
            self.send(&News::Failed { id, error });
        }
    }

    /// Tells the leader what is new of the jobs; whether anything is.
    fn tell_all(&self) -> bool {
        let mut news = Vec::new();
        for (&id, job) in lock(&self.jobs).iter_mut() {
            if let (false, Some(error)) = (job.is_failed, job.failure()) {
                job.is_failed = true;
                news.push(News::Failed { id, error });
            }
            let counts = counts_of(&job.runtime);
            if counts != job.told {
                job.told.clone_from(&counts);
                news.push(News::Report { id, counts });
            }
        }
        news.iter().for_each(|news| self.send(news));
        !news.is_empty()
    }

    /// What this process does, for `GET /metrics`.
    pub fn metrics(&self) -> String {
        let jobs = lock(&self.jobs);
        let state = |job: &Followed| match job.runtime.metrics.failure() {
            Some(error) => JobState::Failed { error },
            None if job.runtime.metrics.is_done() => JobState::Finished,
            None => JobState::Running,
        };
        let parts: Vec<_> = jobs
            .values()
            .map(|job| JobPart {
                name: &job.name,
                state: state(job),
                runtime: Some(&job.runtime),
                snapshots: None,
            })
            .collect();
        metrics::page(&self.cluster, &parts)
    }

    /// The session.
    pub fn session(&self) -> &Arc<Follower> {
        &self.follower
    }

    /// Ends all jobs, and the workers.
    pub fn stop(&self) {
        for (_, job) in std::mem::take(&mut *lock(&self.jobs)) {
            job.runtime.stop();
        }
    }
}

fn counts_of(runtime: &JobRuntime) -> Counts {
    let metrics = &runtime.metrics;
    let source = |(own, shared): (&SourceMetrics, &Arc<SharedSource>)| SourceCounts {
        standing: shared.standing(),
        rows: own.rows.load(Ordering::Relaxed),
        bytes: own.bytes.load(Ordering::Relaxed),
    };
    Counts {
        sources: metrics.sources.iter().zip(runtime.sources()).map(source).collect(),
        updates: metrics.outputs.iter().map(|o| o.updates.load(Ordering::Relaxed)).collect(),
        late_rows: metrics.late_rows.load(Ordering::Relaxed),
        dead_letters: metrics.dead_letters.load(Ordering::Relaxed),
        unknown_updates: metrics.unknown_updates.load(Ordering::Relaxed),
        absent_deletes: metrics.absent_deletes.load(Ordering::Relaxed),
        duplicate_inserts: metrics.duplicate_inserts.load(Ordering::Relaxed),
    }
}

/// Notes decisions with the leader, before they are used.
struct Notes {
    follower: Arc<Follower>,
    id: u64,
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the leader's journal of job {}", self.id)
    }
}

impl Journal for Notes {
    fn note(&self, source: usize, partition: &str, decision: Decision) -> Result<()> {
        let (id, partition) = (self.id, partition.to_owned());
        let request = Request::Note { id, source, partition, decision };
        answered(&self.follower.call(&with_tail(&request, &[]))?).map(drop)
    }
}
