//! What all workers of a process share of one job: sources, outputs, counters, flow control.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;

use super::collect::Collected;
use super::flow::Alignment;
use super::frontier::Frontiers;
use super::metrics::{JobMetrics, lock};
use super::sink::{Resume, SinkHandle};
use super::snapshots::{Handed, Snapshots};
use super::source::SharedSource;
use crate::batch::partition::Parallelism;
use crate::connectors::{SinkWriter, Source, SourceSpec, registry};
use crate::error::Result;
use crate::limits::{SPLIT_BYTES, SPLIT_BYTES_PROCESSES};
use crate::plan::node::{NodeId, Operator, OutputTarget, PlanOutput, StreamPlan};
use crate::serve::ServedView;
use crate::serve::view::ViewContents;
use crate::spill::Memory;

/// Where this process stands among its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the process.
    pub process: usize,
    /// Number of processes.
    pub processes: usize,
    /// Workers of this process.
    pub workers: usize,
}

impl Place {
    /// How many processes have a worker that reads a source of this parallelism.
    fn reading(&self, parallelism: Parallelism) -> usize {
        let readers = parallelism.of(self.workers * self.processes);
        readers.div_ceil(self.workers.max(1))
    }

    /// How many bytes a source decodes at once that is to decode `wanted`.
    fn split_bytes(self, wanted: usize) -> usize {
        match wanted {
            SPLIT_BYTES if self.processes > 1 => SPLIT_BYTES_PROCESSES,
            wanted => wanted,
        }
    }

    /// A single process.
    pub fn alone(workers: usize) -> Self {
        Place { process: 0, processes: 1, workers }
    }
}

/// Makes the writer of the changes of a bare query.
pub type PrintChanges<'a> = &'a dyn Fn(&SchemaRef, Option<&[usize]>) -> Box<dyn SinkWriter>;

/// Makes the source of a table.
pub type CreateSource<'a> = &'a dyn Fn(&SourceSpec) -> Result<Arc<dyn Source>>;

/// Where an output's rows go in this process.
pub enum OutputRuntime {
    /// Into a view.
    View(Arc<ViewContents>),
    /// To a writer on a thread of its own.
    Sink(Arc<SinkHandle>),
    /// Nowhere: they are counted.
    Discard,
    /// Into memory, to be printed at the end.
    Collect(Arc<Collected>),
}

impl OutputRuntime {
    /// Whether rows go to a writer.
    pub fn is_sink(&self) -> bool {
        matches!(self, OutputRuntime::Sink(_))
    }
}

/// One job in one process.
pub struct JobRuntime {
    /// The plan.
    pub plan: Arc<StreamPlan>,
    /// Counters and end.
    pub metrics: Arc<JobMetrics>,
    /// Workers over all processes.
    pub workers: usize,
    /// One an output of the plan.
    pub outputs: Vec<OutputRuntime>,
    sources: BTreeMap<NodeId, Arc<SharedSource>>,
    stopping: AtomicBool,
    built: Mutex<usize>,
    place: Place,
    snapshots: Option<Arc<Snapshots>>,
    memory: Option<Arc<Memory>>,
    frontiers: Arc<Frontiers>,
}

impl JobRuntime {
    /// Opens sources, sinks and views; nothing is read yet.
    pub fn new(
        plan: Arc<StreamPlan>,
        place: Place,
        print: Option<PrintChanges<'_>>,
    ) -> Result<Self> {
        Self::with_sources(plan, place, print, &registry::create_source)
    }

    /// As [`JobRuntime::new`], with snapshots; starts from one if there is one.
    pub fn with_snapshots(
        plan: Arc<StreamPlan>,
        place: Place,
        print: Option<PrintChanges<'_>>,
        snapshots: Arc<Snapshots>,
    ) -> Result<Self> {
        Self::open(plan, place, print, &registry::create_source, Some(snapshots))
    }

    /// As [`JobRuntime::new`], with sources that `create` makes.
    pub fn with_sources(
        plan: Arc<StreamPlan>,
        place: Place,
        print: Option<PrintChanges<'_>>,
        create: CreateSource<'_>,
    ) -> Result<Self> {
        Self::open(plan, place, print, create, None)
    }

