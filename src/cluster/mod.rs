//! Processes and workers: the only owner of timely workers and their threads.
//!
//! A [`Cluster`] runs the workers of this process. Jobs are installed and removed by commands that
//! every worker carries out in the same order, so that all build the same dataflows.

pub mod epoch;
pub mod hostfile;
mod lost;
pub mod peer;
pub mod session;
mod sockets;
mod tally;
mod worker;

pub use lost::on_lost_data;

use std::any::Any;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Hooks, WorkerGuards};
use timely::scheduling::SyncActivator;
use timely::{CommunicationConfig, WorkerConfig};

use crate::dataflow::activity::WorkerTimes;
use crate::dataflow::metrics::lock;
use crate::dataflow::runtime::{JobRuntime, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::CLUSTER_COMMANDS_MAX;
use peer::Member;
use session::Sockets;
use worker::Command;

/// How the workers of a job are spread.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Workers of this process.
    pub workers: usize,
    /// This process among several; `None` for a single one.
    pub member: Option<Arc<Member>>,
    /// Serialise batches between the workers of one process as between processes (for tests).
    pub always_serialise: bool,
}

impl Topology {
    /// One process.
    pub fn alone(workers: usize) -> Self {
        Topology { workers, member: None, always_serialise: false }
    }

    /// Where this process stands.
    pub fn place(&self) -> Place {
        let (process, processes) = match &self.member {
            Some(member) => (member.process, member.processes()),
            None => (0, 1),
        };
        Place { process, processes, workers: self.workers }
    }

    fn allocators(&self) -> Result<Allocators> {
        let Some(member) = self.member.as_ref().filter(|member| member.processes() > 1) else {
            return self.allocators_alone();
        };
        self.allocators_over(sockets::connect(member)?)
    }

    fn allocators_alone(&self) -> Result<Allocators> {
        let config = match (self.workers, self.always_serialise) {
            (1, false) => CommunicationConfig::Thread,
            (workers, false) => CommunicationConfig::Process(workers),
            (workers, true) => CommunicationConfig::ProcessBinary(workers),
        };
        config.try_build().map_err(|e| cannot_start(&e))
    }

    /// Sockets are ours: timely's own way asks nobody who he is, and waits without bound.
    fn allocators_over(&self, sockets: Sockets) -> Result<Allocators> {
        let hooks = Hooks::default();
        let (refill, spill) = (hooks.refill.clone(), hooks.spill.clone());
        let local = match self.always_serialise {
            true => ProcessBuilder::new_bytes_vector(self.workers, refill, spill),
            false => ProcessBuilder::new_typed_vector(self.workers, refill, spill),
        };
        let process = self.place().process;
        let (builders, guard) =
            initialize_networking_from_sockets(local, sockets, process, self.workers, hooks)
                .map_err(|e| cannot_start(&e))?;
        Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(guard)))
    }
}

/// Allocators for the workers, and what keeps their connections alive.
type Allocators = (Vec<AllocatorBuilder>, Box<dyn Any + Send>);

fn cannot_start(what: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, format!("the workers cannot start: {what}"))
}

/// Called when a worker has panicked, with the name of the job whose operator it was, if that is
/// known.
pub type OnPanic = Arc<dyn Fn(Option<&str>) + Send + Sync>;

/// The workers of this process.
pub struct Cluster {
    place: Place,
    commands: Vec<SyncSender<Command>>,
    wakers: Vec<SyncActivator>,
    times: Vec<Arc<WorkerTimes>>,
    guards: Mutex<Option<WorkerGuards<()>>>,
}

impl Cluster {
    /// Starts the workers and waits until they are ready.
    pub fn start(topology: &Topology) -> Result<Self> {
        Self::start_with(topology, topology.allocators()?, None)
    }

    /// Starts the workers of a process whose session has connected them to the others. When one of
    /// them panics `on_panic` is called, after which none of them can be relied on.
    pub fn of_session(topology: &Topology, sockets: Sockets, on_panic: OnPanic) -> Result<Self> {
        let allocators = match topology.place().processes {
            1 => topology.allocators_alone()?,
            _ => topology.allocators_over(sockets)?,
        };
        Self::start_with(topology, allocators, Some(on_panic))
    }

