//! Where the time of a worker goes, and how many rows pass: told by timely's own log of a worker,
//! kept by operator.
//!
//! timely logs when an operator starts and stops, what is sent and received on each channel, and
//! when the worker sleeps. The log stays on its worker: it is read here some eighty events at a
//! time, and adds to the cells of [`Activity`]. It costs two looks at the clock an activation and
//! one a message, nothing a row. Operators inside of a recursion are not told apart: their time is
//! that of the recursion.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::logging::{
    ChannelsEvent, MessagesEvent, OperatesEvent, ParkEvent, ScheduleEvent, StartStop, TimelyEvent,
    TimelyEventBuilder,
};
use timely::worker::Worker;

use crate::dataflow::activity::{Exchange, OperatorActivity, WorkerTimes};
use crate::dataflow::metrics::JobMetrics;

/// How often the time of operators that do not run is added.
const SWEEP: Duration = Duration::from_secs(1);

/// The log of one worker, as it is read.
#[derive(Clone)]
pub struct Tally(Rc<RefCell<Reader>>);

struct Reader {
    worker: usize,
    times: Arc<WorkerTimes>,
    operators: BTreeMap<usize, Operator>,
    channels: BTreeMap<usize, Channel>,
    building: Option<Building>,
    /// Up to here the time of the worker has been added.
    until: Duration,
    is_asleep: bool,
    swept: Duration,
}

/// An operator of a dataflow.
struct Operator {
    dataflow: usize,
    cell: Arc<OperatorActivity>,
    /// Since when it runs, or does not.
    since: Duration,
    runs: bool,
}

/// A channel between two operators.
struct Channel {
    dataflow: usize,
    /// Whose rows are counted when they are sent: of those that carry the same rows, one counts.
    from: Option<Arc<OperatorActivity>>,
    to: Option<Arc<OperatorActivity>>,
    exchange: Option<Arc<Exchange>>,
}

/// A dataflow that is being built.
struct Building {
    dataflow: usize,
    operators: Vec<OperatesEvent>,
    channels: Vec<ChannelsEvent>,
}

impl Tally {
    /// Reads the log of `worker` from now on.
    pub fn start(worker: &Worker, times: Arc<WorkerTimes>) -> Self {
        let tally = Tally(Rc::new(RefCell::new(Reader::new(worker.index(), times))));
        let reader = Rc::clone(&tally.0);
        if let Some(mut logs) = worker.log_register() {
            logs.insert::<TimelyEventBuilder, _>("timely", move |now, events| {
                let mut reader = reader.borrow_mut();
                for (at, event) in events.iter_mut().flat_map(|events| events.drain(..)) {
                    reader.read(at, event);
                }
                reader.flush(*now);
            });
        }
        tally
    }

    /// Dataflow `dataflow` is going to be built.
    pub fn begin(&self, dataflow: usize) {
        let (operators, channels) = (Vec::new(), Vec::new());
        self.0.borrow_mut().building = Some(Building { dataflow, operators, channels });
    }

    /// The dataflow has been built: its operators count for the job of `metrics`.
    pub fn built(&self, worker: &Worker, metrics: &JobMetrics) {
        if let Some(mut logs) = worker.log_register() {
            logs.flush();
        }
        self.0.borrow_mut().bind(metrics);
    }

    /// The dataflow whose operator runs now; after a panic the one that has panicked.
    pub fn running(&self, worker: &Worker) -> Option<usize> {
        if let Some(mut logs) = worker.log_register() {
            logs.flush();
        }
        let reader = self.0.borrow();
        reader.operators.values().find(|own| own.runs).map(|own| own.dataflow)
    }

    /// Dataflow `dataflow` is gone.
    pub fn forget(&self, dataflow: usize) {
        let mut reader = self.0.borrow_mut();
        reader.operators.retain(|_, own| own.dataflow != dataflow);
        reader.channels.retain(|_, own| own.dataflow != dataflow);
    }
}

impl Reader {
    fn new(worker: usize, times: Arc<WorkerTimes>) -> Self {
        Reader {
            worker,
            times,
            operators: BTreeMap::new(),
            channels: BTreeMap::new(),
            building: None,
            until: Duration::ZERO,
            is_asleep: false,
            swept: Duration::ZERO,
        }
    }

    fn read(&mut self, at: Duration, event: TimelyEvent) {
        match event {
            TimelyEvent::Schedule(event) => self.schedule(at, &event),
            TimelyEvent::Messages(event) => self.message(&event),
            TimelyEvent::Park(ParkEvent::Park(_)) => {
                self.add(at);
                self.is_asleep = true;
            }
            TimelyEvent::Park(ParkEvent::Unpark) => {
                self.add(at);
                self.is_asleep = false;
            }
            TimelyEvent::Shutdown(event) => {
                self.operators.remove(&event.id);
            }
            TimelyEvent::Operates(event) => {
                if let Some(building) = &mut self.building {
                    building.operators.push(event);
                }
            }
            TimelyEvent::Channels(event) => {
                if let Some(building) = &mut self.building {
                    building.channels.push(event);
                }
            }
            TimelyEvent::PushProgress(_) | TimelyEvent::CommChannels(_) | TimelyEvent::Text(_) => {}
        }
    }

