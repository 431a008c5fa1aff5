//! The operators inside of a recursion: the inner plan over differential collections of rows.
//!
//! One arm an operator, as in the renderer of the outer plan. Times are the tick and the iteration.
//! What works on columns (expressions, unnesting) gathers the rows of the messages of one stamp
//! into a batch and takes the result apart again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::{AsCollection, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator as _;
use timely::order::Product;

use super::dead::{Note, Notes};
use super::join::Side;
use super::row::{Diff, Row, RowCodec};
use crate::batch::UpdateBatch;
use crate::dataflow::calc::CalcLogic;
use crate::dataflow::runtime::JobRuntime;
use crate::dataflow::side::DeadLetters;
use crate::error::{Error, Result};
use crate::plan::node::{Calc, NodeId, Operator, StreamPlan};
use crate::time::EventTime;

/// The tick and the iteration.
pub type Time = Product<EventTime, u64>;

/// A collection of rows inside of a recursion.
pub type Rows<'s> = VecCollection<'s, Time, Row, Diff>;

/// Rows by their keys.
pub type Keyed<'s> = VecCollection<'s, Time, (Row, Row), Diff>;

/// What the operators of a recursion share on one worker.
#[derive(Clone)]
pub struct Shared {
    /// The job.
    pub runtime: Arc<JobRuntime>,
    /// Rows that failed, on their way out.
    pub dead: Notes,
    /// What dead letters are said to be of.
    pub name: String,
}

/// The inner plan while it is rendered.
pub struct Fragment<'a, 's> {
    /// The scope of the iterations.
    pub scope: Scope<'s, Time>,
    /// The inner plan.
    pub plan: &'a StreamPlan,
    /// The recursion's inputs.
    pub inputs: Vec<Rows<'s>>,
    /// What its names hold.
    pub variables: Vec<Rows<'s>>,
    /// The nodes so far.
    pub nodes: Vec<Rows<'s>>,
    /// What its operators share.
    pub shared: Shared,
    /// The rows of nodes by their keys, for joins: by node, keys and whether NULL keys are in.
    pub arranged: RefCell<Arrangements<'s>>,
}

/// Arrangements that joins share.
pub type Arrangements<'s> = BTreeMap<(NodeId, Vec<usize>, bool), Arrangement<'s>>;
/// Rows by their keys, indexed.
pub type Arrangement<'s> = Arranged<'s, TraceAgent<ValSpine<Row, Row, Time, Diff>>>;

