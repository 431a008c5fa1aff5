//! Updating joins over shared arrangements.
//!
//! * [`inner`]: inner joins of append-only inputs, any stretch of time at once, exact times
//! * [`matching`]: every other join, tick by tick: pairs, and what depends on having a match
//! * [`output`]: pairs as columns, and the condition over them
//!
//! A join reads its two inputs from arrangements, each of which is kept once for all joins of the
//! worker that read it. What a join must keep beside is the number of matches of each row of a
//! preserved side.

pub mod inner;
pub mod matching;
pub mod output;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::JoinType;

use self::inner::InnerJoin;
use self::matching::{Matching, Shows};
use self::output::{Condition, Output};
use super::logic::{StatefulLogic, TakeTables};
use crate::batch::UpdateBatch;
use crate::error::{Error, Result};
use crate::limits::SPILL_PIECE_ROWS;
use crate::plan::joins::{counts_matches, keeps_times, readers, sides_read};
use crate::plan::node::{Join, NodeId, Operator, StreamPlan};
use crate::plan::props::ChangelogMode;
use crate::state::arrangement::{Arrangement, ArrangementSpec};
use crate::state::saved::{SavedTable, numbered, numbers_of};
use crate::time::EventTime;

/// An arrangement that the joins of a worker share.
pub type Shared = Rc<RefCell<Arrangement>>;

/// The arrangements of one worker's dataflow, by plan node.
#[derive(Default)]
pub struct Shelf {
    /// Joins that start from a snapshot and those that start anew do not share: what the first put
    /// in at once the others need at its times.
    held: BTreeMap<(NodeId, bool), Shared>,
    restored: BTreeSet<NodeId>,
    /// The only join that reads them, where they are its own.
    only: Option<NodeId>,
}

impl Shelf {
    /// Of a dataflow in which the state of `restored` comes from a snapshot.
    pub fn with_restored(restored: BTreeSet<NodeId>) -> Self {
        Shelf { restored, ..Shelf::default() }
    }

    /// Of join `join` alone: its state can be put aside.
    pub fn of_one(join: NodeId) -> Self {
        Shelf { only: Some(join), ..Shelf::default() }
    }

    /// The arrangements so far.
    pub fn held(&self) -> impl Iterator<Item = (&NodeId, &Shared)> {
        self.held.iter().map(|((id, _), shared)| (id, shared))
    }

    /// The arrangement of node `id` for side `side` of join `join`, and which of its readers that
    /// is.
    fn read(
        &mut self,
        plan: &StreamPlan,
        id: NodeId,
        (join, side): (NodeId, usize),
    ) -> Result<(Shared, usize)> {
        let is_restored = |join: &NodeId| self.restored.contains(join);
        let place = (id, is_restored(&join));
        let mut all = readers(plan, id);
        all.retain(|(reader, _)| is_restored(reader) == place.1);
        all.retain(|(reader, _)| self.only.is_none_or(|only| only == *reader));
        let reader = all.iter().position(|&r| r == (join, side));
        let reader = reader.ok_or_else(|| Error::internal("a join does not read its input"))?;
        if let Some(found) = self.held.get(&place) {
            return Ok((Rc::clone(found), reader));
        }
        let node = plan.node(id);
        let Operator::Arrange { keys } = &node.operator else {
            return Err(Error::internal("the input of a join is not arranged"));
        };
        let of_join = |(id, side): (NodeId, usize)| match &plan.node(id).operator {
            Operator::Join(join) => {
                let keeps = join.null_equals_null || is_preserved(join.kind, side);
                (keeps, keeps_times(plan, plan.node(id), join))
            }
            _ => (true, false),
        };
        let uses: Vec<(bool, bool)> = all.iter().map(|&r| of_join(r)).collect();
        let arrangement = Arrangement::new(ArrangementSpec {
            schema: Arc::clone(&node.schema),
            keys: keys.clone(),
            append_only: node.props.mode == ChangelogMode::Append,
            keeps_nulls: uses.iter().any(|u| u.0),
            by_time: uses.len() > 1 || uses.iter().any(|u| !u.1),
            readers: uses.len(),
        });
        let shared = Rc::new(RefCell::new(arrangement));
        self.held.insert(place, Rc::clone(&shared));
        Ok((shared, reader))
    }
}

