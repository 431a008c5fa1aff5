//! The plumbing of stateful operators: buffers, frontiers and capabilities around a
//! [`StatefulLogic`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use timely::communication::Pull;
use timely::communication::allocator::thread::ThreadPuller;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{DistributorPact, LogPuller, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{InputHandleCore, OutputBuilder};
use timely::dataflow::operators::{Capability, InputCapability};
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::Activator;

use super::activity::{Scales, StateCount};
use super::failed;
use super::frontier::{Gauge, Owner, Part};
use super::keeper::Keeper;
use super::logic::{Emitted, StatefulLogic};
use super::runtime::JobRuntime;
use super::side::{Port, SideStreams, late_batch, send_dead, side_port};
use super::snapshots::StatePlace;
use crate::batch::UpdateBatch;
use crate::batch::partition::{BatchDistributor, Route};
use crate::error::Result;
use crate::limits::{SNAPSHOT_NAP_US, SPILL_GATHER_DIVISOR};
use crate::plan::node::NodeId;
use crate::spill::Memory;
use crate::telemetry::clock::monotonic;
use crate::time::{BEGINNING, CLOSED, EventTime, frontier_of};

/// After which an operator that has more to hand over looks whether it may.
const NAP: Duration = Duration::from_micros(SNAPSHOT_NAP_US);

type Puller = Box<dyn Pull<Message<EventTime, UpdateBatch>>>;
type LocalPuller = ThreadPuller<Message<EventTime, UpdateBatch>>;

/// An operator's input, with or without an exchange before it.
pub enum Input {
    /// From the same worker.
    Forward(InputHandleCore<EventTime, UpdateBatch, LogPuller<LocalPuller>>),
    /// From all workers.
    Exchanged(InputHandleCore<EventTime, UpdateBatch, LogPuller<Puller>>),
}

impl Input {
    /// Connects `stream` through the exchange of `route`.
    pub fn new<'s>(
        builder: &mut OperatorBuilder<'s, EventTime>,
        stream: Stream<'s, EventTime, UpdateBatch>,
        route: Option<Route>,
        worker: usize,
    ) -> Self {
        match route {
            None => Input::Forward(builder.new_input(stream, Pipeline)),
            Some(route) => {
                let pact =
                    DistributorPact(move |_peers: usize| BatchDistributor::new(route, worker));
                Input::Exchanged(builder.new_input(stream, pact))
            }
        }
    }

    /// Hands on what has arrived, with the right to send it.
    pub fn pass(&mut self, mut hand: impl FnMut(Capability<EventTime>, UpdateBatch)) {
        self.pass_beside(false, |cap, _, batch| hand(cap, batch));
    }

    /// As [`Input::pass`], with the right to send to the second output too if there is one.
    pub fn pass_beside(
        &mut self,
        beside: bool,
        mut hand: impl FnMut(Capability<EventTime>, Option<Capability<EventTime>>, UpdateBatch),
    ) {
        let mut each = |cap: InputCapability<EventTime>, data: &mut UpdateBatch| {
            let second = beside.then(|| cap.retain_least(1)).flatten();
            if let Some(cap) = cap.retain_least(0) {
                hand(cap, second, std::mem::take(data));
            }
        };
        match self {
            Input::Forward(input) => input.for_each(&mut each),
            Input::Exchanged(input) => input.for_each(&mut each),
        }
    }

    /// Takes what has arrived.
    pub fn drain(&mut self, mut take: impl FnMut(UpdateBatch)) {
        match self {
            Input::Forward(input) => input.for_each(|_, data| take(std::mem::take(data))),
            Input::Exchanged(input) => input.for_each(|_, data| take(std::mem::take(data))),
        }
    }
}

/// Rows that the frontier has not passed.
#[derive(Default)]
pub struct Stash {
    batches: Vec<(EventTime, EventTime, UpdateBatch)>,
    rows: usize,
    /// Nothing below may be taken.
    floor: Option<EventTime>,
}

