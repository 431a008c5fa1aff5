//! A scripted source, and the source operator driven by it with everything it does written down.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, TimestampMillisecondArray,
};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMillisecondType};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe as _;
use timely::dataflow::operators::probe::Handle as Probe;

use super::super::*;
use crate::connectors::{Decoded, PartitionInfo, RowOffsets, SourceSpec};
use crate::dataflow::runtime::Place;
use crate::error::DeadLetter;
use crate::plan::lower::{LowerOptions, lower};
use crate::plan::node::{Operator, StreamPlan};
use crate::time::{BEGINNING, frontier_of};

const PATIENCE: Duration = Duration::from_secs(30);

/// A record of a partition.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// id, ts, wm.
    Row(i64, Option<i64>, Option<i64>),
    /// Not to be decoded.
    Broken,
}

/// What a partition answers.
enum Answer {
    Split(Vec<Record>, bool),
    /// Once "nothing now", and a wake soon after.
    Pause,
}

#[derive(Default)]
struct Partition {
    answers: VecDeque<Answer>,
    sequence: u64,
    position: i64,
    has_ended: bool,
}

/// A scripted source.
pub struct Fake {
    is_bounded: bool,
    schema: SchemaRef,
    partitions: Mutex<Vec<Partition>>,
    wake: OnceLock<Arc<dyn Fn() + Send + Sync>>,
}

impl Fake {
    fn new(schema: SchemaRef, is_bounded: bool, partitions: usize) -> Self {
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        Fake { is_bounded, schema, partitions: Mutex::new(partitions), wake: OnceLock::new() }
    }

    /// Adds a split.
    pub fn push(&self, partition: usize, records: Vec<Record>, last: bool) {
        lock(&self.partitions)[partition].answers.push_back(Answer::Split(records, last));
        self.wake();
    }

    pub fn pause(&self, partition: usize) {
        lock(&self.partitions)[partition].answers.push_back(Answer::Pause);
    }

    pub fn add_partition(&self) {
        lock(&self.partitions).push(Partition::default());
        self.wake();
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }
}

impl Source for Fake {
    fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    fn start(&self, wake: Arc<dyn Fn() + Send + Sync>) -> Result<()> {
        assert!(self.wake.set(wake).is_ok());
        self.wake();
        Ok(())
    }

    fn partitions(&self) -> Vec<PartitionInfo> {
        let count = lock(&self.partitions).len();
        (0..count).map(|p| PartitionInfo { name: format!("p{p}") }).collect()
    }

    fn next_split(&self, partition: usize) -> NextSplit {
        let mut partitions = lock(&self.partitions);
        let own = &mut partitions[partition];
        match own.answers.pop_front() {
            Some(Answer::Split(records, last)) => {
                assert!(!own.has_ended);
                let (sequence, position) = (own.sequence, own.position);
                own.sequence += 1;
                own.position += records.len() as i64;
                own.has_ended = last;
                let payload = Box::new((records, position));
                NextSplit::Split(Split { partition, sequence, last, payload })
            }
            Some(Answer::Pause) => {
                drop(partitions);
                self.wake();
                NextSplit::Pending
            }
            None if self.is_bounded && partitions.iter().all(|p| p.has_ended) => NextSplit::Ended,
            None => NextSplit::Pending,
        }
    }

    fn partitions_complete(&self) -> bool {
        self.is_bounded
    }

    fn decode(&self, split: Split) -> Result<Decoded> {
        let partition = split.partition;
        let (records, offset) = *split.payload.downcast::<(Vec<Record>, i64)>().unwrap();
        let end = Some(offset + records.len() as i64);
        let mut decoded = Decoded { offset, end, ..Decoded::default() };
        let (mut rows, mut behind) = (Vec::new(), Vec::new());
        for (i, record) in records.into_iter().enumerate() {
            match record {
                Record::Row(id, ts, wm) => {
                    rows.push((id, ts, wm));
                    behind.push(i as u32);
                }
                Record::Broken => {
                    let letter = DeadLetter {
                        source: "t".into(),
                        partition: format!("p{partition}"),
                        offset: offset + i as i64,
                        reason: "broken".into(),
                        record: String::new(),
                    };
                    decoded.dead_letters.push((rows.len(), letter));
                }
            }
        }
        let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
            match field.name().as_str() {
                "id" => Arc::new(rows.iter().map(|r| Some(r.0)).collect::<Int64Array>()),
                "ts" => Arc::new(rows.iter().map(|r| r.1).collect::<TimestampMillisecondArray>()),
                _ => Arc::new(rows.iter().map(|r| r.2).collect::<TimestampMillisecondArray>()),
            }
        };
        let columns = self.schema.fields().iter().map(column).collect();
        let count = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = Arc::clone(&self.schema);
        decoded.rows = (!rows.is_empty())
            .then(|| RecordBatch::try_new_with_options(schema, columns, &count).unwrap());
        decoded.row_offsets = RowOffsets::Behind(behind);
        Ok(decoded)
    }

    fn failure(&self) -> Option<Error> {
        None
    }
}

