//! How long a change takes, and what a row of state costs, by the number of rows held.
//!
//! Each case is a job's dataflow as the engine builds it from SQL, on one worker that this program
//! steps itself: a source in this process hands over changes, the source operator decodes and times
//! them, and a change is done when the output has passed its time. So a figure holds all that the
//! engine does for a change but waking a sleeping thread and reading a file.
//!
//! State is loaded first; then come changes of one row and of 1,000 rows, a third each insertions,
//! updates and deletions of rows chosen at random (with a fixed seed, and no row twice). Each case
//! runs in a process of its own, so that its memory is its own. `scripts/bench latency` calls this.

use std::any::Any;
use std::collections::VecDeque;
use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::SchemaRef;
use clap::Parser;
use floodmark::batch::changes::ChangeKind;
use floodmark::connectors::{Decoded, NextSplit, PartitionInfo, RowOffsets, Source, Split};
use floodmark::dataflow::render::render;
use floodmark::dataflow::runtime::{JobRuntime, Place};
use floodmark::error::{Error, Result};
use floodmark::job::definition::{Definition, PlanFor};
use floodmark::limits::ROWS_IN_FLIGHT_MAX;
use floodmark::telemetry::clock::monotonic;
use floodmark::time::EventTime;
use serde::{Deserialize, Serialize};
use timely::dataflow::operators::probe::Handle as Probe;
use timely::worker::Worker;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The last row of a change closes its time: all of it is one tick, and complete when it is read.
const TABLE: &str = "
SET 'time_resolution' = '1 ms';
CREATE TABLE changes (
  side BIGINT, id BIGINT, k BIGINT, v BIGINT, ts TIMESTAMP(3), closed TIMESTAMP(3),
  WATERMARK FOR ts AS closed
) WITH ('connector' = 'filesystem', 'path' = 'none', 'format' = 'changelog-json',
  'source.monitor-interval' = '1 s');
";

/// A query over `changes`.
struct Case {
    name: &'static str,
    /// How many rows share a key on average.
    rows_per_key: u64,
    sql: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "aggregate",
        rows_per_key: 1,
        sql: "CREATE TABLE answer (k BIGINT, n BIGINT, s BIGINT) WITH ('connector' = 'blackhole');
              INSERT INTO answer SELECT k, COUNT(*), SUM(v) FROM changes GROUP BY k",
    },
    Case {
        name: "aggregate, served",
        rows_per_key: 1,
        sql: "CREATE MATERIALIZED VIEW answer AS
              SELECT k, COUNT(*) AS n, SUM(v) AS s FROM changes GROUP BY k",
    },
    Case {
        name: "extremes",
        rows_per_key: 10,
        sql: "CREATE TABLE answer (k BIGINT, low BIGINT, high BIGINT)
              WITH ('connector' = 'blackhole');
              INSERT INTO answer SELECT k, MIN(v), MAX(v) FROM changes GROUP BY k",
    },
    Case {
        name: "inner join",
        rows_per_key: 4,
        sql: "CREATE TABLE answer (a BIGINT, k BIGINT, v BIGINT, b BIGINT, w BIGINT)
              WITH ('connector' = 'blackhole');
              INSERT INTO answer SELECT a.id, a.k, a.v, b.id, b.v
              FROM (SELECT id, k, v FROM changes WHERE side = 0) AS a
              JOIN (SELECT id, k, v FROM changes WHERE side = 1) AS b ON a.k = b.k",
    },
    Case {
        name: "full join",
        rows_per_key: 4,
        sql: "CREATE TABLE answer (a BIGINT, k BIGINT, v BIGINT, b BIGINT, w BIGINT)
              WITH ('connector' = 'blackhole');
              INSERT INTO answer SELECT a.id, a.k, a.v, b.id, b.v
              FROM (SELECT id, k, v FROM changes WHERE side = 0) AS a
              FULL JOIN (SELECT id, k, v FROM changes WHERE side = 1) AS b ON a.k = b.k",
    },
    Case {
        name: "top 3",
        rows_per_key: 10,
        sql: "CREATE TABLE answer (id BIGINT, k BIGINT, v BIGINT) WITH ('connector' = 'blackhole');
              INSERT INTO answer SELECT id, k, v FROM (
                SELECT id, k, v, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC) AS place
                FROM changes)
              WHERE place <= 3",
    },
];

