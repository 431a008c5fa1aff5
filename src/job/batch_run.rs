//! One job in one process, from start to end.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;

use super::definition::{Definition, PlanFor};
use super::results::final_rows;
use super::snapshots::{self, Beginning, SnapshotProgress, SnapshotSpec};
use crate::cluster::{Cluster, Topology};
use crate::dataflow::metrics::JobMetrics;
use crate::dataflow::runtime::{JobRuntime, OutputRuntime, PrintChanges};
use crate::error::Result;
use crate::plan::node::OutputTarget;

/// How often the watcher is called.
const WATCH: Duration = Duration::from_millis(200);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Bounded inputs have ended and all outputs are complete.
    Complete,
    /// It was asked to stop; what was closed is written.
    Stopped,
}

/// What a caller is told while a job runs.
pub enum Sign<'a> {
    /// It begins, from a snapshot or anew. Of jobs that take snapshots only.
    Begins(&'a Beginning),
    /// It goes on; several times a second.
    GoesOn(&'a JobMetrics),
    /// It has ended, and this has become of its snapshots.
    Kept(SnapshotProgress),
}

/// Runs `definition` until its inputs end or `stop` is set.
///
/// With `keep` it takes snapshots, and goes on from the last one if there is one.
///
/// Changes of bare queries go to `print`, if given; otherwise `results` gets the final contents of
/// each bare query, in statement order, once all is complete. `watch` is told how it goes.
pub fn run(
    definition: &Definition,
    topology: &Topology,
    print: Option<PrintChanges<'_>>,
    keep: Option<SnapshotSpec>,
    stop: &AtomicBool,
    mut watch: impl FnMut(Sign<'_>),
    mut results: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<(Outcome, Arc<JobMetrics>)> {
    let plan = definition.plan(PlanFor { changelog: print.is_some(), side_views: false })?;
    let beginning = keep.map(|spec| snapshots::start(spec, &plan)).transpose()?;
    if let Some(beginning) = &beginning {
        watch(Sign::Begins(beginning));
    }
    let place = topology.place();
    let runtime = Arc::new(match &beginning {
        None => JobRuntime::new(Arc::clone(&plan), place, print)?,
        Some(beginning) => {
            let snapshots = Arc::clone(&beginning.snapshots.snapshots);
            JobRuntime::with_snapshots(Arc::clone(&plan), place, print, snapshots)?
        }
    });
    if let Some(beginning) = &beginning {
        beginning.is_built();
    }
    let cluster = Cluster::start(topology)?;
    cluster.install(0, &runtime, plan.rows_in_flight())?;
    let metrics = Arc::clone(&runtime.metrics);
    let mut waited = Duration::ZERO;
    const STEP: Duration = Duration::from_millis(20);
    while !metrics.wait(STEP) && !stop.load(Ordering::Acquire) {
        if let Some(error) = runtime.snapshots().and_then(|s| s.failure()) {
            metrics.fail(error);
            break;
        }
        waited += STEP;
        if waited >= WATCH {
            waited = Duration::ZERO;
            watch(Sign::GoesOn(&metrics));
        }
    }
    let complete = metrics.is_done() && !metrics.is_failed();
    if !complete {
        if let (Some(beginning), false) = (&beginning, metrics.is_failed()) {
            beginning.snapshots.at_stop();
        }
        runtime.stop();
        cluster.remove(0)?;
    }
    match complete {
        true => cluster.join(),
        false => drop(cluster),
    }
    runtime.finish_sinks(complete)?;
    if let Some(beginning) = &beginning {
        beginning.snapshots.finish(complete)?;
        watch(Sign::Kept(beginning.snapshots.progress()));
    }
    if let Some(error) = metrics.failure() {
        return Err(error);
    }
    if !complete {
        return Ok((Outcome::Stopped, metrics));
    }
    let as_they_come = plan.scans().filter_map(|s| s.changes.as_ref()).any(|c| !c.is_log());
    let owed = as_they_come.then_some(&metrics.absent_deletes);
    for (output, end) in plan.outputs.iter().zip(&runtime.outputs) {
        if let (OutputTarget::Print(order), OutputRuntime::Collect(collected)) =
            (&output.target, end)
        {
            results(&final_rows(collected, &plan.node(output.node).schema, order, owed)?)?;
        }
    }
    Ok((Outcome::Complete, metrics))
}
