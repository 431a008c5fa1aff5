//! Recursive queries: names defined by one another, kept at their fixed point by differential
//! dataflow.
//!
//! The operator is a scope of its own. Its times are pairs of a tick and an iteration, ordered
//! partially: a change of an input at a later tick redoes, in each iteration, only what it changes
//! there. That is what makes deletions exact where rows support one another in a cycle: in the
//! first iteration in which such a row appeared, it had support from outside of the cycle, and it
//! goes when that goes.
//!
//! Law: as of every tick the output is what the definitions hold when, from nothing, they are
//! computed again and again over one another's last contents until nothing changes; or after
//! `limit` times, if that is asked for. It depends on the contents of the inputs alone.
//!
//! Snapshots: the state is in the traces of the inner operators, and follows from the contents of
//! the inputs: a snapshot holds those, and after a restart they come in again.

mod aggregate;
mod dead;
mod edge;
mod fragment;
mod join;
mod rank;
mod row;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use differential_dataflow::AsCollection;
use differential_dataflow::operators::iterate::Variable;
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concatenate as _;
use timely::dataflow::operators::core::Enter as _;
use timely::dataflow::operators::generic::Operator as _;
use timely::dataflow::{Scope, Stream};
use timely::order::Product;

use super::driver::{Identity, SideWants, stateful};
use super::frontier::Part;
use super::runtime::JobRuntime;
use super::side::SideStreams;
use super::snapshots::StatePlace;
use crate::batch::UpdateBatch;
use crate::batch::partition::{Parallelism, Route};
use crate::error::{Error, Result};
use crate::limits::RECURSION_MULTIPLICITY_MAX;
use crate::plan::node::{Node, NodeId, Operator, Recursive, StreamPlan};
use crate::time::EventTime;
use fragment::{Fragment, Rows, Shared, Time};
use row::{Diff, Row, RowCodec};

/// Checks that a recursion can be built, before anything is.
pub fn check(recursive: &Recursive) -> Result<()> {
    recursive.inner.nodes.iter().try_for_each(|node| RowCodec::new(&node.schema).map(|_| ()))
}