    /// As [`JobRuntime::with_sources`], with snapshots if there are some.
    pub fn open(
        plan: Arc<StreamPlan>,
        place: Place,
        print: Option<PrintChanges<'_>>,
        create: CreateSource<'_>,
        snapshots: Option<Arc<Snapshots>>,
    ) -> Result<Self> {
        // A run that has ended tells its sinks, and its sources what it decided: no more.
        let keeping = snapshots.clone().filter(|snapshots| !snapshots.is_ended());
        let tables = plan.scans().map(|s| s.table.def.name.clone()).collect::<Vec<_>>();
        let names = plan.outputs.iter().map(|o| name_of(&o.target)).collect();
        let memory = memory_of(&plan, snapshots.as_ref(), place.workers);
        let metrics = JobMetrics::new(tables.clone(), names, place.workers);
        let metrics = Arc::new(metrics.with_memory(memory.clone()));
        if let Some(keeping) = &keeping {
            keeping.count_by(&metrics);
        }
        let alignment = Arc::new(Alignment::new(&plan));
        let mut sources = BTreeMap::new();
        for (id, node) in plan.nodes.iter().enumerate() {
            let Operator::Scan(scan) = &node.operator else { continue };
            let spec = SourceSpec {
                table: Arc::clone(&scan.table.def),
                schema: Arc::clone(&scan.columns),
                split_bytes: place.split_bytes(node.settings.split_bytes),
                process: place.process,
                processes: place.reading(scan.parallelism()),
            };
            let source = create(&spec)?;
            let index = sources.len();
            let shared = SharedSource::new(
                source,
                scan.clone(),
                index,
                &node.settings,
                Arc::clone(&alignment),
            );
            if let Some(snapshots) = &snapshots {
                let restored = snapshots.restored();
                let positions = restored.and_then(|r| r.sources.get(&index)).map(Vec::as_slice);
                shared.keep(Arc::clone(snapshots), positions)?;
            }
            let shared = Arc::new(shared);
            if let Some(snapshots) = keeping.as_ref().filter(|snapshots| snapshots.has_others()) {
                let weak = Arc::downgrade(&shared);
                snapshots.answers(Box::new(move || weak.upgrade()?.answer_if_ended()));
            }
            sources.insert(NodeId(id), shared);
        }
        let mut outputs = Vec::new();
        for (index, output) in plan.outputs.iter().enumerate() {
            let to =
                Opening { plan: &plan, place, metrics: &metrics, snapshots: snapshots.as_ref() };
            outputs.push(to.open(output, index, print)?);
        }
        let frontiers = Arc::new(Frontiers::new(&plan, place));
        Ok(JobRuntime {
            frontiers,
            plan,
            metrics,
            workers: place.workers * place.processes,
            outputs,
            sources,
            stopping: AtomicBool::new(false),
            built: Mutex::new(0),
            place,
            snapshots: keeping,
            memory,
        })
    }

    /// The shared source of a scan.
    pub fn source(&self, node: NodeId) -> Option<&Arc<SharedSource>> {
        self.sources.get(&node)
    }

    /// The job's snapshots, if it takes any.
    pub fn snapshots(&self) -> Option<&Arc<Snapshots>> {
        self.snapshots.as_ref()
    }

    /// The job's memory budget, if it has one.
    pub fn memory(&self) -> Option<&Arc<Memory>> {
        self.memory.as_ref()
    }

    /// How far its operators are.
    pub fn frontiers(&self) -> &Arc<Frontiers> {
        &self.frontiers
    }

    /// The sources in the order of the plan.
    pub fn sources(&self) -> impl Iterator<Item = &Arc<SharedSource>> {
        self.sources.values()
    }

    /// A worker has built the dataflow; the last one starts the sources.
    pub fn built(&self) {
        let mut built = lock(&self.built);
        *built += 1;
        if *built == self.place.workers {
            for source in self.sources.values() {
                if let Err(error) = source.start() {
                    self.metrics.fail(error);
                }
            }
        }
    }

    /// Asks the sources to end where they are.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether the sources are to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Workers of this process.
    pub fn workers_here(&self) -> usize {
        self.place.workers
    }