/// The logic of the join `id`.
pub fn build(
    plan: &StreamPlan,
    id: NodeId,
    join: &Join,
    shelf: &mut Shelf,
) -> Result<Box<dyn StatefulLogic>> {
    let node = plan.node(id);
    let [left, right] = node.inputs[..] else {
        return Err(Error::internal("a join has two inputs"));
    };
    let schemas = [left, right].map(|input| Arc::clone(&plan.node(input).schema));
    let keys = [join.left_keys.clone(), join.right_keys.clone()];
    if let Some(bad) = mismatch(&schemas, &keys) {
        return Err(Error::internal(format!("join #{}: {bad}", id.0)));
    }
    let output = Output::new(&node.schema, &schemas, &join.columns)?;
    let name = format!("Join#{}", id.0);
    let condition = join.filter.as_ref().map(|f| Condition::new(&name, f, &schemas)).transpose()?;
    let read = sides_read(join);
    let mut sides = Vec::new();
    for (side, is_read) in [read.0, read.1].into_iter().enumerate() {
        sides.push(match is_read {
            true => shelf.read(plan, node.inputs[side], (id, side))?,
            false => (counted(&schemas[side], &keys[side], join.null_equals_null)?, 0),
        });
    }
    let (Some(right), Some(left)) = (sides.pop(), sides.pop()) else {
        return Err(Error::internal("a join has two sides"));
    };
    let sides = [left, right];
    if keeps_times(plan, node, join) {
        let logic = InnerJoin::new(sides, keys, output, condition, join.null_equals_null);
        return Ok(Box::new(logic));
    }
    let resolution = node.settings.time_resolution;
    let mut logic = Matching::new(sides, output, condition, resolution)
        .with_nulls(join.null_equals_null)
        .with_shows(shows(join.kind));
    if counts_matches(join) {
        let side = usize::from(read.0);
        logic = logic.with_counted(side, keys[side].clone());
    }
    Ok(Box::new(logic))
}

/// What the arrangements of a join's sides hold, for [`updates_of`].
fn contents_of(sides: [&Shared; 2], each: &mut TakeTables<'_>) -> Result<()> {
    for (index, shared) in sides.into_iter().enumerate() {
        if index == 1 && Rc::ptr_eq(shared, sides[0]) {
            continue;
        }
        let held = shared.borrow();
        for part in held.slots_by_hash()?.chunks(SPILL_PIECE_ROWS) {
            let (rows, counts) = held.contents(part)?;
            let (name, keys) = (index.to_string(), Some(held.spec().keys.as_slice()));
            each(vec![numbered(&name, &rows, vec![counts], keys)?])?;
        }
    }
    Ok(())
}

/// The rows of side `index` among `tables`, all of one time.
fn updates_of(
    tables: &[SavedTable],
    index: usize,
    schema: &SchemaRef,
    time: EventTime,
) -> Result<Vec<UpdateBatch>> {
    let own = tables.iter().filter(|table| table.name == index.to_string());
    own.map(|table| {
        let (rows, counts) = numbers_of(&table.rows, schema, 1)?;
        let times = vec![time; rows.num_rows()].into();
        Ok(UpdateBatch::new(rows, times, counts.into_iter().next()))
    })
    .collect()
}

/// The keys of a side of which only the keys matter, with how many rows have each.
fn counted(schema: &SchemaRef, keys: &[usize], keeps_nulls: bool) -> Result<Shared> {
    let narrow: Schema = schema.project(keys)?;
    Ok(Rc::new(RefCell::new(Arrangement::new(ArrangementSpec {
        schema: Arc::new(narrow),
        keys: (0..keys.len()).collect(),
        append_only: false,
        keeps_nulls,
        by_time: true,
        readers: 1,
    }))))
}

fn mismatch(schemas: &[SchemaRef; 2], keys: &[Vec<usize>; 2]) -> Option<String> {
    if keys[0].len() != keys[1].len() {
        return Some("its sides have different numbers of keys".into());
    }
    let types = |side: usize| keys[side].iter().map(move |&k| schemas[side].fields().get(k));
    types(0).zip(types(1)).find_map(|(l, r)| match (l, r) {
        (Some(l), Some(r)) if l.data_type() == r.data_type() => None,
        (Some(l), Some(r)) => Some(format!("keys {} and {} are of different types", l, r)),
        _ => Some("a key is not a column".into()),
    })
}

/// Whether rows of a side show without a match, or are those that show.
fn is_preserved(kind: JoinType, side: usize) -> bool {
    shows(kind)[side] != Shows::Nothing
}

/// What each side shows beside pairs; whether there are pairs.
fn shows(kind: JoinType) -> [Shows; 2] {
    use Shows::{Marked, Matched, Nothing, Unmatched};
    match kind {
        JoinType::Inner => [Nothing, Nothing],
        JoinType::Left => [Unmatched { pairs: true }, Nothing],
        JoinType::Right => [Nothing, Unmatched { pairs: true }],
        JoinType::Full => [Unmatched { pairs: true }, Unmatched { pairs: true }],
        JoinType::LeftAnti => [Unmatched { pairs: false }, Nothing],
        JoinType::RightAnti => [Nothing, Unmatched { pairs: false }],
        JoinType::LeftSemi => [Matched, Nothing],
        JoinType::RightSemi => [Nothing, Matched],
        JoinType::LeftMark => [Marked, Nothing],
        JoinType::RightMark => [Nothing, Marked],
    }
}
