//! The source operator: takes splits, decodes them on the worker, assigns event time.
//!
//! All workers of a process share one [`SharedSource`] per table: whoever is free takes the next
//! split of the partition that is furthest behind, so one large file keeps every worker busy. The
//! operator holds its capability at the least `f_p` of the partitions, rounded down to a tick.
//!
//! A worker with nothing to do sleeps: it is woken by the connector when there is more to read, by
//! the other workers when a split that it waits for is through, and by a timer only while time
//! itself can change something.

mod holding;
mod keeping;
mod standing;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use timely::container::NoopBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::{Activator, SyncActivator};

use super::activity::{OperatorActivity, Wait as Delay};
use super::clock::SourceClock;
use super::failed;
use super::flow::{Alignment, Budget, MayRead};
use super::frontier::{Gauge, Owner, Part};
use super::metrics::lock;
use super::runtime::JobRuntime;
use super::side::{DeadLetters, SideStreams, send_dead};
use super::split::{Origin, TimedSplit};
use crate::batch::UpdateBatch;
use crate::connectors::{NextSplit, Source, Split};
use crate::error::{Error, Result};
use crate::plan::node::{NodeId, Scan};
use crate::sql::settings::Settings;
use crate::telemetry::clock::{monotonic, wall_ms};
use crate::time::{BEGINNING, CLOSED, EventTime, Resolution};
use holding::Wait;
use keeping::{Keeping, Span};
pub use standing::Standing;

/// How long a source that must wait for others sleeps at first; it doubles while it waits.
const NAP: Duration = Duration::from_millis(1);
/// Doublings of [`NAP`] at most.
const NAP_DOUBLINGS_MAX: u32 = 3;
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
    clock: Mutex<SourceClock>,
    sleepers: Arc<Mutex<Vec<Sleeper>>>,
    alignment: Arc<Alignment>,
    keeping: OnceLock<Keeping>,
    /// What its partitions in other processes have reached.
    elsewhere: AtomicI64,
}

/// The operator of one worker, as others see it.
struct Sleeper {
    activator: SyncActivator,
    /// Whether it may have missed what happened since it last looked.
    is_dozing: bool,
    /// Why it does not read.
    wait: Wait,
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
        // A bounded input is silent only because reading it takes time, and ingestion time passes
        // by itself.
        let can_idle = !source.is_bounded() && scan.watermark.is_some();
        SharedSource {
            max_future_skew: skew.filter(|_| scan.watermark.is_some()),
            idle_timeout: settings
                .idle_timeout
                .or_else(|| source.idle_timeout_ms())
                .filter(|_| can_idle),
            source,
            scan,
            index,
            resolution: settings.time_resolution,
            max_drift: settings.max_drift,
            clock: Mutex::new(SourceClock::new(wall_ms())),
            sleepers: Arc::default(),
            alignment,
            keeping: OnceLock::new(),
            elsewhere: AtomicI64::new(BEGINNING),
        }
    }

    /// Starts reading; the workers' operators have been built.
    pub fn start(&self) -> Result<()> {
        let sleepers = Arc::clone(&self.sleepers);
        self.source.start(Arc::new(move || wake_all(&sleepers)))
    }

    /// Worker `slot` is about to look: from now on it is told of what others publish.
    fn doze(&self, slot: usize) {
        if let Some(own) = lock(&self.sleepers).get_mut(slot) {
            own.is_dozing = true;
        }
    }

    /// Tells the others that there is something new.
    fn wake_others(&self, slot: usize) {
        for (other, sleeper) in lock(&self.sleepers).iter_mut().enumerate() {
            if other != slot && std::mem::take(&mut sleeper.is_dozing) {
                // A worker that is gone needs no waking.
                let _ = sleeper.activator.activate();
            }
        }
    }

    /// The partitions' names.
    pub fn partitions(&self) -> Vec<String> {
        self.source.partitions().into_iter().map(|p| p.name).collect()
    }

    /// Partitions so far.
    pub fn partition_count(&self) -> usize {
        self.source.partition_count()
    }

    fn is_ingestion_time(&self) -> bool {
        self.scan.watermark.is_none()
    }

    fn clock(&self) -> MutexGuard<'_, SourceClock> {
        lock(&self.clock)
    }

    /// Notices new partitions, silence, and the passing of ingestion time; the frontier then.
    fn refresh(&self, clock: &mut SourceClock, now: i64) -> EventTime {
        // In this order: once complete, the count is final.
        let complete = self.source.partitions_complete();
        let known = clock.partitions().len();
        clock.grow(self.source.partition_count());
        if self.is_ingestion_time() && clock.partitions().len() > known {
            self.know_times(clock, known);
        }
        if self.scan.changes.is_some() {
            clock.chain(|partition| self.source.follows(partition));
        }
        if self.is_ingestion_time() && !self.source.is_bounded() {
            clock.tick(now);
        }
        let mut frontier = clock.frontier(complete);
        if !complete && !clock.holds() {
            frontier = clock.follow(self.elsewhere.load(Ordering::Acquire));
        }
        let timeout = self.idle_timeout.filter(|_| frontier != CLOSED);
        let is_silent = timeout.is_some_and(|timeout| clock.is_silent(timeout, now));
        if is_silent {
            frontier = clock.follow(self.alignment.reached_by_peers(self.index));
        }
        self.alignment.report(self.index, frontier, clock.greatest(), is_silent);
        frontier
    }

    /// The next split to decode: of the partition furthest behind.
    fn claim(&self, workers: usize, may_read: MayRead) -> Claim {
        let now = wall_ms();
        let mut clock = self.clock();
        let floor = self.refresh(&mut clock, now);
        if floor == CLOSED {
            return Claim::Nothing;
        }
        let partitions = clock.partitions();
        let mut order: Vec<_> =
            (0..partitions.len()).filter(|&p| !partitions[p].is_exhausted()).collect();
        order.retain(|&p| clock.may_begin(p));
        order.sort_by_key(|&p| (partitions[p].frontier(), p));
        let least = self.alignment.least_of_peers(self.index);
        let horizon = least.saturating_add(self.max_drift);
        for partition in order {
            let own = &clock.partitions()[partition];
            let reached = own.frontier();
            if may_read == MayRead::Holding && self.resolution.tick_start(reached) > floor {
                return Claim::Ahead(Delay::InFlight);
            }
            // Ingestion time is no place in the data that others could be far from.
            if reached > horizon && !self.is_ingestion_time() {
                return Claim::Ahead(Delay::Drift);
            }
            if own.outstanding() >= 2 * workers as u64 {
                continue;
            }
            match self.source.next_split(partition) {
                NextSplit::Split(split) => {
                    clock.hand_out(partition, split.sequence, split.last, now);
                    return Claim::Split(split);
                }
                NextSplit::Pending => clock.partition(partition).pending(self.idle_timeout, now),
                NextSplit::Ended => return Claim::Nothing,
            }
        }
        Claim::Nothing
    }
}

