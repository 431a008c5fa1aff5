//! The source operator: takes splits, decodes them on the worker, assigns event time.
//!
//! All workers of a process share one [`SharedSource`] per table: whoever is free takes the next
//! split of the partition that is furthest behind, so one large file keeps every worker busy. The
//! operator holds its capability at the least `f_p` of the partitions, rounded down to a tick.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::compute;
use arrow::datatypes::{TimeUnit, TimestampMillisecondType};
use timely::container::NoopBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::{Activator, SyncActivator};

use super::clock::{PartitionClock, assign_times, source_frontier};
use super::metrics::lock;
use super::runtime::{Alignment, Budget, JobRuntime};
use super::side::SideStreams;
use crate::batch::UpdateBatch;
use crate::connectors::{NextSplit, Source, Split};
use crate::error::{DeadLetter, Error, Result};
use crate::plan::expr::{Expression, time_type};
use crate::plan::node::Scan;
use crate::sql::settings::Settings;
use crate::telemetry::clock::wall_ms;
use crate::time::{BEGINNING, CLOSED, EventTime, Resolution};

/// How long a source that must wait for others sleeps.
const NAP: Duration = Duration::from_millis(1);
/// Splits that one worker may hold decoded while earlier ones are not.
const HELD_MAX: usize = 2;

/// One table's source, shared by the workers of a process.
pub struct SharedSource {
    source: Arc<dyn Source>,
    scan: Scan,
    index: usize,
    resolution: Resolution,
    idle_timeout: Option<i64>,
    max_future_skew: Option<i64>,
    max_drift: i64,
    clocks: Mutex<Vec<PartitionClock>>,
    activators: Arc<Mutex<Vec<SyncActivator>>>,
    alignment: Arc<Alignment>,
}

/// A decoded split whose times are not all known yet.
struct Held {
    partition: usize,
    sequence: u64,
    rows: RecordBatch,
    /// `ts(e)`.
    times: Vec<EventTime>,
    watermarks: Watermarks,
    published: bool,
    dead_letters: Vec<DeadLetter>,
}

enum Watermarks {
    /// `ts - delay`.
    Delayed(i64),
    /// One a row.
    Values(ArrayRef),
    /// None: ingestion time.
    Ingestion,
}

impl Watermarks {
    fn assign(&self, times: &mut [EventTime], start: EventTime) -> EventTime {
        match self {
            Watermarks::Delayed(delay) => {
                let delay = *delay;
                let raw: &mut [EventTime] = times;
                let mut frontier = start;
                for time in raw {
                    let ts = *time;
                    *time = ts.max(frontier);
                    frontier = frontier.max(ts.saturating_sub(delay).saturating_add(1));
                }
                frontier
            }
            Watermarks::Values(values) => {
                let values = values.as_primitive::<TimestampMillisecondType>();
                let at = |i| values.is_valid(i).then(|| values.value(i));
                assign_times(times, at, start)
            }
            Watermarks::Ingestion => {
                let time = start.max(times.first().copied().unwrap_or(start));
                times.fill(time);
                time
            }
        }
    }

    /// 1 ms + the greatest watermark: what the split does to `f_p`, whatever it was before.
    fn bound(&self, times: &[EventTime]) -> EventTime {
        match self {
            Watermarks::Delayed(delay) => {
                times.iter().max().map_or(BEGINNING, |t| t.saturating_sub(*delay).saturating_add(1))
            }
            Watermarks::Values(values) => {
                compute::max(values.as_primitive::<TimestampMillisecondType>())
                    .map_or(BEGINNING, |w| w.saturating_add(1))
            }
            Watermarks::Ingestion => times.first().copied().unwrap_or(BEGINNING),
        }
    }
}

impl SharedSource {
    /// The source of `scan`, number `index` of its job.
    pub fn new(
        source: Arc<dyn Source>,
        scan: Scan,
        index: usize,
        settings: &Settings,
        alignment: Arc<Alignment>,
    ) -> Self {
        const DAY: i64 = 86_400_000;
        let skew = match settings.max_future_skew {
            Some(skew) if skew >= 0 => Some(skew),
            Some(_) => None,
            None => (!source.is_bounded()).then_some(DAY),
        };
        SharedSource {
            max_future_skew: skew.filter(|_| scan.watermark.is_some()),
            source,
            scan,
            index,
            resolution: settings.time_resolution,
            idle_timeout: settings.idle_timeout,
            max_drift: settings.max_drift,
            clocks: Mutex::new(Vec::new()),
            activators: Arc::default(),
            alignment,
        }
    }

    /// Starts reading; the workers' operators have been built.
    pub fn start(&self) -> Result<()> {
        let activators = Arc::clone(&self.activators);
        self.source.start(Arc::new(move || {
            for activator in lock(&activators).iter() {
                // A worker that is gone needs no waking.
                let _ = activator.activate();
            }
        }))
    }

