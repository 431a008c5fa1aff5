//! A stream plan as timely operators on one worker: one exhaustive match, one arm an operator.
//!
//! Every node becomes a stream of [`UpdateBatch`]es at event times; where someone reads them, its
//! late rows and dead letters become streams beside it. All workers render the same plan in the
//! same
//! order: nothing here may depend on anything but the plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::probe::Handle as Probe;
use timely::dataflow::operators::{Concatenate, Probe as _};
use timely::dataflow::{Scope, Stream};

use super::activity::Scales;
use super::calc::CalcLogic;
use super::driver::{Identity, Input, SideWants, stateful};
use super::failed;
use super::flow::{Budget, upstream};
use super::frontier::Part;
use super::join::Shelf;
use super::logic::{Rest, StatefulLogic};
use super::outputs::output;
use super::runtime::JobRuntime;
use super::side::{DeadLetters, SideStreams, late_from, send_dead, side_port};
use super::snapshots::StatePlace;
use super::spilling::{Make, Spilling};
use crate::batch::UpdateBatch;
use crate::batch::ipc::without_others;
use crate::error::{Error, Result};
use crate::plan::exchange::{placements, routes};
use crate::plan::node::{Node, NodeId, Operator, StreamPlan};
use crate::time::EventTime;

type Rows<'s> = Stream<'s, EventTime, UpdateBatch>;

/// Checks that every operator of `plan` can be built, before anything is.
pub fn check(plan: &StreamPlan) -> Result<()> {
    let mut shelf = Shelf::default();
    for (id, node) in plan.nodes.iter().enumerate() {
        logic_of(plan, node, true)?;
        if let Operator::Recursive(recursive) = &node.operator {
            super::recursive::check(recursive)?;
        }
        if let Operator::Join(join) = &node.operator {
            super::join::build(plan, NodeId(id), join, &mut shelf)?;
        }
    }
    Ok(())
}

/// Builds the dataflow of `runtime`'s plan in `scope`; the probe watches all outputs.
pub fn render<'s>(
    scope: Scope<'s, EventTime>,
    runtime: &Arc<JobRuntime>,
    rows_in_flight: usize,
) -> Result<Probe<EventTime>> {
    let probe = Probe::new();
    let plan = Arc::clone(&runtime.plan);
    let reached: Vec<_> =
        plan.outputs.iter().map(|o| (Probe::new(), upstream(&plan, o.node))).collect();
    let mut renderer = Renderer {
        scope,
        runtime,
        reached: &reached,
        rows_in_flight,
        plan: &plan,
        streams: Vec::new(),
        sides: Vec::new(),
        shelf: Shelf::with_restored(restored_nodes(runtime)),
    };
    for id in 0..plan.nodes.len() {
        let (stream, side) = renderer.node(NodeId(id))?;
        renderer.streams.push(stream);
        renderer.sides.push(side);
    }
    for (index, planned) in plan.outputs.iter().enumerate() {
        let stream = renderer.streams[planned.node.0].clone();
        output(scope, stream, index, runtime).probe_with(&reached[index].0).probe_with(&probe);
    }
    Ok(probe)
}

/// The nodes whose state comes from a snapshot.
fn restored_nodes(runtime: &JobRuntime) -> BTreeSet<NodeId> {
    let restored = runtime.snapshots().and_then(|snapshots| snapshots.restored());
    let places = restored.into_iter().flat_map(|restored| restored.states.keys());
    let nodes = places.filter_map(|place| match place {
        StatePlace::Node(id) => Some(*id),
        StatePlace::Edge(..) | StatePlace::Output(_) => None,
    });
    nodes.collect()
}

struct Renderer<'s, 'a> {
    scope: Scope<'s, EventTime>,
    runtime: &'a Arc<JobRuntime>,
    /// A probe on each output, and the nodes that it reads.
    reached: &'a [(Probe<EventTime>, BTreeSet<NodeId>)],
    rows_in_flight: usize,
    plan: &'a StreamPlan,
    streams: Vec<Rows<'s>>,
    sides: Vec<SideStreams<'s>>,
    /// The arrangements that this worker's joins share.
    shelf: Shelf,
}

