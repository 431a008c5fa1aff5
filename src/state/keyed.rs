//! Aggregates of the groups of one window: keys, states and row counts together.
//!
//! Called by the windowed operators; the updating `GROUP BY` keeps its parts itself.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::aggregate::{AggregatePlan, AggregateStates, StepInput};
use super::change_log::ChangeLog;
use super::column::Column;
use super::keys::GroupKeys;
use super::saved::{LoadedColumns, SavedColumns};
use super::touched::{Given, Touched};
use crate::error::{DeadLetter, Error, Result};
use crate::time::EventTime;

/// Group keys and the aggregate states of their groups.
pub struct KeyedState {
    keys: GroupKeys,
    states: AggregateStates,
    /// Rows of each group; absent for append-only input, where every group has rows.
    counts: Option<Vec<i64>>,
    scratch: Vec<u32>,
    /// Groups touched since they were saved, once that is asked for.
    touched: Touched,
    saving: Saving,
}

/// A save that has begun.
#[derive(Default)]
struct Saving {
    /// Of which window.
    window: Vec<i64>,
    given: Given,
    /// Rows given out of turn, not handed over yet.
    early: Vec<RecordBatch>,
}

/// The rows of a saved table of groups of many windows, window by window: the numbers after the
/// first `keys` columns, `bounds` of them, and the rows of the window that they name.
pub fn by_window(
    rows: &RecordBatch,
    keys: usize,
    bounds: usize,
) -> Result<Vec<(Vec<i64>, RecordBatch)>> {
    let column = |c: usize| {
        let column = rows.columns().get(keys + c);
        let ints = column.and_then(|column| column.as_any().downcast_ref::<Int64Array>());
        ints.ok_or_else(|| Error::internal("saved groups without their window"))
    };
    let columns = (0..bounds).map(column).collect::<Result<Vec<_>>>()?;
    let window = |row: &u32| columns.iter().map(|c| c.value(*row as usize)).collect::<Vec<i64>>();
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    order.sort_by_cached_key(window);
    order
        .chunk_by(|a, b| columns.iter().all(|c| c.value(*a as usize) == c.value(*b as usize)))
        .filter_map(|run| Some((window(run.first()?), run)))
        .map(|(window, run)| {
            Ok((window, take_record_batch(rows, &UInt32Array::from(run.to_vec()))?))
        })
        .collect()
}

/// The result rows of groups: key columns, then calls.
pub struct Results {
    /// Key columns, then one column a call.
    pub columns: Vec<ArrayRef>,
    /// Number of rows.
    pub rows: usize,
    /// Results that their type cannot hold: row and call.
    pub failed: Vec<(usize, usize)>,
}

