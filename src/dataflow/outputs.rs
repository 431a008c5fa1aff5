//! The last operator of each output: to a view, a sink, a collection in memory, or nowhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::Activator;

use super::activity::{Scales, Wait};
use super::driver::{Input, Stash};
use super::failed;
use super::frontier::{Gauge, Owner, Part};
use super::keeper::OutputKeeper;
use super::runtime::{JobRuntime, OutputRuntime};
use super::sink::SinkMessage;
use crate::batch::UpdateBatch;
use crate::batch::consolidate::order_changes;
use crate::batch::partition::Route;
use crate::connectors::registry;
use crate::error::Result;
use crate::plan::explain::output_name;
use crate::plan::node::OutputTarget;
use crate::time::{BEGINNING, CLOSED, EventTime, frontier_of};

/// How long a busy writer is left alone.
const NAP: Duration = Duration::from_millis(1);

/// Builds the end of output `index`; its stream carries no rows, only the progress of the output.
pub fn output<'s>(
    scope: Scope<'s, EventTime>,
    rows: Stream<'s, EventTime, UpdateBatch>,
    index: usize,
    runtime: &Arc<JobRuntime>,
) -> Stream<'s, EventTime, UpdateBatch> {
    let planned = &runtime.plan.outputs[index];
    let node = runtime.plan.node(planned.node);
    let place = runtime.place();
    let route = match &planned.target {
        target if registry::ends_anywhere(target) => None,
        OutputTarget::Sink(_) | OutputTarget::Print(_) => Some(Route::Single),
        // They are read there.
        OutputTarget::View { .. } => (place.processes > 1).then_some(Route::Fold(place.workers)),
    };
    let name = output_name(&runtime.plan, index);
    let mut builder = OperatorBuilder::new(name.clone(), scope);
    let activity = &runtime.metrics.activity;
    route.iter().for_each(|route| activity.is_exchanged(&name, 0, route));
    let mut input = Input::new(&mut builder, rows, route, scope.index());
    let (_, progress) = builder.new_output::<UpdateBatch>();
    let address = builder.operator_info().address;
    if let Some(snapshots) = runtime.snapshots() {
        snapshots.wakes(scope, &address);
    }
    let activator = scope.activator_for(address);
    let scales = Scales::new(activity.operator(&name, scope.index()));
    if runtime.outputs[index].is_sink() {
        scales.cell().writes();
    }
    let mut end = End {
        runtime: Arc::clone(runtime),
        index,
        writer: scope.index() % runtime.workers_here(),
        worker: scope.index(),
        key: planned.key(node),
        stash: Stash::default(),
        backlog: VecDeque::new(),
        reached: BEGINNING,
        activator,
        scales,
        keeper: OutputKeeper::new(runtime, index, scope.index()),
        gauge: Gauge::new(runtime, Owner::Output(index), Part::All, scope.index()),
    };
    if let Err(error) = end.restore() {
        runtime.metrics.fail(error);
    }
    builder.build(move |mut capabilities| {
        let mut cap = capabilities.pop();
        move |frontiers| {
            let mut taken = Ok(());
            input.drain(|batch| {
                end.scales.weigh(&batch);
                if taken.is_ok() {
                    taken = end.take(batch);
                }
            });
            let frontier = frontier_of(frontiers[0].frontier());
            if let Err(error) = taken.and_then(|()| end.step(frontier, &mut cap)) {
                end.runtime.metrics.fail_in(&name, error);
                failed::hold(cap.take());
            }
            let passed = cap.as_ref().map_or(CLOSED, |cap| *cap.time());
            end.gauge.passes(passed, passed);
            end.gauge.is_busy(!end.backlog.is_empty());
            end.tell(cap.is_none());
        }
    });
    progress
}

struct End {
    runtime: Arc<JobRuntime>,
    index: usize,
    /// This worker among those of its process.
    writer: usize,
    worker: usize,
    key: Vec<usize>,
    stash: Stash,
    /// For a writer that is busy.
    backlog: VecDeque<SinkMessage>,
    reached: EventTime,
    activator: Activator,
    scales: Scales,
    keeper: Option<OutputKeeper>,
    gauge: Gauge,
}

impl End {
    fn take(&mut self, batch: UpdateBatch) -> Result<()> {
        let counter = &self.runtime.metrics.outputs[self.index].updates;
        match &self.runtime.outputs[self.index] {
            OutputRuntime::View(_) | OutputRuntime::Sink(_) => return self.stash.admit(batch),
            OutputRuntime::Collect(_) | OutputRuntime::Discard if self.keeper.is_some() => {
                return self.stash.admit(batch);
            }
            OutputRuntime::Discard => {
                counter.fetch_add(batch.len() as u64, Ordering::Relaxed);
            }
            OutputRuntime::Collect(collected) => {
                counter.fetch_add(batch.len() as u64, Ordering::Relaxed);
                return collected.push(batch);
            }
        }
        Ok(())
    }