    /// The partitions' names.
    pub fn partitions(&self) -> Vec<String> {
        self.source.partitions().into_iter().map(|p| p.name).collect()
    }

    fn is_ingestion_time(&self) -> bool {
        self.scan.watermark.is_none()
    }

    /// Notices new partitions, silence, and the passing of ingestion time; the frontier then.
    fn refresh(&self, clocks: &mut Vec<PartitionClock>, now: i64) -> EventTime {
        let complete = self.source.partitions_complete();
        let count = self.source.partitions().len();
        if clocks.len() < count {
            let floor = if clocks.is_empty() { BEGINNING } else { source_frontier(clocks, false) };
            clocks.resize_with(count, || PartitionClock::new(floor, now));
        }
        for clock in clocks.iter_mut() {
            if self.is_ingestion_time() && !self.source.is_bounded() {
                clock.tick(now);
            }
            if let Some(timeout) = self.idle_timeout.filter(|_| !self.source.is_bounded()) {
                clock.check_idle(timeout, now);
            }
        }
        source_frontier(clocks, complete)
    }

    /// The next split to decode: of the partition furthest behind.
    fn claim(&self, workers: usize) -> Claim {
        let now = wall_ms();
        let mut clocks = lock(&self.clocks);
        let floor = self.refresh(&mut clocks, now);
        if floor == CLOSED {
            return Claim::Ended;
        }
        let mut order: Vec<_> = (0..clocks.len()).filter(|&p| !clocks[p].is_exhausted()).collect();
        order.sort_by_key(|&p| (clocks[p].frontier(), p));
        let horizon = self.alignment.least_of_others(self.index).saturating_add(self.max_drift);
        for partition in order {
            let clock = &mut clocks[partition];
            if clock.frontier() > horizon {
                return Claim::Ahead;
            }
            if clock.outstanding() >= 2 * workers as u64 {
                continue;
            }
            match self.source.next_split(partition) {
                NextSplit::Split(split) => {
                    clock.hand_out(split.sequence, split.last, floor, now);
                    return Claim::Split(split);
                }
                NextSplit::Pending => {}
                NextSplit::Ended => return Claim::Nothing,
            }
        }
        Claim::Nothing
    }

    /// Decodes a split and computes its timestamps; publishes its watermark where that needs no
    /// `f_p`.
    fn decode(&self, split: Split, table: &str) -> Result<(Option<Held>, usize)> {
        let (partition, sequence) = (split.partition, split.sequence);
        let decoded = self.source.decode(split)?;
        let bytes = decoded.bytes;
        let mut held = Held {
            partition,
            sequence,
            rows: RecordBatch::new_empty(Arc::clone(&self.scan.columns)),
            times: Vec::new(),
            watermarks: Watermarks::Ingestion,
            published: false,
            dead_letters: decoded.dead_letters,
        };
        if let Some(rows) = decoded.rows {
            self.timestamps(rows, &mut held, table, decoded.offset)?;
        }
        if self.max_future_skew.is_none() {
            let bound = held.watermarks.bound(&held.times);
            lock(&self.clocks)[partition].publish(sequence, bound);
            held.published = true;
        }
        Ok((Some(held), bytes))
    }

    fn timestamps(
        &self,
        rows: RecordBatch,
        held: &mut Held,
        table: &str,
        offset: i64,
    ) -> Result<()> {
        let Some((time, watermark)) = &self.scan.watermark else {
            held.times = vec![wall_ms(); rows.num_rows()];
            held.rows = rows;
            return Ok(());
        };
        let mut rows = rows;
        let mut ts = millis(time, &rows)?;
        if ts.null_count() > 0 {
            let nulls = BooleanArray::new(
                ts.nulls().map_or_else(|| BooleanBuffer::new_set(ts.len()), |n| n.inner().clone()),
                None,
            );
            let reason = "the rowtime column is NULL";
            let failed = compute::filter_record_batch(&rows, &compute::not(&nulls)?)?;
            held.dead_letters.extend(super::side::letters_of_rows(table, reason, &failed, offset)?);
            rows = compute::filter_record_batch(&rows, &nulls)?;
            ts = compute::filter(&ts, &nulls)?;
        }
        held.times = ts.as_primitive::<TimestampMillisecondType>().values().to_vec();
        held.watermarks = match (watermark.as_column_minus_millis(), time.as_column()) {
            (Some((column, delay)), Some(rowtime)) if column == rowtime => {
                Watermarks::Delayed(delay)
            }
            _ => Watermarks::Values(millis(watermark, &rows)?),
        };
        held.rows = rows;
        Ok(())
    }