fn wake_all(sleepers: &Mutex<Vec<Sleeper>>) {
    for sleeper in lock(sleepers).iter() {
        // A worker that is gone needs no waking.
        let _ = sleeper.activator.activate();
    }
}

enum Claim {
    Split(Split),
    /// Others are behind: wait for them.
    Ahead(Delay),
    /// There is nothing now, or nothing any more.
    Nothing,
}

/// A decoded split that waits for `f_p` at its start.
struct Held {
    partition: usize,
    sequence: u64,
    /// The offset behind its last record, if known.
    end: Option<i64>,
    split: TimedSplit,
}

/// The operator of one worker.
struct Reader {
    shared: Arc<SharedSource>,
    runtime: Arc<JobRuntime>,
    budget: Budget,
    activity: Arc<OperatorActivity>,
    held: Vec<Held>,
    /// Whether it is one of the workers that read.
    reads: bool,
    /// How many those are.
    workers: usize,
    table: String,
    /// Its place among the sleepers.
    slot: usize,
    /// Naps taken one after the other.
    naps: u32,
    /// When it will be called next if nothing else calls it.
    alarm: Option<Instant>,
    /// Why it does not read, as told last.
    wait: Wait,
}

/// What a step of a [`Reader`] produced.
struct Step {
    ready: Vec<(UpdateBatch, DeadLetters)>,
    frontier: EventTime,
    again: Again,
}

enum Again {
    Now,
    /// Somebody else is behind who does not know that this one waits.
    AfterNap,
    WhenWoken,
}

impl Reader {
    fn step(&mut self, held_back: EventTime) -> Result<Step> {
        if let Some(error) = self.shared.source.failure() {
            return Err(error);
        }
        self.shared.doze(self.slot);
        let (mut again, wait) = self.read(held_back)?;
        if wait != self.wait {
            self.wait = wait;
            self.shared.waits(self.slot, wait);
        }
        let keeps = self.shared.keeping.get().is_some();
        let (starts, frontier) = {
            let mut clock = self.shared.clock();
            let frontier = self.shared.refresh(&mut clock, wall_ms());
            let start = |held: &Held| {
                let partition = clock.partition(held.partition);
                let start = partition.take_start(held.sequence);
                if let (true, Some(start)) = (keeps, start) {
                    partition.marks().started(held.sequence, start);
                }
                start
            };
            (self.held.iter().map(start).collect::<Vec<_>>(), frontier)
        };
        // Behind this frontier nothing can lie that is held or was claimed by this worker: such a
        // split starts at or after what was published before it. Others answer for theirs.
        let mut ready = Vec::new();
        let mut waiting = Vec::new();
        for (held, start) in std::mem::take(&mut self.held).into_iter().zip(starts) {
            let Some(start) = start else {
                waiting.push(held);
                continue;
            };
            let (batch, dead, published) = self.settle(held, start)?;
            if published {
                again = Again::Now;
            }
            ready.push((batch, dead));
        }
        self.held = waiting;
        Ok(Step { ready, frontier, again })
    }