impl Stash {
    /// Nothing below `floor` may be taken from now on.
    pub fn skip_below(&mut self, floor: EventTime) {
        self.floor = Some(floor);
    }

    /// Keeps what may be taken of a batch.
    pub fn admit(&mut self, batch: UpdateBatch) -> Result<()> {
        let admitted = match (self.floor, batch.time_range()) {
            (Some(floor), Some((lo, _))) if lo < floor => batch.split_at(floor)?.1,
            _ => Some(batch),
        };
        admitted.into_iter().for_each(|batch| self.push(batch));
        Ok(())
    }

    /// Keeps a batch.
    pub fn push(&mut self, batch: UpdateBatch) {
        if let Some((lo, hi)) = batch.time_range() {
            self.rows += batch.len();
            self.batches.push((lo, hi, batch));
        }
    }

    /// Rows kept.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What is kept.
    pub fn kept(&self) -> impl Iterator<Item = &UpdateBatch> {
        self.batches.iter().map(|(_, _, batch)| batch)
    }

    /// The least time of a row.
    pub fn first(&self) -> Option<EventTime> {
        self.batches.iter().map(|(lo, _, _)| *lo).min()
    }

    /// Takes the rows below `frontier`.
    pub fn take_below(&mut self, frontier: EventTime) -> Result<Vec<UpdateBatch>> {
        let mut closed = Vec::new();
        let mut kept = Vec::new();
        for (lo, hi, batch) in std::mem::take(&mut self.batches) {
            if hi < frontier {
                closed.push(batch);
            } else if lo >= frontier {
                kept.push((lo, hi, batch));
            } else {
                let (below, above) = batch.split_at(frontier)?;
                closed.extend(below);
                if let Some((above, (lo, hi))) = above.and_then(|b| b.time_range().map(|r| (b, r)))
                {
                    kept.push((lo, hi, above));
                }
            }
        }
        self.rows = kept.iter().map(|(_, _, b)| b.len()).sum();
        self.batches = kept;
        Ok(closed)
    }
}

/// Which side outputs of an operator someone reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideWants {
    /// Late rows.
    pub late: bool,
    /// Dead letters.
    pub dead: bool,
}

struct Driver<L> {
    logic: L,
    name: String,
    stashes: Vec<Stash>,
    scales: Scales,
    counted: StateCount,
    /// The inputs that have ended.
    ended: Vec<bool>,
    runtime: Arc<JobRuntime>,
    keeper: Option<Keeper>,
    /// Everything below is in the state.
    applied: EventTime,
    gathering: Gathering,
    gauge: Option<Gauge>,
    /// Whether it is on its way to a frontier, step by step.
    is_behind: bool,
    out: Port,
    late: Option<Port>,
    dead: Option<Port>,
    /// Data, late, dead: `None` once ended or failed.
    caps: Option<Vec<Capability<EventTime>>>,
    activator: Activator,
}

/// Waits for more rows where it costs much to apply few: as long as they come, and not for long.
struct Gathering {
    activator: Activator,
    memory: Option<Arc<Memory>>,
    /// The rows that there were, when they became more, and when waiting began.
    seen: Option<(usize, Instant, Instant)>,
}

impl Gathering {
    /// Whether to wait, now that there are `rows` rows.
    fn waits(&mut self, rows: usize) -> bool {
        let now = monotonic();
        let (before, grown, began) = self.seen.unwrap_or((0, now, now));
        let grown = if rows > before { now } else { grown };
        let in_flight = self.memory.as_ref().map_or(0, |memory| memory.rows_in_flight());
        let is_over = rows >= in_flight / SPILL_GATHER_DIVISOR
            || now.duration_since(grown) >= GATHER_IDLE
            || now.duration_since(began) >= GATHER_MAX;
        self.seen = (!is_over).then_some((rows, grown, began));
        if !is_over {
            self.activator.activate_after(GATHER_IDLE);
        }
        !is_over
    }
}