    /// Gives `held` its event times if `f_p` at its start is known.
    fn settle(&self, held: &mut Held, start: EventTime, table: &str) -> Result<UpdateBatch> {
        if let Some(skew) = self.max_future_skew {
            self.refuse_future(held, start, skew, table)?;
        }
        let mut times = std::mem::take(&mut held.times);
        let frontier = held.watermarks.assign(&mut times, start);
        if !held.published {
            lock(&self.clocks)[held.partition].publish(held.sequence, frontier);
            held.published = true;
        }
        Ok(UpdateBatch::new(held.rows.clone(), ScalarBuffer::from(times), None))
    }

    /// Moves records too far in the future of their partition to the dead letters.
    fn refuse_future(
        &self,
        held: &mut Held,
        start: EventTime,
        skew: i64,
        table: &str,
    ) -> Result<()> {
        let mut frontier = start;
        let mut refused = false;
        let mut kept = Vec::with_capacity(held.times.len());
        for (i, &ts) in held.times.iter().enumerate() {
            let fits = frontier == BEGINNING || ts <= frontier.saturating_add(skew);
            refused |= !fits;
            kept.push(fits);
            if fits {
                let one = &mut [ts];
                frontier = match &held.watermarks {
                    Watermarks::Values(values) => {
                        let values = values.as_primitive::<TimestampMillisecondType>();
                        let at = values.is_valid(i).then(|| values.value(i));
                        assign_times(one, |_| at, frontier)
                    }
                    other => other.assign(one, frontier),
                };
            }
        }
        if !refused {
            return Ok(());
        }
        let kept = BooleanArray::from(kept);
        let future = compute::filter_record_batch(&held.rows, &compute::not(&kept)?)?;
        let reason = "the rowtime is further in the future than max_future_skew allows";
        held.dead_letters.extend(super::side::letters_of_rows(table, reason, &future, -1)?);
        held.rows = compute::filter_record_batch(&held.rows, &kept)?;
        let mut at = 0;
        held.times.retain(|_| {
            at += 1;
            kept.value(at - 1)
        });
        if let Watermarks::Values(values) = &held.watermarks {
            held.watermarks = Watermarks::Values(compute::filter(values, &kept)?);
        }
        Ok(())
    }
}

enum Claim {
    Split(Split),
    /// Others are behind: wait for them.
    Ahead,
    Nothing,
    Ended,
}

/// The values of a timestamp expression in milliseconds.
fn millis(expr: &Expression, rows: &RecordBatch) -> Result<ArrayRef> {
    let values = expr.physical().evaluate(rows)?.into_array(rows.num_rows())?;
    match values.data_type() {
        arrow::datatypes::DataType::Timestamp(TimeUnit::Millisecond, None) => Ok(values),
        _ => Ok(compute::cast(&values, &time_type())?),
    }
}

/// The operator of one worker.
struct Reader {
    shared: Arc<SharedSource>,
    runtime: Arc<JobRuntime>,
    budget: Rc<Budget>,
    held: Vec<Held>,
    workers: usize,
    table: String,
}

/// What a step of a [`Reader`] produced.
struct Step {
    ready: Vec<(UpdateBatch, Vec<DeadLetter>)>,
    frontier: EventTime,
    again: Again,
}

enum Again {
    Now,
    AfterNap,
    AfterTick,
    WhenWoken,
}

impl Reader {
    fn step(&mut self, held_back: EventTime) -> Result<Step> {
        if let Some(error) = self.shared.source.failure() {
            return Err(error);
        }
        let again = self.read(held_back)?;
        let (starts, frontier) = {
            let mut clocks = lock(&self.shared.clocks);
            let frontier = self.shared.refresh(&mut clocks, wall_ms());
            let starts: Vec<_> =
                self.held.iter().map(|h| clocks[h.partition].start(h.sequence)).collect();
            (starts, frontier)
        };
        let mut ready = Vec::new();
        let mut waiting = Vec::new();
        for (mut held, start) in std::mem::take(&mut self.held).into_iter().zip(starts) {
            match start {
                Some(start) => {
                    lock(&self.shared.clocks)[held.partition].take_start(held.sequence);
                    let batch = self.shared.settle(&mut held, start, &self.table)?;
                    ready.push((batch, std::mem::take(&mut held.dead_letters)));
                }
                None => waiting.push(held),
            }
        }
        self.held = waiting;
        // Behind this frontier nothing held can lie: a held split starts at or after what was
        // published.
        Ok(Step { ready, frontier, again })
    }