    fn step(&mut self, frontier: EventTime, cap: &mut Option<Capability<EventTime>>) -> Result<()> {
        if cap.is_some() {
            let wanted = self.keeper.as_ref().and_then(OutputKeeper::wanted);
            if let Some(wanted) = wanted.filter(|&w| w <= frontier) {
                self.reach(wanted)?;
                self.save(wanted)?;
            }
            self.reach(frontier)?;
            if let Some(keeper) = self.keeper.as_mut().filter(|k| k.is_at_end(frontier)) {
                keeper.tell(frontier);
            }
        }
        self.flush();
        // The output has reached a frontier once its writer has been given everything below it.
        if self.backlog.is_empty() {
            match (cap.as_mut(), self.reached) {
                (_, CLOSED) => *cap = None,
                (Some(own), reached) if *own.time() < reached => own.downgrade(&reached),
                _ => {}
            }
        } else {
            self.activator.activate_after(NAP);
        }
        Ok(())
    }

    /// Tells how far the output is, and what waits here.
    fn tell(&self, is_over: bool) {
        let cell = self.scales.cell();
        cell.queued.set(self.stash.rows() as u64);
        let is_held_back = !self.backlog.is_empty() && !is_over;
        cell.set_wait(is_held_back.then_some(Wait::Writer));
        if !is_held_back {
            self.runtime.metrics.outputs[self.index].reached(self.writer, self.reached);
        }
    }

    /// Lets everything below `frontier` go.
    fn reach(&mut self, frontier: EventTime) -> Result<()> {
        if frontier <= self.reached {
            return Ok(());
        }
        let runtime = Arc::clone(&self.runtime);
        match &runtime.outputs[self.index] {
            OutputRuntime::View(contents) => {
                let closed = self.take_closed(frontier)?;
                contents.append(self.writer, closed, frontier)?;
            }
            OutputRuntime::Collect(collected) if self.keeper.is_some() => {
                let closed = self.take_closed(frontier)?;
                closed.into_iter().try_for_each(|batch| collected.push(batch))?;
            }
            OutputRuntime::Sink(_) => self.close(frontier)?,
            OutputRuntime::Discard if self.keeper.is_some() => {
                let closed = self.stash.take_below(frontier)?;
                self.count(&closed);
                self.digest(&closed)?;
            }
            OutputRuntime::Discard | OutputRuntime::Collect(_) => {}
        }
        self.reached = frontier;
        Ok(())
    }

    /// The rows below `frontier`, counted and kept for the next snapshot.
    fn take_closed(&mut self, frontier: EventTime) -> Result<Vec<UpdateBatch>> {
        let closed = self.stash.take_below(frontier)?;
        self.count(&closed);
        self.digest(&closed)?;
        if let Some(keeper) = &mut self.keeper {
            keeper.log(&closed)?;
        }
        Ok(closed)
    }

    fn count(&self, rows: &[UpdateBatch]) {
        let count: usize = rows.iter().map(UpdateBatch::len).sum();
        let counter = &self.runtime.metrics.outputs[self.index].updates;
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn digest(&mut self, rows: &[UpdateBatch]) -> Result<()> {
        match &mut self.keeper {
            Some(keeper) => keeper.digest(rows),
            None => Ok(()),
        }
    }

    /// Starts from the snapshot, if it holds this output's rows.
    fn restore(&mut self) -> Result<()> {
        let Some(keeper) = &self.keeper else { return Ok(()) };
        if keeper.began() != BEGINNING {
            self.stash.skip_below(keeper.began());
        }
        let Some((frontier, rows)) = keeper.restored()? else { return Ok(()) };
        match &self.runtime.outputs[self.index] {
            OutputRuntime::View(contents) => {
                // First, so that nobody reads what has been summed up as if it had not.
                contents.begin_at(keeper.history_from(frontier));
                contents.append(self.writer, rows, frontier)?;
            }
            OutputRuntime::Collect(collected) => {
                rows.into_iter().try_for_each(|batch| collected.push(batch))?;
            }
            OutputRuntime::Sink(_) | OutputRuntime::Discard => {}
        }
        self.reached = frontier;
        Ok(())
    }

    /// Takes part in the snapshot at `frontier`, which has been reached.
    fn save(&mut self, frontier: EventTime) -> Result<()> {
        let is_first = self.worker == 0;
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        keeper.tell(frontier);
        match &self.runtime.outputs[self.index] {
            OutputRuntime::View(_) | OutputRuntime::Collect(_) => keeper.save(frontier),
            OutputRuntime::Sink(_) => {
                keeper.pass(frontier);
                if is_first {
                    self.backlog.push_back(SinkMessage::Checkpoint(frontier));
                }
                Ok(())
            }
            OutputRuntime::Discard => {
                keeper.pass(frontier);
                Ok(())
            }
        }
    }

    /// Queues what the frontier has passed for the writer; the first worker holds all rows.
    fn close(&mut self, frontier: EventTime) -> Result<()> {
        let closed = self.stash.take_below(frontier)?;
        self.digest(&closed)?;
        if self.worker > 0 {
            return Ok(());
        }
        if let Some(first) = closed.first() {
            let all = UpdateBatch::concat(&first.schema(), &closed)?;
            self.runtime.metrics.outputs[self.index].queued.add(all.len() as u64);
            self.backlog.push_back(SinkMessage::Write(order_changes(&all, &self.key)?));
        }
        self.backlog.push_back(SinkMessage::Commit(frontier));
        Ok(())
    }

    fn flush(&mut self) {
        let OutputRuntime::Sink(sink) = &self.runtime.outputs[self.index] else { return };
        while let Some(message) = self.backlog.pop_front() {
            if let Some(refused) = sink.offer(message) {
                self.backlog.push_front(refused);
                return;
            }
        }
    }
}
