//! Conditions and measures, evaluated for many matches at once.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringViewArray, new_null_array,
};
use arrow::compute::concat;
use arrow::datatypes::{DataType, SchemaRef};

use super::rows::Rows;
use super::search::{Entry, Path};
use crate::batch::UpdateBatch;
use crate::dataflow::calc::reason_of;
use crate::error::{Error, Result};
use crate::plan::match_recognize::{Computation, MatchAtom};
use crate::sql::match_recognize::node::{RowChoice, Variables};
use crate::state::aggregate::{AggregatePlan, AggregateStates, narrow};

/// Rows of aggregates that are read at a time.
const AGGREGATED_ROWS: usize = 1 << 17;

/// Where the rows of a match are.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// Among the rows of a partition.
    Entries {
        /// The rows.
        entries: &'a VecDeque<Entry>,
        /// The place of the match's first.
        first: usize,
    },
    /// In a list.
    List {
        /// Rows before the match, then those of the match.
        rows: &'a [u32],
        /// How many are before.
        before: u32,
    },
}

/// A match, complete or not, at one of its rows.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// The variables of its rows.
    pub path: &'a Path,
    /// How many rows there are up to the current one.
    pub upto: u32,
    /// The match's number.
    pub number: i64,
    /// Its rows.
    pub source: Source<'a>,
}

impl Frame<'_> {
    /// The row `back` rows before place `place`.
    fn row(&self, place: u32, back: u64) -> Option<u32> {
        match self.source {
            Source::Entries { entries, first } => {
                let at = (first + place as usize).checked_sub(back as usize)?;
                entries.get(at).map(|entry| entry.row)
            }
            Source::List { rows, before } => {
                let at = (before as usize + place as usize).checked_sub(back as usize)?;
                rows.get(at).copied()
            }
        }
    }

    /// The current row.
    pub fn current(&self) -> Option<u32> {
        self.row(self.upto.checked_sub(1)?, 0)
    }

    fn limit(&self, running: bool) -> u32 {
        if running { self.upto } else { self.path.len() }
    }

    fn pick(&self, choice: &RowChoice) -> Option<u32> {
        self.path.pick(choice.of, choice.last, choice.offset, self.limit(choice.running))
    }
}

/// A computation that failed for some of its matches.
pub type Failures = Vec<(usize, String)>;

/// A computation, ready to run.
pub struct Evaluator {
    computation: Computation,
    aggregates: Vec<Option<Aggregate>>,
    data_type: DataType,
}

struct Aggregate {
    plan: Arc<AggregatePlan>,
    used: Vec<usize>,
    schema: SchemaRef,
}

impl Evaluator {
    /// Over rows of `input`.
    pub fn new(computation: &Computation, input: &SchemaRef) -> Result<Self> {
        let aggregate = |atom: &MatchAtom| match atom {
            MatchAtom::Aggregate { call, .. } => {
                let narrowed = narrow(input, &[], std::slice::from_ref(call))?;
                let plan = AggregatePlan::new(&narrowed.calls, &narrowed.schema, true)?;
                let (used, schema) = (narrowed.used, narrowed.schema);
                Ok(Some(Aggregate { plan: Arc::new(plan), used, schema }))
            }
            _ => Ok(None),
        };
        let aggregates = computation.atoms.iter().map(aggregate).collect::<Result<_>>()?;
        let data_type = computation.expr.physical().data_type(&computation.schema)?;
        Ok(Evaluator { computation: computation.clone(), aggregates, data_type })
    }

    /// The columns of the current row that it reads, if it reads nothing else; `own` is the
    /// variable of the current row.
    pub fn own_columns(&self, own: Variables) -> Option<Vec<usize>> {
        let own_column = |atom: &MatchAtom| match atom {
            MatchAtom::Value { row, column } if is_current(row, own) && row.back == 0 => {
                Some(*column)
            }
            _ => None,
        };
        self.computation.atoms.iter().map(own_column).collect()
    }

    /// Whether it reads the current row and rows before it in the partition alone.
    pub fn is_local(&self, own: Variables) -> bool {
        self.computation.atoms.iter().all(|atom| match atom {
            MatchAtom::Value { row, .. } => is_current(row, own),
            _ => false,
        })
    }