    /// Where this process stands among its peers.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The views of the job.
    pub fn views(&self) -> Vec<ServedView> {
        let pairs = self.plan.outputs.iter().zip(&self.outputs);
        pairs
            .filter_map(|(output, runtime)| match (&output.target, runtime) {
                (OutputTarget::View { name, .. }, OutputRuntime::View(contents)) => {
                    let node = self.plan.node(output.node);
                    Some(ServedView {
                        name: name.clone(),
                        schema: Arc::clone(&node.schema),
                        key: node.props.unique_key.clone().unwrap_or_default(),
                        contents: Arc::clone(contents),
                    })
                }
                _ => None,
            })
            .collect()
    }

    /// Ends the sinks: `complete` says whether everything has been handed to them.
    pub fn finish_sinks(&self, complete: bool) -> Result<()> {
        let mut sinks = self.outputs.iter().filter_map(|o| match o {
            OutputRuntime::Sink(sink) => Some(sink),
            _ => None,
        });
        sinks.try_for_each(|s| s.finish(complete))
    }
}

/// What outputs are opened with.
struct Opening<'a> {
    plan: &'a StreamPlan,
    place: Place,
    metrics: &'a Arc<JobMetrics>,
    snapshots: Option<&'a Arc<Snapshots>>,
}

impl Opening<'_> {
    fn open(
        &self,
        output: &PlanOutput,
        index: usize,
        print: Option<PrintChanges<'_>>,
    ) -> Result<OutputRuntime> {
        let node = self.plan.node(output.node);
        if self.snapshots.is_some_and(|s| s.digesting().alone) {
            return Ok(OutputRuntime::Discard);
        }
        match &output.target {
            // The rows of all processes come to the first one.
            _ if self.place.process > 0 => Ok(OutputRuntime::Discard),
            OutputTarget::View { retain_history, .. } => {
                let schema = Arc::clone(&node.schema);
                let contents = ViewContents::new(schema, self.place.workers, *retain_history);
                Ok(OutputRuntime::View(Arc::new(contents)))
            }
            OutputTarget::Sink(table) => {
                if registry::discards(table) {
                    return Ok(OutputRuntime::Discard);
                }
                let mode = self.snapshots.map(|s| s.sink_mode()).unwrap_or_default();
                let writer = registry::create_sink(table, &output.key(node), &mode)?;
                self.start(&table.name, writer, index)
            }
            OutputTarget::Print(_) => match print {
                Some(print) => {
                    let key = node.props.unique_key.as_deref();
                    self.start("print", print(&node.schema, key), index)
                }
                None => Ok(OutputRuntime::Collect(Arc::default())),
            },
        }
    }

    /// Starts the thread of `writer`, where an earlier run has left it.
    fn start(
        &self,
        name: &str,
        mut writer: Box<dyn SinkWriter>,
        index: usize,
    ) -> Result<OutputRuntime> {
        let resume = match self.snapshots {
            None => Resume::default(),
            Some(snapshots) => {
                let reached = snapshots.sink_reached(index);
                let (snapshots, settling) = (Arc::clone(snapshots), Arc::clone(snapshots));
                Resume {
                    is_durable: true,
                    from: writer.recover(reached)?,
                    settle: Box::new(move || settling.settle()),
                    notify: Box::new(move |frontier| {
                        snapshots.hand(Handed::Sink { output: index, frontier });
                    }),
                }
            }
        };
        let handle = SinkHandle::start(name, writer, Arc::clone(self.metrics), index, resume)?;
        Ok(OutputRuntime::Sink(handle))
    }
}

/// The memory budget of the job of `plan`.
fn memory_of(
    plan: &StreamPlan,
    snapshots: Option<&Arc<Snapshots>>,
    workers: usize,
) -> Option<Arc<Memory>> {
    let budget = plan.memory_budget()?;
    let dir = snapshots.and_then(|snapshots| snapshots.dir().map(Path::to_owned));
    Some(Memory::new(budget, &dir.unwrap_or_else(std::env::temp_dir), workers))
}

fn name_of(target: &OutputTarget) -> String {
    match target {
        OutputTarget::View { name, .. } => name.clone(),
        OutputTarget::Sink(table) => table.name.clone(),
        OutputTarget::Print(_) => String::new(),
    }
}