impl<'s> Fragment<'_, 's> {
    /// Renders every node.
    pub fn render(&mut self) -> Result<()> {
        for id in 0..self.plan.nodes.len() {
            let rows = self.node(NodeId(id))?;
            self.nodes.push(rows);
        }
        Ok(())
    }

    fn node(&self, id: NodeId) -> Result<Rows<'s>> {
        let node = self.plan.node(id);
        let input = |i: usize| -> Result<Rows<'s>> {
            let place = node.inputs.get(i).and_then(|n| self.nodes.get(n.0));
            place.cloned().ok_or_else(|| Error::internal("an inner node without its input"))
        };
        let schema = |i: usize| -> SchemaRef {
            node.inputs.get(i).map_or_else(
                || Arc::clone(&node.schema),
                |n| Arc::clone(&self.plan.node(*n).schema),
            )
        };
        match &node.operator {
            Operator::RecursionInput(index) => self
                .inputs
                .get(*index)
                .cloned()
                .ok_or_else(|| Error::internal("a recursion without its input")),
            Operator::RecursionVariable { index, .. } => self
                .variables
                .get(*index)
                .cloned()
                .ok_or_else(|| Error::internal("a recursion without its name")),
            Operator::Calc(calc) => self.calc(input(0)?, calc.clone(), &schema(0), &node.schema),
            Operator::Union => {
                let inputs = (0..node.inputs.len()).map(input).collect::<Result<Vec<_>>>()?;
                Ok(differential_dataflow::collection::concatenate(self.scope, inputs))
            }
            Operator::Arrange { .. } => input(0),
            Operator::Expand { sets, keys } => {
                let (sets, keys, output) = (sets.clone(), *keys, Arc::clone(&node.schema));
                self.batched("Expand", input(0)?, &schema(0), &node.schema, move |batch, _| {
                    crate::dataflow::expand::expand(batch, &sets, keys, &output)
                })
            }
            Operator::Unnest(unnest) => {
                let (unnest, output) = (unnest.clone(), Arc::clone(&node.schema));
                self.batched("Unnest", input(0)?, &schema(0), &node.schema, move |batch, _| {
                    crate::dataflow::unnest::unnest(batch, &unnest, &output)
                })
            }
            Operator::Join(join) => {
                let side = |i: usize| -> Result<Side<'s>> {
                    let keys = if i == 0 { &join.left_keys } else { &join.right_keys };
                    let id = node.inputs.get(i).map_or(id, |input| self.unarranged(*input));
                    Ok(Side { id, rows: input(i)?, schema: schema(i), keys: keys.clone() })
                };
                self.join(join, &side(0)?, &side(1)?, &node.schema)
            }
            Operator::GroupAggregate { keys, calls, .. } => {
                self.aggregate(input(0)?, &schema(0), keys, calls, &node.schema)
            }
            Operator::Rank(rank) => self.rank(input(0)?, &schema(0), rank, &node.schema),
            Operator::SetOperation { kind, all } => {
                Ok(super::aggregate::set_operation(input(0)?, input(1)?, *kind, *all))
            }
            _ => Err(Error::internal("an operator that cannot be inside of a recursion")),
        }
    }

    /// The node that an index inside of a recursion is of: each join there indexes for itself.
    fn unarranged(&self, id: NodeId) -> NodeId {
        let node = self.plan.node(id);
        match (&node.operator, node.inputs.first()) {
            (Operator::Arrange { .. }, Some(input)) => self.unarranged(*input),
            _ => id,
        }
    }

    /// The rows of a join's side by its keys; joins of one node by the same keys share them.
    pub(super) fn arranged(&self, side: &Side<'s>, keep_nulls: bool) -> Result<Arrangement<'s>> {
        let place = (side.id, side.keys.clone(), keep_nulls);
        if let Some(known) = self.arranged.borrow().get(&place) {
            return Ok(known.clone());
        }
        let keyed = self.keyed(side.rows.clone(), &side.schema, &side.keys, keep_nulls)?;
        let arranged = keyed.arrange_by_key_named("RecursiveArrange");
        self.arranged.borrow_mut().insert(place, arranged.clone());
        Ok(arranged)
    }

    pub(super) fn calc(
        &self,
        rows: Rows<'s>,
        calc: Calc,
        input: &SchemaRef,
        output: &SchemaRef,
    ) -> Result<Rows<'s>> {
        if passes_all(&calc, input, output) {
            return Ok(rows);
        }
        let name = &self.shared.name;
        let logic = CalcLogic::new(name, calc, input, Arc::clone(output));
        self.batched("Calc", rows, input, output, move |batch, dead| logic.apply(batch, dead))
    }

    /// An operator on batches that passes on the diffs of the rows that it makes new ones of.
    pub(super) fn batched(
        &self,
        name: &str,
        rows: Rows<'s>,
        input: &SchemaRef,
        output: &SchemaRef,
        logic: impl Fn(&UpdateBatch, &mut DeadLetters) -> Result<Vec<UpdateBatch>> + 'static,
    ) -> Result<Rows<'s>> {
        let (read, write) = (RowCodec::new(input)?, RowCodec::new(output)?);
        let shared = self.shared.clone();
        let name = format!("Recursive{name}");
        let stream = rows.inner.unary::<CapacityContainerBuilder<Vec<(Row, Time, Diff)>>, _, _, _>(
            Pipeline,
            &name,
            move |_, _| {
                move |input, output| {
                    input.for_each_stamp(|cap, parts| {
                        let updates: Vec<(Row, Time, Diff)> =
                            parts.flat_map(std::mem::take).collect();
                        match mapped(&updates, &read, &write, &logic, &shared) {
                            Ok(mut done) if !done.is_empty() => {
                                output.session(&cap).give_container(&mut done);
                            }
                            Ok(_) => {}
                            Err(error) => shared.runtime.metrics.fail_in(&shared.name, error),
                        }
                    });
                }
            },
        );
        Ok(stream.as_collection())
    }

    /// Rows by the columns `keys`; those with a NULL among them are left out unless `keep_nulls`.
    pub(super) fn keyed(
        &self,
        rows: Rows<'s>,
        schema: &SchemaRef,
        keys: &[usize],
        keep_nulls: bool,
    ) -> Result<Keyed<'s>> {
        let value = |row: &Row, _: usize| row.clone();
        self.keyed_by(rows, schema, keys, keep_nulls, value, |_, _| Ok(()))
    }

    /// Rows by the columns `keys`, with a value that `value` makes of each row and its place in the
    /// batch that `prepare` saw.
    pub(super) fn keyed_by(
        &self,
        rows: Rows<'s>,
        schema: &SchemaRef,
        keys: &[usize],
        keep_nulls: bool,
        mut value: impl FnMut(&Row, usize) -> Row + 'static,
        mut prepare: impl FnMut(&arrow::array::RecordBatch, usize) -> Result<()> + 'static,
    ) -> Result<Keyed<'s>> {
        let read = RowCodec::new(schema)?;
        let write = RowCodec::of_columns(schema, keys)?;
        let keys = keys.to_vec();
        let shared = self.shared.clone();
        let mut keyed = move |updates: Vec<(Row, Time, Diff)>| -> Result<Vec<_>> {
            let batch = read.decode(updates.iter().map(|(row, _, _)| row.bytes()))?;
            prepare(&batch, updates.len())?;
            let columns: Vec<_> = keys.iter().map(|&c| batch.column(c).clone()).collect();
            let mut bytes = Vec::with_capacity(updates.len());
            write.encode(&columns, updates.len(), |_, key| bytes.push(Row::new(key)))?;
            let is_null = |row: usize| columns.iter().any(|c| c.is_null(row));
            let mut done = Vec::with_capacity(updates.len());
            for (i, ((row, time, diff), key)) in updates.into_iter().zip(bytes).enumerate() {
                if keep_nulls || !is_null(i) {
                    let value = value(&row, i);
                    done.push(((key, value), time, diff));
                }
            }
            Ok(done)
        };
        let stream =
            rows.inner.unary::<CapacityContainerBuilder<Vec<((Row, Row), Time, Diff)>>, _, _, _>(
                Pipeline,
                "RecursiveKey",
                move |_, _| {
                    move |input, output| {
                        input.for_each_stamp(|cap, parts| {
                            let updates: Vec<_> = parts.flat_map(std::mem::take).collect();
                            match keyed(updates) {
                                Ok(mut done) if !done.is_empty() => {
                                    output.session(&cap).give_container(&mut done);
                                }
                                Ok(_) => {}
                                Err(error) => shared.runtime.metrics.fail_in(&shared.name, error),
                            }
                        });
                    }
                },
            );
        Ok(stream.as_collection())
    }
}