impl KeyedState {
    /// No groups yet.
    pub fn new(plan: Arc<AggregatePlan>, key_types: Vec<DataType>) -> Self {
        let counts = (!plan.append_only()).then(Vec::new);
        let states = AggregateStates::new(plan);
        let (keys, touched) = (GroupKeys::new(key_types), Touched::default());
        let saving = Saving::default();
        KeyedState { keys, states, counts, scratch: Vec::new(), touched, saving }
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are no groups.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Adds the rows `rows`, whose keys are in `keys`.
    pub fn apply(&mut self, input: &StepInput, keys: &[&Column], rows: Range<usize>) -> Result<()> {
        self.number(keys, rows.clone())?;
        self.add(input, rows)
    }

    /// As [`KeyedState::apply`], logging the results before and after as changes at `time`.
    pub fn apply_logged(
        &mut self,
        input: &StepInput,
        keys: &[&Column],
        rows: Range<usize>,
        time: EventTime,
        log: &mut ChangeLog,
    ) -> Result<()> {
        let known = self.keys.bound();
        self.number(keys, rows.clone())?;
        let mut touched = self.scratch.clone();
        touched.sort_unstable();
        touched.dedup();
        let bound = self.keys.bound();
        let exists = |counts: &Option<Vec<i64>>, group: u32, known: usize| match counts {
            Some(counts) => counts[group as usize] > 0,
            None => (group as usize) < known,
        };
        log.before(&self.states, bound, &touched, |group| exists(&self.counts, group, known))?;
        self.add(input, rows)?;
        log.after(&self.states, time, &touched, |group| exists(&self.counts, group, bound))
    }

    fn number(&mut self, keys: &[&Column], rows: Range<usize>) -> Result<()> {
        self.keys.intern(keys, rows, &mut self.scratch)?;
        self.grow();
        let early = self.saving.given.out_of_turn(&self.scratch);
        self.save_early(early)?;
        self.touched.touch(&self.scratch, self.keys.bound());
        Ok(())
    }

    fn grow(&mut self) {
        self.states.resize(self.keys.bound());
        if let Some(counts) = &mut self.counts {
            counts.resize(self.keys.bound(), 0);
        }
    }

    fn add(&mut self, input: &StepInput, rows: Range<usize>) -> Result<()> {
        if let Some(counts) = &mut self.counts {
            for (row, &group) in rows.clone().zip(&self.scratch) {
                counts[group as usize] += input.diffs.as_ref().map_or(1, |diffs| diffs[row]);
            }
        }
        self.states.update(input, rows, &self.scratch)
    }

    /// Adds all groups of `other`, a state of the same plan and keys.
    pub fn merge(&mut self, other: &KeyedState) -> Result<()> {
        let mut groups = std::mem::take(&mut self.scratch);
        self.keys.intern_from(&other.keys, &mut groups)?;
        self.grow();
        let early = self.saving.given.out_of_turn(&groups);
        self.save_early(early)?;
        if let (Some(mine), Some(theirs)) = (&mut self.counts, &other.counts) {
            for (&group, count) in groups.iter().zip(theirs) {
                mine[group as usize] += count;
            }
        }
        self.states.merge(&other.states, &groups)?;
        self.touched.touch(&groups, self.keys.bound());
        self.scratch = groups;
        Ok(())
    }

    /// Notes from now on which groups are touched.
    pub fn track(&mut self) {
        self.touched.take();
    }

    /// All groups count as touched.
    pub fn touch_all(&mut self) {
        self.touched.touch(&self.keys.live(), self.keys.bound());
    }

    /// How many groups were touched since they were saved.
    pub fn changed(&self) -> usize {
        self.touched.len()
    }

    /// Begins to save all groups, or those touched since they were last saved, as of `window`: what
    /// is done from now on does not change what [`KeyedState::save_piece`] gives.
    pub fn begin_save(&mut self, whole: bool, window: Vec<i64>) {
        let touched = self.touched.take_all();
        let given = if whole { self.keys.given() } else { touched };
        self.saving = Saving { window, given, early: Vec::new() };
    }

    /// Whether groups are still to be given.
    pub fn is_saving(&self) -> bool {
        !self.saving.given.is_over() || !self.saving.early.is_empty()
    }

    /// Some `most` of the groups that are still to be given: key columns, the numbers of the window
    /// in each row, and the state.
    pub fn save_piece(&mut self, most: usize) -> Result<Vec<RecordBatch>> {
        let groups = self.saving.given.next(most);
        let mut pieces = std::mem::take(&mut self.saving.early);
        if !groups.is_empty() {
            pieces.push(self.rows_of(&groups)?);
        }
        Ok(pieces)
    }

    fn save_early(&mut self, groups: Vec<u32>) -> Result<()> {
        if !groups.is_empty() {
            let rows = self.rows_of(&groups)?;
            self.saving.early.push(rows);
        }
        Ok(())
    }

    fn rows_of(&self, groups: &[u32]) -> Result<RecordBatch> {
        let mut columns = SavedColumns::new(self.keys.columns(groups)?);
        self.saving.window.iter().for_each(|&bound| columns.ints(groups.iter().map(|_| bound)));
        if let Some(counts) = &self.counts {
            columns.ints(groups.iter().map(|&group| counts[group as usize]));
        }
        self.states.save(groups, &mut columns);
        columns.finish(groups.len())
    }

    /// Takes back rows that were saved of one window of `bounds` numbers; they take the place of
    /// groups of the same key.
    pub fn load(&mut self, rows: &RecordBatch, bounds: usize) -> Result<()> {
        let mut columns = LoadedColumns::new(rows);
        let keys = (0..self.keys.types().len()).map(|_| columns.array());
        let keys = GroupKeys::read(keys.collect::<Result<Vec<_>>>()?)?;
        for _ in 0..bounds {
            columns.array()?;
        }
        self.number(&keys.iter().collect::<Vec<_>>(), 0..rows.num_rows())?;
        let groups = std::mem::take(&mut self.scratch);
        self.states.clear(&groups);
        if let Some(counts) = &mut self.counts {
            for (&group, count) in groups.iter().zip(columns.ints()?) {
                counts[group as usize] = *count;
            }
        }
        self.states.load(&groups, &mut columns)?;
        self.scratch = groups;
        Ok(())
    }

    /// Forgets all groups and keeps the memory.
    pub fn reset(&mut self) {
        self.keys.clear();
        self.states.reset();
        self.touched.stop();
        self.saving = Saving::default();
        if let Some(counts) = &mut self.counts {
            counts.clear();
        }
    }

    /// The results of all groups that have rows.
    pub fn results(&self) -> Result<Results> {
        let mut groups = self.keys.live();
        if let Some(counts) = &self.counts {
            groups.retain(|&group| counts[group as usize] > 0);
        }
        let mut columns = self.keys.columns(&groups)?;
        let mut builders = self.states.builders();
        self.states.append(&groups, &mut builders)?;
        let mut failed = Vec::new();
        for (call, builder) in builders.iter_mut().enumerate() {
            failed.extend(builder.failed().iter().map(|&row| (row as usize, call)));
            columns.push(builder.finish()?);
        }
        Ok(Results { columns, rows: groups.len(), failed })
    }

    /// The results that `log` noted: columns as of [`KeyedState::results`], times and diffs.
    pub fn changes(&self, log: &mut ChangeLog) -> Result<(Results, Vec<EventTime>, Vec<i64>)> {
        let changes = log.finish(false)?;
        let mut columns = Vec::new();
        for column in self.keys.columns(&changes.groups)? {
            columns.push(arrow::compute::take(column.as_ref(), &changes.rows, None)?);
        }
        columns.extend(changes.columns);
        let (rows, failed) = (changes.times.len(), changes.failed);
        Ok((Results { columns, rows, failed }, changes.times, changes.diffs))
    }

    /// A log of changes of this state.
    pub fn log(&self) -> ChangeLog {
        ChangeLog::new(self.states.builders())
    }
}

/// A dead letter for each result that its type cannot hold; it is NULL in the output.
///
/// `columns` are the output columns, the first `keys` of them keys; `failed` names row and call.
pub fn out_of_range(
    schema: &SchemaRef,
    columns: &[ArrayRef],
    keys: usize,
    failed: &[(usize, usize)],
) -> Result<Vec<DeadLetter>> {
    failed
        .iter()
        .map(|&(row, call)| {
            let field = schema.field(keys + call);
            Ok(DeadLetter {
                source: "aggregate".to_owned(),
                partition: String::new(),
                offset: -1,
                reason: format!("{} is out of the range of {}", field.name(), field.data_type()),
                record: row_text(&columns[..keys], row)?,
            })
        })
        .collect()
}

/// One row as text, for a dead letter.
pub fn row_text(columns: &[ArrayRef], row: usize) -> Result<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut text = String::new();
    for column in columns.iter().filter(|column| row < column.len()) {
        if !text.is_empty() {
            text.push(',');
        }
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        text.push_str(&formatter.value(row).to_string());
    }
    if let Some((end, _)) = text
        .char_indices()
        .find(|(i, c)| i + c.len_utf8() > crate::limits::DEAD_LETTER_RECORD_BYTES_MAX)
    {
        text.truncate(end);
    }
    Ok(text)
}