    fn read(&mut self, held_back: EventTime) -> Result<Again> {
        if self.held.len() >= HELD_MAX {
            return Ok(Again::AfterNap);
        }
        if !self.budget.may_read(held_back) {
            return Ok(Again::AfterNap);
        }
        match self.shared.claim(self.workers) {
            Claim::Split(split) => {
                let (held, bytes) = self.shared.decode(split, &self.table)?;
                let metrics = &self.runtime.metrics.sources[self.shared.index];
                metrics.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                if let Some(held) = &held {
                    metrics.rows.fetch_add(held.rows.num_rows() as u64, Ordering::Relaxed);
                }
                self.held.extend(held);
                Ok(Again::Now)
            }
            Claim::Ahead => Ok(Again::AfterNap),
            Claim::Nothing if !self.held.is_empty() => Ok(Again::AfterNap),
            Claim::Nothing if self.shared.source.is_bounded() => Ok(Again::WhenWoken),
            Claim::Nothing => Ok(Again::AfterTick),
            Claim::Ended => Ok(Again::WhenWoken),
        }
    }
}

/// Builds the source operator of one worker.
pub fn source<'s>(
    scope: Scope<'s, EventTime>,
    shared: Arc<SharedSource>,
    runtime: Arc<JobRuntime>,
    budget: Rc<Budget>,
    wants_dead: bool,
) -> (Stream<'s, EventTime, UpdateBatch>, SideStreams<'s>) {
    let table = shared.scan.table.def.name.clone();
    let mut builder = OperatorBuilder::new(format!("Source({table})"), scope);
    let (output, stream) = builder.new_output::<UpdateBatch>();
    let mut output = OutputBuilder::<_, NoopBuilder<UpdateBatch>>::from(output);
    let (mut dead, sides) = super::side::dead_port(&mut builder, wants_dead);
    let info = builder.operator_info();
    let activator = scope.activator_for(Rc::clone(&info.address));
    let sync = scope.worker().sync_activator_for(info.address.to_vec());
    lock(&shared.activators).push(sync);
    let workers = runtime.workers;
    builder.build(move |mut capabilities| {
        // Once failed or ended, no capability is left and nothing happens any more.
        let mut dead_cap = wants_dead.then(|| capabilities.pop()).flatten();
        let mut cap = capabilities.pop();
        let mut reader = Reader { shared, runtime, budget, held: Vec::new(), workers, table };
        move |_frontiers| {
            let Some(own) = cap.as_mut() else { return };
            // A stopped source does not end: what is open stays open, and is dropped with the
            // dataflow.
            if reader.runtime.is_stopping() {
                return;
            }
            match reader.step(*own.time()) {
                Ok(step) => {
                    let mut port = output.activate();
                    for (mut batch, letters) in step.ready {
                        reader.runtime.dead(&letters);
                        super::side::send_dead(&mut dead, dead_cap.as_ref(), &letters, *own.time());
                        if !batch.is_empty() {
                            reader.budget.sent(*own.time(), batch.len());
                            port.session_with_builder(&*own).give_container(&mut batch);
                        }
                    }
                    drop(port);
                    let done = advance(&reader, &mut cap, &mut dead_cap, step.frontier);
                    if !done {
                        wake(&activator, step.again, &reader);
                    }
                }
                Err(error) => {
                    reader.runtime.metrics.fail(with_table(error, &reader.table));
                    cap = None;
                    dead_cap = None;
                }
            }
        }
    });
    (stream, sides)
}

/// Downgrades to the tick of `frontier`; true when the source has ended for this worker.
fn advance(
    reader: &Reader,
    cap: &mut Option<Capability<EventTime>>,
    dead_cap: &mut Option<Capability<EventTime>>,
    frontier: EventTime,
) -> bool {
    let shared = &reader.shared;
    reader.runtime.metrics.sources[shared.index].frontier.store(frontier, Ordering::Relaxed);
    shared.alignment.advance(shared.index, frontier);
    if frontier == CLOSED && reader.held.is_empty() {
        *cap = None;
        *dead_cap = None;
        return true;
    }
    if frontier == CLOSED {
        return false;
    }
    let tick = shared.resolution.tick_start(frontier);
    for own in [cap, dead_cap].into_iter().flatten() {
        if tick > *own.time() {
            own.downgrade(&tick);
        }
    }
    false
}

fn wake(activator: &Activator, again: Again, reader: &Reader) {
    match again {
        Again::Now => activator.activate(),
        Again::AfterNap => activator.activate_after(NAP),
        Again::AfterTick => {
            let tick = reader.shared.resolution.tick_ms().clamp(10, 1000).unsigned_abs();
            activator.activate_after(Duration::from_millis(tick));
        }
        Again::WhenWoken if !reader.held.is_empty() => activator.activate_after(NAP),
        // Other workers may still publish what this one's frontier waits for.
        Again::WhenWoken => activator.activate_after(NAP),
    }
}

fn with_table(error: Error, table: &str) -> Error {
    Error { message: format!("table {table}: {}", error.message), ..error }
}
