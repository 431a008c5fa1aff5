//! The loop of one worker thread: commands, steps, and the ends of jobs.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use timely::dataflow::operators::probe::Handle as Probe;
use timely::worker::Worker;

use super::OnPanic;
use super::tally::Tally;
use crate::dataflow::activity::WorkerTimes;
use crate::dataflow::render::render;
use crate::dataflow::runtime::JobRuntime;
use crate::error::Error;
use crate::time::{EventTime, frontier_of};

/// How long a worker without work sleeps before it looks again; it is woken for anything new.
const PARK: Duration = Duration::from_secs(1);

/// What a worker is told.
pub enum Command {
    /// Build a job's dataflow.
    Install {
        /// The job's number.
        id: u64,
        /// The job.
        runtime: Arc<JobRuntime>,
        /// Its flow-control budget.
        rows_in_flight: usize,
    },
    /// Drop a job's dataflow.
    Remove {
        /// The job's number.
        id: u64,
    },
    /// End.
    Stop,
}

struct Installed {
    runtime: Arc<JobRuntime>,
    probe: Option<Probe<EventTime>>,
    dataflow: usize,
}

impl Installed {
    fn end(&mut self) {
        if self.probe.take().is_some() {
            self.runtime.metrics.worker_done();
        }
    }
}

/// Runs worker `local` of this process until it is told to stop.
pub fn run(
    worker: &mut Worker,
    local: usize,
    commands: &Receiver<Command>,
    times: Arc<WorkerTimes>,
    on_panic: Option<&OnPanic>,
) {
    // Whatever is logged on this thread says on which worker it was.
    let _span = tracing::error_span!("worker", worker = worker.index()).entered();
    let tally = Tally::start(worker, times);
    let mut jobs: BTreeMap<u64, Installed> = BTreeMap::new();
    loop {
        loop {
            match commands.try_recv() {
                Ok(Command::Install { id, runtime, rows_in_flight }) => {
                    let shared = Arc::clone(&runtime);
                    let build = || install(worker, &tally, runtime, rows_in_flight);
                    let Ok(job) = catch_unwind(AssertUnwindSafe(build)) else {
                        jobs.values().for_each(|job| panicked(&job.runtime, local));
                        panicked(&shared, local);
                        return on_panic.map_or((), |on_panic| on_panic(shared.metrics.name()));
                    };
                    // In other processes it may be whole: then messages would go astray.
                    if let (None, Some(on_panic)) = (&job.probe, on_panic) {
                        on_panic(job.runtime.metrics.name());
                    }
                    jobs.insert(id, job);
                }
                Ok(Command::Remove { id }) => {
                    if let Some(mut job) = jobs.remove(&id) {
                        if worker.installed_dataflows().contains(&job.dataflow) {
                            worker.drop_dataflow(job.dataflow);
                        }
                        tally.forget(job.dataflow);
                        job.end();
                    }
                }
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => {
                    for mut job in jobs.into_values() {
                        if worker.installed_dataflows().contains(&job.dataflow) {
                            worker.drop_dataflow(job.dataflow);
                        }
                        job.end();
                    }
                    return;
                }
                Err(TryRecvError::Empty) => break,
            }
        }
        let stepped = catch_unwind(AssertUnwindSafe(|| worker.step_or_park(Some(PARK))));
        if stepped.is_err() {
            let culprit = tally.running(worker);
            let culprit = jobs.values().find(|job| Some(job.dataflow) == culprit);
            if let Some(on_panic) = on_panic {
                on_panic(culprit.and_then(|job| job.runtime.metrics.name()));
            }
            // What the worker's operators hold is lost: no job of it can go on.
            return jobs.values().for_each(|job| panicked(&job.runtime, local));
        }
        for job in jobs.values_mut() {
            watch(job, local);
        }
    }
}

/// Tells a job that its worker `local` is gone.
fn panicked(runtime: &JobRuntime, local: usize) {
    let what = format!("worker {local} panicked; its message is above");
    runtime.metrics.fail(Error::internal(what));
}

fn install(
    worker: &mut Worker,
    tally: &Tally,
    runtime: Arc<JobRuntime>,
    rows_in_flight: usize,
) -> Installed {
    let dataflow = worker.next_dataflow_index();
    tally.begin(dataflow);
    let rendered = worker
        .dataflow_named::<EventTime, _, _>("job", |scope| render(scope, &runtime, rows_in_flight));
    let probe = match rendered {
        Ok(probe) => Some(probe),
        Err(error) => {
            runtime.metrics.fail(error);
            None
        }
    };
    tally.built(worker, &runtime.metrics);
    runtime.built();
    Installed { runtime, probe, dataflow }
}

/// Tells the job's metrics how far the outputs are, and of its end.
fn watch(job: &mut Installed, local: usize) {
    let Some(probe) = &job.probe else { return };
    let frontier = probe.with_frontier(frontier_of);
    job.runtime.metrics.advance(local, frontier);
    if let Some(fault) = crate::batch::ipc::fault() {
        job.runtime.metrics.fail(Error::internal(fault));
    }
    if probe.done() && !job.runtime.metrics.is_failed() {
        job.end();
    }
}
