//! What `GET /metrics` says: every number of this process and of what its jobs do in it.
//!
//! Reads counters that others keep, when it is asked. Every process of a cluster answers for
//! itself.

mod families;

use std::sync::atomic::Ordering;

pub use families::FAMILIES;
use families::*;

use super::service::JobState;
use super::snapshots::SnapshotProgress;
use crate::cluster::Cluster;
use crate::dataflow::activity::Wait;
use crate::dataflow::metrics::{JobMetrics, OutputMetrics, SourceMetrics};
use crate::dataflow::runtime::JobRuntime;
use crate::limits::METRICS_SERIES_MAX;
use crate::telemetry::clock::wall_ms;
use crate::telemetry::memory::resident_bytes;
use crate::telemetry::process;
use crate::telemetry::prometheus::Page;
use crate::time::{BEGINNING, CLOSED, EventTime};

/// A job as metrics see it.
pub struct JobPart<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it is in its life.
    pub state: JobState,
    /// What runs of it here.
    pub runtime: Option<&'a JobRuntime>,
    /// Its snapshots, where this process takes them.
    pub snapshots: Option<SnapshotProgress>,
}

/// All that there is to tell of `cluster`'s workers in this process and of `jobs`.
pub fn page(cluster: &Cluster, jobs: &[JobPart<'_>]) -> String {
    let now = wall_ms();
    let mut page = Page::new(FAMILIES, METRICS_SERIES_MAX);
    add_process(&mut page);
    page.add(&WORKERS, &[], cluster.place().workers as f64);
    for (worker, times) in cluster.worker_times() {
        let worker = worker.to_string();
        page.add(&WORKER_BUSY, &[&worker], times.busy.seconds());
        page.add(&WORKER_IDLE, &[&worker], times.idle.seconds());
        page.add(&WORKER_HELD_BACK, &[&worker], times.held_back.seconds());
    }
    add_states(&mut page, jobs);
    for JobPart { name, runtime, snapshots, .. } in jobs {
        if let Some(runtime) = runtime {
            add_counts(&mut page, name, &runtime.metrics);
            add_sources(&mut page, name, runtime, now);
            add_outputs(&mut page, name, runtime, now);
            add_operators(&mut page, name, &runtime.metrics);
        }
        if let Some(progress) = snapshots {
            add_snapshots(&mut page, name, progress, now);
        }
    }
    let left_out = page.left_out();
    page.add(&LEFT_OUT, &[], left_out as f64);
    page.render()
}

fn add_process(page: &mut Page) {
    // There is always room for this one.
    page.add(&LEFT_OUT, &[], 0.0);
    page.add(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    page.add(&START_TIME, &[], seconds(process::began_ms()));
    page.add(&UPTIME, &[], process::uptime_seconds());
    page.add(&RESTARTS, &[], process::restarts() as f64);
    let known = [
        (&CPU, process::cpu_seconds()),
        (&RESIDENT, resident_bytes().map(|bytes| bytes as f64)),
        (&OPEN_FDS, process::open_descriptors().map(|count| count as f64)),
    ];
    for (family, value) in known {
        value.into_iter().for_each(|value| page.add(family, &[], value));
    }
}

fn add_states(page: &mut Page, jobs: &[JobPart<'_>]) {
    for state in JobState::NAMES {
        page.add(&JOBS, &[state], 0.0);
    }
    for job in jobs {
        let own = job.state.name();
        page.add(&JOBS, &[own], 1.0);
        for state in JobState::NAMES {
            page.add(&JOB_STATE, &[job.name, state], f64::from(u8::from(state == own)));
        }
    }
}

fn add_counts(page: &mut Page, job: &str, metrics: &JobMetrics) {
    let counts = [
        (&LATE, &metrics.late_rows),
        (&DEAD, &metrics.dead_letters),
        (&UNKNOWN_UPDATES, &metrics.unknown_updates),
        (&ABSENT_DELETES, &metrics.absent_deletes),
        (&DUPLICATE_INSERTS, &metrics.duplicate_inserts),
    ];
    for (family, count) in counts {
        page.add(family, &[job], count.load(Ordering::Relaxed) as f64);
    }
    if let Some(spilled) = metrics.spilled() {
        page.add(&MEMORY_BUDGET, &[job], spilled.budget as f64);
        page.add(&SPILL_WRITTEN, &[job], spilled.spilled as f64);
        page.add(&SPILL_READ, &[job], spilled.restored as f64);
        page.add(&SPILL_DISK, &[job], spilled.disk as f64);
    }
}

fn add_sources(page: &mut Page, job: &str, runtime: &JobRuntime, now: i64) {
    for (metrics, shared) in runtime.metrics.sources.iter().zip(runtime.sources()) {
        let SourceMetrics { table, rows, bytes, frontier } = metrics;
        let labels = [job, table.as_str()];
        page.add(&SOURCE_RECORDS, &labels, rows.load(Ordering::Relaxed) as f64);
        page.add(&SOURCE_BYTES, &labels, bytes.load(Ordering::Relaxed) as f64);
        page.add(&SOURCE_PARTITIONS, &labels, shared.partition_count() as f64);
        let frontier = frontier.load(Ordering::Relaxed);
        if let Some(time) = event_seconds(frontier) {
            page.add_least(&SOURCE_WATERMARK, &labels, time);
        }
        if let Some(lag) = lag(frontier, now) {
            page.add_least(&SOURCE_LAG, &labels, lag);
        }
    }
}

fn add_outputs(page: &mut Page, job: &str, runtime: &JobRuntime, now: i64) {
    for (metrics, output) in runtime.metrics.outputs.iter().zip(&runtime.outputs) {
        let OutputMetrics { name, updates, queued, writing, .. } = metrics;
        let labels = [job, name.as_str()];
        page.add(&OUTPUT_RECORDS, &labels, updates.load(Ordering::Relaxed) as f64);
        let frontier = metrics.frontier();
        if let Some(time) = event_seconds(frontier) {
            page.add_least(&OUTPUT_FRONTIER, &labels, time);
        }
        if let Some(lag) = lag(frontier, now) {
            page.add_least(&OUTPUT_LAG, &labels, lag);
        }
        if output.is_sink() {
            page.add(&SINK_QUEUED, &labels, queued.get() as f64);
            page.add(&SINK_WRITING, &labels, writing.seconds());
        }
    }
    for view in runtime.views() {
        let stats = view.contents.stats();
        page.add(&VIEW_ROWS, &[job, &view.name], stats.rows as f64);
        page.add(&VIEW_BYTES, &[job, &view.name], stats.bytes as f64);
    }
}

fn add_operators(page: &mut Page, job: &str, metrics: &JobMetrics) {
    for ((operator, worker), own) in metrics.activity.operators() {
        let worker = worker.to_string();
        let labels = [job, operator.as_str(), worker.as_str()];
        page.add(&RECORDS_IN, &labels, own.taken.rows.get() as f64);
        page.add(&RECORDS_OUT, &labels, own.given.rows.get() as f64);
        page.add(&BATCHES_IN, &labels, own.taken.batches.get() as f64);
        page.add(&BATCHES_OUT, &labels, own.given.batches.get() as f64);
        page.add(&BYTES_IN, &labels, own.bytes.get() as f64);
        page.add(&BUSY, &labels, own.busy.seconds());
        page.add(&IDLE, &labels, own.idle.seconds());
        page.add(&QUEUED, &labels, own.queued.get() as f64);
        for (wait, count) in Wait::ALL.into_iter().zip(&own.held_back) {
            if own.can_wait_for(wait) {
                let labels = [job, operator.as_str(), worker.as_str(), wait.name()];
                page.add(&HELD_BACK, &labels, count.seconds());
            }
        }
        if let Some((rows, most)) = own.in_flight() {
            page.add(&IN_FLIGHT, &labels, rows as f64);
            page.add(&IN_FLIGHT_MAX, &labels, most as f64);
        }
        if let Some((rows, bytes)) = own.state() {
            page.add(&STATE_ROWS, &labels, rows as f64);
            page.add(&STATE_BYTES, &labels, bytes as f64);
        }
    }
    for (((operator, input), worker), own) in metrics.activity.exchanges() {
        let (input, worker) = (input.to_string(), worker.to_string());
        let labels = [job, operator.as_str(), input.as_str(), own.kind, worker.as_str()];
        page.add(&EXCHANGE_RECORDS, &labels, own.received.rows.get() as f64);
        page.add(&EXCHANGE_BATCHES, &labels, own.received.batches.get() as f64);
    }
}

fn add_snapshots(page: &mut Page, job: &str, progress: &SnapshotProgress, now: i64) {
    let labels = [job];
    page.add(&SNAPSHOTS, &labels, progress.taken as f64);
    page.add(&SNAPSHOT_FAILURES, &labels, f64::from(u8::from(progress.stopped.is_some())));
    page.add_observed(&SNAPSHOT_DURATION, &labels, &progress.durations());
    page.add(&SNAPSHOT_WRITTEN, &labels, progress.written_bytes as f64);
    page.add(&SNAPSHOT_PAUSE, &labels, progress.pause_us_max as f64 / 1e6);
    if let Some(last) = &progress.last {
        page.add(&SNAPSHOT_LAST_DURATION, &labels, seconds(last.duration_ms));
        page.add(&SNAPSHOT_LAST_BYTES, &labels, last.bytes as f64);
        page.add(&SNAPSHOT_LAST_TIME, &labels, seconds(last.created_ms));
        page.add(&SNAPSHOT_AGE, &labels, seconds(now.saturating_sub(last.created_ms).max(0)));
    }
    if let Some((amount, took)) = &progress.restored {
        page.add(&RESTORE_DURATION, &labels, took.as_secs_f64());
        page.add(&RESTORED_BYTES, &labels, amount.bytes as f64);
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// An event time in seconds; `None` before any.
fn event_seconds(time: EventTime) -> Option<f64> {
    match time {
        BEGINNING => None,
        CLOSED => Some(f64::INFINITY),
        time => Some(seconds(time)),
    }
}

/// How far an event time is behind the wall clock; `None` before any, and at the end.
fn lag(time: EventTime, now: i64) -> Option<f64> {
    (time != BEGINNING && time != CLOSED).then(|| seconds(now.saturating_sub(time)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::telemetry::prometheus::{Family, Kind};

    /// The rows of the tables of metrics in the document: name, kind, labels.
    fn documented() -> BTreeSet<(String, String, String)> {
        let text = include_str!("../../docs/operations.md");
        let rows = text.lines().filter(|line| line.starts_with("| `floodmark_"));
        let plain = |cell: &str| cell.trim().replace('`', "");
        rows.map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
            assert_eq!(cells.len(), 5, "name, type, labels, meaning, what to do: {line}");
            (plain(cells[0]), plain(cells[1]), plain(cells[2]))
        })
        .collect()
    }

    #[test]
    fn the_document_names_every_metric_and_no_other() {
        let known = FAMILIES.iter().map(|family| {
            let labels = family.labels.join(", ");
            (family.name.to_owned(), family.kind.name().to_owned(), labels)
        });
        let (known, documented) = (known.collect::<BTreeSet<_>>(), documented());
        let missing: Vec<_> = known.difference(&documented).collect();
        let unknown: Vec<_> = documented.difference(&known).collect();
        assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, not {unknown:?}");
        assert_eq!(known.len(), FAMILIES.len(), "a name is given twice");
    }

    #[test]
    fn names_follow_the_conventions() {
        let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
        for Family { name, kind, labels, help } in FAMILIES.iter().copied() {
            assert!(name.starts_with("floodmark_") && name.chars().all(is_word), "{name}");
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            assert!(
                !["_count", "_sum", "_bucket", "_info_total"].iter().any(|s| name.ends_with(s))
            );
            assert!(!["_ms", "_millis", "_kb", "_percent"].iter().any(|unit| name.contains(unit)));
            assert!(labels.iter().all(|label| label.chars().all(is_word) && *label != "le"));
            assert!(help.ends_with('.') && !help.contains('\n'), "{name}: {help}");
        }
    }

    #[test]
    fn times_that_are_none_are_not_told_as_numbers() {
        assert_eq!(event_seconds(BEGINNING), None);
        assert_eq!(event_seconds(CLOSED), Some(f64::INFINITY));
        assert_eq!(event_seconds(1_500), Some(1.5));
        assert_eq!([lag(BEGINNING, 9), lag(CLOSED, 9), lag(5_000, 7_500)], [None, None, Some(2.5)]);
    }
}