/// Builds the recursion `id` over `inputs`.
pub fn render<'s>(
    scope: Scope<'s, EventTime>,
    plan: &StreamPlan,
    id: NodeId,
    inputs: Vec<Stream<'s, EventTime, UpdateBatch>>,
    wants: SideWants,
    runtime: &Arc<JobRuntime>,
) -> Result<(Stream<'s, EventTime, UpdateBatch>, SideStreams<'s>)> {
    let node = plan.node(id);
    let Operator::Recursive(recursive) = &node.operator else {
        return Err(Error::internal("a recursion that is none"));
    };
    let name = format!("Recursive#{}", id.0);
    let dead = dead::Notes::default();
    let shared = Shared { runtime: Arc::clone(runtime), dead, name: name.clone() };
    let entered = inputs.into_iter().zip(&node.inputs).enumerate().map(|(i, (stream, input))| {
        let schema = Arc::clone(&plan.node(*input).schema);
        let resolution = node.settings.time_resolution;
        let logic = edge::Enter::new(schema, resolution, recursive.final_only);
        let name = format!("{name}.Enter{i}");
        let inputs = vec![(stream, None)];
        let identity = Identity { name, place: Some(StatePlace::Edge(id, i)), noted: None };
        stateful(scope, identity, inputs, logic, SideWants::default(), Arc::clone(runtime)).0
    });
    let entered: Vec<_> = entered.collect();
    let schemas: Vec<SchemaRef> =
        node.inputs.iter().map(|input| Arc::clone(&plan.node(*input).schema)).collect();
    let results = scope.scoped::<Time, _, _>(&name, |inner| {
        let inputs = entered.into_iter().zip(&schemas).map(|(stream, schema)| {
            let rows = encoded(stream.enter(inner), schema, &shared)?;
            Ok(rows)
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let results = iterate(inner, recursive, inputs, &shared)?;
        Ok::<_, Error>(results.into_iter().map(|rows| rows.leave(scope).inner).collect::<Vec<_>>())
    })?;
    let mut decoded = Vec::with_capacity(results.len());
    let mut before = 0;
    for (index, (stream, (_, body))) in results.into_iter().zip(&recursive.variables).enumerate() {
        let own = Arc::clone(&recursive.inner.node(*body).schema);
        let place = Place { index, before, alone: recursive.variables.len() == 1 };
        before += own.fields().len();
        decoded.push(read_back(stream, &own, place, node, &shared)?);
    }
    let all = scope.concatenate(decoded);
    let sides = buried(scope, (id, all.clone()), &shared, wants);
    let logic = edge::Leave::new(Arc::clone(&node.schema));
    let none = SideWants::default();
    let name = format!("{name}.Leave");
    let identity = Identity { name, place: None, noted: Some((id, Part::Rows)) };
    let inputs = vec![(all, None)];
    let (rows, _) = stateful(scope, identity, inputs, logic, none, Arc::clone(runtime));
    Ok((rows, sides))
}

/// The dead letters of the operators inside; `rows` is what they all lead to.
fn buried<'s>(
    scope: Scope<'s, EventTime>,
    (id, rows): (NodeId, Stream<'s, EventTime, UpdateBatch>),
    shared: &Shared,
    wants: SideWants,
) -> SideStreams<'s> {
    let (name, runtime) = (&shared.name, &shared.runtime);
    // Only how far they are is of interest.
    let progress = rows.unary::<NoopBuilder<UpdateBatch>, _, _, _>(Pipeline, "Progress", |_, _| {
        |input, _| input.for_each(|_, batch| drop(std::mem::take(batch)))
    });
    let collect = dead::Collect(Rc::clone(&shared.dead));
    let none = SideWants::default();
    let named = |part: &str, noted| Identity { name: format!("{name}.{part}"), place: None, noted };
    let inputs = vec![(progress, None)];
    let notes = stateful(scope, named("Notes", None), inputs, collect, none, Arc::clone(runtime)).0;
    let inputs = vec![(notes, Some(Route::Hash(dead::ROW.to_vec(), Parallelism::ALL)))];
    let noted = Some((id, Part::Sides));
    stateful(scope, named("Bury", noted), inputs, dead::Bury, wants, Arc::clone(runtime)).1
}

/// The names at their fixed points.
fn iterate<'s>(
    scope: Scope<'s, Time>,
    recursive: &Recursive,
    inputs: Vec<Rows<'s>>,
    shared: &Shared,
) -> Result<Vec<Rows<'s>>> {
    let step = Product::new(Default::default(), 1);
    let (mut handles, mut variables) = (Vec::new(), Vec::new());
    for _ in &recursive.variables {
        let (handle, rows) = Variable::new(scope, step);
        handles.push(handle);
        variables.push(rows);
    }
    let nodes = Vec::with_capacity(recursive.inner.nodes.len());
    let shared_too = shared.clone();
    let plan = &recursive.inner;
    let arranged = RefCell::default();
    let mut fragment =
        Fragment { scope, plan, inputs, variables, nodes, shared: shared_too, arranged };
    fragment.render()?;
    let mut results = Vec::with_capacity(handles.len());
    for (handle, (_, body)) in handles.into_iter().zip(&recursive.variables) {
        let rows = fragment.nodes.get(body.0).cloned();
        let rows = rows.ok_or_else(|| Error::internal("a recursion without its definition"))?;
        // Changes that cancel out must not go round, and operators on groups leave none.
        let rows = if is_net(plan, *body) { rows } else { rows.consolidate() };
        handle.set(guarded(rows.clone(), recursive, shared));
        results.push(rows);
    }
    Ok(results)
}

/// Whether the changes that a node emits never cancel out.
fn is_net(plan: &StreamPlan, id: NodeId) -> bool {
    let node = plan.node(id);
    match &node.operator {
        Operator::GroupAggregate { .. } | Operator::SetOperation { .. } | Operator::Rank(_) => true,
        Operator::Calc(calc) => node.inputs.first().is_some_and(|input| {
            let below = &plan.node(*input).schema;
            fragment::passes_all(calc, below, &node.schema) && is_net(plan, *input)
        }),
        _ => false,
    }
}

