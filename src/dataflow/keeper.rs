//! What a stateful operator's driver keeps for snapshots, hands over and takes back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;

use super::digest::Digester;
use super::logic::StatefulLogic;
use super::restored::WrittenTable;
use super::runtime::JobRuntime;
use super::snapshots::{Handed, Snapshots, StatePlace};
use crate::batch::UpdateBatch;
use crate::batch::partition::Parallelism;
use crate::connectors::registry;
use crate::error::Result;
use crate::limits::{SNAPSHOT_LOG_ROWS_MAX, SNAPSHOT_PIECE_ROWS, SNAPSHOT_PIECES_US_MAX};
use crate::plan::exchange::{parallelism, placements};
use crate::plan::node::{OutputTarget, StreamPlan};
use crate::state::saved::{Part, Recovery, SavedTable, log_input, log_name, log_rows, log_updates};
use crate::telemetry::clock::monotonic;
use crate::time::{BEGINNING, EventTime};

/// How long pieces are handed over before the operator goes on with its work.
const PIECES_MAX: Duration = Duration::from_micros(SNAPSHOT_PIECES_US_MAX);

/// The snapshots of one operator on one worker.
pub struct Keeper {
    snapshots: Arc<Snapshots>,
    place: StatePlace,
    worker: usize,
    workers: usize,
    /// Over how many of the workers the rows are spread.
    spread: Parallelism,
    workers_here: usize,
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
    /// The frontier of the part that is being handed over piece by piece.
    giving: Option<EventTime>,
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
        let restored = snapshots.restored_frontier(place).unwrap_or(BEGINNING);
        Some(Keeper {
            log: inputs.iter().map(|_| Vec::new()).collect(),
            rows: 0,
            saved: restored,
            restored,
            is_first: true,
            giving: None,
            logged,
            workers: runtime.workers,
            spread: spread_of(&runtime.plan, place),
            workers_here: runtime.workers_here(),
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
        let schemas = self.inputs.iter().take(inputs).map(|(schema, _)| Arc::clone(schema));
        let is_placed = logic.recovery() == Recovery::Tables && self.is_as_before(&tables);
        let peers = self.spread.of(self.workers);
        let mut pieces = tables.iter().enumerate().flat_map(|(number, table)| {
            let is_placed = is_placed && log_input(table.name()).is_none();
            let rows = table.rows_of(self.worker, peers, is_placed);
            rows.map(move |piece| piece.map(|piece| (number, piece)))
        });
        let mut next = || pieces.next().transpose();
        logic.restore(&mut next, &schemas.collect::<Vec<_>>(), frontier)?;
        self.snapshots.took_state(self.place, self.workers_here);
        Ok(Some(frontier))
    }

    /// Whether each worker has what it wrote: on as many workers as before, and spread over all of
    /// them before, as all have written, and now.
    fn is_as_before(&self, tables: &[WrittenTable]) -> bool {
        let workers = self.snapshots.restored().map(|restored| restored.workers);
        let sharded = tables.iter().filter(|table| table.is_sharded());
        let owners: BTreeSet<usize> = sharded.map(WrittenTable::owner).collect();
        workers == Some(self.workers)
            && owners.len() == self.workers
            && self.spread.of(self.workers) == self.workers
    }

    /// By input the updates in the snapshot that are this worker's, which has then taken all of
    /// its state.
    pub fn take_logs(&self, inputs: usize) -> Result<Vec<Vec<UpdateBatch>>> {
        let mut logs: Vec<Vec<UpdateBatch>> = vec![Vec::new(); inputs];
        let Some((_, tables)) = self.snapshots.restored_state(self.place) else {
            return Ok(logs);
        };
        let peers = self.spread.of(self.workers);
        for table in tables.iter() {
            let input = log_input(table.name());
            let known = input.and_then(|i| Some((logs.get_mut(i)?, self.inputs.get(i)?)));
            let Some((log, (schema, _))) = known else { continue };
            for piece in table.rows_of(self.worker, peers, false) {
                let rows = piece?.rows;
                if rows.num_rows() > 0 {
                    log.push(log_updates(&rows, schema)?);
                }
            }
        }
        self.snapshots.took_state(self.place, self.workers_here);
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

    /// Hands over what `logic` has put aside: it will not know any more what has changed.
    pub fn hand_changes(&mut self, logic: &mut impl StatefulLogic) -> Result<()> {
        let tables = logic.take_changes();
        if !tables.is_empty() {
            // They are of the next snapshot.
            self.give_all(logic)?;
            let recovery = logic.recovery();
            self.hand(None, Part { recovery, whole: false, tables, changed: None });
        }
        Ok(())
    }

    fn hand_if_long(&mut self, logic: &impl StatefulLogic) -> Result<()> {
        if self.rows >= SNAPSHOT_LOG_ROWS_MAX {
            let begun = monotonic();
            let (recovery, tables) = (logic.recovery(), self.take_log()?);
            self.hand(None, Part { recovery, whole: false, tables, changed: None });
            self.snapshots.paused(begun);
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

    /// Hands over the state of `logic`, which is as of `frontier`; what is left of it is given by
    /// [`Keeper::go_on`].
    pub fn save(&mut self, logic: &mut impl StatefulLogic, frontier: EventTime) -> Result<()> {
        self.give_all(logic)?;
        let begun = monotonic();
        let recovery = logic.recovery();
        if recovery == Recovery::Tables {
            let placement = self.inputs.first().and_then(|(_, by)| by.as_deref());
            let mut changed = logic.changed_rows();
            let mut each = |whole: bool, tables: Vec<SavedTable>| {
                self.hand(None, Part { recovery, whole, tables, changed: changed.replace(0) });
            };
            let (whole, tables) = logic.save_in_pieces(self.is_first, placement, &mut each)?;
            self.hand(None, Part { recovery, whole, tables, changed });
            self.giving = Some(frontier);
            self.give(logic, Some(begun))?;
        } else {
            let tables = self.take_log()?;
            self.hand(Some(frontier), Part { recovery, whole: false, tables, changed: None });
        }
        self.is_first = false;
        self.saved = frontier;
        self.snapshots.paused(begun);
        Ok(())
    }

    /// Whether a part has been handed over in part.
    pub fn is_giving(&self) -> bool {
        self.giving.is_some()
    }

    /// Hands over more of the part that was begun, as much as takes little time.
    pub fn go_on(&mut self, logic: &mut impl StatefulLogic) -> Result<()> {
        if self.is_giving() && !self.snapshots.is_busy() {
            let begun = monotonic();
            self.give(logic, Some(begun))?;
            self.snapshots.paused(begun);
        }
        Ok(())
    }

    /// Hands over all of the part that was begun.
    pub fn give_all(&mut self, logic: &mut impl StatefulLogic) -> Result<()> {
        self.give(logic, None)
    }

    /// Hands over pieces, for some time after `begun` if that is given.
    fn give(&mut self, logic: &mut impl StatefulLogic, begun: Option<Instant>) -> Result<()> {
        let recovery = Recovery::Tables;
        while let Some(frontier) = self.giving {
            if let Some(begun) = begun
                && (begun.elapsed() >= PIECES_MAX || self.snapshots.is_busy())
            {
                break;
            }
            let piece = logic.save_more(SNAPSHOT_PIECE_ROWS)?;
            let last = piece.is_none().then_some(frontier);
            let (tables, changed) = (piece.into_iter().collect(), Some(0));
            self.hand(last, Part { recovery, whole: false, tables, changed });
            if last.is_some() {
                self.giving = None;
            }
        }
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
    /// The keeper of output `index`; `None` if its job takes no snapshots, or none of its rows come
    /// to this process.
    pub fn new(runtime: &Arc<JobRuntime>, index: usize, worker: usize) -> Option<Self> {
        let snapshots = Arc::clone(runtime.snapshots()?);
        let output = runtime.plan.outputs.get(index)?;
        if runtime.place().process > 0 && !registry::ends_anywhere(&output.target) {
            return None;
        }
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
            // Those of the first process: no rows come to others.
            workers: runtime.workers_here(),
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
        for table in tables.iter() {
            for piece in table.rows_of(self.worker, self.workers, false) {
                rows.push(log_updates(&piece?.rows, &self.schema)?);
            }
        }
        self.snapshots.took_state(StatePlace::Output(self.index), self.workers);
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
        let begun = monotonic();
        self.saved = frontier;
        self.hand(Some(frontier), frontier)?;
        self.snapshots.paused(begun);
        Ok(())
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
        let part = Part { recovery, whole: false, tables, changed: None };
        let (place, worker) = (StatePlace::Output(self.index), self.worker);
        self.snapshots.hand(Handed::State { place, worker, frontier, part });
        Ok(())
    }
}

/// Over how many workers the rows of the state at `place` are spread.
fn spread_of(plan: &StreamPlan, place: StatePlace) -> Parallelism {
    match place {
        StatePlace::Node(id) => parallelism(plan, plan.node(id)),
        StatePlace::Edge(..) | StatePlace::Output(_) => Parallelism::ALL,
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