impl<'s> Renderer<'s, '_> {
    fn node(&mut self, id: NodeId) -> Result<(Rows<'s>, SideStreams<'s>)> {
        let node = self.plan.node(id);
        let wants = self.wants(id);
        let plain = |stream| (stream, SideStreams::default());
        Ok(match &node.operator {
            Operator::Scan(scan) => {
                let shared = self.runtime.source(id).ok_or_else(|| {
                    Error::internal(format!("table {} was not opened", scan.table.def.name))
                })?;
                let is_free = super::flow::read_whole(self.plan).contains(&id);
                let reached = self.reached.iter();
                let reached = reached.filter(|(_, read)| !is_free && read.contains(&id));
                let probes = reached.map(|(probe, _)| probe.clone()).collect();
                super::source::source(
                    self.scope,
                    (id, Arc::clone(shared)),
                    Arc::clone(self.runtime),
                    Budget::new(probes, self.rows_in_flight)
                        .with_memory(self.runtime.memory().cloned()),
                    wants.dead,
                )
            }
            Operator::Values(rows) => plain(self.values(id, rows.clone())),
            Operator::LateRows { of } => {
                let late = of.iter().filter_map(|n| self.late_rows(*n));
                plain(self.scope.concatenate(late.collect::<Vec<_>>()))
            }
            Operator::DeadLetters => {
                let dead = self.sides.iter().filter_map(|s| s.dead.clone());
                plain(self.scope.concatenate(dead.collect::<Vec<_>>()))
            }
            Operator::Calc(calc) => {
                let input = &self.plan.node(node.inputs[0]).schema;
                let name = format!("Calc#{}", id.0);
                let output = Arc::clone(&node.schema);
                let table = self.table_of(node.inputs[0]).unwrap_or(&name);
                let logic = CalcLogic::new(table, calc.clone(), input, output);
                // Where memory is scarce a row must not hold that of the rows it was made from.
                let is_scarce = self.runtime.memory().is_some();
                self.stateless(&name, node, wants, move |batch, dead| {
                    let done = logic.apply(batch, dead)?;
                    match is_scarce {
                        true => done.into_iter().map(without_others).collect(),
                        false => Ok(done),
                    }
                })
            }
            Operator::Union => {
                let inputs: Vec<_> =
                    node.inputs.iter().map(|n| self.streams[n.0].clone()).collect();
                let merged = self.scope.concatenate(inputs);
                plain(self.rename(merged, id))
            }
            Operator::Expand { sets, keys } => {
                let (sets, keys, schema) = (sets.clone(), *keys, Arc::clone(&node.schema));
                self.stateless(&format!("Expand#{}", id.0), node, wants, move |batch, _| {
                    super::expand::expand(batch, &sets, keys, &schema)
                })
            }
            Operator::WindowAssign { time_column, spec } => {
                let (time, spec, schema) = (*time_column, spec.clone(), Arc::clone(&node.schema));
                self.stateless(&format!("WindowAssign#{}", id.0), node, wants, move |batch, _| {
                    Ok(vec![super::window_assign::assign(batch, time, &spec, &schema)?])
                })
            }
            Operator::Recursive(_) => {
                let inputs = node.inputs.iter().map(|n| self.streams[n.0].clone()).collect();
                super::recursive::render(self.scope, self.plan, id, inputs, wants, self.runtime)?
            }
            Operator::RecursionInput(_) | Operator::RecursionVariable { .. } => {
                return Err(Error::internal("a leaf of a recursion outside of it"));
            }
            Operator::Clock => {
                let schema = Arc::clone(&node.schema);
                self.stateless(&format!("Clock#{}", id.0), node, wants, move |batch, _| {
                    Ok(vec![super::temporal_filter::clock(batch, &schema)?])
                })
            }
            Operator::Unnest(unnest) => {
                let (unnest, schema) = (unnest.clone(), Arc::clone(&node.schema));
                self.stateless(&format!("Unnest#{}", id.0), node, wants, move |batch, _| {
                    super::unnest::unnest(batch, &unnest, &schema)
                })
            }
            Operator::SessionAssign { .. }
            | Operator::GroupAggregate { .. }
            | Operator::WindowAggregate { .. }
            | Operator::SessionAggregate { .. }
            | Operator::WindowRank(_)
            | Operator::WindowJoin(_)
            | Operator::OverAggregate(_)
            | Operator::TemporalFilter(_)
            | Operator::IntervalJoin(_)
            | Operator::TemporalJoin(_)
            | Operator::LookupJoin(_)
            | Operator::SetOperation { .. }
            | Operator::Rank(_)
            | Operator::ChangelogNormalize { .. }
            | Operator::MatchRecognize(_) => {
                let (plan, is_first) = (Arc::clone(&self.runtime.plan), self.scope.index() == 0);
                let (kind, logic) = made(&plan, id, is_first)?;
                let make = move || Ok(made(&plan, id, is_first)?.1);
                let logic = self.spilling(node, logic, Box::new(make))?;
                let inputs = node
                    .inputs
                    .iter()
                    .map(|n| self.streams[n.0].clone())
                    .zip(routes(self.plan, node))
                    .collect();
                stateful(
                    self.scope,
                    identity(id, kind),
                    inputs,
                    logic,
                    wants,
                    Arc::clone(self.runtime),
                )
            }
            Operator::Arrange { .. } => plain(self.arrange(id, node)),
            Operator::Join(join) => {
                let logic = match self.runtime.memory() {
                    None => super::join::build(self.plan, id, join, &mut self.shelf)?,
                    Some(_) => {
                        let (plan, join) = (Arc::clone(&self.runtime.plan), join.clone());
                        let make =
                            move || super::join::build(&plan, id, &join, &mut Shelf::of_one(id));
                        self.spilling(node, make()?, Box::new(make))?
                    }
                };
                let streams = node.inputs.iter().map(|n| (self.streams[n.0].clone(), None));
                let inputs = streams.collect();
                stateful(
                    self.scope,
                    identity(id, "Join"),
                    inputs,
                    logic,
                    wants,
                    Arc::clone(self.runtime),
                )
            }
        })
    }

    /// `logic` as its state is held: where there is a memory budget, and it can be taken apart by
    /// key, on disk while it is not needed.
    fn spilling(
        &self,
        node: &Node,
        logic: Box<dyn StatefulLogic>,
        make: Make<'static>,
    ) -> Result<Box<dyn StatefulLogic>> {
        let Some(memory) = self.runtime.memory() else { return Ok(logic) };
        let by: Option<Vec<Vec<usize>>> = placements(self.plan, node).into_iter().collect();
        match by {
            Some(by) if logic.rest() != Rest::Never => {
                let resolution = node.settings.time_resolution;
                Ok(Box::new(Spilling::new(make, by, resolution, memory)?))
            }
            _ => Ok(logic),
        }
    }

    /// Whether someone reads the late rows and dead letters of node `id`.
    fn wants(&self, id: NodeId) -> SideWants {
        let late = |n: &Node| matches!(&n.operator, Operator::LateRows { of } if of.contains(&id));
        let dead = |n: &Node| matches!(n.operator, Operator::DeadLetters);
        SideWants {
            late: self.plan.nodes.iter().any(late),
            dead: self.plan.nodes.iter().skip(id.0 + 1).any(dead),
        }
    }

    /// The table that the rows of a node are from, if they are a table's rows one by one.
    fn table_of(&self, id: NodeId) -> Option<&str> {
        let node = self.plan.node(id);
        match &node.operator {
            Operator::Scan(scan) => Some(&scan.table.def.name),
            Operator::Calc(_)
            | Operator::Expand { .. }
            | Operator::WindowAssign { .. }
            | Operator::Unnest(_) => self.table_of(*node.inputs.first()?),
            _ => None,
        }
    }

    /// An operator that handles each batch by itself.
    fn stateless(
        &self,
        name: &str,
        node: &Node,
        wants: SideWants,
        logic: impl Fn(&UpdateBatch, &mut DeadLetters) -> Result<Vec<UpdateBatch>> + 'static,
    ) -> (Rows<'s>, SideStreams<'s>) {
        let mut builder = OperatorBuilder::new(name.to_string(), self.scope);
        let input = self.streams[node.inputs[0].0].clone();
        let route = routes(self.plan, node).pop().flatten();
        let mut input = Input::new(&mut builder, input, route, self.scope.index());
        let (output, stream) = builder.new_output::<UpdateBatch>();
        let mut output = OutputBuilder::<_, NoopBuilder<UpdateBatch>>::from(output);
        let (mut dead_port, dead_stream) = side_port(&mut builder, wants.dead);
        let runtime = Arc::clone(self.runtime);
        let mut scales = self.scales(name);
        let name = name.to_owned();
        builder.build(move |_capabilities| {
            move |_frontiers| {
                let mut port = output.activate();
                input.pass_beside(wants.dead, |own, dead_own, batch| {
                    scales.weigh(&batch);
                    let mut dead = DeadLetters::default();
                    match logic(&batch, &mut dead) {
                        Ok(done) => {
                            for mut batch in done.into_iter().filter(|b| !b.is_empty()) {
                                port.session_with_builder(&own).give_container(&mut batch);
                            }
                        }
                        Err(error) => {
                            runtime.metrics.fail_in(&name, error);
                            failed::hold([own]);
                        }
                    }
                    if !dead.letters().is_empty() {
                        runtime.metrics.record_dead_letters(&dead);
                        send_dead(&mut dead_port, dead_own.as_ref(), dead);
                    }
                });
            }
        });
        (stream, SideStreams { late: None, dead: dead_stream })
    }

    fn scales(&self, name: &str) -> Scales {
        Scales::new(self.runtime.metrics.activity.operator(name, self.scope.index()))
    }

    /// The inputs of a union under the names of its own columns.
    fn rename(&self, stream: Rows<'s>, id: NodeId) -> Rows<'s> {
        let schema = Arc::clone(&self.plan.node(id).schema);
        self.mapped(stream, &format!("Union#{}", id.0), move |batch| {
            let count = RecordBatchOptions::new().with_row_count(Some(batch.len()));
            let columns = batch.rows().columns().to_vec();
            let rows = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &count)?;
            Ok(batch.with_rows(rows))
        })
    }

    /// The late rows of node `id`, with the tables that it reads.
    fn late_rows(&self, id: NodeId) -> Option<Rows<'s>> {
        let tables = self.plan.tables_of(id).join(", ");
        let late = self.sides[id.0].late.clone()?;
        Some(
            self.mapped(late, &format!("LateSource#{}", id.0), move |batch| {
                late_from(&batch, &tables)
            }),
        )
    }

    /// Each batch of `stream` as `map` makes it.
    fn mapped(
        &self,
        stream: Rows<'s>,
        name: &str,
        map: impl Fn(UpdateBatch) -> Result<UpdateBatch> + 'static,
    ) -> Rows<'s> {
        use timely::dataflow::operators::generic::Operator as _;
        let runtime = Arc::clone(self.runtime);
        let mut scales = self.scales(name);
        stream.unary::<NoopBuilder<UpdateBatch>, _, _, _>(Pipeline, name, move |_, _| {
            move |input, output| {
                input.for_each(|cap, data| {
                    let Some(time) = cap.retain_least(0) else { return };
                    let batch = std::mem::take(data);
                    scales.weigh(&batch);
                    match map(batch) {
                        Ok(mut batch) => {
                            output.session_with_builder(&time).give_container(&mut batch);
                        }
                        Err(error) => {
                            runtime.metrics.fail(error);
                            failed::hold([time]);
                        }
                    }
                });
            }
        })
    }

    /// The input of an arrangement where its joins read it: the joins keep the rows themselves,
    /// together, as each of them is at a frontier of its own.
    fn arrange(&self, id: NodeId, node: &Node) -> Rows<'s> {
        let input = self.streams[node.inputs[0].0].clone();
        let Some(route) = routes(self.plan, node).pop().flatten() else { return input };
        let name = format!("Arrange#{}", id.0);
        self.runtime.metrics.activity.is_exchanged(&name, 0, &route);
        let mut scales = self.scales(&name);
        let mut builder = OperatorBuilder::new(name, self.scope);
        let worker = self.scope.index();
        let mut input = Input::new(&mut builder, input, Some(route), worker);
        let (output, stream) = builder.new_output::<UpdateBatch>();
        let mut output = OutputBuilder::<_, NoopBuilder<UpdateBatch>>::from(output);
        builder.build(move |_capabilities| {
            move |_frontiers| {
                let mut port = output.activate();
                input.pass(|cap, mut batch| {
                    scales.weigh(&batch);
                    port.session_with_builder(&cap).give_container(&mut batch);
                });
            }
        });
        stream
    }

    /// Constant rows, at the epoch, from the first worker.
    fn values(&self, id: NodeId, rows: RecordBatch) -> Rows<'s> {
        let mut builder = OperatorBuilder::new(format!("Values#{}", id.0), self.scope);
        let (output, stream) = builder.new_output::<UpdateBatch>();
        let mut output = OutputBuilder::<_, NoopBuilder<UpdateBatch>>::from(output);
        let first = self.scope.index() == 0;
        builder.build(move |capabilities| {
            let mut once = Some((capabilities, rows));
            move |_frontiers| {
                let Some((capabilities, rows)) = once.take() else { return };
                if let (true, Some(cap)) = (first && rows.num_rows() > 0, capabilities.first()) {
                    let mut batch = UpdateBatch::at(rows, 0);
                    output.activate().session_with_builder(cap).give_container(&mut batch);
                }
            }
        });
        stream
    }
}