/// Rows of the larger change.
const MANY: u64 = 1_000;
/// Changes in front of those that are measured.
const WARM_UP: u64 = 50;

/// Latency of changes by rows of state.
#[derive(Clone, Parser)]
struct Arguments {
    /// Rows of state.
    #[arg(long, value_delimiter = ',', default_value = "100000,1000000,10000000")]
    rows: Vec<u64>,
    /// Cases; all if none is named.
    #[arg(long, value_delimiter = ';')]
    cases: Vec<String>,
    /// Changes of one row.
    #[arg(long, default_value_t = 3000)]
    singles: u64,
    /// Changes of 1,000 rows.
    #[arg(long, default_value_t = 60)]
    thousands: u64,
    /// Rows of one change while the state is loaded.
    #[arg(long, default_value_t = 16_384)]
    load_rows: u64,
    /// Measures one case in this process and prints JSON.
    #[arg(long, hide = true)]
    alone: bool,
}

/// What was measured of one case at one size.
#[derive(Serialize, Deserialize)]
struct Figures {
    rows: u64,
    load_seconds: f64,
    /// The longest that rows handed over at once took while the state was loaded, in milliseconds:
    /// it shows what growing costs.
    load_longest_ms: f64,
    /// Of changes of one row, in microseconds.
    one: Spread,
    /// Of changes of 1,000 rows, in microseconds.
    thousand: Spread,
    /// Resident memory that the state has added, per row.
    bytes_per_row: f64,
    /// The same at its highest, while tables grew.
    peak_per_row: f64,
    /// Updates that came out.
    updates: u64,
}

#[derive(Serialize, Deserialize)]
struct Spread {
    median: f64,
    p99: f64,
    max: f64,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let place = (times.len().saturating_sub(1) as f64 * share).round() as usize;
            times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        Spread { median: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

// -- the source -----------------------------------------------------------------------------------

type Waker = Arc<dyn Fn() + Send + Sync>;

/// Changes that this process makes, as a table's only partition, which never ends.
struct Feed {
    schema: SchemaRef,
    queue: Mutex<(VecDeque<Changes>, u64)>,
    wake: Mutex<Option<Waker>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    fn new(schema: SchemaRef) -> Self {
        Feed { schema, queue: Mutex::default(), wake: Mutex::default() }
    }

    fn push(&self, changes: Changes) {
        lock(&self.queue).0.push_back(changes);
        if let Some(wake) = lock(&self.wake).as_ref() {
            wake();
        }
    }
}

impl Source for Feed {
    fn is_bounded(&self) -> bool {
        false
    }

    fn start(&self, wake: Waker) -> Result<()> {
        *lock(&self.wake) = Some(wake);
        Ok(())
    }

    fn partitions(&self) -> Vec<PartitionInfo> {
        vec![PartitionInfo { name: "changes".to_string() }]
    }

    fn partition_count(&self) -> usize {
        1
    }

    fn next_split(&self, partition: usize) -> NextSplit {
        let (queue, handed_out) = &mut *lock(&self.queue);
        let Some(changes) = queue.pop_front() else { return NextSplit::Pending };
        let sequence = *handed_out;
        *handed_out += 1;
        let payload: Box<dyn Any + Send> = Box::new(changes);
        NextSplit::Split(Split { partition, sequence, last: false, payload })
    }

    fn partitions_complete(&self) -> bool {
        true
    }

    fn decode(&self, split: Split) -> Result<Decoded> {
        let changes = split.payload.downcast::<Changes>();
        let changes = changes.map_err(|_| Error::internal("a split of another source"))?;
        let kinds = Some(changes.kinds.clone());
        let rows = Some(changes.into_rows(&self.schema)?);
        Ok(Decoded { rows, kinds, row_offsets: RowOffsets::Consecutive, ..Decoded::default() })
    }

    fn failure(&self) -> Option<Error> {
        None
    }
}

// -- the changes ----------------------------------------------------------------------------------

/// Rows that come and go at one time.
#[derive(Clone, Default)]
struct Changes {
    time: EventTime,
    kinds: Vec<ChangeKind>,
    sides: Vec<i64>,
    ids: Vec<i64>,
    keys: Vec<i64>,
    values: Vec<i64>,
}

impl Changes {
    fn into_rows(self, schema: &SchemaRef) -> Result<RecordBatch> {
        let count = self.kinds.len();
        let Changes { time, sides, ids, keys, values, .. } = self;
        let [sides, ids, keys, values] =
            [sides, ids, keys, values].map(|c| Arc::new(Int64Array::from(c)) as ArrayRef);
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![time; count]));
        let closed = (1..=count).map(|row| if row < count { time - 1 } else { time });
        let closed: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(closed));
        let column = |name: &str| match name {
            "side" => Arc::clone(&sides),
            "id" => Arc::clone(&ids),
            "k" => Arc::clone(&keys),
            "v" => Arc::clone(&values),
            "closed" => Arc::clone(&closed),
            _ => Arc::clone(&times),
        };
        let columns = schema.fields().iter().map(|f| column(f.name())).collect();
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
}