    fn read(&mut self, held_back: EventTime) -> Result<(Again, Wait)> {
        self.activity.set_wait(None);
        if !self.reads || self.held.len() >= HELD_MAX {
            return Ok((Again::WhenWoken, Wait::Reads));
        }
        if self.shared.paced(CLOSED) != CLOSED {
            return Ok((Again::AfterNap, Wait::Snapshot));
        }
        let may_read = self.budget.may_read(held_back);
        if may_read == MayRead::Nothing {
            self.activity.set_wait(Some(Delay::InFlight));
            return Ok((Again::AfterNap, Wait::BackPressure));
        }
        let again = match self.shared.claim(self.workers, may_read) {
            Claim::Split(split) => {
                self.decode(split)?;
                Again::Now
            }
            Claim::Ahead(delay) => {
                self.activity.set_wait(Some(delay));
                Again::AfterNap
            }
            Claim::Nothing if may_read == MayRead::Holding => Again::AfterNap,
            Claim::Nothing => Again::WhenWoken,
        };
        Ok((again, Wait::Reads))
    }

    /// Decodes a split; publishes its watermark where that needs no `f_p`.
    fn decode(&mut self, split: Split) -> Result<()> {
        let shared = &self.shared;
        let (partition, sequence) = (split.partition, split.sequence);
        let decoded = shared.source.decode(split)?;
        if shared.keeping.get().is_some() {
            let mut clock = shared.clock();
            clock.partition(partition).marks().decoded(sequence, decoded.offset, decoded.end);
        }
        let metrics = &self.runtime.metrics.sources[shared.index];
        metrics.bytes.fetch_add(decoded.bytes as u64, Ordering::Relaxed);
        let end = decoded.end;
        let mut split = TimedSplit::new(decoded, &shared.scan, self.origin(partition), wall_ms())?;
        if let Some(decided) = shared.decided(partition) {
            split.replay(decided, end);
        }
        metrics.rows.fetch_add(split.row_count() as u64, Ordering::Relaxed);
        if shared.max_future_skew.is_none() {
            shared.publish(partition, sequence, split.bound(), end);
            shared.wake_others(self.slot);
        }
        self.held.push(Held { partition, sequence, end, split });
        Ok(())
    }

    /// Gives a split its event times, `start` being `f_p` before it; whether that published them.
    fn settle(&self, held: Held, start: EventTime) -> Result<(UpdateBatch, DeadLetters, bool)> {
        let shared = &self.shared;
        let Held { partition, sequence, end, mut split } = held;
        if let Some(skew) = shared.max_future_skew {
            split.refuse_future(start, skew, self.origin(partition))?;
        }
        let (offset, is_replayed) = (split.offset(), split.is_replayed());
        let (batch, dead, frontier) = split.assign(start)?;
        shared.note(partition, Span { sequence, offset, end, is_replayed }, &batch)?;
        let rows = batch.time_range().map_or(BEGINNING, |(_, latest)| latest);
        let latest = dead.latest().map_or(rows, |letters| rows.max(letters));
        if let Some(end) = end {
            shared.source.timed(partition, end, latest);
        }
        if shared.keeping.get().is_some() {
            let mut clock = shared.clock();
            let passed = shared.passed();
            clock.partition(partition).marks().settled(sequence, latest, frontier, passed);
        }
        let publishes = shared.max_future_skew.is_some();
        if publishes {
            shared.publish(partition, sequence, frontier, end);
            shared.wake_others(self.slot);
        }
        Ok((batch, dead, publishes))
    }

    /// Tells that the source has come to `frontier`.
    fn reached(&self, frontier: EventTime) {
        let metrics = &self.runtime.metrics.sources[self.shared.index];
        metrics.frontier.fetch_max(frontier, Ordering::Relaxed);
    }

    fn origin(&self, partition: usize) -> Origin<'_> {
        Origin { table: &self.table, source: self.shared.source.as_ref(), partition }
    }
}

