//! Every metric by name: what it says, and by which labels. `docs/operations.md` says what to do
//! about each; a test holds the two together.

use crate::telemetry::prometheus::{Family, Kind};

/// An operator on a worker.
const AT: &[&str] = &["job", "operator", "worker"];
/// An output of a job: a view, a sink.
const OF_OUTPUT: &[&str] = &["job", "output"];
/// A table that a job reads.
const OF_TABLE: &[&str] = &["job", "table"];

macro_rules! families {
    ($($id:ident = $kind:ident $name:literal $labels:expr, $help:literal;)*) => {
        $(pub(super) const $id: Family =
            Family { name: $name, kind: Kind::$kind, labels: $labels, help: $help };)*
        /// All of them, in the order of a page.
        pub const FAMILIES: &[Family] = &[$($id),*];
    };
}

families! {
    BUILD_INFO = Gauge "floodmark_build_info" &["version"],
        "1, with the version of the program.";
    START_TIME = Gauge "floodmark_process_start_time_seconds" &[],
        "When the process began, in seconds since the Unix epoch.";
    UPTIME = Gauge "floodmark_process_uptime_seconds" &[],
        "Seconds since the process began.";
    RESTARTS = Counter "floodmark_process_restarts_total" &[],
        "How often the process was started again before by its supervisor.";
    CPU = Counter "floodmark_process_cpu_seconds_total" &[],
        "Seconds that the threads of the process have run on a core, user and system.";
    RESIDENT = Gauge "floodmark_process_resident_memory_bytes" &[],
        "Memory that the process has in use, as the system counts it.";
    OPEN_FDS = Gauge "floodmark_process_open_fds" &[],
        "Files and sockets that the process has open.";
    LEFT_OUT = Gauge "floodmark_metrics_series_left_out" &[],
        "Series that this page had no room for.";

    WORKERS = Gauge "floodmark_workers" &[],
        "Worker threads of the process.";
    WORKER_BUSY = Counter "floodmark_worker_busy_seconds_total" &["worker"],
        "Seconds that a worker was at work, for all jobs.";
    WORKER_IDLE = Counter "floodmark_worker_idle_seconds_total" &["worker"],
        "Seconds that a worker slept with nothing to do.";
    WORKER_HELD_BACK = Counter "floodmark_worker_backpressured_seconds_total" &["worker"],
        "Seconds that a worker slept while a source or sink on it was held back.";

    JOBS = Gauge "floodmark_jobs" &["state"],
        "Jobs by state.";
    JOB_STATE = Gauge "floodmark_job_state" &["job", "state"],
        "1 for the state that the job is in, 0 for the others.";
    LATE = Counter "floodmark_late_records_total" &["job"],
        "Rows that came after their window had closed.";
    DEAD = Counter "floodmark_dead_letters_total" &["job"],
        "Records that could not be decoded, and rows that failed in an expression.";
    UNKNOWN_UPDATES = Counter "floodmark_unknown_updates_total" &["job"],
        "Updates of keys that were not there.";
    ABSENT_DELETES = Counter "floodmark_absent_deletes_total" &["job"],
        "Deletions of keys that were not there.";
    DUPLICATE_INSERTS = Counter "floodmark_duplicate_inserts_total" &["job"],
        "Insertions of keys that were there.";

    SOURCE_RECORDS = Counter "floodmark_source_records_total" OF_TABLE,
        "Rows read from a table.";
    SOURCE_BYTES = Counter "floodmark_source_bytes_total" OF_TABLE,
        "Bytes read from a table, as they are stored.";
    SOURCE_PARTITIONS = Gauge "floodmark_source_partitions" OF_TABLE,
        "Partitions of a table so far: files, topics' partitions.";
    SOURCE_WATERMARK = Gauge "floodmark_source_watermark_seconds" OF_TABLE,
        "Event time below which no row of a table will still appear; +Inf at its end.";
    SOURCE_LAG = Gauge "floodmark_source_lag_seconds" OF_TABLE,
        "How far the watermark of a table is behind the wall clock.";

    RECORDS_IN = Counter "floodmark_operator_records_in_total" AT,
        "Rows that an operator was given.";
    RECORDS_OUT = Counter "floodmark_operator_records_out_total" AT,
        "Rows that an operator has given to others.";
    BATCHES_IN = Counter "floodmark_operator_batches_in_total" AT,
        "Batches that an operator was given.";
    BATCHES_OUT = Counter "floodmark_operator_batches_out_total" AT,
        "Batches that an operator has given to others.";
    BYTES_IN = Counter "floodmark_operator_bytes_in_total" AT,
        "About the bytes in memory of the rows that an operator was given.";
    BUSY = Counter "floodmark_operator_busy_seconds_total" AT,
        "Seconds that an operator ran.";
    IDLE = Counter "floodmark_operator_idle_seconds_total" AT,
        "Seconds that an operator did not run and nothing held it back.";
    HELD_BACK = Counter "floodmark_operator_backpressured_seconds_total"
        &["job", "operator", "worker", "reason"],
        "Seconds that a source or a sink was held back, by reason.";
    QUEUED = Gauge "floodmark_operator_queued_rows" AT,
        "Rows that an operator holds until its frontier has passed them.";
    IN_FLIGHT = Gauge "floodmark_operator_in_flight_rows" AT,
        "Rows that a source has sent and the outputs have not finished.";
    IN_FLIGHT_MAX = Gauge "floodmark_operator_in_flight_rows_max" AT,
        "Rows that a source may have on their way before it is held back.";
    STATE_ROWS = Gauge "floodmark_operator_state_rows" AT,
        "Rows or groups of an operator's state.";
    STATE_BYTES = Gauge "floodmark_operator_state_bytes" AT,
        "About the bytes of an operator's state.";

    EXCHANGE_RECORDS = Counter "floodmark_exchange_records_total"
        &["job", "operator", "input", "kind", "worker"],
        "Rows that a worker was sent at an input of an operator, by kind of exchange.";
    EXCHANGE_BATCHES = Counter "floodmark_exchange_batches_total"
        &["job", "operator", "input", "kind", "worker"],
        "Batches that a worker was sent at an input of an operator, by kind of exchange.";

    OUTPUT_RECORDS = Counter "floodmark_output_records_total" OF_OUTPUT,
        "Changes given to a view or a sink.";
    OUTPUT_FRONTIER = Gauge "floodmark_output_frontier_seconds" OF_OUTPUT,
        "Event time below which an output is complete; +Inf at its end.";
    OUTPUT_LAG = Gauge "floodmark_output_lag_seconds" OF_OUTPUT,
        "How far the frontier of an output is behind the wall clock.";
    SINK_QUEUED = Gauge "floodmark_sink_queued_rows" OF_OUTPUT,
        "Rows that wait for the writer of a sink.";
    SINK_WRITING = Counter "floodmark_sink_write_seconds_total" OF_OUTPUT,
        "Seconds that the writer of a sink has taken to write and commit.";
    VIEW_ROWS = Gauge "floodmark_view_rows" &["job", "view"],
        "Rows in a view now.";
    VIEW_BYTES = Gauge "floodmark_view_bytes" &["job", "view"],
        "Bytes of a view with its history.";

    MEMORY_BUDGET = Gauge "floodmark_memory_budget_bytes" &["job"],
        "The memory budget of a job.";
    SPILL_WRITTEN = Counter "floodmark_spill_written_bytes_total" &["job"],
        "Bytes of state put aside on disk.";
    SPILL_READ = Counter "floodmark_spill_read_bytes_total" &["job"],
        "Bytes of state read back from disk.";
    SPILL_DISK = Gauge "floodmark_spill_disk_bytes" &["job"],
        "Bytes of state on disk now.";

    SNAPSHOTS = Counter "floodmark_snapshots_total" &["job"],
        "Complete snapshots.";
    SNAPSHOT_FAILURES = Counter "floodmark_snapshot_failures_total" &["job"],
        "Snapshots that could not be written.";
    SNAPSHOT_DURATION = Histogram "floodmark_snapshot_duration_seconds" &["job"],
        "Seconds from the choice of a snapshot's frontier to its commit.";
    SNAPSHOT_LAST_DURATION = Gauge "floodmark_snapshot_last_duration_seconds" &["job"],
        "The same of the last snapshot.";
    SNAPSHOT_LAST_BYTES = Gauge "floodmark_snapshot_last_size_bytes" &["job"],
        "Bytes of all that the last snapshot names.";
    SNAPSHOT_AGE = Gauge "floodmark_snapshot_age_seconds" &["job"],
        "Seconds since the commit of the last snapshot.";
    SNAPSHOT_LAST_TIME = Gauge "floodmark_snapshot_last_timestamp_seconds" &["job"],
        "When the last snapshot was committed, in seconds since the Unix epoch.";
    SNAPSHOT_WRITTEN = Counter "floodmark_snapshot_written_bytes_total" &["job"],
        "Bytes that snapshots have written.";
    SNAPSHOT_PAUSE = Gauge "floodmark_snapshot_pause_seconds" &["job"],
        "The longest that snapshots have kept a worker from its work at a time.";
    RESTORE_DURATION = Gauge "floodmark_restore_duration_seconds" &["job"],
        "Seconds that the job took to take its state back when it started.";
    RESTORED_BYTES = Gauge "floodmark_restored_bytes" &["job"],
        "Bytes in memory of the state that the job took back when it started.";
}
