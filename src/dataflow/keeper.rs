//! What a stateful operator's driver keeps for snapshots, hands over and takes back.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::digest::Digester;
use super::logic::StatefulLogic;
use super::runtime::JobRuntime;
use super::snapshots::{Handed, Snapshots, StatePlace};
use crate::batch::UpdateBatch;
use crate::error::Result;
use crate::limits::SNAPSHOT_LOG_ROWS_MAX;
use crate::plan::exchange::placements;
use crate::plan::node::{OutputTarget, StreamPlan};
use crate::state::saved::{Part, Recovery, SavedTable, log_input, log_name, log_rows, log_updates};
use crate::time::{BEGINNING, EventTime};

/// The snapshots of one operator on one worker.
pub struct Keeper {
    snapshots: Arc<Snapshots>,
    place: StatePlace,
    worker: usize,
    workers: usize,
    /// By input: its columns, and those whose hash places a row.
    inputs: Vec<(SchemaRef, Option<Vec<usize>>)>,
    /// By input the updates applied and not handed over yet.
    log: Vec<Vec<UpdateBatch>>,
    rows: usize,
    /// The frontier of the last snapshot that it took part in.
    saved: EventTime,
    restored: EventTime,
    /// Whether the next part must be the whole state.
    is_first: bool,
    /// What a log is kept of.
    logged: Logged,
}

/// What of an operator a log is kept of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logged {
    Nothing,
    Inputs,
    Output,
}

impl Keeper {
    /// The keeper of the state of `logic` at `place`; `None` if its job takes no snapshots.
    pub fn new(
        runtime: &Arc<JobRuntime>,
        place: StatePlace,
        worker: usize,
        logic: &impl StatefulLogic,
    ) -> Option<Self> {
        let snapshots = Arc::clone(runtime.snapshots()?);
        let logged = match logic.recovery() {
            Recovery::Tables => Logged::Nothing,
            _ if logic.is_its_output() => Logged::Output,
            _ => Logged::Inputs,
        };
        let mut inputs = inputs_of(&runtime.plan, place);
        if let (Logged::Output, StatePlace::Node(id)) = (logged, place) {
            // The columns that place a row are the leading ones, as in the input.
            inputs.iter_mut().for_each(|of| of.0 = Arc::clone(&runtime.plan.node(id).schema));
        }
        let restored = snapshots.restored_state(place).map_or(BEGINNING, |(frontier, _)| frontier);
        Some(Keeper {
            log: inputs.iter().map(|_| Vec::new()).collect(),
            rows: 0,
            saved: restored,
            restored,
            is_first: true,
            logged,
            workers: runtime.workers,
            snapshots,
            place,
            worker,
            inputs,
        })
    }

    /// The frontier that the operator starts from, if the snapshot has a part of it.
    pub fn frontier(&self) -> Option<EventTime> {
        Some(self.restored).filter(|frontier| *frontier != BEGINNING)
    }

    /// The frontier of a snapshot to take part in.
    pub fn wanted(&self) -> Option<EventTime> {
        self.snapshots.wanted(self.saved)
    }

    /// Brings `logic`, which is new, to the frontier of the snapshot, if that has a part of it.
    pub fn restore(
        &self,
        logic: &mut impl StatefulLogic,
        inputs: usize,
    ) -> Result<Option<EventTime>> {
        let Some((frontier, tables)) = self.snapshots.restored_state(self.place) else {
            return Ok(None);
        };
        if logic.recovery() == Recovery::Tables {
            let mut own = Vec::new();
            for (owner, table) in tables.iter().filter(|(_, t)| log_input(&t.name).is_none()) {
                let rows = table.rows_of(self.worker, self.workers, *owner)?;
                own.push(SavedTable { rows, ..table.clone() });
            }
            logic.load(own, frontier)?;
        }
        let logs = self.logs(inputs)?;
        if logs.iter().any(|log| !log.is_empty()) {
            logic.catch_up(frontier, logs)?;
        }
        Ok(Some(frontier))
    }

    /// By input the updates in the snapshot that are this worker's.
    pub fn logs(&self, inputs: usize) -> Result<Vec<Vec<UpdateBatch>>> {
        let mut logs: Vec<Vec<UpdateBatch>> = vec![Vec::new(); inputs];
        let Some((_, tables)) = self.snapshots.restored_state(self.place) else {
            return Ok(logs);
        };
        for (owner, table) in tables {
            let input = log_input(&table.name);
            let known = input.and_then(|i| Some((logs.get_mut(i)?, self.inputs.get(i)?)));
            let Some((log, (schema, _))) = known else { continue };
            let rows = table.rows_of(self.worker, self.workers, *owner)?;
            if rows.num_rows() > 0 {
                log.push(log_updates(&rows, schema)?);
            }
        }
        Ok(logs)
    }