    /// The results for `frames`; NULL for those that failed.
    pub fn run(
        &self,
        frames: &[Frame<'_>],
        rows: &Rows,
        names: &[String],
        failures: &mut Failures,
    ) -> Result<ArrayRef> {
        let atoms = self.computation.atoms.iter().zip(&self.aggregates);
        let columns = atoms
            .map(|(atom, aggregate)| match (atom, aggregate) {
                (MatchAtom::Value { row, column }, _) => {
                    let row = |f: &Frame<'_>| f.row(f.pick(row)?, row.back);
                    rows.column(*column, &frames.iter().map(row).collect::<Vec<_>>())
                }
                (MatchAtom::Classifier(row), _) => Ok(classifiers(frames, row, names)),
                (MatchAtom::Number, _) => {
                    let numbers = frames.iter().map(|f| f.number);
                    Ok(Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef)
                }
                (MatchAtom::Aggregate { of, running, .. }, Some(aggregate)) => {
                    aggregate.run(frames, rows, *of, *running, failures)
                }
                (MatchAtom::Aggregate { .. }, None) => {
                    Err(Error::internal("an aggregate of a match without its plan"))
                }
            })
            .collect::<Result<Vec<_>>>()?;
        self.evaluate(columns, frames.len(), failures)
    }

    /// The results over columns of the atoms.
    pub fn evaluate(
        &self,
        columns: Vec<ArrayRef>,
        count: usize,
        failures: &mut Failures,
    ) -> Result<ArrayRef> {
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let schema = Arc::clone(&self.computation.schema);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        self.part(&batch, 0..count, failures)
    }

    fn part(
        &self,
        batch: &RecordBatch,
        range: Range<usize>,
        failures: &mut Failures,
    ) -> Result<ArrayRef> {
        let part = batch.slice(range.start, range.len());
        let done = self.computation.expr.physical().evaluate(&part);
        match done.and_then(|value| value.into_array(range.len())) {
            Ok(array) => Ok(array),
            Err(error) if range.len() <= 1 => {
                failures.extend(
                    range.clone().map(|row| (row, reason_of(&Error::sql(error.strip_backtrace())))),
                );
                Ok(new_null_array(&self.data_type, range.len()))
            }
            // Halve until the failing rows are alone.
            Err(_) => {
                let middle = range.start + range.len() / 2;
                let first = self.part(batch, range.start..middle, failures)?;
                let second = self.part(batch, middle..range.end, failures)?;
                Ok(concat(&[first.as_ref(), second.as_ref()])?)
            }
        }
    }
}

fn is_current(row: &RowChoice, own: Variables) -> bool {
    row.last && row.offset == 0 && row.of & own != 0
}

fn classifiers(frames: &[Frame<'_>], row: &RowChoice, names: &[String]) -> ArrayRef {
    let name = |f: &Frame<'_>| {
        let place = u64::from(f.pick(row)?).checked_sub(row.back)?;
        let run = f.path.at(place as u32)?;
        names.get(run.variable as usize).map(String::as_str)
    };
    Arc::new(frames.iter().map(name).collect::<StringViewArray>())
}

impl Aggregate {
    fn run(
        &self,
        frames: &[Frame<'_>],
        rows: &Rows,
        of: Variables,
        running: bool,
        failures: &mut Failures,
    ) -> Result<ArrayRef> {
        let mut parts: Vec<ArrayRef> = Vec::new();
        let (mut picked, mut groups, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0;
        for (index, frame) in frames.iter().enumerate() {
            let limit = frame.limit(running);
            for (start, run) in frame.path.runs() {
                if of & (1 << run.variable) == 0 {
                    continue;
                }
                for place in start..run.end.min(limit).max(start) {
                    picked.push(frame.row(place, 0));
                    groups.push((index - first) as u32);
                    places.push(i64::from(place));
                }
            }
            if picked.len() >= AGGREGATED_ROWS || index + 1 == frames.len() {
                let taken = std::mem::take(&mut places);
                let part = self.part(&picked, &groups, taken, index + 1 - first, rows)?;
                let failed = part.1.iter().map(|&row| {
                    (first + row as usize, "an aggregate is out of the range of its type".into())
                });
                failures.extend(failed);
                parts.push(part.0);
                picked.clear();
                groups.clear();
                first = index + 1;
            }
        }
        let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
        match parts.as_slice() {
            [] => self.part(&[], &[], Vec::new(), 0, rows).map(|(array, _)| array),
            _ => Ok(concat(&parts)?),
        }
    }

    fn part(
        &self,
        picked: &[Option<u32>],
        groups: &[u32],
        places: Vec<i64>,
        count: usize,
        rows: &Rows,
    ) -> Result<(ArrayRef, Vec<u32>)> {
        let mut states = AggregateStates::new(Arc::clone(&self.plan));
        states.resize(count);
        if !picked.is_empty() {
            let columns = self.used.iter().map(|&column| rows.column(column, picked));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(picked.len()));
            let schema = Arc::clone(&self.schema);
            let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
            let input = self.plan.read(&UpdateBatch::new(batch, places.into(), None))?;
            states.update(&input, 0..picked.len(), groups)?;
        }
        let mut builders = states.builders();
        let all: Vec<u32> = (0..count as u32).collect();
        states.append(&all, &mut builders)?;
        match builders.first_mut() {
            Some(builder) => {
                let failed = builder.failed().to_vec();
                Ok((builder.finish()?, failed))
            }
            None => Err(Error::internal("an aggregate without a result")),
        }
    }
}