/// What goes round: nothing beyond the limit, and nothing once the job has failed.
fn guarded<'s>(rows: Rows<'s>, recursive: &Recursive, shared: &Shared) -> Rows<'s> {
    let (limit, returns) = (recursive.limit, recursive.returns);
    let names: Vec<&str> = recursive.variables.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(", ");
    let (runtime, name) = (Arc::clone(&shared.runtime), shared.name.clone());
    let endless = move || {
        Error::sql(format!("the recursion of {names} has not ended after {limit} iterations"))
            .with_hint(
                "use UNION for UNION ALL where rows repeat, bound the recursion by a condition, \
                 raise it by SET 'recursion.limit' = '..', or take what is there with \
                 WITH MUTUALLY RECURSIVE (RETURN AT RECURSION LIMIT n)",
            )
    };
    let too_many = || {
        Error::sql(format!(
            "a row occurs more than {RECURSION_MULTIPLICITY_MAX} times in a recursion"
        ))
        .with_hint("use UNION for UNION ALL, which counts every path")
    };
    let stream = rows.inner.unary::<CapacityContainerBuilder<Vec<(Row, Time, Diff)>>, _, _, _>(
        Pipeline,
        "RecursiveLimit",
        move |_, _| {
            move |input, output| {
                input.for_each(|cap, updates| {
                    let mut updates = std::mem::take(updates);
                    if updates.iter().any(|(_, _, d)| d.0.abs() > RECURSION_MULTIPLICITY_MAX) {
                        runtime.metrics.fail_in(&name, too_many());
                    }
                    // Round `limit` is computed only to see that nothing changes any more.
                    let last = if returns { limit.saturating_sub(1) } else { limit };
                    if !returns && updates.iter().any(|(_, time, _)| time.inner >= last) {
                        runtime.metrics.fail_in(&name, endless());
                    }
                    updates.retain(|(_, time, _)| time.inner < last);
                    if !updates.is_empty() && !runtime.metrics.is_failed() {
                        output.session(&cap).give_container(&mut updates);
                    }
                });
            }
        },
    );
    stream.as_collection()
}

/// Batches as rows, inside of the recursion.
fn encoded<'s>(
    stream: Stream<'s, Time, UpdateBatch>,
    schema: &SchemaRef,
    shared: &Shared,
) -> Result<Rows<'s>> {
    let codec = RowCodec::new(schema)?;
    let runtime = Arc::clone(&shared.runtime);
    let stream = stream.unary::<CapacityContainerBuilder<Vec<(Row, Time, Diff)>>, _, _, _>(
        Pipeline,
        "RecursiveEncode",
        move |_, _| {
            move |input, output| {
                input.for_each(|cap, batch| {
                    let batch = std::mem::take(batch);
                    let mut rows = Vec::with_capacity(batch.len());
                    let encoded = codec.encode(batch.rows().columns(), batch.len(), |i, bytes| {
                        let time = batch.times().get(i).copied().unwrap_or_default();
                        let diff = Diff(batch.diff(i));
                        rows.push((Row::new(bytes), Product::new(time, 0), diff));
                    });
                    match encoded {
                        Ok(()) => output.session(&cap).give_container(&mut rows),
                        Err(error) => runtime.metrics.fail(error),
                    }
                });
            }
        },
    );
    Ok(stream.as_collection())
}

/// Where the columns of a name are among those of all names.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    before: usize,
    alone: bool,
}

/// Rows as batches of the recursion's columns, outside of it.
fn read_back<'s>(
    stream: Stream<'s, EventTime, Vec<(Row, EventTime, Diff)>>,
    own: &SchemaRef,
    place: Place,
    node: &Node,
    shared: &Shared,
) -> Result<Stream<'s, EventTime, UpdateBatch>> {
    let codec = RowCodec::new(own)?;
    let schema = Arc::clone(&node.schema);
    let runtime = Arc::clone(&shared.runtime);
    let read = move |updates: &[(Row, EventTime, Diff)]| -> Result<UpdateBatch> {
        let rows = codec.decode(updates.iter().map(|(row, _, _)| row.bytes()))?;
        let rows = match place.alone {
            true => rows.with_schema(Arc::clone(&schema))?,
            false => widened(&rows, place, &schema)?,
        };
        let times: Vec<i64> = updates.iter().map(|(_, time, _)| *time).collect();
        let diffs: Vec<i64> = updates.iter().map(|(_, _, diff)| diff.0).collect();
        Ok(UpdateBatch::new(rows, times.into(), Some(diffs.into())))
    };
    Ok(stream.unary::<NoopBuilder<UpdateBatch>, _, _, _>(
        Pipeline,
        "RecursiveDecode",
        move |_, _| {
            move |input, output| {
                input.for_each(|cap, updates| {
                    let updates = std::mem::take(updates);
                    match read(&updates) {
                        Ok(mut batch) => {
                            output.session_with_builder(&cap).give_container(&mut batch);
                        }
                        Err(error) => runtime.metrics.fail(error),
                    }
                });
            }
        },
    ))
}

/// The number of the name, its columns in their place, and NULLs for those of the other names.
fn widened(rows: &RecordBatch, place: Place, schema: &SchemaRef) -> Result<RecordBatch> {
    let count = rows.num_rows();
    let columns = schema.fields().iter().enumerate().map(|(i, field)| -> ArrayRef {
        if i == 0 {
            return Arc::new(Int32Array::from(vec![place.index as i32; count]));
        }
        let own = (i - 1).checked_sub(place.before).and_then(|c| rows.columns().get(c));
        own.cloned().unwrap_or_else(|| new_null_array(field.data_type(), count))
    });
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect())?)
}