    /// Keeps what `logic` is about to apply, where its state comes back from that.
    pub fn log(
        &mut self,
        logic: &impl StatefulLogic,
        whole: Option<usize>,
        applied: &[Vec<UpdateBatch>],
    ) -> Result<()> {
        if self.logged != Logged::Inputs {
            return Ok(());
        }
        let restored = self.restored;
        for (input, (log, batches)) in self.log.iter_mut().zip(applied).enumerate() {
            if whole == Some(input) || !logic.is_logged(input) {
                continue;
            }
            // What lies below the restored frontier was replayed: the snapshot holds it.
            let is_new = |b: &&UpdateBatch| b.time_range().is_some_and(|(_, t)| t >= restored);
            for batch in batches.iter().filter(is_new) {
                self.rows += batch.len();
                log.push(batch.clone());
            }
        }
        self.hand_if_long(logic)
    }

    /// Keeps what `logic` has emitted, where that is its state.
    pub fn log_output(
        &mut self,
        logic: &impl StatefulLogic,
        emitted: &[UpdateBatch],
    ) -> Result<()> {
        if let (Logged::Output, Some(log)) = (self.logged, self.log.first_mut()) {
            self.rows += emitted.iter().map(UpdateBatch::len).sum::<usize>();
            log.extend(emitted.iter().cloned());
        }
        self.hand_if_long(logic)
    }

    fn hand_if_long(&mut self, logic: &impl StatefulLogic) -> Result<()> {
        if self.rows >= SNAPSHOT_LOG_ROWS_MAX {
            let tables = self.take_log()?;
            self.hand(None, Part { recovery: logic.recovery(), whole: false, tables });
        }
        Ok(())
    }

    fn take_log(&mut self) -> Result<Vec<SavedTable>> {
        self.rows = 0;
        let mut tables = Vec::new();
        for (input, (log, (schema, shard))) in self.log.iter_mut().zip(&self.inputs).enumerate() {
            if log.is_empty() {
                continue;
            }
            let rows = log_rows(&UpdateBatch::concat(schema, &std::mem::take(log))?)?;
            tables.push(SavedTable { name: log_name(input), rows, shard: shard.clone() });
        }
        Ok(tables)
    }

    /// Hands over the state of `logic`, which is as of `frontier`.
    pub fn save(&mut self, logic: &mut impl StatefulLogic, frontier: EventTime) -> Result<()> {
        let recovery = logic.recovery();
        let (whole, tables) = match recovery {
            Recovery::Tables => {
                let placement = self.inputs.first().and_then(|(_, by)| by.as_deref());
                logic.save(self.is_first, placement)?
            }
            Recovery::Log | Recovery::Contents | Recovery::History(_) | Recovery::Since(_) => {
                (false, self.take_log()?)
            }
        };
        self.is_first = false;
        self.saved = frontier;
        self.hand(Some(frontier), Part { recovery, whole, tables });
        Ok(())
    }

    fn hand(&self, frontier: Option<EventTime>, part: Part) {
        let (place, worker) = (self.place, self.worker);
        self.snapshots.hand(Handed::State { place, worker, frontier, part });
    }
}

/// The snapshots of one output on one worker: of the rows of a view.
pub struct OutputKeeper {
    snapshots: Arc<Snapshots>,
    index: usize,
    worker: usize,
    workers: usize,
    schema: SchemaRef,
    retain_history: EventTime,
    /// The snapshot that it started from has no earlier history.
    known_since: EventTime,
    log: Vec<UpdateBatch>,
    rows: usize,
    saved: EventTime,
    digester: Digester,
    /// Digests have been told up to there.
    told: EventTime,
    until: EventTime,
}

impl OutputKeeper {
    /// The keeper of output `index`; `None` if its job takes no snapshots.
    pub fn new(runtime: &Arc<JobRuntime>, index: usize, worker: usize) -> Option<Self> {
        let snapshots = Arc::clone(runtime.snapshots()?);
        let output = runtime.plan.outputs.get(index)?;
        let began = snapshots.output_began(index);
        let digesting = snapshots.digesting();
        Some(OutputKeeper {
            saved: began,
            told: began,
            digester: Digester::new(digesting.interval, digesting.until),
            until: digesting.until,
            schema: Arc::clone(&runtime.plan.node(output.node).schema),
            retain_history: match output.target {
                OutputTarget::View { retain_history, .. } => retain_history.max(0),
                OutputTarget::Sink(_) | OutputTarget::Print(_) => 0,
            },
            known_since: snapshots.known_since(index),
            log: Vec::new(),
            rows: 0,
            workers: runtime.workers,
            snapshots,
            index,
            worker,
        })
    }