    fn schedule(&mut self, at: Duration, event: &ScheduleEvent) {
        let Some(own) = self.operators.get_mut(&event.id) else { return };
        let time = at.saturating_sub(std::mem::replace(&mut own.since, at));
        own.runs = event.start_stop == StartStop::Start;
        match event.start_stop {
            StartStop::Start => own.cell.rested(time),
            StartStop::Stop => own.cell.busy.add_time(time),
        }
    }

    fn message(&self, event: &MessagesEvent) {
        let Some(channel) = self.channels.get(&event.channel) else { return };
        let rows = u64::try_from(event.record_count).unwrap_or(0);
        if event.is_send {
            if let Some(from) = &channel.from {
                from.given.add(rows);
            }
            return;
        }
        if let Some(to) = &channel.to {
            to.taken.add(rows);
        }
        if let Some(exchange) = &channel.exchange {
            exchange.received.add(rows);
        }
    }

    /// Adds the time of the worker up to `now`.
    fn add(&mut self, now: Duration) {
        let time = now.saturating_sub(std::mem::replace(&mut self.until, now));
        let is_held_back = || self.operators.values().any(|own| own.cell.wait().is_some());
        let count = match self.is_asleep {
            false => &self.times.busy,
            true if is_held_back() => &self.times.held_back,
            true => &self.times.idle,
        };
        count.add_time(time);
    }

    /// Adds the time up to `now` of the worker, and now and then of its operators.
    fn flush(&mut self, now: Duration) {
        self.add(now);
        if now.saturating_sub(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        for own in self.operators.values_mut().filter(|own| !own.runs) {
            own.cell.rested(now.saturating_sub(std::mem::replace(&mut own.since, now)));
        }
    }

    /// Takes over what has been built.
    fn bind(&mut self, metrics: &JobMetrics) {
        let Some(Building { dataflow, operators, mut channels }) = self.building.take() else {
            return;
        };
        // Address in the dataflow to name; the dataflow itself and what is inside of a scope of it
        // are left out.
        let mut names = BTreeMap::new();
        for OperatesEvent { id, addr, name } in operators {
            if let [first, index] = addr.as_slice()
                && *first == dataflow
                && is_of_plan(&name)
            {
                let cell = metrics.activity.operator(&name, self.worker);
                let (since, runs) = (self.until, false);
                self.operators.insert(id, Operator { dataflow, cell, since, runs });
                names.insert(*index, name);
            }
        }
        channels.retain(|channel| channel.scope_addr == [dataflow]);
        channels.sort_by_key(|channel| channel.id);
        let mut sources = std::collections::BTreeSet::new();
        for ChannelsEvent { id, source, target, .. } in channels {
            let cell = |index: usize| {
                names.get(&index).map(|name| metrics.activity.operator(name, self.worker))
            };
            // What is late or dead is counted by itself.
            let is_counted = source.1 == 0 && sources.insert(source);
            let edge = names.get(&target.0).map(|name| (name.clone(), target.1));
            let exchange = edge.and_then(|edge| metrics.activity.exchange(&edge, self.worker));
            let from = cell(source.0).filter(|_| is_counted);
            self.channels.insert(id, Channel { dataflow, from, to: cell(target.0), exchange });
        }
    }
}

/// Whether an operator is part of a plan: the others only connect those, and are named by timely.
fn is_of_plan(name: &str) -> bool {
    name.contains(['#', '('])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_an_operator_and_of_its_worker_add_up() {
        use crate::dataflow::activity::Wait;
        let mut reader = Reader::new(0, Arc::default());
        let metrics = JobMetrics::new(Vec::new(), Vec::new(), 1);
        let (addr, name) = (vec![3, 1], "Calc#1".to_owned());
        let operators = vec![OperatesEvent { id: 7, addr, name }];
        reader.building = Some(Building { dataflow: 3, operators, channels: Vec::new() });
        reader.bind(&metrics);
        let cell = metrics.activity.operator("Calc#1", 0);
        let second = Duration::from_secs;
        reader.read(second(1), ScheduleEvent::start(7).into());
        reader.read(second(3), ScheduleEvent::stop(7).into());
        reader.read(second(4), ParkEvent::park(None).into());
        reader.read(second(9), ParkEvent::unpark().into());
        cell.set_wait(Some(Wait::Writer));
        reader.flush(second(10));
        reader.read(second(10), ParkEvent::park(None).into());
        reader.flush(second(16));
        assert_eq!(cell.busy.seconds(), 2.0);
        // Before it first ran; from when it stopped it waited, as far as anybody can tell.
        assert_eq!(cell.idle.seconds(), 1.0);
        assert_eq!(cell.held_back[2].seconds(), 13.0);
        let WorkerTimes { busy, idle, held_back } = &*reader.times;
        assert_eq!([busy, idle, held_back].map(|count| count.seconds()), [5.0, 5.0, 6.0]);
    }
}