fn identity(id: NodeId, kind: &str) -> Identity {
    Identity {
        name: format!("{kind}#{}", id.0),
        place: Some(StatePlace::Node(id)),
        noted: Some((id, Part::All)),
    }
}

/// The logic of a stateful operator and its name.
fn made(
    plan: &StreamPlan,
    id: NodeId,
    is_first_worker: bool,
) -> Result<(&'static str, Box<dyn StatefulLogic>)> {
    logic_of(plan, plan.node(id), is_first_worker)?
        .ok_or_else(|| Error::internal("a stateful operator without logic"))
}

/// The logic of a stateful operator and its name; `None` for the others.
///
/// Rows without a key go to the first worker, which alone answers for there being none.
fn logic_of(
    plan: &StreamPlan,
    node: &Node,
    is_first_worker: bool,
) -> Result<Option<(&'static str, Box<dyn StatefulLogic>)>> {
    let input = |i: usize| Arc::clone(&plan.node(node.inputs[i]).schema);
    let append = |i: usize| {
        plan.node(node.inputs[i]).props.mode == crate::plan::props::ChangelogMode::Append
    };
    let delay = node.inputs.iter().map(|i| plan.node(*i).props.window_delay).max().unwrap_or(0);
    let lateness = node.settings.allowed_lateness;
    let output = Arc::clone(&node.schema);
    Ok(Some(match &node.operator {
        Operator::GroupAggregate { keys, calls, final_only } => {
            let logic = super::group_aggregate::GroupAggregate::new(
                input(0),
                keys.clone(),
                calls.clone(),
                output,
                node.settings.time_resolution,
                append(0),
            )?
            .with_final_only(*final_only)
            .with_initial_row(is_first_worker);
            ("GroupAggregate", Box::new(logic))
        }
        Operator::WindowAggregate { window, keys, calls } => {
            let logic = super::window_aggregate::WindowAggregate::new(
                input(0),
                window.clone(),
                keys.clone(),
                calls.clone(),
                output,
                lateness,
                append(0),
            )?
            .with_input_delay(delay);
            ("WindowAggregate", Box::new(logic))
        }
        Operator::SessionAggregate { time_column, gap, keys, calls } => {
            let spec = super::sessions::SessionSpec {
                input: input(0),
                time_column: *time_column,
                gap: *gap,
                keys: keys.clone(),
                allowed_lateness: lateness,
            };
            let logic = super::session_aggregate::SessionAggregate::new(spec, calls, output)?
                .with_input_delay(delay);
            ("SessionAggregate", Box::new(logic))
        }
        Operator::SessionAssign { time_column, gap, keys } => {
            let (time, keys) = (*time_column, keys.clone());
            let logic = super::session_assign::SessionAssign::new(
                input(0),
                time,
                *gap,
                keys,
                output,
                lateness,
            )?
            .with_input_delay(delay);
            ("SessionAssign", Box::new(logic))
        }
        Operator::WindowRank(rank) => {
            let logic = super::window_rank::WindowRankLogic::ranked(
                input(0),
                rank.clone(),
                output,
                lateness,
                append(0),
            )
            .with_input_delay(delay);
            ("WindowRank", Box::new(logic))
        }
        Operator::WindowJoin(join) => {
            let logic = super::window_join::WindowJoinLogic::joined(
                input(0),
                input(1),
                join.clone(),
                output,
                lateness,
            )
            .with_input_delay(delay);
            ("WindowJoin", Box::new(logic))
        }
        Operator::OverAggregate(_) => super::over::build(plan, node)?,
        Operator::TemporalFilter(_) => super::temporal_filter::build(plan, node)?,
        Operator::TemporalJoin(join) => {
            let logic = super::temporal_join::build(node, join, input(0), input(1));
            ("TemporalJoin", Box::new(logic))
        }
        Operator::LookupJoin(join) => {
            let logic = super::lookup_join::build(node, join, input(0), input(1));
            ("LookupJoin", Box::new(logic))
        }
        Operator::IntervalJoin(join) => {
            let logic = super::interval_join::build(node, join, input(0), input(1));
            ("IntervalJoin", Box::new(logic))
        }
        Operator::SetOperation { kind, all } => {
            ("SetOperation", super::set_operation::build(*kind, *all, node))
        }
        Operator::Rank(rank) => (rank.name(), super::rank::build(plan, node, rank)?),
        Operator::ChangelogNormalize { .. } => {
            ("ChangelogNormalize", super::changelog_normalize::build(plan, node)?)
        }
        Operator::Scan(_)
        | Operator::Values(_)
        | Operator::LateRows { .. }
        | Operator::DeadLetters
        | Operator::Calc(_)
        | Operator::Union
        | Operator::Expand { .. }
        | Operator::WindowAssign { .. }
        | Operator::Clock
        | Operator::Arrange { .. }
        | Operator::Unnest(_)
        | Operator::Recursive(_)
        | Operator::RecursionInput(_)
        | Operator::RecursionVariable { .. }
        | Operator::Join(_) => return Ok(None),
        Operator::MatchRecognize(matched) => {
            let logic = super::match_recognize::build(input(0), matched, output)?;
            ("MatchRecognize", Box::new(logic))
        }
    }))
}