    /// The frontier of a snapshot to take part in.
    pub fn wanted(&self) -> Option<EventTime> {
        self.snapshots.wanted(self.saved)
    }

    /// The snapshot that the output starts from, and its rows of this worker.
    pub fn restored(&self) -> Result<Option<(EventTime, Vec<UpdateBatch>)>> {
        let state = self.snapshots.restored_state(StatePlace::Output(self.index));
        let Some((frontier, tables)) = state else { return Ok(None) };
        let mut rows = Vec::new();
        for (owner, table) in tables {
            let own = table.rows_of(self.worker, self.workers, *owner)?;
            rows.push(log_updates(&own, &self.schema)?);
        }
        Ok(Some((frontier, rows)))
    }

    /// The earliest time that a view as of `frontier` can be read at.
    pub fn history_from(&self, frontier: EventTime) -> EventTime {
        frontier.saturating_sub(self.retain_history).max(self.known_since)
    }

    /// Keeps rows that the output is given.
    pub fn log(&mut self, rows: &[UpdateBatch]) -> Result<()> {
        self.rows += rows.iter().map(UpdateBatch::len).sum::<usize>();
        self.log.extend(rows.iter().cloned());
        if self.rows >= SNAPSHOT_LOG_ROWS_MAX {
            self.hand(None, self.saved)?;
        }
        Ok(())
    }

    /// Hands over the rows since the snapshot before; the output has reached `frontier`.
    pub fn save(&mut self, frontier: EventTime) -> Result<()> {
        self.saved = frontier;
        self.hand(Some(frontier), frontier)
    }

    /// Adds to the digests what the output is given.
    pub fn digest(&mut self, rows: &[UpdateBatch]) -> Result<()> {
        rows.iter().try_for_each(|batch| self.digester.add(batch))
    }

    /// Tells the digests of what lies below `frontier`, where the output is.
    pub fn tell(&mut self, frontier: EventTime) {
        let digests = self.digester.take();
        let (output, worker, since) = (self.index, self.worker, self.told);
        self.told = frontier;
        self.snapshots.hand(Handed::Digests { output, worker, since, to: frontier, digests });
    }

    /// Whether the output has come to the end of what is digested, and has not told so yet.
    pub fn is_at_end(&self, frontier: EventTime) -> bool {
        frontier >= self.until && self.told < self.until
    }

    /// The frontier that the output goes on from.
    pub fn began(&self) -> EventTime {
        self.told
    }

    /// Takes no part in the snapshot at `frontier`, or another one.
    pub fn pass(&mut self, frontier: EventTime) {
        self.saved = frontier;
    }

    fn hand(&mut self, frontier: Option<EventTime>, reached: EventTime) -> Result<()> {
        let all = UpdateBatch::concat(&self.schema, &std::mem::take(&mut self.log))?;
        self.rows = 0;
        let rows = log_rows(&all)?;
        let mut tables = vec![SavedTable { name: log_name(0), rows, shard: None }];
        tables.retain(|table| table.rows.num_rows() > 0);
        let recovery = Recovery::History(self.history_from(reached));
        let part = Part { recovery, whole: false, tables };
        let (place, worker) = (StatePlace::Output(self.index), self.worker);
        self.snapshots.hand(Handed::State { place, worker, frontier, part });
        Ok(())
    }
}

/// By input its columns and those that place a row.
fn inputs_of(plan: &StreamPlan, place: StatePlace) -> Vec<(SchemaRef, Option<Vec<usize>>)> {
    match place {
        StatePlace::Node(id) => {
            let node = plan.node(id);
            let schemas = node.inputs.iter().map(|input| Arc::clone(&plan.node(*input).schema));
            schemas.zip(placements(plan, node)).collect()
        }
        // Rows find their workers behind it.
        StatePlace::Edge(id, input) => {
            let input = plan.node(id).inputs.get(input);
            input.map(|input| (Arc::clone(&plan.node(*input).schema), None)).into_iter().collect()
        }
        StatePlace::Output(_) => Vec::new(),
    }
}