/// Builds the source operator of one worker.
pub fn source<'s>(
    scope: Scope<'s, EventTime>,
    (id, shared): (NodeId, Arc<SharedSource>),
    runtime: Arc<JobRuntime>,
    budget: Budget,
    wants_dead: bool,
) -> (Stream<'s, EventTime, UpdateBatch>, SideStreams<'s>) {
    let table = shared.scan.table.def.name.clone();
    let mut builder = OperatorBuilder::new(format!("Source({table})"), scope);
    let (output, stream) = builder.new_output::<UpdateBatch>();
    let mut output = OutputBuilder::<_, NoopBuilder<UpdateBatch>>::from(output);
    let (mut dead, sides) = super::side::dead_port(&mut builder, wants_dead);
    let info = builder.operator_info();
    let sync = scope.worker().sync_activator_for(info.address.to_vec());
    if let Some(snapshots) = runtime.snapshots() {
        snapshots.wakes(scope, &info.address);
    }
    let activator = scope.activator_for(info.address);
    let slot = {
        let mut sleepers = lock(&shared.sleepers);
        sleepers.push(Sleeper { activator: sync, is_dozing: false, wait: Wait::NotStarted });
        sleepers.len() - 1
    };
    let workers = shared.scan.parallelism().of(runtime.workers);
    let reads = scope.index() < workers;
    let mut gauge = Gauge::new(&runtime, Owner::Node(id), Part::All, scope.index());
    let activity = runtime.metrics.activity.operator(&format!("Source({table})"), scope.index());
    builder.build(move |mut capabilities| {
        // Once failed or ended, no capability is left and nothing happens any more.
        let mut dead_cap = wants_dead.then(|| capabilities.pop()).flatten();
        let mut cap = capabilities.pop();
        let held = Vec::new();
        let (naps, alarm, wait) = (0, None, Wait::NotStarted);
        let mut reader = Reader {
            shared,
            runtime,
            budget,
            activity,
            held,
            reads,
            workers,
            table,
            slot,
            naps,
            alarm,
            wait,
        };
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
                        reader.runtime.metrics.record_dead_letters(&letters);
                        send_dead(&mut dead, dead_cap.as_ref(), letters);
                        if let Some((_, latest)) = batch.time_range() {
                            reader.budget.sent(*own.time(), latest, batch.len());
                            port.session_with_builder(&*own).give_container(&mut batch);
                        }
                    }
                    drop(port);
                    let (rows, most) = reader.budget.in_flight();
                    reader.activity.set_in_flight(rows, most);
                    let paced = reader.shared.paced(step.frontier);
                    reader.reached(step.frontier);
                    let done = advance(&reader, &mut cap, &mut dead_cap, paced);
                    if done {
                        // From here on nobody looks any more what has arrived.
                        reader.activity.set_in_flight(0, most);
                    }
                    let passed = cap.as_ref().map_or(CLOSED, |cap| *cap.time());
                    gauge.passes(passed, passed);
                    // Nobody says when a snapshot has been chosen that it waits for.
                    let waits = paced < step.frontier;
                    let again = match step.again {
                        Again::WhenWoken if waits => Again::AfterNap,
                        again => again,
                    };
                    if !done {
                        wake(&activator, again, &mut reader);
                    }
                }
                Err(error) => {
                    let operator = format!("Source({})", reader.table);
                    reader.activity.set_wait(None);
                    reader.runtime.metrics.fail_in(&operator, with_table(error, &reader.table));
                    failed::hold(cap.take().into_iter().chain(dead_cap.take()));
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
    if frontier == CLOSED && reader.held.is_empty() {
        if !shared.release(CLOSED) {
            return false;
        }
        *cap = None;
        *dead_cap = None;
        return true;
    }
    if frontier == CLOSED {
        return false;
    }
    let tick = shared.resolution.tick_start(frontier);
    let moves = |own: &Capability<EventTime>| tick > *own.time() || shared.is_asked(tick);
    if cap.as_ref().is_some_and(moves) && !shared.release(tick) {
        return false;
    }
    for own in [cap, dead_cap].into_iter().flatten() {
        if tick > *own.time() {
            own.downgrade(&tick);
        }
    }
    false
}

fn wake(activator: &Activator, again: Again, reader: &mut Reader) {
    match again {
        Again::Now => {
            reader.naps = 0;
            activator.activate();
        }
        Again::AfterNap => {
            sleep(activator, NAP * (1 << reader.naps), reader);
            reader.naps = (reader.naps + 1).min(NAP_DOUBLINGS_MAX);
        }
        Again::WhenWoken => {
            if let Some(period) = reader.shared.period() {
                sleep(activator, period, reader);
            }
        }
    }
}

/// One alarm at a time: each one kept would set the next.
fn sleep(activator: &Activator, delay: Duration, reader: &mut Reader) {
    let now = monotonic();
    if reader.alarm.is_none_or(|at| at <= now || at > now + delay) {
        reader.alarm = Some(now + delay);
        activator.activate_after(delay);
    }
}

fn with_table(error: Error, table: &str) -> Error {
    Error { message: format!("table {table}: {}", error.message), ..error }
}

#[cfg(test)]
mod tests;