/// A number that looks like chance (splitmix64).
fn mix(seed: u64) -> u64 {
    let mut word = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Makes the changes of a run.
struct Workload {
    rows: u64,
    keys: u64,
    rows_per_key: u64,
    time: EventTime,
    /// Rows inserted so far.
    inserted: u64,
    /// Rows updated or deleted so far.
    touched: u64,
    /// Changes made after loading.
    drawn: u64,
    /// What a collection of one row a key would have changed by.
    net: u64,
}

impl Workload {
    fn new(rows: u64, rows_per_key: u64) -> Self {
        let keys = (rows / rows_per_key).max(1);
        let (time, inserted, touched, drawn, net) = (1_000_000, 0, 0, 0, 0);
        Workload { rows, keys, rows_per_key, time, inserted, touched, drawn, net }
    }

    fn add(&self, changes: &mut Changes, id: u64, is_new: bool, kind: ChangeKind) {
        let key = if self.rows_per_key == 1 { id } else { mix(id) % self.keys };
        let value = mix(id ^ 0xf100d) % 1_000_000 + if is_new { 500_000 } else { 0 };
        changes.kinds.push(kind);
        // Numbers below are small: they are counts of rows.
        changes.sides.push((id % 2) as i64);
        changes.ids.push(id as i64);
        changes.keys.push(key as i64);
        changes.values.push(value as i64);
    }

    fn next_changes(&mut self) -> Changes {
        self.time += 1;
        Changes { time: self.time, ..Changes::default() }
    }

    fn insert(&mut self, changes: &mut Changes) {
        self.add(changes, self.inserted, false, ChangeKind::Insert);
        self.inserted += 1;
        self.net += 1;
    }

    /// A row that was loaded and has not been touched yet.
    fn next_victim(&mut self) -> u64 {
        // A prime that divides no number of rows below it walks through all of them.
        const STRIDE: u64 = 2_654_435_761;
        self.touched += 1;
        (self.touched % self.rows * (STRIDE % self.rows)) % self.rows
    }

    /// Up to `count` rows more, until all are loaded.
    fn load(&mut self, count: u64) -> Option<Changes> {
        let left = self.rows - self.inserted.min(self.rows);
        let mut changes = self.next_changes();
        (0..left.min(count)).for_each(|_| self.insert(&mut changes));
        (left > 0).then_some(changes)
    }

    /// Inserts, updates and deletes, `count` rows in all.
    fn change(&mut self, count: u64) -> Changes {
        let mut changes = self.next_changes();
        for _ in 0..count {
            self.drawn += 1;
            match mix(self.drawn) % 3 {
                0 => self.insert(&mut changes),
                1 => {
                    let id = self.next_victim();
                    self.add(&mut changes, id, false, ChangeKind::UpdateBefore);
                    self.add(&mut changes, id, true, ChangeKind::UpdateAfter);
                    self.net += 2;
                }
                _ => {
                    let id = self.next_victim();
                    self.add(&mut changes, id, false, ChangeKind::Delete);
                    self.net += 1;
                }
            }
        }
        changes
    }
}

// -- the run --------------------------------------------------------------------------------------

/// A job's dataflow, stepped by hand.
struct Job<'w> {
    worker: &'w mut Worker,
    probe: Probe<EventTime>,
    runtime: Arc<JobRuntime>,
    feeds: Vec<Arc<Feed>>,
}