/// Whether rows pass as they are.
pub(super) fn passes_all(calc: &Calc, input: &SchemaRef, output: &SchemaRef) -> bool {
    let types = input.fields().iter().zip(output.fields());
    calc.filter.is_none()
        && calc.columns.len() == input.fields().len()
        && calc.columns.iter().enumerate().all(|(place, e)| e.as_column() == Some(place))
        && types.into_iter().all(|(a, b)| a.data_type() == b.data_type())
}

/// `updates` through an operator on batches.
fn mapped(
    updates: &[(Row, Time, Diff)],
    read: &RowCodec,
    write: &RowCodec,
    logic: &impl Fn(&UpdateBatch, &mut DeadLetters) -> Result<Vec<UpdateBatch>>,
    shared: &Shared,
) -> Result<Vec<(Row, Time, Diff)>> {
    if updates.is_empty() {
        return Ok(Vec::new());
    }
    let rows = read.decode(updates.iter().map(|(row, _, _)| row.bytes()))?;
    let times: Vec<i64> = updates.iter().map(|(_, time, _)| time.outer).collect();
    // The place of each row travels as its diff, which operators copy; zero is no diff.
    let places: Vec<i64> = (1..=updates.len() as i64).collect();
    let batch = UpdateBatch::new(rows, times.into(), Some(places.into()));
    let mut dead = DeadLetters::default();
    let done = logic(&batch, &mut dead)?;
    let at = |place: i64| updates.get(usize::try_from(place - 1).ok()?);
    let failed = dead.changes().filter_map(|(letter, place)| {
        let (_, time, diff) = at(place)?;
        Some(Note { letter, time: *time, diff: diff.0 })
    });
    shared.dead.borrow_mut().extend(failed);
    let mut out = Vec::with_capacity(done.iter().map(UpdateBatch::len).sum());
    for part in &done {
        write.encode(part.rows().columns(), part.len(), |row, bytes| {
            let place = usize::try_from(part.diff(row) - 1).ok();
            if let Some((_, time, diff)) = place.and_then(|place| updates.get(place)) {
                out.push((Row::new(bytes), *time, *diff));
            }
        })?;
    }
    Ok(out)
}