/// How long rows must not have come for no more to be expected.
const GATHER_IDLE: Duration = Duration::from_millis(5);
/// How long rows that are ready are kept waiting for more.
const GATHER_MAX: Duration = Duration::from_millis(500);

/// Which operator it is.
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Whose state it has; `None`: nothing that a snapshot must hold.
    pub place: Option<StatePlace>,
    /// Of which node it notes how far which part is; `None`: of none.
    pub noted: Option<(NodeId, Part)>,
}

/// Builds the operator of `logic` over `inputs`.
pub fn stateful<'s, L: StatefulLogic + 'static>(
    scope: Scope<'s, EventTime>,
    identity: Identity,
    inputs: Vec<(Stream<'s, EventTime, UpdateBatch>, Option<Route>)>,
    logic: L,
    wants: SideWants,
    runtime: Arc<JobRuntime>,
) -> (Stream<'s, EventTime, UpdateBatch>, SideStreams<'s>) {
    let Identity { name, place, noted } = identity;
    let mut builder = OperatorBuilder::new(name.clone(), scope);
    let worker = scope.index();
    let activity = &runtime.metrics.activity;
    for (input, (_, route)) in inputs.iter().enumerate() {
        route.iter().for_each(|route| activity.is_exchanged(&name, input, route));
    }
    let scales = Scales::new(activity.operator(&name, worker));
    let mut handles: Vec<Input> = inputs
        .into_iter()
        .map(|(stream, route)| Input::new(&mut builder, stream, route, worker))
        .collect();
    let (out, stream) = builder.new_output::<UpdateBatch>();
    let (late, late_stream) = side_port(&mut builder, wants.late);
    let (dead, dead_stream) = side_port(&mut builder, wants.dead);
    let address = builder.operator_info().address;
    if let (Some(_), Some(snapshots)) = (place, runtime.snapshots()) {
        snapshots.wakes(scope, &address);
    }
    let activator = scope.activator_for(address);
    let gauge = noted.map(|(id, part)| Gauge::new(&runtime, Owner::Node(id), part, worker));
    let memory = runtime.memory().cloned();
    let gathering = Gathering { activator: activator.clone(), memory, seen: None };
    builder.build(move |caps| {
        let mut driver = Driver {
            name,
            stashes: handles.iter().map(|_| Stash::default()).collect(),
            scales,
            counted: StateCount::default(),
            ended: handles.iter().map(|_| false).collect(),
            keeper: place.and_then(|place| Keeper::new(&runtime, place, worker, &logic)),
            runtime,
            applied: BEGINNING,
            gathering,
            gauge,
            is_behind: false,
            out: OutputBuilder::from(out),
            late,
            dead,
            caps: Some(caps),
            activator,
            logic,
        };
        let restored = driver.restore();
        driver.unless_failed(restored);
        driver.counted.changed();
        move |frontiers| {
            let taken = driver.take(&mut handles);
            driver.unless_failed(taken);
            let advanced = driver.advance(frontiers);
            driver.unless_failed(advanced);
            driver.note();
            driver.come_again();
            driver.tell();
        }
    });
    (stream, SideStreams { late: late_stream, dead: dead_stream })
}

impl<L: StatefulLogic> Driver<L> {
    fn unless_failed(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.runtime.metrics.fail_in(&self.name, error);
            failed::hold(self.caps.take().into_iter().flatten());
        }
    }

    /// Tells how many rows wait here and, now and then, how many it holds.
    fn tell(&mut self) {
        let Driver { scales, stashes, logic, .. } = self;
        let waiting: usize = stashes.iter().map(Stash::rows).sum();
        scales.cell().queued.set(waiting as u64);
        let (cell, width) = (scales.cell(), scales.row_bytes());
        self.counted.look(&self.activator, || {
            let rows = logic.state_rows() as u64;
            let bytes = logic.state_bytes().map_or(rows * width, |bytes| bytes as u64);
            cell.set_state(rows, bytes);
        });
    }

    /// Starts from the snapshot, if it holds a part of this operator.
    fn restore(&mut self) -> Result<()> {
        let Some(keeper) = &self.keeper else { return Ok(()) };
        if self.logic.replays() {
            let logs = keeper.take_logs(self.stashes.len())?;
            let restored = keeper.frontier();
            for (stash, log) in self.stashes.iter_mut().zip(logs) {
                log.into_iter().for_each(|batch| stash.push(batch));
                restored.into_iter().for_each(|floor| stash.skip_below(floor));
            }
            return Ok(());
        }
        let Some(frontier) = keeper.restore(&mut self.logic, self.stashes.len())? else {
            return Ok(());
        };
        self.applied = frontier;
        let whole = self.logic.whole_input();
        for (input, stash) in self.stashes.iter_mut().enumerate() {
            if whole != Some(input) {
                stash.skip_below(frontier);
            }
        }
        for cap in self.caps.iter_mut().flatten() {
            cap.downgrade(&frontier);
        }
        Ok(())
    }

    /// Stashes what has arrived.
    fn take(&mut self, handles: &mut [Input]) -> Result<()> {
        let mut taken = Ok(());
        let scales = &mut self.scales;
        for (handle, stash) in handles.iter_mut().zip(&mut self.stashes) {
            handle.drain(|batch| {
                scales.weigh(&batch);
                if taken.is_ok() {
                    taken = stash.admit(batch);
                }
            });
        }
        taken
    }

    fn advance(&mut self, frontiers: &[MutableAntichain<EventTime>]) -> Result<()> {
        if self.caps.is_none() {
            self.stashes.iter_mut().for_each(|s| *s = Stash::default());
            return Ok(());
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.go_on(&mut self.logic)?;
        }
        let whole = self.logic.whole_input();
        let reached = |input: usize| frontiers.get(input).map(|f| frontier_of(f.frontier()));
        if whole.is_some_and(|input| reached(input).is_some_and(|f| f != CLOSED)) {
            return Ok(());
        }
        let frontier = frontiers.iter().map(|f| frontier_of(f.frontier())).min().unwrap_or(CLOSED);
        let wanted = self.keeper.as_ref().and_then(Keeper::wanted);
        if let Some(wanted) = wanted.filter(|&w| frontier >= w) {
            if wanted > self.applied && !self.apply_up_to(wanted)? {
                return Ok(());
            }
            if let Some(keeper) = &mut self.keeper {
                keeper.save(&mut self.logic, wanted)?;
            }
        }
        if frontier > self.applied {
            let rows = self.stashes.iter().map(Stash::rows).sum();
            let may_wait = !self.is_behind && frontier != CLOSED && self.logic.gathers();
            if may_wait && self.gathering.waits(rows) {
                return Ok(());
            }
            if let Some(keeper) = self.keeper.as_mut().filter(|_| frontier == CLOSED) {
                keeper.give_all(&mut self.logic)?;
            }
            if frontier != CLOSED && !self.logic.is_due(frontier, rows) {
                self.step_to(frontier, false)?;
            } else if !self.apply_up_to(frontier)? {
                return Ok(());
            }
            if frontier == CLOSED {
                self.caps = None;
                return Ok(());
            }
            self.end_inputs(frontiers);
        }
        Ok(())
    }

    /// Notes how far it is.
    fn note(&mut self) {
        let Some(gauge) = &mut self.gauge else { return };
        let mut caps = self.caps.iter().flatten().map(|cap| *cap.time());
        let rows = caps.next().unwrap_or(CLOSED);
        gauge.passes(rows, caps.min().unwrap_or(rows));
    }

    fn is_busy(&self, busy: bool) {
        if let Some(gauge) = &self.gauge {
            gauge.is_busy(busy);
        }
    }

    /// Applies what is below `to`, or a part of it: whether it has come there. Otherwise it is run
    /// again, once those that read its output have had their turn.
    fn apply_up_to(&mut self, to: EventTime) -> Result<bool> {
        let waiting: Vec<&UpdateBatch> = self.stashes.iter().flat_map(Stash::kept).collect();
        let step = match self.logic.whole_input() {
            Some(_) => to,
            None => self.logic.step_end(&waiting, to),
        };
        self.step_to(step, true)?;
        self.is_behind = step < to;
        if self.is_behind {
            self.activator.activate();
        }
        Ok(!self.is_behind)
    }

    /// Asks to be run again where a snapshot waits for more of the state.
    fn come_again(&self) {
        if self.caps.is_some() && self.keeper.as_ref().is_some_and(Keeper::is_giving) {
            self.activator.activate_after(NAP);
        }
    }

    /// Lets `frontier` pass and, if `apply`, brings the state up to it.
    fn step_to(&mut self, frontier: EventTime, apply: bool) -> Result<()> {
        let Some(mut caps) = self.caps.take() else { return Ok(()) };
        let stepped = self.step_with(&mut caps, frontier, apply);
        self.caps = Some(caps);
        stepped
    }

    fn step_with(
        &mut self,
        caps: &mut [Capability<EventTime>],
        frontier: EventTime,
        apply: bool,
    ) -> Result<()> {
        if apply {
            let whole = self.logic.whole_input();
            let closed = self
                .stashes
                .iter_mut()
                .enumerate()
                .map(|(i, s)| s.take_below(if whole == Some(i) { CLOSED } else { frontier }))
                .collect::<Result<Vec<_>>>()?;
            if let Some(keeper) = &mut self.keeper {
                keeper.log(&self.logic, whole, &closed)?;
            }
            let mut emitted = Emitted::default();
            // Below the frontier that was let pass without applying, nothing may be emitted.
            let from = caps.first().map_or(self.applied, |cap| *cap.time());
            self.is_busy(true);
            let advanced = self.logic.advance(from, frontier, closed, &mut emitted);
            self.is_busy(false);
            advanced?;
            if let Some(keeper) = &mut self.keeper {
                keeper.log_output(&self.logic, &emitted.updates)?;
                keeper.hand_changes(&mut self.logic)?;
            }
            self.send(emitted, caps)?;
            self.applied = frontier;
            self.counted.changed();
        }
        // A row found late keeps its time, which is not before those of the rows not applied yet.
        let waiting = self.stashes.iter().filter_map(Stash::first).min().unwrap_or(frontier);
        for (port, cap) in caps.iter_mut().enumerate() {
            let to = if apply || port == 0 { frontier } else { frontier.min(waiting) };
            if *cap.time() < to && to != CLOSED {
                cap.downgrade(&to);
            }
        }
        Ok(())
    }

    /// Tells the logic which inputs have ended.
    fn end_inputs(&mut self, frontiers: &[MutableAntichain<EventTime>]) {
        let inputs = self.ended.iter_mut().zip(frontiers).zip(&self.stashes);
        for (input, ((ended, frontier), stash)) in inputs.enumerate() {
            if !*ended && frontier.is_empty() && stash.rows() == 0 {
                *ended = true;
                self.logic.input_ended(input);
            }
        }
    }

    fn send(&mut self, emitted: Emitted, caps: &[Capability<EventTime>]) -> Result<()> {
        let Some(data) = caps.first() else { return Ok(()) };
        let mut port = self.out.activate();
        for mut batch in emitted.updates {
            debug_assert!(
                batch.time_range().is_none_or(|(lo, _)| lo >= *data.time()),
                "{} emits in the past of its frontier",
                self.name
            );
            port.session_with_builder(data).give_container(&mut batch);
        }
        drop(port);
        for late in &emitted.late {
            self.runtime.metrics.record_late(late.rows.times());
            if let (Some(port), Some(cap)) = (&mut self.late, caps.get(1)) {
                let mut batch = late_batch(&self.name, late)?;
                port.activate().session_with_builder(cap).give_container(&mut batch);
            }
        }
        self.runtime.metrics.record_irregular(&emitted.irregular);
        self.runtime.metrics.record_dead_letters(&emitted.dead);
        send_dead(&mut self.dead, caps.last(), emitted.dead);
        Ok(())
    }
}