impl<'w> Job<'w> {
    fn start(worker: &'w mut Worker, sql: &str) -> Result<Self> {
        let definition = Definition::new(&[("case.sql".into(), format!("{TABLE}{sql};"))], &[])?;
        let plan = definition.plan(PlanFor { changelog: true, side_views: false })?;
        let feeds = Mutex::new(Vec::new());
        let runtime = JobRuntime::with_sources(plan, Place::alone(1), None, &|spec| {
            let feed = Arc::new(Feed::new(Arc::clone(&spec.schema)));
            lock(&feeds).push(Arc::clone(&feed));
            Ok(feed)
        })?;
        let (runtime, feeds) = (Arc::new(runtime), std::mem::take(&mut *lock(&feeds)));
        let probe = worker.dataflow_named::<EventTime, _, _>("job", |scope| {
            render(scope, &runtime, ROWS_IN_FLIGHT_MAX)
        })?;
        runtime.built();
        Ok(Job { worker, probe, runtime, feeds })
    }

    /// How long `changes` take to come out.
    fn apply(&mut self, changes: Changes) -> Result<Duration> {
        let time = changes.time;
        let start = monotonic();
        for feed in &self.feeds {
            feed.push(changes.clone());
        }
        while self.probe.less_equal(&time) {
            self.worker.step();
            if let Some(error) = self.runtime.metrics.failure() {
                return Err(error);
            }
        }
        Ok(monotonic() - start)
    }
}

/// A line of this process's memory figures in bytes; 0 where there are none.
fn memory(line: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix(line)?.split_whitespace().next());
    found.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

/// How many changes are measured, and how many rows are loaded at once.
#[derive(Clone, Copy)]
struct Counts {
    singles: u64,
    thousands: u64,
    load_rows: u64,
}

fn measure(worker: &mut Worker, case: &Case, rows: u64, counts: Counts) -> Result<Figures> {
    let mut job = Job::start(worker, case.sql)?;
    let mut workload = Workload::new(rows, case.rows_per_key);
    let base = memory("VmRSS:");
    let start = monotonic();
    let mut longest = Duration::ZERO;
    while let Some(changes) = workload.load(counts.load_rows) {
        longest = longest.max(job.apply(changes)?);
    }
    let load_seconds = (monotonic() - start).as_secs_f64();
    let load_longest_ms = longest.as_secs_f64() * 1e3;
    for _ in 0..WARM_UP {
        let changes = workload.change(1);
        job.apply(changes)?;
    }
    let per_row = |bytes: f64| (bytes - base).max(0.0) / rows as f64;
    let (bytes_per_row, peak_per_row) = (per_row(memory("VmRSS:")), per_row(memory("VmHWM:")));
    let mut spread = |count: u64, size: u64| -> Result<Spread> {
        let times = (0..count).map(|_| {
            let changes = workload.change(size);
            job.apply(changes)
        });
        Ok(Spread::of(times.collect::<Result<_>>()?))
    };
    let (one, thousand) = (spread(counts.singles, 1)?, spread(counts.thousands, MANY)?);
    let outputs = &job.runtime.metrics.outputs;
    let updates = outputs.iter().map(|o| o.updates.load(std::sync::atomic::Ordering::Relaxed));
    let updates = updates.sum();
    Ok(Figures {
        rows,
        load_seconds,
        load_longest_ms,
        one,
        thousand,
        bytes_per_row,
        peak_per_row,
        updates,
    })
}