    fn start_with(
        topology: &Topology,
        (builders, others): Allocators,
        on_panic: Option<OnPanic>,
    ) -> Result<Self> {
        let mut senders = Vec::new();
        let mut receivers = Vec::new();
        for _ in 0..topology.workers {
            let (sender, receiver) = sync_channel(CLUSTER_COMMANDS_MAX);
            senders.push(sender);
            receivers.push(Some(receiver));
        }
        let receivers = Mutex::new(receivers);
        let times: Vec<Arc<WorkerTimes>> = (0..topology.workers).map(|_| Arc::default()).collect();
        let told = times.clone();
        let (ready, started) = sync_channel(topology.workers);
        let workers = topology.workers;
        let config = WorkerConfig::default();
        let guards = timely::execute::execute_from(builders, others, config, move |worker| {
            let local = worker.index() % workers;
            let receiver = lock(&receivers).get_mut(local).and_then(Option::take);
            let Some(receiver) = receiver else { return };
            // A cluster that gave up waiting needs no waking.
            let _ = ready.send((local, worker.sync_activator_for(Vec::new())));
            let times = told.get(local).cloned().unwrap_or_default();
            worker::run(worker, local, &receiver, times, on_panic.as_ref());
        })
        .map_err(|e| Error::new(ErrorKind::Io, format!("the workers cannot start: {e}")))?;
        let mut wakers = Vec::new();
        for _ in 0..topology.workers {
            let waker = started
                .recv_timeout(Duration::from_secs(60))
                .map_err(|_| Error::internal("a worker did not start within a minute"))?;
            wakers.push(waker);
        }
        wakers.sort_by_key(|(local, _)| *local);
        let wakers = wakers.into_iter().map(|(_, waker)| waker).collect();
        Ok(Cluster {
            place: topology.place(),
            commands: senders,
            wakers,
            times,
            guards: Mutex::new(Some(guards)),
        })
    }

    /// Where this process stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// How the workers of this process have spent their time, each with its number among all.
    pub fn worker_times(&self) -> impl Iterator<Item = (usize, &WorkerTimes)> {
        let first = self.place.process * self.place.workers;
        self.times.iter().enumerate().map(move |(local, times)| (first + local, times.as_ref()))
    }

    /// Builds the job's dataflow on every worker of this process.
    pub fn install(&self, id: u64, runtime: &Arc<JobRuntime>, rows_in_flight: usize) -> Result<()> {
        self.send(|| Command::Install { id, runtime: Arc::clone(runtime), rows_in_flight })
    }

    /// Drops the job's dataflow on every worker; its metrics tell when that is done.
    pub fn remove(&self, id: u64) -> Result<()> {
        self.send(|| Command::Remove { id })
    }

    fn send(&self, command: impl Fn() -> Command) -> Result<()> {
        for (sender, waker) in self.commands.iter().zip(&self.wakers) {
            sender.send(command()).map_err(|_| Error::internal("a worker has stopped"))?;
            // A worker that is gone has been reported by the line above.
            let _ = waker.activate();
        }
        Ok(())
    }

    /// Ends the workers, once all that they have to say to other processes is said, and those have
    /// ended theirs.
    pub fn join(self) {
        self.end(true);
    }

    fn end(&self, waits: bool) {
        let Some(guards) = lock(&self.guards).take() else { return };
        if !waits {
            // Their threads go with the process: workers that ended would tell the others that all
            // had been said.
            std::mem::forget(self.commands.clone());
            return std::mem::forget(guards);
        }
        // Workers that are gone already need no command.
        let _ = self.send(|| Command::Stop);
        for result in guards.join() {
            if let Err(error) = result {
                tracing::error!("a worker ended badly: {error}");
            }
        }
    }
}

impl Drop for Cluster {
    /// Those of a single process are waited for; other processes, that know of no end, would be
    /// waited for without one.
    fn drop(&mut self) {
        self.end(self.place.processes == 1);
    }
}
