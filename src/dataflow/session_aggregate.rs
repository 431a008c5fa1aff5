//! Session aggregation: one result for each session of a key.
//!
//! When a session closes, and what late rows do, is said in [`super::sessions`]. State: one group
//! of aggregate states a session.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;

use super::logic::Emitted;
use super::sessions::{Contents, Due, Kept, SessionSpec, Sessions, bounds};
use super::side::bury_failed;
use crate::batch::UpdateBatch;
use crate::error::{Error, Result};
use crate::plan::aggregate::AggregateCall;
use crate::state::aggregate::{AggregatePlan, AggregateStates, StepInput};
use crate::state::keys::GroupKeys;
use crate::state::saved::{LoadedColumns, SavedColumns};
use crate::time::EventTime;

/// The logic of a session aggregation.
pub type SessionAggregate = Sessions<Aggregates>;

/// The aggregate states of sessions.
pub struct Aggregates {
    plan: Arc<AggregatePlan>,
    states: AggregateStates,
    keys: usize,
    output: SchemaRef,
}

impl SessionAggregate {
    /// Groups rows by the sessions of `spec`.
    ///
    /// The keys are both the `PARTITION BY` and the `GROUP BY` columns. `output` is keys, `calls`,
    /// then window start, end and time (TIMESTAMP(3)).
    pub fn new(spec: SessionSpec, calls: &[AggregateCall], output: SchemaRef) -> Result<Self> {
        let keys = spec.keys.len();
        if output.fields().len() != keys + calls.len() + 3 {
            return Err(Error::internal("a session aggregate's output is keys, calls, window"));
        }
        let plan = Arc::new(AggregatePlan::new(calls, &spec.input, true)?);
        let states = AggregateStates::new(Arc::clone(&plan));
        Sessions::of(spec, Aggregates { plan, states, keys, output })
    }
}

impl Contents for Aggregates {
    type Input = StepInput;

    fn read(&mut self, batch: &UpdateBatch) -> Result<StepInput> {
        self.plan.read(batch)
    }

    fn resize(&mut self, sessions: usize) {
        self.states.resize(sessions);
    }

    fn add(
        &mut self,
        batch: &UpdateBatch,
        input: &StepInput,
        rows: Kept<'_>,
        sessions: &[u32],
    ) -> Result<()> {
        if rows.kept.len() == rows.range.len() {
            return self.states.update(input, rows.range, sessions);
        }
        let kept = batch.take(&UInt32Array::from(rows.kept.to_vec()))?;
        self.states.update(&self.plan.read(&kept)?, 0..kept.len(), sessions)
    }

    fn absorb(&mut self, pairs: &[(u32, u32)]) {
        self.states.absorb(pairs);
    }

    fn clear(&mut self, sessions: &[u32]) {
        self.states.clear(sessions);
    }

    fn emit(&self, keys: &GroupKeys, sessions: &[Due], diff: i64, out: &mut Emitted) -> Result<()> {
        let numbers: Vec<u32> = sessions.iter().map(|due| due.number).collect();
        let groups: Vec<u32> = sessions.iter().map(|due| due.key).collect();
        let mut columns = keys.columns(&groups)?;
        let mut builders = self.states.builders();
        self.states.append(&numbers, &mut builders)?;
        let mut failed = Vec::new();
        for (call, builder) in builders.iter_mut().enumerate() {
            failed.extend(builder.failed().iter().map(|&row| (row as usize, call)));
            columns.push(builder.finish()?);
        }
        if diff > 0 {
            let time = |row: usize| sessions[row].time;
            bury_failed(&self.output, &columns, (self.keys, &failed), time, out)?;
        }
        columns.extend(bounds(sessions, &self.output, columns.len())?);
        let rows = RecordBatch::try_new(Arc::clone(&self.output), columns)?;
        let times: Vec<EventTime> = sessions.iter().map(|due| due.time).collect();
        let diffs = (diff != 1).then(|| vec![diff; sessions.len()].into());
        out.push(UpdateBatch::new(rows, times.into(), diffs));
        Ok(())
    }

    fn settle(&mut self, _out: &mut Emitted) -> Result<()> {
        Ok(())
    }

    fn save(&self, sessions: &[u32], out: &mut SavedColumns) {
        self.states.save(sessions, out);
    }

    fn load(&mut self, sessions: &[u32], saved: &mut LoadedColumns<'_>) -> Result<()> {
        self.states.load(sessions, saved)
    }

    fn held(&self, sessions: usize) -> usize {
        sessions
    }
}