fn measure_alone(case: &'static Case, rows: u64, counts: Counts) -> Result<Figures> {
    timely::execute_directly(move |worker| {
        let figures = measure(worker, case, rows, counts);
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
        figures
    })
}

/// Measures in a process of its own.
fn measure_apart(arguments: &Arguments, case: &Case, rows: u64) -> Result<Figures> {
    let failed = |what: String| Error::internal(format!("{} of {rows} rows: {what}", case.name));
    let program = std::env::current_exe().map_err(|e| Error::io("this program", &e))?;
    let output = Command::new(program)
        .args(["--alone", "--cases", case.name, "--rows", &rows.to_string()])
        .args(["--singles", &arguments.singles.to_string()])
        .args(["--thousands", &arguments.thousands.to_string()])
        .args(["--load-rows", &arguments.load_rows.to_string()])
        .output()
        .map_err(|e| Error::io("this program", &e))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_string()));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| failed(e.to_string()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let is_wanted = |case: &&Case| {
        arguments.cases.is_empty() || arguments.cases.iter().any(|name| name == case.name)
    };
    if arguments.alone {
        let (Some(case), Some(&rows)) = (CASES.iter().find(is_wanted), arguments.rows.first())
        else {
            return Err(Error::config("there is no such case"));
        };
        let Arguments { singles, thousands, load_rows, .. } = *arguments;
        let figures = measure_alone(case, rows, Counts { singles, thousands, load_rows })?;
        let text = serde_json::to_string(&figures).map_err(|e| Error::internal(e.to_string()))?;
        println!("{text}");
        return Ok(());
    }
    println!(
        "| case | rows of state | loaded in s | longest step ms | 1 row: median µs | p99 | max | 1,000 rows: \
         median µs | p99 | max | bytes a row | at most |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut ratios = Vec::new();
    for case in CASES.iter().filter(is_wanted) {
        let mut all = Vec::new();
        for &rows in &arguments.rows {
            let found = measure_apart(arguments, case, rows)?;
            let Figures { one, thousand, .. } = &found;
            println!(
                "| {} | {rows} | {:.1} | {:.0} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} | \
                 {:.0} | {:.0} |",
                case.name,
                found.load_seconds,
                found.load_longest_ms,
                one.median,
                one.p99,
                one.max,
                thousand.median,
                thousand.p99,
                thousand.max,
                found.bytes_per_row,
                found.peak_per_row,
            );
            all.push(found);
        }
        if let (Some(first), Some(last)) = (all.first(), all.last()) {
            ratios.push(format!(
                "{}: {} rows over {}: {:.2} times the median of 1 row, {:.2} of 1,000",
                case.name,
                last.rows,
                first.rows,
                last.one.median / first.one.median,
                last.thousand.median / first.thousand.median,
            ));
        }
    }
    println!();
    ratios.iter().for_each(|ratio| println!("{ratio}"));
    Ok(())
}

fn main() -> std::process::ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_runs_and_one_row_a_key_changes_as_its_rows_do() {
        for case in CASES {
            let counts = Counts { singles: 100, thousands: 1, load_rows: 1000 };
            let figures = measure_alone(case, 3000, counts).unwrap();
            assert!(figures.updates > 0, "{}", case.name);
            if case.rows_per_key > 1 {
                continue;
            }
            let mut workload = Workload::new(3000, 1);
            while workload.load(1000).is_some() {}
            (0..WARM_UP + 100).for_each(|_| drop(workload.change(1)));
            workload.change(MANY);
            assert_eq!(figures.updates, workload.net, "{}", case.name);
        }
    }

    #[test]
    fn no_loaded_row_is_touched_twice() {
        for rows in [3000, 100_000] {
            let mut workload = Workload::new(rows, 1);
            let mut seen = std::collections::BTreeSet::new();
            assert!((0..rows).all(|_| seen.insert(workload.next_victim())));
        }
    }
}
