//! A job that fails by itself: it is started again from its last snapshot, some times, each time
//! after twice the wait; then it stays failed, with its reason, and the others go on.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::{JobManager, Parsed};
use crate::error::Error;
use crate::job::running::{Failures, Job};
use crate::plan::node::StreamPlan;
use crate::sql::settings::Settings;
use crate::telemetry::clock::monotonic;

/// A job that has run for so long has not failed one time after the other.
const STABLE: Duration = Duration::from_secs(600);
/// The longest wait.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// How often it is looked at, in a wait, whether the job is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// Starts `job`, which has failed, again after a while, unless it has failed too often.
pub(super) fn after_failure(manager: &Weak<JobManager>, job: &Arc<Job>) {
    let Ok(running) = &job.body else { return };
    if !running.is_to_restart() {
        return;
    }
    let settings = settings(&running.plan);
    let before = if running.begun.elapsed() >= STABLE { 0 } else { job.failures.count };
    let failures = Failures { count: before, last: running.runtime.metrics.failure() };
    if !try_again(manager, job, &settings, failures) {
        running.restarts.store(false, Ordering::Release);
    }
}

/// The same of one that could not be started when this service did.
pub(super) fn after_refusal(manager: &Weak<JobManager>, job: &Arc<Job>, settings: &Settings) {
    let failures = Failures { count: 0, last: job.body.as_ref().err().cloned() };
    if !try_again(manager, job, settings, failures) {
        job.is_retried.store(false, Ordering::Release);
    }
}

/// Starts `job` again as often as it may be after `failures`; `false` if it stays failed.
fn try_again(
    manager: &Weak<JobManager>,
    job: &Arc<Job>,
    settings: &Settings,
    mut failures: Failures,
) -> bool {
    let name = job.definition.name.as_str();
    while failures.count < settings.restart_attempts {
        let delay = delay(settings, failures.count);
        if let Some(error) = &failures.last {
            tracing::error!(
                job = name,
                "job {name} has failed and starts again in {delay:?}: {error}"
            );
        }
        failures.count += 1;
        if !wait(manager, job, delay) {
            return true;
        }
        let Some(manager) = manager.upgrade() else { return true };
        let _creating = manager.creating.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_wanted(&manager, job) {
            return true;
        }
        let definition = job.definition.clone();
        let planned = Parsed::new(&definition).and_then(|parsed| parsed.plan());
        match planned.and_then(|plan| manager.run(&definition, plan)) {
            Ok(running) => {
                let next = Job { failures, ..Job::new(definition, Ok(running)) };
                if let Err(error) = manager.enter(Arc::new(next)) {
                    tracing::error!(
                        job = name,
                        "job {name} runs, and nobody waits for its end: {error}"
                    );
                }
                return true;
            }
            Err(error) => failures.last = Some(error),
        }
    }
    if let Some(error) = &failures.last {
        let times = failures.count + 1;
        tracing::error!(job = name, "job {name} has failed {times} times and stays so: {error}");
    }
    false
}

/// Whether a job of `plan` is started again after its first failure.
pub(super) fn are_wanted(plan: &StreamPlan) -> bool {
    settings(plan).restart_attempts > 0
}

/// Why a job of `plan`, whose operators have panicked `crashes` times lately, is not started again.
pub(super) fn parked(plan: &StreamPlan, crashes: usize) -> Option<Error> {
    let attempts = settings(plan).restart_attempts;
    (crashes > attempts).then(|| {
        let message = format!("its operators have panicked {crashes} times in ten minutes");
        Error::internal(message).with_hint(
            "the log has the messages; give it another script with `floodmark upgrade`, or start \
             the cluster again later",
        )
    })
}

/// The settings of a job of `plan`.
pub(super) fn settings(plan: &StreamPlan) -> Arc<Settings> {
    plan.nodes.first().map(|node| Arc::clone(&node.settings)).unwrap_or_default()
}

fn delay(settings: &Settings, failures: usize) -> Duration {
    let first = Duration::from_millis(settings.restart_delay.unsigned_abs());
    let doublings = u32::try_from(failures).unwrap_or(u32::MAX).min(16);
    first.saturating_mul(1 << doublings).min(DELAY_MAX)
}

/// Waits; whether the job is still wanted then.
fn wait(manager: &Weak<JobManager>, job: &Arc<Job>, delay: Duration) -> bool {
    let until = monotonic() + delay;
    loop {
        let left = until.saturating_duration_since(monotonic());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(LOOK));
        let Some(manager) = manager.upgrade() else { return false };
        if !is_wanted(&manager, job) {
            return false;
        }
    }
}

/// Whether `job` has not been deleted, stopped or upgraded since.
fn is_wanted(manager: &JobManager, job: &Arc<Job>) -> bool {
    let is_own = |own: &Arc<Job>| Arc::ptr_eq(own, job);
    let is_stopping =
        job.body.as_ref().is_ok_and(|running| running.is_stopping.load(Ordering::Acquire));
    !is_stopping && manager.jobs().get(&job.definition.name).is_some_and(is_own)
}