/// The plan of `sql`; tables whose name starts with `u` do not end.
pub fn plan(sql: &str) -> Arc<StreamPlan> {
    let script = crate::sql::script::parse_script("test.sql", sql).unwrap();
    let job = crate::sql::bind::bind(&[script], &[]).unwrap();
    let options = LowerOptions {
        source_mode: &|_| crate::plan::props::ChangelogMode::Append,
        is_bounded: &|table| !table.name.starts_with('u'),
        changelog: true,
        side_views: true,
    };
    Arc::new(lower(&job, &options).unwrap())
}

/// `CREATE TABLE name` with the columns of [`Record::Row`] and a clause more.
pub fn table(name: &str, clause: &str) -> String {
    let with = "WITH ('connector' = 'filesystem', 'path' = 'x', 'format' = 'json')";
    format!("CREATE TABLE {name} (id BIGINT, ts TIMESTAMP(3), wm TIMESTAMP(3){clause}) {with};\n")
}

/// A runtime of `plan` over fakes with so many partitions each, in the order of the plan.
pub fn fakes(
    plan: &Arc<StreamPlan>,
    workers: usize,
    partitions: usize,
) -> (Arc<JobRuntime>, Vec<Arc<Fake>>) {
    let made = Mutex::new(Vec::new());
    let create = |spec: &SourceSpec| -> Result<Arc<dyn Source>> {
        let is_bounded = !spec.table.name.starts_with('u');
        let fake = Arc::new(Fake::new(Arc::clone(&spec.schema), is_bounded, partitions));
        lock(&made).push(Arc::clone(&fake));
        Ok(fake)
    };
    let place = Place::alone(workers);
    let runtime = JobRuntime::with_sources(Arc::clone(plan), place, None, &create).unwrap();
    (Arc::new(runtime), made.into_inner().unwrap())
}

/// A row as the dataflow sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub source: usize,
    pub id: i64,
    pub time: i64,
}

/// Everything that the operators did.
#[derive(Debug, Default)]
pub struct Log {
    /// In order of arrival.
    pub rows: Vec<Seen>,
    /// Time of the update, time column, source, partition, offset, reason.
    pub dead: Vec<(i64, i64, String, String, i64, String)>,
    /// By worker and source.
    frontiers: Vec<Vec<i64>>,
    broken: Vec<String>,
    done: usize,
}

impl Log {
    /// The frontier of a source as the slowest worker sees it.
    pub fn frontier(&self, source: usize) -> i64 {
        self.frontiers.iter().map(|f| f[source]).min().unwrap()
    }
}

/// The source operators of a plan at work, each with a listener behind it.
pub struct Running {
    pub fakes: Vec<Arc<Fake>>,
    pub runtime: Arc<JobRuntime>,
    shared: Arc<Observed>,
    guards: Option<timely::communication::WorkerGuards<()>>,
}

#[derive(Default)]
struct Observed {
    log: Mutex<Log>,
    moved: Condvar,
    /// The listeners' outputs do not move while closed.
    is_closed: AtomicBool,
    is_over: AtomicBool,
}

impl Running {
    /// Starts `workers` threads; the fakes may have been given splits by `prepare`.
    pub fn start(
        sql: &str,
        workers: usize,
        partitions: usize,
        is_closed: bool,
        prepare: impl FnOnce(&[Arc<Fake>]),
    ) -> Self {
        let plan = plan(sql);
        let (runtime, fakes) = fakes(&plan, workers, partitions);
        prepare(&fakes);
        let shared = Arc::new(Observed::default());
        shared.is_closed.store(is_closed, Ordering::Release);
        lock(&shared.log).frontiers = vec![vec![BEGINNING; fakes.len()]; workers];
        let (run, log) = (Arc::clone(&runtime), Arc::clone(&shared));
        let config = timely::Config {
            communication: timely::CommunicationConfig::Process(workers),
            worker: timely::WorkerConfig::default(),
        };
        let guards = timely::execute(config, move |worker| work(worker, &run, &log)).unwrap();
        Running { fakes, runtime, shared, guards: Some(guards) }
    }

    /// Waits until `reached` holds of the log.
    pub fn wait(&self, what: &str, mut reached: impl FnMut(&Log) -> bool) {
        let log = lock(&self.shared.log);
        let (log, _) =
            self.shared.moved.wait_timeout_while(log, PATIENCE, |log| !reached(log)).unwrap();
        let log = log;
        let mut reached = reached;
        assert!(reached(&log), "waited for {what}: {:?}", *log);
    }

    pub fn open(&self) {
        self.shared.is_closed.store(false, Ordering::Release);
    }

    pub fn with_log<R>(&self, look: impl FnOnce(&Log) -> R) -> R {
        look(&lock(&self.shared.log))
    }

    /// Waits for the end of bounded sources; what was seen.
    pub fn finish(self) -> Log {
        let workers = self.runtime.workers;
        self.wait("the end", |log| log.done == workers);
        self.stop()
    }

    /// Stops at once; what was seen.
    pub fn stop(mut self) -> Log {
        self.end();
        let log = std::mem::take(&mut *lock(&self.shared.log));
        assert!(log.broken.is_empty(), "{:?}", log.broken);
        assert!(self.runtime.metrics.failure().is_none(), "{:?}", self.runtime.metrics.failure());
        log
    }

    fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        if let Some(guards) = self.guards.take() {
            guards.join().into_iter().for_each(|ended| ended.unwrap());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
    }
}

fn work(worker: &mut timely::worker::Worker, runtime: &Arc<JobRuntime>, shared: &Arc<Observed>) {
    let probe = Probe::new();
    let rows_max = runtime.plan.nodes[0].settings.rows_in_flight;
    let dataflow = worker.next_dataflow_index();
    worker.dataflow::<EventTime, _, _>(|scope| {
        let scans = runtime.plan.nodes.iter().enumerate();
        let scans = scans.filter(|(_, n)| matches!(n.operator, Operator::Scan(_)));
        for (index, (node, _)) in scans.enumerate() {
            let node = crate::plan::node::NodeId(node);
            let own = (node, Arc::clone(runtime.source(node).unwrap()));
            let budget = Budget::new(vec![probe.clone()], rows_max);
            let (rows, sides) = source(scope, own, Arc::clone(runtime), budget, true);
            listen(scope, rows, index, false, shared).probe_with(&probe);
            listen(scope, sides.dead.unwrap(), index, true, shared).probe_with(&probe);
        }
    });
    runtime.built();
    let mut is_done = false;
    while !shared.is_over.load(Ordering::Acquire) {
        worker.step_or_park(Some(Duration::from_millis(2)));
        if probe.done() && !is_done {
            is_done = true;
            lock(&shared.log).done += 1;
            shared.moved.notify_all();
        }
    }
    if worker.installed_dataflows().contains(&dataflow) {
        worker.drop_dataflow(dataflow);
    }
}

/// Writes down rows, frontiers, and breaches of the capability law.
fn listen<'s>(
    scope: Scope<'s, EventTime>,
    stream: Stream<'s, EventTime, UpdateBatch>,
    index: usize,
    is_dead: bool,
    shared: &Arc<Observed>,
) -> Stream<'s, EventTime, UpdateBatch> {
    let mut builder = OperatorBuilder::new("Listen".to_string(), scope);
    let mut input = builder.new_input(stream, Pipeline);
    let (_, progress) = builder.new_output::<UpdateBatch>();
    let activator = scope.activator_for(builder.operator_info().address);
    let (worker, shared) = (scope.index(), Arc::clone(shared));
    builder.build(move |mut caps| {
        let mut cap = caps.pop();
        let mut reached = BEGINNING;
        move |frontiers| {
            let mut log = lock(&shared.log);
            input.for_each(|at, data| {
                let batch = std::mem::take(data);
                let (lowest, _) = batch.time_range().unwrap();
                let at = *at.least().unwrap();
                if lowest < at || at < reached {
                    let what = format!("{index}: {lowest} sent at {at} after {reached}");
                    log.broken.push(what);
                }
                if is_dead {
                    note_dead(&mut log, &batch);
                } else {
                    let ids =
                        batch.rows().column_by_name("id").unwrap().as_primitive::<Int64Type>();
                    for (&id, &time) in ids.values().iter().zip(batch.times().iter()) {
                        log.rows.push(Seen { source: index, id, time });
                    }
                }
            });
            reached = frontier_of(frontiers[0].frontier());
            if !is_dead {
                let seen = &mut log.frontiers[worker][index];
                assert!(*seen <= reached);
                *seen = reached;
            }
            shared.moved.notify_all();
            if shared.is_closed.load(Ordering::Acquire) {
                activator.activate_after(Duration::from_millis(1));
            } else if reached == CLOSED {
                cap = None;
            } else if let Some(cap) = &mut cap {
                cap.downgrade(&reached);
            }
        }
    });
    progress
}

fn note_dead(log: &mut Log, batch: &UpdateBatch) {
    let rows = batch.rows();
    let shown = rows.column(0).as_primitive::<TimestampMillisecondType>();
    let text = |c: usize, i: usize| rows.column(c).as_string_view().value(i).to_string();
    for (i, &time) in batch.times().iter().enumerate() {
        let offset = rows.column(3).as_primitive::<Int64Type>().value(i);
        log.dead.push((time, shown.value(i), text(1, i), text(2, i), offset, text(4, i)));
    }
}
